//! Byte strings as the protocol lays them out: each with its length in front, 32 bits, little-endian.

use std::fmt;

/// Where serialized byte strings end too early.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Fewer than four bytes are left for a length.
    Length { left: usize },
    /// Fewer bytes are left than the length says.
    Data { len: usize, left: usize },
}

impl Cut {
    pub fn of_input(&self, name: &str) -> String {
        match self {
            Cut::Length { left } => format!(
                "incomplete string length indicator for inference input '{name}', expecting 4 bytes but only {left} bytes available"
            ),
            Cut::Data { len, left } => format!(
                "incomplete string data for inference input '{name}', expecting string of length {len} but only {left} bytes available"
            ),
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cut::Length { left } => write!(f, "a length needs 4 bytes, and {left} are left"),
            Cut::Data { len, left } => write!(f, "a string has {len} bytes, and {left} are left"),
        }
    }
}

/// Counts the strings in `total` bytes, of which `length_at` reads a length at a place.
pub(super) fn walk(total: usize, mut length_at: impl FnMut(usize) -> u32) -> Result<usize, Cut> {
    let (mut at, mut count) = (0, 0);
    while at < total {
        let left = total - at;
        if left < 4 {
            return Err(Cut::Length { left });
        }
        let len = length_at(at) as usize;
        if len > left - 4 {
            return Err(Cut::Data { len, left: left - 4 });
        }
        at += 4 + len;
        count += 1;
    }
    Ok(count)
}

/// The strings in serialized bytes; ends after the first error.
pub(super) fn split(mut bytes: &[u8]) -> impl Iterator<Item = Result<&[u8], Cut>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let Some((len, rest)) = bytes.split_first_chunk::<4>() else {
            let left = bytes.len();
            bytes = &[];
            return Some(Err(Cut::Length { left }));
        };
        let len = u32::from_le_bytes(*len) as usize;
        let Some((string, rest)) = rest.split_at_checked(len) else {
            bytes = &[];
            return Some(Err(Cut::Data { len, left: rest.len() }));
        };
        bytes = rest;
        Some(Ok(string))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"\x02\0\0\0ab\0\0\0\0";

    fn count(bytes: &[u8]) -> Result<usize, Cut> {
        walk(bytes.len(), |at| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()))
    }

    #[test]
    fn strings_are_counted_and_split() {
        assert_eq!(count(TWO), Ok(2));
        assert_eq!(split(TWO).collect::<Result<Vec<_>, _>>().unwrap(), [&b"ab"[..], b""]);
        assert_eq!(count(b""), Ok(0));
    }

    #[test]
    fn what_is_cut_off_is_named() {
        assert_eq!(count(&TWO[..9]), Err(Cut::Length { left: 3 }));
        assert_eq!(count(&TWO[..5]), Err(Cut::Data { len: 2, left: 1 }));
        assert_eq!(count(b"\xff\xff\xff\xff"), Err(Cut::Data { len: u32::MAX as usize, left: 0 }));
        for end in [1, 5, 7, 9] {
            assert!(split(&TWO[..end]).last().unwrap().is_err(), "{end}");
        }
    }
}
