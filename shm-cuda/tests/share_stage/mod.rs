//! What tests of device storages share: processes in roles, each of which has to leave nothing behind,
//! and sockets on which they send each other memory as the service would.

#![allow(dead_code, reason = "each test program uses its part")]

use crate::peer::{Peer, hear, hex, role, say, unhex};
use crate::simulation;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use shm_cuda::ipc::{self, MemoryDescriptor};
use shm_cuda::share::{DeviceStorage, Passage, Route};
use shm_cuda::{CudaStream, Device, DeviceUuid};
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

pub const LEN: usize = 100_000;

/// What a process of a test does.
pub type Role = fn(&Device);

/// A test: what its own process does, and what processes do that it starts in other roles.
pub fn play(test: &str, main: Role, others: &[(&str, Role)]) {
    let Some((role, _)) = role() else {
        if simulation::driver().is_none() {
            return;
        }
        let mut process = Peer::playing(test, "main", test, &[]);
        assert_eq!(process.hear(), "nothing left");
        assert!(process.wait().success());
        return;
    };
    let device = simulation::device().unwrap();
    match others.iter().find(|(name, _)| *name == role) {
        Some((_, other)) => other(&device),
        None => main(&device),
    }
    assert_nothing_is_left();
    say("nothing left");
}

fn assert_nothing_is_left() {
    assert_eq!(ipc::collect().kept, 0);
    assert_eq!(ipc::imports_open(), 0);
    let kinds = ["allocations", "imports", "mappings", "reservations", "vmm_handles"];
    assert_eq!(kinds.map(simulation::count), [0; 5], "{kinds:?}");
    simulation::assert_clean();
}

pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

pub fn pattern(seed: u8) -> Vec<u8> {
    (0..LEN).map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

pub fn fill(storage: &DeviceStorage, bytes: &[u8]) {
    let stream = CudaStream::new(storage.device()).unwrap();
    storage.as_slice().slice(0..bytes.len()).upload(bytes, stream.as_ref()).unwrap();
    storage.settle().unwrap();
}

pub fn read(storage: &DeviceStorage) -> Vec<u8> {
    let stream = CudaStream::new(storage.device()).unwrap();
    storage.as_slice().to_vec(stream.as_ref()).unwrap()
}

pub fn filled(device: &Device, route: Route, seed: u8) -> DeviceStorage {
    let storage = DeviceStorage::allocate_for(device, LEN, route).unwrap();
    fill(&storage, &pattern(seed));
    storage
}

/// What was sent, as a process of the other side would have received it.
pub fn received(storage: &DeviceStorage) -> (Passage, Option<OwnedFd>) {
    let (passage, descriptor) = storage.passage().unwrap();
    (passage, descriptor.map(|one| one.try_clone_to_owned().unwrap()))
}

/// Sends it over a socket, as the service would.
pub fn send(socket: &UnixStream, storage: &DeviceStorage) {
    let (passage, descriptor) = storage.passage().unwrap();
    let uuid = hex(&passage.device().0);
    let text = match &passage {
        Passage::Vmm { len, .. } => format!("vmm {uuid} {len}"),
        Passage::Part { allocation, offset, len, .. } => {
            format!("part {uuid} {allocation} {offset} {len}")
        }
        Passage::Legacy(descriptor) => format!("legacy {}", hex(&descriptor.to_bytes())),
    };
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.into_iter().collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    }
    sendmsg(socket, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::empty()).unwrap();
}

pub fn receive(socket: &UnixStream) -> (Passage, Option<OwnedFd>) {
    let mut text = [0; 1024];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let read =
        recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC);
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    let text = std::str::from_utf8(&text[..read.unwrap().bytes]).unwrap().to_owned();
    let words: Vec<&str> = text.split(' ').collect();
    let number = |index: usize| words[index].parse::<usize>().unwrap();
    let device = || DeviceUuid(unhex(words[1]).try_into().unwrap());
    let passage = match words[0] {
        "vmm" => Passage::Vmm { device: device(), len: number(2) },
        "part" => Passage::Part {
            device: device(),
            allocation: number(2),
            offset: number(3),
            len: number(4),
        },
        _ => Passage::Legacy(Box::new(MemoryDescriptor::from_bytes(&unhex(words[1])).unwrap())),
    };
    (passage, descriptor)
}

/// A process in another role of the test that this one plays, and a socket to it.
pub fn start(role_of_it: &str) -> (Peer, UnixStream) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    listener.set_nonblocking(true).unwrap();
    let (_, test) = role().unwrap();
    let process = Peer::playing(&test, role_of_it, path.to_str().unwrap(), &[]);
    let begun = Instant::now();
    let socket = loop {
        match listener.accept() {
            Ok((socket, _)) => break socket,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(begun.elapsed() < Duration::from_secs(60), "the process does not come");
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => panic!("{error}"),
        }
    };
    socket.set_nonblocking(false).unwrap();
    (process, socket)
}

/// In such a process: its end of the socket.
pub fn socket() -> UnixStream {
    UnixStream::connect(role().unwrap().1).unwrap()
}

/// Imports what it is sent, says its bytes, and keeps it until it is told to go on.
pub fn reader(_: &Device) {
    let (passage, descriptor) = receive(&socket());
    let storage = DeviceStorage::import(&passage, descriptor).unwrap();
    assert_eq!(storage.route(), passage.route());
    say(&hex(&read(&storage)));
    hear();
    say(&hex(&read(&storage)));
}
