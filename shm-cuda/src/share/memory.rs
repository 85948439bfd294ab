//! Host memory that travels as a descriptor: anonymous, of sealed size.
//!
//! Upholds invariants 2 (a descriptor of a peer is mapped only when nobody can shrink it, and copies
//! are sound against concurrent writers), 4 (a reader's pages are read-only by the page table) and 6
//! (the mapping lives as long as the value).

use super::tensor::LayoutError;
use rustix::fs::{FallocateFlags, FileType, MemfdFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{Advice, MapFlags, ProtFlags};
use shm_core::copy;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};

/// From this length on, huge pages are asked for where the system offers them.
const HUGE_PAGE: usize = 2 << 20;
/// What `fstatfs` calls the file system of anonymous memory.
const TMPFS: u64 = 0x0102_1994;
/// From this length on, the free memory is looked at before pages are taken: running out in the middle
/// of so many would have the kernel end some process.
const LARGE: usize = 256 << 20;

/// One mapping of anonymous shared memory.
#[derive(Debug)]
pub struct HostMemory {
    file: OwnedFd,
    /// Dangling if `len` is 0.
    base: NonNull<u8>,
    len: usize,
    access: Access,
    identity: (u64, u64),
    own_writes: AtomicBool,
}

// SAFETY: a mapping has no thread affinity; nothing gives a Rust reference to its bytes, and the
// copies in and out are sound against concurrent access.
unsafe impl Send for HostMemory {}
// SAFETY: as above.
unsafe impl Sync for HostMemory {}

/// What a mapping may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Only read.
    Read,
    /// Read and written.
    Write,
}

/// Why host memory could not be made or mapped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The system refused.
    #[error("{call}: {source}; {hint}")]
    System {
        /// Which call.
        call: &'static str,
        /// Its error.
        source: io::Error,
        /// What to do.
        hint: &'static str,
    },
    /// A descriptor that came from a peer cannot be trusted with a mapping.
    #[error("{field} of a received descriptor: expected {expected}, found {found}")]
    Descriptor {
        /// Which property.
        field: &'static str,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// What was to be put into it has not the shape that was said.
    #[error(transparent)]
    Layout(#[from] LayoutError),
}

impl HostMemory {
    /// New memory of `len` bytes, zeroed, size sealed, mapped for writing. `len` 0 is allowed.
    pub fn allocate(len: usize) -> Result<HostMemory, MemoryError> {
        if len >= LARGE && available().is_some_and(|free| free < len as u64) {
            return Err(full(Errno::NOMEM));
        }
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let file = rustix::fs::memfd_create(c"shm-share", flags).map_err(|errno| {
            system("memfd_create", errno, "raise the limit of open files, or share fewer storages")
        })?;
        rustix::fs::ftruncate(&file, len as u64).map_err(full)?;
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)
            .map_err(|errno| system("fcntl(F_ADD_SEALS)", errno, "sealing needs Linux 3.17"))?;
        let memory = HostMemory::map(file, len, Access::Write)?;
        memory.reserve()?;
        Ok(memory)
    }

    /// Seals it against writing by anyone who maps it from now on; this mapping stays as it is.
    pub fn seal(&self) -> Result<(), MemoryError> {
        if self.is_sealed() {
            return Ok(());
        }
        rustix::fs::fcntl_add_seals(&self.file, SealFlags::FUTURE_WRITE | SealFlags::SEAL).map_err(
            |errno| {
                system(
                    "fcntl(F_ADD_SEALS)",
                    errno,
                    "sealing against writing needs Linux 5.1 and memory that is not sealed otherwise",
                )
            },
        )
    }

    /// Maps what a peer sent, after checking that nobody can shrink it and that it has `len` bytes.
    pub fn import(
        descriptor: OwnedFd,
        len: usize,
        access: Access,
    ) -> Result<HostMemory, MemoryError> {
        // Seals before size: once it cannot shrink any more, the size that is found stays true.
        let seals = rustix::fs::fcntl_get_seals(&descriptor).map_err(|_| {
            refused("seals", "memory sealed against shrinking", "a file that cannot be sealed")
        })?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(refused(
                "seals",
                "memory sealed against shrinking",
                "memory that may be cut off under its readers",
            ));
        }
        if access == Access::Write && is_read_only(seals) {
            return Err(refused(
                "seals",
                "memory that may be written, as was asked for",
                "memory sealed against writing; map it for reading",
            ));
        }
        let status = rustix::fs::fstat(&descriptor).map_err(unreadable)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(refused("type", "anonymous memory", "another kind of file"));
        }
        // Huge pages of their own file system follow other rules for lengths, and may fault when read.
        let system_type = rustix::fs::fstatfs(&descriptor).map_err(unreadable)?.f_type as u64;
        if system_type != TMPFS {
            let found = format!("file system {system_type:#x}");
            return Err(refused("type", "ordinary anonymous memory", found));
        }
        let size = usize::try_from(status.st_size).unwrap_or(0);
        if size < len {
            return Err(refused("size", format!("at least {len} bytes"), format!("{size} bytes")));
        }
        HostMemory::map(descriptor, len, access)
    }

    /// What a peer's memory can be mapped for: reading, where it is sealed against what is `wanted`.
    pub(super) fn access_of(descriptor: &OwnedFd, wanted: Access) -> Access {
        let is_sealed = rustix::fs::fcntl_get_seals(descriptor).is_ok_and(is_read_only);
        if wanted == Access::Write && is_sealed { Access::Read } else { wanted }
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Its first byte in this process.
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// What this mapping may be used for.
    pub fn access(&self) -> Access {
        self.access
    }

    /// True if nobody can map it for writing any more.
    pub fn is_sealed(&self) -> bool {
        rustix::fs::fcntl_get_seals(&self.file).is_ok_and(is_read_only)
    }

    /// The descriptor, to be sent.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Device and inode: the same for every mapping of the same memory on this machine.
    pub fn identity(&self) -> (u64, u64) {
        self.identity
    }

    /// Lets this process write to a mapping for reading: what it writes becomes a page of its own, which
    /// nobody else sees, also not those to whom the memory is sent on. For libraries that have no
    /// read-only tensors.
    ///
    /// # Errors
    /// [`MemoryError::System`], if the process has no room or no right for it; then all is as before.
    pub fn allow_own_writes(&self) -> Result<(), MemoryError> {
        let is_done = self.access == Access::Write || self.len == 0;
        if is_done || self.own_writes.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: takes the place of this very mapping, at once for other threads, with the same bytes;
        // the file has them and cannot shrink.
        unsafe {
            rustix::mm::mmap(self.base.as_ptr().cast(), self.len, protection, flags, &self.file, 0)
        }
        .map(drop)
        .map_err(|errno| {
            self.own_writes.store(false, Ordering::Relaxed);
            system("mmap", errno, "the process has no room or no right for it")
        })
    }

    /// True if its bytes may differ from what others have, see [`HostMemory::allow_own_writes`].
    pub fn has_own_writes(&self) -> bool {
        self.own_writes.load(Ordering::Relaxed)
    }

    /// Copies bytes in at `offset`.
    ///
    /// # Panics
    /// Beyond the end, or if the mapping is for reading.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(self.access == Access::Write, "the mapping is for reading");
        self.check(offset, bytes.len());
        // SAFETY: the range was just found inside the mapping, which is writable and outlives the
        // call. Others may access it, in this process by this module only. A slice is private memory.
        unsafe { copy::copy_in(self.base.as_ptr().add(offset), bytes.as_ptr(), bytes.len()) }
    }

    /// Copies bytes out.
    ///
    /// # Panics
    /// Beyond the end.
    pub fn read(&self, offset: usize, out: &mut [u8]) {
        self.check(offset, out.len());
        // SAFETY: the range was just found inside the mapping, which is readable and outlives the
        // call. A slice is private memory.
        unsafe { copy::copy_out(out.as_mut_ptr(), self.base.as_ptr().add(offset), out.len()) }
    }

    fn check(&self, offset: usize, len: usize) {
        assert!(
            offset.checked_add(len).is_some_and(|end| end <= self.len),
            "{len} bytes at {offset} are not inside a memory of {} bytes",
            self.len
        );
    }

    /// Maps the first `len` bytes; the file has them and cannot shrink.
    fn map(file: OwnedFd, len: usize, access: Access) -> Result<HostMemory, MemoryError> {
        let status = rustix::fs::fstat(&file).map_err(unreadable)?;
        let identity = (status.st_dev, status.st_ino);
        let own_writes = AtomicBool::new(false);
        if len == 0 {
            return Ok(HostMemory {
                file,
                base: NonNull::dangling(),
                len,
                access,
                identity,
                own_writes,
            });
        }
        let protection = match access {
            Access::Read => ProtFlags::READ,
            Access::Write => ProtFlags::READ | ProtFlags::WRITE,
        };
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe {
            rustix::mm::mmap(ptr::null_mut(), len, protection, MapFlags::SHARED, &file, 0)
        }
        .map_err(|errno| system("mmap", errno, "the process has no room or no right for it"))?;
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(|| full(Errno::NOMEM))?;
        let memory = HostMemory { file, base, len, access, identity, own_writes };
        if len >= HUGE_PAGE {
            memory.advise(Advice::LinuxHugepage);
        }
        Ok(memory)
    }

    /// Takes all pages now, so that a full machine is an error and never a signal.
    fn reserve(&self) -> Result<(), MemoryError> {
        if self.len == 0 {
            return Ok(());
        }
        if self.len >= HUGE_PAGE {
            // Pages that are touched through the mapping may be huge, those of `fallocate` are not.
            self.advise(Advice::LinuxPopulateWrite);
        }
        loop {
            match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, self.len as u64) {
                Err(Errno::INTR) => continue,
                outcome => return outcome.map_err(full),
            }
        }
    }

    /// A wish: refused where the kernel does not know it.
    fn advise(&self, advice: Advice) {
        // SAFETY: the whole of this mapping; neither advice that is given changes its contents.
        let _ = unsafe { rustix::mm::madvise(self.base.as_ptr().cast(), self.len, advice) };
    }
}

impl Drop for HostMemory {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: this mapping, made in `map` with this length, unmapped once.
            let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
        }
    }
}

fn is_read_only(seals: SealFlags) -> bool {
    seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE)
}

/// Bytes that the machine can still give, memory and swap, if it says so.
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    };
    Some(field("MemAvailable:")?.saturating_add(field("SwapFree:")?).saturating_mul(1024))
}

fn full(errno: Errno) -> MemoryError {
    system(
        "fallocate",
        errno,
        "the machine has not that much shared memory free; release some, or share less",
    )
}

fn unreadable(errno: Errno) -> MemoryError {
    system("fstat", errno, "send a descriptor of anonymous memory")
}

fn system(call: &'static str, errno: Errno, hint: &'static str) -> MemoryError {
    MemoryError::System { call, source: errno.into(), hint }
}

fn refused(
    field: &'static str,
    expected: impl Into<String>,
    found: impl Into<String>,
) -> MemoryError {
    MemoryError::Descriptor { field, expected: expected.into(), found: found.into() }
}
