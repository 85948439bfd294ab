//! The servers, as processes of their own.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use shm_triton::TritonClient;

use super::programs::Programs;
use crate::scratch;

/// One way to run the models.
pub(super) struct Backend<'a> {
    /// What its rows begin with.
    pub name: &'static str,
    /// What the names of its models end with.
    suffix: &'static str,
    /// Where it is, or why it is not there.
    pub server: Result<Addresses<'a>, String>,
}

/// Where a server listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses<'a> {
    /// `host:port`
    pub http: &'a str,
    /// `host:port`
    pub grpc: &'a str,
    /// The path of a Unix socket for HTTP.
    pub unix: &'a Path,
}

impl Backend<'_> {
    /// What this backend calls a model.
    pub fn model(&self, name: &str) -> String {
        format!("{name}{}", self.suffix)
    }
}

/// All servers of a run.
pub(super) struct Servers {
    /// A real one at TCP ports, and one at a Unix socket: it cannot do both.
    real: Result<[Service; 2], String>,
    embedded: Result<Service, String>,
    sockets: [PathBuf; 2],
    python: bool,
}

/// A server as it calls itself.
#[derive(Clone, Debug, Serialize)]
pub struct Server {
    /// What its rows begin with.
    pub backend: &'static str,
    /// Its own name and version, and what runs the models.
    pub name: String,
}

impl Servers {
    /// Starts those that are there.
    pub fn start(programs: &Programs) -> Servers {
        let sockets =
            ["real", "embedded"].map(|what| std::env::temp_dir().join(scratch::name(what)));
        let mut python = true;
        let real = programs.real.clone().and_then(|program| {
            real(&program, &sockets[0], true).or_else(|why| {
                eprintln!("the Python backend does not start: {why:#}");
                python = false;
                real(&program, &sockets[0], false).map_err(|error| format!("{error:#}"))
            })
        });
        let embedded = programs.embedded.clone().and_then(|program| {
            let mut command = Command::new(program);
            command.arg("--http-unix").arg(&sockets[1]);
            Service::start(command).map_err(|error| format!("{error:#}"))
        });
        Servers { real, embedded, sockets, python }
    }

    /// In the order of the table.
    pub fn backends(&self) -> [Backend<'_>; 3] {
        let real = match &self.real {
            Ok([tcp, _]) => Ok(tcp.at(&self.sockets[0])),
            Err(why) => Err(why.clone()),
        };
        let python = match &real {
            Ok(_) if !self.python => Err("the Python backend does not start".to_owned()),
            real => real.clone(),
        };
        let embedded = match &self.embedded {
            Ok(service) => Ok(service.at(&self.sockets[1])),
            Err(why) => Err(why.clone()),
        };
        [
            Backend { name: NATIVE, suffix: "", server: real },
            Backend { name: PYTHON, suffix: "_py", server: python },
            Backend { name: EMBEDDED, suffix: "", server: embedded },
        ]
    }

    /// What the servers say about themselves.
    pub fn names(&self) -> Result<Vec<Server>> {
        let mut names = Vec::new();
        for backend in self.backends() {
            let Ok(addresses) = backend.server else {
                continue;
            };
            let said = TritonClient::connect(addresses.http)?.server_metadata()?;
            let runs = match backend.name {
                NATIVE => "backend in Rust",
                PYTHON => "Python backend",
                _ => "models in Rust, in the server's own process",
            };
            let name = format!("{} {}, {runs}", said.name, said.version);
            names.push(Server { backend: backend.name, name });
        }
        Ok(names)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // A server that ends in good order has done so already.
        for socket in &self.sockets {
            let _ = std::fs::remove_file(socket);
        }
    }
}

const NATIVE: &str = "native";
const PYTHON: &str = "python";
const EMBEDDED: &str = "embedded";

fn real(program: &Path, socket: &Path, python: bool) -> Result<[Service; 2]> {
    let start = |unix: Option<&Path>| {
        let mut command = Command::new(program);
        command.args(["--seconds", "3600"]);
        if python {
            command.arg("--python");
        }
        if let Some(socket) = unix {
            command.arg("--http-unix").arg(socket);
        }
        Service::start(command)
    };
    Ok([start(None)?, start(Some(socket))?])
}

/// A process that says `ready http=... grpc=...` and ends when its standard input is closed.
struct Service {
    process: Child,
    http: String,
    grpc: String,
}

impl Service {
    fn start(mut command: Command) -> Result<Service> {
        let mut process = command
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("could not start {}", command.get_program().display()))?;
        let stdout = process.stdout.take().context("the server has no output")?;
        let mut service = Service { process, http: String::new(), grpc: String::new() };
        let mut said = String::new();
        let mut stdout = BufReader::new(stdout);
        stdout.read_line(&mut said).context("could not hear the server")?;
        let word = |name: &str| {
            let mut words = said.split_whitespace();
            words.find_map(|word| word.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned)
        };
        match (said.starts_with("ready "), word("http"), word("grpc")) {
            (true, Some(http), Some(grpc)) => {
                service.http = http;
                service.grpc = grpc;
                Ok(service)
            }
            _ => {
                stdout.read_to_string(&mut said).context("could not hear the server")?;
                bail!("the server said `{}` in place of `ready ...`", said.trim_end());
            }
        }
    }

    fn at<'a>(&'a self, unix: &'a Path) -> Addresses<'a> {
        Addresses { http: &self.http, grpc: &self.grpc, unix }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_server_says_where_it_is_and_ends_with_its_input() {
        let service = Service::start(shell("echo ready http=a:1 grpc=b:2 pid=3; cat")).unwrap();
        assert_eq!((&service.http[..], &service.grpc[..]), ("a:1", "b:2"));
        drop(service);
    }

    #[test]
    fn what_it_says_in_place_of_that_is_told() {
        let error = Service::start(shell("echo SKIPPED: no server; echo more")).err().unwrap();
        let text = format!("{error:#}");
        assert!(text.contains("SKIPPED: no server") && text.contains("more"), "{text}");
    }

    #[test]
    fn what_is_not_there_is_skipped_with_its_reason() {
        let absent = || Err("nobody has built it".to_owned());
        let (real, embedded, python, load) = (absent(), absent(), absent(), absent());
        let servers = Servers::start(&Programs { real, embedded, python, load });
        for backend in servers.backends() {
            assert_eq!(backend.server.unwrap_err(), "nobody has built it");
        }
        assert!(servers.names().unwrap().is_empty());
    }
}
