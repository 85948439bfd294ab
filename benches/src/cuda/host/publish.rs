//! Publishing and lending a frame, as far as the host is concerned: everything is only queued.

use anyhow::{Result, ensure};
use shm_core::FrameTag;
use shm_cuda::{
    DeviceBuffer, DeviceReader, DeviceStream, DeviceStreamConfig, DeviceWriter, Mirror,
    PinnedBuffer, Publication,
};

use super::LEN;
use crate::cuda::PATIENCE;
use crate::cuda::figures::{Call, Figures, Waits, of_host};
use crate::cuda::place::{Place, Site};
use crate::cuda::row::{NS, Row};
use crate::scratch;

const GOAL: &str = "goal: at most 5 us over the bare enqueue on a real driver";
const COPY: &str = "one cuMemcpyDtoDAsync";
const COPY_AND_DOWNLOAD: &str = "cuMemcpyDtoDAsync + cuMemcpyDtoHAsync to pinned memory";
const NEEDED: &str = "two batches of stores, the copy, the record of an event, and while another frame is \
                      under way the wait for its event";
const NEEDED_MIRRORED: &str = "the same and the copy to the mirror";
/// Words of a publication: one before the payload, the rest after it.
const WORDS: (usize, usize) = (1, 7);

pub(super) fn run(place: &Place) -> Result<Vec<Row>> {
    let site = place.site()?;
    let mut rows = Vec::new();
    for (words, waits) in [("idle queue", Waits::EachTime), ("32 on the way", Waits::AfterBatch)] {
        rows.extend(stream_ordered(place, &site, Mirror::None, waits, words)?);
        rows.extend(stream_ordered(place, &site, Mirror::Host, waits, words)?);
    }
    rows.push(two_queues(place, &site)?);
    rows.push(host_functions(place, &site)?);
    rows.push(loan(place, &site)?);
    Ok(rows)
}

/// A stream, its writer and a source whose bytes can be told from zeroes.
struct Ours {
    writer: DeviceWriter,
    reader: DeviceReader,
    stream: DeviceStream,
}

impl Ours {
    fn create(site: &Site, mirror: Mirror, via_host: bool) -> Result<Ours> {
        let config = DeviceStreamConfig::of::<u8>(&[LEN], mirror)?.via_host_functions(via_host);
        let stream = DeviceStream::create(&scratch::name("device"), &config, &site.device)?;
        let (writer, reader) = (stream.writer(PATIENCE)?, stream.reader());
        Ok(Ours { writer, reader, stream })
    }

    /// What was published last has arrived.
    fn check(&mut self, site: &Site, value: u8) -> Result<()> {
        self.writer.settle()?;
        let mut found = vec![0; LEN];
        self.reader.read_to_host(&mut found, site.queue.as_ref())?;
        ensure!(
            found.iter().all(|byte| *byte == value),
            "the frame has other bytes than its source"
        );
        Ok(())
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // The sweep at the end takes what stays.
        let _ = self.stream.unlink();
    }
}

fn stream_ordered(
    place: &Place,
    site: &Site,
    mirror: Mirror,
    waits: Waits,
    words: &str,
) -> Result<Vec<Row>> {
    let (bare, queue) = (&site.bare, site.queue.as_ref());
    let mut ours = Ours::create(site, mirror, false)?;
    if ours.stream.publication() != Publication::StreamOrdered {
        return Ok(Vec::new());
    }
    let (source, target) = (site.filled(LEN, 0x5A)?, site.filled(LEN, 0)?);
    let host = PinnedBuffer::new(&site.device, LEN)?;
    let pages = PinnedBuffer::new(&site.device, 4096)?;
    let _current = site.device.make_current()?;
    let mark = bare.mark()?;
    let mirrored = mirror == Mirror::Host;
    let copies = || {
        bare.copy(target.as_slice(), source.as_slice(), queue)?;
        if mirrored { bare.download(&host, target.as_slice(), queue) } else { Ok(()) }
    };
    let busy = std::cell::Cell::new(false);
    let settle = || {
        busy.set(false);
        bare.synchronize(queue)
    };
    let figures = of_host(
        place.plan,
        bare,
        waits,
        &settle,
        &mut [
            &mut || {
                ours.writer.publish(source.as_slice(), queue)?;
                Ok(())
            },
            &mut || copies(),
            &mut || {
                if busy.replace(true) {
                    mark.hold_up(queue)?;
                }
                bare.store(&pages, WORDS.0, 1, queue)?;
                copies()?;
                bare.store(&pages, WORDS.1, 2, queue)?;
                mark.record(queue)
            },
        ],
    )?;
    ours.check(site, 0x5A)?;
    let (name, bare_name, needed_name) = match mirrored {
        false => ("device only", COPY, NEEDED),
        true => ("mirrored", COPY_AND_DOWNLOAD, NEEDED_MIRRORED),
    };
    let name = format!("host/publish/{name}/{words}");
    Ok(vec![
        Row::new(name, place.simulated, NS, figures[0])
            .beside(bare_name, NS, figures[1])
            .needing(needed_name, NS, figures[2])
            .with_note(GOAL)
            .with_note("4 KiB, one process; the clock is read after each call"),
    ])
}

fn two_queues(place: &Place, site: &Site) -> Result<Row> {
    let (bare, queue) = (&site.bare, site.queue.as_ref());
    let second = site.another_queue(place)?;
    let queues = [queue, second.as_ref()];
    let mut ours = Ours::create(site, Mirror::None, false)?;
    let (source, target) = (site.filled(LEN, 0x6B)?, site.filled(LEN, 0)?);
    let _current = site.device.make_current()?;
    let turn = std::cell::Cell::new(0_usize);
    let next = || queues[turn.replace(turn.get() + 1) % 2];
    let settle = || queues.iter().try_for_each(|queue| bare.synchronize(*queue));
    let figures = of_host(
        place.plan,
        bare,
        Waits::AfterBatch,
        &settle,
        &mut [
            &mut || {
                ours.writer.publish(source.as_slice(), next())?;
                Ok(())
            },
            &mut || bare.copy(target.as_slice(), source.as_slice(), next()),
        ],
    )?;
    ours.check(site, 0x6B)?;
    Ok(Row::new("host/publish/two queues", place.simulated, NS, figures[0])
        .beside(COPY, NS, figures[1])
        .with_note(
            "4 KiB; each frame on the other queue than the one before, so each waits for it",
        ))
}

fn host_functions(place: &Place, site: &Site) -> Result<Row> {
    let queue = site.queue.as_ref();
    let mut ours = Ours::create(site, Mirror::None, true)?;
    let source = site.filled(LEN, 0x7C)?;
    let figures = beside_a_copy(place, site, &source, &mut || {
        ours.writer.publish(source.as_slice(), queue)?;
        Ok(())
    })?;
    ours.check(site, 0x7C)?;
    Ok(Row::new("host/publish/host functions", place.simulated, NS, figures[0])
        .beside(COPY, NS, figures[1])
        .with_note("4 KiB; what a driver without stores is published through"))
}

fn loan(place: &Place, site: &Site) -> Result<Row> {
    let (bare, queue) = (&site.bare, site.queue.as_ref());
    let mut ours = Ours::create(site, Mirror::None, false)?;
    let source = site.filled(LEN, 0x3D)?;
    let figures = beside_a_copy(place, site, &source, &mut || {
        let frame = ours.writer.loan(queue)?;
        bare.copy(frame.slice(), source.as_slice(), queue)?;
        frame.commit(FrameTag::default())?;
        Ok(())
    })?;
    ours.check(site, 0x3D)?;
    Ok(Row::new("host/publish/loan", place.simulated, NS, figures[0])
        .beside("the copy that stands for the caller's kernel", NS, figures[1])
        .with_note("4 KiB; loan, a bare copy into it, commit; idle queue"))
}

/// What `ours` takes on an idle queue, and a bare copy of the source.
fn beside_a_copy(
    place: &Place,
    site: &Site,
    source: &DeviceBuffer,
    ours: Call<'_>,
) -> Result<Vec<Figures>> {
    let (bare, queue) = (&site.bare, site.queue.as_ref());
    let target = site.filled(LEN, 0)?;
    let _current = site.device.make_current()?;
    let settle = || bare.synchronize(queue);
    let mut copy = || bare.copy(target.as_slice(), source.as_slice(), queue);
    of_host(place.plan, bare, Waits::EachTime, &settle, &mut [ours, &mut copy])
}
