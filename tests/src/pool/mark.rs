//! Bytes that say whose they are: a slot that two producers have at once, or that is used again while
//! somebody reads it, shows in every byte.
//!
//! Three words name the producer's process, the slot, its generation and a number; every word after
//! them follows from these. The pattern repeats every 4 KiB, so filling and checking run at the speed
//! of `memcpy` and `memcmp`.

use shm_pool::{Slot, Storage};

const HEAD: usize = 24;
const PERIOD: usize = 4096;
const ODD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Whose bytes they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The producer.
    pub pid: u32,
    /// The slot.
    pub slot: u32,
    /// Which use of it.
    pub generation: u64,
    /// The producer's own count.
    pub sequence: u64,
}

/// Bytes that are not one producer's, of one use of one slot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bytes of {mark:?}: {what}")]
pub struct Mixed {
    /// Whose they say they are.
    pub mark: Mark,
    /// What is wrong.
    pub what: String,
}

impl Mark {
    /// The least bytes that a mark fits into.
    pub const LEAST: usize = HEAD;

    /// That of this process on a slot it was lent.
    pub fn on<S: Storage>(slot: &Slot<S>, sequence: u64) -> Mark {
        Mark {
            pid: std::process::id(),
            slot: slot.index() as u32,
            generation: slot.generation(),
            sequence,
        }
    }

    /// Fills all of `bytes`.
    ///
    /// # Panics
    /// If there are fewer than [`Mark::LEAST`].
    pub fn fill(&self, bytes: &mut [u8]) {
        let (head, body) = bytes.split_at_mut(HEAD);
        head.copy_from_slice(&self.head());
        let pattern = self.pattern(body.len());
        for part in body.chunks_mut(PERIOD) {
            part.copy_from_slice(&pattern[..part.len()]);
        }
    }

    /// Whose `bytes` are, if every one of them agrees.
    ///
    /// # Errors
    /// [`Mixed`].
    pub fn of(bytes: &[u8]) -> Result<Mark, Mixed> {
        let word = |at: usize| {
            let bytes = bytes.get(at * 8..at * 8 + 8).unwrap_or(&[0; 8]);
            u64::from_le_bytes(bytes.try_into().unwrap_or_default())
        };
        let mark = Mark {
            pid: (word(0) >> 32) as u32,
            slot: word(0) as u32,
            generation: word(1),
            sequence: word(2),
        };
        let Some(body) = bytes.get(HEAD..) else {
            return Err(Mixed { mark, what: format!("only {} bytes", bytes.len()) });
        };
        let pattern = mark.pattern(body.len());
        for (block, found) in body.chunks(PERIOD).enumerate() {
            let expected = &pattern[..found.len()];
            if found != expected {
                let wrong = found.iter().zip(expected).position(|(a, b)| a != b).unwrap_or(0);
                let at = HEAD + block * PERIOD + wrong;
                let what = format!(
                    "byte {at} of {} is {:#x}, should be {:#x}",
                    bytes.len(),
                    found[wrong],
                    expected[wrong]
                );
                return Err(Mixed { mark, what });
            }
        }
        Ok(mark)
    }

    fn head(&self) -> [u8; HEAD] {
        let words =
            [u64::from(self.pid) << 32 | u64::from(self.slot), self.generation, self.sequence];
        let mut head = [0; HEAD];
        for (target, word) in head.chunks_mut(8).zip(words) {
            target.copy_from_slice(&word.to_le_bytes());
        }
        head
    }

    fn pattern(&self, len: usize) -> Vec<u8> {
        let seed = (u64::from(self.pid) << 32 | u64::from(self.slot)).wrapping_mul(ODD)
            ^ self.generation.wrapping_mul(0xD6E8_FEB8_6659_FD93)
            ^ self.sequence.wrapping_mul(0xA076_1D64_78BD_642F);
        let words = len.min(PERIOD).div_ceil(8) as u64;
        let word = |at: u64| (seed ^ at.wrapping_mul(ODD)).wrapping_mul(ODD).to_le_bytes();
        let mut pattern: Vec<u8> = (0..words).flat_map(word).collect();
        pattern.truncate(len.min(PERIOD));
        pattern
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_foreign_byte_anywhere_is_noticed() {
        let mark = Mark { pid: 7, slot: 3, generation: 12, sequence: 99 };
        for len in [24, 40, 100, 4096, 4120, 10_001] {
            let mut bytes = vec![0; len];
            mark.fill(&mut bytes);
            assert_eq!(Mark::of(&bytes), Ok(mark));
            let mut other = bytes.clone();
            Mark { generation: 13, ..mark }.fill(&mut other);
            for at in [0, 8, 16, 24, len / 2, len - 1].into_iter().filter(|&at| at < len) {
                let mut mixed = bytes.clone();
                mixed[at] = if other[at] == bytes[at] { !bytes[at] } else { other[at] };
                match Mark::of(&mixed) {
                    Ok(found) => assert!(found != mark && len == 24, "byte {at} of {len}"),
                    Err(mixed) => assert!(!mixed.what.is_empty()),
                }
            }
        }
        assert!(Mark::of(&[0; 23]).is_err());
    }
}
