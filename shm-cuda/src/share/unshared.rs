//! A socket that a forked child does not have.
//!
//! Upholds invariant 3: a peer sees the end of this process when this process ends, and not when the last
//! of its children does.

use shm_core::NotInherited;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// A socket of this process alone: in a forked child its number leads nowhere.
#[derive(Debug)]
pub(super) struct Unshared {
    // Declared first: ends before the number can mean something else.
    _here_only: NotInherited,
    socket: UnixStream,
}

impl Unshared {
    pub(super) fn try_clone(&self) -> io::Result<Unshared> {
        self.socket.try_clone().map(Unshared::from)
    }
}

impl From<UnixStream> for Unshared {
    fn from(socket: UnixStream) -> Unshared {
        Unshared { _here_only: NotInherited::new(socket.as_fd()), socket }
    }
}

impl Deref for Unshared {
    type Target = UnixStream;

    fn deref(&self) -> &UnixStream {
        &self.socket
    }
}

impl AsFd for Unshared {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
