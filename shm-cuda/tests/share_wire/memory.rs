//! Host memory: what is made, what is sealed, what is refused.

use rustix::fs::{MemfdFlags, SealFlags};
use shm_cuda::share::{Access, HostMemory, MemoryError};
use std::os::fd::{AsFd, OwnedFd};

fn duplicate(memory: &HostMemory) -> OwnedFd {
    memory.descriptor().try_clone_to_owned().unwrap()
}

fn memfd(len: u64, seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let file = rustix::fs::memfd_create(c"test", flags).unwrap();
    rustix::fs::ftruncate(&file, len).unwrap();
    rustix::fs::fcntl_add_seals(&file, seals).unwrap();
    file
}

/// Field and what was found of a descriptor that must be refused.
fn refused(descriptor: OwnedFd, len: usize, access: Access) -> (&'static str, String) {
    match HostMemory::import(descriptor, len, access).unwrap_err() {
        MemoryError::Descriptor { field, found, .. } => (field, found),
        other => panic!("expected a refused descriptor, found {other:?}"),
    }
}

/// Permissions of the mapping that holds `address`.
fn permissions(address: *const u8) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| {
        let (range, _) = line.split_once(' ').unwrap();
        let (start, end) = range.split_once('-').unwrap();
        let bound = |text| usize::from_str_radix(text, 16).unwrap();
        (bound(start)..bound(end)).contains(&address.addr())
    });
    line.expect("it is mapped").split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn memory_is_zeroed_shared_and_mapped_for_reading() {
    for len in [1, 4096, 5000, (2 << 20) + 3] {
        let memory = HostMemory::allocate(len).unwrap();
        let mut bytes = vec![1; len];
        memory.read(0, &mut bytes);
        assert!(bytes.iter().all(|&byte| byte == 0));
        let reader = HostMemory::import(duplicate(&memory), len, Access::Read).unwrap();
        memory.write(len - 1, &[42]);
        let mut last = [0];
        reader.read(len - 1, &mut last);
        assert_eq!(last, [42]);
        assert_eq!(reader.identity(), memory.identity());
        assert_eq!(permissions(memory.as_ptr()), "rw-s");
        assert_eq!(permissions(reader.as_ptr()), "r--s");
        assert!((reader.access(), reader.len()) == (Access::Read, len));
    }
}

#[test]
fn no_bytes_need_no_mapping() {
    let memory = HostMemory::allocate(0).unwrap();
    memory.seal().unwrap();
    let reader = HostMemory::import(duplicate(&memory), 0, Access::Read).unwrap();
    reader.read(0, &mut []);
    memory.write(0, &[]);
    assert!(reader.is_empty() && reader.is_sealed());
    assert_eq!(reader.identity(), memory.identity());
}

#[test]
fn pages_are_there_before_they_are_written() {
    let memory = HostMemory::allocate(3 << 20).unwrap();
    let status = rustix::fs::fstat(memory.descriptor()).unwrap();
    assert!(status.st_blocks as u64 * 512 >= 3 << 20, "{} blocks", status.st_blocks);
    // Nobody can change the size of it.
    assert!(rustix::fs::ftruncate(memory.descriptor(), 1 << 20).is_err());
    assert!(rustix::fs::ftruncate(memory.descriptor(), 4 << 20).is_err());
}

#[test]
fn sealed_memory_is_never_written_by_others() {
    let memory = HostMemory::allocate(100).unwrap();
    let writer = HostMemory::import(duplicate(&memory), 100, Access::Write).unwrap();
    writer.write(3, &[7]);
    assert!(!memory.is_sealed());
    memory.seal().unwrap();
    memory.seal().unwrap();
    assert!(memory.is_sealed());
    let (field, _) = refused(duplicate(&memory), 100, Access::Write);
    assert_eq!(field, "seals");
    assert!(rustix::io::pwrite(memory.descriptor(), &[1], 0).is_err());
    // Whoever had it mapped keeps what it had.
    memory.write(4, &[8]);
    let reader = HostMemory::import(duplicate(&memory), 100, Access::Read).unwrap();
    let mut bytes = [0; 2];
    reader.read(3, &mut bytes);
    assert_eq!(bytes, [7, 8]);
}

#[test]
fn descriptors_that_could_fault_are_refused() {
    let len = 8192;
    let cut = memfd(len, SealFlags::empty());
    assert_eq!(refused(cut, 8192, Access::Read).0, "seals");
    let grow_only = memfd(len, SealFlags::GROW);
    assert_eq!(refused(grow_only, 8192, Access::Read).0, "seals");
    let short = memfd(len, SealFlags::SHRINK);
    assert_eq!(refused(short, 8193, Access::Read), ("size", "8192 bytes".to_owned()));
    let plain: OwnedFd = tempfile::tempfile().unwrap().into();
    assert_eq!(refused(plain, 0, Access::Read).0, "seals");
    let (pipe, _other) = std::io::pipe().unwrap();
    assert_eq!(refused(pipe.into(), 0, Access::Read).0, "seals");
    let null: OwnedFd = std::fs::File::open("/dev/null").unwrap().into();
    assert_eq!(refused(null, 0, Access::Read).0, "seals");
    let shm = tempfile::tempfile_in("/dev/shm").unwrap();
    assert_eq!(refused(shm.into(), 0, Access::Read).0, "seals");
    // A part of what is there may be mapped, by any lengths.
    let fine = memfd(len, SealFlags::SHRINK);
    assert_eq!(HostMemory::import(fine, 5000, Access::Write).unwrap().len(), 5000);
    assert_eq!(refused(memfd(0, SealFlags::SHRINK), usize::MAX, Access::Read).0, "size");
}

#[test]
fn a_mapping_outlives_every_descriptor_of_its_owner() {
    let memory = HostMemory::allocate(10).unwrap();
    memory.write(0, b"0123456789");
    let reader = HostMemory::import(duplicate(&memory), 10, Access::Read).unwrap();
    drop(memory);
    let mut bytes = [0; 10];
    reader.read(0, &mut bytes);
    assert_eq!(&bytes, b"0123456789");
    assert!(rustix::fs::fstat(reader.descriptor().as_fd()).is_ok());
}

#[test]
fn more_than_the_machine_has_is_an_error() {
    for len in [1 << 50, isize::MAX as usize, usize::MAX] {
        let error = HostMemory::allocate(len).unwrap_err();
        assert!(matches!(error, MemoryError::System { .. }), "{error:?}");
        assert!(error.to_string().contains("shared memory free"), "{error}");
    }
}

#[test]
#[should_panic = "not inside a memory of 10 bytes"]
fn reading_beyond_the_end_panics() {
    HostMemory::allocate(10).unwrap().read(usize::MAX, &mut [0; 2]);
}

#[test]
#[should_panic = "the mapping is for reading"]
fn writing_through_a_mapping_for_reading_panics() {
    let memory = HostMemory::allocate(10).unwrap();
    HostMemory::import(duplicate(&memory), 10, Access::Read).unwrap().write(0, &[1]);
}
