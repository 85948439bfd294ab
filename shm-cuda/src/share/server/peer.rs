//! Who is at the other end of a socket.
//!
//! Upholds invariant 9: the kernel says whose process it is, before a byte of it is read.

use rustix::process::geteuid;
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd};

/// The process that connected, or that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    /// Its process id; 0 if it is not in a pid namespace that this process can see.
    pub(super) pid: u32,
    /// Its user.
    pub(super) user: u32,
}

impl Peer {
    /// Who was at the other end when the connection was made.
    pub(super) fn of(socket: impl AsFd) -> io::Result<Peer> {
        let socket = socket.as_fd();
        let mut found = MaybeUninit::<libc::ucred>::zeroed();
        let mut len = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: the descriptor is open (borrowed), `found` has room for the `len` bytes that may be
        // written to it, and `len` is writable.
        let failed = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                found.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: three integers, zeroed before and then written; every bit pattern is a value.
        let found = unsafe { found.assume_init() };
        // A number, not rustix's `Pid`, which must not be nil: that is what the kernel says of a process
        // in another pid namespace.
        Ok(Peer { pid: u32::try_from(found.pid).unwrap_or(0), user: found.uid })
    }

    /// True if it is this user's, or one of those that are let in.
    pub(super) fn is_admitted(self, others: &[u32]) -> bool {
        self.user == geteuid().as_raw() || others.contains(&self.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_pair_is_this_process() {
        let (one, _other) = UnixStream::pair().unwrap();
        let own = Peer { pid: std::process::id(), user: geteuid().as_raw() };
        assert_eq!(Peer::of(&one).unwrap(), own);
        assert!(own.is_admitted(&[]));
    }

    #[test]
    fn others_are_admitted_by_name_only() {
        let stranger = Peer { pid: 1, user: geteuid().as_raw() + 1 };
        assert!(!stranger.is_admitted(&[]));
        assert!(!stranger.is_admitted(&[stranger.user + 1]));
        assert!(stranger.is_admitted(&[stranger.user]));
    }
}
