//! Running another program under a progress line.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};

use anyhow::{Context, Result, bail};

use crate::progress::Progress;

/// What a program did.
pub struct Finished {
    pub status: ExitStatus,
    /// Everything that was shown of both its streams, in the order of arrival.
    pub shown: Vec<String>,
}

impl Finished {
    /// Turns a failing exit status into an error that names the command.
    pub fn expect_success(&self, command: &Command) -> Result<()> {
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
    mut on_line: impl FnMut(&Progress, Origin, &str) -> Option<String>,
) -> Result<Finished> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start `{}`; is it installed?", describe(command)))?;
    let (sender, lines) = mpsc::channel();
    let stdout = child.stdout.take().context("stdout was not piped")?;
    let stderr = child.stderr.take().context("stderr was not piped")?;
    let mut shown = Vec::new();
    std::thread::scope(|scope| {
        let for_stderr = sender.clone();
        scope.spawn(move || forward(stdout, Origin::Stdout, &sender));
        scope.spawn(move || forward(stderr, Origin::Stderr, &for_stderr));
        for (origin, line) in lines {
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
    Ok(Finished { status, shown })
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

fn forward(stream: impl Read, origin: Origin, lines: &Sender<(Origin, String)>) {
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
    fn bytes_that_are_no_text_do_not_stop_the_reading() {
        let mut command = shell("printf '\\377\\n'; echo after");
        let finished = watch_all(&mut command).unwrap();
        assert_eq!(finished.shown.last().map(String::as_str), Some("after"));
    }
}
