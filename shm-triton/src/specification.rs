//! What a model takes and gives, out of what the server says and what the program expects.

use crate::config::ModelConfig;
use crate::datatype::DataType;
use crate::error::{CallError, RegisterError};
use crate::hub::{Hub, unexpected};
use crate::spec::{ModelSpec, TensorSpec};
use crate::transport::{Reply, Request};
use crate::wire::{ModelConfiguration, ModelMetadata, TensorMetadata};
use shm_core::Deadline;

/// The specification of a model: the server's, or the program's where it agrees with the server's.
pub(crate) fn of(
    hub: &Hub,
    config: &ModelConfig,
    deadline: Deadline,
) -> Result<ModelSpec, RegisterError> {
    match &config.spec {
        None => ask(hub, config, deadline),
        Some(spec) => {
            check(spec)?;
            let mut spec = spec.clone();
            spec.version.clone_from(&config.version);
            if config.compare {
                let theirs = ask(hub, config, deadline)?;
                compare(&spec, &theirs)?;
                spec.sequence = theirs.sequence;
                for tensor in &mut spec.inputs {
                    tensor.optional |= theirs
                        .inputs
                        .iter()
                        .any(|their| their.name == tensor.name && their.optional);
                }
            }
            Ok(spec)
        }
    }
}

fn ask(hub: &Hub, config: &ModelConfig, deadline: Deadline) -> Result<ModelSpec, RegisterError> {
    let (name, version) = (config.name.as_str(), config.version.as_str());
    let what = "model metadata";
    let metadata = match hub.ask(what, Request::ModelMetadata(name, version), deadline)? {
        Reply::ModelMetadata(metadata) => metadata,
        reply => return Err(unexpected(what, &reply).into()),
    };
    let what = "model configuration";
    let configuration = match hub.ask(what, Request::ModelConfig(name, version), deadline)? {
        Reply::ModelConfig(configuration) => configuration,
        reply => return Err(unexpected(what, &reply).into()),
    };
    if configuration.decoupled {
        return Err(RegisterError::Decoupled { model: name.to_owned() });
    }
    assemble(config, metadata, &configuration)
}

fn assemble(
    config: &ModelConfig,
    metadata: ModelMetadata,
    configuration: &ModelConfiguration,
) -> Result<ModelSpec, RegisterError> {
    let malformed = |wrong| CallError::Malformed { what: "model metadata", wrong };
    let max_batch_size = usize::try_from(configuration.max_batch_size)
        .map_err(|_| malformed("max_batch_size is negative".to_owned()))?;
    let tensor = |read: TensorMetadata| -> Result<TensorSpec, CallError> {
        let datatype: DataType = read.datatype.parse().map_err(|e| malformed(format!("{e}")))?;
        // In metadata the batch dimension stands in front, as -1.
        let dims = match (max_batch_size, read.shape.as_slice()) {
            (0, shape) => shape,
            (_, [_, dims @ ..]) => dims,
            (_, []) => return Err(malformed(format!("{:?} has no batch dimension", read.name))),
        };
        if dims.iter().any(|&dim| dim < -1) {
            return Err(malformed(format!("{:?} has the shape {:?}", read.name, read.shape)));
        }
        let optional = configuration.optional_inputs.contains(&read.name);
        Ok(TensorSpec { datatype, dims: dims.to_vec(), optional, name: read.name })
    };
    let inputs: Result<Vec<_>, _> = metadata.inputs.into_iter().map(tensor).collect();
    let outputs: Result<Vec<_>, _> = metadata.outputs.into_iter().map(tensor).collect();
    Ok(ModelSpec {
        name: config.name.clone(),
        version: config.version.clone(),
        max_batch_size,
        inputs: inputs?,
        outputs: outputs?,
        decoupled: false,
        sequence: configuration.sequence,
    })
}

/// Whether the specification makes sense by itself.
fn check(spec: &ModelSpec) -> Result<(), RegisterError> {
    let wrong = |field: &str, expected: &str, found: String| RegisterError::Config {
        model: spec.name.clone(),
        field: field.to_owned(),
        expected: expected.to_owned(),
        found,
    };
    if spec.name.is_empty() {
        return Err(wrong("name", "a name", "none".to_owned()));
    }
    for (kind, tensors) in [("inputs", &spec.inputs), ("outputs", &spec.outputs)] {
        if tensors.is_empty() {
            return Err(wrong(kind, "at least one", "none".to_owned()));
        }
        for (index, tensor) in tensors.iter().enumerate() {
            if tensors[..index].iter().any(|earlier| earlier.name == tensor.name) {
                return Err(wrong(kind, "names that differ", format!("{:?} twice", tensor.name)));
            }
            if tensor.dims.iter().any(|&dim| dim < -1) {
                return Err(wrong(
                    &tensor.name,
                    "dimensions from -1",
                    format!("{:?}", tensor.dims),
                ));
            }
        }
    }
    Ok(())
}

/// Whether the program's idea of a model is the server's.
fn compare(ours: &ModelSpec, theirs: &ModelSpec) -> Result<(), RegisterError> {
    let mismatch = |field: String, expected: String, found: String| RegisterError::Mismatch {
        model: ours.name.clone(),
        field,
        expected,
        found,
    };
    // Fewer samples than the model can take at once are the program's own affair.
    let batched = (ours.max_batch_size > 0) == (theirs.max_batch_size > 0);
    if !batched || ours.max_batch_size > theirs.max_batch_size {
        return Err(mismatch(
            "max_batch_size".to_owned(),
            ours.max_batch_size.to_string(),
            theirs.max_batch_size.to_string(),
        ));
    }
    for (kind, ours, theirs) in
        [("input", &ours.inputs, &theirs.inputs), ("output", &ours.outputs, &theirs.outputs)]
    {
        for tensor in ours {
            let field = format!("{kind} '{}'", tensor.name);
            let Some(their) = theirs.iter().find(|their| their.name == tensor.name) else {
                let known: Vec<_> = theirs.iter().map(|their| their.name.as_str()).collect();
                return Err(mismatch(field, "to be there".to_owned(), known.join(", ")));
            };
            if their.datatype != tensor.datatype {
                return Err(mismatch(
                    field,
                    tensor.datatype.to_string(),
                    their.datatype.to_string(),
                ));
            }
            // A dimension that the model leaves open may be fixed, and the other way round.
            let fits = their.dims.len() == tensor.dims.len()
                && their.dims.iter().zip(&tensor.dims).all(|(&t, &o)| t == o || t < 0 || o < 0);
            if !fits {
                return Err(mismatch(
                    field,
                    format!("{:?}", tensor.dims),
                    format!("{:?}", their.dims),
                ));
            }
        }
        // Outputs need not all be wanted; inputs have to be there.
        if kind == "input" {
            for their in theirs.iter().filter(|their| !their.optional) {
                if !ours.iter().any(|tensor| tensor.name == their.name) {
                    let field = format!("input '{}'", their.name);
                    return Err(mismatch(field, "no such input".to_owned(), "it".to_owned()));
                }
            }
        }
    }
    Ok(())
}
