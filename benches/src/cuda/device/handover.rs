//! Payloads that go through a pool from one process to another and back into memory of its own.

use std::cell::{Cell, RefCell};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use shm_cuda::DeviceBuffer;
use shm_cuda::pool::{DevicePool, DevicePoolError};
use shm_pool::{Audience, Policy, PoolConfig, Ticket, Wait};

use super::payload::Payload;
use crate::child::{self, Child, Role};
use crate::cuda::PATIENCE;
use crate::cuda::figures::of_whole;
use crate::cuda::place::{Access, Place};
use crate::cuda::row::{Row, US};
use crate::limits::{Mailbox, WORDS};
use crate::scratch;

/// The child's part.
pub(in crate::cuda) const TAKING_CONSUMER: Role = Role { name: "taking-consumer", run: take };

const SLOTS: usize = 3;
const LINES: usize = 4;
const FILL: u8 = 0x5A;
/// Tells the consumer to stop, in place of a ticket.
const STOP: u64 = u64::MAX;

#[derive(Serialize, Deserialize)]
struct ConsumerJob {
    access: Access,
    cpus: [usize; 2],
    pool: String,
    there: String,
    back: String,
    len: usize,
}

pub(super) fn run(place: &Place) -> Result<Vec<Row>> {
    Payload::all(place).iter().map(|payload| one_size(place, *payload)).collect()
}

fn one_size(place: &Place, payload: Payload) -> Result<Row> {
    let site = place.site()?;
    let (bare, queue) = (&site.bare, site.queue.as_ref());
    let len = payload.len();
    let config = PoolConfig::slots(SLOTS, len)?;
    let pool = DevicePool::create(&scratch::name("handover"), &config, &site.device)?;
    let source = site.filled(len, FILL)?;
    let (between, target) = (site.filled(len, 0)?, site.filled(len, 0)?);
    let (there, back) = (Mailbox::create("there", LINES)?, Mailbox::create("back", LINES)?);
    let job = ConsumerJob {
        access: place.access.clone(),
        cpus: [place.cores.far, place.cores.near],
        pool: pool.name().to_owned(),
        there: there.name().to_owned(),
        back: back.name().to_owned(),
        len,
    };
    let child = Child::start(&TAKING_CONSUMER, place.cores.far, &job)?;
    let _current = site.device.make_current()?;
    let turn = Cell::new(0);
    let hand_over = || -> Result<()> {
        let mut slot = pool.lend(len, Wait::from(PATIENCE), Policy::Block)?;
        slot.copy_from(source.as_slice(), queue)?;
        let ticket = slot.publish(Audience::Everyone, queue)?;
        there.send(turn.get(), turn.get() + 1, &words_of(&ticket))?;
        let before = (turn.get() + 1).saturating_sub(LINES as u64);
        back.receive(turn.get(), before)?;
        turn.set(turn.get() + 1);
        Ok(())
    };
    let whole = of_whole(
        place.plan,
        &|| Ok(()),
        &mut [&mut || hand_over(), &mut || {
            bare.copy(between.as_slice(), source.as_slice(), queue)?;
            bare.copy(target.as_slice(), between.as_slice(), queue)?;
            bare.synchronize(queue)
        }],
    )?;
    there.send(turn.get(), turn.get() + 1, &[STOP; WORDS])?;
    let fallbacks = RefCell::new(pool.stats().host_fallbacks);
    child.end()?;
    Ok(Row::new(format!("device/handover/{}", payload.name), place.simulated, US, whole[0])
        .beside("two bare copies on one queue, one process, one wait", US, whole[1])
        .carrying(len, US)
        .with_note(format!(
            "two processes: lend, copy in, publish, ticket in a bare line; redeem_on, copy out, \
             release_after, wait, answer in a bare line; {} fallbacks to the host",
            fallbacks.take()
        )))
}

fn take(job: &str) -> Result<()> {
    let job: ConsumerJob = child::job(job)?;
    let site = job.access.enter(job.cpus[0], job.cpus[1])?;
    let queue = site.queue.as_ref();
    let pool: Result<DevicePool, DevicePoolError> = DevicePool::open(&job.pool, &site.device);
    let consumer = pool?.consumer()?;
    let (there, back) = (Mailbox::open(&job.there)?, Mailbox::open(&job.back)?);
    let target = DeviceBuffer::new(&site.device, job.len)?;
    child::ready()?;
    for turn in 0_u64.. {
        let before = (turn + 1).saturating_sub(LINES as u64);
        let (sequence, words) = there.receive(turn, before)?;
        if words == [STOP; WORDS] {
            break;
        }
        let mut lease = consumer.redeem_on(&ticket_of(&words)?, queue, PATIENCE)?;
        lease.copy_to(target.as_slice(), queue)?;
        let arrival = lease.release_after(queue);
        site.queue.synchronize()?;
        arrival.check()?;
        back.send(turn, sequence, &words)?;
    }
    let found = target.as_slice().to_vec(queue)?;
    ensure!(found.iter().all(|byte| *byte == FILL), "other bytes came than were published");
    Ok(())
}

fn words_of(ticket: &Ticket) -> [u64; WORDS] {
    let mut words = [0; WORDS];
    for (word, bytes) in words.iter_mut().zip(ticket.to_bytes().chunks_exact(8)) {
        *word = u64::from_le_bytes(bytes.try_into().expect("chunks of eight"));
    }
    words
}

fn ticket_of(words: &[u64; WORDS]) -> Result<Ticket> {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    Ticket::from_bytes(&bytes[..Ticket::LEN]).context("the line holds no ticket")
}
