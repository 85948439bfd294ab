//! What a suite of groups is, and the rows of the suite `stream`, a file for each group.

mod idle;
mod memory;
mod oneway;
mod publish;
mod reads;
mod roundtrip;
mod view;
mod wake;

pub use oneway::{DEADLINE, Payload};

use std::time::Duration;

use anyhow::Result;

use crate::child::Role;
use crate::flags::Flags;
use crate::limits;
use crate::measure::{Cores, Latency, Plan};
use crate::report::Row;
use crate::run::{Measured, measure_each};

/// What every group is given.
pub struct Setting<'a> {
    /// How long to measure.
    pub plan: Plan,
    /// Where.
    pub cores: Cores,
    /// The best other system, if it is at hand.
    pub peer: Option<&'a dyn Peer>,
}

/// Another system that carries payloads from process to process.
pub trait Peer {
    /// Its name and version.
    fn name(&self) -> &'static str;

    /// The same ping-pong as ours for as long, with its own child on processor `far`.
    fn ping_pong(&self, far: usize, payload: Payload, slice: Duration) -> Result<Latency>;
}

/// Rows that are measured together.
pub struct Group {
    /// What their names begin with.
    pub name: &'static str,
    /// Measures them.
    pub run: fn(&Setting<'_>) -> Result<Vec<Row>>,
}

/// Measures the groups that the flags ask for.
pub fn measure_groups(groups: &[Group], setting: &Setting<'_>, flags: &Flags) -> Measured {
    measure_each(groups.iter().map(|group| (group.name, || (group.run)(setting))), flags)
}

/// All groups, in the order of the table.
pub const GROUPS: [Group; 8] = [
    Group { name: "roundtrip", run: roundtrip::run },
    Group { name: "oneway", run: oneway::run },
    Group { name: "wake", run: wake::run },
    Group { name: "idle", run: idle::run },
    Group { name: "publish", run: publish::run },
    Group { name: "view", run: view::run },
    Group { name: "memory", run: memory::run },
    Group { name: "reads_under_writer", run: reads::run },
];

/// What the children of these groups can be told to do.
pub const ROLES: [Role; 8] = [
    limits::HOP_ECHO,
    limits::FUTEX_SLEEPER,
    oneway::STREAM_ECHO,
    wake::STREAM_SLEEPER,
    idle::IDLE_READERS,
    publish::WAITING_READERS,
    memory::ATTACHED_READERS,
    reads::BUSY_WRITER,
];
