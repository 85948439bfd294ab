//! What can go wrong with a stream, per operation.

use crate::copy::CopyPath;
use crate::dtype::Dtype;
use std::io;
use std::time::Duration;

/// Who holds a writer lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockHolder {
    /// Its process id, as seen in its own pid namespace.
    pub pid: u32,
    /// How long it has had the lock.
    pub held_for: Duration,
}

impl core::fmt::Display for LockHolder {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "process {} for {:.3} s", self.pid, self.held_for.as_secs_f64())
    }
}

/// Why the writer lock was not obtained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another writer has it, and is alive: stopped or slow is not dead.
    #[error(
        "writer lock of stream '{name}' is overdue after {waited:?}: held by {}; wait longer, or end that process",
        describe(holder)
    )]
    Timeout {
        /// The stream.
        name: String,
        /// The holder, if it has already said who it is.
        holder: Option<LockHolder>,
        /// How long this call waited.
        waited: Duration,
    },
    /// The stream was unlinked or replaced.
    #[error("stream '{name}' was unlinked or replaced; open the name again")]
    Stale {
        /// The stream.
        name: String,
    },
    /// The handle was opened for reading.
    #[error("stream '{name}' was opened for reading; open it with Stream::open to write")]
    ReadOnly {
        /// The stream.
        name: String,
    },
    /// The operating system refused the lock.
    #[error("cannot lock stream '{name}'")]
    Io {
        /// The stream.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
}

fn describe(holder: &Option<LockHolder>) -> String {
    holder.map_or_else(|| "a process that has just taken it".to_owned(), |found| found.to_string())
}

/// Why a frame was not published. Nothing was changed then.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Elements of another type.
    #[error("data has dtype {found}, stream '{name}' has {expected}; convert it first")]
    Dtype {
        /// The stream.
        name: String,
        /// The stream's dtype.
        expected: Dtype,
        /// The dtype of the data.
        found: Dtype,
    },
    /// Another number of elements.
    #[error(
        "data has {found} {unit}, a frame of stream '{name}' has {expected} (shape {shape:?}); publish whole frames"
    )]
    Length {
        /// The stream.
        name: String,
        /// The stream's shape.
        shape: Vec<usize>,
        /// What is counted: `elements` or `bytes`.
        unit: &'static str,
        /// How many a frame has.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// The stream was unlinked or replaced.
    #[error("stream '{name}' was unlinked or replaced; open the name again")]
    Stale {
        /// The stream.
        name: String,
    },
    /// The frames live elsewhere, so they cannot be published from here.
    #[error(
        "frames of stream '{name}' live elsewhere and are published through their device; use shm_cuda::DeviceWriter, or announce them"
    )]
    External {
        /// The stream.
        name: String,
    },
    /// The frames live in the segment, so there is nobody else to carry them out.
    #[error(
        "frames of stream '{name}' live in shared memory and cannot be announced; publish them with Writer::publish"
    )]
    NotExternal {
        /// The stream.
        name: String,
    },
    /// A way to copy that this machine does not have.
    #[error("copy path {} is not available on this machine; choose one whose `available()` is true", path.name())]
    CopyPath {
        /// The path asked for.
        path: CopyPath,
    },
    /// The loan cannot be committed here, or no longer.
    #[error(
        "loan for frame {found} cannot be committed: the next frame of this writer of stream '{name}' is {expected}; lend anew"
    )]
    Loan {
        /// The stream.
        name: String,
        /// The count that the writer's next frame has.
        expected: u64,
        /// The count that the loan was made for.
        found: u64,
    },
    /// The writer lock stayed with the parent process.
    #[error(
        "writer of stream '{name}' was made before fork(); its lock belongs to the parent, take one in this process"
    )]
    Forked {
        /// The stream.
        name: String,
    },
}

/// Why a single write under the lock failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The writer lock was not obtained.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The frame was refused.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// Why no frame was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Nothing was ever published.
    #[error("stream '{name}' has no frame yet; wait for one with read_new or read_after")]
    Empty {
        /// The stream.
        name: String,
    },
    /// No newer frame came in time. Whether a writer exists is what `stat` tells.
    #[error("no frame after {after} of stream '{name}' within {waited:?}; {}", writer(*.writer_alive))]
    Timeout {
        /// The stream.
        name: String,
        /// The count that was to be exceeded.
        after: u64,
        /// How long this call waited.
        waited: Duration,
        /// Whether a process holds the writer lock, if the system could tell.
        writer_alive: Option<bool>,
    },
    /// The frames live elsewhere only.
    #[error(
        "frames of stream '{name}' live on a device and not in shared memory; read them with shm_cuda::DeviceReader, or create the stream with Mirror::Host (in Python cpu_mirror=True)"
    )]
    NoHostPayload {
        /// The stream.
        name: String,
    },
    /// Elements of another type were asked for.
    #[error(
        "stream '{name}' has dtype {expected}, the reader asked for {found}; read it as {expected}"
    )]
    Dtype {
        /// The stream.
        name: String,
        /// The stream's dtype.
        expected: Dtype,
        /// The dtype asked for.
        found: Dtype,
    },
    /// The buffer has another size.
    #[error(
        "buffer has {found} {unit}, a frame of stream '{name}' has {expected} (shape {shape:?}); pass a buffer of that size"
    )]
    Length {
        /// The stream.
        name: String,
        /// The stream's shape.
        shape: Vec<usize>,
        /// What is counted: `elements` or `bytes`.
        unit: &'static str,
        /// How many a frame has.
        expected: usize,
        /// How many the buffer has.
        found: usize,
    },
    /// An element that the frame does not have.
    #[error("element {index} does not exist: a frame of stream '{name}' has {elements} elements")]
    Index {
        /// The stream.
        name: String,
        /// The index asked for.
        index: usize,
        /// How many elements a frame has.
        elements: usize,
    },
    /// The stream was unlinked or replaced, and its last frame has been read.
    #[error("stream '{name}' was unlinked or replaced; open the name again")]
    Stale {
        /// The stream.
        name: String,
    },
    /// The frame was overwritten while it was looked at: a view lost its frame, or a frame asked
    /// for by its count is no longer in the ring.
    #[error(
        "frame {count} of stream '{name}' was overwritten; read again, or create the stream with more history"
    )]
    Overwritten {
        /// The stream.
        name: String,
        /// The frame.
        count: u64,
    },
    /// The writer laps this reader again and again.
    #[error(
        "stream '{name}': {attempts} frames in a row were overwritten while they were read; create the stream with more cells"
    )]
    Overrun {
        /// The stream.
        name: String,
        /// How often reading was tried.
        attempts: u32,
    },
    /// A word of the segment is not what a writer stores.
    #[error(
        "stream '{name}': {field} of frame {count} is {found}, expected {expected}; the segment is damaged, create it anew"
    )]
    Corrupt {
        /// The stream.
        name: String,
        /// The frame.
        count: u64,
        /// Which field.
        field: &'static str,
        /// What it should be.
        expected: u64,
        /// What it is.
        found: u64,
    },
}

fn writer(alive: Option<bool>) -> &'static str {
    match alive {
        Some(true) => "a writer is attached and silent",
        Some(false) => "no writer is attached",
        None => "whether a writer is attached is unknown",
    }
}
