//! Opening the shared memory object that a client names.

use crate::server::Refusal;
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, fstat};
use rustix::shm;

/// Prefixes of objects that belong to servers, which no client may have mapped.
const RESERVED: &[&str] = &["triton_python_backend_shm_region_"];

/// Opens the object, like the C library does: any number of slashes may come first, none later.
pub(super) fn open(key: &str) -> Result<OwnedFd, Refusal> {
    let name = key.trim_start_matches('/');
    if let Some(prefix) = RESERVED.iter().find(|prefix| name.starts_with(**prefix)) {
        return Err(Refusal::invalid(format!(
            "cannot register shared memory region with key '{key}': keys that begin with '{prefix}' are reserved"
        )));
    }
    let cannot = |why: &str| {
        Refusal::internal(format!("Unable to open shared memory region: '{key}': {why}"))
    };
    if name.is_empty() {
        return Err(cannot("the name is empty"));
    }
    if name.contains('/') || name == "." || name == ".." {
        return Err(cannot("it is no name of an object: it has a '/' inside, or is '.' or '..'"));
    }
    let object = shm::open(name, shm::OFlags::RDWR, Mode::empty())
        .map_err(|error| cannot(&std::io::Error::from(error).to_string()))?;
    let stat = fstat(&object).map_err(|error| cannot(&std::io::Error::from(error).to_string()))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(cannot("it is no shared memory object"));
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Code;

    #[test]
    fn only_names_of_objects_are_opened() {
        for key in [
            "",
            "/",
            "//",
            "a/b",
            "/a/b",
            "..",
            "/..",
            ".",
            "../etc/passwd",
            "a\0b",
            "no-such-object",
        ] {
            let refusal = open(key).unwrap_err();
            assert_eq!(refusal.code, Code::Internal, "{key:?}");
            assert!(refusal.message.contains("Unable to open shared memory region"), "{refusal}");
        }
    }

    #[test]
    fn the_servers_own_objects_are_refused() {
        for key in ["triton_python_backend_shm_region_1", "/triton_python_backend_shm_region_"] {
            let refusal = open(key).unwrap_err();
            assert_eq!(refusal.code, Code::InvalidArgument);
            assert!(refusal.message.contains("reserved"), "{refusal}");
        }
    }
}
