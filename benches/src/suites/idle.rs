//! What readers cost that wait for a frame that does not come.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde::{Deserialize, Serialize};
use shm_core::{ReadError, Reader, StreamConfig};

use super::Setting;
use crate::child::{self, Child, Role};
use crate::measure::{Spent, median};
use crate::report::Row;
use crate::scratch::ScratchStream;

/// The child's part.
pub(super) const IDLE_READERS: Role = Role { name: "idle-readers", run: wait };

const READERS: usize = 8;
const BUDGET_PERCENT: f64 = 0.1;
/// Until all readers are in the kernel.
const SETTLING: Duration = Duration::from_millis(100);

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    let seconds = setting.plan.pick(1.0, 3.0);
    let rounds = setting.plan.pick(1, 3);
    let stream = ScratchStream::create("idle", &StreamConfig::of::<u64>(&[8])?)?;
    let job = IdleJob { stream: stream.name().to_owned(), seconds };
    let mut percents = Vec::new();
    for _ in 0..rounds {
        let child = Child::start(&IDLE_READERS, setting.cores.far, &job)?;
        let spent: Spent = child.report()?;
        percents.push(spent.percent() / READERS as f64);
    }
    Ok(vec![
        Row::new("idle", median(percents), "% of a core")
            .with_limit("budget of 0.1 % of a core", BUDGET_PERCENT)
            .with_note(format!(
                "each of {READERS} readers blocked for {seconds} s, threads of one process: its \
                 processor time over wall time and readers"
            )),
    ])
}

#[derive(Debug, Serialize, Deserialize)]
struct IdleJob {
    stream: String,
    seconds: f64,
}

fn wait(job: &str) -> Result<()> {
    let job: IdleJob = child::job(job)?;
    let measured = Duration::from_secs_f64(job.seconds);
    // The readers give up after the measurement, so that giving up is no part of it.
    let patience = measured + 5 * SETTLING;
    let all_set = Barrier::new(READERS + 1);
    let spent = thread::scope(|scope| -> Result<Spent> {
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let mut reader = Reader::open(&job.stream)?;
            let all_set = &all_set;
            readers.push(scope.spawn(move || {
                all_set.wait();
                reader.read_new::<u64>(patience)
            }));
        }
        all_set.wait();
        thread::sleep(SETTLING);
        child::ready()?;
        let spent = Spent::asleep(measured);
        for reader in readers {
            let outcome = reader.join().map_err(|_| anyhow!("a reader panicked"))?;
            let error = outcome.err().context("a frame came that nobody published")?;
            ensure!(matches!(error, ReadError::Timeout { .. }), "a reader did not wait: {error}");
        }
        Ok(spent)
    })?;
    child::tell(&spent)
}
