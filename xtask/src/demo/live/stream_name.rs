//! The name of a stream of the demo.

/// What the names of all the demo's streams begin with.
pub const PREFIX: &str = "demo-";

/// What the names of this demo's streams begin with: another may run beside it.
pub fn of_this_demo() -> String {
    format!("{PREFIX}{}-", std::process::id())
}

/// A stream that has to be gone at the end, however the end comes.
pub struct StreamName(String);

impl StreamName {
    pub fn new(what: &str) -> Self {
        Self(format!("{}{what}", of_this_demo()))
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
