//! A Unix socket between two processes and nothing else: bytes that come back, descriptors that are
//! mapped, and how soon the end of a process is seen.
//!
//! A frame is 24 bytes, as long as the shortest of the share service: which file, plus one, or nil for
//! the frame itself (u32), how often (u32), the rest nil.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::cmsg_space;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

use super::Mapping;
use crate::child::{self, Child, Role};

/// A process that holds one end of a socket until it is killed.
pub const SOCKET_HOLDER: Role = Role { name: "socket-holder", run: hold };

/// Bytes of a frame.
const FRAME: usize = 24;
/// What one read takes, a whole number of frames.
const CHUNK: usize = 128 * FRAME;
/// Descriptors of one frame, at most.
const DESCRIPTORS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(10);

/// What a connection is used for: its first byte says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Bytes, which take the fastest system calls.
    Bytes = 1,
    /// Descriptors too.
    Descriptors = 2,
}

/// The side that measures.
#[derive(Debug)]
pub struct BareSocket {
    stream: UnixStream,
    under_way: usize,
}

impl BareSocket {
    /// Connects to a process that [`serve`]s there.
    pub fn connect(path: &Path, carries: Carries) -> Result<BareSocket> {
        let mut stream = UnixStream::connect(path)
            .with_context(|| format!("nobody serves bare sockets at {}", path.display()))?;
        stream.set_read_timeout(Some(PATIENCE)).context("could not bound the reads")?;
        stream.write_all(&[carries as u8]).context("the bare socket takes nothing")?;
        Ok(BareSocket { stream, under_way: 0 })
    }

    /// One frame there and back: one write and one read on each side.
    #[inline]
    pub fn turn(&mut self) -> Result<()> {
        self.stream.write_all(&frame(None, 0)).context("could not send a bare frame")?;
        let mut back = [0; FRAME];
        self.stream.read_exact(&mut back).context("a bare frame did not come back")
    }

    /// Fills up to so many frames on their way, one write each, and takes in what has come back.
    #[inline]
    pub fn keep_under_way(&mut self, frames: usize) -> Result<usize> {
        while self.under_way < frames * FRAME {
            self.stream.write_all(&frame(None, 0)).context("could not send a bare frame")?;
            self.under_way += FRAME;
        }
        let mut back = [0; CHUNK];
        let read = self.stream.read(&mut back).context("no bare frame came back")?;
        ensure!(read > 0, "the other side of the bare socket hung up");
        self.under_way -= read;
        // A frame may come in two reads; it counts with its last byte.
        Ok((self.under_way + read).div_ceil(FRAME) - self.under_way.div_ceil(FRAME))
    }

    /// Has a file of the other side sent, so many times, and maps each of them.
    pub fn fetch(&mut self, file: u32, times: u32, len: usize) -> Result<Vec<Mapping>> {
        self.stream.write_all(&frame(Some(file), times)).context("could not ask for a file")?;
        let files = receive(&self.stream)?.context("the other side hung up")?;
        ensure!(files.len() == times as usize, "{} of {times} descriptors came", files.len());
        files.iter().map(|file| Mapping::of_file(file.as_fd(), len)).collect()
    }

    /// Sends a file, which the other side maps and closes before it answers.
    pub fn give(&mut self, file: BorrowedFd<'_>) -> Result<()> {
        send(&self.stream, &frame(None, 0), &[file])?;
        let mut back = [0; FRAME];
        self.stream.read_exact(&mut back).context("the file was not answered")
    }
}

/// Answers whoever connects, in a thread for each, until the process ends.
pub fn serve(path: &Path, files: Vec<OwnedFd>) -> Result<()> {
    let listener = UnixListener::bind(path)
        .with_context(|| format!("could not listen at {}", path.display()))?;
    let files = Arc::new(files);
    thread::spawn(move || {
        for stream in listener.incoming().filter_map(Result::ok) {
            let files = Arc::clone(&files);
            // Whoever hangs up has no use for a message.
            thread::spawn(move || drop(answer(stream, &files)));
        }
    });
    Ok(())
}

/// How long after a process was killed its end of a socket is seen to be closed.
pub fn hang_up(far: usize, listener: &UnixListener, path: &Path) -> Result<Duration> {
    let job = HoldJob { path: path.to_owned() };
    let mut child = Child::start(&SOCKET_HOLDER, far, &job)?;
    let (mut stream, _) = listener.accept().context("the other process did not connect")?;
    stream.set_read_timeout(Some(PATIENCE)).context("could not bound the reads")?;
    let before = Instant::now();
    child.kill()?;
    let read = stream.read(&mut [0]).context("the end of a process was not seen")?;
    ensure!(read == 0, "a process that only holds a socket sent something");
    Ok(before.elapsed())
}

#[derive(Debug, Serialize, Deserialize)]
struct HoldJob {
    path: PathBuf,
}

fn hold(job: &str) -> Result<()> {
    let job: HoldJob = child::job(job)?;
    let stream = UnixStream::connect(&job.path).context("could not connect")?;
    child::ready()?;
    loop {
        thread::sleep(PATIENCE);
        stream.take_error().context("the socket is of no use")?;
    }
}

fn answer(mut stream: UnixStream, files: &[OwnedFd]) -> Result<()> {
    let mut carries = [0];
    stream.read_exact(&mut carries)?;
    match carries[0] {
        kind if kind == Carries::Bytes as u8 => echo(&mut stream),
        kind if kind == Carries::Descriptors as u8 => exchange(&mut stream, files),
        other => bail!("no connection carries {other}"),
    }
}

fn echo(stream: &mut UnixStream) -> Result<()> {
    let mut chunk = [0; CHUNK];
    loop {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(&chunk[..read])?;
    }
}

fn exchange(stream: &mut UnixStream, files: &[OwnedFd]) -> Result<()> {
    let mut ordered = [0; FRAME];
    loop {
        let mut given = Vec::new();
        let read = receive_into(stream, &mut ordered, &mut given)?;
        if read == 0 {
            return Ok(());
        }
        ensure!(read == FRAME, "a frame was cut");
        for file in given {
            let len = rustix::fs::fstat(&file)?.st_size as usize;
            Mapping::of_file(file.as_fd(), len)?;
        }
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|byte| ordered[at + byte]));
        match word(0).checked_sub(1) {
            None => stream.write_all(&ordered)?,
            Some(which) => {
                let file = files.get(which as usize).context("no such file")?.as_fd();
                send(stream, &ordered, &vec![file; word(4) as usize])?;
            }
        }
    }
}

fn frame(file: Option<u32>, times: u32) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[..4].copy_from_slice(&file.map_or(0, |file| file + 1).to_le_bytes());
    frame[4..8].copy_from_slice(&times.to_le_bytes());
    frame
}

fn send(stream: &UnixStream, frame: &[u8; FRAME], files: &[BorrowedFd<'_>]) -> Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    ensure!(
        control.push(SendAncillaryMessage::ScmRights(files)),
        "{} descriptors are more than {DESCRIPTORS}",
        files.len()
    );
    let sent = sendmsg(stream, &[IoSlice::new(frame)], &mut control, SendFlags::NOSIGNAL)
        .context("could not send descriptors")?;
    ensure!(sent == FRAME, "a frame was cut");
    Ok(())
}

/// The descriptors of the next frame; none if the other side hung up.
fn receive(stream: &UnixStream) -> Result<Option<Vec<OwnedFd>>> {
    let (mut frame, mut files) = ([0; FRAME], Vec::new());
    match receive_into(stream, &mut frame, &mut files)? {
        0 => Ok(None),
        FRAME => Ok(Some(files)),
        _ => bail!("a frame was cut"),
    }
}

fn receive_into(
    stream: &UnixStream,
    frame: &mut [u8; FRAME],
    files: &mut Vec<OwnedFd>,
) -> Result<usize> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(stream, &mut [IoSliceMut::new(frame)], &mut control, flags)
        .context("could not receive descriptors")?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            files.extend(descriptors);
        }
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    fn file(len: u64) -> OwnedFd {
        let file = memfd_create("bench-test", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, len).unwrap();
        file
    }

    #[test]
    fn frames_and_files_come_back() {
        let folder = std::env::temp_dir().join(crate::scratch::name("test-socket"));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("bare");
        let shared = file(8192);
        Mapping::of_file(shared.as_fd(), 8192)
            .unwrap()
            .word(4096)
            .unwrap()
            .store(7, std::sync::atomic::Ordering::Release);
        serve(&path, vec![file(1), shared]).unwrap();

        let mut bytes = BareSocket::connect(&path, Carries::Bytes).unwrap();
        bytes.turn().unwrap();
        let mut back = 0;
        while back < 100 {
            back += bytes.keep_under_way(16).unwrap();
        }

        let mut files = BareSocket::connect(&path, Carries::Descriptors).unwrap();
        let fetched = files.fetch(1, 3, 8192).unwrap();
        assert_eq!(fetched.len(), 3);
        for mapping in &fetched {
            let word = mapping.word(4096).unwrap().load(std::sync::atomic::Ordering::Acquire);
            assert_eq!(word, 7);
        }
        files.give(file(4096).as_fd()).unwrap();
        let error = files.fetch(1, 1, 8193).unwrap_err();
        assert!(error.to_string().contains("8192"), "{error}");
        std::fs::remove_dir_all(folder).unwrap();
    }
}
