//! One process: tensors come back as they were, by every way, and nothing is left behind.

mod peer;
mod pool_rig;
mod simulation;

use pool_rig::{LONG, Scene, buffer, eventually, name, pattern, scene};
use shm_core::{Dtype, TensorDesc};
use shm_cuda::pool::DevicePool;
use shm_cuda::transport::{
    ConfigError, Fallback, Mode, Nested, Proxy, Received, Receiver, Route, Sender, SourceError,
    SourceTensor, TransportConfig, UnwrapError, WhenFull, WrapError,
};
use shm_cuda::{DeviceBuffer, ipc};
use shm_pool::{Pool, PoolConfig};
use simulation::Failure;
use std::sync::Arc;
use std::time::{Duration, Instant};

const SLOTS: usize = 4;
const BYTES: usize = 24_000;

fn desc() -> TensorDesc {
    TensorDesc::new(Dtype::F32, &[2, BYTES / 8]).unwrap()
}

fn pool(scene: &Scene, consumers: usize) -> DevicePool {
    let config = PoolConfig::slots(SLOTS, BYTES).unwrap().consumers(consumers).unwrap();
    DevicePool::create(&name("ways"), &config, &scene.device).unwrap()
}

fn host_pool(consumers: usize) -> Pool {
    let config = PoolConfig::slots(SLOTS, BYTES).unwrap().consumers(consumers).unwrap();
    Pool::create(&name("ways-host"), &config).unwrap()
}

fn configs(scene: &Scene) -> Vec<TransportConfig> {
    let patient = |mode| TransportConfig {
        when_full: WhenFull::Block(Duration::from_secs(5)),
        ..TransportConfig::new(mode)
    };
    vec![
        patient(Mode::Default),
        TransportConfig { host_pool: Some(host_pool(1)), ..patient(Mode::Default) },
        patient(Mode::CudaIpc),
        TransportConfig {
            pool: Some(pool(scene, 1)),
            host_pool: Some(host_pool(1)),
            ..patient(Mode::CudaIpcPool)
        },
    ]
}

/// Through bytes, as between processes.
fn posted(proxies: Nested<Proxy>) -> Nested<Proxy> {
    proxies.map(|proxy| Proxy::from_bytes(&proxy.to_bytes()).unwrap())
}

fn is_idle(sender: &Sender) -> bool {
    let config = sender.config();
    let device = config.pool.as_ref().map(|pool| pool.stats().pool);
    let host = config.host_pool.as_ref().map(|pool| pool.stats());
    sender.stats().shared == 0
        && device.is_none_or(|stats| stats.free == stats.slots)
        && host.is_none_or(|stats| stats.free == stats.slots)
}

#[test]
fn nested_tensors_come_back_by_every_way() {
    let Some(scene) = scene() else { return };
    let host_bytes = pattern(1000, BYTES);
    for config in configs(&scene) {
        let sender = Sender::new(config).unwrap();
        let receiver = Receiver::new(None);
        for round in 0..10 {
            let sources =
                [2 * round, 2 * round + 1].map(|seed| buffer(&scene, &pattern(seed, BYTES)));
            let on_device = |index: usize| {
                Nested::Tensor(SourceTensor::buffer(desc(), &sources[index]).unwrap())
            };
            let on_host = Nested::Tensor(SourceTensor::host(desc(), &host_bytes).unwrap());
            let value = Nested::Map(vec![
                ("pixels".into(), Nested::List(vec![on_device(0), on_device(1)])),
                ("rest".into(), Nested::Tuple(vec![on_host, Nested::Leaf(b"text".to_vec())])),
            ]);
            let wrapped = sender.wrap(&value, scene.stream.as_ref()).unwrap();
            let came =
                receiver.unwrap(posted(wrapped), &scene.device, scene.stream.as_ref()).unwrap();
            let Nested::Map(items) = &came else { panic!("a map") };
            assert_eq!((items[0].0.as_str(), items[1].0.as_str()), ("pixels", "rest"));
            let Nested::Tuple(rest) = &items[1].1 else { panic!("a tuple") };
            assert!(matches!(&rest[1], Nested::Leaf(text) if text == b"text"));
            let tensors = came.tensors();
            for (index, tensor) in tensors[..2].iter().enumerate() {
                assert_eq!(tensor.desc(), &desc());
                let bytes =
                    tensor.buffer().unwrap().as_slice().to_vec(scene.stream.as_ref()).unwrap();
                assert!(bytes == pattern(2 * round + index as u64, BYTES), "tensor {index}");
            }
            assert!(matches!(tensors[2], Received::Host { bytes, .. } if *bytes == host_bytes));
        }
        eventually("all is given back", || is_idle(&sender));
        let (sent, received) = (sender.stats(), receiver.stats());
        assert_eq!((sent.wrapped, received.unwrapped), (30, 30));
        assert_eq!((sent.bytes, received.bytes), (30 * BYTES as u64, 30 * BYTES as u64));
        assert_eq!((sent.full, sent.fallbacks, sent.failed, received.failed), (0, 0, 0, 0));
    }
    simulation::assert_clean();
}

#[test]
fn a_wrapping_that_fails_half_way_gives_everything_back() {
    let Some(scene) = scene() else { return };
    let source = buffer(&scene, &pattern(1, BYTES));
    let tensor = || Nested::Tensor(SourceTensor::buffer(desc(), &source).unwrap());
    let many = |count| Nested::List((0..count).map(|_| tensor()).collect::<Vec<_>>());
    let pool_config = TransportConfig {
        pool: Some(pool(&scene, 1)),
        when_full: WhenFull::Fail,
        ..TransportConfig::new(Mode::CudaIpcPool)
    };
    let legacy = TransportConfig {
        shares: SLOTS,
        when_full: WhenFull::Fail,
        ..TransportConfig::new(Mode::CudaIpc)
    };
    let host = TransportConfig {
        host_pool: Some(host_pool(1)),
        when_full: WhenFull::Fail,
        ..TransportConfig::new(Mode::Default)
    };
    for config in [pool_config, legacy, host] {
        let sender = Sender::new(config).unwrap();
        let refused = sender.wrap(&many(SLOTS + 1), scene.stream.as_ref());
        assert!(
            matches!(refused, Err(WrapError::Lend { .. } | WrapError::HostLend { .. })),
            "{refused:?}"
        );
        eventually("all is given back", || is_idle(&sender));
        assert_eq!((sender.stats().full, sender.stats().failed), (1, 1));
        let wrapped = sender.wrap(&many(SLOTS), scene.stream.as_ref()).unwrap();
        assert!(!is_idle(&sender));
        // Nobody was sent them after all.
        sender.take_back(&wrapped);
        eventually("all is taken back", || is_idle(&sender));
        // Free, and yet not lent again before the copies that were queued are done.
        scene.stream.synchronize().unwrap();
        let again = sender.wrap(&many(SLOTS), scene.stream.as_ref()).unwrap();
        sender.take_back(&again);
        eventually("all is taken back again", || is_idle(&sender));
    }
}

#[test]
fn a_failed_publication_takes_the_published_ones_back() {
    let Some(scene) = scene() else { return };
    let source = buffer(&scene, &pattern(1, BYTES));
    let config =
        TransportConfig { pool: Some(pool(&scene, 1)), ..TransportConfig::new(Mode::CudaIpcPool) };
    let sender = Sender::new(config).unwrap();
    // Everybody who was expected has come and gone.
    let device_pool = sender.config().pool.clone().unwrap();
    drop(device_pool.consumer().unwrap());
    let value = Nested::Tensor(SourceTensor::buffer(desc(), &source).unwrap());
    let refused = sender.wrap(&value, scene.stream.as_ref());
    assert!(matches!(refused, Err(WrapError::DevicePublish(_))), "{refused:?}");
    eventually("all is given back", || is_idle(&sender));
}

#[test]
fn a_tensor_that_cannot_be_made_is_acknowledged_like_the_others() {
    let Some(scene) = scene() else { return };
    let source = buffer(&scene, &pattern(1, BYTES));
    for config in configs(&scene) {
        let sender = Sender::new(config).unwrap();
        let receiver = Receiver::new(None);
        let tensor = || Nested::Tensor(SourceTensor::buffer(desc(), &source).unwrap());
        for failing in 1..=3 {
            let value = Nested::List(vec![tensor(), tensor(), tensor()]);
            let wrapped = posted(sender.wrap(&value, scene.stream.as_ref()).unwrap());
            let again = wrapped.clone();
            // Room for the tensor runs out at that one.
            simulation::inject(Failure::OutOfMemory, failing);
            let refused = receiver.unwrap(wrapped, &scene.device, scene.stream.as_ref());
            simulation::clear_failures();
            assert!(matches!(refused, Err(UnwrapError::Cuda(_))), "{refused:?}");
            eventually("all are acknowledged", || is_idle(&sender));
            if sender.config().pool.is_some() {
                // Acknowledged once and for all.
                let late = receiver.unwrap(again, &scene.device, scene.stream.as_ref());
                assert!(matches!(late, Err(UnwrapError::Redeem(_))), "{late:?}");
            }
        }
        assert!(receiver.stats().failed >= 3);
    }
    simulation::assert_clean();
}

#[test]
fn a_full_pool_does_what_was_chosen() {
    let Some(scene) = scene() else { return };
    let source = buffer(&scene, &pattern(5, BYTES));
    let tensor = || Nested::Tensor(SourceTensor::buffer(desc(), &source).unwrap());
    for when_full in [WhenFull::Fail, WhenFull::Host, WhenFull::Block(Duration::from_millis(80))] {
        let config = TransportConfig {
            pool: Some(pool(&scene, 1)),
            when_full,
            ..TransportConfig::new(Mode::CudaIpcPool)
        };
        let sender = Sender::new(config).unwrap();
        let full = Nested::List((0..SLOTS).map(|_| tensor()).collect::<Vec<_>>());
        let first = sender.wrap(&full, scene.stream.as_ref()).unwrap();
        let begun = Instant::now();
        let more = sender.wrap(&tensor(), scene.stream.as_ref());
        let stats = sender.stats();
        assert_eq!(stats.full, 1);
        match when_full {
            WhenFull::Host => {
                let more = more.unwrap();
                assert_eq!(more.tensors()[0].route(), Route::Inline);
                assert!(more.tensors()[0].on_device());
                assert_eq!(stats.fallbacks, 1);
            }
            _ => {
                assert!(matches!(more, Err(WrapError::Lend { .. })), "{more:?}");
                assert_eq!(stats.fallbacks, 0);
                let blocked = begun.elapsed() >= Duration::from_millis(80);
                assert_eq!(blocked, when_full != WhenFull::Fail);
            }
        }
        assert!(begun.elapsed() < LONG);
        let receiver = Receiver::new(None);
        receiver.unwrap(first, &scene.device, scene.stream.as_ref()).unwrap();
        eventually("all is given back", || is_idle(&sender));
    }
}

#[test]
fn memory_in_place_is_kept_until_everybody_is_done_and_no_longer() {
    let Some(scene) = scene() else { return };
    let config = TransportConfig { consumers: 2, ..TransportConfig::new(Mode::CudaIpc) };
    let sender = Sender::new(config).unwrap();
    let owner = Arc::new(());
    let source = buffer(&scene, &pattern(1, BYTES));
    let tensor = SourceTensor::device(desc(), source.as_slice()).unwrap();
    let ownerless = sender.wrap(&Nested::Tensor(tensor.clone()), scene.stream.as_ref());
    assert!(matches!(ownerless, Err(WrapError::NoOwner { .. })), "{ownerless:?}");
    let value = Nested::Tensor(tensor.owned_by(owner.clone()));
    let wrapped = sender.wrap(&value, scene.stream.as_ref()).unwrap();
    drop(value);
    assert_eq!((sender.stats().shared, sender.stats().shared_bytes), (1, BYTES));
    let receivers = [Receiver::new(Some(0)), Receiver::new(Some(1))];
    receivers[0].unwrap(wrapped.clone(), &scene.device, scene.stream.as_ref()).unwrap();
    assert_eq!((sender.stats().shared, Arc::strong_count(&owner)), (1, 2));
    // Nor does the sender's end end it.
    drop(sender);
    ipc::collect();
    assert_eq!(Arc::strong_count(&owner), 2);
    receivers[1].unwrap(wrapped, &scene.device, scene.stream.as_ref()).unwrap();
    ipc::collect();
    assert_eq!(Arc::strong_count(&owner), 1);
}

#[test]
fn what_cannot_be_sent_is_named() {
    let Some(scene) = scene() else { return };
    let missing = Sender::new(TransportConfig::new(Mode::CudaIpcPool));
    assert!(matches!(missing, Err(ConfigError::NoPool)));
    let config = TransportConfig {
        pool: Some(pool(&scene, 1)),
        consumers: 2,
        ..TransportConfig::new(Mode::CudaIpcPool)
    };
    let refused = Sender::new(config);
    assert!(
        matches!(refused, Err(ConfigError::Consumers { field: "pool", expected: 2, found: 1 })),
        "{refused:?}"
    );
    let source = buffer(&scene, &pattern(1, BYTES));
    let tensor = SourceTensor::buffer(desc(), &source).unwrap();
    assert!(tensor.clone().with_strides(&[BYTES as isize / 8, 1]).is_ok());
    let refused = tensor.with_strides(&[1, 2]).unwrap_err();
    assert!(matches!(refused, SourceError::NotContiguous { .. }), "{refused}");
    let refused = SourceTensor::device(desc(), source.as_slice().slice(0..100)).unwrap_err();
    assert!(matches!(refused, SourceError::Length { found: 100, .. }), "{refused}");

    // Longer than any slot: refused, or through host memory where that was chosen.
    let long = DeviceBuffer::new(&scene.device, 2 * BYTES).unwrap();
    let long_desc = TensorDesc::new(Dtype::U8, &[2 * BYTES]).unwrap();
    for fallback in [Fallback::Refuse, Fallback::Host] {
        let config = TransportConfig {
            pool: Some(pool(&scene, 1)),
            fallback,
            ..TransportConfig::new(Mode::CudaIpcPool)
        };
        let sender = Sender::new(config).unwrap();
        let value = Nested::Tensor(SourceTensor::buffer(long_desc.clone(), &long).unwrap());
        let wrapped = sender.wrap(&value, scene.stream.as_ref());
        assert_eq!(wrapped.is_ok(), fallback == Fallback::Host);
        assert_eq!(sender.stats().fallbacks, u64::from(fallback == Fallback::Host));
    }
    assert_eq!(Mode::from_name("cuda_ipc_pool"), Some(Mode::CudaIpcPool));
}

#[test]
fn a_tensor_may_be_made_on_another_device() {
    let Some(scene) = scene() else { return };
    let Ok(other) = shm_cuda::Device::open(1) else { return println!("SKIPPED: one device") };
    let stream = shm_cuda::CudaStream::new(&other).unwrap();
    for config in configs(&scene) {
        let sender = Sender::new(config).unwrap();
        let receiver = Receiver::new(None);
        let source = buffer(&scene, &pattern(8, BYTES));
        let value = Nested::Tensor(SourceTensor::buffer(desc(), &source).unwrap());
        let wrapped = posted(sender.wrap(&value, scene.stream.as_ref()).unwrap());
        let came = receiver.unwrap(wrapped, &other, stream.as_ref()).unwrap();
        let buffer = came.tensors()[0].buffer().unwrap().clone();
        assert!(*buffer.device() == other);
        assert!(buffer.as_slice().to_vec(stream.as_ref()).unwrap() == pattern(8, BYTES));
        eventually("all is given back", || is_idle(&sender));
    }
}
