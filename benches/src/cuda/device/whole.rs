//! Operations of a device stream from the call until the work is done, beside the bare copies.

use std::cell::{Cell, RefCell};

use anyhow::{Result, ensure};
use shm_core::FrameTag;
use shm_cuda::{
    DeviceBuffer, DeviceReader, DeviceStream, DeviceStreamConfig, DeviceWriter, Mirror,
    PinnedBuffer,
};

use super::payload::Payload;
use crate::cuda::PATIENCE;
use crate::cuda::figures::{Call, Waits, of_device, of_host, of_whole};
use crate::cuda::place::{Place, Site};
use crate::cuda::row::{Row, US};
use crate::scratch;

/// Device to device.
pub(super) fn publish(place: &Place) -> Result<Vec<Row>> {
    each(place, Mirror::None, |stage| {
        let Stage { site, source, target, .. } = stage;
        let (bare, queue) = (&site.bare, site.queue.as_ref());
        let rows = stage.compare(
            ("publish", Manner::Queues),
            "one cuMemcpyDtoDAsync",
            &mut || {
                stage.writer.borrow_mut().publish(source.as_slice(), queue)?;
                Ok(())
            },
            &mut || bare.copy(target.as_slice(), source.as_slice(), queue),
        )?;
        stage.check_newest()?;
        Ok(rows)
    })
}

/// Device to device and to the mirror.
pub(super) fn mirrored(place: &Place) -> Result<Vec<Row>> {
    each(place, Mirror::Host, |stage| {
        let Stage { site, source, target, .. } = stage;
        let (bare, queue) = (&site.bare, site.queue.as_ref());
        let host = PinnedBuffer::new(&site.device, source.len())?;
        let rows = stage.compare(
            ("mirrored", Manner::Queues),
            "cuMemcpyDtoDAsync + cuMemcpyDtoHAsync to pinned memory",
            &mut || {
                stage.writer.borrow_mut().publish(source.as_slice(), queue)?;
                Ok(())
            },
            &mut || {
                bare.copy(target.as_slice(), source.as_slice(), queue)?;
                bare.download(&host, target.as_slice(), queue)
            },
        )?;
        stage.check_newest()?;
        let mut mirror = vec![0_u8; source.len()];
        stage.stream.host().reader().read_bytes_into(&mut mirror)?;
        ensure!(mirror.iter().all(|byte| *byte == FILL), "the mirror has other bytes");
        Ok(rows)
    })
}

/// A snapshot of the newest frame.
pub(super) fn read(place: &Place) -> Result<Vec<Row>> {
    each(place, Mirror::None, |stage| {
        let Stage { site, source, target, .. } = stage;
        let (bare, queue) = (&site.bare, site.queue.as_ref());
        stage.writer.borrow_mut().publish(source.as_slice(), queue)?;
        stage.writer.borrow_mut().settle()?;
        let rows = stage.compare(
            ("read", Manner::Waits),
            "one cuMemcpyDtoDAsync",
            &mut || {
                stage.reader.borrow_mut().read_into(target.as_slice(), queue)?;
                Ok(())
            },
            &mut || bare.copy(target.as_slice(), source.as_slice(), queue),
        )?;
        stage.check(target)?;
        Ok(rows)
    })
}

/// From pageable memory of the host.
pub(super) fn upload(place: &Place) -> Result<Vec<Row>> {
    each(place, Mirror::None, |stage| {
        let Stage { site, source, target, .. } = stage;
        let (bare, queue) = (&site.bare, site.queue.as_ref());
        let host = vec![FILL; source.len()];
        let rows = stage.compare(
            ("upload", Manner::Waits),
            "cuMemcpyHtoDAsync from the same memory, cuStreamSynchronize",
            &mut || {
                stage.writer.borrow_mut().publish_host(&host, FrameTag::default(), queue)?;
                Ok(())
            },
            &mut || bare.upload(target.as_slice(), &host, queue),
        )?;
        stage.check_newest()?;
        Ok(rows)
    })
}

const FILL: u8 = 0x5A;

/// Whether a call of ours only queues work, or waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Queues,
    Waits,
}

/// One stream of one size.
struct Stage<'a> {
    place: &'a Place,
    site: &'a Site,
    payload: Payload,
    writer: RefCell<DeviceWriter>,
    reader: RefCell<DeviceReader>,
    stream: DeviceStream,
    source: DeviceBuffer,
    target: DeviceBuffer,
}

fn each(
    place: &Place,
    mirror: Mirror,
    measure: impl Fn(&Stage<'_>) -> Result<Row>,
) -> Result<Vec<Row>> {
    let site = place.site()?;
    let mut rows = Vec::new();
    for payload in Payload::all(place) {
        let config = DeviceStreamConfig::of::<f32>(&[payload.side, payload.side], mirror)?;
        let stream = DeviceStream::create(&scratch::name("device"), &config, &site.device)?;
        let stage = Stage {
            place,
            site: &site,
            payload: *payload,
            writer: RefCell::new(stream.writer(PATIENCE)?),
            reader: RefCell::new(stream.reader()),
            source: site.filled(payload.len(), FILL)?,
            target: site.filled(payload.len(), 0)?,
            stream,
        };
        let _current = site.device.make_current()?;
        rows.push(measure(&stage)?);
        stage.stream.unlink()?;
    }
    Ok(rows)
}

impl Stage<'_> {
    fn compare(
        &self,
        (group, manner): (&str, Manner),
        bare_name: &'static str,
        ours: Call<'_>,
        bare: Call<'_>,
    ) -> Result<Row> {
        let (plan, site) = (self.place.plan, self.site);
        let queue = site.queue.as_ref();
        let settle = || site.bare.synchronize(queue);
        let whole = of_whole(plan, &settle, &mut [&mut *ours, &mut *bare])?;
        let name = format!("device/{group}/{}", self.payload.name);
        let row = Row::new(name, self.place.simulated, US, whole[0])
            .beside(bare_name, US, whole[1])
            .carrying(self.payload.len(), US);
        if manner == Manner::Waits {
            return Ok(row.with_note("from the call until the queue is done"));
        }
        let on_device = of_device(plan, &site.bare, queue, &mut [&mut *ours, &mut *bare])?;
        let called = of_host(plan, &site.bare, Waits::EachTime, &settle, &mut [ours, bare])?;
        let us = |which: usize| called[which].p50 / 1000.0;
        Ok(row
            .on_device(on_device[0], on_device[1])
            .with_note(format!(
                "the calls alone take {:.2} us against {:.2} us, {:.2} us over",
                us(0),
                us(1),
                us(0) - us(1)
            ))
            .with_note("from the call until the queue is done; device time by events around it"))
    }

    fn check_newest(&self) -> Result<()> {
        let queue = self.site.queue.as_ref();
        self.target.as_slice().fill(0, queue)?;
        self.reader.borrow_mut().read_into(self.target.as_slice(), queue)?;
        self.check(&self.target)
    }

    fn check(&self, found: &DeviceBuffer) -> Result<()> {
        let found = found.as_slice().to_vec(self.site.queue.as_ref())?;
        let wrong = Cell::new(found.iter().position(|byte| *byte != FILL));
        ensure!(wrong.get().is_none(), "byte {:?} is not what was published", wrong.get());
        Ok(())
    }
}
