//! Names that no other test uses, and that leave nothing behind.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// A unique stream name; whatever has it when it is dropped is removed.
#[derive(Debug)]
pub(crate) struct Name(String);

impl Name {
    pub(crate) fn new(label: &str) -> Name {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Name(format!("contract-{}-{number}-{label}", std::process::id()))
    }

    /// Exactly this name; the caller makes it unique.
    pub(crate) fn exactly(text: String) -> Name {
        Name(text)
    }

    /// Where the file of this name lies, if the name needs no escaping.
    pub(crate) fn path(&self) -> PathBuf {
        file_path(&self.0)
    }
}

impl Deref for Name {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        if shm_core::unlink(&self.0).is_ok() {
            return;
        }
        // Damaged or foreign on purpose: what the library rightly refuses to touch.
        let path = self.path();
        let _ = std::fs::remove_file(&path);
        let _ = std::fs::remove_dir(&path);
    }
}

/// The file of a name that consists of letters, digits, `-`, `_` and `.`.
pub(crate) fn file_path(name: &str) -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    PathBuf::from(format!("/dev/shm/shm.{uid}.{name}"))
}
