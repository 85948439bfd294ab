//! `cust` as people use it, through the forwarders: no call of ours in between.

use crate::{process, simulation};
use cust::context::{Context, CurrentContext};
use cust::device::Device;
use cust::event::{Event, EventFlags};
use cust::memory::{AsyncCopyDestination, CopyDestination, DeviceBuffer, LockedBuffer};
use cust::stream::{Stream, StreamFlags};
use cust::{CudaApiVersion, CudaFlags};
use shm_cuda::cust;

#[test]
fn devices_contexts_buffers_streams_and_events_work() {
    process::alone(
        "through_cust::devices_contexts_buffers_streams_and_events_work",
        process::name_driver,
        || {
            let Some(driver) = simulation::driver() else { return };
            cust::init(CudaFlags::empty()).unwrap();
            assert!(CudaApiVersion::get().unwrap().major() >= 11);
            let device = Device::get_device(0).unwrap();
            let name = device.name().unwrap();
            assert!(!name.is_empty());
            assert_eq!(name.contains("sim"), driver.is_simulated(), "{name}");
            assert!(device.total_memory().unwrap() > 0);

            let context = Context::new(device).unwrap();
            CurrentContext::set_current(&context).unwrap();
            assert_eq!(CurrentContext::get_device().unwrap().as_raw(), device.as_raw());
            buffers();
            streams();
            CurrentContext::synchronize().unwrap();
        },
    );
}

fn buffers() {
    let numbers: Vec<u64> = (0..10_000).map(|number| number * 0x0101_0101).collect();
    let mut buffer = DeviceBuffer::from_slice(&numbers).unwrap();
    let mut back = vec![0; numbers.len()];
    buffer.copy_to(&mut back).unwrap();
    assert_eq!(back, numbers);
    buffer.index(100..200).copy_to(&mut back[..100]).unwrap();
    assert_eq!(back[..100], numbers[100..200]);
    buffer.copy_from(&vec![7; numbers.len()]).unwrap();
    buffer.copy_to(&mut back).unwrap();
    assert!(back.iter().all(|&number| number == 7));
    let empty_handed = DeviceBuffer::<u32>::zeroed(1000).unwrap();
    assert_eq!(empty_handed.as_host_vec().unwrap(), vec![0; 1000]);
}

fn streams() {
    let stream = Stream::new(StreamFlags::NON_BLOCKING, None).unwrap();
    let from = LockedBuffer::new(&3.25f32, 65_536).unwrap();
    let mut to = LockedBuffer::new(&0f32, 65_536).unwrap();
    let mut buffer = DeviceBuffer::<f32>::zeroed(65_536).unwrap();
    let done = Event::new(EventFlags::DISABLE_TIMING).unwrap();
    // SAFETY: the buffers live until the queue is empty, and nobody looks at them before.
    unsafe {
        buffer.async_copy_from(from.as_slice(), &stream).unwrap();
        buffer.async_copy_to(to.as_mut_slice(), &stream).unwrap();
    }
    done.record(&stream).unwrap();
    done.synchronize().unwrap();
    stream.synchronize().unwrap();
    assert!(to.iter().all(|&number| number == 3.25));
}
