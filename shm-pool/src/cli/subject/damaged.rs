//! Files that begin like a segment's and are none: damaged, half-born, or somebody else's.
//!
//! Upholds invariants 2 (why a file is none is what opening it says) and 9 (nothing here is touched).

use super::super::exit::Failure;
use serde::Serialize;
use shm_core::{GcReport, MAX_NAME_BYTES, OpenError};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Where segments are files.
pub(crate) const FOLDER: &str = "/dev/shm";

/// Such a file.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Unreadable {
    pub(crate) file: String,
    pub(crate) path: String,
    /// The segment's name, as far as the file's name tells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    pub(crate) state: Flaw,
    pub(crate) bytes: u64,
    pub(crate) allocated_bytes: u64,
    /// What stands in the way of opening it.
    pub(crate) reason: String,
}

/// In which way it is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Flaw {
    Damaged,
    /// Its creator has not finished, or died before it had.
    HalfBorn,
    /// A creator died before the file had a name that anybody opens.
    Draft,
    /// This library did not write it.
    Foreign,
}

impl Flaw {
    /// What stands in the way of opening a file, as a flaw of the file.
    pub(crate) fn of(error: &OpenError) -> Flaw {
        match error {
            OpenError::NotReady { .. } => Flaw::HalfBorn,
            OpenError::Foreign { .. } | OpenError::NotRegular { .. } | OpenError::Owner { .. } => {
                Flaw::Foreign
            }
            _ => Flaw::Damaged,
        }
    }

    pub(crate) fn label(self) -> &'static str {
        match self {
            Flaw::Damaged => "DAMAGED",
            Flaw::HalfBorn => "HALF-BORN",
            Flaw::Draft => "DRAFT",
            Flaw::Foreign => "FOREIGN",
        }
    }
}

impl Unreadable {
    /// All such files whose segments' names begin so; those that do not tell a name only for an empty
    /// prefix.
    pub(crate) fn all(prefix: &str) -> Result<Vec<Unreadable>, Failure> {
        // No name is that long, so no segment is looked at, only what is none.
        let nobody = "~".repeat(MAX_NAME_BYTES + 1);
        let report = shm_core::gc(&nobody, true)
            .map_err(|error| Failure::system("list shared memory", &error))?;
        Ok(Unreadable::of(&report, prefix))
    }

    /// Those of a report.
    pub(crate) fn of(report: &GcReport, prefix: &str) -> Vec<Unreadable> {
        let unknown = report.unknown.iter().filter_map(|file| Unreadable::unknown(file));
        let drafts = report.drafts.iter().map(|file| Unreadable::draft(file));
        unknown
            .chain(drafts)
            .filter(|one| match &one.name {
                Some(name) => name.starts_with(prefix),
                None => prefix.is_empty(),
            })
            .collect()
    }

    /// How people call it.
    pub(crate) fn called(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.file)
    }

    /// `None` if it went away, or has become a segment.
    fn unknown(file: &str) -> Option<Unreadable> {
        let name = name_of(file);
        let (state, reason) = match name.as_deref().map(shm_core::stat) {
            Some(Ok(_) | Err(OpenError::NotFound { .. })) => return None,
            Some(Err(error)) => (Flaw::of(&error), error.to_string()),
            None => {
                let reason = "its file name does not tell the name that its header would confirm";
                (Flaw::Damaged, reason.to_owned())
            }
        };
        Some(Unreadable::found(file, name, state, reason))
    }

    fn draft(file: &str) -> Unreadable {
        let reason = "its creator died before it was complete; `shm gc` removes it".to_owned();
        Unreadable::found(file, None, Flaw::Draft, reason)
    }

    fn found(file: &str, name: Option<String>, state: Flaw, reason: String) -> Unreadable {
        let path = Path::new(FOLDER).join(file);
        let (bytes, allocated_bytes) = match fs::symlink_metadata(&path) {
            Ok(found) => (found.len(), found.blocks() * 512),
            Err(_) => (0, 0),
        };
        let (file, path) = (file.to_owned(), path.display().to_string());
        Unreadable { file, path, name, state, bytes, allocated_bytes, reason }
    }
}

/// The name that a file stands for: `shm.1000.camera%2Ffront` is `camera/front`. A file name that was cut
/// does not tell it.
fn name_of(file: &str) -> Option<String> {
    let (_, escaped) = file.strip_prefix("shm.")?.split_once('.')?;
    if escaped.contains('~') {
        return None;
    }
    let mut bytes = Vec::new();
    let mut parts = escaped.split('%');
    bytes.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_tell_names() {
        assert_eq!(name_of("shm.0.camera%2Ffront").as_deref(), Some("camera/front"));
        assert_eq!(name_of("shm.1000.a.b-c_d").as_deref(), Some("a.b-c_d"));
        for file in ["shm.0.aaaa~0123", "shm.0.a%2", "shm.0.a%zz", "shm.0.%FF", "other"] {
            assert_eq!(name_of(file), None, "{file}");
        }
    }
}
