//! What servers say, as Python sees it: named tuples of `shm_py._triton`.

use pyo3::prelude::*;
use pyo3::types::PyTuple;
use shm_triton::wire::{
    ModelConfiguration, ModelMetadata, ModelStatistics, RegionStatus, ServerMetadata,
    TensorMetadata,
};
use shm_triton::{ClientStats, Swept};

fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
    py.import("shm_py._triton")?.getattr(name)
}

pub(crate) fn server<'py>(py: Python<'py>, found: &ServerMetadata) -> PyResult<Bound<'py, PyAny>> {
    let extensions = PyTuple::new(py, &found.extensions)?;
    class(py, "TritonServer")?.call1((&found.name, &found.version, extensions))
}

pub(crate) fn metadata<'py>(py: Python<'py>, found: &ModelMetadata) -> PyResult<Bound<'py, PyAny>> {
    let class_of_tensors = class(py, "TritonTensorMetadata")?;
    let tensors = |tensors: &[TensorMetadata]| -> PyResult<Bound<'py, PyTuple>> {
        let tensors = tensors.iter().map(|tensor| {
            let shape = PyTuple::new(py, &tensor.shape)?;
            class_of_tensors.call1((&tensor.name, &tensor.datatype, shape))
        });
        PyTuple::new(py, tensors.collect::<PyResult<Vec<_>>>()?)
    };
    let (inputs, outputs) = (tensors(&found.inputs)?, tensors(&found.outputs)?);
    let versions = PyTuple::new(py, &found.versions)?;
    let fields = (&found.name, versions, &found.platform, inputs, outputs);
    class(py, "TritonModelMetadata")?.call1(fields)
}

pub(crate) fn configuration<'py>(
    py: Python<'py>,
    found: &ModelConfiguration,
) -> PyResult<Bound<'py, PyAny>> {
    let optional = PyTuple::new(py, &found.optional_inputs)?;
    let fields = (&found.name, found.max_batch_size, optional, found.decoupled, found.sequence);
    class(py, "TritonModelConfig")?.call1(fields)
}

pub(crate) fn statistics<'py>(
    py: Python<'py>,
    found: &[ModelStatistics],
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let (class, duration) = (class(py, "TritonStatistics")?, class(py, "TritonDuration")?);
    found
        .iter()
        .map(|model| {
            let took = |found: shm_triton::wire::Duration| duration.call1((found.count, found.ns));
            class.call1((
                &model.name,
                &model.version,
                model.last_inference_ms,
                model.inference_count,
                model.execution_count,
                took(model.success)?,
                took(model.fail)?,
                took(model.queue)?,
                took(model.compute_input)?,
                took(model.compute_infer)?,
                took(model.compute_output)?,
            ))
        })
        .collect()
}

pub(crate) fn regions<'py>(
    py: Python<'py>,
    found: &[RegionStatus],
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let class = class(py, "TritonRegion")?;
    found
        .iter()
        .map(|region| class.call1((&region.name, &region.key, region.offset, region.byte_size)))
        .collect()
}

pub(crate) fn swept<'py>(py: Python<'py>, found: &Swept) -> PyResult<Bound<'py, PyAny>> {
    let unregistered = PyTuple::new(py, &found.unregistered)?;
    let unlinked = PyTuple::new(py, &found.unlinked)?;
    let left = PyTuple::new(py, found.left.iter().map(|(name, why)| (name, why)))?;
    class(py, "TritonSwept")?.call1((unregistered, unlinked, left))
}

pub(crate) fn stats<'py>(py: Python<'py>, found: &ClientStats) -> PyResult<Bound<'py, PyAny>> {
    class(py, "TritonClientStats")?.call1((
        found.in_flight,
        found.late,
        found.lost,
        found.registered_again,
        found.retired,
        found.inline_calls,
        found.owed,
        found.leaked,
    ))
}
