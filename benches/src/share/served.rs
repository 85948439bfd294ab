//! A server in a process of its own, and what this process has of it.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use serde::{Deserialize, Serialize};
use shm_core::Deadline;
use shm_cuda::share::{
    Arguments, Ask, Client, ClientConfig, Handle, Outcome, Response, Server, ServerConfig, Value,
};

use super::PATIENCE;
use super::offers;
use super::place::Place;
use crate::child::{self, Child, Role};
use crate::limits::{BareSocket, Carries, CopyKind, Mapping, serve};

/// The child's part.
pub(super) const SHARE_SERVER: Role = Role { name: "share-server", run: play };

/// The child, with a server and bare sockets.
pub(super) struct Served {
    pub(super) child: Child,
    place: Place,
}

impl Served {
    /// Starts it on a processor. Its bare sockets have files of these lengths, all pages of them written.
    pub(super) fn start(cpu: usize, files: &[usize]) -> Result<Served> {
        let place = Place::make()?;
        let job =
            ServeJob { path: place.path(SERVICE), bare: place.path(BARE), files: files.to_vec() };
        let child = Child::start(&SHARE_SERVER, cpu, &job)?;
        Ok(Served { child, place })
    }

    /// A new connection to the server.
    pub(super) fn client(&self) -> Result<Client> {
        connect(self.path())
    }

    /// A new connection to the thread with the bare sockets.
    pub(super) fn bare(&self, carries: Carries) -> Result<BareSocket> {
        BareSocket::connect(&self.place.path(BARE), carries)
    }

    /// Where the server is.
    pub(super) fn path(&self) -> PathBuf {
        self.place.path(SERVICE)
    }
}

/// A connection of this process.
pub(super) fn connect(path: PathBuf) -> Result<Client> {
    let config = ClientConfig { name: "bench".to_owned(), ..ClientConfig::new(path) };
    Client::connect(config).context("could not connect to the server of the bench")
}

/// Long enough from now.
pub(super) fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

/// Calls an endpoint whose results are managed.
pub(super) fn handle_of(client: &Client, endpoint: &str, arguments: Arguments) -> Result<Handle> {
    match client.call(endpoint, arguments, soon()).context("the call failed")? {
        Outcome::Handle(handle) => Ok(handle),
        Outcome::Value(value) => bail!("`{endpoint}` gave a bare {}", value.kind()),
    }
}

/// One of the server's counters.
pub(super) fn counter(client: &Client, name: &str) -> Result<u64> {
    let Response::Info(info) = client.ask(Ask::ServerInfo, soon())? else {
        bail!("the server told something else than its info");
    };
    match entry(entry(&info, "stats")?, name)? {
        Value::Int(count) => u64::try_from(*count).context("a counter is below nil"),
        other => bail!("the counter `{name}` is a {}", other.kind()),
    }
}

fn entry<'a>(map: &'a Value, name: &str) -> Result<&'a Value> {
    let Value::Map(entries) = map else {
        bail!("a {} where a map was expected", map.kind());
    };
    let found = entries.iter().find(|(known, _)| known == name);
    found.map(|(_, value)| value).with_context(|| format!("the info has no `{name}`"))
}

const SERVICE: &str = "service";
const BARE: &str = "bare";

#[derive(Debug, Serialize, Deserialize)]
struct ServeJob {
    path: PathBuf,
    bare: PathBuf,
    files: Vec<usize>,
}

fn play(job: &str) -> Result<()> {
    let job: ServeJob = child::job(job)?;
    let server = Server::start(ServerConfig::new(&job.path), offers::all())
        .context("the server does not start")?;
    let files = job.files.iter().map(|len| bare_file(*len)).collect::<Result<_>>()?;
    serve(&job.bare, files)?;
    child::ready()?;
    // It is killed.
    server.wait(Deadline::NEVER);
    Ok(())
}

/// Shared memory as the service has it, without any of its seals.
pub(super) fn bare_file(len: usize) -> Result<OwnedFd> {
    let file = memfd_create("bench", MemfdFlags::CLOEXEC).context("no memfd")?;
    fallocate(&file, FallocateFlags::empty(), 0, len as u64)
        .with_context(|| format!("no room for {len} bytes of shared memory"))?;
    let mapping = Mapping::of_file(file.as_fd(), len)?;
    let block = vec![1; 1 << 16];
    for offset in (0..len).step_by(block.len()) {
        mapping.copy_in(CopyKind::Libc, offset, &block[..block.len().min(len - offset)])?;
    }
    Ok(file)
}

/// Compares what came with what was built.
pub(super) fn expect_number(value: &Value) -> Result<()> {
    ensure!(matches!(value, Value::Int(offers::THE_NUMBER)), "`{}` gave {value:?}", offers::NUMBER);
    Ok(())
}
