//! What a server prints, in a file without a name: nothing of it stays when its process is killed.

use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

#[derive(Debug)]
pub(super) struct Log(File);

impl Log {
    pub(super) fn new() -> io::Result<Log> {
        Ok(Log(File::from(memfd_create("triton-server-log", MemfdFlags::CLOEXEC)?)))
    }

    /// For the server to write to. All of these share one position.
    pub(super) fn to_write(&self) -> io::Result<File> {
        self.0.try_clone()
    }

    /// What is written so far.
    pub(super) fn text(&self) -> String {
        let mut bytes = Vec::new();
        let mut part = vec![0; 64 * 1024];
        // Read at places of our own: the position is the server's.
        while let Ok(count @ 1..) = self.0.read_at(&mut part, bytes.len() as u64) {
            bytes.extend_from_slice(&part[..count]);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}
