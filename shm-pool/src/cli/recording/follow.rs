//! Every frame of a stream, in order, as far as its ring still has it.
//!
//! Upholds invariants 4 (a reader) and 8 (what the writer lapped is counted).

use half::{bf16, f16};
use num_complex::Complex;
use shm_core::{Bool, Deadline, Dtype, Element, FrameInfo, ReadError, Reader};

/// Follows a stream, from the frame on that is the newest at the beginning.
pub(crate) struct Follower {
    reader: Reader,
    /// Count of the frame before the next one.
    last: u64,
    missed: u64,
    frame: Vec<u8>,
    /// A frame that came in the place of the one that was wanted, and its bytes: its turn comes later.
    ahead: Option<(FrameInfo, Vec<u8>)>,
}

impl Follower {
    pub(crate) fn new(reader: Reader) -> Follower {
        let frame = vec![0; reader.desc().byte_len()];
        let last = reader.count().saturating_sub(1);
        Follower { reader, last, missed: 0, frame, ahead: None }
    }

    /// The next frame, waiting for it until `deadline`.
    ///
    /// # Errors
    /// [`ReadError::Timeout`]; [`ReadError::Stale`] once the stream is gone and its last frame was taken;
    /// [`ReadError::Overrun`] if the writer was too fast to get any frame whole, which may be tried again.
    pub(crate) fn next(&mut self, deadline: Deadline) -> Result<(FrameInfo, &[u8]), ReadError> {
        let info = match self.take_ahead(self.last + 1) {
            Some(info) => info,
            None => {
                let newest = match &self.ahead {
                    Some((ahead, _)) => ahead.count,
                    None => self.reader.wait_after(self.last, deadline)?,
                };
                self.take(newest)?
            }
        };
        self.missed += info.count.saturating_sub(self.last + 1);
        self.last = info.count;
        Ok((info, &self.frame))
    }

    /// Frames that the writer wrote over before they could be taken.
    pub(crate) fn missed(&self) -> u64 {
        self.missed
    }

    /// Whether a process holds the writer lock, if the system can tell.
    pub(crate) fn writer_alive(&self) -> Option<bool> {
        self.reader.writer_alive()
    }

    /// The first frame after the last one that can still be had; `newest` is one of them.
    fn take(&mut self, newest: u64) -> Result<FrameInfo, ReadError> {
        let wanted = self.last + 1;
        if self.ahead.is_none() && wanted == newest {
            let info = self.reader.read_bytes_into(&mut self.frame)?;
            if info.count == wanted {
                return Ok(info);
            }
            // The writer went on meanwhile; what lies between may still be there.
            let next = vec![0; self.frame.len()];
            self.ahead = Some((info, std::mem::replace(&mut self.frame, next)));
        }
        let end = self.ahead.as_ref().map_or(newest, |(ahead, _)| ahead.count - 1);
        let cells = self.reader.stream().cells() as u64;
        for count in wanted.max(end.saturating_sub(cells))..=end {
            match read_exactly(&mut self.reader, count, &mut self.frame) {
                Err(ReadError::Overwritten { .. }) => {}
                result => return result,
            }
        }
        match self.ahead.take() {
            Some((info, frame)) => {
                self.frame = frame;
                Ok(info)
            }
            None => self.reader.read_bytes_into(&mut self.frame),
        }
    }

    fn take_ahead(&mut self, count: u64) -> Option<FrameInfo> {
        let (info, frame) = self.ahead.take_if(|(info, _)| info.count == count)?;
        self.frame = frame;
        Some(info)
    }
}

/// Copies out the frame with exactly this count.
fn read_exactly(reader: &mut Reader, count: u64, out: &mut [u8]) -> Result<FrameInfo, ReadError> {
    match reader.desc().dtype() {
        Dtype::Bool => read_typed::<Bool>(reader, count, out),
        Dtype::I8 => read_typed::<i8>(reader, count, out),
        Dtype::I16 => read_typed::<i16>(reader, count, out),
        Dtype::I32 => read_typed::<i32>(reader, count, out),
        Dtype::I64 => read_typed::<i64>(reader, count, out),
        Dtype::U8 => read_typed::<u8>(reader, count, out),
        Dtype::U16 => read_typed::<u16>(reader, count, out),
        Dtype::U32 => read_typed::<u32>(reader, count, out),
        Dtype::U64 => read_typed::<u64>(reader, count, out),
        Dtype::F16 => read_typed::<f16>(reader, count, out),
        Dtype::Bf16 => read_typed::<bf16>(reader, count, out),
        Dtype::F32 => read_typed::<f32>(reader, count, out),
        Dtype::F64 => read_typed::<f64>(reader, count, out),
        Dtype::C64 => read_typed::<Complex<f32>>(reader, count, out),
        Dtype::C128 => read_typed::<Complex<f64>>(reader, count, out),
        // A dtype of a later version has no type here, so of its frames only the newest can be had.
        _ => Err(ReadError::Overwritten { name: reader.name().to_owned(), count }),
    }
}

fn read_typed<T: Element>(
    reader: &mut Reader,
    count: u64,
    out: &mut [u8],
) -> Result<FrameInfo, ReadError> {
    let frame = reader.read_frame::<T>(count)?;
    out.copy_from_slice(bytemuck::cast_slice(&frame.data));
    Ok(frame.info)
}

#[cfg(test)]
mod tests {
    use super::*;
    use shm_core::{Stream, StreamConfig};
    use std::time::Duration;

    fn follow(follower: &mut Follower) -> Result<(u64, u8), ReadError> {
        let (info, frame) = follower.next(Deadline::NOW)?;
        Ok((info.count, frame[0]))
    }

    #[test]
    fn frames_come_in_order_and_lapped_ones_are_counted() {
        let config = StreamConfig::of::<u8>(&[3]).unwrap().cells(6).unwrap();
        let stream = Stream::process_local("test-follow", &config).unwrap();
        let mut writer = stream.writer(Duration::from_secs(20)).unwrap();
        let mut follower = Follower::new(stream.reader());
        assert!(matches!(follow(&mut follower), Err(ReadError::Timeout { .. })));

        writer.publish(&[1_u8; 3]).unwrap();
        writer.publish(&[2_u8; 3]).unwrap();
        assert_eq!(follow(&mut follower).unwrap(), (1, 1));
        assert_eq!(follow(&mut follower).unwrap(), (2, 2));
        assert_eq!(follow(&mut Follower::new(stream.reader())).unwrap(), (2, 2));
        for value in 3..=6_u8 {
            writer.publish(&[value; 3]).unwrap();
        }
        for value in 3..=6_u8 {
            assert_eq!(follow(&mut follower).unwrap(), (value.into(), value));
        }
        assert_eq!(follower.missed(), 0);

        for value in 7..=30_u8 {
            writer.publish(&[value; 3]).unwrap();
        }
        let (first, _) = follow(&mut follower).unwrap();
        assert!((25..=30).contains(&first), "{first}");
        for count in first + 1..=30 {
            assert_eq!(follow(&mut follower).unwrap(), (count, count as u8));
        }
        assert_eq!(follower.missed(), first - 7);
    }

    #[test]
    fn every_dtype_can_be_followed() {
        for &dtype in Dtype::ALL {
            let config = StreamConfig::new(dtype, &[2]).unwrap().cells(4).unwrap();
            let stream = Stream::process_local("test-follow-dtype", &config).unwrap();
            let mut writer = stream.writer(Duration::from_secs(20)).unwrap();
            let mut follower = Follower::new(stream.reader());
            let bytes = stream.desc().byte_len();
            for value in 1..=3_u8 {
                let tag = shm_core::FrameTag::default();
                writer.publish_bytes(&vec![value; bytes], tag).unwrap();
                if value == 1 {
                    assert_eq!(follow(&mut follower).unwrap(), (1, 1), "{dtype}");
                }
            }
            assert_eq!(follow(&mut follower).unwrap(), (2, 2), "{dtype}");
            assert_eq!(follow(&mut follower).unwrap(), (3, 3), "{dtype}");
        }
    }

    #[test]
    fn the_last_frames_of_a_stream_that_is_gone_are_taken() {
        let name = format!("test-follow-gone-{}", std::process::id());
        let config = StreamConfig::of::<u8>(&[1]).unwrap().cells(5).unwrap();
        let stream = Stream::create(&name, &config).unwrap();
        let mut follower = Follower::new(Reader::open(&name).unwrap());
        let mut writer = stream.writer(Duration::from_secs(20)).unwrap();
        writer.publish(&[1_u8]).unwrap();
        assert_eq!(follow(&mut follower).unwrap(), (1, 1));
        writer.publish(&[2_u8]).unwrap();
        writer.publish(&[3_u8]).unwrap();
        stream.unlink().unwrap();
        assert_eq!(follow(&mut follower).unwrap(), (2, 2));
        assert_eq!(follow(&mut follower).unwrap(), (3, 3));
        assert!(matches!(follow(&mut follower), Err(ReadError::Stale { .. })));
    }
}
