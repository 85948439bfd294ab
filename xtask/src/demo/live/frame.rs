//! What one frame holds, and how a viewer knows that it is whole.
//!
//! A frame is a picture whose first bytes are overwritten by a stamp: the running number and the
//! process that published it. The frame id of the stream carries the XXH3 checksum of all bytes,
//! stamp included, so each frame proves itself. Two neighbouring frames never show the same
//! picture: a mixture of both would otherwise be too similar to be noticed.

use xxhash_rust::xxh3::xxh3_64;

pub const WIDTH: usize = 640;
pub const HEIGHT: usize = 480;
pub const CHANNELS: usize = 3;
pub const BYTES: usize = WIDTH * HEIGHT * CHANNELS;

/// Who published a frame, and the how manyth it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub number: u64,
    pub publisher: u32,
}

const STAMP_BYTES: usize = 12;

impl Stamp {
    /// Writes the stamp over the first bytes of a frame.
    pub fn write(self, frame: &mut [u8]) {
        frame[..8].copy_from_slice(&self.number.to_le_bytes());
        frame[8..STAMP_BYTES].copy_from_slice(&self.publisher.to_le_bytes());
    }
}

/// The checksum that travels as the frame id.
pub fn checksum(frame: &[u8]) -> u64 {
    xxh3_64(frame)
}

/// The stamp of a frame whose bytes match its checksum; None for a torn one.
pub fn verify(frame: &[u8], frame_id: u64) -> Option<Stamp> {
    if checksum(frame) != frame_id {
        return None;
    }
    let (number, rest) = frame.split_first_chunk::<8>()?;
    let publisher = rest.first_chunk::<4>()?;
    Some(Stamp { number: u64::from_le_bytes(*number), publisher: u32::from_le_bytes(*publisher) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamped(fill: u8, number: u64) -> (Vec<u8>, u64) {
        let mut frame = vec![fill; BYTES];
        let publisher = 77;
        Stamp { number, publisher }.write(&mut frame);
        let id = checksum(&frame);
        (frame, id)
    }

    #[test]
    fn a_whole_frame_gives_its_stamp_back() {
        let (frame, id) = stamped(9, 123_456);
        let stamp = verify(&frame, id).unwrap();
        assert_eq!((stamp.number, stamp.publisher), (123_456, 77));
    }

    #[test]
    fn a_mixture_of_two_frames_is_torn() {
        let (old, _) = stamped(1, 1);
        let (new, id) = stamped(2, 2);
        for cut in [1, STAMP_BYTES, BYTES / 2, BYTES - 1] {
            let mixed = [&new[..cut], &old[cut..]].concat();
            assert_eq!(verify(&mixed, id), None, "cut at {cut}");
        }
    }

    #[test]
    fn one_changed_byte_is_torn() {
        let (mut frame, id) = stamped(3, 5);
        frame[BYTES - 1] ^= 1;
        assert_eq!(verify(&frame, id), None);
    }
}
