//! Recordings: the frames of a stream in a file, with their numbers and times.
//!
//! ```text
//!   stream ─▶ follow ─▶ writing ─▶ npy │ npz │ safetensors ─▶ part ─▶ the file, by rename
//!                          └─ rows: count, id and times of each frame
//!
//!   the file ─▶ npy │ npz │ safetensors ─▶ extent ─▶ reading ─▶ pace ─▶ stream
//!                                            └─ columns: id and times
//! ```
//!
//! Frames go straight through; at no time are more than two of them in memory. The bytes that a file says
//! it has are compared with those that it has before anything is allocated for them.
//!
//! Upholds invariants 2 (what a file says is checked) and 8 (what was missed or cut is said).

mod columns;
mod extent;
mod follow;
mod npy;
mod npz;
mod pace;
mod part;
mod reading;
mod rows;
mod safetensors;
mod stop;
mod writing;

pub(crate) use follow::Follower;
pub(crate) use pace::Pace;
pub(crate) use reading::Recording;
pub(crate) use rows::FrameRow;
pub(crate) use stop::Stop;
pub(crate) use writing::{About, Target, Writing};

use super::exit::{Exit, Failure};
use std::fmt::Display;
use std::path::Path;

/// The kinds of files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Npy,
    Npz,
    Safetensors,
}

impl Format {
    /// What the end of the name says.
    fn of(path: &Path) -> Result<Format, Failure> {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        match ending.to_ascii_lowercase().as_str() {
            "npy" => Ok(Format::Npy),
            "npz" => Ok(Format::Npz),
            "safetensors" => Ok(Format::Safetensors),
            _ => Err(Failure::new(
                Exit::Usage,
                format!(
                    "{}: the name ends in `{ending}`, expected .npy, .npz or .safetensors",
                    path.display()
                ),
                "the ending says which format the file has",
            )),
        }
    }
}

/// A file that cannot be used: the field, what was expected, what was found, what to do.
fn refused(
    label: &str,
    field: &str,
    expected: impl Display,
    found: impl Display,
    todo: &str,
) -> Failure {
    let message = format!("{label}: {field} is {found}, expected {expected}");
    Failure::new(Exit::Refused, message, todo)
}

/// What the system said about a file: an end that came too early is the file's fault.
fn unreadable(label: &str, field: &str, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    match error.kind() {
        UnexpectedEof => {
            let todo = "the file is truncated: copy or record it again";
            refused(label, field, "complete", "cut off", todo)
        }
        InvalidData | InvalidInput => {
            let todo = "the file is damaged: copy or record it again";
            refused(label, field, "readable", format!("damaged ({error})"), todo)
        }
        _ => Failure::system(&format!("read {field} of {label}"), error),
    }
}
