//! Payloads whose every byte depends on its place and on the frame.

use shm_core::Element;

/// `elements` elements of frame `seed`, every bit pattern possible.
pub(crate) fn pattern<T: Element>(elements: usize, seed: u64) -> Vec<T> {
    let mut data = vec![<T as bytemuck::Zeroable>::zeroed(); elements];
    let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut data);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for chunk in bytes.chunks_mut(8) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.copy_from_slice(&state.to_ne_bytes()[..chunk.len()]);
    }
    data
}

/// Byte by byte, so that NaNs compare.
#[track_caller]
pub(crate) fn assert_same<T: Element>(found: &[T], expected: &[T]) {
    let (found, expected): (&[u8], &[u8]) =
        (bytemuck::cast_slice(found), bytemuck::cast_slice(expected));
    assert_eq!(found.len(), expected.len(), "payload length");
    if let Some(at) = (0..found.len()).find(|&at| found[at] != expected[at]) {
        panic!("payload byte {at} is {:#04x}, expected {:#04x}", found[at], expected[at]);
    }
}
