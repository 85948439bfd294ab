//! Reading a frame and looking at one. A read waits for its copy, so on a simulated driver its figure says
//! how fast that driver's threads wake, not how fast a GPU is.

use std::cell::RefCell;

use anyhow::{Result, ensure};
use shm_cuda::{DeviceStream, DeviceStreamConfig, Mirror};

use super::LEN;
use crate::cuda::PATIENCE;
use crate::cuda::figures::{Figures, Waits, of_host, summary};
use crate::cuda::place::Place;
use crate::cuda::row::{NS, Row};
use crate::measure::{Samples, alternate, median, repeat};
use crate::scratch;

const READ: &str = "cuMemcpyDtoDAsync, cuEventRecord, cuEventSynchronize";
const START: &str = "cuMemcpyDtoDAsync, cuEventRecord";

pub(super) fn run(place: &Place) -> Result<Vec<Row>> {
    let site = place.site()?;
    let (bare, queue) = (&site.bare, site.queue.as_ref());
    let config = DeviceStreamConfig::of::<u8>(&[LEN], Mirror::None)?;
    let stream = DeviceStream::create(&scratch::name("device"), &config, &site.device)?;
    let (source, target) = (site.filled(LEN, 0x5A)?, site.filled(LEN, 0)?);
    let mut writer = stream.writer(PATIENCE)?;
    writer.publish(source.as_slice(), queue)?;
    writer.settle()?;
    let reader = RefCell::new(stream.reader());
    let _current = site.device.make_current()?;
    let mark = bare.mark()?;
    let settle = || bare.synchronize(queue);
    let snapshot = of_host(
        place.plan,
        bare,
        Waits::EachTime,
        &settle,
        &mut [
            &mut || {
                reader.borrow_mut().read_into(target.as_slice(), queue)?;
                Ok(())
            },
            &mut || {
                bare.copy(target.as_slice(), source.as_slice(), queue)?;
                mark.record(queue)?;
                mark.synchronize()
            },
        ],
    )?;
    let started = of_host(
        place.plan,
        bare,
        Waits::EachTime,
        &settle,
        &mut [
            &mut || {
                // What it leaves is waited for by `settle`.
                drop(reader.borrow_mut().start(target.as_slice(), queue)?);
                Ok(())
            },
            &mut || {
                bare.copy(target.as_slice(), source.as_slice(), queue)?;
                mark.record(queue)
            },
        ],
    )?;
    let found = target.as_slice().to_vec(queue)?;
    ensure!(found.iter().all(|byte| *byte == 0x5A), "other bytes were read than were published");
    let view = view(place, &mut reader.borrow_mut())?;
    stream.unlink()?;
    let unlike_a_gpu = if place.simulated {
        "waits for a thread of the simulated driver: says nothing of a GPU"
    } else {
        "waits for the copy"
    };
    Ok(vec![
        Row::new("host/read/snapshot", place.simulated, NS, snapshot[0])
            .beside(READ, NS, snapshot[1])
            .with_note(format!("4 KiB, idle queue; {unlike_a_gpu}")),
        Row::new("host/read/start", place.simulated, NS, started[0])
            .beside(START, NS, started[1])
            .with_note(
                "4 KiB; a read that is not waited for, and dropped, with an event of its own",
            ),
        Row::new("host/read/view", place.simulated, NS, view)
            .with_note("view + validate on the host, whatever the size; no call of the driver"),
    ])
}

fn view(place: &Place, reader: &mut shm_cuda::DeviceReader) -> Result<Figures> {
    let mut look = || {
        let view = reader.view()?;
        view.validate()?;
        Ok(())
    };
    let rounds = alternate(1 + place.plan.rounds(), 1, |_| {
        let each = repeat(place.plan.slice(), 64, &mut look)?;
        let mut single = Samples::default();
        for _ in 0..2000 {
            let before = std::time::Instant::now();
            look()?;
            single.record(before.elapsed().as_nanos() as u64);
        }
        Ok((each, single))
    })?;
    let (each, single): (Vec<f64>, Vec<Samples>) = rounds.into_iter().flatten().skip(1).unzip();
    Ok(Figures { p50: median(each), ..summary(&single, Some(0.0))? })
}
