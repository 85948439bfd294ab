//! What each model does.

use core::ffi::CStr;
use std::thread;
use std::time::Duration;

use crate::fault::Fault;
use crate::ffi;
use crate::request::{Input, Parameter, Request};
use crate::response::Response;
use crate::sequences::Sequences;

/// What a model does with a request.
pub enum Behaviour {
    /// Every input comes back as the output of the same number.
    Echo {
        /// How many inputs there are.
        tensors: usize,
        /// Whether the first dimension counts samples.
        batched: bool,
    },
    /// 512 of the first input's values plus one, and five of the second's doubled.
    TwoOutputs,
    /// Waits as long as the parameter `delay_ms` says, then reads the input and returns it.
    Slow,
    /// Fails in the way that the parameter `mode` or else the first value names.
    Fail,
    /// As many values as the input says.
    Counting,
    /// The running sum of a sequence.
    Sum(Sequences),
}

impl Behaviour {
    /// What the model of that name does.
    pub fn of_model(name: &str) -> Result<Self, Fault> {
        Ok(match name {
            "identity" | "normal" | "large" | "bytes" => Self::Echo { tensors: 1, batched: true },
            "any" => Self::Echo { tensors: 1, batched: false },
            "half" => Self::Echo { tensors: NAMES.len(), batched: true },
            "multi_io" => Self::TwoOutputs,
            "slow" => Self::Slow,
            "fail" => Self::Fail,
            "dynamic" => Self::Counting,
            "sum" => Self::Sum(Sequences::default()),
            _ => {
                return Err(Fault::invalid(&format!(
                    "the backend has no model '{name}'; its models are in behaviour.rs"
                )));
            }
        })
    }

    /// Adds the outputs to the response; says how many samples the request had.
    pub fn answer(&self, request: &Request, response: &mut Response<'_>) -> Result<u64, Fault> {
        match self {
            Self::Echo { tensors, batched } => {
                let mut samples = 1;
                for names in &NAMES[..*tensors] {
                    samples = echo(request, response, names)?;
                }
                Ok(if *batched { samples } else { 1 })
            }
            Self::TwoOutputs => two_outputs(request, response),
            Self::Slow => {
                thread::sleep(delay(request)?);
                echo(request, response, &NAMES[0])
            }
            Self::Fail => fail(request, response),
            Self::Counting => count_up(request, response),
            Self::Sum(sequences) => {
                let input = request.input(NAMES[0].input)?;
                let value = first(&input)?;
                let sum = sequences.add(request, i32::from_le_bytes(value))?;
                if request.wants(NAMES[0].output)? {
                    response
                        .output(NAMES[0].output, ffi::TYPE_INT32, input.shape(), 4)?
                        .write(&sum.to_le_bytes())?;
                }
                Ok(1)
            }
        }
    }
}

/// The input and the output of one number.
struct Names {
    input: &'static CStr,
    output: &'static CStr,
}

const NAMES: [Names; 6] = [
    Names { input: c"INPUT0", output: c"OUTPUT0" },
    Names { input: c"INPUT1", output: c"OUTPUT1" },
    Names { input: c"INPUT2", output: c"OUTPUT2" },
    Names { input: c"INPUT3", output: c"OUTPUT3" },
    Names { input: c"INPUT4", output: c"OUTPUT4" },
    Names { input: c"INPUT5", output: c"OUTPUT5" },
];

/// Returns the input as it is; says how long its first dimension is.
fn echo(request: &Request, response: &mut Response<'_>, names: &Names) -> Result<u64, Fault> {
    let input = request.input(names.input)?;
    if request.wants(names.output)? {
        echo_as(&input, response, names.output, input.data_type())?;
    }
    Ok(samples(&input))
}

fn echo_as(
    input: &Input<'_>,
    response: &mut Response<'_>,
    output: &CStr,
    data_type: u32,
) -> Result<(), Fault> {
    let mut space = response.output(output, data_type, input.shape(), input.bytes())?;
    for piece in input.pieces() {
        space.append(piece?)?;
    }
    Ok(())
}

fn two_outputs(request: &Request, response: &mut Response<'_>) -> Result<u64, Fault> {
    const SAMPLE: usize = 3 * 224 * 224 * 4;
    const WHOLE_SAMPLE: usize = 10 * 4;
    const VALUES: usize = 512;
    const WHOLE_VALUES: usize = 5;
    let [image, numbers] = [request.input(NAMES[0].input)?, request.input(NAMES[1].input)?];
    let batch = samples(&image);
    if request.wants(NAMES[0].output)? {
        let shape = [batch as i64, VALUES as i64];
        let bytes = batch * VALUES as u64 * 4;
        let mut space = response.output(NAMES[0].output, ffi::TYPE_FP32, &shape, bytes)?;
        for sample in 0..batch as usize {
            for value in values(&image, sample * SAMPLE, VALUES)? {
                space.write(&(f32::from_le_bytes(value) + 1.0).to_le_bytes())?;
            }
        }
    }
    if request.wants(NAMES[1].output)? {
        let shape = [batch as i64, WHOLE_VALUES as i64];
        let bytes = batch * WHOLE_VALUES as u64 * 4;
        let mut space = response.output(NAMES[1].output, ffi::TYPE_INT32, &shape, bytes)?;
        for sample in 0..batch as usize {
            for value in values(&numbers, sample * WHOLE_SAMPLE, WHOLE_VALUES)? {
                space.write(&i32::from_le_bytes(value).wrapping_mul(2).to_le_bytes())?;
            }
        }
    }
    Ok(batch)
}

/// How long a call of the slow model waits.
fn delay(request: &Request) -> Result<Duration, Fault> {
    let milliseconds = match request.parameter(c"delay_ms")? {
        None => Some(1500),
        Some(Parameter::Int(number)) => u64::try_from(number).ok(),
        Some(Parameter::Text(text)) => text.parse().ok(),
    };
    milliseconds
        .map(Duration::from_millis)
        .ok_or_else(|| Fault::invalid("request parameter 'delay_ms' must be a number from 0 on"))
}

fn fail(request: &Request, response: &mut Response<'_>) -> Result<u64, Fault> {
    let input = request.input(NAMES[0].input)?;
    let mode = match request.parameter(c"mode")? {
        Some(Parameter::Text(mode)) => mode,
        Some(Parameter::Int(number)) => number.to_string(),
        None => (f32::from_le_bytes(first(&input)?) as i64).to_string(),
    };
    let (name, batch) = (NAMES[0].output, samples(&input));
    match mode.as_str() {
        "ok" | "0" => echo_as(&input, response, name, input.data_type())?,
        "error" | "1" => return Err(Fault::internal("the model was asked to fail")),
        "missing" | "2" => {}
        "short" | "3" => {
            let bytes = batch * 8 * 4;
            let shape = [batch as i64, 8];
            response
                .output(name, ffi::TYPE_FP32, &shape, bytes)?
                .write(&input.read(0, bytes as usize)?)?;
        }
        "type" | "4" => echo_as(&input, response, name, ffi::TYPE_INT32)?,
        _ => {
            return Err(Fault::invalid(&format!(
                "the mode is '{mode}'; known are ok, error, missing, short, type, and 0 to 4"
            )));
        }
    }
    Ok(batch)
}

fn count_up(request: &Request, response: &mut Response<'_>) -> Result<u64, Fault> {
    let input = request.input(NAMES[0].input)?;
    let count = u32::try_from(i32::from_le_bytes(first(&input)?))
        .map_err(|_| Fault::invalid("INPUT0 says how many values to return; it is negative"))?;
    if request.wants(NAMES[0].output)? {
        let bytes = u64::from(count) * 4;
        let shape = [i64::from(count)];
        let mut space = response.output(NAMES[0].output, ffi::TYPE_FP32, &shape, bytes)?;
        for value in 0..count {
            space.write(&(value as f32).to_le_bytes())?;
        }
    }
    Ok(1)
}

/// The first dimension.
fn samples(input: &Input<'_>) -> u64 {
    input.shape().first().map_or(1, |&samples| samples.max(0) as u64)
}

/// The first value of an input, of four bytes.
fn first(input: &Input<'_>) -> Result<[u8; 4], Fault> {
    Ok(values(input, 0, 1)?[0])
}

/// That many values of four bytes each.
fn values(input: &Input<'_>, skip: usize, count: usize) -> Result<Vec<[u8; 4]>, Fault> {
    let bytes = input.read(skip, count * 4)?;
    let (values, _) = bytes.as_chunks::<4>();
    if values.len() < count {
        return Err(Fault::invalid("an input has fewer values than its shape says"));
    }
    Ok(values.to_vec())
}
