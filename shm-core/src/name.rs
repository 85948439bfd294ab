//! From any user string to a file name, and back.
//!
//! Upholds invariant 9: names are validated and prefixed, and only names of this form are ever
//! listed or unlinked.
//!
//! `camera/front` of uid 1000 is the file `shm.1000.camera%2Ffront`. A name whose escaped form is
//! too long for a file name keeps a readable beginning and gets the XXH3-128 of the whole:
//! `shm.1000.aaaa…~0123…`. The segment itself carries the name in full, and opening compares it.

use xxhash_rust::xxh3::xxh3_128;

/// The longest name, in bytes of UTF-8. It is stored inside the segment.
pub const MAX_NAME_BYTES: usize = 32 * 1024;

/// The file name is kept this much shorter than the 255 bytes that file systems allow.
const MAX_ESCAPED: usize = 160;
const READABLE_BEGINNING: usize = 100;

/// Why a string cannot name a segment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The empty string.
    #[error("name is empty; give the segment a name of 1 to {MAX_NAME_BYTES} bytes")]
    Empty,
    /// Longer than a segment can carry.
    #[error("name has {found} bytes; at most {MAX_NAME_BYTES} are supported, so shorten it")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
}

/// A checked name and the file name that stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentName {
    text: String,
    file: String,
}

impl SegmentName {
    /// Checks `text` and computes the file name for user `uid`.
    pub(crate) fn new(text: &str, uid: u32) -> Result<SegmentName, NameError> {
        match text.len() {
            0 => return Err(NameError::Empty),
            found if found > MAX_NAME_BYTES => return Err(NameError::TooLong { found }),
            _ => {}
        }
        let file = format!("{}{}", prefix(uid), escape(text));
        Ok(SegmentName { text: text.to_owned(), file })
    }

    /// The name as the user gave it.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The file name, without directory.
    pub(crate) fn file(&self) -> &str {
        &self.file
    }
}

/// What every finished segment file of a user begins with.
pub(crate) fn prefix(uid: u32) -> String {
    format!("shm.{uid}.")
}

/// What every segment file begins with that is still being built: never a finished name, because
/// `~` follows the uid.
pub(crate) fn draft_prefix(uid: u32) -> String {
    format!("shm.{uid}~")
}

fn escape(text: &str) -> String {
    let escaped: String = text.bytes().map(|byte| Escaped(byte).to_string()).collect();
    if escaped.len() <= MAX_ESCAPED {
        return escaped;
    }
    // `~` is always escaped, so a long name can never look like a short one.
    format!("{}~{:032x}", &escaped[..READABLE_BEGINNING], xxh3_128(text.as_bytes()))
}

struct Escaped(u8);

impl core::fmt::Display for Escaped {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                write!(f, "{}", self.0 as char)
            }
            other => write!(f, "%{other:02X}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(text: &str) -> String {
        SegmentName::new(text, 1000).unwrap().file().to_owned()
    }

    #[test]
    fn readable_names_stay_readable() {
        assert_eq!(file("camera-0.left"), "shm.1000.camera-0.left");
        assert_eq!(file("camera/front"), "shm.1000.camera%2Ffront");
        assert_eq!(file("../x"), "shm.1000...%2Fx");
        assert_eq!(file("\0"), "shm.1000.%00");
    }

    #[test]
    fn bounds_are_explained() {
        assert_eq!(
            SegmentName::new("", 0).unwrap_err().to_string(),
            "name is empty; give the segment a name of 1 to 32768 bytes"
        );
        let error = SegmentName::new(&"x".repeat(MAX_NAME_BYTES + 1), 0).unwrap_err();
        assert_eq!(error, NameError::TooLong { found: MAX_NAME_BYTES + 1 });
    }

    proptest! {
        #[test]
        fn any_string_is_a_valid_file_name(text in any::<String>().prop_filter("empty", |s| !s.is_empty())) {
            let file = file(&text);
            prop_assert!(file.len() <= 255 && !file.contains('/') && !file.contains('\0'));
        }

        #[test]
        fn different_names_have_different_files(a in ".{1,300}", b in ".{1,300}") {
            prop_assume!(a != b);
            prop_assert_ne!(file(&a), file(&b));
        }
    }
}
