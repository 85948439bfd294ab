//! A second storage: a file in memory that has no name, which the pool's processes reach through the
//! one that made it.

use super::actor::{Done, Refusal, verified};
use super::mark::Mark;
use super::traffic::ticket_in;
use rustix::fs::{MemfdFlags, memfd_create};
use shm_pool::{Audience, Policy, Pool, SlotState, Storage, Wait};
use std::error::Error;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// An unnamed file as the memory that a pool lends.
#[derive(Debug)]
pub struct SharedFile {
    file: File,
    bytes: usize,
    path: String,
}

impl SharedFile {
    /// A new one of that length.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn new(bytes: usize) -> io::Result<SharedFile> {
        let file = File::from(memfd_create("pool-storage", MemfdFlags::CLOEXEC)?);
        file.set_len(bytes as u64)?;
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        Ok(SharedFile { file, bytes, path })
    }

    /// Writes at an offset that the pool lent.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset as u64)
    }

    /// Reads at an offset that the pool lent.
    ///
    /// # Errors
    /// The system's refusal.
    pub fn read(&self, offset: usize, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.file.read_exact_at(&mut bytes, offset as u64)?;
        Ok(bytes)
    }
}

impl Storage for SharedFile {
    const ALIGNMENT: usize = 512;

    fn len(&self) -> usize {
        self.bytes
    }

    fn descriptor(&self) -> Vec<u8> {
        self.path.clone().into_bytes()
    }

    fn attach(descriptor: &[u8], len: usize) -> Result<SharedFile, Box<dyn Error + Send + Sync>> {
        let path = String::from_utf8(descriptor.to_vec())?;
        let file = File::options().read(true).write(true).open(&path)?;
        match file.metadata()?.len() >= len as u64 {
            true => Ok(SharedFile { file, bytes: len, path }),
            false => Err(format!("{path} is shorter than {len} bytes").into()),
        }
    }
}

/// Opens the pool `name`, answers its seat, reads whatever is for it, and answers each publication
/// with one of its own for seat 0, until the next line; answers how many.
pub(super) fn exchange(name: &str, begun: &dyn Fn(), stop: &dyn Fn() -> bool) -> Done {
    let pool = Pool::<SharedFile>::open_over(name)?;
    let consumer = pool.consumer()?;
    begun();
    let mut sequence = 0;
    while !stop() {
        for report in pool.fsck().slots {
            let waits = report.waiting_for & 1 << consumer.seat() != 0;
            if report.state != Some(SlotState::Shared) || !waits {
                continue;
            }
            let lease = consumer.redeem(&ticket_in(pool.instance(), &report))?;
            let bytes = pool.storage().read(lease.offset(), lease.byte_len())?;
            verified(&bytes, lease.index(), Some(lease.generation()))?;
            lease.release();
            sequence += 1;
            publish(&pool, bytes.len(), sequence, Audience::Seats(1))?;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
    Ok(sequence.to_string())
}

fn publish(
    pool: &Pool<SharedFile>,
    bytes: usize,
    sequence: u64,
    audience: Audience,
) -> Result<(), Refusal> {
    let slot = pool.lend(bytes, Wait::from(Duration::from_secs(60)), Policy::Block)?;
    let mark = Mark::on(&slot, sequence);
    let mut whole = vec![0; bytes];
    mark.fill(&mut whole);
    pool.storage().write(slot.offset(), &whole)?;
    slot.publish(audience)?;
    Ok(())
}
