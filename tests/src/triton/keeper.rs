//! A child process that ends with the process that started it, whatever ends that.

use rustix::process::{Pid, Signal, kill_process};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

/// A child, and the thread that keeps it: the kernel kills the child when the thread that started
/// it ends, so that must not be the thread of a test.
#[derive(Debug)]
pub(super) struct Keeper {
    child: Mutex<Child>,
    pid: u32,
    _thread_lives: Sender<()>,
}

impl Keeper {
    pub(super) fn start(mut command: Command) -> io::Result<Keeper> {
        let parent = std::process::id();
        let die_with_parent = move || {
            // SAFETY: the call changes a setting of the calling process and takes no pointers.
            if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
                return Err(io::Error::last_os_error());
            }
            // Where the parent ended before the setting, nobody would send the signal.
            if std::os::unix::process::parent_id() != parent {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes two system calls and, where one fails,
        // an error from its number: nothing allocates or takes a lock.
        unsafe { command.stdin(Stdio::null()).pre_exec(die_with_parent) };
        let (thread_lives, ended) = channel::<()>();
        let (tell, told) = channel();
        thread::Builder::new().name("keeps-a-server".into()).spawn(move || {
            let _ = tell.send(command.spawn());
            // Until the other end is dropped.
            let _ = ended.recv();
        })?;
        let child = told.recv().map_err(io::Error::other)??;
        Ok(Keeper { pid: child.id(), child: Mutex::new(child), _thread_lives: thread_lives })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn is_alive(&self) -> bool {
        matches!(self.lock().try_wait(), Ok(None))
    }

    /// Kills it and waits for it; nothing happens where it has ended.
    pub(super) fn kill(&self) -> io::Result<()> {
        let mut child = self.lock();
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Sends a signal, unless it has ended.
    pub(super) fn signal(&self, signal: Signal) -> io::Result<()> {
        let mut child = self.lock();
        // Until it is waited for, and that needs the lock, its number is its own.
        if child.try_wait()?.is_some() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the server has ended"));
        }
        Ok(kill_process(Pid::from_child(&child), signal)?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}
