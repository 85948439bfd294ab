//! Device storages across processes: both ways of sending, deaths at the wrong moment, and what is
//! refused. Each test runs in a process of its own, which has to leave nothing
//! behind.
#![cfg(target_os = "linux")]

mod peer;
mod share_stage;
mod simulation;

use peer::{Peer, hear, role, say, unhex};
use share_stage::{
    LEN, fill, filled, open_descriptors, pattern, play, read, reader, receive, received, send,
    socket, start,
};
use shm_cuda::ipc::{self, IpcError};
use shm_cuda::share::{DeviceStorage, Passage, Route};
use shm_cuda::{CudaStream, Device, DeviceError, DeviceUuid, DriverError, Permission, VmmBuffer};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::{Arc, Mutex};

const UNIT: usize = 2 << 20;

/// Sends memory, and lives until it is told to go on.
fn owner_of(device: &Device, route: Route) {
    let storage = filled(device, route, 5);
    send(&socket(), &storage);
    hear();
}

fn vmm_owner(device: &Device) {
    owner_of(device, Route::Vmm);
}

fn legacy_owner(device: &Device) {
    owner_of(device, Route::Legacy);
}

#[test]
fn another_process_reads_the_same_bytes_by_either_way() {
    play(
        "another_process_reads_the_same_bytes_by_either_way",
        |device| {
            let usual = DeviceStorage::allocate(device, LEN).unwrap();
            let vmm = VmmBuffer::is_supported(device);
            assert_eq!(usual.route(), if vmm { Route::Vmm } else { Route::Legacy });
            assert_eq!(
                (Route::Vmm.to_string(), Route::Legacy.to_string()),
                ("vmm".into(), "legacy".into())
            );
            for (route, survives) in [(Route::Vmm, true), (Route::Legacy, false)] {
                let storage = filled(device, route, 1);
                assert_eq!((storage.route(), storage.len()), (route, LEN));
                assert_eq!(storage.survives_owner(), survives);
                let (mut process, socket) = start("reader");
                send(&socket, &storage);
                assert_eq!(unhex(&process.hear()), pattern(1), "{route}");
                fill(&storage, &pattern(2));
                process.tell("go on");
                assert_eq!(unhex(&process.hear()), pattern(2), "{route}: one memory");
                assert_eq!(process.hear(), "nothing left");
                assert!(process.wait().success());
            }
        },
        &[("reader", reader)],
    );
}

#[test]
fn what_is_imported_for_writing_is_written_in_the_owners_memory() {
    play(
        "what_is_imported_for_writing_is_written_in_the_owners_memory",
        |device| {
            for route in [Route::Vmm, Route::Legacy] {
                let storage = filled(device, route, 1);
                let (mut process, socket) = start("writer");
                send(&socket, &storage);
                assert_eq!(process.hear(), "nothing left");
                assert_eq!(read(&storage), pattern(77), "{route}");
            }
        },
        &[("writer", |_| {
            let (passage, descriptor) = receive(&socket());
            let storage = DeviceStorage::import_writable(&passage, descriptor).unwrap();
            assert_eq!(storage.permission(), Permission::ReadWrite);
            fill(&storage, &pattern(77));
        })],
    );
}

#[test]
fn what_is_imported_for_reading_is_not_written() {
    play(
        "what_is_imported_for_reading_is_not_written",
        |device| {
            let storage = filled(device, Route::Vmm, 1);
            let (mut process, socket) = start("writer");
            send(&socket, &storage);
            assert_eq!(process.hear(), "refused");
            assert_eq!(read(&storage), pattern(1));
        },
        &[("writer", |_| {
            let (passage, descriptor) = receive(&socket());
            let storage = DeviceStorage::import(&passage, descriptor).unwrap();
            assert_eq!(storage.permission(), Permission::ReadOnly);
            let stream = CudaStream::new(storage.device()).unwrap();
            let outcome = storage.as_slice().fill(9, stream.as_ref());
            assert!(outcome.and_then(|()| storage.settle()).is_err(), "it was written");
            say("refused");
            // Its context is lost: there is nothing more to check.
            std::process::exit(0);
        })],
    );
}

#[test]
fn a_process_gets_its_own_memory_back() {
    play(
        "a_process_gets_its_own_memory_back",
        |device| {
            let storage = filled(device, Route::Legacy, 3);
            let (passage, none) = received(&storage);
            let import = DeviceStorage::import(&passage, none).unwrap();
            assert_eq!(import.as_slice().address(), storage.as_slice().address());
            assert_eq!((ipc::imports_open(), simulation::count("import_opens_total")), (0, 0));
            let Passage::Legacy(whole) = &passage else { panic!("{passage:?}") };
            let part = Passage::Legacy(Box::new(whole.slice(512, 100)));
            let part = DeviceStorage::import(&part, None).unwrap();
            drop((storage, import));
            assert_eq!(read(&part), pattern(3)[512..612], "what is imported is kept");
            let (again, _) = received(&part);
            assert_eq!(read(&DeviceStorage::import(&again, None).unwrap()), pattern(3)[512..612]);
            drop(part);
            let outcome = DeviceStorage::import(&passage, None);
            assert!(matches!(outcome, Err(IpcError::Freed { .. })), "{outcome:?}");

            let storage = filled(device, Route::Vmm, 4);
            let (passage, descriptor) = received(&storage);
            let import = DeviceStorage::import_writable(&passage, descriptor).unwrap();
            fill(&import, &pattern(5));
            assert_eq!(read(&storage), pattern(5), "one memory");
            drop(storage);
            assert_eq!(read(&import), pattern(5));
        },
        &[],
    );
}

#[test]
fn virtual_memory_outlives_an_owner_that_was_killed() {
    play(
        "virtual_memory_outlives_an_owner_that_was_killed",
        |_| {
            let (mut process, socket) = start("owner");
            let (passage, descriptor) = receive(&socket);
            let early = DeviceStorage::import(&passage, descriptor).unwrap();
            let (_, kept) = received(&early);
            process.kill();
            assert_eq!(read(&early), pattern(5));
            let late = DeviceStorage::import(&passage, kept).unwrap();
            drop(early);
            assert_eq!(read(&late), pattern(5), "a descriptor is enough");
        },
        &[("owner", vmm_owner)],
    );
}

#[test]
fn a_legacy_handle_of_a_dead_process_is_refused_and_what_is_mapped_closes() {
    play(
        "a_legacy_handle_of_a_dead_process_is_refused_and_what_is_mapped_closes",
        |_| {
            let (mut process, socket) = start("owner");
            let (passage, none) = receive(&socket);
            let early = DeviceStorage::import(&passage, none).unwrap();
            assert!(!early.survives_owner());
            process.kill();
            if !simulation::is_real() {
                assert_eq!(read(&early), pattern(5), "the simulation keeps what is mapped");
            }
            let outcome = DeviceStorage::import(&passage, None).unwrap_err();
            assert_eq!(outcome, IpcError::Released { pid: process.id() });
            drop(early);
        },
        &[("owner", legacy_owner)],
    );
}

#[test]
fn legacy_memory_is_freed_when_the_last_importer_is_done_or_gone() {
    play(
        "legacy_memory_is_freed_when_the_last_importer_is_done_or_gone",
        |device| {
            let storage = filled(device, Route::Legacy, 6);
            let ((mut one, to_one), (mut two, to_two)) = (start("reader"), start("reader"));
            let (mut late, to_late) = start("late");
            send(&to_one, &storage);
            send(&to_two, &storage);
            send(&to_late, &storage);
            assert_eq!((unhex(&one.hear()), unhex(&two.hear())), (pattern(6), pattern(6)));
            assert_eq!(late.hear(), "received");
            drop(storage);
            assert_eq!((ipc::collect().kept, ipc::collect().freed), (LEN, 0));
            one.tell("go on");
            assert_eq!(unhex(&one.hear()), pattern(6), "not freed under it");
            assert_eq!(one.hear(), "nothing left");
            assert_eq!(ipc::collect().kept, LEN, "there is another one");
            two.kill();
            assert_eq!((ipc::collect().freed, ipc::collect().kept), (LEN, 0));
            late.tell("import");
            assert_eq!(late.hear(), format!("released by {}", std::process::id()));
        },
        &[
            ("reader", reader),
            ("late", |_| {
                let (passage, _) = receive(&socket());
                say("received");
                hear();
                match DeviceStorage::import(&passage, None) {
                    Err(IpcError::Released { pid }) => say(&format!("released by {pid}")),
                    outcome => panic!("{outcome:?}"),
                }
            }),
        ],
    );
}

#[test]
fn what_does_not_fit_together_is_refused_and_leaves_nothing() {
    play(
        "what_does_not_fit_together_is_refused_and_leaves_nothing",
        |device| {
            let vmm = filled(device, Route::Vmm, 1);
            let legacy = filled(device, Route::Legacy, 1);
            let uuid = device.uuid();
            let (good, _) = received(&vmm);
            let (handle, _) = received(&legacy);
            let before = open_descriptors();
            let of_vmm = || received(&vmm).1;
            let received_field =
                |passage: &Passage, descriptor| match DeviceStorage::import(passage, descriptor) {
                    Err(IpcError::Received { field, .. }) => field,
                    outcome => panic!("{outcome:?}"),
                };
            assert_eq!(received_field(&good, None), "descriptors");
            assert_eq!(received_field(&handle, of_vmm()), "descriptors");
            let empty = Passage::Vmm { device: uuid, len: 0 };
            assert_eq!(received_field(&empty, of_vmm()), "length");
            for (offset, len) in [(UNIT, 1), (UNIT - 1, 2), (usize::MAX, 2), (0, UNIT + 1)] {
                let part = Passage::Part { device: uuid, allocation: UNIT, offset, len };
                assert_eq!(received_field(&part, of_vmm()), "range");
            }
            let strange = DeviceUuid([7; 16]);
            let nowhere = Passage::Vmm { device: strange, len: LEN };
            assert_eq!(
                DeviceStorage::import(&nowhere, of_vmm()).unwrap_err(),
                IpcError::Device(DeviceError::NoSuchUuid { uuid: strange })
            );
            if let Ok(other) = Device::open(1) {
                let elsewhere = Passage::Vmm { device: other.uuid(), len: LEN };
                assert_eq!(received_field(&elsewhere, of_vmm()), "device");
            }
            for len in [UNIT + 1, 1 << 60, usize::MAX] {
                let long = Passage::Vmm { device: uuid, len };
                let outcome = DeviceStorage::import(&long, of_vmm());
                assert!(matches!(outcome, Err(IpcError::Unmappable { .. })), "{outcome:?}");
            }
            let memory =
                rustix::fs::memfd_create("other", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            rustix::fs::ftruncate(&memory, 1 << 22).unwrap();
            let null = std::fs::File::open("/dev/null").unwrap();
            let (pipe, _other_end) = std::io::pipe().unwrap();
            for not_ours in [memory, null.into(), pipe.into()] {
                let outcome = DeviceStorage::import(&good, Some(not_ours));
                assert!(matches!(outcome, Err(IpcError::Unmappable { .. })), "{outcome:?}");
            }
            drop(_other_end);
            assert_eq!(open_descriptors(), before, "descriptors are left");
            let counts = ["mappings", "reservations", "vmm_handles", "allocations"];
            let expected = if simulation::is_real() { [0; 4] } else { [1; 4] };
            assert_eq!(counts.map(simulation::count), expected);
        },
        &[],
    );
}

#[test]
fn a_guard_goes_when_the_mapping_is_closed() {
    /// Notes what is still mapped when it is dropped.
    struct Witness(Arc<Mutex<Option<u64>>>);
    impl Drop for Witness {
        fn drop(&mut self) {
            let open = ipc::imports_open() as u64 + simulation::count("mappings");
            *self.0.lock().unwrap() = Some(open);
        }
    }
    play(
        "a_guard_goes_when_the_mapping_is_closed",
        |_| {
            for role_of_it in ["vmm owner", "legacy owner"] {
                let (mut process, socket) = start(role_of_it);
                let (passage, descriptor) = receive(&socket);
                let storage = DeviceStorage::import(&passage, descriptor).unwrap();
                let noted = Arc::default();
                storage.guard(Box::new(Witness(Arc::clone(&noted))));
                assert!(!storage.survives_owner(), "somebody promised to keep it");
                assert_eq!(*noted.lock().unwrap(), None);
                drop(storage);
                assert_eq!(*noted.lock().unwrap(), Some(0), "{role_of_it}");
                process.tell("go on");
                assert_eq!(process.hear(), "nothing left");
            }
        },
        &[("vmm owner", vmm_owner), ("legacy owner", legacy_owner)],
    );
}

#[test]
fn imports_are_sent_on_to_a_third_process() {
    play(
        "imports_are_sent_on_to_a_third_process",
        |_| {
            for role_of_it in ["vmm owner", "legacy owner"] {
                let (mut owner, from_owner) = start(role_of_it);
                let (passage, descriptor) = receive(&from_owner);
                let storage = DeviceStorage::import(&passage, descriptor).unwrap();
                let (mut third, to_third) = start("reader");
                send(&to_third, &storage);
                assert_eq!(unhex(&third.hear()), pattern(5), "{role_of_it}");
                drop(storage);
                third.tell("go on");
                assert_eq!(unhex(&third.hear()), pattern(5));
                assert_eq!(third.hear(), "nothing left");
                owner.tell("go on");
                assert_eq!(owner.hear(), "nothing left");
            }
        },
        &[("vmm owner", vmm_owner), ("legacy owner", legacy_owner), ("reader", reader)],
    );
}

#[test]
fn it_is_exported_once_however_many_ask() {
    play(
        "it_is_exported_once_however_many_ask",
        |device| {
            for route in [Route::Vmm, Route::Legacy] {
                let storage = filled(device, route, 1);
                let before = open_descriptors();
                let told: Vec<(Passage, Option<i32>)> = std::thread::scope(|scope| {
                    let ask = || {
                        let (passage, descriptor) = storage.passage().unwrap();
                        (passage, descriptor.map(|one| one.as_raw_fd()))
                    };
                    let threads: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
                    threads.into_iter().map(|thread| thread.join().unwrap()).collect()
                });
                assert!(told.windows(2).all(|pair| pair[0] == pair[1]), "{told:?}");
                assert_eq!(open_descriptors(), before + 1, "{route}");
                drop(storage);
            }
        },
        &[],
    );
}

#[test]
fn settled_means_that_queued_work_is_done() {
    play(
        "settled_means_that_queued_work_is_done",
        |device| {
            simulation::delay_us(5_000, 10_000);
            let storage = DeviceStorage::allocate(device, LEN).unwrap();
            let stream = CudaStream::new(device).unwrap();
            storage.as_slice().fill(1, stream.as_ref()).unwrap();
            storage.as_slice().slice(0..10).fill(2, stream.as_ref()).unwrap();
            storage.settle().unwrap();
            assert!(stream.as_ref().is_done(device).unwrap());
            let zero = DeviceStorage::allocate(device, 0).unwrap();
            assert_eq!((zero.len(), zero.is_empty()), (1, false));
        },
        &[],
    );
}

#[test]
fn without_a_driver_it_is_said() {
    let test = "without_a_driver_it_is_said";
    if role().is_none() {
        let nowhere = ("SHM_CUDA_DRIVER", "/nonexistent/libcuda.so.1");
        let mut process = Peer::playing(test, "main", "", &[nowhere]);
        assert_eq!(process.hear(), "said");
        return;
    }
    let file = std::fs::File::open("/dev/null").unwrap();
    let passage = Passage::Vmm { device: DeviceUuid([1; 16]), len: 1 };
    let outcome = DeviceStorage::import(&passage, Some(file.as_fd().try_clone_to_owned().unwrap()));
    match outcome {
        Err(IpcError::Device(DeviceError::Driver(DriverError::NotFound { .. }))) => say("said"),
        outcome => panic!("{outcome:?}"),
    }
}
