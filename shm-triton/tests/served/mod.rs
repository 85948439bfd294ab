//! Models to serve, and a client's shared memory.

#![allow(dead_code, reason = "each test program uses a part of it")]

use shm_triton::server::{Call, Model, ModelError, Placement, SequenceId, Server, ServerBuilder};
use shm_triton::wire::{Code, Parameter};
use shm_triton::{DataType, ModelSpec};
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

type Run = Box<dyn Fn(&mut Call<'_>) -> Result<(), ModelError> + Send + Sync>;

/// A model made of a closure.
pub struct Scripted {
    spec: ModelSpec,
    instances: usize,
    placement: Placement,
    run: Run,
}

impl Model for Scripted {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn placement(&self) -> Placement {
        self.placement
    }

    fn infer(&self, call: &mut Call<'_>) -> Result<(), ModelError> {
        (self.run)(call)
    }
}

pub fn scripted(
    spec: ModelSpec,
    run: impl Fn(&mut Call<'_>) -> Result<(), ModelError> + Send + Sync + 'static,
) -> Scripted {
    Scripted { spec, instances: 2, placement: Placement::Blocking, run: Box::new(run) }
}

pub fn inline(
    spec: ModelSpec,
    run: impl Fn(&mut Call<'_>) -> Result<(), ModelError> + Send + Sync + 'static,
) -> Scripted {
    Scripted { placement: Placement::Inline, ..scripted(spec, run) }
}

/// Every input to the output of the same number.
pub fn copy_all(call: &mut Call<'_>) -> Result<(), ModelError> {
    for input in call.inputs() {
        let output = input.name().replace("INPUT", "OUTPUT");
        call.output_sized(&output, input.datatype(), input.shape(), input.byte_len())?
            .copy_from_input(input)?;
    }
    Ok(())
}

fn one_to_one(name: &str, batch: usize, datatype: DataType, dims: &[i64]) -> ModelSpec {
    ModelSpec::new(name, batch).input("INPUT0", datatype, dims).output("OUTPUT0", datatype, dims)
}

/// A server with every model, to which addresses and limits are added.
pub fn builder() -> ServerBuilder {
    let mut half = ModelSpec::new("half", 8);
    let types = [
        DataType::Fp16,
        DataType::Bf16,
        DataType::Bool,
        DataType::Int64,
        DataType::Uint8,
        DataType::Fp64,
        DataType::Bytes,
        DataType::Int8,
    ];
    for (number, datatype) in types.into_iter().enumerate() {
        half = half.input(&format!("INPUT{number}"), datatype, &[2]);
        half = half.output(&format!("OUTPUT{number}"), datatype, &[2]);
    }
    let slow = |call: &mut Call<'_>| {
        let delay = match call.parameters().get("delay_ms") {
            Some(Parameter::Int(delay)) => *delay as u64,
            _ => 300,
        };
        thread::sleep(Duration::from_millis(delay));
        copy_all(call)
    };
    let fail = |call: &mut Call<'_>| match call.parameters().get("mode") {
        Some(Parameter::Text(mode)) if mode == "panic" => panic!("the model was asked to panic"),
        Some(Parameter::Text(mode)) if mode == "missing" => Ok(()),
        Some(Parameter::Text(mode)) if mode == "twice" => {
            copy_all(call).and_then(|()| copy_all(call))
        }
        Some(Parameter::Text(mode)) if mode == "code" => {
            Err(ModelError::new(Code::InvalidArgument, "not like this"))
        }
        _ => Err("the model was asked to fail".into()),
    };
    let dynamic = |call: &mut Call<'_>| {
        let n = call.input("INPUT0")?.to_vec::<i32>()?[0];
        let values: Vec<f32> = (0..n).map(|value| value as f32).collect();
        call.output("OUTPUT0", DataType::Fp32, &[n.into()])?.copy_from(&values)
    };
    let sums: Mutex<HashMap<SequenceId, i32>> = Mutex::default();
    let sum = move |call: &mut Call<'_>| {
        let sequence = call.sequence().expect("the server asks for one");
        let mut sums = sums.lock().unwrap();
        let sum = sums.entry(sequence.id.clone()).or_default();
        if sequence.start {
            *sum = 0;
        }
        *sum += call.input("INPUT0")?.to_vec::<i32>()?[0];
        call.output("OUTPUT0", DataType::Int32, &[1, 1])?.copy_from(&[*sum])
    };
    let turns = AtomicUsize::new(0);
    let order = move |call: &mut Call<'_>| {
        let turn = turns.fetch_add(1, Ordering::SeqCst) as i32;
        thread::sleep(Duration::from_millis(60));
        call.output("OUTPUT0", DataType::Int32, &[1])?.copy_from(&[turn])
    };
    let mut optional =
        one_to_one("optional", 0, DataType::Int32, &[1]).input("INPUT1", DataType::Int32, &[1]);
    optional.inputs[1].optional = true;
    optional = optional.output("OUTPUT1", DataType::Int32, &[1]);
    Server::builder()
        .model(inline(one_to_one("identity", 8, DataType::Fp32, &[16]), copy_all))
        .model(scripted(one_to_one("any", 0, DataType::Int8, &[-1]), copy_all))
        .model(inline(one_to_one("bytes", 8, DataType::Bytes, &[-1]), copy_all))
        .model(inline(half, copy_all))
        .model(scripted(one_to_one("slow", 8, DataType::Fp32, &[1024]), slow))
        .model(scripted(one_to_one("fail", 8, DataType::Fp32, &[16]), fail))
        .model(inline(
            ModelSpec::new("dynamic", 0).input("INPUT0", DataType::Int32, &[1]).output(
                "OUTPUT0",
                DataType::Fp32,
                &[-1],
            ),
            dynamic,
        ))
        .model(inline(
            ModelSpec { sequence: true, ..one_to_one("sum", 8, DataType::Int32, &[1]) },
            sum,
        ))
        .model(Scripted {
            instances: 1,
            ..scripted(one_to_one("order", 0, DataType::Int32, &[1]), order)
        })
        .model(inline(optional, copy_all))
        .model(inline(one_to_one("a b/ü%", 0, DataType::Int8, &[-1]), copy_all))
}

/// A shared memory object of a client, removed with this.
pub struct Object {
    pub key: String,
    file: File,
    path: PathBuf,
}

impl Object {
    pub fn new(size: u64) -> Object {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let key = format!("shm-triton-test-{}-{number}", std::process::id());
        let path = PathBuf::from("/dev/shm").join(&key);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
        file.set_len(size).unwrap();
        Object { key, file, path }
    }

    pub fn resize(&self, size: u64) {
        self.file.set_len(size).unwrap();
    }

    pub fn write(&self, at: u64, bytes: &[u8]) {
        self.file.write_all_at(bytes, at).unwrap();
    }

    pub fn read(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

pub fn floats(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

/// Byte strings as the protocol lays them out.
pub fn serialized(strings: &[&[u8]]) -> Vec<u8> {
    strings
        .iter()
        .flat_map(|string| [&(string.len() as u32).to_le_bytes(), *string].concat())
        .collect()
}
