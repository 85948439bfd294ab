//! Frames that betray tearing: every word says which frame it belongs to.
//!
//! Word `i` of frame `n` is `n * ODD + i mod 512`. Two frames differ in every word, a word out of
//! place differs from its neighbours', and both filling and checking run at the speed of `memcpy`
//! and `memcmp` because the pattern repeats every 4 KiB.

use shm_core::FrameInfo;

const PERIOD: usize = 512;
const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
const TAG: u64 = 0x5AFE_0000_F00D_0000;

/// The frame id that belongs to a count: a frame id of another frame is noticed.
pub fn tag(count: u64) -> u64 {
    count.rotate_left(17) ^ TAG
}

/// A buffer for one frame after another.
#[derive(Clone, Debug)]
pub struct Payload {
    words: Vec<u64>,
}

impl Payload {
    /// For frames of `words` 64-bit words.
    pub fn new(words: usize) -> Payload {
        Payload { words: vec![0; words] }
    }

    /// The payload of frame `count`.
    pub fn of(&mut self, count: u64) -> &[u64] {
        fill(&mut self.words, count);
        &self.words
    }

    /// The buffer, for reading a frame into it.
    pub fn buffer(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// Checks the frame that was read into the buffer.
    ///
    /// # Errors
    /// [`Torn`] if payload, count and frame id are not all of one frame.
    pub fn verify(&self, info: &FrameInfo) -> Result<(), Torn> {
        verify(info, &self.words)
    }

    /// Writes the first half of frame `count` into `words`, as a writer does that dies half way.
    pub fn half_into(words: &mut [u64], count: u64) {
        let half = words.len() / 2;
        fill(&mut words[..half], count);
    }

    /// Writes the whole of frame `count` into `words`.
    pub fn whole_into(words: &mut [u64], count: u64) {
        fill(words, count);
    }
}

/// What did not fit together in one frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("frame {count} with frame id {frame_id:#x}: {what}")]
pub struct Torn {
    /// Count of the frame.
    pub count: u64,
    /// Its frame id.
    pub frame_id: u64,
    /// What is wrong.
    pub what: String,
}

/// Checks that count, frame id and every word of the payload are of one frame.
///
/// # Errors
/// [`Torn`] says which part is not.
pub fn verify(info: &FrameInfo, words: &[u64]) -> Result<(), Torn> {
    let torn = |what| Err(Torn { count: info.count, frame_id: info.frame_id, what });
    if info.frame_id != tag(info.count) {
        return torn(format!("frame id should be {:#x}", tag(info.count)));
    }
    if info.byte_len != size_of_val(words) {
        return torn(format!("length is {}, should be {}", info.byte_len, size_of_val(words)));
    }
    let pattern: Vec<u64> = (0..PERIOD.min(words.len())).map(|at| word(info.count, at)).collect();
    for (block, found) in words.chunks(PERIOD).enumerate() {
        if found == &pattern[..found.len()] {
            continue;
        }
        let wrong = found.iter().zip(&pattern).position(|(a, b)| a != b).unwrap_or(0);
        let at = block * PERIOD + wrong;
        return torn(format!("word {at} is {:#x}, should be {:#x}", found[wrong], pattern[wrong]));
    }
    Ok(())
}

fn word(count: u64, at: usize) -> u64 {
    count.wrapping_mul(ODD).wrapping_add((at % PERIOD) as u64)
}

fn fill(words: &mut [u64], count: u64) {
    let mut done = PERIOD.min(words.len());
    for (at, target) in words[..done].iter_mut().enumerate() {
        *target = word(count, at);
    }
    while done < words.len() {
        let more = done.min(words.len() - done);
        words.copy_within(..more, done);
        done += more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_core::{Deadline, FrameTag, Stream, StreamConfig};

    fn published(words: &[u64], id: u64) -> (FrameInfo, Vec<u64>) {
        let config = StreamConfig::of::<u64>(&[words.len()]).unwrap();
        let stream = Stream::process_local("payload", &config).unwrap();
        let mut writer = stream.writer(Deadline::NOW).unwrap();
        writer.publish_tagged(words, FrameTag::id(id)).unwrap();
        let frame = stream.reader().read::<u64>().unwrap();
        (frame.info, frame.data)
    }

    #[test]
    fn one_foreign_word_anywhere_is_noticed() {
        for words in [1, 8, 512, 513, 5000] {
            let mut payload = Payload::new(words);
            let (info, good) = published(payload.of(1), tag(1));
            assert_eq!(verify(&info, &good), Ok(()));
            for at in [0, words / 2, words - 1] {
                let mut bad = good.clone();
                bad[at] = word(2, at);
                assert!(
                    verify(&info, &bad).unwrap_err().what.starts_with(&format!("word {at} is"))
                );
            }
        }
    }

    #[test]
    fn a_foreign_frame_id_is_noticed() {
        let mut payload = Payload::new(8);
        let (info, words) = published(payload.of(1), tag(2));
        assert!(verify(&info, &words).is_err());
    }
}
