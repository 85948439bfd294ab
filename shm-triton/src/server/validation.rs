//! What a request must be before its model is asked to run.

use super::Refusal;
use super::call::{Sequence, SequenceId, Wanted};
use super::input::{Input, Source};
use super::memory::Registry;
use super::output::Room;
use crate::datatype::{DataType, elements};
use crate::spec::{ModelSpec, TensorSpec};
use crate::wire::{Code, InputMessage, Parameter, Parameters, Payload, WantedMessage};
use bytes::Bytes;
use std::time::Duration;

/// Samples of the request, after its inputs have been checked against the model's spec.
pub(super) fn inputs(
    spec: &ModelSpec,
    registry: &Registry,
    messages: Vec<InputMessage>,
) -> Result<(Vec<Input>, usize), Refusal> {
    let model = &spec.name;
    let mut inputs: Vec<Input> = Vec::with_capacity(messages.len());
    let mut batch = None;
    for message in messages {
        let Some(declared) = spec.inputs.iter().find(|input| input.name == message.name) else {
            return Err(Refusal::invalid(format!(
                "unexpected inference input '{}' for model '{model}'",
                message.name
            )));
        };
        if inputs.iter().any(|input| input.name == message.name) {
            return Err(Refusal::invalid(format!(
                "input '{}' already exists in request",
                message.name
            )));
        }
        if message.datatype != declared.datatype.name() {
            return Err(Refusal::invalid(format!(
                "inference input '{}' data-type is '{}', but model '{model}' expects '{}'",
                message.name, message.datatype, declared.datatype
            )));
        }
        let of_input = shape(spec, declared, &message.shape)?;
        if *batch.get_or_insert(of_input) != of_input {
            return Err(Refusal::invalid(format!(
                "input '{}' batch size does not match other inputs for '{model}': expected {}, got {of_input}",
                message.name,
                batch.unwrap_or_default()
            )));
        }
        inputs.push(input(spec, registry, declared.datatype, message)?);
    }
    let missing = spec.inputs.iter().find(|declared| {
        !declared.optional && !inputs.iter().any(|input| input.name == declared.name)
    });
    if let Some(missing) = missing {
        return Err(Refusal::invalid(format!(
            "expected {} inputs but got {} inputs for model '{model}': input '{}' is missing",
            spec.inputs.iter().filter(|input| !input.optional).count(),
            inputs.len(),
            missing.name
        )));
    }
    Ok((inputs, batch.unwrap_or(1)))
}

/// Samples of a tensor of that shape.
fn shape(spec: &ModelSpec, declared: &TensorSpec, given: &[i64]) -> Result<usize, Refusal> {
    let batched = spec.max_batch_size > 0;
    let dims = if batched { given.get(1..).unwrap_or(&[]) } else { given };
    let fits = given.len() == declared.dims.len() + usize::from(batched)
        && given.iter().all(|&dim| dim >= 0)
        && dims.iter().zip(&declared.dims).all(|(&dim, &expected)| expected < 0 || dim == expected);
    if !fits {
        let mut expected = declared.dims.clone();
        if batched {
            expected.insert(0, -1);
        }
        return Err(Refusal::invalid(format!(
            "unexpected shape for input '{}' for model '{}'. Expected {expected:?}, got {given:?}",
            declared.name, spec.name
        )));
    }
    if !batched {
        return Ok(1);
    }
    let batch = given[0] as usize;
    if batch == 0 || batch > spec.max_batch_size {
        return Err(Refusal::invalid(format!(
            "inference request batch-size must be at least 1 and <= {} for '{}', got {batch}",
            spec.max_batch_size, spec.name
        )));
    }
    Ok(batch)
}

fn input(
    spec: &ModelSpec,
    registry: &Registry,
    datatype: DataType,
    message: InputMessage,
) -> Result<Input, Refusal> {
    let byte_size = match &message.payload {
        Payload::Shared(shared) => shared.byte_size,
        Payload::Inline(bytes) => bytes.len() as u64,
    };
    let too_large = || {
        Refusal::invalid(format!(
            "input '{}' cannot have the shape {:?}",
            message.name, message.shape
        ))
    };
    match datatype.size() {
        Some(_) => {
            let expected = datatype.byte_len(&message.shape).ok_or_else(too_large)?;
            if byte_size != expected as u64 {
                return Err(Refusal::invalid(format!(
                    "input byte size mismatch for input '{}' for model '{}'. Expected {expected}, got {byte_size}",
                    message.name, spec.name
                )));
            }
        }
        // Its strings are counted when the model is about to run.
        None => drop(elements(&message.shape).ok_or_else(too_large)?),
    }
    let source = match message.payload {
        Payload::Shared(shared) => Source::Shared(registry.lend(&shared)?),
        Payload::Inline(bytes) => Source::Message(aligned(bytes, datatype)),
    };
    Ok(Input { name: message.name, datatype, shape: message.shape, source })
}

/// The bytes, in a place where the elements are aligned: in a message they are wherever its head ends.
fn aligned(bytes: Bytes, datatype: DataType) -> Bytes {
    let alignment = datatype.size().unwrap_or(1);
    if bytes.as_ptr().addr().is_multiple_of(alignment) {
        return bytes;
    }
    // Words, so that any element type is aligned.
    struct Words(Vec<u64>, usize);
    impl AsRef<[u8]> for Words {
        fn as_ref(&self) -> &[u8] {
            &bytemuck::cast_slice(&self.0)[..self.1]
        }
    }
    let mut words = vec![0_u64; bytes.len().div_ceil(8)];
    bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(&bytes);
    Bytes::from_owner(Words(words, bytes.len()))
}

/// Where the outputs are wanted.
pub(super) fn outputs(
    spec: &ModelSpec,
    registry: &Registry,
    messages: Vec<WantedMessage>,
) -> Result<Vec<Wanted>, Refusal> {
    let mut wanted: Vec<Wanted> = Vec::with_capacity(messages.len());
    for message in messages {
        let WantedMessage { name, shared, parameters } = message;
        if !spec.outputs.iter().any(|output| output.name == name) {
            return Err(Refusal::invalid(format!(
                "unexpected inference output '{name}' for model '{}'",
                spec.name
            )));
        }
        if wanted.iter().any(|other| other.name == name) {
            return Err(Refusal::invalid(format!("output '{name}' already requested")));
        }
        if !matches!(parameters.get("classification"), None | Some(Parameter::Int(0))) {
            return Err(Refusal::new(
                Code::Unimplemented,
                format!(
                    "classification of output '{name}' is not supported; ask for the tensor itself"
                ),
            ));
        }
        let room = match shared {
            Some(shared) => Room::Shared(registry.lend(&shared)?),
            None => Room::Message,
        };
        wanted.push(Wanted { name, room });
    }
    Ok(wanted)
}

/// The sequence that the request belongs to; refused if the model asks for one and there is none.
pub(super) fn sequence(
    spec: &ModelSpec,
    parameters: &Parameters,
) -> Result<Option<Sequence>, Refusal> {
    let id = match parameters.get("sequence_id") {
        None | Some(Parameter::Int(0)) => None,
        Some(Parameter::Int(number)) => Some(SequenceId::Number(*number as u64)),
        Some(Parameter::Text(text)) if text.is_empty() => None,
        Some(Parameter::Text(text)) => Some(SequenceId::Text(text.clone())),
        Some(other) => {
            return Err(Refusal::invalid(format!(
                "parameter 'sequence_id' must be a whole number or a text, got {other:?}"
            )));
        }
    };
    let Some(id) = id else {
        if spec.sequence {
            return Err(Refusal::invalid(format!(
                "inference request to model '{}' must specify a non-zero or non-empty correlation ID",
                spec.name
            )));
        }
        return Ok(None);
    };
    let flag = |name: &str| match parameters.get(name) {
        None => Ok(false),
        Some(Parameter::Bool(flag)) => Ok(*flag),
        Some(other) => Err(Refusal::invalid(format!(
            "parameter '{name}' must be true or false, got {other:?}"
        ))),
    };
    Ok(Some(Sequence { id, start: flag("sequence_start")?, end: flag("sequence_end")? }))
}

/// How long the request may wait for its turn; the protocol counts microseconds, and 0 is no limit.
pub(super) fn timeout(parameters: &Parameters) -> Result<Option<Duration>, Refusal> {
    match parameters.get("timeout") {
        None | Some(Parameter::Int(0)) => Ok(None),
        Some(Parameter::Int(microseconds)) if *microseconds > 0 => {
            Ok(Some(Duration::from_micros(*microseconds as u64)))
        }
        Some(other) => Err(Refusal::invalid(format!(
            "parameter 'timeout' must be a whole number of microseconds, got {other:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_aligned_wherever_they_came_from() {
        let bytes = Bytes::from((0..64).collect::<Vec<u8>>());
        for start in 0..16 {
            let part = bytes.slice(start..start + 24);
            let placed = aligned(part.clone(), DataType::Fp64);
            assert_eq!(placed, part);
            assert!(placed.as_ptr().addr().is_multiple_of(8));
        }
    }

    #[test]
    fn shapes_are_compared_with_the_batch_in_front() {
        let spec = ModelSpec::new("m", 4).input("X", DataType::Int8, &[2, -1]);
        let of = |given: &[i64]| shape(&spec, &spec.inputs[0], given).ok();
        assert_eq!([of(&[1, 2, 7]), of(&[4, 2, 0])], [Some(1), Some(4)]);
        for wrong in
            [&[0, 2, 7][..], &[5, 2, 7], &[2, 7], &[1, 3, 7], &[1, 2, -1], &[i64::MAX, 2, 7], &[]]
        {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn timeouts_are_microseconds() {
        let of = |value| timeout(&Parameters::from([("timeout".to_owned(), value)]));
        assert_eq!(of(Parameter::Int(5)), Ok(Some(Duration::from_micros(5))));
        assert_eq!(of(Parameter::Int(0)), Ok(None));
        for wrong in [Parameter::Int(-1), Parameter::Text("5".into()), Parameter::Float(5.0)] {
            assert!(of(wrong).unwrap_err().message.contains("'timeout'"));
        }
    }
}
