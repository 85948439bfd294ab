//! Frames that tell what they are: every eight bytes hold the frame's number, mixed with their place.

/// The payload of frame `number`.
pub fn frame(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len + 8);
    for place in 0..len.div_ceil(8) as u64 {
        bytes.extend_from_slice(&mix(number, place).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// True if every byte is frame `number`'s.
pub fn is_frame(bytes: &[u8], number: u64) -> bool {
    bytes == frame(number, bytes.len())
}

/// Fails, saying where, if they are not.
pub fn assert_frame(bytes: &[u8], number: u64) {
    let expected = frame(number, bytes.len());
    let wrong = bytes.iter().zip(&expected).position(|(found, expected)| found != expected);
    assert_eq!(wrong, None, "byte of frame {number} that is another's");
}

fn mix(number: u64, place: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ place.wrapping_mul(0xD6E8_FEB8_6659_FD93)
}
