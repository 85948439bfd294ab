//! When a process is gone altogether: after its locks, and after whatever else it had open.
//!
//! Upholds invariant 3: asked only about a process whose lock is free already, to wait for the rest of
//! it to be taken apart; the pid is believed together with the start time only.

/// When a process began, in clock ticks after boot; `None` once nothing of it is left but its exit
/// status, and where the system does not tell.
pub(crate) fn start_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    started(&stat)
}

/// The same, of the text of a process's `stat` file: the command, which may hold spaces and
/// parentheses, is the second field; the state is the third, then come threads (20th) and start (22nd).
fn started(stat: &str) -> Option<u64> {
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    // The first thread may have ended before the others.
    let others = field(20)?.parse().is_ok_and(|threads: u64| threads > 1);
    match field(3)? {
        "Z" | "X" if !others => None,
        _ => field(22)?.parse().ok(),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_there_until_it_is_a_zombie() {
        let own = start_of(std::process::id());
        assert!(own.is_some_and(|start| start > 0));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        while start_of(child.id()).is_some() {
            std::thread::yield_now();
        }
        let left = format!("/proc/{}", child.id());
        assert!(std::path::Path::new(&left).exists(), "only its exit status is left");
        child.wait().unwrap();
    }

    #[test]
    fn a_first_thread_that_ended_before_the_others_does_not_end_the_process() {
        let stat = |state, threads| {
            format!(
                "7 (a) b ({state}) {state} 1 7 7 0 -1 4 1 0 0 0 0 0 0 0 20 0 {threads} 0 4711 0"
            )
        };
        assert_eq!(started(&stat("S", 1)), Some(4711));
        assert_eq!(started(&stat("Z", 2)), Some(4711));
        assert_eq!(started(&stat("Z", 1)), None);
        assert_eq!(started(""), None);
    }
}
