//! Standard input line by line, without a buffer or lock that a fork could break.

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The commands of one peer.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pending: Vec<u8>,
}

impl Lines {
    /// The next line; `None` at the end.
    pub(super) fn next(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.pending.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            let mut some = [0; 512];
            match rustix::io::read(rustix::stdio::stdin(), &mut some[..]) {
                Ok(0) => return None,
                Ok(read) => self.pending.extend_from_slice(&some[..read]),
                Err(rustix::io::Errno::INTR) => {}
                Err(_) => return None,
            }
        }
    }

    /// True when a line, or the end, can be had without waiting.
    pub(super) fn is_waiting(&self) -> bool {
        let stdin = rustix::stdio::stdin();
        let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        !self.pending.is_empty() || !matches!(poll(&mut fds, Some(&now)), Ok(0))
    }
}
