//! Servers and clients of the share tests: real ones, on a path of their own.

#![allow(dead_code, reason = "each test program uses its part")]

use super::peer;
use shm_core::{Deadline, Dtype};
use shm_cuda::share::{
    Arguments, Ask, Client, ClientConfig, Concurrency, Endpoint, EndpointOptions, Execution,
    Failure, FailureKind, Handle, Outcome, Response, Server, ServerConfig, Tensor, Value,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Long enough for anything that ends at all.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

/// A folder of a test's own, for its user alone, with a path in it.
pub struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        Place { folder: tempfile::Builder::new().prefix("shares-").tempdir().unwrap() }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("service.sock")
    }

    pub fn text(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }
}

/// Byte `index` of the tensor number `number`.
pub fn byte(number: u64, index: usize) -> u8 {
    (number as usize * 31 + index * 7 + index / 251) as u8
}

pub fn pattern(number: u64, len: usize) -> Vec<u8> {
    (0..len).map(|index| byte(number, index)).collect()
}

pub fn tensor(number: u64, len: usize) -> Result<Tensor, Failure> {
    Ok(Tensor::copy_of(Dtype::U8, &[len], &pattern(number, len))?)
}

pub fn assert_pattern(value: &Value, number: u64, len: usize) {
    let Value::Tensor(tensor) = value else { panic!("{value:?}") };
    assert_eq!(tensor.shape(), [len]);
    assert!(tensor.to_vec().unwrap() == pattern(number, len), "not the bytes of {number}");
}

pub fn number(arguments: &Arguments, index: usize) -> u64 {
    match arguments.positional.get(index) {
        Some(Value::Int(number)) => *number as u64,
        other => panic!("argument {index}: {other:?}"),
    }
}

pub fn numbers<const N: usize>(numbers: [u64; N]) -> Arguments {
    Arguments::positional(numbers.map(|number| Value::Int(number.into())))
}

/// What the test servers offer. `builds` counts what was built.
pub fn endpoints(builds: &Arc<AtomicU64>) -> Vec<Endpoint> {
    let usual = EndpointOptions::default();
    let managed = EndpointOptions { managed: true, ..usual.clone() };
    let fleeting = EndpointOptions { keep_unleased: false, ..managed.clone() };
    let fresh = EndpointOptions { cache: false, ..managed.clone() };
    let task = EndpointOptions { execution: Execution::Task, ..usual.clone() };
    let uncached = EndpointOptions { cache: false, ..usual.clone() };
    let lasting = EndpointOptions { cache: false, ..task.clone() };
    let serial = EndpointOptions { concurrency: Concurrency::Serialized, ..usual.clone() };
    let counted = |builds: &Arc<AtomicU64>| {
        let builds = builds.clone();
        move || builds.fetch_add(1, Ordering::Relaxed) + 1
    };
    let frame = |builds: &Arc<AtomicU64>| {
        let count = counted(builds);
        move |arguments: &Arguments, _: &_| {
            count();
            let len = number(arguments, 1) as usize;
            Ok(Value::Tensor(tensor(number(arguments, 0), len)?))
        }
    };
    let doze = |arguments: &Arguments, cancelled: &dyn Fn() -> bool| {
        let mut left = number(arguments, 0);
        while left > 0 && !cancelled() {
            std::thread::sleep(Duration::from_millis(1));
            left -= 1;
        }
        Ok(Value::Int(left.into()))
    };
    let count = counted(builds);
    let slowly = counted(builds);
    vec![
        Endpoint::new("plain", frame(builds)).with(usual.clone()),
        Endpoint::new("managed", frame(builds)).with(managed),
        Endpoint::new("fleeting", frame(builds)).with(fleeting),
        Endpoint::new("fresh", frame(builds)).with(fresh),
        Endpoint::new("echo", |arguments: &Arguments, _: &_| {
            Ok(Value::List(arguments.positional.clone()))
        })
        .with(uncached.clone()),
        Endpoint::new("count", move |_: &_, _: &_| Ok(Value::Int(count().into()))).with(serial),
        Endpoint::new("slowly", move |arguments: &Arguments, _: &_| {
            std::thread::sleep(Duration::from_millis(number(arguments, 0)));
            Ok(Value::Int(slowly().into()))
        })
        .with(usual.clone()),
        Endpoint::new("doze", move |arguments: &Arguments, cancellation: &_| {
            let cancellation: &shm_cuda::share::Cancellation = cancellation;
            doze(arguments, &|| cancellation.is_requested())
        })
        .with(lasting),
        Endpoint::new("tasked", frame(builds)).with(EndpointOptions { managed: true, ..task }),
        Endpoint::new("panics", |_: &_, _: &_| panic!("as it was made to")).with(usual.clone()),
        Endpoint::new("slow panic", |_: &_, _: &_| {
            std::thread::sleep(Duration::from_millis(200));
            panic!("as it was made to")
        })
        .with(usual.clone()),
        Endpoint::new("fails", |_: &_, _: &_| {
            Err(Failure::new(FailureKind::Build, "no such model").of_type("LookupError"))
        })
        .with(usual),
    ]
}

pub fn config(path: &Path) -> ServerConfig {
    ServerConfig::new(path)
}

/// A server in this process.
pub fn serve(place: &Place) -> (Server, Arc<AtomicU64>) {
    let builds = Arc::new(AtomicU64::new(0));
    let server = Server::start(config(&place.path()), endpoints(&builds)).unwrap();
    (server, builds)
}

/// In a child: serves until told to stop.
pub fn serve_as_child(path: &str) {
    let builds = Arc::new(AtomicU64::new(0));
    let server = Server::start(config(Path::new(path)), endpoints(&builds)).unwrap();
    peer::say("serving");
    while let Some(line) = peer::listen() {
        match line.as_str() {
            "counters" => {
                let counters = server.counters();
                peer::say(&format!("{} {}", counters.leases, counters.objects));
            }
            "memory" => peer::say(&resident().to_string()),
            _ => return,
        }
    }
}

/// Bytes of this process in memory that are its own.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

pub fn connect(path: &Path) -> Client {
    Client::connect(ClientConfig::new(path)).unwrap()
}

/// A handle on what a managed endpoint gives.
pub fn handle(client: &Client, endpoint: &str, number: u64, len: u64) -> Handle {
    match client.call(endpoint, numbers([number, len]), soon()).unwrap() {
        Outcome::Handle(handle) => handle,
        other => panic!("{other:?}"),
    }
}

pub fn value(outcome: Outcome) -> Value {
    match outcome {
        Outcome::Value(value) => value,
        Outcome::Handle(handle) => panic!("{handle:?}"),
    }
}

/// Waits until something is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) -> Duration {
    let begin = std::time::Instant::now();
    while !so() {
        assert!(begin.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
    begin.elapsed()
}

/// A counter, as the server tells its clients.
pub fn stat(client: &Client, name: &str) -> u64 {
    let Response::Info(Value::Map(info)) = client.ask(Ask::ServerInfo, soon()).unwrap() else {
        panic!("no info")
    };
    let stats = info.into_iter().find(|(known, _)| known == "stats");
    let Some((_, Value::Map(stats))) = stats else { panic!("no stats") };
    match stats.into_iter().find(|(known, _)| known == name) {
        Some((_, Value::Int(count))) => count as u64,
        other => panic!("{other:?}"),
    }
}
