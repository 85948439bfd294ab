//! Nothing of ours may be left in the shared-memory folder after the suite, and no socket of a server that
//! is gone in the folder where servers of tensors are found.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::gate::Report;

const FOLDER: &str = "/dev/shm";

/// The segments and the sockets that were there before the suite.
pub struct Leftovers {
    folder: PathBuf,
    sockets: PathBuf,
    before: BTreeSet<String>,
}

impl Leftovers {
    /// Remembers what is there now.
    pub fn before() -> Result<Self> {
        Self::of_folders(Path::new(FOLDER), &runtime_folder()?)
    }

    /// Compares with what was there before.
    pub fn after(&self) -> Result<Report> {
        let left = self.left()?;
        let compared = self.prove_the_listing_sees()? + self.before.len() as u64;
        let ran = format!("compare the listings of {}", self.folder.display());
        Ok(Report::check(ran, compared, "files").failing_if(!left.is_empty(), || {
            format!(
                "{} left in {} or {}: {}; find the test that does not unlink, then remove them",
                left.len(),
                self.folder.display(),
                self.sockets.display(),
                left.join(", ")
            )
        }))
    }

    fn of_folders(folder: &Path, sockets: &Path) -> Result<Self> {
        let before = found(folder, sockets)?;
        Ok(Self { folder: folder.to_path_buf(), sockets: sockets.to_path_buf(), before })
    }

    fn left(&self) -> Result<Vec<String>> {
        Ok(found(&self.folder, &self.sockets)?.difference(&self.before).cloned().collect())
    }

    /// A listing that looked in the wrong place or for the wrong names would find nothing for
    /// ever, so a probe has to be seen first.
    fn prove_the_listing_sees(&self) -> Result<u64> {
        let name = format!("{OUR_PREFIX}0.test-probe-{}", std::process::id());
        let probe = self.folder.join(&name);
        fs::write(&probe, b"probe")
            .with_context(|| format!("could not write {}", probe.display()))?;
        let seen = segments(&self.folder).map(|found| found.contains(&name));
        fs::remove_file(&probe).with_context(|| format!("could not remove {}", probe.display()))?;
        if !seen? {
            bail!("the listing of {} did not show a probe", self.folder.display());
        }
        Ok(1)
    }
}

/// Where servers of tensors are found unless somebody says otherwise.
fn runtime_folder() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| !folder.is_empty()) {
        return Ok(Path::new(&folder).join("shm-share"));
    }
    let user = fs::metadata("/proc/self").context("could not ask which user this is")?.uid();
    Ok(PathBuf::from(format!("/tmp/shm-share-{user}")))
}

fn found(segments_in: &Path, sockets_in: &Path) -> Result<BTreeSet<String>> {
    let mut found = segments(segments_in)?;
    found.extend(dead_sockets(sockets_in)?);
    Ok(found)
}

/// Sockets at which nobody listens. Those of servers that run beside the suite are left alone.
fn dead_sockets(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("could not list {}", folder.display()))?,
    };
    let mut dead = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("could not list {}", folder.display()))?;
        let refused = |path: &Path| {
            UnixStream::connect(path)
                .is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
        };
        if entry.file_type().is_ok_and(|kind| kind.is_socket()) && refused(&entry.path()) {
            dead.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(dead)
}

const OUR_PREFIX: &str = "shm.";

/// Names that only tests, the demo and benches give to their streams, and those that clients of Triton
/// give to their regions. Segments of other programs that run beside the suite have other names and
/// are left alone.
const OF_THE_SUITE: [&str; 14] = [
    "test",
    "contract",
    "crash",
    "demo",
    "bench",
    "doc",
    "readme",
    "pytest-",
    "parity-",
    "triton.",
    "cuda-test",
    "shares-",
    "examples",
    "shm-bench-",
];

fn segments(folder: &Path) -> Result<BTreeSet<String>> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("could not list {}", folder.display()))?;
    let mut names = BTreeSet::new();
    for entry in entries {
        let name = entry
            .with_context(|| format!("could not list {}", folder.display()))?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if is_of_the_suite(&name) {
            names.insert(name);
        }
    }
    Ok(names)
}

/// Segments are files `shm.<uid>.<name>`, unfinished ones `shm.<uid>~<creator>`. The benches also
/// make files of other systems, to compare with; those begin with `bench-<pid>`.
fn is_of_the_suite(file: &str) -> bool {
    let Some(rest) = file.strip_prefix(OUR_PREFIX) else {
        let of_a_bench = file.strip_prefix("bench-");
        return of_a_bench.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    };
    let rest = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
    match rest.split_at_checked(1) {
        Some((".", name)) => OF_THE_SUITE.iter().any(|prefix| name.starts_with(prefix)),
        // A draft tells nothing of its name, and a finished creation leaves none.
        Some(("~", _)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::gates::gate::Verdict;

    fn of_folder(folder: &Path) -> Result<Leftovers> {
        Leftovers::of_folders(folder, &folder.join("no-sockets"))
    }

    #[test]
    fn a_socket_that_nobody_serves_is_a_leftover_and_a_live_one_is_not() {
        let (segments, sockets) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let leftovers = Leftovers::of_folders(segments.path(), sockets.path()).unwrap();
        let listen = |name| UnixListener::bind(sockets.path().join(name)).unwrap();
        let _live = listen("live.sock");
        fs::write(sockets.path().join("live.sock.lock"), "1").unwrap();
        assert_eq!(leftovers.after().unwrap().verdict, Verdict::Passed);
        drop(listen("dead.sock"));
        let Verdict::Failed(why) = leftovers.after().unwrap().verdict else {
            panic!("a dead socket passed");
        };
        assert!(why.starts_with("1 left") && why.contains("dead.sock"), "{why}");
    }

    #[test]
    fn a_segment_that_stays_fails_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("shm.0.test-old"), b"").unwrap();
        let leftovers = of_folder(folder.path()).unwrap();
        assert_eq!(leftovers.after().unwrap().verdict, Verdict::Passed);

        fs::write(folder.path().join("shm.1000.demo-17"), b"").unwrap();
        let report = leftovers.after().unwrap();
        let Verdict::Failed(why) = report.verdict else {
            panic!("a leftover passed");
        };
        assert!(why.contains("shm.1000.demo-17") && !why.contains("test-old"), "{why}");
    }

    #[test]
    fn what_others_put_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let leftovers = of_folder(folder.path()).unwrap();
        for name in ["sem.other", "shm.0.camera", "shm.0", "shm.", "test-without"] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        let report = leftovers.after().unwrap();
        assert_eq!(report.verdict, Verdict::Passed);
        assert_eq!(report.count, 1);
    }

    #[test]
    fn what_the_python_tests_and_the_parity_run_leave_is_a_leftover() {
        let folder = tempfile::tempdir().unwrap();
        let leftovers = of_folder(folder.path()).unwrap();
        for name in ["shm.0.pytest-812-frames", "shm.0.parity-9f3a_matrix"] {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        let Verdict::Failed(why) = leftovers.after().unwrap().verdict else {
            panic!("a leftover passed");
        };
        assert!(why.contains("2 left") && why.contains("parity-9f3a_matrix"), "{why}");
    }

    #[test]
    fn an_unfinished_segment_is_a_leftover() {
        let folder = tempfile::tempdir().unwrap();
        let leftovers = of_folder(folder.path()).unwrap();
        fs::write(folder.path().join("shm.0~812.99.1"), b"").unwrap();
        let report = leftovers.after().unwrap();
        assert!(matches!(report.verdict, Verdict::Failed(_)));
    }

    #[test]
    fn a_file_of_a_bench_is_a_leftover() {
        let folder = tempfile::tempdir().unwrap();
        let leftovers = of_folder(folder.path()).unwrap();
        fs::write(folder.path().join("bench-812-shm3-node"), b"").unwrap();
        let report = leftovers.after().unwrap();
        assert!(matches!(report.verdict, Verdict::Failed(_)));
    }

    #[test]
    fn a_folder_that_cannot_be_listed_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(of_folder(&folder.path().join("absent")).is_err());
    }
}
