//! A reader of another process sleeps until there is a frame; the clock runs from before the publish
//! until the frame lies in the reader's own memory.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use shm_core::Deadline;
use shm_core::clock::monotonic_ns;
use shm_cuda::{DeviceBuffer, DeviceStream, DeviceStreamConfig, Mirror};
use std::sync::atomic::Ordering;

use super::payload::Payload;
use crate::child::{self, Child, Role};
use crate::cuda::PATIENCE;
use crate::cuda::figures::{of_whole, summary};
use crate::cuda::place::{Access, Place};
use crate::cuda::row::{Row, US};
use crate::limits::{FutexHop, Mapping};
use crate::measure::Samples;
use crate::scratch;

/// The child's part.
pub(in crate::cuda) const SLEEPING_READER: Role = Role { name: "sleeping-reader", run: sleep };

const SENT: usize = 0;
const RECEIVED: usize = 64;
const REST: Duration = Duration::from_micros(400);
const FILL: u8 = 0x5A;

#[derive(Serialize, Deserialize)]
struct SleeperJob {
    access: Access,
    cpus: [usize; 2],
    stream: String,
    words: String,
    wakes: u64,
}

pub(super) fn run(place: &Place) -> Result<Vec<Row>> {
    let wakes = place.plan.pick(30, 500);
    let hop = futex_hop(place, wakes)?;
    Payload::all(place).iter().map(|payload| one_size(place, *payload, wakes, hop)).collect()
}

fn one_size(place: &Place, payload: Payload, wakes: u32, hop: f64) -> Result<Row> {
    let site = place.site()?;
    let (bare, queue) = (&site.bare, site.queue.as_ref());
    let config = DeviceStreamConfig::of::<f32>(&[payload.side, payload.side], Mirror::None)?;
    let stream = DeviceStream::create(&scratch::name("wake"), &config, &site.device)?;
    let (source, target) = (site.filled(payload.len(), FILL)?, site.filled(payload.len(), 0)?);
    let words = Mapping::create("wake", 4096)?;
    let job = SleeperJob {
        access: place.access.clone(),
        cpus: [place.cores.far, place.cores.near],
        stream: stream.name().to_owned(),
        words: words.name().to_owned(),
        wakes: wakes.into(),
    };
    let mut writer = stream.writer(PATIENCE)?;
    let child = Child::start(&SLEEPING_READER, place.cores.far, &job)?;
    for sent in 0..u64::from(wakes) {
        let begun = Instant::now();
        while words.word(RECEIVED)?.load(Ordering::Acquire) < sent {
            ensure!(begun.elapsed() < PATIENCE, "frame {sent} was not read");
            std::hint::spin_loop();
        }
        // Until the reader sleeps.
        thread::sleep(REST);
        words.word(SENT)?.store(monotonic_ns(), Ordering::Release);
        writer.publish(source.as_slice(), queue)?;
    }
    let latencies: Vec<u64> = child.report()?;
    writer.settle()?;
    ensure!(latencies.len() == wakes as usize, "{} of {wakes} came", latencies.len());
    let ours = summary(&[Samples::from_iter(latencies)], None)?;
    let _current = site.device.make_current()?;
    let copies = of_whole(
        place.plan,
        &|| bare.synchronize(queue),
        &mut [&mut || {
            bare.copy(target.as_slice(), source.as_slice(), queue)?;
            bare.copy(source.as_slice(), target.as_slice(), queue)
        }],
    )?[0];
    let least = crate::cuda::figures::Figures { p50: copies.p50 + hop, ..copies };
    stream.unlink()?;
    Ok(Row::new(format!("device/wake/{}", payload.name), place.simulated, US, ours)
        .beside("two bare copies and a bare futex hop", US, least)
        .with_note(format!("two processes; the bare futex hop is {:.1} us", hop / 1000.0)))
}

fn futex_hop(place: &Place, wakes: u32) -> Result<f64> {
    let mut hop = FutexHop::start(place.cores.far, wakes, 0)?;
    for sent in 0..u64::from(wakes) {
        while hop.received()? < sent {
            std::hint::spin_loop();
        }
        thread::sleep(REST);
        hop.wake()?;
    }
    Ok(Samples::from_iter(hop.latencies()?).p50())
}

fn sleep(job: &str) -> Result<()> {
    let job: SleeperJob = child::job(job)?;
    let site = job.access.enter(job.cpus[0], job.cpus[1])?;
    let stream = DeviceStream::open(&job.stream, &site.device)?;
    let words = Mapping::open(&job.words)?;
    let mut reader = stream.reader();
    let out = DeviceBuffer::new(&site.device, stream.desc().byte_len())?;
    let mut latencies = Vec::with_capacity(job.wakes as usize);
    child::ready()?;
    for seen in 0..job.wakes {
        let queue = site.queue.as_ref();
        let info = reader.read_after(seen, out.as_slice(), queue, Deadline::after(PATIENCE))?;
        let now = monotonic_ns();
        ensure!(info.count == seen + 1, "{} came after {seen}", info.count);
        latencies.push(now.saturating_sub(words.word(SENT)?.load(Ordering::Acquire)));
        words.word(RECEIVED)?.store(seen + 1, Ordering::Release);
    }
    let found = out.as_slice().to_vec(site.queue.as_ref())?;
    ensure!(found.iter().all(|byte| *byte == FILL), "other bytes came than were published");
    child::tell(&latencies)
}
