//! The same from Python, by one script for our package and for the one whose place it takes.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::place::Place;
use super::served::Served;
use super::timing::Figures;
use crate::limits::Carries;
use crate::measure::{Plan, Samples, alternate, pin};
use crate::report::Row;
use crate::script::Script;
use crate::suites::Setting;

/// Names the interpreter that has our package.
const OURS: &str = "SHM_BENCH_SHARE_PYTHON";
/// Names the one that has shared-tensor, if there is one.
const PEER: &str = "SHM_BENCH_SHARE_PEER";

const PEER_NAME: &str = "shared-tensor 0.2.16, same script";

/// What a system is told to do again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Ping,
    Call,
}

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    let Some(python) = std::env::var_os(OURS) else {
        eprintln!(
            "python: SKIPPED: {OURS} names no interpreter with shm_py; `cargo xtask bench share` does"
        );
        return Ok(Vec::new());
    };
    let place = Place::make()?;
    let (near, far) = (setting.cores.near, setting.cores.far);
    let mut ours = System::start(Path::new(&python), "shm_py.share", &place, [near, far])?;
    let mut peer = std::env::var_os(PEER)
        .map(|python| System::start(Path::new(&python), "shared_tensor", &place, [near, far]))
        .transpose()?;
    pin(near)?;
    let served = Served::start(far, &[])?;
    let mut bare = served.bare(Carries::Bytes)?;
    let mut rows = Vec::new();
    for (name, what) in [("python/ping", What::Ping), ("python/call cached managed", What::Call)] {
        if !ours.can.contains(&name_of(what)) {
            bail!("our package cannot {what:?}");
        }
        let peer = peer.as_mut().filter(|peer| peer.can.contains(&name_of(what)));
        rows.push(row(setting.plan, name, what, &mut ours, peer, &mut || bare.turn())?);
    }
    Ok(rows)
}

fn row(
    plan: Plan,
    name: &str,
    what: What,
    ours: &mut System,
    mut peer: Option<&mut System>,
    bare: &mut dyn FnMut() -> Result<()>,
) -> Result<Row> {
    let contenders = 2 + usize::from(peer.is_some());
    let rounds = alternate(1 + plan.rounds(), contenders, |which| match (which, &mut peer) {
        (0, _) => ours.run(plan, what),
        (1, _) => turns(plan, bare),
        (_, Some(peer)) => peer.run(plan, what),
        (_, None) => bail!("there is no such contender"),
    })?;
    let figures =
        rounds.iter().map(|rounds| Figures::of(&rounds[1..])).collect::<Result<Vec<_>>>()?;
    let row = figures[0]
        .row(name)
        .with_limit("bare Unix socket, 24 bytes there and back, without Python", figures[1].p50)
        .with_limit_quantiles(figures[1].quantiles)
        .with_note("an interpreter as client and one as server, pinned; payload untouched");
    Ok(match figures.get(2) {
        Some(peer) => row
            .with_peer(PEER_NAME, peer.p50)
            .with_peer_quantiles(peer.quantiles)
            .with_note(format!("the peer's p99 is {:.1} us", peer.p99)),
        None => row,
    })
}

fn turns(plan: Plan, bare: &mut dyn FnMut() -> Result<()>) -> Result<Samples> {
    let mut samples = Samples::default();
    let begun = std::time::Instant::now();
    let mut before = begun;
    while before - begun < plan.slice() {
        bare()?;
        let now = std::time::Instant::now();
        samples.record((now - before).as_nanos() as u64);
        before = now;
    }
    Ok(samples)
}

/// An interpreter with a server and a client of one system.
struct System {
    script: Script,
    /// What it can do on this machine.
    can: Vec<String>,
}

#[derive(Serialize)]
struct Order {
    what: What,
    seconds: f64,
}

#[derive(Deserialize)]
struct Ready {
    can: Vec<String>,
}

#[derive(Deserialize)]
struct Answer {
    took: Vec<u64>,
}

impl System {
    fn start(python: &Path, module: &str, place: &Place, cores: [usize; 2]) -> Result<System> {
        let folder = place.folder().join(module);
        let [near, far] = cores.map(|core| core.to_string());
        let arguments: [&OsStr; 7] = [
            module.as_ref(),
            "--near".as_ref(),
            near.as_ref(),
            "--far".as_ref(),
            far.as_ref(),
            "--base-path".as_ref(),
            folder.as_ref(),
        ];
        let mut script = Script::start(python, "share/system.py", &arguments)?;
        let can = script.answer::<Ready>()?.can;
        Ok(System { script, can })
    }

    /// What single operations took, in nanoseconds.
    fn run(&mut self, plan: Plan, what: What) -> Result<Samples> {
        let order = Order { what, seconds: plan.slice().as_secs_f64() };
        Ok(self.script.ask::<Answer>(&order)?.took.into_iter().collect())
    }
}

fn name_of(what: What) -> String {
    match what {
        What::Ping => "ping".to_owned(),
        What::Call => "call".to_owned(),
    }
}
