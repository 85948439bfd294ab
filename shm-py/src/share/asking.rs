//! What can be asked of a server, by name, and what its answers are in Python.

use crate::share::handle::ShareHandle;
use crate::share::to_python::{self, Manner};
use crate::share::{endpoint, reports};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};
use shm_cuda::share::{Ask, Client, Outcome, Response};

/// The operations that `start()` knows.
const OPERATIONS: [&str; 15] = [
    "ping",
    "info",
    "endpoints",
    "call",
    "submit",
    "task",
    "task_result",
    "wait_task",
    "cancel_task",
    "tasks",
    "release",
    "acquire",
    "object_info",
    "invalidate_call",
    "invalidate_endpoint",
];

type Call<'py> = (String, Bound<'py, PyTuple>, Bound<'py, PyDict>);

/// Reads an operation by its name, with the arguments of the method of that name, but for the timeout.
pub(super) fn operation(name: &str, args: &Bound<'_, PyTuple>, opaque: bool) -> PyResult<Ask> {
    Ok(match name {
        "ping" => no_arguments(args, Ask::Ping)?,
        "info" => no_arguments(args, Ask::ServerInfo)?,
        "endpoints" => no_arguments(args, Ask::Endpoints)?,
        "call" | "submit" | "invalidate_call" => {
            let (endpoint, args, kwargs) = args.extract::<Call<'_>>()?;
            let arguments = endpoint::arguments(&args, Some(&kwargs), opaque)?;
            match name {
                "call" => Ask::Call(endpoint, arguments),
                "submit" => Ask::Submit(endpoint, arguments),
                _ => Ask::InvalidateCall(endpoint, arguments),
            }
        }
        "task" => Ask::Task(only(args)?),
        "task_result" => Ask::TaskResult(only(args)?),
        "wait_task" => Ask::WaitTask(only(args)?),
        "cancel_task" => Ask::CancelTask(only(args)?),
        "tasks" => Ask::Tasks(reports::state(args.extract::<(Option<String>,)>()?.0.as_deref())?),
        "release" => Ask::Release(args.extract::<(Vec<u64>,)>()?.0),
        "acquire" => Ask::Acquire(only(args)?),
        "object_info" => Ask::Object(only(args)?),
        "invalidate_endpoint" => Ask::InvalidateEndpoint(args.extract::<(String,)>()?.0),
        other => {
            return Err(PyValueError::new_err(format!(
                "operation is '{other}'; expected one of {}",
                OPERATIONS.join(", ")
            )));
        }
    })
}

fn no_arguments(args: &Bound<'_, PyTuple>, ask: Ask) -> PyResult<Ask> {
    args.extract::<[Bound<'_, PyAny>; 0]>().map(|_| ask)
}

fn only(args: &Bound<'_, PyTuple>) -> PyResult<u64> {
    Ok(args.extract::<(u64,)>()?.0)
}

/// What an answer is in Python.
pub(super) fn answer<'py>(
    py: Python<'py>,
    client: &Client,
    response: Response,
    manner: Manner,
) -> PyResult<Bound<'py, PyAny>> {
    Ok(match response {
        Response::Pong => py.None().into_bound(py),
        Response::Info(value) => to_python::value(py, &value, manner)?,
        Response::Outcome(Outcome::Value(value)) => to_python::value(py, &value, manner)?,
        Response::Outcome(Outcome::Handle(handle)) => {
            Bound::new(py, ShareHandle::new(client.clone(), handle, manner))?.into_any()
        }
        Response::Submitted(task) => task.into_pyobject(py)?.into_any(),
        Response::Task(info) => reports::task(py, &info)?.into_any(),
        Response::Tasks(infos) => {
            let tasks = infos.iter().map(|info| reports::task(py, info));
            PyList::new(py, tasks.collect::<PyResult<Vec<_>>>()?)?.into_any()
        }
        Response::Cancelled(cancelled) => cancelled.into_pyobject(py)?.to_owned().into_any(),
        Response::Released(released) => PyList::new(py, released)?.into_any(),
        Response::Object(None) => py.None().into_bound(py),
        Response::Object(Some(info)) => reports::object(py, &info)?.into_any(),
        Response::Invalidated(count) => count.into_pyobject(py)?.into_any(),
    })
}
