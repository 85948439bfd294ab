//! Nested data with tensors in it: taking them out into a pool, and making tensors of them again.

use std::cell::RefCell;

use anyhow::{Context, Result, bail, ensure};
use shm_core::{Dtype, TensorDesc};
use shm_cuda::pool::DevicePool;
use shm_cuda::transport::{
    Mode, Nested, Proxy, Received, Receiver, Sender, SourceTensor, TransportConfig,
};
use shm_pool::PoolConfig;

use super::LEN;
use crate::cuda::figures::{Waits, of_host};
use crate::cuda::place::Place;
use crate::cuda::row::{NS, Row};
use crate::scratch;

const SLOTS: usize = 64;
const FILL: u8 = 0x5A;

pub(super) fn run(place: &Place) -> Result<Vec<Row>> {
    let mut rows = one_request(place, 1, "one cuMemcpyDtoDAsync")?;
    rows.extend(one_request(place, 8, "eight cuMemcpyDtoDAsync")?);
    Ok(rows)
}

fn one_request(place: &Place, tensors: usize, bare_name: &'static str) -> Result<Vec<Row>> {
    let site = place.site()?;
    let (bare, queue) = (&site.bare, site.queue.as_ref());
    let name = scratch::name("transport");
    let pool = DevicePool::create(&name, &PoolConfig::slots(SLOTS, LEN)?, &site.device)?;
    let sender = Sender::new(TransportConfig {
        pool: Some(pool),
        ..TransportConfig::new(Mode::CudaIpcPool)
    })?;
    let receiver = Receiver::new(None);
    receiver.join(&name, &site.device)?;
    let (source, target) = (site.filled(LEN, FILL)?, site.filled(LEN, 0)?);
    let desc = TensorDesc::new(Dtype::U8, &[LEN])?;
    let list = (0..tensors)
        .map(|_| Ok(Nested::Tensor(SourceTensor::device(desc.clone(), source.as_slice())?)))
        .collect::<Result<Vec<_>>>()?;
    let request = Nested::List(list);
    let _current = site.device.make_current()?;
    let copies =
        || (0..tensors).try_for_each(|_| bare.copy(target.as_slice(), source.as_slice(), queue));
    let wrapped: RefCell<Vec<Nested<Proxy>>> = RefCell::default();
    let received: RefCell<Vec<Nested<Received>>> = RefCell::default();
    let unwrap = || -> Result<()> {
        for proxies in wrapped.borrow_mut().drain(..) {
            received.borrow_mut().push(receiver.unwrap(proxies, &site.device, queue)?);
        }
        Ok(())
    };
    let wrap = || -> Result<()> {
        wrapped.borrow_mut().push(sender.wrap(&request, queue)?);
        Ok(())
    };
    // What is received is waited for and freed outside of what is measured.
    let forget = || -> Result<()> {
        bare.synchronize(queue)?;
        if let Some(last) = received.take().pop() {
            for tensor in last.tensors() {
                let buffer = tensor.buffer().context("a tensor of a device came as host memory")?;
                let bytes = buffer.as_slice().to_vec(queue)?;
                ensure!(bytes.iter().all(|byte| *byte == FILL), "other bytes came than were sent");
            }
        }
        Ok(())
    };
    let after_wrap = || -> Result<()> {
        unwrap()?;
        forget()
    };
    let wrapping = of_host(
        place.plan,
        bare,
        Waits::EachTime,
        &after_wrap,
        &mut [&mut || wrap(), &mut || copies()],
    )?;
    wrap()?;
    let after_unwrap = || -> Result<()> {
        forget()?;
        if wrapped.borrow().is_empty() {
            wrap()?;
        }
        bare.synchronize(queue)
    };
    let unwrapping = of_host(
        place.plan,
        bare,
        Waits::EachTime,
        &after_unwrap,
        &mut [&mut || unwrap(), &mut || copies()],
    )?;
    let stats = sender.stats();
    if stats.fallbacks + stats.full + stats.failed > 0 {
        bail!("not everything took the way through the pool: {stats:?}");
    }
    let row = |what: &str, figures: &[_]| {
        Row::new(format!("host/transport/{what}/{tensors}x4kB"), place.simulated, NS, figures[0])
            .beside(bare_name, NS, figures[1])
    };
    Ok(vec![
        row("wrap", &wrapping).with_note("cuda_ipc_pool: lend, copy and publish each tensor"),
        row("unwrap", &unwrapping).with_note(
            "cuda_ipc_pool: redeem what is there, allocate, copy out, one acknowledgement for all",
        ),
    ])
}
