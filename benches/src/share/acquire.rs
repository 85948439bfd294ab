//! A lease on an object that the server has: acquired, mapped, looked at or read as a whole, released.

use anyhow::{Context, Result, bail, ensure};
use shm_cuda::share::{Arguments, Ask, Client, Handle, HostMemory, ObjectId, Outcome, Response};
use shm_cuda::share::{Storage, Value};

use super::offers::{BYTES, byte_at};
use super::served::{Served, handle_of, soon};
use super::timing::{Contender, Figures, rate, side_by_side};
use crate::limits::{Carries, CopyKind, Mapping};
use crate::measure::pin;
use crate::report::Row;
use crate::suites::Setting;

const SIZES: [(&str, usize); 3] = [("1MiB", 1 << 20), ("16MiB", 16 << 20), ("256MiB", 256 << 20)];

/// What is read at a time, into memory that stays in the cache.
const BLOCK: usize = 1 << 16;

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let mut rows = Vec::new();
    for (name, len) in SIZES {
        rows.extend(of_size(setting, name, len)?);
    }
    Ok(rows)
}

fn of_size(setting: &Setting<'_>, name: &str, len: usize) -> Result<[Row; 2]> {
    let served = Served::start(setting.cores.far, &[len])?;
    let client = served.client()?;
    let mut turns = served.bare(Carries::Bytes)?;
    let mut files = served.bare(Carries::Descriptors)?;
    let kept = handle_of(&client, BYTES, Arguments::positional([Value::Int(len as i128)]))?;
    let local = Mapping::create("local", len)?;
    let mut block = [vec![0; BLOCK], vec![0; BLOCK], vec![0; BLOCK]];
    let [of_ours, of_local, of_fetched] = &mut block;
    let contenders: &mut [Contender<'_>] = &mut [
        &mut || {
            let handle = acquire(&client, kept.object())?;
            memory_of(&handle, len)?;
            ensure!(handle.release(soon())?, "the lease was not this client's");
            Ok(())
        },
        &mut || {
            let handle = acquire(&client, kept.object())?;
            let memory = memory_of(&handle, len)?;
            for offset in (0..len).step_by(BLOCK) {
                memory.read(offset, of_ours);
            }
            ensure!(
                of_ours[BLOCK - 1] == byte_at(len - 1),
                "the last byte is {}",
                of_ours[BLOCK - 1]
            );
            ensure!(handle.release(soon())?, "the lease was not this client's");
            Ok(())
        },
        &mut || {
            drop(files.fetch(0, 1, len)?);
            turns.turn()
        },
        &mut || read(&local, len, of_local),
    ];
    let figures = side_by_side(setting.plan, contenders)?;
    // Alone: the mapping and the reading of a bare descriptor.
    let fetched = side_by_side(
        setting.plan,
        &mut [&mut || {
            let mapping = files.fetch(0, 1, len)?;
            read(&mapping[0], len, of_fetched)
        }],
    )?;
    let [untouched, whole, bare, local] = figures[..] else {
        bail!("a contender is missing");
    };
    Ok([untouched_row(name, untouched, bare), read_row(name, len, whole, local, fetched[0])])
}

fn untouched_row(name: &str, ours: Figures, bare: Figures) -> Row {
    let row = ours
        .row(format!("acquire/{name}/untouched"))
        .with_limit("bare descriptor, mmap, munmap, close, and another turn", bare.p50)
        .with_limit_quantiles(bare.quantiles);
    let row = if name == "1MiB" { row.with_note("goal: at most 100 us") } else { row };
    row.with_note("acquire + map + release, which is answered + unmap")
}

fn read_row(name: &str, len: usize, ours: Figures, local: Figures, fetched: Figures) -> Row {
    ours.rate_row(format!("acquire/{name}/read"), len)
        .with_limit("the same bytes of local memory that is mapped already", rate(len, local.p50))
        .touching_payload()
        .with_note(
            "acquire + map + every byte into a block of 64 KiB, page faults included + release",
        )
        .with_note(format!(
            "a bare descriptor, mapped and read the same way: {:.0} MB/s",
            rate(len, fetched.p50)
        ))
}

fn acquire(client: &Client, object: ObjectId) -> Result<Handle> {
    match client.ask(Ask::Acquire(object), soon())? {
        Response::Outcome(Outcome::Handle(handle)) => Ok(handle),
        other => bail!("{other:?} is no lease"),
    }
}

fn memory_of(handle: &Handle, len: usize) -> Result<&HostMemory> {
    let Value::Tensor(tensor) = handle.value() else {
        bail!("it is no tensor");
    };
    let Storage::Host(memory) = tensor.storage() else {
        bail!("it lies on a device");
    };
    ensure!(memory.len() == len, "{} bytes came in place of {len}", memory.len());
    Ok(memory)
}

fn read(mapping: &Mapping, len: usize, block: &mut [u8]) -> Result<()> {
    for offset in (0..len).step_by(BLOCK) {
        mapping.copy_out(CopyKind::Libc, offset, block).context("could not read")?;
    }
    Ok(())
}
