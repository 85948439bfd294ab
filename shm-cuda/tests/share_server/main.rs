//! The server of the share service, over real sockets and between real processes: whose path it is, who is
//! served while others wait, what hostile clients do to it, and how it stops.
#![cfg(target_os = "linux")]

#[path = "../peer/mod.rs"]
mod peer;

mod children;
mod claiming;
mod hostile;
mod raw;
mod serving;
mod stopping;

use parking_lot::{Condvar, Mutex};
use shm_core::{Deadline, Dtype};
use shm_cuda::share::{
    Arguments, Endpoint, EndpointOptions, Execution, Server, ServerConfig, Tensor, Value,
};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Long enough for anything that ends at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of a test's own, with a path in it.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::Builder::new().prefix("shares-").tempdir().unwrap())
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("service.sock")
    }

    fn lock(&self) -> PathBuf {
        self.0.path().join("service.sock.lock")
    }

    fn text(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }

    fn set_mode(&self, mode: u32) {
        std::fs::set_permissions(self.folder(), PermissionsExt::from_mode(mode)).unwrap();
    }

    /// What is in the folder, by name.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// Holds endpoints back until the test says so, even if it fails.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar, AtomicU64)>);

impl Gate {
    fn pass(&self) {
        let (is_open, changed, inside) = &*self.0;
        inside.fetch_add(1, Ordering::SeqCst);
        let mut is_open = is_open.lock();
        while !*is_open {
            changed.wait(&mut is_open);
        }
        inside.fetch_sub(1, Ordering::SeqCst);
    }

    fn open(&self) {
        *self.0.0.lock() = true;
        self.0.1.notify_all();
    }

    /// How many wait to pass.
    fn inside(&self) -> u64 {
        self.0.2.load(Ordering::SeqCst)
    }
}

/// Opens a gate at the end of a test.
struct Opening<'a>(&'a Gate);

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// What the servers of these tests offer. `builds` counts what was built.
fn endpoints(gate: &Gate, builds: &Arc<AtomicU64>) -> Vec<Endpoint> {
    let uncached = EndpointOptions { cache: false, ..EndpointOptions::default() };
    let task = EndpointOptions { execution: Execution::Task, ..uncached.clone() };
    let managed = EndpointOptions { managed: true, ..EndpointOptions::default() };
    let (held, tasked, count, counted) =
        (gate.clone(), gate.clone(), builds.clone(), builds.clone());
    vec![
        Endpoint::new("bytes", move |arguments: &Arguments, _: &_| {
            count.fetch_add(1, Ordering::SeqCst);
            let Some(Value::Int(len)) = arguments.positional.first() else { panic!("no length") };
            let bytes: Vec<u8> = (0..*len as usize).map(|index| (index * 7) as u8).collect();
            Ok(Value::Tensor(Tensor::copy_of(Dtype::U8, &[bytes.len()], &bytes)?))
        }),
        Endpoint::new("managed", move |_: &_, _: &_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(Value::Tensor(Tensor::copy_of(Dtype::U8, &[3], &[1, 2, 3])?))
        })
        .with(managed),
        Endpoint::new("echo", |arguments: &Arguments, _: &_| {
            Ok(Value::List(arguments.positional.clone()))
        })
        .with(uncached.clone()),
        Endpoint::new("held", move |_: &_, _: &_| {
            held.pass();
            Ok(Value::Str("passed".into()))
        })
        .with(uncached.clone()),
        Endpoint::new("held task", move |_: &_, _: &_| {
            tasked.pass();
            Ok(Value::Str("passed".into()))
        })
        .with(task),
        Endpoint::new("obedient", |_: &_, cancellation: &shm_cuda::share::Cancellation| {
            while !cancellation.is_requested() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(Value::Null)
        })
        .with(uncached.clone()),
        Endpoint::new("panics", |_: &_, _: &_| panic!("as it was made to")).with(uncached.clone()),
        Endpoint::new("panics twice", |_: &_, _: &_| {
            struct Twice;
            impl Drop for Twice {
                fn drop(&mut self) {
                    panic!("and again");
                }
            }
            std::panic::panic_any(Twice)
        })
        .with(uncached),
    ]
}

/// A server of this process, with two workers.
struct Scene {
    place: Place,
    gate: Gate,
    builds: Arc<AtomicU64>,
    server: Server,
}

impl Scene {
    fn new() -> Scene {
        Scene::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ServerConfig)) -> Scene {
        let (place, gate, builds) = (Place::new(), Gate::default(), Arc::new(AtomicU64::new(0)));
        let mut config = ServerConfig::new(place.path());
        config.workers = 2;
        change(&mut config);
        let server = Server::start(config, endpoints(&gate, &builds)).unwrap();
        Scene { place, gate, builds, server }
    }

    fn path(&self) -> PathBuf {
        self.place.path()
    }

    fn builds(&self) -> u64 {
        self.builds.load(Ordering::SeqCst)
    }
}

fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

fn number(number: i128) -> Arguments {
    Arguments::positional([Value::Int(number)])
}

/// Waits until something is so.
fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !so() {
        assert!(begin.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn child() {
    children::play();
}
