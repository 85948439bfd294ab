//! One segment as a person sees it, from its header alone: nothing attaches, nobody is disturbed.
//!
//! Upholds invariants 2 (what the header says is checked before it is shown) and 3 (who is attached is what
//! the kernel's locks say).

mod damaged;

pub(crate) use damaged::{FOLDER, Flaw, Unreadable};

use super::exit::Failure;
use crate::layout::{Geometry, Kind, Layout, POOL_KIND};
use serde::Serialize;
use shm_core::{Role, SegmentInfo};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A segment and what it is for.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) kind: SubjectKind,
    /// What its header calls it: `stream`, `pool`, or what another library made.
    pub(crate) header_kind: String,
    pub(crate) path: String,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// Memory that it occupies.
    pub(crate) allocated_bytes: u64,
    /// Nanoseconds since 1970 UTC.
    pub(crate) created_ns: u64,
    pub(crate) creator_pid: u32,
    pub(crate) instance: String,
    pub(crate) attached: bool,
    pub(crate) writer_locked: bool,
    pub(crate) holders: Vec<HolderRow>,
    /// What a stream carries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) frame: Option<FrameShape>,
    /// What a pool or a store lends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<MemoryShape>,
    pub(crate) counters: BTreeMap<String, u64>,
    /// In which units the counters count.
    #[serde(skip)]
    pub(crate) units: BTreeMap<String, String>,
}

/// What a segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SubjectKind {
    Stream,
    /// Frames live elsewhere, for example on a device; `mirrored` of its frame says if they are here too.
    ExternalStream,
    /// A pool of slots of one size.
    Pool,
    /// A pool of chunks of any size.
    ChunkPool,
    Store,
    /// A kind that another library made.
    Other,
}

/// An attached handle.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HolderRow {
    pub(crate) pid: u32,
    /// The name of the process, if there is one of that number here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) process: Option<String>,
    pub(crate) uid: u32,
    pub(crate) role: &'static str,
    /// Nanoseconds of the monotonic clock.
    pub(crate) since_mono_ns: u64,
}

/// Dtype and shape of a stream's frames.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct FrameShape {
    pub(crate) dtype: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: usize,
    pub(crate) cells: usize,
    /// False if the frames are not in shared memory.
    pub(crate) readable: bool,
    /// Length of what the creator of an external stream said of the place of its frames.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) descriptor_bytes: Option<usize>,
}

/// What a pool lends.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct MemoryShape {
    pub(crate) capacity_bytes: usize,
    /// How many slots, or entries, there may be.
    pub(crate) slots: usize,
    /// Bytes of a slot; of a granule where sizes differ.
    pub(crate) unit_bytes: usize,
    pub(crate) seats: usize,
    /// Length of what the creator said of the place of the memory, if that is not in the segment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) descriptor_bytes: Option<usize>,
}

impl Subject {
    /// Looks at the segment of that name.
    pub(crate) fn of(name: &str) -> Result<Subject, Failure> {
        Ok(shm_core::stat(name)?.into())
    }

    /// Looks at all segments of this user whose names begin so, sorted by name.
    pub(crate) fn all(prefix: &str) -> Result<Vec<Subject>, Failure> {
        let found = shm_core::list(prefix)
            .map_err(|error| Failure::system("list shared memory", &error))?;
        Ok(found.into_iter().map(Subject::from).collect())
    }

    /// The value of a counter; 0 if the segment has none of that name.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or_default()
    }

    /// What goes up with every use: frames published, or slots lent.
    pub(crate) fn uses(&self) -> u64 {
        match self.kind {
            SubjectKind::Stream | SubjectKind::ExternalStream => self.counter("frames"),
            _ => self.counter("lent"),
        }
    }

    /// How long it has been there, by the wall clock.
    pub(crate) fn age(&self) -> Duration {
        let created = UNIX_EPOCH + Duration::from_nanos(self.created_ns);
        SystemTime::now().duration_since(created).unwrap_or_default()
    }

    /// What it carries, in a few words: `u8 480x640x3, 3 cells`.
    pub(crate) fn carries(&self) -> String {
        match (&self.frame, &self.memory) {
            (Some(frame), _) => format!(
                "{} {}, {} cells{}",
                frame.dtype,
                dimensions(&frame.shape),
                frame.cells,
                if frame.readable { "" } else { ", on a device" }
            ),
            (_, Some(memory)) => match self.kind {
                SubjectKind::Pool => {
                    format!("{} slots of {}", memory.slots, bytes(memory.unit_bytes as u64))
                }
                SubjectKind::Store => {
                    let capacity = bytes(memory.capacity_bytes as u64);
                    format!("{capacity} for {} entries", memory.slots)
                }
                _ => format!("{} of chunks", bytes(memory.capacity_bytes as u64)),
            },
            _ => String::new(),
        }
    }
}

impl From<SegmentInfo> for Subject {
    fn from(info: SegmentInfo) -> Subject {
        let frame = info.stream_shape();
        let pool = (info.kind == POOL_KIND).then(|| pool_layout(&info.geometry)).flatten();
        let kind = match (&frame, &pool) {
            (Some(stream), _) if stream.external.is_some() => SubjectKind::ExternalStream,
            (Some(_), _) => SubjectKind::Stream,
            (_, Some(layout)) if layout.entries => SubjectKind::Store,
            (_, Some(layout)) if layout.kind == Kind::Chunks => SubjectKind::ChunkPool,
            (_, Some(_)) => SubjectKind::Pool,
            _ => SubjectKind::Other,
        };
        Subject {
            kind,
            header_kind: info.kind.clone(),
            path: info.path.display().to_string(),
            bytes: info.len,
            allocated_bytes: info.allocated,
            created_ns: info.created_wall_ns,
            creator_pid: info.creator_pid,
            instance: info.instance.iter().map(|byte| format!("{byte:02x}")).collect(),
            attached: info.attached,
            writer_locked: info.writer_locked,
            holders: info.holders.iter().map(HolderRow::from).collect(),
            frame: frame.map(|stream| FrameShape {
                dtype: stream.desc.dtype().name(),
                shape: stream.desc.shape().to_vec(),
                bytes: stream.desc.byte_len(),
                cells: stream.cells,
                descriptor_bytes: stream.external.as_ref().map(|found| found.descriptor.len()),
                readable: stream.external.is_none_or(|external| external.mirrored),
            }),
            memory: pool.map(|layout| MemoryShape {
                capacity_bytes: layout.capacity,
                slots: layout.slots,
                unit_bytes: if layout.kind == Kind::Chunks {
                    layout.granule
                } else {
                    layout.slot_size
                },
                seats: layout.expected,
                descriptor_bytes: info
                    .geometry
                    .len()
                    .checked_sub(size_of::<Geometry>())
                    .filter(|&len| len > 0),
            }),
            counters: info.counters.iter().map(|one| (one.name.clone(), one.value)).collect(),
            units: info.counters.iter().map(|one| (one.name.clone(), one.unit.clone())).collect(),
            name: info.name,
        }
    }
}

impl SubjectKind {
    /// The kind in words.
    pub(crate) fn label(self) -> &'static str {
        match self {
            SubjectKind::Stream => "stream",
            SubjectKind::ExternalStream => "external stream",
            SubjectKind::Pool => "pool",
            SubjectKind::ChunkPool => "chunk pool",
            SubjectKind::Store => "store",
            SubjectKind::Other => "other",
        }
    }
}

impl From<&shm_core::Holder> for HolderRow {
    fn from(holder: &shm_core::Holder) -> HolderRow {
        let role = match holder.role {
            Role::Reader => "reader",
            Role::Writer => "writer",
            _ => "attached",
        };
        let shm_core::Holder { pid, uid, since_mono_ns, .. } = *holder;
        HolderRow { pid, process: process_name(pid), uid, role, since_mono_ns }
    }
}

fn pool_layout(geometry: &[u8]) -> Option<Layout> {
    let fixed = geometry.get(..size_of::<Geometry>())?;
    Layout::new(&bytemuck::pod_read_unaligned(fixed)).ok()
}

/// The name of a process, as far as this one sees it.
pub(crate) fn process_name(pid: u32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// `4711 (camera)`.
pub(crate) fn process(pid: u32, name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{pid} ({name})"),
        None => pid.to_string(),
    }
}

/// How long something took or lies back: `12 ms`, `3.1 s`, `5 min`, `2 h`, `4 d`.
pub(crate) fn elapsed(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 if time.as_micros() < 1000 => format!("{} us", time.as_micros()),
        0 => format!("{} ms", time.as_millis()),
        1..10 => format!("{:.1} s", time.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// `480x640x3`; `scalar` for no dimensions.
pub(crate) fn dimensions(shape: &[usize]) -> String {
    match shape {
        [] => "scalar".to_owned(),
        _ => shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x"),
    }
}

/// `1.5 MiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{value:.1} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Pool, PoolConfig, Store, StoreConfig};
    use shm_core::{Stream, StreamConfig};

    fn name(what: &str) -> String {
        format!("test-cli-{what}-{}", std::process::id())
    }

    #[test]
    fn streams_pools_and_stores_are_told_apart() {
        let stream = name("stream");
        let made = Stream::create(&stream, &StreamConfig::of::<f32>(&[4, 5]).unwrap()).unwrap();
        let seen = Subject::of(&stream).unwrap();
        assert_eq!(seen.kind, SubjectKind::Stream);
        assert_eq!(seen.carries(), "float32 4x5, 3 cells");
        assert_eq!(seen.holders.len(), 1);
        made.unlink().unwrap();

        let (slots, chunks, store) = (name("slots"), name("chunks"), name("store"));
        let _slots = Pool::create(&slots, &PoolConfig::slots(4, 4096).unwrap()).unwrap();
        let _chunks = Pool::create(&chunks, &PoolConfig::chunks(1 << 20).unwrap()).unwrap();
        let _store = Store::create(&store, &StoreConfig::new(1 << 20).unwrap()).unwrap();
        assert_eq!(Subject::of(&slots).unwrap().kind, SubjectKind::Pool);
        assert_eq!(Subject::of(&slots).unwrap().carries(), "4 slots of 4.0 KiB");
        assert_eq!(Subject::of(&chunks).unwrap().kind, SubjectKind::ChunkPool);
        assert_eq!(Subject::of(&store).unwrap().kind, SubjectKind::Store);
    }

    #[test]
    fn an_absent_name_is_not_found() {
        let failure = Subject::of(&name("nobody")).unwrap_err();
        assert_eq!(failure.exit, super::super::exit::Exit::NotFound);
        assert!(failure.to_string().contains("shm ls"), "{failure}");
    }

    #[test]
    fn times_are_readable() {
        for (milliseconds, text) in [
            (0, "0 us"),
            (12, "12 ms"),
            (3_140, "3.1 s"),
            (119_000, "119 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (400_000_000, "4 d"),
        ] {
            assert_eq!(elapsed(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn the_own_process_has_a_name() {
        let pid = std::process::id();
        let name = process_name(pid).unwrap();
        assert_eq!(process(pid, Some(&name)), format!("{pid} ({name})"));
        assert_eq!(process_name(u32::MAX), None);
    }

    #[test]
    fn bytes_are_readable() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
    }
}
