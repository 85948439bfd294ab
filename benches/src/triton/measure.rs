//! The whole run.

use std::cell::RefCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::model::{MODELS, Model, SMALLEST};
use super::peer::Peer;
use super::programs::Programs;
use super::report::{Report, TERMS};
use super::servers::{Addresses, Servers};
use super::{at_once, one_call, watch};
use crate::flags::Flags;
use crate::measure::{Cores, Plan};
use crate::report::Header;

/// What every comparison is given.
pub(super) struct Setting<'a> {
    pub plan: Plan,
    pub cores: Cores,
    pub peer: Option<&'a RefCell<Peer>>,
    /// Why there is none.
    pub no_peer: String,
    /// perf_analyzer, or why it is not there.
    pub load: Result<PathBuf, String>,
}

impl Setting<'_> {
    /// How many rounds count.
    pub fn rounds(&self) -> usize {
        self.plan.pick(1, 5)
    }

    /// Rounds before those, which warm up.
    pub fn warming(&self) -> usize {
        self.plan.pick(0, 1)
    }

    /// How long everybody calls in a round.
    pub fn slice(&self, counts: bool) -> Duration {
        Duration::from_millis(if counts && !self.plan.quick { 100 } else { 20 })
    }

    /// How long perf_analyzer calls, about.
    pub fn load_slice(&self) -> Duration {
        Duration::from_millis(500)
    }

    /// Whether it is perf_analyzer's turn: it takes a second at least, so not after every round,
    /// and in a quick run only with one model.
    pub fn loads_after(&self, round: usize, model: &Model) -> bool {
        if self.plan.quick { model.name == SMALLEST.name } else { round % 2 == 1 }
    }

    /// Has the Python clients begin anew: perf_analyzer unregisters the regions of everybody when it
    /// starts. Our client notices and registers again by itself, in a call that does not count.
    pub fn open_again(
        &self,
        server: &Addresses<'_>,
        name: &str,
        model: &Model,
        slots: usize,
    ) -> Result<()> {
        let Some(peer) = self.peer else {
            return Ok(());
        };
        close(peer);
        peer.borrow_mut().open(server.grpc, name, model, slots)
    }
}

/// Measures everything that is there and that the flags ask for. What of ours fails is an error;
/// what is not there is skipped, which is printed.
///
/// # Errors
/// If something of ours cannot be measured.
pub fn measure(flags: &Flags) -> Result<Report> {
    let header = Header::here(flags.quick);
    watch::start();
    let programs = Programs::of_environment();
    let servers = Servers::start(&programs);
    let peer = match &programs.python {
        Ok(python) => Peer::start(python).map_err(|error| format!("{error:#}")),
        Err(why) => Err(why.clone()),
    };
    for backend in servers.backends() {
        if let Err(why) = &backend.server {
            println!("SKIPPED: the rows of {}: {why}", backend.name);
        }
    }
    if let Err(why) = &peer {
        println!("SKIPPED: the clients in Python: {why}");
    }
    if let Err(why) = &programs.load {
        println!("SKIPPED: perf_analyzer: {why}");
    }
    let no_peer = peer.as_ref().err().cloned().unwrap_or_default();
    let peer = peer.ok().map(RefCell::new);
    let plan = Plan { quick: flags.quick };
    let cores = Cores::choose()?;
    let setting =
        Setting { plan, cores, peer: peer.as_ref(), no_peer, load: programs.load.clone() };
    let mut rows = Vec::new();
    for (index, backend) in servers.backends().into_iter().enumerate() {
        for model in &MODELS {
            let group = format!("{}/{}", backend.name, model.name);
            // A call in the message takes a second, which shows no more on three servers than on one.
            let left_out = flags.quick && index > 0 && model.input_bytes() > QUICK_BYTES;
            if flags.wants(&group) && !left_out {
                let begun = Instant::now();
                rows.extend(one_call::rows(&setting, &backend, model).context(group.clone())?);
                eprintln!("{group}: {:.1} s", begun.elapsed().as_secs_f64());
            }
        }
        let group = format!("{}/at-once", backend.name);
        if flags.wants(&group) {
            let begun = Instant::now();
            rows.extend(at_once::rows(&setting, &backend).context(group.clone())?);
            eprintln!("{group}: {:.1} s", begun.elapsed().as_secs_f64());
        }
    }
    let peer = peer.map(|peer| peer.into_inner().versions.clone());
    Ok(Report { header, servers: servers.names()?, peer, terms: TERMS, rows })
}

/// What a quick run sends to each server.
const QUICK_BYTES: usize = 10_000_000;

/// Has the peer give back what it registered. What it keeps goes with its process.
pub(super) fn close(peer: &RefCell<Peer>) {
    if let Err(error) = peer.borrow_mut().close() {
        eprintln!("the clients in Python did not end in good order: {error:#}");
    }
}
