//! Where a test of the client takes place.

use super::server::{Kind, TestServer};
use crate::Watchdog;
use shm_triton::{ClientConfig, TritonClient};
use std::sync::OnceLock;
use std::time::Duration;

/// In which protocol to speak to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// HTTP/1.1.
    Http,
    /// gRPC.
    Grpc,
}

/// A test that takes longer than this hangs.
const BOUND: Duration = Duration::from_secs(100);

/// A server of some kind, spoken to in some protocol.
#[derive(Debug)]
pub struct Place {
    /// Whose server.
    pub kind: Kind,
    /// In which protocol.
    pub wire: Wire,
    shared: &'static TestServer,
    _watchdog: Watchdog,
}

impl Place {
    /// Runs a test there, unless there is no such server on this machine, which is printed.
    ///
    /// # Panics
    /// If the server does not start, or as the test does.
    pub fn run(kind: Kind, wire: Wire, test: fn(&Place)) {
        static EMBEDDED: OnceLock<Option<TestServer>> = OnceLock::new();
        static REAL: OnceLock<Option<TestServer>> = OnceLock::new();
        let server = match kind {
            Kind::Embedded => &EMBEDDED,
            Kind::Real => &REAL,
        };
        // Never dropped: it ends with this process.
        let started = server.get_or_init(|| TestServer::start(kind).expect("the server starts"));
        let Some(shared) = started else { return };
        let _watchdog = Watchdog::new(&format!("{kind:?} {wire:?}"), BOUND);
        test(&Place { kind, wire, shared, _watchdog });
    }

    /// Where all tests of this kind connect to, that do the server no harm.
    pub fn url(&self) -> String {
        self.shared.url(self.wire)
    }

    /// How to connect there. Regions of the dead are left alone, which are those of other tests.
    pub fn config(&self) -> ClientConfig {
        ClientConfig::new(self.url()).sweep(false)
    }

    /// A client of the server of all tests.
    ///
    /// # Panics
    /// If there can be none.
    pub fn client(&self) -> TritonClient {
        self.config().connect().expect("the address is one")
    }

    /// A server for this test alone.
    ///
    /// # Panics
    /// If it does not start.
    pub fn own_server(&self) -> TestServer {
        let server = TestServer::start(self.kind).expect("the server starts");
        server.expect("there is one of this kind, for all tests")
    }

    /// A client of such a server.
    ///
    /// # Panics
    /// If there can be none.
    pub fn client_of(&self, server: &TestServer) -> TritonClient {
        let config = ClientConfig::new(server.url(self.wire)).sweep(false);
        config.connect().expect("the address is one")
    }
}
