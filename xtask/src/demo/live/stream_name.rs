//! The name of a stream of the demo.

/// What the names of all the demo's streams begin with.
pub const PREFIX: &str = "demo-";

/// A stream that has to be gone at the end, however the end comes.
pub struct StreamName(String);

impl StreamName {
    pub fn new(what: &str) -> Self {
        Self(format!("{PREFIX}{}-{what}", std::process::id()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Drop for StreamName {
    fn drop(&mut self) {
        // It may never have been created.
        let _ = shm_core::unlink(&self.0);
    }
}
