//! A call whose result is cached, and giving the lease back.

use anyhow::Result;
use shm_cuda::share::{Arguments, Value};

use super::offers::{BYTES, NUMBER};
use super::served::{Served, expect_number, handle_of, soon};
use super::timing::{Contender, side_by_side};
use crate::limits::Carries;
use crate::measure::pin;
use crate::report::Row;
use crate::suites::Setting;

/// One page.
const SMALL: usize = 4096;

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let mut rows = between(setting, setting.cores.far, "call/cached managed")?;
    rows.extend(between(setting, setting.cores.near, "call/one processor/cached managed")?);
    Ok(rows)
}

/// With the server on processor `cpu`.
fn between(setting: &Setting<'_>, cpu: usize, name: &str) -> Result<Vec<Row>> {
    let served = Served::start(cpu, &[SMALL])?;
    let client = served.client()?;
    let mut turns = served.bare(Carries::Bytes)?;
    let mut files = served.bare(Carries::Descriptors)?;
    let number = || handle_of(&client, NUMBER, Arguments::default());
    let bytes = || handle_of(&client, BYTES, Arguments::positional([Value::Int(SMALL as i128)]));
    // Kept, so that what is measured is found in the cache.
    let kept = (number()?, bytes()?);
    let contenders: &mut [Contender<'_>] = &mut [
        &mut || expect_number(number()?.value()),
        &mut || {
            let handle = number()?;
            anyhow::ensure!(handle.release(soon())?, "the lease was not this client's");
            expect_number(handle.value())
        },
        &mut || {
            let handle = bytes()?;
            anyhow::ensure!(matches!(handle.value(), Value::Tensor(_)), "it is no tensor");
            Ok(())
        },
        &mut || turns.turn(),
        &mut || files.fetch(0, 1, SMALL).map(drop),
    ];
    let figures = side_by_side(setting.plan, contenders)?;
    drop(kept);
    let [dropped, released, tensor, turn, fetch] = figures[..] else {
        anyhow::bail!("a contender is missing");
    };
    let dropped = dropped
        .row(name)
        .with_limit("bare Unix socket, 24 bytes there and back", turn.p50)
        .with_limit_quantiles(turn.quantiles)
        .with_note("goal: at most 40 us")
        .with_note("call + release by dropping the handle, which waits for nothing; a number");
    let released = released
        .row(format!("{name}/release awaited"))
        .with_limit("twice the bare Unix socket", 2.0 * turn.p50)
        .with_note("the same, and the release is answered before the next call");
    let tensor = tensor
        .row(format!("{name}/tensor of 4 kB"))
        .with_limit("bare Unix socket with a descriptor, mmap, munmap, close", fetch.p50)
        .with_limit_quantiles(fetch.quantiles)
        .with_note("the same as the first, with a descriptor that is mapped; payload untouched");
    Ok(vec![dropped, released, tensor])
}
