//! Building a segment and giving it its name.
//!
//! Upholds invariant 1 (a creator killed at any instruction leaves a draft that nobody opens and
//! that the next sweep removes) and invariant 7 (no magic before everything else).

use super::counter::{self, CounterSpec};
use super::error::CreateError;
use super::header::{ABI, Extent, MAGIC, SegmentHeader, padded};
use super::kind::{self, Held};
use super::{CONTROL_LEN, HOT_LEN, PAYLOAD_ALIGN, Segment};
use crate::clock;
use crate::name::SegmentName;
use crate::os::{Access, Backing, Region, heap};
use crate::process::{self, ProcessId};
use crate::sync::Ordering;
use bytemuck::Zeroable;
use std::sync::Arc;

/// How long a segment lives that nobody is attached to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)]
pub enum Lifetime {
    /// Until it is unlinked, or swept by [`gc`](super::gc()).
    #[default]
    Persistent = 0,
    /// It is garbage at once, and may be swept whenever space is needed.
    Attached = 1,
}

/// What a kind of segment asks for.
#[derive(Clone, Debug)]
pub struct SegmentSpec {
    /// What the segment is, at most 8 bytes: `stream`, `pool`, ...
    pub kind: &'static str,
    /// The kind's own immutable description; checked by the kind, covered by the checksum.
    pub geometry: Vec<u8>,
    /// Numbers that one tool can show for any segment.
    pub counters: Vec<CounterSpec>,
    /// The creator's own immutable bytes.
    pub metadata: Vec<u8>,
    /// Bytes readable by everyone and written by handles with full access only; the first 64 belong
    /// to the segment layer.
    pub hot_len: usize,
    /// Bytes of payload.
    pub payload_len: usize,
    /// Where the payload begins, modulo the page: a power of two from 64 to the page size.
    pub payload_align: usize,
    /// Bytes that everybody who is attached may write; see [`Segment::control`].
    pub control_len: usize,
    /// A byte that the creator holds from before the segment has its name, see
    /// [`Segment::take_hold`].
    pub hold: Option<u64>,
    /// How long it lives.
    pub lifetime: Lifetime,
    /// Whether a segment of the same name is replaced.
    pub replace: bool,
}

impl Default for SegmentSpec {
    fn default() -> SegmentSpec {
        SegmentSpec {
            kind: "",
            geometry: Vec::new(),
            counters: Vec::new(),
            metadata: Vec::new(),
            hot_len: HOT_LEN,
            payload_len: 0,
            payload_align: PAYLOAD_ALIGN,
            control_len: 0,
            hold: None,
            lifetime: Lifetime::default(),
            replace: false,
        }
    }
}

/// A spec with every offset decided.
pub(super) struct Plan {
    pub(super) name: SegmentName,
    pub(super) header: SegmentHeader,
    fixed: Vec<u8>,
    hold: Option<u64>,
}

impl Plan {
    pub(super) fn new(name: &str, spec: &SegmentSpec) -> Result<Plan, CreateError> {
        let name = SegmentName::new(name, process::uid())?;
        let creator = ProcessId::own();
        let mut header = SegmentHeader {
            abi: ABI,
            header_len: 256,
            kind: padded(spec.kind),
            uid: process::uid(),
            creator_pid: creator.pid,
            creator_start: creator.start,
            boot_id: process::boot_id(),
            instance: process::random_id(),
            created_wall_ns: clock::wall_ns(),
            pid_namespace: process::pid_namespace(),
            page_size: page_size() as u32,
            lifetime: spec.lifetime as u32,
            ..SegmentHeader::zeroed()
        };
        let too_large = || CreateError::TooLarge { name: name.text().to_owned() };
        let mut fixed = vec![0; 256];
        header.name = append(&mut fixed, name.text().as_bytes());
        header.geometry = append(&mut fixed, &spec.geometry);
        header.metadata = append(&mut fixed, &spec.metadata);
        // The counters need the hot offset, which needs the length of the counters.
        let counters_len = counter::encode(&spec.counters, 0, 0).len();
        let hot_offset = (fixed.len() + counters_len).next_multiple_of(128);
        let payload = hot_offset
            .checked_add(spec.hot_len)
            .and_then(|end| end.checked_next_multiple_of(spec.payload_align))
            .ok_or_else(too_large)?;
        header.payload_offset = payload as u64;
        header.payload_len = spec.payload_len as u64;
        let control = payload
            .checked_add(spec.payload_len)
            .and_then(|end| end.checked_next_multiple_of(page_size()))
            .ok_or_else(too_large)?;
        let control_len = spec
            .control_len
            .checked_add(CONTROL_LEN)
            .and_then(|len| len.checked_next_multiple_of(page_size()))
            .ok_or_else(too_large)?;
        let total = control
            .checked_add(control_len)
            .filter(|&total| total <= isize::MAX as usize)
            .ok_or_else(too_large)?;
        let counters = counter::encode(&spec.counters, hot_offset, control);
        header.counters = append(&mut fixed, &counters);
        header.fixed_len = fixed.len() as u64;
        header.hot_offset = hot_offset as u64;
        header.hot_len = spec.hot_len as u64;
        header.control_offset = control as u64;
        header.control_len = control_len as u64;
        header.total_len = total as u64;
        fixed[..256].copy_from_slice(bytemuck::bytes_of(&header));
        SegmentHeader::seal(&mut fixed);
        Ok(Plan { name, header, fixed, hold: spec.hold })
    }

    pub(super) fn total_len(&self) -> usize {
        self.header.total_len as usize
    }

    /// Writes the immutable part into fresh zero pages, the magic last.
    pub(super) fn write(&self, region: &Region) {
        region.copy_in(8, &self.fixed[8..]);
        // SYNC: magic. Whoever reads it sees everything above.
        region.word64(0).store(MAGIC, Ordering::Release);
    }

    /// Takes the byte that the creator is to hold. Call before the segment has its name.
    pub(super) fn hold(&self, backing: &dyn Backing) -> std::io::Result<Option<Held>> {
        match self.hold {
            Some(byte) => kind::hold(backing.locks(), byte),
            None => Ok(None),
        }
    }

    pub(super) fn into_segment(
        self,
        region: Region,
        backing: Arc<dyn Backing>,
        held: Option<Held>,
    ) -> Segment {
        let Plan { name, header, fixed, .. } = self;
        let mut segment = Segment::assemble(&name, header, &fixed, Access::Full, region, backing);
        segment.hold = held;
        segment
    }
}

fn append(fixed: &mut Vec<u8>, bytes: &[u8]) -> Extent {
    fixed.resize(fixed.len().next_multiple_of(8), 0);
    let extent = Extent { offset: fixed.len() as u32, len: bytes.len() as u32 };
    fixed.extend_from_slice(bytes);
    extent
}

fn page_size() -> usize {
    #[cfg(unix)]
    return rustix::param::page_size();
    #[cfg(not(unix))]
    return 4096;
}

impl Segment {
    /// A segment inside this process, under no name.
    ///
    /// # Errors
    /// [`CreateError`] if the name or the size is impossible.
    pub fn process_local(name: &str, spec: SegmentSpec) -> Result<Segment, CreateError> {
        let plan = Plan::new(name, &spec)?;
        let too_large = || CreateError::TooLarge { name: name.to_owned() };
        let (region, backing) = heap::create(plan.total_len()).ok_or_else(too_large)?;
        plan.write(&region);
        let held = plan.hold(&backing).map_err(|source| CreateError::Io {
            name: name.to_owned(),
            step: "hold a byte",
            source,
        })?;
        Ok(plan.into_segment(region, Arc::new(backing), held))
    }

    /// Creates a segment other processes can open.
    ///
    /// # Errors
    /// [`CreateError`]; nothing is left behind.
    #[cfg(not(target_os = "linux"))]
    pub fn create(name: &str, spec: SegmentSpec) -> Result<Segment, CreateError> {
        Segment::create_portable(name, spec)
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::*;
    use crate::fault;
    use crate::os::linux::{self, directory};
    use crate::os::locks;
    use crate::segment::{gc, unlink};
    use rustix::io::Errno;
    use std::io;
    use std::time::Duration;

    /// How often a name that others keep creating and unlinking is tried.
    const ATTEMPTS: usize = 64;

    impl Segment {
        /// Creates a segment other processes can open.
        ///
        /// # Errors
        /// [`CreateError`]; nothing is left behind.
        pub fn create(name: &str, spec: SegmentSpec) -> Result<Segment, CreateError> {
            let plan = Plan::new(name, &spec)?;
            // The answer is decided by `publish`; this only saves the work.
            if !spec.replace && unlink::is_complete(&plan.name) {
                return Err(CreateError::Exists { name: name.to_owned() });
            }
            make_room(&plan)?;
            let mut draft = Draft::default();
            let backing = draft.create(&plan)?;
            fault::hit("create.drafted");
            backing
                .reserve(plan.header.total_len)
                .map_err(|errno| failed(&plan, "reserve memory", errno.into()))?;
            let region = backing
                .map(&draft.file, plan.total_len(), Access::Full, 0..0)
                .map_err(|source| failed(&plan, "map memory", source))?;
            plan.write(&region);
            let held =
                plan.hold(&backing).map_err(|source| failed(&plan, "hold a byte", source))?;
            fault::hit("create.written");
            draft.publish(&plan, spec.replace)?;
            fault::hit("create.published");
            Ok(plan.into_segment(region, Arc::new(backing), held))
        }
    }

    /// A file under a name that nobody opens; removed on drop unless it got its own name.
    #[derive(Default)]
    struct Draft {
        file: String,
        exists: bool,
    }

    impl Draft {
        fn create(&mut self, plan: &Plan) -> Result<linux::LinuxBacking, CreateError> {
            for _ in 0..ATTEMPTS {
                *self = Draft { file: draft_name(), exists: true };
                let backing = linux::create_draft(&self.file, plan.total_len())
                    .map_err(|source| failed(plan, "create the file", source))?;
                // Attached from the start: no sweep takes a draft whose creator holds this. One
                // that was looking at the draft in the moment before may take it; make another.
                match backing.locks().share(locks::PRESENCE) {
                    Ok(true) => return Ok(backing),
                    Ok(false) => std::thread::sleep(Duration::from_millis(1)),
                    Err(source) => return Err(failed(plan, "lock the file", source)),
                }
            }
            let source = io::Error::from(io::ErrorKind::WouldBlock);
            Err(failed(plan, "keep a draft from being swept", source))
        }

        fn publish(&mut self, plan: &Plan, replace: bool) -> Result<(), CreateError> {
            let exists = || CreateError::Exists { name: plan.name.text().to_owned() };
            let refused = |error| match replace {
                true => CreateError::NotReplaceable {
                    name: plan.name.text().to_owned(),
                    source: Box::new(error),
                },
                false => exists(),
            };
            for _ in 0..ATTEMPTS {
                match directory::publish(&self.file, plan.name.file()) {
                    Ok(()) => {
                        self.exists = false;
                        return Ok(());
                    }
                    Err(Errno::EXIST) => {}
                    Err(errno) => return Err(failed(plan, "name the file", errno.into())),
                }
                let present = match unlink::Present::open(&plan.name) {
                    Ok(present) => present,
                    Err(error) if error.is_gone() => continue,
                    Err(error) => return Err(refused(error)),
                };
                if !replace && !present.is_half_born() {
                    return Err(exists());
                }
                match present.replace_by(&self.file) {
                    Ok(()) => {
                        self.exists = false;
                        return Ok(());
                    }
                    Err(error) if error.is_gone() => {}
                    Err(error) => return Err(refused(error)),
                }
            }
            Err(exists())
        }
    }

    fn draft_name() -> String {
        let creator = ProcessId::own();
        let random = u128::from_ne_bytes(process::random_id());
        let prefix = crate::name::draft_prefix(process::uid());
        format!("{prefix}{}.{}.{random:032x}", creator.pid, creator.start)
    }

    impl Drop for Draft {
        fn drop(&mut self) {
            if self.exists {
                // Already gone if the very first step failed.
                let _ = directory::remove(&self.file);
            }
        }
    }

    /// Asking first keeps a request that cannot fit from filling the file system meanwhile.
    fn make_room(plan: &Plan) -> Result<(), CreateError> {
        let need = plan.header.total_len;
        let fits = || directory::available().is_none_or(|have| have >= need);
        if !fits() {
            gc::sweep();
        }
        match fits() {
            true => Ok(()),
            false => Err(no_space(plan)),
        }
    }

    fn no_space(plan: &Plan) -> CreateError {
        CreateError::NoSpace {
            name: plan.name.text().to_owned(),
            need: plan.header.total_len,
            have: directory::available().unwrap_or(0),
        }
    }

    fn failed(plan: &Plan, step: &'static str, source: io::Error) -> CreateError {
        let name = plan.name.text().to_owned();
        match source.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE) => CreateError::TooManyOpenFiles { name },
            Some(libc::ENOSPC | libc::ENOMEM | libc::EFBIG) => no_space(plan),
            _ => CreateError::Io { name, step, source },
        }
    }
}
