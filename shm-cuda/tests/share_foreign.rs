//! Memory that another library allocated in this process, sent to another process or refused by name.
#![cfg(target_os = "linux")]

mod peer;
mod share_stage;
mod simulation;

use peer::unhex;
use share_stage::{LEN, fill, open_descriptors, pattern, play, read, reader, send, start};
use shm_core::Dtype;
use shm_cuda::cust::sys;
use shm_cuda::ipc::{self, IpcError};
use shm_cuda::share::wire::{decode_value, encode_value};
use shm_cuda::share::{Access, DeviceStorage, Limits, Passage, Route, Storage, Tensor, Value};
use shm_cuda::{Device, DeviceBuffer, DeviceSlice, PinnedBuffer, VmmBuffer};
use std::any::Any;
use std::sync::Arc;

const UNIT: usize = 2 << 20;

#[test]
fn memory_of_another_library_is_sent_as_the_part_that_it_is() {
    play(
        "memory_of_another_library_is_sent_as_the_part_that_it_is",
        |device| {
            let plain = Arc::new(DeviceBuffer::new(device, 1 << 20).unwrap());
            let segment = Arc::new(VmmBuffer::new(device, 3 * UNIT).unwrap());
            let at = UNIT + 512;
            for (route, whole, owner) in [
                (Route::Legacy, plain.as_slice(), plain.clone() as Arc<dyn Any + Send + Sync>),
                (Route::Vmm, segment.as_slice(), segment.clone()),
            ] {
                let start_of_it = if route == Route::Vmm { at } else { 4096 };
                let slice = whole.slice(start_of_it..start_of_it + LEN);
                let owned = Arc::downgrade(&owner);
                // SAFETY: inside of the allocation that the owner is.
                let storage = unsafe { DeviceStorage::foreign(slice, owner) }.unwrap();
                assert_eq!((storage.route(), storage.len()), (route, LEN));
                assert_eq!(storage.as_slice().address(), slice.address());
                assert!(!storage.survives_owner(), "its owner may use it again");
                fill(&storage, &pattern(8));
                if route == Route::Vmm {
                    let (allocation, offset, device) = (3 * UNIT, at, device.uuid());
                    let part = Passage::Part { device, allocation, offset, len: LEN };
                    assert_eq!(storage.passage().unwrap().0, part);
                }
                let users = owned.strong_count();
                let (mut process, socket) = start("reader");
                send(&socket, &storage);
                assert_eq!(unhex(&process.hear()), pattern(8), "{route}");
                drop(storage);
                // The owner is kept for the importer where freeing would pull the memory from under it.
                let kept = usize::from(route == Route::Vmm);
                assert_eq!(owned.strong_count(), users - kept, "{route}");
                process.tell("go on");
                assert_eq!(unhex(&process.hear()), pattern(8));
                assert_eq!(process.hear(), "nothing left");
                ipc::collect();
                assert_eq!(owned.strong_count(), users - 1, "{route}");
            }
            // SAFETY: no bytes.
            let nothing = unsafe { DeviceSlice::from_raw(device, 0, 0) };
            // SAFETY: as above.
            assert!(unsafe { DeviceStorage::foreign(nothing, Arc::new(())) }.is_ok());
        },
        &[("reader", reader)],
    );
}

#[test]
fn a_value_carries_tensors_in_a_part_of_somebody_elses_memory() {
    play(
        "a_value_carries_tensors_in_a_part_of_somebody_elses_memory",
        |device| {
            let plain = Arc::new(DeviceBuffer::new(device, 1 << 20).unwrap());
            let segment = Arc::new(VmmBuffer::new(device, 3 * UNIT).unwrap());
            let (one, two) = (plain.as_slice(), segment.as_slice());
            // SAFETY: inside of the allocations that the owners are.
            let storages = unsafe {
                [
                    DeviceStorage::foreign(one.slice(4096..4096 + LEN), plain.clone()).unwrap(),
                    DeviceStorage::foreign(two.slice(UNIT..UNIT + LEN), segment.clone()).unwrap(),
                ]
            };
            let tensors = storages.map(|storage| {
                fill(&storage, &pattern(9));
                let storage = Storage::Device(Arc::new(storage));
                Value::Tensor(Tensor::contiguous(storage, Dtype::U8, &[1000], 500).unwrap())
            });
            let limits = Limits::default();
            let encoded = encode_value(&Value::List(tensors.into()), &limits).unwrap();
            assert!(!encoded.survives_owner(), "a lease keeps it");
            let descriptors = encoded.storages.iter().filter_map(|storage| match storage {
                Storage::Device(memory) => memory.passage().unwrap().1,
                Storage::Host(_) => None,
            });
            let descriptors = descriptors.map(|one| one.try_clone_to_owned().unwrap()).collect();
            let decoded = decode_value(&encoded.body, descriptors, &limits, Access::Read).unwrap();
            let Value::List(found) = decoded else { panic!("{decoded:?}") };
            assert_eq!(found.len(), 2);
            for value in &found {
                let Value::Tensor(tensor) = value else { panic!("{value:?}") };
                let Storage::Device(memory) = tensor.storage() else { panic!("{value:?}") };
                assert_eq!((tensor.offset(), memory.len()), (500, LEN));
                assert_eq!(read(memory), pattern(9), "{}", memory.route());
            }
        },
        &[],
    );
}

#[test]
fn memory_that_cannot_be_given_away_says_what_it_is() {
    play(
        "memory_that_cannot_be_given_away_says_what_it_is",
        |device| {
            let _current = device.make_current().unwrap();
            let buffer = DeviceBuffer::new(device, 4096).unwrap();
            let pinned = PinnedBuffer::new(device, 4096).unwrap();
            let (mut pooled, mut managed) = (0, 0);
            // SAFETY: a context is current, and the addresses are writable.
            unsafe {
                let made = sys::cuMemAllocAsync(&mut pooled, 4096, std::ptr::null_mut());
                assert_eq!(made, sys::CUresult::CUDA_SUCCESS);
                let made = sys::cuMemAllocManaged(&mut managed, 4096, 1);
                assert_eq!(made, sys::CUresult::CUDA_SUCCESS);
            }
            let (private, pair) = (Mapped::new(device, 1, 0), Mapped::new(device, 2, 1));
            let before = open_descriptors();
            for (address, len, what) in [
                (0x1000, 4096, "not known to the driver"),
                (pinned.as_mut_ptr() as u64, 4096, "host memory"),
                (managed, 4096, "managed memory"),
                (pooled, 4096, "stream-ordered pool"),
                (private.0, 4096, "of a kind that has no handles"),
                (pair.0, UNIT + 1, "several allocations"),
                (buffer.address(), 4097, "longer than its allocation"),
            ] {
                // SAFETY: only probed, never touched.
                let slice = unsafe { DeviceSlice::from_raw(device, address, len) };
                // SAFETY: as above.
                let refused = unsafe { DeviceStorage::foreign(slice, Arc::new(())) }.unwrap_err();
                let text = refused.to_string();
                assert!(matches!(refused, IpcError::NotShareable { .. }), "{text}");
                assert!(text.contains(what) && text.contains("DeviceStorage::allocate"), "{text}");
            }
            assert_eq!(open_descriptors(), before);
            // SAFETY: allocated above, freed once.
            unsafe {
                let _ = (sys::cuMemFree_v2(managed), sys::cuMemFree_v2(pooled));
            }
        },
        &[],
    );
}

/// Virtual memory as another library may have made it: several allocations side by side.
struct Mapped(u64, usize);

impl Mapped {
    fn new(device: &Device, count: usize, handle_types: u32) -> Mapped {
        let ok = |code| assert_eq!(code, sys::CUresult::CUDA_SUCCESS);
        let (mut base, mut handle) = (0, 0);
        // SAFETY: plain numbers, of which nil is one of each, and a null pointer; what is written to is
        // writable; the ranges are those that were reserved.
        unsafe {
            let mut properties: sys::CUmemAllocationProp = std::mem::zeroed();
            properties.type_ = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
            properties.location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
            properties.location.id = device.ordinal() as i32;
            if handle_types == 1 {
                properties.requestedHandleTypes =
                    sys::CUmemAllocationHandleType::CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
            }
            ok(sys::cuMemAddressReserve(&mut base, count * UNIT, 0, 0, 0));
            for index in 0..count {
                ok(sys::cuMemCreate(&mut handle, UNIT, &properties, 0));
                ok(sys::cuMemMap(base + (index * UNIT) as u64, UNIT, 0, handle, 0));
                ok(sys::cuMemRelease(handle));
            }
        }
        Mapped(base, count * UNIT)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped and reserved by `new`, taken back once.
        unsafe {
            let _ = (sys::cuMemUnmap(self.0, self.1), sys::cuMemAddressFree(self.0, self.1));
        }
    }
}
