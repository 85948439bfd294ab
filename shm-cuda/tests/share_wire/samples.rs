//! One frame of every kind, with values of every kind.

use super::trees::{open_limits, storage};
use shm_core::Dtype;
use shm_cuda::share::wire::{
    Answer, ArgumentsOf, EncodedValue, Hello, Message, Reply, Request, Welcome, encode_arguments,
    encode_value,
};
use shm_cuda::share::{
    Arguments, Bundle, Failure, FailureKind, ObjectInfo, Opaque, TaskInfo, TaskState, Tensor, Value,
};

/// A frame that is to be sent.
pub struct Sample {
    pub name: &'static str,
    pub description: &'static str,
    pub request: u64,
    pub message: Message,
}

fn sample(name: &'static str, description: &'static str, request: u64, message: Message) -> Sample {
    Sample { name, description, request, message }
}

pub fn all() -> Vec<Sample> {
    let mut samples = requests();
    samples.extend(calls());
    samples.extend(replies());
    samples.extend(answers());
    samples
}

fn requests() -> Vec<Sample> {
    let hello = Hello {
        versions: (1, 3),
        pid: 4321,
        process: *b"0123456789abcdef",
        name: "trainer ü".to_owned(),
    };
    let plain = |name, description, request, message: Request| {
        sample(name, description, request, message.encode())
    };
    vec![
        plain("hello", "the first frame of a client", 1, Request::Hello(hello)),
        plain("ping", "no body", 2, Request::Ping),
        plain("server-info", "no body", 3, Request::ServerInfo),
        plain("endpoints", "no body", 4, Request::Endpoints),
        plain("task", "asks for the state of a task", 7, Request::Task(23)),
        plain("task-result", "asks for a result that is there", 8, Request::TaskResult(24)),
        plain("wait-task", "asks for a result when it is there", 9, Request::WaitTask(255)),
        plain("cancel-task", "asks a task to stop", 10, Request::CancelTask(256)),
        plain("tasks", "asks for all tasks", 11, Request::Tasks(None)),
        plain("tasks-failed", "those of a state", 12, Request::Tasks(Some(TaskState::Failed))),
        plain("release", "no answer wanted", 0, Request::Release(vec![1, 70_000, u64::MAX])),
        plain("acquire", "asks for a lease", 13, Request::Acquire(65_536)),
        plain("object", "asks about an object", u64::MAX, Request::Object(1 << 32)),
        plain(
            "invalidate-endpoint",
            "forgets what is cached of an endpoint",
            16,
            Request::InvalidateEndpoint("weights".to_owned()),
        ),
        plain("cancel", "names the request that nobody waits for", 0, Request::Cancel(5)),
    ]
}

fn calls() -> Vec<Sample> {
    let none = encode_arguments(&Arguments::default(), &open_limits()).unwrap();
    let memory = storage(&(0..48).collect::<Vec<u8>>());
    let tensor = Tensor::contiguous(memory, Dtype::F32, &[2, 3], 8).unwrap();
    let some = Arguments {
        positional: vec![Value::Int(3), Value::Tensor(tensor)],
        named: vec![("name".to_owned(), Value::Str("x".to_owned()))],
    };
    let some = encode_arguments(&some, &open_limits()).unwrap();
    let with = Request::encode_with;
    vec![
        sample("call", "without arguments", 5, with(ArgumentsOf::Call, "model", none.clone())),
        sample(
            "call-arguments",
            "by position and by name, with a tensor in shared memory of the host",
            5,
            with(ArgumentsOf::Call, "model", some),
        ),
        sample("submit", "makes a task", 6, with(ArgumentsOf::Submit, "model", none.clone())),
        sample(
            "invalidate-call",
            "forgets what is cached for arguments",
            15,
            with(ArgumentsOf::InvalidateCall, "model", none),
        ),
    ]
}

fn replies() -> Vec<Sample> {
    let welcome = Welcome {
        version: 1,
        server: *b"fedcba9876543210",
        pid: 99,
        process: [0xab; 16],
        body_limit: 4 << 20,
        in_flight_limit: 4096,
        opaque: false,
    };
    let failure = Failure::new(FailureKind::Build, "the endpoint failed: x must be positive")
        .of_type("ValueError")
        .with("endpoint", "model")
        .with("expected", "> 0");
    let pending = TaskInfo {
        task: 23,
        endpoint: "model".to_owned(),
        state: TaskState::Pending,
        created: 1_700_000_000.25,
        started: None,
        completed: None,
        failure: None,
        object: None,
    };
    let failed = TaskInfo {
        state: TaskState::Failed,
        started: Some(1_700_000_000.5),
        completed: Some(1_700_000_001.0),
        failure: Some(failure.clone()),
        ..pending.clone()
    };
    let completed =
        TaskInfo { state: TaskState::Completed, failure: None, object: Some(9), ..failed.clone() };
    let object = ObjectInfo {
        object: 9,
        endpoint: "model".to_owned(),
        key: "00ff".repeat(16),
        leases: 2,
        bytes: 1 << 33,
        created: 1_700_000_001.0,
        accessed: 1_700_000_002.0,
        survives: true,
    };
    let info = Value::Map(vec![
        ("server".to_owned(), Value::Str("models".to_owned())),
        ("uptime".to_owned(), Value::Float(1.5)),
        ("endpoints".to_owned(), Value::List(vec![Value::Str("model".to_owned())])),
    ]);
    let plain = |name, description, request, reply: Reply| {
        sample(name, description, request, reply.encode())
    };
    vec![
        plain("welcome", "the first frame of a server", 1, Reply::Welcome(welcome)),
        plain("pong", "no body", 2, Reply::Pong),
        plain("info", "plain data", 3, Reply::Info(info)),
        plain("submitted", "the number of a task", 6, Reply::Submitted(23)),
        plain("task-pending", "a task that waits", 7, Reply::Task(pending.clone())),
        plain("task-failed", "a task that failed", 7, Reply::Task(failed.clone())),
        plain("task-list", "tasks", 11, Reply::Tasks(vec![pending, failed, completed])),
        plain("task-list-empty", "no tasks", 11, Reply::Tasks(Vec::new())),
        plain("cancelled", "it will not run", 10, Reply::Cancelled(true)),
        plain("released", "one was not this client's", 14, Reply::Released(vec![true, false])),
        plain("object-info", "an object that is there", 14, Reply::Object(Some(object))),
        plain("object-gone", "an object that is not", 14, Reply::Object(None)),
        plain("invalidated", "two results were forgotten", 15, Reply::Invalidated(2)),
        plain("failed", "an error of the endpoint", 5, Reply::Failed(failure)),
        plain("stopping", "to nobody's request", 0, Reply::Stopping),
    ]
}

/// Answers with values of every kind.
fn answers() -> Vec<Sample> {
    let answer = |name, description, value: Value, lease, object| {
        let value: EncodedValue = encode_value(&value, &open_limits()).unwrap();
        let reply = Reply::Answer(Answer { value, lease, object });
        sample(name, description, 5, reply.encode())
    };
    let numbers = [0, 23, 24, -1, -24, -25, (1 << 64) - 1, -(1 << 64)];
    let texts = Value::List(vec![
        Value::Str(String::new()),
        Value::Str("zwölf".to_owned()),
        Value::Bytes(vec![]),
        Value::Bytes(vec![0, 255]),
    ]);
    let floats = [0.0, -0.0, 1.5, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, f64::MIN_POSITIVE];
    let map =
        Value::Map(vec![("b".to_owned(), Value::Bool(true)), ("a".to_owned(), Value::Bool(false))]);
    let tuple = Value::Tuple(vec![Value::Tuple(vec![]), Value::List(vec![]), Value::Map(vec![])]);
    let memory = storage(&(0..64).collect::<Vec<u8>>());
    let tensor = |dtype, shape: &[usize], strides: &[isize], offset| {
        Value::Tensor(Tensor::new(memory.clone(), dtype, shape, strides, offset).unwrap())
    };
    let views = Value::List(vec![
        tensor(Dtype::F64, &[], &[], 56),
        tensor(Dtype::U8, &[2, 3], &[3, 1], 0),
        tensor(Dtype::I16, &[4], &[-1], 6),
        tensor(Dtype::Bf16, &[2, 5], &[0, 1], 10),
        tensor(Dtype::Bool, &[0, 4], &[4, 1], 64),
    ]);
    let dtypes = Dtype::ALL.iter().map(|&dtype| tensor(dtype, &[1], &[1], 16)).collect();
    let own = |bytes: &[u8]| Tensor::contiguous(storage(bytes), Dtype::U8, &[bytes.len()], 0);
    let bundle = Bundle {
        kind: "torch.nn.Module".to_owned(),
        structure: Value::Map(vec![("class".to_owned(), Value::Str("Linear".to_owned()))]),
        tensors: vec![
            ("weight".to_owned(), own(&[1, 2, 3, 4]).unwrap()),
            ("bias".to_owned(), own(&[5, 6]).unwrap()),
        ],
    };
    let opaque = Opaque { encoding: "pickle".to_owned(), bytes: vec![0x80, 0x05, b'N', b'.'] };
    vec![
        answer("answer-null", "unmanaged, without a lease", Value::Null, None, None),
        answer("answer-leased", "managed: lease and object", Value::Null, Some(77), Some(9)),
        answer(
            "answer-ints",
            "the shortest form of each integer",
            Value::List(numbers.map(Value::Int).to_vec()),
            None,
            None,
        ),
        answer(
            "answer-floats",
            "always 8 bytes",
            Value::List(floats.map(Value::Float).to_vec()),
            None,
            None,
        ),
        answer("answer-texts", "text and bytes", texts, None, None),
        answer("answer-map", "in the order that was given", map, None, None),
        answer("answer-tuple", "a tuple and empty containers", tuple, None, None),
        answer("answer-tensors", "five views of one storage", views, Some(1), Some(2)),
        answer("answer-dtypes", "a tensor of every dtype", Value::Tuple(dtypes), None, None),
        answer("answer-bundle", "two storages", Value::Bundle(Box::new(bundle)), None, None),
        answer("answer-opaque", "only if the welcome says so", Value::Opaque(opaque), None, None),
    ]
}
