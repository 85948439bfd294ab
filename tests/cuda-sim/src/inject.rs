//! Failures that a test asks for.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::settings::SETTINGS;
use crate::status::{Result, Status};

/// Where a failure can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    OutOfMemory = 1,
    Launch = 2,
    DeviceLost = 3,
    IpcOpen = 4,
    Registration = 5,
    Memop = 6,
}

static PLAN: LazyLock<Plan> = LazyLock::new(Plan::from_environment);

/// How many eligible calls there are until the one that fails; nil for none.
struct Plan {
    left: [AtomicU64; 7],
}

/// Fails if this call is the one to fail.
pub fn check(fault: Fault) -> Result {
    let status = match fault {
        Fault::OutOfMemory => Status::OUT_OF_MEMORY,
        Fault::Launch | Fault::DeviceLost => Status::LAUNCH_FAILED,
        Fault::IpcOpen => Status::INVALID_VALUE,
        Fault::Registration | Fault::Memop => Status::NOT_SUPPORTED,
    };
    let before =
        PLAN.left[fault as usize]
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
    if before == Ok(1) { Err(status) } else { Ok(()) }
}

/// Asks for a failure of the `after`-th call, counted from one. Says whether `kind` is known.
pub fn ask(kind: u32, after: u64) -> bool {
    match kind {
        1..=6 => {
            PLAN.left[kind as usize].store(after.max(1), Ordering::Relaxed);
            true
        }
        _ => false,
    }
}

pub fn clear() {
    for left in &PLAN.left {
        left.store(0, Ordering::Relaxed);
    }
}

impl Plan {
    fn from_environment() -> Self {
        let plan = Self { left: Default::default() };
        for part in SETTINGS.inject.split(',') {
            let (name, after) = part.trim().split_once(':').unwrap_or((part.trim(), "1"));
            let kind = match name {
                "oom" => Fault::OutOfMemory,
                "launch" => Fault::Launch,
                "lost" => Fault::DeviceLost,
                "open" => Fault::IpcOpen,
                "register" => Fault::Registration,
                "memop" => Fault::Memop,
                _ => continue,
            };
            plan.left[kind as usize].store(after.parse().unwrap_or(1), Ordering::Relaxed);
        }
        plan
    }
}
