//! Creating, opening and removing segments on the portable backing.
//!
//! Upholds invariants 2 and 7 as the native path does: geometry is checked on a private copy, and
//! nothing is believed before the magic.

use super::create::{Plan, SegmentSpec};
use super::error::{CreateError, OpenError, UnlinkError};
use super::header::{SegmentHeader, unpadded};
use super::{Segment, offset};
use crate::name::SegmentName;
use crate::os::{Access, Region, portable};
use crate::process;
use crate::sync::Ordering;
use std::io;
use std::sync::Arc;

impl Segment {
    /// A segment on the portable backing.
    pub(crate) fn create_portable(name: &str, spec: SegmentSpec) -> Result<Segment, CreateError> {
        let plan = Plan::new(name, &spec)?;
        let exists = || CreateError::Exists { name: name.to_owned() };
        let (region, mut backing) = portable::create(plan.name.file(), plan.total_len(), exists)?;
        let alarm = plan.header.control_offset as usize + offset::PORTABLE;
        backing.set_alarm(&region, alarm, true).map_err(|source| {
            let (name, step) = (name.to_owned(), "make the wake-up event");
            CreateError::Io { name, step, source }
        })?;
        let held = plan.hold(&backing).map_err(|source| {
            let (name, step) = (name.to_owned(), "hold a byte");
            CreateError::Io { name, step, source }
        })?;
        plan.write(&region);
        Ok(plan.into_segment(region, Arc::new(backing), held))
    }

    /// Opens a segment of the portable backing.
    pub(crate) fn open_portable(
        name: &str,
        kind: &str,
        access: Access,
    ) -> Result<Segment, OpenError> {
        let name = SegmentName::new(name, process::uid())?;
        let io_error =
            |step, source: io::Error| OpenError::Io { name: name.text().to_owned(), step, source };
        let opened = portable::open(name.file());
        let (region, mut backing) = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => OpenError::NotFound { name: name.text().to_owned() },
            _ => io_error("open", error),
        })?;
        let fixed = read_fixed(&name, &region)?;
        let header = SegmentHeader::check(&fixed, region.len() as u64, name.text())?;
        let text = String::from_utf8_lossy(SegmentHeader::slice(&fixed, header.name));
        if text != name.text() {
            let (expected, found) = (format!("'{}'", name.text()), format!("'{text}'"));
            return Err(OpenError::corrupt(name.text(), "name", expected, found));
        }
        if header.uid != process::uid() {
            let (expected, found) = (process::uid(), header.uid);
            return Err(OpenError::Owner { name: name.text().to_owned(), expected, found });
        }
        let found = unpadded(&header.kind);
        if !kind.is_empty() && found != kind {
            let (name, expected) = (name.text().to_owned(), kind.to_owned());
            return Err(OpenError::Kind { name, expected, found });
        }
        let alarm = header.control_offset as usize + offset::PORTABLE;
        backing
            .set_alarm(&region, alarm, false)
            .map_err(|source| io_error("attach to the wake-up event of", source))?;
        let segment = Segment::assemble(&name, header, &fixed, access, region, Arc::new(backing));
        if segment.is_retired() {
            return Err(OpenError::NotFound { name: name.text().to_owned() });
        }
        Ok(segment)
    }

    /// Removes the name, marks the segment and wakes everyone.
    pub(crate) fn unlink_portable(&self) -> Result<(), UnlinkError> {
        let name = SegmentName::new(self.name(), process::uid()).map_err(OpenError::from)?;
        let stale = || UnlinkError::Stale { name: self.name().to_owned() };
        let kind = unpadded(&self.header.kind);
        match Segment::open_portable(self.name(), &kind, Access::Full) {
            Ok(present) if present.instance() == self.instance() => {}
            Ok(_) | Err(OpenError::NotFound { .. }) => return Err(stale()),
            Err(error) => return Err(error.into()),
        }
        portable::remove(name.file()).map_err(|source| UnlinkError::Io {
            name: self.name().to_owned(),
            step: "unlink",
            source,
        })?;
        self.end_retiring(true);
        Ok(())
    }
}

fn read_fixed(name: &SegmentName, region: &Region) -> Result<Vec<u8>, OpenError> {
    let len = region.len();
    if len < 256 || region.word64(0).load(Ordering::Acquire) == 0 {
        return Err(OpenError::NotReady { name: name.text().to_owned() });
    }
    let mut first = [0; 256];
    region.copy_out(0, &mut first);
    let fixed_len = SegmentHeader::fixed_len_of(&first, len as u64, name.text())?;
    let mut fixed = vec![0; fixed_len];
    region.copy_out(0, &mut fixed);
    Ok(fixed)
}
