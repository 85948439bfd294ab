//! Opening memory of another process: the first time, and when it is open already.

use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use shm_cuda::ipc::{self, MemoryDescriptor};

use crate::child::{self, Child, Role};
use crate::cuda::bare::IpcHandle;
use crate::cuda::figures::{Figures, summary};
use crate::cuda::place::{Access, Place};
use crate::cuda::row::{NS, Row};
use crate::measure::{Plan, Samples};

/// The child's part: a process cannot open what is its own.
pub(in crate::cuda) const IMPORTER: Role = Role { name: "importer", run: import };

#[derive(Serialize, Deserialize)]
struct ImportJob {
    access: Access,
    cpus: [usize; 2],
    quick: bool,
    descriptor: Vec<u8>,
    /// Of another allocation, which only the bare calls open.
    handle: Vec<u8>,
}

/// So much that no two allocations share a block of the driver's.
const LEN: usize = 2 << 20;

/// p50, p99, max and calls of the driver.
#[derive(Serialize, Deserialize)]
struct Told(f64, f64, f64, Option<f64>);

pub(super) fn run(place: &Place) -> Result<Vec<Row>> {
    let site = place.site()?;
    let (ours, bare) = (site.filled(LEN, 1)?, site.filled(LEN, 1)?);
    let handle = {
        let _current = site.device.make_current()?;
        site.bare.handle_of(bare.as_slice())?
    };
    let job = ImportJob {
        access: place.access.clone(),
        cpus: [place.cores.near, place.cores.far],
        quick: place.plan.quick,
        descriptor: ipc::export(ours.as_slice())?.to_bytes().to_vec(),
        handle: handle.0.to_vec(),
    };
    let child = Child::start(&IMPORTER, place.cores.near, &job)?;
    let [first, opened, cached]: [Told; 3] = child.report()?;
    let figures = |told: Told| Figures {
        p50: told.0,
        p99: told.1,
        max: told.2,
        driver_calls: told.3,
        ..Figures::default()
    };
    let opened = figures(opened);
    Ok(vec![
        Row::new("host/import/first", place.simulated, NS, figures(first))
            .beside("cuIpcOpenMemHandle", NS, opened)
            .with_note("in another process; closing it is not in the figure"),
        Row::new("host/import/cached", place.simulated, NS, figures(cached))
            .beside("cuIpcOpenMemHandle", NS, opened)
            .with_note("what is open already is opened again and let go"),
    ])
}

fn import(job: &str) -> Result<()> {
    let job: ImportJob = child::job(job)?;
    let site = job.access.enter(job.cpus[0], job.cpus[1])?;
    let descriptor = MemoryDescriptor::from_bytes(&job.descriptor)?;
    let handle = job.handle.try_into().ok().map(IpcHandle).context("a handle has 64 bytes")?;
    let bare = &site.bare;
    child::ready()?;
    let plan = Plan { quick: job.quick };
    let opens = plan.pick(20, 100);
    let first =
        timed(plan, opens, || bare.calls(), || Ok(ipc::import(&site.device, &descriptor)?))?;
    let opened = {
        let _current = site.device.make_current()?;
        // Closed when the next is opened, outside of what is measured.
        let mut samples = Vec::new();
        let mut calls = None;
        for _ in 0..=plan.rounds() {
            let mut round = Samples::default();
            for _ in 0..opens {
                let counted = bare.calls();
                let before = Instant::now();
                let address = bare.open(handle)?;
                round.record(before.elapsed().as_nanos() as u64);
                calls = counted.zip(bare.calls()).map(|(before, after)| (after - before) as f64);
                bare.close(address)?;
            }
            samples.push(round);
        }
        told(summary(&samples[1..], calls)?)
    };
    let _kept = ipc::import(&site.device, &descriptor)?;
    let cached =
        timed(plan, 20 * opens, || bare.calls(), || Ok(ipc::import(&site.device, &descriptor)?))?;
    child::tell(&[first, opened, cached])
}

/// Times what opens, not the letting go of what it opened.
fn timed<T>(
    plan: Plan,
    times: u32,
    calls: impl Fn() -> Option<u64>,
    mut open: impl FnMut() -> Result<T>,
) -> Result<Told> {
    let mut rounds = Vec::new();
    let counted = calls();
    let opened = open()?;
    let counted = counted.zip(calls()).map(|(before, after)| (after - before) as f64);
    drop(opened);
    for _ in 0..=plan.rounds() {
        let mut round = Samples::default();
        for _ in 0..times {
            let before = Instant::now();
            let opened = open()?;
            round.record(before.elapsed().as_nanos() as u64);
            drop(opened);
        }
        rounds.push(round);
    }
    Ok(told(summary(&rounds[1..], counted)?))
}

fn told(figures: Figures) -> Told {
    Told(figures.p50, figures.p99, figures.max, figures.driver_calls)
}
