//! Device memory between processes, and the documented error of each misuse.

mod peer;
mod simulation;

use peer::{Peer, hear, hex, role, say, unhex};
use shm_cuda::ipc::{self, IpcError, MemoryDescriptor};
use shm_cuda::{
    CudaErrorKind, CudaStream, Device, DeviceBuffer, DeviceError, DeviceSlice, DeviceUuid, Event,
    PointerInfo,
};

fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

/// Gives a child the descriptor, and returns what it says.
fn ask(test: &str, descriptor: &MemoryDescriptor) -> String {
    let mut child = Peer::playing(test, "import", &hex(&descriptor.to_bytes()), &[]);
    let said = child.hear();
    assert!(child.wait().success(), "the child failed after saying {said}");
    said
}

/// The descriptor that this process, if it is a child, was given.
fn given() -> Option<MemoryDescriptor> {
    role().map(|(_, bytes)| MemoryDescriptor::from_bytes(&unhex(&bytes)).unwrap())
}

#[test]
fn a_range_of_an_allocation_is_the_same_memory_in_another_process() {
    let Some(device) = simulation::device() else { return };
    let stream = CudaStream::new(&device).unwrap();
    if let Some(given) = given() {
        let import = ipc::import(&device, &given).unwrap();
        assert_eq!((import.len(), import.is_own(), ipc::imports_open()), (1000, false, 1));
        let found = import.as_slice().to_vec(stream.as_ref()).unwrap();
        import.as_slice().upload(&bytes(1000, 99), stream.as_ref()).unwrap();
        let again =
            ipc::import(&device, &MemoryDescriptor::from_bytes(&found_bytes(&import)).unwrap());
        drop(again);
        drop(import);
        assert_eq!(ipc::imports_open(), 0);
        say(&hex(&found));
        return;
    }
    let buffer = DeviceBuffer::new(&device, 1 << 20).unwrap();
    buffer.as_slice().fill(1, stream.as_ref()).unwrap();
    let part = buffer.as_slice().slice(4096..5096);
    part.upload(&bytes(1000, 7), stream.as_ref()).unwrap();
    let descriptor = ipc::export(part).unwrap();
    assert_eq!((descriptor.len(), descriptor.pid()), (1000, std::process::id()));
    let said = ask("a_range_of_an_allocation_is_the_same_memory_in_another_process", &descriptor);
    assert_eq!(unhex(&said), bytes(1000, 7));
    assert_eq!(part.to_vec(stream.as_ref()).unwrap(), bytes(1000, 99), "what the importer wrote");
    let around = buffer.as_slice().slice(4000..4096).to_vec(stream.as_ref()).unwrap();
    assert_eq!(around, [1; 96], "nothing beside the range changed");
}

/// The descriptor that an import came from is not kept, so the child sends itself one: of memory of its
/// own.
fn found_bytes(import: &ipc::Import) -> [u8; 256] {
    let own = DeviceBuffer::new(import.device(), 512).unwrap();
    ipc::export(own.as_slice()).unwrap().to_bytes()
}

#[test]
fn opened_twice_is_opened_once_and_closed_with_the_last() {
    const TEST: &str = "opened_twice_is_opened_once_and_closed_with_the_last";
    let Some(device) = simulation::device() else { return };
    if let Some(descriptor) = given() {
        let first = ipc::import(&device, &descriptor).unwrap();
        let second = ipc::import(&device, &descriptor.slice(256, 256)).unwrap();
        assert_eq!(second.as_slice().address(), first.as_slice().address() + 256);
        assert_eq!(ipc::imports_open(), 1);
        drop(first);
        assert_eq!(ipc::imports_open(), 1);
        let stream = CudaStream::new(&device).unwrap();
        assert_eq!(second.as_slice().to_vec(stream.as_ref()).unwrap(), [5; 256]);
        drop(second);
        assert_eq!(ipc::imports_open(), 0);
        if !simulation::is_real() {
            assert_eq!(
                (simulation::count("imports"), simulation::count("import_opens_total")),
                (0, 1)
            );
        }
        say("done");
        return;
    }
    let stream = CudaStream::new(&device).unwrap();
    let buffer = DeviceBuffer::new(&device, 4096).unwrap();
    buffer.as_slice().fill(5, stream.as_ref()).unwrap();
    stream.synchronize().unwrap();
    assert_eq!(ask(TEST, &ipc::export(buffer.as_slice()).unwrap()), "done");
}

#[test]
fn a_process_gets_its_own_memory_back_while_it_has_it() {
    let Some(device) = simulation::device() else { return };
    let buffer = DeviceBuffer::new(&device, 4096).unwrap();
    let descriptor = ipc::export(buffer.as_slice().slice(256..512)).unwrap();
    assert!(descriptor.is_own());
    let import = ipc::import(&device, &descriptor).unwrap();
    assert!(import.is_own());
    assert_eq!(import.as_slice().address(), buffer.address() + 256);
    let address = buffer.address();
    drop((import, buffer));
    assert_eq!(ipc::import(&device, &descriptor).unwrap_err(), IpcError::Freed { address });
}

#[test]
fn what_is_no_plain_allocation_cannot_be_exported() {
    let Some(device) = simulation::device() else { return };
    // SAFETY: only exported, never touched.
    let host = unsafe { DeviceSlice::from_raw(&device, 0x1000, 256) };
    assert!(matches!(ipc::export(host), Err(IpcError::NotExportable { address: 0x1000, .. })));
    #[cfg(unix)]
    if shm_cuda::VmmBuffer::is_supported(&device) {
        let virtual_memory = shm_cuda::VmmBuffer::new(&device, 4096).unwrap();
        let refused = ipc::export(virtual_memory.as_slice()).unwrap_err();
        assert!(refused.to_string().contains("copy it into a DeviceBuffer"), "{refused}");
    }
    let pinned = shm_cuda::PinnedBuffer::new(&device, 4096).unwrap();
    // SAFETY: mapped for the device, and only exported.
    let slice = unsafe { DeviceSlice::from_raw(&device, pinned.as_mut_ptr() as u64, 256) };
    assert!(matches!(ipc::export(slice), Err(IpcError::NotExportable { .. })));
}

#[test]
fn an_import_cannot_be_exported_further() {
    const TEST: &str = "an_import_cannot_be_exported_further";
    let Some(device) = simulation::device() else { return };
    if let Some(given) = given() {
        let import = ipc::import(&device, &given).unwrap();
        say(&ipc::export(import.as_slice()).unwrap_err().to_string());
        return;
    }
    let buffer = DeviceBuffer::new(&device, 4096).unwrap();
    let said = ask(TEST, &ipc::export(buffer.as_slice()).unwrap());
    assert!(said.contains("only that process can export"), "{said}");
}

#[test]
fn a_dead_exporters_memory_is_refused() {
    const TEST: &str = "a_dead_exporters_memory_is_refused";
    let Some(device) = simulation::device() else { return };
    if role().is_some() {
        let buffer = DeviceBuffer::new(&device, 4096).unwrap();
        say(&hex(&ipc::export(buffer.as_slice()).unwrap().to_bytes()));
        hear();
        return;
    }
    let mut child = Peer::playing(TEST, "export", "", &[]);
    let descriptor = MemoryDescriptor::from_bytes(&unhex(&child.hear())).unwrap();
    child.kill();
    match ipc::import(&device, &descriptor) {
        Err(IpcError::Open { pid, .. }) => assert_eq!(pid, descriptor.pid()),
        outcome => panic!("{outcome:?}"),
    }
    assert_eq!(ipc::imports_open(), 0);
}

#[test]
fn damaged_descriptors_name_the_field() {
    let Some(device) = simulation::device() else { return };
    let buffer = DeviceBuffer::new(&device, 4096).unwrap();
    let good = ipc::export(buffer.as_slice()).unwrap().to_bytes();
    assert!(MemoryDescriptor::from_bytes(&good).is_ok());
    assert_eq!(MemoryDescriptor::from_bytes(&good[..255]).unwrap_err().field, "length");
    for at in 0..good.len() {
        let mut bad = good;
        bad[at] ^= 0x40;
        let field = MemoryDescriptor::from_bytes(&bad).unwrap_err().field;
        let expected = match at {
            0..8 => "magic",
            8..12 => "version",
            _ => "checksum",
        };
        assert_eq!(field, expected, "byte {at}");
    }
}

#[test]
fn devices_that_do_not_exist_are_named() {
    let Some(device) = simulation::device() else { return };
    let count = Device::count().unwrap();
    let missing = Device::open(count).unwrap_err();
    assert_eq!(missing, DeviceError::NoSuchDevice { ordinal: count, count });
    let uuid = DeviceUuid([0xAB; 16]);
    assert_eq!(Device::by_uuid(uuid).unwrap_err(), DeviceError::NoSuchUuid { uuid });
    assert_eq!(Device::by_uuid(device.uuid()).unwrap(), device);
}

#[test]
fn too_much_memory_is_refused_and_nothing_is_left() {
    let Some(device) = simulation::device() else { return };
    let total = device.memory().unwrap().total;
    let refused = DeviceBuffer::new(&device, total * 2).unwrap_err();
    assert_eq!((refused.kind(), refused.code()), (CudaErrorKind::OutOfMemory, 2));
    let nothing = DeviceBuffer::new(&device, 0).unwrap_err();
    assert_eq!(nothing.kind(), CudaErrorKind::InvalidValue);
    assert!(DeviceBuffer::new(&device, 4096).is_ok());
}

#[test]
fn events_order_streams_and_cross_processes() {
    const TEST: &str = "events_order_streams_and_cross_processes";
    let Some(device) = simulation::device() else { return };
    if let Some((_, handle)) = role() {
        let handle = shm_cuda::IpcEventHandle(unhex(&handle).try_into().unwrap());
        let event = Event::import(&device, handle).unwrap();
        event.synchronize().unwrap();
        say(&event.is_reached().unwrap().to_string());
        return;
    }
    let plain = Event::new(&device).unwrap();
    assert!(plain.export().is_err(), "only interprocess events have handles");
    let stream = CudaStream::new(&device).unwrap();
    let event = Event::interprocess(&device).unwrap();
    assert!(event.is_reached().unwrap(), "never recorded counts as reached");
    event.record(stream.as_ref()).unwrap();
    let mut child = Peer::playing(TEST, "wait", &hex(&event.export().unwrap().0), &[]);
    assert_eq!(child.hear(), "true");
    assert!(child.wait().success());
}

#[test]
fn the_driver_knows_what_lies_at_an_address() {
    let Some(device) = simulation::device() else { return };
    let buffer = DeviceBuffer::new(&device, 10_000).unwrap();
    let info = PointerInfo::of(buffer.address() + 9_999).unwrap();
    assert!(info.on_device && !info.managed && info.legacy_ipc);
    assert_eq!((info.base, info.ordinal), (buffer.address(), device.ordinal()));
    assert!(info.len >= 10_000);
    let (address, id) = (buffer.address(), info.buffer_id);
    drop(buffer);
    if !simulation::is_real() {
        assert!(PointerInfo::of(address).map_or(true, |info| info.buffer_id != id));
    }
}

#[test]
fn work_of_a_host_function_comes_in_stream_order() {
    let Some(device) = simulation::device() else { return };
    simulation::delay_us(2_000, 5_000);
    let stream = CudaStream::new(&device).unwrap();
    let (one, two) =
        (DeviceBuffer::new(&device, 4096).unwrap(), DeviceBuffer::new(&device, 4096).unwrap());
    one.as_slice().fill(3, stream.as_ref()).unwrap();
    two.as_slice().copy_from(one.as_slice(), stream.as_ref()).unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    stream.as_ref().run_on_host(&device, move || sender.send(()).unwrap()).unwrap();
    receiver.recv().unwrap();
    // The copy is done without any further wait.
    assert!(stream.as_ref().is_done(&device).is_ok());
    let other = CudaStream::new(&device).unwrap();
    assert_eq!(two.as_slice().to_vec(other.as_ref()).unwrap(), [3; 4096]);
    simulation::delay_us(0, 200);
}

#[test]
fn a_thread_gets_its_own_context_back() {
    let Some(device) = simulation::device() else { return };
    let Ok(second) = Device::open(1) else { return };
    let outer = second.make_current().unwrap();
    let buffer = DeviceBuffer::new(&device, 4096).unwrap();
    assert_eq!(PointerInfo::of(buffer.address()).unwrap().ordinal, device.ordinal());
    // Allocated through cust, in whatever context is current: still the second device's.
    let through_cust = cust::memory::DeviceBuffer::<u8>::zeroed(16).unwrap();
    let address = through_cust.as_device_ptr().as_raw();
    assert_eq!(PointerInfo::of(address).unwrap().ordinal, second.ordinal());
    drop(through_cust);
    drop(outer);
    std::thread::spawn(move || drop(buffer)).join().unwrap();
}

#[cfg(unix)]
#[test]
fn virtual_memory_outlives_its_exporter_and_can_be_read_only() {
    use shm_cuda::{Permission, VmmBuffer};
    use std::os::fd::AsFd;
    let Some(device) = simulation::device() else { return };
    if !VmmBuffer::is_supported(&device) {
        println!("SKIPPED: the device's memory cannot be sent as a file descriptor");
        return;
    }
    let stream = CudaStream::new(&device).unwrap();
    let exporter = VmmBuffer::new(&device, 1 << 20).unwrap();
    exporter.as_slice().fill(9, stream.as_ref()).unwrap();
    stream.synchronize().unwrap();
    let descriptor = exporter.export().unwrap();
    let reader =
        VmmBuffer::import(&device, descriptor.as_fd(), 1 << 20, Permission::ReadOnly).unwrap();
    drop((exporter, descriptor));
    let found = reader.as_slice().slice(0..4096).to_vec(stream.as_ref()).unwrap();
    assert_eq!(found, [9; 4096]);
    let not_ours = std::fs::File::open("/dev/null").unwrap();
    let refused = VmmBuffer::import(&device, not_ours.as_fd(), 4096, Permission::ReadOnly);
    assert!(refused.is_err());
}

#[test]
fn nothing_is_left_open_at_the_end() {
    const TEST: &str = "nothing_is_left_open_at_the_end";
    let Some(device) = simulation::device() else { return };
    if simulation::is_real() {
        return;
    }
    if let Some(descriptor) = given() {
        for _ in 0..100 {
            let import = ipc::import(&device, &descriptor).unwrap();
            let stream = CudaStream::new(&device).unwrap();
            let event = Event::new(&device).unwrap();
            let copy = DeviceBuffer::new(&device, import.len()).unwrap();
            copy.as_slice().copy_from(import.as_slice(), stream.as_ref()).unwrap();
            event.record(stream.as_ref()).unwrap();
            event.synchronize().unwrap();
        }
        let counts =
            ["allocations", "imports", "streams", "events", "registered"].map(simulation::count);
        say(&format!("{counts:?} of {}", simulation::count("import_opens_total")));
        return;
    }
    let buffer = DeviceBuffer::new(&device, 4096).unwrap();
    let said = ask(TEST, &ipc::export(buffer.as_slice()).unwrap());
    assert_eq!(said, "[0, 0, 0, 0, 0] of 100");
    simulation::assert_clean();
}
