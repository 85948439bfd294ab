//! Running another program under a progress line.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::progress::Progress;

/// What a program did.
pub struct Finished {
    pub status: ExitStatus,
    /// Everything that was shown of both its streams, in the order of arrival.
    pub shown: Vec<String>,
    /// The limit after which it was killed with all its children, if it came to that.
    pub killed_after: Option<Duration>,
}

impl Finished {
    /// Turns a failing exit status into an error that names the command.
    pub fn expect_success(&self, command: &Command) -> Result<()> {
        if let Some(limit) = self.killed_after {
            bail!("`{}` was killed after {} s", describe(command), limit.as_secs());
        }
        if !self.status.success() {
            bail!("`{}` ended with {}", describe(command), self.status);
        }
        Ok(())
    }
}

/// Which stream a line came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Stdout,
    Stderr,
}

/// Runs `command` to its end. `on_line` sees every line and says what of it to show. When the
/// command fails and its lines went into a spinner, they are printed afterwards.
pub fn watch(
    command: &mut Command,
    progress: Progress,
    on_line: impl FnMut(&Progress, Origin, &str) -> Option<String>,
) -> Result<Finished> {
    run(command, None, progress, on_line)
}

/// The same with an end: what runs longer than `limit` is killed, and so are the processes that
/// it began, which would otherwise keep its output open for ever.
pub fn watch_within(
    command: &mut Command,
    limit: Duration,
    progress: Progress,
    on_line: impl FnMut(&Progress, Origin, &str) -> Option<String>,
) -> Result<Finished> {
    run(command.process_group(0), Some(limit), progress, on_line)
}

fn run(
    command: &mut Command,
    limit: Option<Duration>,
    progress: Progress,
    mut on_line: impl FnMut(&Progress, Origin, &str) -> Option<String>,
) -> Result<Finished> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start `{}`; is it installed?", describe(command)))?;
    let deadline = limit.map(|limit| Instant::now() + limit);
    let (sender, lines) = mpsc::channel();
    let stdout = child.stdout.take().context("stdout was not piped")?;
    let stderr = child.stderr.take().context("stderr was not piped")?;
    let mut shown = Vec::new();
    let mut killed = false;
    std::thread::scope(|scope| {
        let for_stderr = sender.clone();
        scope.spawn(move || forward(stdout, Origin::Stdout, &sender));
        scope.spawn(move || forward(stderr, Origin::Stderr, &for_stderr));
        loop {
            let (origin, line) = match next_line(&lines, deadline.filter(|_| !killed)) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    killed = true;
                    kill_with_children(&mut child);
                    continue;
                }
            };
            if let Some(text) = on_line(&progress, origin, &line) {
                progress.line(&text);
                shown.push(text);
            }
        }
    });
    let status = child.wait().context("could not wait for the program")?;
    let echoed = progress.finish();
    if !status.success() && !echoed {
        for line in &shown {
            println!("{line}");
        }
    }
    Ok(Finished { status, shown, killed_after: limit.filter(|_| killed) })
}

/// Runs `command` and shows every line it prints.
pub fn watch_all(command: &mut Command) -> Result<Finished> {
    let progress = Progress::spinner(&describe(command));
    watch(command, progress, |_, _, line| Some(line.to_owned()))
}

/// Runs a short question such as `--version` and returns what it printed.
pub fn ask(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start `{}`", describe(command)))?;
    if !output.status.success() {
        bail!(
            "`{}` ended with {}: {}",
            describe(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The command as a person would type it.
pub fn describe(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let name = program.file_stem().unwrap_or(command.get_program());
    let mut text = name.to_string_lossy().into_owned();
    for argument in command.get_args() {
        text.push(' ');
        text.push_str(&argument.to_string_lossy());
    }
    text
}

type Line = (Origin, String);

fn next_line(lines: &Receiver<Line>, deadline: Option<Instant>) -> Result<Line, RecvTimeoutError> {
    match deadline {
        None => lines.recv().map_err(RecvTimeoutError::from),
        Some(deadline) => lines.recv_timeout(deadline.saturating_duration_since(Instant::now())),
    }
}

/// The group is the child's own, see [`watch_within`], and the child is not yet waited for, so
/// its number is still its own.
fn kill_with_children(child: &mut Child) {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
}

fn forward(stream: impl Read, origin: Origin, lines: &Sender<Line>) {
    let mut reader = BufReader::new(stream);
    let mut bytes = Vec::new();
    // Lines need not be UTF-8: a test may print anything.
    while reader.read_until(b'\n', &mut bytes).is_ok_and(|length| length > 0) {
        let text = String::from_utf8_lossy(&bytes);
        if lines.send((origin, text.trim_end_matches(['\n', '\r']).to_owned())).is_err() {
            return;
        }
        bytes.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        command
    }

    #[test]
    fn both_streams_and_the_status_arrive() {
        let mut command = shell("echo out; echo err >&2; exit 3");
        let mut origins = Vec::new();
        let progress = Progress::spinner("a shell");
        let finished = watch(&mut command, progress, |_, origin, line| {
            origins.push((origin, line.to_owned()));
            Some(line.to_owned())
        })
        .unwrap();
        origins.sort_by_key(|(_, line)| line.clone());
        assert_eq!(
            origins,
            [(Origin::Stderr, "err".to_owned()), (Origin::Stdout, "out".to_owned())]
        );
        assert_eq!(finished.status.code(), Some(3));
        let error = finished.expect_success(&command).unwrap_err().to_string();
        assert!(error.contains("sh -c"), "{error}");
        assert!(error.contains('3'), "{error}");
    }

    #[test]
    fn a_missing_program_is_an_error_that_names_it() {
        let mut command = Command::new("no-such-program-anywhere");
        let error = format!("{:#}", ask(&mut command).unwrap_err());
        assert!(error.contains("no-such-program-anywhere"), "{error}");
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_its_children() {
        let mut command = shell("echo begun; sleep 600 & sleep 600");
        let limit = Duration::from_millis(300);
        let progress = Progress::spinner("a shell");
        let finished =
            watch_within(&mut command, limit, progress, |_, _, line| Some(line.to_owned()))
                .unwrap();
        assert_eq!(finished.shown, ["begun"]);
        assert_eq!(finished.killed_after, Some(limit));
        let error = finished.expect_success(&command).unwrap_err().to_string();
        assert!(error.contains("killed after"), "{error}");
    }

    #[test]
    fn a_program_that_ends_in_time_is_left_alone() {
        let mut command = shell("echo done");
        let limit = Duration::from_secs(600);
        let progress = Progress::spinner("a shell");
        let finished =
            watch_within(&mut command, limit, progress, |_, _, line| Some(line.to_owned()))
                .unwrap();
        assert_eq!((finished.killed_after, finished.status.success()), (None, true));
    }

    #[test]
    fn bytes_that_are_no_text_do_not_stop_the_reading() {
        let mut command = shell("printf '\\377\\n'; echo after");
        let finished = watch_all(&mut command).unwrap();
        assert_eq!(finished.shown.last().map(String::as_str), Some("after"));
    }
}
