//! A tensor as an argument, copied into shared memory for the call or there already.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use rustix::fd::AsFd;
use rustix::fs::{FallocateFlags, MemfdFlags, fallocate, memfd_create};
use shm_core::Dtype;
use shm_cuda::share::{Arguments, Client, HostMemory, Outcome, Storage, Tensor, Value};

use super::offers::ENDS;
use super::served::{Served, bare_file, soon};
use super::timing::{Contender, side_by_side};
use crate::limits::{Carries, CopyKind, Mapping};
use crate::measure::pin;
use crate::report::Row;
use crate::suites::Setting;

const LEN: usize = 1 << 20;

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let served = Served::start(setting.cores.far, &[])?;
    let client = served.client()?;
    let mut files = served.bare(Carries::Descriptors)?;
    let mut there = served.bare(Carries::Descriptors)?;
    let memory = Arc::new(HostMemory::allocate(LEN)?);
    let tensor = Tensor::contiguous(Storage::Host(Arc::clone(&memory)), Dtype::U8, &[LEN], 0)?;
    let mut private = vec![1_u8; LEN];
    let source = private.clone();
    let (mut copied, mut in_place) = (0_u64, 0_u64);
    let file = bare_file(LEN)?;
    let contenders: &mut [Contender<'_>] = &mut [
        &mut || {
            copied += 1;
            private[..8].copy_from_slice(&copied.to_le_bytes());
            private[LEN - 8..].copy_from_slice(&copied.to_le_bytes());
            call(&client, Tensor::copy_of(Dtype::U8, &[LEN], &private)?, copied)
        },
        &mut || {
            in_place += 1;
            memory.write(0, &in_place.to_le_bytes());
            memory.write(LEN - 8, &in_place.to_le_bytes());
            call(&client, tensor.clone(), in_place)
        },
        &mut || {
            let file = memfd_create("bench", MemfdFlags::CLOEXEC)?;
            fallocate(&file, FallocateFlags::empty(), 0, LEN as u64)?;
            Mapping::of_file(file.as_fd(), LEN)?.copy_in(CopyKind::Libc, 0, &source)?;
            files.give(file.as_fd())
        },
        &mut || there.give(file.as_fd()),
    ];
    let figures = side_by_side(setting.plan, contenders)?;
    let [copied, in_place, bare_copied, bare] = figures[..] else {
        bail!("a contender is missing");
    };
    let note = "an uncached call: a worker maps the tensor and reads its first and last word, which are \
                new each time; the rest of it is not read";
    Ok(vec![
        copied
            .row("argument/1MiB/copied")
            .with_limit(
                "memfd, pages, bare memcpy, descriptor there, mapped, answer",
                bare_copied.p50,
            )
            .with_limit_quantiles(bare_copied.quantiles)
            .with_note(note),
        in_place
            .row("argument/1MiB/in place")
            .with_limit("bare descriptor there, mapped, answer", bare.p50)
            .with_limit_quantiles(bare.quantiles)
            .with_note(note)
            .with_note("the tensor lies in shared memory already"),
    ])
}

fn call(client: &Client, tensor: Tensor, number: u64) -> Result<()> {
    let arguments = Arguments::positional([Value::Tensor(tensor)]);
    let outcome = client.call(ENDS, arguments, soon()).context("the call failed")?;
    let Outcome::Value(Value::Tuple(ends)) = outcome else {
        bail!("`{ENDS}` gave {outcome:?}");
    };
    let number = i128::from(number);
    let as_sent = ends.iter().all(|end| matches!(end, Value::Int(end) if *end == number));
    ensure!(ends.len() == 2 && as_sent, "{ends:?} came in place of {number} twice");
    Ok(())
}
