//! How like the direct answer a server's answer has to be.

use super::message::Answer;
use super::reference::Expected;

/// What counts as the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Likeness {
    /// The same program computed both.
    EveryBit,
    /// Another program computed the answer: the last digits differ, and with them a few pixels
    /// that were close to being text or not.
    SameText,
}

impl Likeness {
    pub fn holds(self, answer: &Answer, expected: &Expected) -> bool {
        let apart = answer.text_pixels.abs_diff(expected.text_pixels);
        match self {
            Self::EveryBit => answer.checksum == expected.checksum && apart == 0,
            Self::SameText => apart <= 2 + expected.text_pixels / 200,
        }
    }

    /// What was compared, in the words of the verdict.
    pub fn words(self) -> &'static str {
        match self {
            Self::EveryBit => "were, bit for bit,",
            Self::SameText => "found as many text pixels, give or take half a percent, as",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bit_or_a_piece_of_text_apart_is_told() {
        let expected = Expected { text_pixels: 1000, checksum: 7 };
        let holds = |likeness: Likeness, text_pixels, checksum| {
            likeness.holds(&Answer { text_pixels, checksum, ..Answer::default() }, &expected)
        };
        assert!(holds(Likeness::EveryBit, 1000, 7));
        assert!(!holds(Likeness::EveryBit, 1000, 8) && !holds(Likeness::EveryBit, 999, 7));
        assert!(holds(Likeness::SameText, 1007, 8) && holds(Likeness::SameText, 993, 8));
        assert!(!holds(Likeness::SameText, 1008, 7) && !holds(Likeness::SameText, 0, 7));
    }
}
