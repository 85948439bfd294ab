//! What arrives when: whole operations, with the device's own times, on a GPU only.

mod handover;
mod payload;
mod wake;
mod whole;

use super::Group;

pub(super) use handover::TAKING_CONSUMER;
pub(super) use wake::SLEEPING_READER;

/// In the order of the table.
pub(super) const GROUPS: [Group; 6] = [
    Group { name: "device/publish", run: whole::publish },
    Group { name: "device/read", run: whole::read },
    Group { name: "device/mirrored", run: whole::mirrored },
    Group { name: "device/upload", run: whole::upload },
    Group { name: "device/handover", run: handover::run },
    Group { name: "device/wake", run: wake::run },
];
