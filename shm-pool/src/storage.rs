//! The memory that a pool lends, apart from the bookkeeping about it.
//!
//! The bookkeeping always lives in host shared memory, where every process can reach it with atomics.
//! What is lent may be the payload of that same segment ([`Host`]), or any other run of bytes that
//! several processes can attach to, such as an allocation of a device: a slot is then an offset.

use std::error::Error;

/// A run of bytes that several processes can attach to.
///
/// A pool over a storage of one's own lends offsets into it; what can be done with them is the
/// storage's affair.
///
/// ```
/// use shm_pool::{Audience, Policy, Pool, PoolConfig, Storage, Wait};
/// use std::error::Error;
///
/// /// A file, as a stand-in for the memory of a device.
/// #[derive(Debug)]
/// struct Disk { path: String, bytes: usize }
///
/// impl Storage for Disk {
///     const ALIGNMENT: usize = 512;
///     fn len(&self) -> usize { self.bytes }
///     fn descriptor(&self) -> Vec<u8> { self.path.clone().into_bytes() }
///     fn attach(descriptor: &[u8], bytes: usize) -> Result<Disk, Box<dyn Error + Send + Sync>> {
///         Ok(Disk { path: String::from_utf8(descriptor.to_vec())?, bytes })
///     }
/// }
///
/// # let name = format!("doc-storage-{}", std::process::id());
/// let disk = Disk { path: "tensors.bin".into(), bytes: 8192 };
/// let pool = Pool::create_over(&name, &PoolConfig::slots(4, 2000)?, disk)?;
/// let attached = Pool::<Disk>::open_over(&name)?;      // usually in another process
/// assert_eq!(attached.storage().path, "tensors.bin");
/// let slot = pool.lend(2000, Wait::Try, Policy::Fail)?;
/// assert_eq!((slot.offset() % 512, slot.capacity()), (0, 2048));
/// # Ok::<(), Box<dyn Error>>(())
/// ```
pub trait Storage: core::fmt::Debug + Send + Sync + Sized + 'static {
    /// Slots begin at multiples of this many bytes, a power of two: 256 on hosts, 512 on devices.
    const ALIGNMENT: usize;

    /// True if work that a process began on the storage may go on for a moment after the process lost
    /// its locks, as the queued copies of a device do while the process is taken apart. What the dead
    /// had then comes back only when the process is gone altogether.
    const WORKS_ON: bool = false;

    /// Its length in bytes.
    fn len(&self) -> usize;

    /// True if it has no bytes, which no pool accepts.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of host memory, in the pool's own segment, that the storage wants beside the memory it
    /// lends, for words of its own about a pool of that many slots and seats. See
    /// [`Pool::companion`](crate::Pool::companion).
    fn companion_len(&self, slots: usize, seats: usize) -> usize {
        let _ = (slots, seats);
        0
    }

    /// What another process needs to attach to it, at most 64 KiB. It is kept in the pool's segment.
    fn descriptor(&self) -> Vec<u8>;

    /// Attaches to the storage of `len` bytes that a descriptor names.
    ///
    /// # Errors
    /// Whatever stands in the way; [`Pool::open_over`](crate::Pool::open_over) passes it on.
    fn attach(descriptor: &[u8], len: usize) -> Result<Self, Box<dyn Error + Send + Sync>>;
}

/// Host memory: the payload of the pool's own segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    pub(crate) bytes: usize,
}

impl Storage for Host {
    const ALIGNMENT: usize = 256;

    fn len(&self) -> usize {
        self.bytes
    }

    fn descriptor(&self) -> Vec<u8> {
        Vec::new()
    }

    fn attach(_descriptor: &[u8], len: usize) -> Result<Host, Box<dyn Error + Send + Sync>> {
        Ok(Host { bytes: len })
    }
}
