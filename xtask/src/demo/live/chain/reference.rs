//! What the detector says of the pictures, asked directly.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::input::{self, HEIGHT, VALUES, WIDTH};

/// What has to come out of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Expected {
    pub text_pixels: u64,
    /// Of the answer's bytes.
    pub checksum: u64,
}

/// Asks the detector in a process of its own, to which the prepared pictures go through a pipe.
pub fn ask(zoo: &Path, detector: &Path, pictures: &[&[u8]]) -> Result<Vec<Expected>> {
    let mut process = Command::new(zoo.join("shm-zoo-detect"))
        .arg("--detector")
        .arg(detector)
        .args(["--height", &HEIGHT.to_string(), "--width", &WIDTH.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("could not start shm-zoo-detect in {}", zoo.display()))?;
    let mut stdin = process.stdin.take().context("stdin was not piped")?;
    let mut values = vec![0.0; VALUES];
    for picture in pictures {
        input::fill(picture, &mut values);
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
        // A process that ended early says why itself, and has given too few answers.
        if stdin.write_all(&bytes).is_err() {
            break;
        }
    }
    drop(stdin);
    let output = process.wait_with_output().context("could not wait for shm-zoo-detect")?;
    ensure!(output.status.success(), "shm-zoo-detect ended with {}", output.status);
    let text = String::from_utf8(output.stdout).context("shm-zoo-detect printed no text")?;
    let answers: Vec<Expected> = text
        .lines()
        .map(|line| serde_json::from_str(line).with_context(|| format!("not an answer: {line}")))
        .collect::<Result<_>>()?;
    ensure!(
        answers.len() == pictures.len(),
        "shm-zoo-detect gave {} answers to {} pictures",
        answers.len(),
        pictures.len()
    );
    Ok(answers)
}
