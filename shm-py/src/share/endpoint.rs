//! Endpoints whose work is a Python function.
//!
//! Upholds invariants 5 (the worker holds the interpreter inside of the function only) and 6 (a worker
//! enters an interpreter only while there is one, and a build that comes too late is a failure). Whatever
//! the function raises, also what would end a program, is the build's failure.

use crate::interpreter;
use crate::share::to_python::Manner;
use crate::share::{errors, from_python, to_python};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyString, PyTuple};
use shm_cuda::share::{
    Arguments, Cancellation, Concurrency, Endpoint, EndpointOptions, Execution, Failure,
    FailureKind, KeyFunction, KeyRule, Parameter, ParameterKind, Value,
};
use std::sync::Arc;

/// Arguments and received values are never to be written: others read them too.
pub(super) fn manner(opaque: bool) -> Manner {
    Manner { writable: false, opaque }
}

/// Says whether anybody still wants what is being built; what a function is given as `cancelled`.
#[pyclass(frozen, name = "_ShareCancellation", module = "shm_py._native")]
pub(super) struct Cancelled {
    cancellation: Cancellation,
}

#[pymethods]
impl Cancelled {
    fn __call__(&self) -> bool {
        self.cancellation.is_requested()
    }
}

/// One parameter as Python describes it: name, kind, whether there is a default, and the default.
pub(super) type Described<'py> = (String, String, bool, Bound<'py, PyAny>);

/// What `register()` is told of an endpoint, besides its name and its function.
pub(super) struct Options<'py> {
    pub(super) execution: String,
    pub(super) managed: bool,
    pub(super) cache: bool,
    pub(super) key: Option<Bound<'py, PyAny>>,
    pub(super) singleflight: bool,
    pub(super) concurrency: String,
    pub(super) keep_unleased: bool,
    pub(super) parameters: Option<Vec<Described<'py>>>,
}

/// An endpoint that a server begins with: its name, its function, and the keywords of `register()`.
pub(super) type First<'py> = (String, Bound<'py, PyAny>, Bound<'py, PyDict>);

impl<'py> Options<'py> {
    /// Reads the keywords of `register()`, all of which have to be there.
    pub(super) fn of_keywords(keywords: &Bound<'py, PyDict>) -> PyResult<Options<'py>> {
        let field = |name: &str| {
            let found = keywords.get_item(name)?;
            found.ok_or_else(|| {
                PyTypeError::new_err(format!("an endpoint's options have no {name}"))
            })
        };
        Ok(Options {
            execution: field("execution")?.extract()?,
            managed: field("managed")?.extract()?,
            cache: field("cache")?.extract()?,
            key: Some(field("key")?).filter(|key| !key.is_none()),
            singleflight: field("singleflight")?.extract()?,
            concurrency: field("concurrency")?.extract()?,
            keep_unleased: field("keep_unleased")?.extract()?,
            parameters: field("parameters")?.extract()?,
        })
    }
}

/// An endpoint that calls `build(args, kwargs, cancelled)`.
pub(super) fn endpoint(
    name: String,
    build: &Bound<'_, PyAny>,
    options: Options<'_>,
    opaque: bool,
) -> PyResult<Endpoint> {
    if !build.is_callable() {
        return Err(PyTypeError::new_err(format!(
            "build is {}; expected a function",
            build.get_type()
        )));
    }
    let execution = match options.execution.as_str() {
        "direct" => Execution::Direct,
        "task" => Execution::Task,
        other => return Err(unknown("execution", other, "'direct' or 'task'")),
    };
    let concurrency = match options.concurrency.as_str() {
        "parallel" => Concurrency::Parallel,
        "serialized" => Concurrency::Serialized,
        other => return Err(unknown("concurrency", other, "'parallel' or 'serialized'")),
    };
    let parameters = options.parameters.map(|described| {
        described.into_iter().map(|it| parameter(it, opaque)).collect::<PyResult<Vec<_>>>()
    });
    let build = build.clone().unbind();
    Ok(Endpoint {
        name,
        options: EndpointOptions {
            execution,
            managed: options.managed,
            cache: options.cache,
            key: key_rule(options.key.as_ref(), opaque)?,
            singleflight: options.singleflight,
            concurrency,
            keep_unleased: options.keep_unleased,
        },
        parameters: parameters.transpose()?,
        build: Arc::new(move |arguments, cancellation| {
            let built = interpreter::visit(|py| run(py, &build, arguments, cancellation, opaque));
            built.unwrap_or_else(|| Err(errors::ended()))
        }),
    })
}

fn unknown(option: &str, found: &str, expected: &str) -> PyErr {
    PyValueError::new_err(format!("{option} is '{found}'; expected {expected}"))
}

fn run(
    py: Python<'_>,
    build: &Py<PyAny>,
    arguments: &Arguments,
    cancellation: &Cancellation,
    opaque: bool,
) -> Result<Value, Failure> {
    let called = || -> PyResult<Bound<'_, PyAny>> {
        let (args, kwargs) = to_python::arguments(py, arguments, manner(opaque))?;
        let cancelled = Bound::new(py, Cancelled { cancellation: cancellation.clone() })?;
        build.bind(py).call1((args, kwargs, cancelled))
    };
    let result = called().map_err(|error| errors::raised(py, &error))?;
    from_python::value(&result, "result", opaque).map_err(|trouble| trouble.into_failure(py))
}

/// `None`: all arguments; a str: a format; a function: `key(args, kwargs)` makes text of them.
fn key_rule(key: Option<&Bound<'_, PyAny>>, opaque: bool) -> PyResult<KeyRule> {
    let Some(key) = key else { return Ok(KeyRule::AllArguments) };
    if let Ok(format) = key.cast::<PyString>() {
        return Ok(KeyRule::Format(format.to_cow()?.into_owned()));
    }
    if !key.is_callable() {
        return Err(PyTypeError::new_err(format!(
            "key is {}; expected None, a format such as 'model:{{size}}', or a function",
            key.get_type()
        )));
    }
    let function = key.clone().unbind();
    let function: KeyFunction = Arc::new(move |arguments| {
        let made = interpreter::visit(|py| make_key(py, &function, arguments, opaque));
        made.unwrap_or_else(|| Err(errors::ended()))
    });
    Ok(KeyRule::Function(function))
}

fn make_key(
    py: Python<'_>,
    function: &Py<PyAny>,
    arguments: &Arguments,
    opaque: bool,
) -> Result<String, Failure> {
    let called = || -> PyResult<Bound<'_, PyAny>> {
        let (args, kwargs) = to_python::arguments(py, arguments, manner(opaque))?;
        function.bind(py).call1((args, kwargs))
    };
    let made = called().map_err(|error| errors::raised(py, &error))?;
    made.extract::<String>().map_err(|_| {
        let text = format!("the key function gave {}; expected str", made.get_type());
        Failure::new(FailureKind::Configuration, text).of_type("TypeError")
    })
}

fn parameter(
    (name, kind, has_default, default): Described<'_>,
    opaque: bool,
) -> PyResult<Parameter> {
    let kind = match kind.as_str() {
        "either" => ParameterKind::Either,
        "positional" => ParameterKind::Positional,
        "named" => ParameterKind::Named,
        "rest" => ParameterKind::Rest,
        "others" => ParameterKind::Others,
        other => {
            return Err(unknown(
                &format!("the kind of parameter '{name}'"),
                other,
                "'either', 'positional', 'named', 'rest' or 'others'",
            ));
        }
    };
    let default = match has_default {
        true => Some(default_value(&default, opaque)?),
        false => None,
    };
    Ok(Parameter { name, default, kind })
}

/// Defaults are only compared, as parts of keys: one that cannot travel is known by what it looks like.
fn default_value(default: &Bound<'_, PyAny>, opaque: bool) -> PyResult<Value> {
    match from_python::value(default, "default", opaque) {
        Ok(Value::Opaque(_)) | Err(_) => Ok(Value::Tuple(vec![
            Value::Str("default".to_owned()),
            Value::Str(default.repr()?.to_string()),
        ])),
        Ok(value) => Ok(value),
    }
}

/// Arguments of a call, from what Python passed.
pub(super) fn arguments(
    args: &Bound<'_, PyTuple>,
    kwargs: Option<&Bound<'_, PyDict>>,
    opaque: bool,
) -> PyResult<Arguments> {
    from_python::arguments(args, kwargs, opaque).map_err(|trouble| trouble.into_error())
}
