//! The structures that several messages carry: failures, tasks, objects.

use super::super::failure::{Failure, FailureKind};
use super::cbor::{CborReader, CborWriter};
use super::decode::DecodeError;
use super::kind;
use super::message::{ObjectInfo, TaskInfo, TaskState};
use super::tree::Names;
use std::os::fd::OwnedFd;

/// That a frame of this kind may come with these descriptors.
pub(super) fn allowed(kind: u16, descriptors: &[OwnedFd]) -> Result<(), DecodeError> {
    if descriptors.is_empty() || kind::carries_value(kind) {
        return Ok(());
    }
    let expected = format!("none with {}", kind_text(kind));
    Err(DecodeError::new("descriptors", expected, descriptors.len()))
}

pub(super) fn kind_text(kind: u16) -> String {
    kind::name(kind).map_or_else(|| format!("{kind:#06x}"), str::to_owned)
}

pub(super) fn write_failure(writer: &mut CborWriter, failure: &Failure) {
    writer.array(4).u64(failure.kind.code().into());
    writer.str(&failure.message).str(&failure.error_type);
    // A map has each name once; the first is the one that `Failure::detail` finds.
    let mut names = Names::default();
    let details: Vec<_> =
        failure.details.iter().filter(|(name, _)| names.insert(name.as_str())).collect();
    writer.map(details.len() as u64);
    for (name, value) in details {
        writer.str(name).str(value);
    }
}

pub(super) fn read_failure(read: &mut CborReader<'_>) -> Result<Failure, DecodeError> {
    read.array_of("failure", 4)?;
    let code = read.integer("failure code")?;
    let kind = FailureKind::from_code(code)
        .ok_or_else(|| DecodeError::new("failure code", "1 to 12", code))?;
    let message = read.text("failure message")?;
    let mut failure = Failure::new(kind, message).of_type(read.text("failure type")?);
    let mut names = Names::default();
    for _ in 0..read.map("failure details")? {
        let name = read.text("failure details")?;
        if !names.insert(name) {
            let found = format!("{name:?} twice");
            return Err(DecodeError::new("failure details", "each name once", found));
        }
        let value = read.text("failure details")?;
        failure.details.push((name.to_owned(), value.to_owned()));
    }
    Ok(failure)
}

pub(super) fn write_task(writer: &mut CborWriter, task: &TaskInfo) {
    writer.array(8).u64(task.task).str(&task.endpoint).u64(task.state.code().into());
    writer.f64(task.created);
    for time in [task.started, task.completed] {
        writer.optional(time, |writer, time| {
            writer.f64(time);
        });
    }
    writer.optional(task.failure.as_ref(), write_failure);
    writer.optional(task.object, |writer, object| {
        writer.u64(object);
    });
}

pub(super) fn read_task(read: &mut CborReader<'_>) -> Result<TaskInfo, DecodeError> {
    read.array_of("task", 8)?;
    Ok(TaskInfo {
        task: read.integer("task id")?,
        endpoint: read.text("task endpoint")?.to_owned(),
        state: task_state(read, "task state")?,
        created: read.float("task created")?,
        started: read.optional("task started", CborReader::float)?,
        completed: read.optional("task completed", CborReader::float)?,
        failure: read.optional("task failure", |read, _| read_failure(read))?,
        object: read.optional("task object", CborReader::integer)?,
    })
}

pub(super) fn task_state(
    read: &mut CborReader<'_>,
    field: &'static str,
) -> Result<TaskState, DecodeError> {
    let code = read.integer(field)?;
    TaskState::from_code(code).ok_or_else(|| DecodeError::new(field, "0 to 4", code))
}

pub(super) fn write_object(writer: &mut CborWriter, object: &ObjectInfo) {
    writer.array(8).u64(object.object).str(&object.endpoint).str(&object.key);
    writer.u64(object.leases).u64(object.bytes);
    writer.f64(object.created).f64(object.accessed).bool(object.survives);
}

pub(super) fn read_object(read: &mut CborReader<'_>) -> Result<ObjectInfo, DecodeError> {
    read.array_of("object", 8)?;
    Ok(ObjectInfo {
        object: read.integer("object id")?,
        endpoint: read.text("object endpoint")?.to_owned(),
        key: read.text("object key")?.to_owned(),
        leases: read.integer("object leases")?,
        bytes: read.integer("object bytes")?,
        created: read.float("object created")?,
        accessed: read.float("object accessed")?,
        survives: read.bool("object survives")?,
    })
}
