//! A server of either kind, as a process that can be killed, stopped and started again.

use super::embedded::{EmbeddedOptions, EmbeddedServer};
use super::place::Wire;
use super::real::{Options, RealServer};
use crate::Failure;
use rustix::process::Signal;
use std::time::Duration;
use std::{fs, io, thread};

/// Whose server it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This workspace's, with the models of `shm-zoo`.
    Embedded,
    /// NVIDIA's, where it was fetched.
    Real,
}

/// A server of either kind.
#[derive(Debug)]
pub enum TestServer {
    /// This workspace's.
    Embedded(EmbeddedServer),
    /// NVIDIA's.
    Real(Box<RealServer>),
}

impl TestServer {
    /// Starts one; none where NVIDIA's was never fetched, which is printed.
    ///
    /// # Errors
    /// [`Failure`] if it does not start.
    pub fn start(kind: Kind) -> Result<Option<TestServer>, Failure> {
        Ok(match kind {
            Kind::Embedded => {
                Some(TestServer::Embedded(EmbeddedServer::start(EmbeddedOptions::default())?))
            }
            Kind::Real => {
                RealServer::start(&Options::default())?.map(Box::new).map(TestServer::Real)
            }
        })
    }

    /// Where to connect to.
    pub fn url(&self, wire: Wire) -> String {
        let (http, grpc) = match self {
            TestServer::Embedded(server) => (&server.http_addr, &server.grpc_addr),
            TestServer::Real(server) => (&server.http_addr, &server.grpc_addr),
        };
        match wire {
            Wire::Http => format!("http://{http}"),
            Wire::Grpc => format!("grpc://{grpc}"),
        }
    }

    /// Kills it and waits for its end.
    ///
    /// # Panics
    /// If a process of ours cannot be killed.
    pub fn kill(&self) {
        match self {
            TestServer::Embedded(server) => server.kill(),
            TestServer::Real(server) => server.kill(),
        }
        .expect("a server of ours can be killed");
    }

    /// Starts it again at the same ports; what runs is killed first.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        match self {
            TestServer::Embedded(server) => server.restart(),
            TestServer::Real(server) => server.restart(),
        }
        .expect("the server starts again");
    }

    /// Stops it: it stays alive and answers nothing, not even what it was just asked.
    ///
    /// # Panics
    /// If it has ended.
    pub fn stop(&self) {
        let (stopped, pid) = match self {
            TestServer::Embedded(server) => (server.signal(Signal::STOP), server.pid),
            TestServer::Real(server) => (server.stop(), server.pid),
        };
        stopped.expect("the server lives");
        // Its threads stop one by one, after the signal was sent.
        while !all_stopped(pid).expect("the server lives") {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// If it has ended.
    pub fn resume(&self) {
        match self {
            TestServer::Embedded(server) => server.signal(Signal::CONT),
            TestServer::Real(server) => server.cont(),
        }
        .expect("the server lives");
    }

    /// Whether its process runs; a stopped one does.
    pub fn is_alive(&self) -> bool {
        match self {
            TestServer::Embedded(server) => server.is_alive(),
            TestServer::Real(server) => server.is_alive(),
        }
    }
}

/// Whether every thread of the process is stopped.
fn all_stopped(pid: u32) -> io::Result<bool> {
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let Ok(stat) = fs::read_to_string(thread?.path().join("stat")) else { continue };
        // The state follows the name, which is in parentheses and may have any in itself.
        let state = stat.rfind(')').and_then(|end| stat[end + 1..].split_ascii_whitespace().next());
        if state != Some("T") {
            return Ok(false);
        }
    }
    Ok(true)
}
