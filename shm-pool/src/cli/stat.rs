//! `shm stat`: everything that one segment says of itself.
//!
//! Upholds invariants 4 (the newest frame of a stream is looked at through a mapping that is read-only
//! altogether) and 3 (holders are those whom the kernel vouches for).

use super::arguments::StatArgs;
use super::exit::{Exit, Failure};
use super::output::{Output, Table, printable};
use super::subject::{Subject, SubjectKind, bytes, dimensions, elapsed, process, process_name};
use serde::Serialize;
use shm_core::{ReadError, Reader, clock};
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) fn run(args: &StatArgs, output: &Output) -> Result<Exit, Failure> {
    let report = Report::of(&args.name)?;
    output.result(&report, || report.text())?;
    Ok(Exit::Done)
}

#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    subject: Subject,
    units: BTreeMap<String, String>,
    /// The newest frame of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    newest: Option<Newest>,
    /// Why the newest frame of a stream is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_newest: Option<String>,
}

#[derive(Serialize)]
struct Newest {
    count: u64,
    frame_id: u64,
    age_ns: u64,
    written_wall_ns: u64,
    /// From the acquisition that the producer named to the publication.
    #[serde(skip_serializing_if = "Option::is_none")]
    write_latency_ns: Option<u64>,
    /// Count of the newest frame that was announced, of an external stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    announced: Option<u64>,
}

impl Report {
    fn of(name: &str) -> Result<Report, Failure> {
        let subject = Subject::of(name)?;
        let (newest, no_newest) = match subject.kind {
            SubjectKind::Stream | SubjectKind::ExternalStream => match Newest::of(name) {
                Ok(newest) => (newest, None),
                Err(reason) => (None, Some(reason)),
            },
            _ => (None, None),
        };
        Ok(Report { units: subject.units.clone(), subject, newest, no_newest })
    }

    fn text(&self) -> String {
        let subject = &self.subject;
        let mut text = format!("{}\n", printable(&subject.name));
        for (field, value) in
            self.description().into_iter().chain(self.frames()).chain(self.lends())
        {
            text.push_str(&format!("  {field:<10}  {}\n", printable(&value)));
        }
        text.push_str(&format!("\nholders{}\n", self.unlisted()));
        if !subject.holders.is_empty() {
            text.push_str(&indented(&self.holders()));
        }
        text.push_str("\ncounters\n");
        text.push_str(&indented(&self.counters()));
        text
    }

    fn description(&self) -> Vec<(&'static str, String)> {
        let subject = &self.subject;
        let kind = match subject.kind {
            SubjectKind::Other => format!("{}, of another library", subject.header_kind),
            kind => kind.label().to_owned(),
        };
        // A pid may be another's by now, unless its process is attached.
        let creator = subject.holders.iter().find(|holder| holder.pid == subject.creator_pid);
        let creator = match creator {
            Some(creator) => process(creator.pid, creator.process.as_deref()),
            None => format!("process {}, which has no handle now", subject.creator_pid),
        };
        let (length, allocated) = (bytes(subject.bytes), bytes(subject.allocated_bytes));
        vec![
            ("kind", kind),
            ("file", subject.path.clone()),
            ("memory", format!("{allocated} allocated of {length}")),
            ("created", format!("{} ago by {creator}", elapsed(subject.age()))),
            ("instance", subject.instance.clone()),
        ]
    }

    fn frames(&self) -> Vec<(&'static str, String)> {
        let Some(frame) = &self.subject.frame else { return Vec::new() };
        let (shape, length) = (dimensions(&frame.shape), bytes(frame.bytes as u64));
        let mut rows = vec![
            ("frames", format!("{} {shape}, {length} each, {} cells", frame.dtype, frame.cells)),
            ("writer", self.subject.writer().unwrap_or_else(|| "nobody has the lock".to_owned())),
        ];
        if let Some(descriptor) = frame.descriptor_bytes {
            let mirror = if frame.readable { "and mirrored here" } else { "and not here" };
            rows.push((
                "elsewhere",
                format!("frames are on a device {mirror}; {descriptor} opaque bytes say where"),
            ));
        }
        match (&self.newest, &self.no_newest) {
            (Some(newest), _) => rows.push(("newest", newest.text())),
            (_, Some(reason)) => rows.push(("newest", reason.clone())),
            _ => rows.push(("newest", "no frame yet".to_owned())),
        }
        rows
    }

    fn lends(&self) -> Vec<(&'static str, String)> {
        let Some(memory) = &self.subject.memory else { return Vec::new() };
        let count = |name: &str| self.subject.counter(name);
        let (lent, freed) = (count("lent"), count("freed"));
        let (what, unit) = match self.subject.kind {
            SubjectKind::Store => ("entries", "granules"),
            SubjectKind::ChunkPool => ("chunks", "granules"),
            _ => ("slots", "slots"),
        };
        let (capacity, size) =
            (bytes(memory.capacity_bytes as u64), bytes(memory.unit_bytes as u64));
        let mut rows = vec![
            ("lends", format!("{capacity} in {unit} of {size}")),
            (
                "usage",
                format!(
                    "{} of {} {what}: {lent} lent so far, {freed} came back; most at once {}",
                    lent.saturating_sub(freed),
                    memory.slots,
                    count("high_water"),
                ),
            ),
        ];
        if self.subject.kind != SubjectKind::Pool {
            let (now, most) = (count("in_use_bytes"), count("high_water_bytes"));
            rows.push(("in use", format!("{}, most at once {}", bytes(now), bytes(most))));
        }
        rows.push(("seats", format!("{} expected", memory.seats)));
        if let Some(descriptor) = memory.descriptor_bytes {
            rows.push(("elsewhere", format!("{descriptor} opaque bytes say where the memory is")));
        }
        rows
    }

    fn unlisted(&self) -> &'static str {
        match (self.subject.holders.is_empty(), self.subject.attached) {
            (true, true) => ": somebody who is not listed, such as a handle without write access",
            (true, false) => ": none",
            (false, _) => "",
        }
    }

    fn holders(&self) -> Table {
        let mut table = Table::new(&[">PID", "PROCESS", "ROLE", ">SINCE"]);
        for holder in &self.subject.holders {
            let since = clock::monotonic_ns().saturating_sub(holder.since_mono_ns);
            table.row([
                holder.pid.to_string(),
                holder.process.clone().unwrap_or_default(),
                holder.role.to_owned(),
                elapsed(Duration::from_nanos(since)),
            ]);
        }
        table
    }

    fn counters(&self) -> Table {
        let mut table = Table::new(&["COUNTER", ">VALUE", "UNIT", ""]);
        for (name, value) in &self.subject.counters {
            let unit = self.units.get(name).map_or("", String::as_str);
            let reading = match (unit, value) {
                (_, 0) => String::new(),
                ("byte", value) if *value >= 1024 => bytes(*value),
                ("ns", value) => {
                    let since = clock::monotonic_ns().saturating_sub(*value);
                    format!("{} ago", elapsed(Duration::from_nanos(since)))
                }
                ("pid", value) => {
                    u32::try_from(*value).ok().and_then(process_name).unwrap_or_default()
                }
                _ => String::new(),
            };
            table.row([name.clone(), value.to_string(), unit.to_owned(), reading]);
        }
        table
    }
}

impl Newest {
    /// `None` before the first frame; otherwise why it cannot be had.
    fn of(name: &str) -> Result<Option<Newest>, String> {
        let reader = Reader::open_read_only(name).map_err(|error| error.to_string())?;
        let info = match reader.peek() {
            Ok(info) => info,
            Err(ReadError::Empty { .. }) => return Ok(None),
            Err(error) => return Err(error.to_string()),
        };
        let acquired = Some(info.acquired_wall_ns).filter(|&acquired| acquired != 0);
        let stream = reader.stream();
        Ok(Some(Newest {
            count: info.count,
            frame_id: info.frame_id,
            age_ns: clock::monotonic_ns().saturating_sub(info.written_mono_ns),
            written_wall_ns: info.written_wall_ns,
            write_latency_ns: acquired.map(|then| info.written_wall_ns.saturating_sub(then)),
            announced: stream.external().map(|_| stream.announced()),
        }))
    }

    fn text(&self) -> String {
        let age = elapsed(Duration::from_nanos(self.age_ns));
        let mut text = format!("count {}, id {}, {age} ago", self.count, self.frame_id);
        if let Some(latency) = self.write_latency_ns {
            let latency = elapsed(Duration::from_nanos(latency));
            text.push_str(&format!(", published {latency} after it was acquired"));
        }
        match self.announced {
            Some(announced) if announced > self.count => {
                text.push_str(&format!(", {} more in flight", announced - self.count));
            }
            _ => {}
        }
        text
    }
}

fn indented(table: &Table) -> String {
    table.to_string().lines().map(|line| format!("  {line}\n")).collect()
}
