//! The shortest request there is, beside the shortest message of a bare socket.

use anyhow::Result;

use super::served::{Served, soon};
use super::timing::{Contender, side_by_side};
use crate::limits::Carries;
use crate::measure::pin;
use crate::report::Row;
use crate::suites::Setting;

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let apart = between(setting, setting.cores.far, "ping")?;
    let together = between(setting, setting.cores.near, "ping/one processor")?;
    Ok(vec![
        apart.with_note("two pinned processes that sleep until something comes; no payload"),
        together.with_note("both on one processor, which never sleeps: no wake-up of a parked one"),
    ])
}

/// With the server on processor `cpu`.
fn between(setting: &Setting<'_>, cpu: usize, name: &str) -> Result<Row> {
    let served = Served::start(cpu, &[])?;
    let client = served.client()?;
    let mut bare = served.bare(Carries::Bytes)?;
    let contenders: &mut [Contender<'_>] =
        &mut [&mut || Ok(client.ping(soon())?), &mut || bare.turn()];
    let figures = side_by_side(setting.plan, contenders)?;
    let (ours, bare) = (figures[0], figures[1]);
    Ok(ours
        .row(name)
        .with_limit("bare Unix socket, 24 bytes there and back", bare.p50)
        .with_limit_quantiles(bare.quantiles)
        .with_note("goal: at most 20 us")
        .with_note(format!("the limit's p99 is {:.1} us", bare.p99)))
}
