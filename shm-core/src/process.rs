//! Who a process is: enough to name it in a report, never enough to declare it dead.
//!
//! Upholds invariant 3: identity is for people and for sweeping drafts of this boot; whether a
//! holder lives is decided by its kernel lock alone (see [`crate::os`]).

/// Identity of a process within one boot: a pid together with its start time is never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProcessId {
    pub(crate) pid: u32,
    /// Clock ticks after boot, 0 where the platform does not tell.
    pub(crate) start: u64,
}

impl ProcessId {
    /// The calling process.
    pub(crate) fn own() -> ProcessId {
        let pid = std::process::id();
        ProcessId { pid, start: start_time(pid).unwrap_or(0) }
    }

    /// True when a process with this pid and start time is visible from here and is no zombie.
    pub(crate) fn is_visible(self) -> bool {
        start_time(self.pid).is_some_and(|start| start == self.start)
    }
}

/// How many forks lie between the process that first asked and this one: what was held or started in another
/// generation belongs to an ancestor. Costs two loads. 0 where `fork` is not watched.
#[inline]
pub fn fork_generation() -> u64 {
    crate::os::generation()
}

/// Effective user id; 0 where the platform has none.
pub(crate) fn uid() -> u32 {
    #[cfg(unix)]
    return rustix::process::geteuid().as_raw();
    #[cfg(not(unix))]
    return 0;
}

/// Random id of this boot, zero where the platform has none.
pub(crate) fn boot_id() -> [u8; 16] {
    let mut id = [0; 16];
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
        let hex = core::str::from_utf8(pair).unwrap_or("0");
        *byte = u8::from_str_radix(hex, 16).unwrap_or(0);
    }
    id
}

/// Inode of the pid namespace, 0 where the platform has none.
pub(crate) fn pid_namespace() -> u64 {
    #[cfg(unix)]
    return rustix::fs::stat("/proc/self/ns/pid").map_or(0, |stat| stat.st_ino);
    #[cfg(not(unix))]
    return 0;
}

/// Sixteen random bytes.
pub(crate) fn random_id() -> [u8; 16] {
    let mut id = [0; 16];
    #[cfg(target_os = "linux")]
    if rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty()).is_ok() {
        return id;
    }
    // Unique, if not secret: time, pid and an address that the loader randomises.
    let seed = (crate::clock::wall_ns(), std::process::id(), &raw const id as usize);
    id.copy_from_slice(&xxhash_rust::xxh3::xxh3_128(format!("{seed:?}").as_bytes()).to_le_bytes());
    id
}

fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Field 2 is the command in parentheses and may itself hold spaces and parentheses.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_is_visible_and_a_reused_pid_is_not() {
        let own = ProcessId::own();
        assert!(own.start > 0 && own.is_visible());
        assert!(!ProcessId { start: own.start + 1, ..own }.is_visible());
    }

    #[test]
    fn a_zombie_is_not_visible() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = child.id();
        while start_time(pid).is_some() {
            std::thread::yield_now();
        }
        assert!(std::path::Path::new(&format!("/proc/{pid}")).exists(), "still a zombie");
        child.wait().unwrap();
    }
}
