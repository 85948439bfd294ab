//! Many tensors through real processes that take their time, every byte checked; and processes that die
//! in the middle of it.
//!
//! `SHM_CUDA_LONG=1` sends ten thousand, `SHM_CUDA_TENSORS` as many as it says.

mod peer;
mod pool_rig;
mod simulation;

use peer::{Peer, hex, listen, say, unhex};
use pool_rig::{LONG, Scene, eventually, name, pattern, role, scene, start};
use shm_core::fault::{Action, arm_in};
use shm_core::{Dtype, TensorDesc};
use shm_cuda::pool::{DevicePool, fault};
use shm_cuda::transport::{
    Mode, Nested, Proxy, Received, Receiver, Sender, SourceTensor, TransportConfig, UnwrapError,
    WhenFull,
};
use shm_cuda::{CudaStream, Device, DeviceBuffer};
use shm_pool::{Pool, PoolConfig};
use std::time::Duration;

/// The longest tensor.
const MOST: usize = 60_000;
/// Tensors of one request.
const TOGETHER: u64 = 3;

fn tensors() -> u64 {
    match std::env::var("SHM_CUDA_TENSORS").ok().and_then(|number| number.parse().ok()) {
        Some(number) => number,
        None if std::env::var_os("SHM_CUDA_LONG").is_some() => 10_000,
        None => 300,
    }
}

fn len_of(number: u64) -> usize {
    1 + pattern(number, 4).iter().fold(0, |len, &byte| len * 31 + usize::from(byte)) % MOST
}

#[derive(Clone, Copy, PartialEq)]
enum Slots {
    OfOneSize,
    Chunks,
}

fn config(scene: &Scene, mode: Mode, slots: Slots, consumers: usize) -> TransportConfig {
    let pool = match slots {
        Slots::OfOneSize => PoolConfig::slots(8, MOST),
        Slots::Chunks => PoolConfig::chunks(10 * MOST),
    };
    let pool = pool.unwrap().consumers(consumers).unwrap();
    let device_pool = || DevicePool::create(&name("many"), &pool, &scene.device).unwrap();
    let host_pool = || Pool::create(&name("many-host"), &pool).unwrap();
    TransportConfig {
        pool: (mode == Mode::CudaIpcPool).then(device_pool),
        host_pool: (mode == Mode::Default).then(host_pool),
        consumers,
        when_full: WhenFull::Block(LONG),
        shares: 8,
        ..TransportConfig::new(mode)
    }
}

/// Sends the tensors from `numbers` on, each from a buffer that is changed at once where that is allowed.
fn send(scene: &Scene, sender: &Sender, first: u64, scratch: &mut Vec<DeviceBuffer>) -> String {
    let numbers: Vec<u64> = (first..first + TOGETHER).collect();
    let in_place = sender.config().mode == Mode::CudaIpc;
    let buffers: Vec<DeviceBuffer> = numbers
        .iter()
        .map(|&number| {
            let buffer = DeviceBuffer::new(&scene.device, len_of(number)).unwrap();
            buffer
                .as_slice()
                .upload(&pattern(number, buffer.len()), scene.stream.as_ref())
                .unwrap();
            buffer
        })
        .collect();
    let tensor = |buffer| {
        let desc = TensorDesc::new(Dtype::U8, &[DeviceBuffer::len(buffer)]).unwrap();
        Nested::Tensor(SourceTensor::buffer(desc, buffer).unwrap())
    };
    let value = Nested::List(buffers.iter().map(tensor).collect());
    let wrapped = sender.wrap(&value, scene.stream.as_ref()).unwrap();
    if !in_place {
        // Behind the copy, in the order of the stream.
        buffers.iter().for_each(|buffer| {
            buffer.as_slice().fill(0xEE, scene.stream.as_ref()).unwrap();
        });
        scratch.extend(buffers);
        if scratch.len() > 30 {
            scene.stream.synchronize().unwrap();
            scratch.clear();
        }
    }
    let proxies: Vec<String> =
        wrapped.tensors().into_iter().map(|proxy| hex(&proxy.to_bytes())).collect();
    format!("{first} {}", proxies.join(" "))
}

fn is_idle(sender: &Sender) -> bool {
    let config = sender.config();
    let device = config.pool.as_ref().map(|pool| {
        pool.ledger().reap();
        pool.stats().pool
    });
    let host = config.host_pool.as_ref().map(|pool| {
        pool.reap();
        pool.stats()
    });
    sender.stats().shared == 0
        && device.is_none_or(|stats| stats.free == stats.slots)
        && host.is_none_or(|stats| stats.free == stats.slots)
}

#[test]
#[ignore = "the other processes of the tests here"]
fn child() {
    let Some(words) = role() else { return };
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let device = simulation::device().unwrap();
    let stream = CudaStream::new(&device).unwrap();
    match words[..] {
        ["receiver", seat, point, nth] => {
            let receiver = Receiver::new(Some(seat.parse().unwrap()));
            if point != "-" {
                arm_in(fault::POINTS, point, Action::Kill, nth.parse().unwrap());
            }
            say("ready");
            receive(&receiver, &device, &stream);
            say(&format!("{} {}", receiver.stats().unwrapped, receiver.stats().bytes));
            drop(receiver);
            simulation::assert_clean();
        }
        ["sender", mode] => {
            let mode = Mode::from_name(mode).unwrap();
            let scene = scene().unwrap();
            let sender = Sender::new(config(&scene, mode, Slots::OfOneSize, 1)).unwrap();
            let mut scratch = Vec::new();
            say(&send(&scene, &sender, 0, &mut scratch));
            listen();
            // The copies of the second one are still to be done when this is killed.
            simulation::delay_us(10_000_000, 10_000_000);
            if mode == Mode::CudaIpcPool {
                let source = DeviceBuffer::new(&device, 1000).unwrap();
                let desc = TensorDesc::new(Dtype::U8, &[1000]).unwrap();
                let value = Nested::Tensor(SourceTensor::buffer(desc, &source).unwrap());
                let wrapped = sender.wrap(&value, scene.stream.as_ref()).unwrap();
                say(&format!("1 {}", hex(&wrapped.tensors()[0].to_bytes())));
                listen();
            }
        }
        ref other => panic!("no role {other:?}"),
    }
}

fn receive(receiver: &Receiver, device: &Device, stream: &CudaStream) {
    let mut random = fastrand::Rng::with_seed(std::process::id().into());
    while let Some(line) = listen() {
        let (first, wrapped) = parse(&line);
        if random.u32(..20) == 0 {
            std::thread::sleep(Duration::from_millis(random.u64(..50)));
        }
        let came = receiver.unwrap(wrapped, device, stream.as_ref()).unwrap();
        for (number, tensor) in (first..).zip(came.tensors()) {
            assert!(bytes_of(tensor, stream) == pattern(number, len_of(number)), "tensor {number}");
        }
        say("ok");
    }
}

fn parse(line: &str) -> (u64, Nested<Proxy>) {
    let mut words = line.split(' ');
    let first = words.next().unwrap().parse().unwrap();
    let proxy = |word| Nested::Tensor(Proxy::from_bytes(&unhex(word)).unwrap());
    (first, Nested::List(words.map(proxy).collect()))
}

fn bytes_of(tensor: &Received, stream: &CudaStream) -> Vec<u8> {
    tensor.buffer().expect("on the device").as_slice().to_vec(stream.as_ref()).unwrap()
}

fn receivers(count: usize, dying: Option<(&str, u64)>) -> Vec<Peer> {
    let mut peers = Vec::new();
    for seat in 0..count {
        let (point, nth) = dying.filter(|_| seat == 0).unwrap_or(("-", 1));
        let words = ["receiver", &seat.to_string(), point, &nth.to_string()];
        let mut peer = start("child", &words);
        assert_eq!(peer.try_hear().as_deref(), Some("ready"));
        peers.push(peer);
    }
    peers
}

#[test]
fn every_byte_of_many_tensors_arrives() {
    let Some(scene) = scene() else { return };
    let ways = [
        (Mode::CudaIpcPool, Slots::OfOneSize),
        (Mode::CudaIpcPool, Slots::Chunks),
        (Mode::CudaIpc, Slots::OfOneSize),
        (Mode::Default, Slots::Chunks),
    ];
    for (mode, slots) in ways {
        let sender = Sender::new(config(&scene, mode, slots, 2)).unwrap();
        let mut peers = receivers(2, None);
        // As far ahead as the pool allows: it is the sender that waits.
        let (mut sent, mut scratch) = (0, Vec::new());
        while sent < tensors() {
            let line = send(&scene, &sender, sent, &mut scratch);
            peers.iter_mut().for_each(|peer| peer.tell(&line));
            sent += TOGETHER;
        }
        for peer in &mut peers {
            for _ in 0..sent / TOGETHER {
                assert_eq!(peer.try_hear().as_deref(), Some("ok"), "{mode:?}");
            }
            assert!(is_idle_or_waits(&sender));
        }
        for mut peer in peers {
            let status = peer.wait();
            let bytes: u64 = (0..sent).map(|number| len_of(number) as u64).sum();
            assert_eq!(peer.try_hear(), Some(format!("{sent} {bytes}")));
            assert!(status.success(), "{mode:?}: {status}");
        }
        eventually("all is given back", || is_idle(&sender));
        let stats = sender.stats();
        assert_eq!((stats.wrapped, stats.fallbacks, stats.failed), (sent, 0, 0));
        if let Some(pool) = &sender.config().pool {
            let stats = pool.stats();
            assert_eq!((stats.pool.late, stats.released_waits, stats.producer_gone), (0, 0, 0));
        }
    }
    simulation::assert_clean();
}

/// Nothing is ever given back twice.
fn is_idle_or_waits(sender: &Sender) -> bool {
    sender.config().pool.as_ref().is_none_or(|pool| pool.ledger().fsck().problems.is_empty())
}

#[test]
fn a_receiver_that_is_killed_anywhere_keeps_nothing_from_the_others() {
    let Some(scene) = scene() else { return };
    for (mode, point) in [
        (Mode::CudaIpcPool, "cuda.transport.unwrapping"),
        (Mode::CudaIpcPool, "cuda.pool.redeemed"),
        (Mode::CudaIpcPool, "cuda.pool.copying"),
        (Mode::CudaIpcPool, "cuda.pool.acknowledging"),
        (Mode::CudaIpc, "cuda.transport.unwrapping"),
        (Mode::Default, "cuda.transport.unwrapping"),
    ] {
        let sender = Sender::new(config(&scene, mode, Slots::OfOneSize, 2)).unwrap();
        // In the second request.
        let nth = if point == "cuda.pool.acknowledging" { 2 } else { TOGETHER + 2 };
        let mut peers = receivers(2, Some((point, nth)));
        let mut scratch = Vec::new();
        for request in 0..20 {
            let line = send(&scene, &sender, request * TOGETHER, &mut scratch);
            peers.iter_mut().for_each(|peer| peer.tell(&line));
        }
        for _ in 0..20 {
            assert_eq!(peers[1].try_hear().as_deref(), Some("ok"), "{mode:?} {point}");
        }
        let heard = core::iter::from_fn(|| peers[0].try_hear()).count();
        assert!(heard <= 2, "{mode:?} {point}: it was to die");
        assert!(!peers[0].wait().success());
        assert!(peers[1].wait().success());
        eventually("all is given back", || is_idle(&sender));
    }
    simulation::assert_clean();
}

#[test]
fn a_sender_that_is_killed_is_named_and_nobody_hangs() {
    let Some(scene) = scene() else { return };
    for mode in Mode::ALL {
        let mut sender = start("child", &["sender", mode.name()]);
        let (first, wrapped) = parse(&sender.try_hear().unwrap());
        let receiver = Receiver::new(None);
        if mode == Mode::CudaIpcPool {
            let came =
                receiver.unwrap(wrapped.clone(), &scene.device, scene.stream.as_ref()).unwrap();
            for (number, tensor) in (first..).zip(came.tensors()) {
                let found = bytes_of(tensor, &scene.stream);
                assert!(found == pattern(number, len_of(number)), "tensor {number}");
            }
            sender.tell("go on");
            let (_, late) = parse(&sender.try_hear().unwrap());
            sender.kill();
            let gone = receiver.unwrap(late, &scene.device, scene.stream.as_ref());
            assert!(matches!(gone, Err(UnwrapError::Redeem(_))), "{gone:?}");
        } else {
            sender.kill();
        }
        let gone = receiver.unwrap(wrapped, &scene.device, scene.stream.as_ref());
        assert!(gone.is_err() || mode == Mode::Default, "{mode:?}: {gone:?}");
        scene.stream.synchronize().unwrap();
    }
    simulation::assert_clean();
}
