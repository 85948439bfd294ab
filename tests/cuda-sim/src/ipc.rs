//! Handles that name memory and events to other processes.

use std::fs::{self, OpenOptions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;
use rustix::process::getpid;

use crate::address::{Kind, Region};
use crate::block::{Block, Sharing};
use crate::context::current;
use crate::event::{Board, Event, INTERPROCESS, Record};
use crate::inject::{self, Fault};
use crate::pages::Pages;
use crate::status::{Result, Status};

/// What a handle says: whose file it is, and which one.
struct Ticket {
    magic: u64,
    pid: u32,
    file: u32,
    started: u64,
    random: u64,
    device: u32,
}

pub type Handle = [u8; 64];

const MEMORY: u64 = u64::from_le_bytes(*b"simipcm1");
const EVENT: u64 = u64::from_le_bytes(*b"simipce1");
const LAZY_PEER_ACCESS: u32 = 1;

/// What this process has open: how often, and at which address.
static OPEN: Mutex<Vec<Import>> = Mutex::new(Vec::new());

struct Import {
    random: u64,
    context: usize,
    device: usize,
    base: u64,
    count: u64,
}

/// `cuIpcGetMemHandle`, of the whole allocation that `address` lies in.
pub fn export_memory(address: u64) -> Result<Handle> {
    let (driver, _context) = current()?;
    let state = driver.state();
    let region = state.map.at(address).ok_or(Status::INVALID_VALUE)?;
    let block = match (region.kind, &region.block) {
        (Kind::Device, Some(block)) => block,
        _ => return Err(Status::INVALID_VALUE),
    };
    let file = block.file().as_raw_fd();
    Ok(Ticket::new(MEMORY, file, block.random(), block.device()).write())
}

/// `cuIpcOpenMemHandle`: the same handle again gives the same address.
pub fn open_memory(handle: &Handle, flags: u32) -> Result<u64> {
    let (driver, context) = current()?;
    if flags != LAZY_PEER_ACCESS {
        return Err(Status::INVALID_VALUE);
    }
    inject::check(Fault::IpcOpen)?;
    let ticket = Ticket::read(handle, MEMORY)?;
    let mut open = OPEN.lock();
    open.retain(|import| driver.state().map.starting(import.base).is_some());
    let known = open
        .iter_mut()
        .find(|import| import.random == ticket.random && import.device == context.device);
    if let Some(import) = known {
        if import.context != context.handle {
            return Err(Status::ALREADY_MAPPED);
        }
        import.count += 1;
        driver.opens.fetch_add(1, Ordering::Relaxed);
        return Ok(import.base);
    }
    let block = Block::open(ticket.open()?, Sharing::Legacy)?;
    // Held first, so that an exporter that frees from now on sees it.
    block.hold()?;
    if block.random() != ticket.random || block.is_retired() {
        return Err(Status::INVALID_VALUE);
    }
    let device = driver
        .devices
        .iter()
        .position(|device| device.physical == block.device())
        .ok_or(Status::INVALID_VALUE)?;
    let pages = Pages::reserve(block.bytes(), 512)?;
    let base = pages.base() as u64;
    let mut region = Region::new(Kind::Imported, base, block.bytes() as u64);
    region.context = context.handle;
    region.device = device;
    region.id = driver.new_id() as u64;
    region.block = Some(Arc::new(block));
    region.pages = Some(Arc::new(pages));
    driver.state().map.insert(region);
    driver.opens.fetch_add(1, Ordering::Relaxed);
    open.push(Import {
        random: ticket.random,
        context: context.handle,
        device: context.device,
        base,
        count: 1,
    });
    Ok(base)
}

/// `cuIpcCloseMemHandle`: as many times as it was opened.
pub fn close_memory(base: u64) -> Result {
    let (driver, context) = current()?;
    let is_import =
        driver.state().map.starting(base).is_some_and(|region| region.kind == Kind::Imported);
    let mut open = OPEN.lock();
    let index = open.iter().position(|import| import.base == base && is_import);
    let index = index.ok_or(Status::INVALID_VALUE)?;
    open[index].count -= 1;
    if open[index].count > 0 {
        return Ok(());
    }
    open.swap_remove(index);
    drop(open);
    let outcome = context.synchronize();
    driver.state().map.remove(base);
    outcome
}

/// `cuIpcGetEventHandle`.
pub fn export_event(event: usize) -> Result<Handle> {
    let (driver, _context) = current()?;
    let state = driver.state();
    let event = state.events.get(&event).ok_or(Status::INVALID_HANDLE)?;
    let Record::Shared(board) = &event.state else { return Err(Status::INVALID_HANDLE) };
    if !board.is_owner() {
        return Err(Status::INVALID_HANDLE);
    }
    Ok(Ticket::new(EVENT, board.file().as_raw_fd(), board.random(), 0).write())
}

/// `cuIpcOpenEventHandle`.
pub fn open_event(handle: &Handle) -> Result<usize> {
    let (driver, context) = current()?;
    let ticket = Ticket::read(handle, EVENT)?;
    let board = Board::open(ticket.open()?, ticket.random)?;
    let flags = INTERPROCESS | crate::event::DISABLE_TIMING;
    let event = Event { context: context.handle, flags, state: Record::Shared(board) };
    let id = driver.new_id();
    driver.state().events.insert(id, Arc::new(event));
    Ok(id)
}

impl Ticket {
    fn new(magic: u64, file: i32, random: u64, device: u32) -> Self {
        let pid = getpid().as_raw_nonzero().get();
        let started = started(pid as u32).unwrap_or(0);
        Self { magic, pid: pid as u32, file: file as u32, started, random, device }
    }

    fn write(&self) -> Handle {
        let mut handle = [0; 64];
        let words = self.words();
        for (bytes, word) in handle.chunks_exact_mut(8).zip(words.into_iter().chain([sum(&words)]))
        {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        handle
    }

    fn words(&self) -> [u64; 5] {
        let owner = u64::from(self.pid) | u64::from(self.file) << 32;
        [self.magic, owner, self.started, self.random, u64::from(self.device)]
    }

    /// Reads another process's handle; a process may not open its own.
    fn read(handle: &Handle, magic: u64) -> Result<Self> {
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(handle.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        let [found, owner, started_at, random, device, check, ..] = words;
        if found != magic || check != sum(&words[..5]) {
            return Err(Status::INVALID_VALUE);
        }
        let pid = owner as u32;
        let ticket = Self {
            magic,
            pid,
            file: (owner >> 32) as u32,
            started: started_at,
            random,
            device: device as u32,
        };
        let own = getpid().as_raw_nonzero().get() as u32;
        if pid == own && started(own) == Some(started_at) {
            return Err(Status::INVALID_CONTEXT);
        }
        Ok(ticket)
    }

    /// The exporter's file, if it is the same process still.
    fn open(&self) -> Result<OwnedFd> {
        if started(self.pid) != Some(self.started) {
            return Err(Status::INVALID_VALUE);
        }
        let path = format!("/proc/{}/fd/{}", self.pid, self.file);
        let file = OpenOptions::new().read(true).write(true).open(path);
        Ok(file.map_err(|_| Status::INVALID_VALUE)?.into())
    }
}

fn sum(words: &[u64]) -> u64 {
    words.iter().fold(0xcbf2_9ce4_8422_2325, |sum, word| {
        (sum ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
    })
}

/// When a process started, in the kernel's ticks: with the pid it names one process only.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(19)?.parse().ok()
}
