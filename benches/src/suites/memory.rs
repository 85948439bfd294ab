//! How much memory a stream occupies beyond its frames.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use shm_core::{Reader, StreamConfig};

use super::Setting;
use crate::child::{self, Child, Role};
use crate::report::Row;
use crate::scratch::ScratchStream;

/// The child's part.
pub(super) const ATTACHED_READERS: Role = Role { name: "attached-readers", run: attach };

const CELLS: usize = 3;
const READERS: usize = 8;
const PAYLOADS: [usize; 4] = [64, 4096, 40_000, 4_000_000];
const BUDGET_BYTES: f64 = 8192.0;

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for len in PAYLOADS {
        let config = StreamConfig::of::<u8>(&[len])?.cells(CELLS)?;
        let stream = ScratchStream::create("memory", &config)?;
        let mut writer = stream.writer(Duration::from_secs(1))?;
        // Every cell is written, so that no page is left out.
        for _ in 0..CELLS {
            writer.publish(&vec![1_u8; len])?;
        }
        rows.push(row(&stream, len, 0)?);
        let job = AttachJob { stream: stream.name().to_owned() };
        let child = Child::start(&ATTACHED_READERS, setting.cores.far, &job)?;
        rows.push(row(&stream, len, READERS)?);
        drop(child);
    }
    Ok(rows)
}

fn row(stream: &ScratchStream, len: usize, readers: usize) -> Result<Row> {
    let info = shm_core::stat(stream.name())?;
    let payload = (CELLS * len) as u64;
    ensure!(info.allocated >= payload, "{} bytes cannot hold {payload}", info.allocated);
    let overhead = (info.allocated - payload) as f64;
    Ok(Row::new(format!("memory/{len}B/readers={readers}"), overhead, "B")
        .with_limit("budget of 8 KiB", BUDGET_BYTES)
        .with_note("goal: K x payload + at most 8 KiB, not multiplied by readers")
        .with_note(format!(
            "allocated {} B - {CELLS} cells x {len} B; length of the file {} B",
            info.allocated, info.len
        )))
}

#[derive(Debug, Serialize, Deserialize)]
struct AttachJob {
    stream: String,
}

/// Reads once with every reader and keeps them until the parent ends it.
fn attach(job: &str) -> Result<()> {
    let job: AttachJob = child::job(job)?;
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = Reader::open(&job.stream)?;
        let frame = reader.read::<u8>()?;
        ensure!(frame.data.iter().all(|byte| *byte == 1), "a frame is not what was published");
        readers.push(reader);
    }
    child::ready()?;
    loop {
        thread::sleep(Duration::from_secs(1));
    }
}
