//! Many requests under way at a time on one connection.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use shm_cuda::share::{Arguments, Ask, Client, Outcome, Response};

use super::offers::NUMBER;
use super::served::{Served, expect_number, handle_of, soon};
use crate::limits::{BareSocket, Carries};
use crate::measure::{alternate, median, pin};
use crate::report::Row;
use crate::suites::Setting;

/// Requests under way.
const WINDOW: usize = 64;

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let served = Served::start(setting.cores.far, &[])?;
    let client = served.client()?;
    let mut bare = served.bare(Carries::Bytes)?;
    let kept = handle_of(&client, NUMBER, Arguments::default())?;
    let slice = setting.plan.slice();
    let rounds = alternate(1 + setting.plan.rounds(), 3, |which| match which {
        0 => ours(&client, slice, &Ask::Ping),
        1 => ours(&client, slice, &Ask::Call(NUMBER.to_owned(), Arguments::default())),
        _ => limit(&mut bare, slice),
    })?;
    drop(kept);
    let rate = |which: usize| median(rounds[which][1..].iter().copied());
    let limit = "as many bare frames under way, one write each";
    let note = format!("one client, one connection, {WINDOW} under way; goal: at least 40,000");
    Ok(vec![
        Row::new("pipelined/ping", rate(0), "requests/s")
            .with_limit(limit, rate(2))
            .with_note(&note),
        Row::new("pipelined/cached managed call", rate(1), "requests/s")
            .with_limit(limit, rate(2))
            .with_note(&note)
            .with_note("each lease is given back as its handle is dropped"),
    ])
}

fn ours(client: &Client, slice: Duration, ask: &Ask) -> Result<f64> {
    let deadline = soon();
    let mut under_way = VecDeque::with_capacity(WINDOW);
    let (begun, mut answered) = (Instant::now(), 0_u64);
    while answered == 0 || begun.elapsed() < slice {
        while under_way.len() < WINDOW {
            under_way.push_back(client.start(ask.clone())?);
        }
        let oldest = under_way.pop_front().context("nothing is under way")?;
        check(oldest.wait(deadline)?)?;
        answered += 1;
    }
    let rate = answered as f64 / begun.elapsed().as_secs_f64();
    for rest in under_way {
        check(rest.wait(deadline)?)?;
    }
    Ok(rate)
}

fn check(response: Response) -> Result<()> {
    match response {
        Response::Pong => Ok(()),
        Response::Outcome(Outcome::Handle(handle)) => expect_number(handle.value()),
        other => bail!("{other:?} is no answer to that"),
    }
}

fn limit(bare: &mut BareSocket, slice: Duration) -> Result<f64> {
    let (begun, mut answered) = (Instant::now(), 0);
    while answered == 0 || begun.elapsed() < slice {
        answered += bare.keep_under_way(WINDOW)?;
    }
    Ok(answered as f64 / begun.elapsed().as_secs_f64())
}
