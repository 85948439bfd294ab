//! One slot of a pool, all the way round in one process: lend, publish, redeem, release.

use anyhow::{Result, ensure};
use shm_cuda::PinnedBuffer;
use shm_cuda::pool::{DeviceConsumer, DevicePool};
use shm_pool::{Audience, Policy, PoolConfig, Ticket, Wait};

use super::LEN;
use crate::cuda::PATIENCE;
use crate::cuda::figures::{Waits, of_host};
use crate::cuda::place::Place;
use crate::cuda::row::{NS, Row};
use crate::scratch;

const SLOTS: usize = 64;
const TWO_COPIES: &str = "two cuMemcpyDtoDAsync";
const COPY: &str = "one cuMemcpyDtoDAsync";
const NEEDED: &str = "the copy and one batch of stores";

pub(super) fn run(place: &Place) -> Result<Vec<Row>> {
    let site = place.site()?;
    let (bare, queue) = (&site.bare, site.queue.as_ref());
    let name = scratch::name("pool");
    let pool = DevicePool::create(&name, &PoolConfig::slots(SLOTS, LEN)?, &site.device)?;
    let consumer = pool.consumer()?;
    let (source, target) = (site.filled(LEN, 0x5A)?, site.filled(LEN, 0)?);
    let (between, pages) = (site.filled(LEN, 0)?, PinnedBuffer::new(&site.device, 4096)?);
    let _current = site.device.make_current()?;
    let settle = || bare.synchronize(queue);
    let publish = || -> Result<Ticket> {
        let mut slot = pool.lend(LEN, Wait::from(PATIENCE), Policy::Block)?;
        slot.copy_from(source.as_slice(), queue)?;
        Ok(slot.publish(Audience::Everyone, queue)?)
    };
    let take = |consumer: &DeviceConsumer, ticket: &Ticket| -> Result<()> {
        let mut lease = consumer.redeem_on(ticket, queue, PATIENCE)?;
        lease.copy_to(target.as_slice(), queue)?;
        lease.release_after(queue);
        Ok(())
    };
    let whole = of_host(
        place.plan,
        bare,
        Waits::EachTime,
        &settle,
        &mut [&mut || take(&consumer, &publish()?), &mut || {
            bare.copy(between.as_slice(), source.as_slice(), queue)?;
            bare.copy(target.as_slice(), between.as_slice(), queue)
        }],
    )?;
    // The other half, outside of what is measured.
    let tickets = std::cell::RefCell::new(Vec::new());
    let skip = || -> Result<()> {
        bare.synchronize(queue)?;
        tickets.borrow_mut().drain(..).try_for_each(|ticket| Ok(consumer.skip(&ticket)?))
    };
    let published = of_host(
        place.plan,
        bare,
        Waits::EachTime,
        &skip,
        &mut [
            &mut || {
                tickets.borrow_mut().push(publish()?);
                Ok(())
            },
            &mut || bare.copy(between.as_slice(), source.as_slice(), queue),
            &mut || {
                bare.copy(between.as_slice(), source.as_slice(), queue)?;
                if bare.can_store() { bare.store(&pages, 3, 1, queue) } else { Ok(()) }
            },
        ],
    )?;
    // A publication that lies ready before each call.
    tickets.borrow_mut().push(publish()?);
    let refill = || -> Result<()> {
        bare.synchronize(queue)?;
        if tickets.borrow().is_empty() {
            tickets.borrow_mut().push(publish()?);
            bare.synchronize(queue)?;
        }
        Ok(())
    };
    let taken = of_host(
        place.plan,
        bare,
        Waits::EachTime,
        &refill,
        &mut [
            &mut || {
                let ticket = tickets.borrow_mut().pop();
                take(&consumer, &ticket.expect("published by `refill`"))
            },
            &mut || bare.copy(target.as_slice(), between.as_slice(), queue),
        ],
    )?;
    let untouched = of_host(
        place.plan,
        bare,
        Waits::EachTime,
        &refill,
        &mut [&mut || {
            let ticket = tickets.borrow_mut().pop().expect("published by `refill`");
            consumer.redeem(&ticket, PATIENCE)?.release();
            Ok(())
        }],
    )?;
    let found = target.as_slice().to_vec(queue)?;
    ensure!(found.iter().all(|byte| *byte == 0x5A), "other bytes came out than went in");
    let row =
        |name: &str, figures| Row::new(format!("host/lease/{name}"), place.simulated, NS, figures);
    let note = "4 KiB, one process, one consumer, 64 slots, idle queue";
    Ok(vec![
        row("whole cycle", whole[0]).beside(TWO_COPIES, NS, whole[1]).with_note(format!(
            "lend, copy in, publish, redeem_on, copy out, release_after; {note}"
        )),
        row("publish", published[0])
            .beside(COPY, NS, published[1])
            .needing(NEEDED, NS, published[2])
            .with_note(format!("lend, copy in, publish; {note}")),
        row("take", taken[0])
            .beside(COPY, NS, taken[1])
            .with_note(format!("redeem_on what is there, copy out, release_after; {note}")),
        row("redeem in place", untouched[0]).with_note(format!(
            "redeem what is there, release; no call of the driver is needed; {note}"
        )),
    ])
}
