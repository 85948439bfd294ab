//! Who is attached: a table of entries, each believed only while its byte is locked.
//!
//! Upholds invariant 3. An entry is claimed by taking its byte lock; nothing is written before,
//! nothing needs to be cleaned up after a kill. A full table costs nobody anything but a line in a
//! report: exclusion and presence do not depend on it.

use super::info::Role;
use super::{CONTROL_LEN, Segment, offset};
use crate::clock;
use crate::os::locks::PARTICIPANT;
use crate::os::{Access, Region, generation};
use crate::process::{self, ProcessId};
use crate::sync::Ordering;

pub(super) const ENTRIES: usize = (CONTROL_LEN - offset::PARTICIPANTS) / ENTRY_LEN;
pub(super) const ENTRY_LEN: usize = 32;

/// This handle's entry.
#[derive(Debug)]
pub(super) struct Participation {
    /// Offset of the entry in the segment.
    entry: usize,
    byte: u64,
    generation: u64,
}

/// An entry as it was read; the pid may be anything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) process: ProcessId,
    pub(super) uid: u32,
    pub(super) role: Option<Role>,
    pub(super) since_mono_ns: u64,
}

impl Participation {
    /// A handle that does several things is listed by the weightiest.
    pub(super) fn set_role(&self, region: &Region, role: Role) {
        let word = region.word64(self.entry + 16);
        let present = Role::from_code(word.load(Ordering::Relaxed) as u32);
        if present.is_none_or(|present| (present as u32) < role as u32) {
            let uid = u64::from(process::uid());
            word.store(uid << 32 | role as u64, Ordering::Relaxed);
        }
    }
}

/// Decodes the 32 bytes of an entry; `None` if it was never used or given back.
pub(super) fn decode(words: [u64; 4]) -> Option<Entry> {
    let [pid, start, uid_role, since_mono_ns] = words;
    let pid = u32::try_from(pid).ok().filter(|&pid| pid != 0)?;
    Some(Entry {
        process: ProcessId { pid, start },
        uid: (uid_role >> 32) as u32,
        role: Role::from_code(uid_role as u32),
        since_mono_ns,
    })
}

impl Segment {
    /// Claims an entry, if one is free and this handle may write.
    pub(super) fn take_part(&mut self) {
        if self.access == Access::ReadOnly {
            return;
        }
        let table = self.header.control_offset as usize + offset::PARTICIPANTS;
        let unused = |index: &usize| {
            self.region.word64(table + index * ENTRY_LEN).load(Ordering::Relaxed) == 0
        };
        let (unused, used): (Vec<usize>, Vec<usize>) = (0..ENTRIES).partition(unused);
        // Entries of killed holders come last: their bytes are free, their words are not zero.
        for index in unused.into_iter().chain(used) {
            let byte = PARTICIPANT + index as u64;
            let locks = self.backing.locks();
            if let Ok(true) = locks.try_exclusive(byte) {
                let entry = table + index * ENTRY_LEN;
                let own = ProcessId::own();
                let participation = Participation { entry, byte, generation: generation() };
                self.region.word64(entry + 8).store(own.start, Ordering::Relaxed);
                self.region.word64(entry + 16).store(0, Ordering::Relaxed);
                participation.set_role(&self.region, Role::Attached);
                self.region.word64(entry + 24).store(clock::monotonic_ns(), Ordering::Relaxed);
                self.region.word64(entry).store(own.pid.into(), Ordering::Release);
                self.participation = Some(participation);
                return;
            }
        }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if let Some(Participation { entry, byte, generation: taken_in }) = self.participation.take()
        {
            let locks = self.backing.locks();
            // In a forked child the entry is still the parent's.
            if taken_in == generation() {
                // Where somebody has shortened the file there is no entry any more.
                if self.backing.reaches((entry + ENTRY_LEN) as u64) {
                    self.region.word64(entry).store(0, Ordering::Relaxed);
                }
                locks.release(byte, taken_in);
            }
        }
    }
}
