//! The real stream beside the model, one operation at a time.

use super::expected::Incarnation;
use super::operation::{Form, Kind, Operation};
use crate::support::name::Name;
use crate::support::pattern::{assert_same, pattern};
use shm_core::{
    Deadline, Dtype, Element, Frame, FrameInfo, FrameTag, LockError, PublishError, ReadError,
    Reader, Stream, StreamConfig, View, Writer,
};

macro_rules! with_type {
    ($kind:expr, $T:ident => $body:expr) => {
        match $kind {
            Kind::U8 => {
                type $T = u8;
                $body
            }
            Kind::I32 => {
                type $T = i32;
                $body
            }
            Kind::F64 => {
                type $T = f64;
                $body
            }
        }
    };
}

/// Something that belongs to one incarnation of the stream.
struct Of<T> {
    life: usize,
    it: T,
}

pub(super) struct Subject {
    name: Name,
    lives: Vec<Incarnation>,
    streams: Vec<Stream>,
    writer: Option<Of<Writer>>,
    reader: Of<Reader>,
    views: Vec<Of<View>>,
    seen: u64,
    missed: u64,
}

fn create(name: &str, form: Form) -> Stream {
    let dtype = with_type!(form.kind, T => T::DTYPE);
    let config = StreamConfig::new(dtype, &[form.elements]).unwrap().replace_existing(true);
    let config = match form.cells {
        1 => config.single_cell().unwrap(),
        cells => config.cells(cells).unwrap(),
    };
    Stream::create(name, &config).unwrap()
}

fn bytes<T: Element>(data: &[T]) -> Vec<u8> {
    bytemuck::cast_slice(data).to_vec()
}

impl Subject {
    pub(super) fn new(form: Form) -> Subject {
        let name = Name::new("model");
        let stream = create(&name, form);
        let writer = Some(Of { life: 0, it: stream.writer(Deadline::NOW).unwrap() });
        let reader = Of { life: 0, it: Reader::open(&name).unwrap() };
        let (lives, streams) = (vec![Incarnation::new(form)], vec![stream]);
        Subject { name, lives, streams, writer, reader, views: Vec::new(), seen: 0, missed: 0 }
    }

    pub(super) fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Publish { seed } => self.publish(seed, None, 0),
            Operation::PublishTagged { seed, id, acquired } => {
                self.publish(seed, Some(id), acquired)
            }
            Operation::PublishWrong => self.publish_wrong(),
            Operation::Commit { seed, tagged } => self.commit(seed, tagged.then_some(seed)),
            Operation::Abort { seed } => self.abort(seed),
            Operation::Clear => self.clear(),
            Operation::Read => self.read(),
            Operation::ReadInto => self.read_into(),
            Operation::ReadWrong => self.read_wrong(),
            Operation::History { frames } => self.history(frames),
            Operation::ReadFrame { back } => self.read_frame(back),
            Operation::WaitAfter { back } => self.wait_after(back),
            Operation::View => self.view(),
            Operation::CheckViews => self.check_views(),
            Operation::ReopenReader => self.reopen_reader(),
            Operation::DropWriter => self.writer = None,
            Operation::TakeWriter { other_handle } => self.take_writer(other_handle),
            Operation::Replace { form } => self.replace(form),
        }
        self.check_counters();
    }

    pub(super) fn check_everything(&mut self) {
        self.check_views();
        for back in 0..8 {
            self.read_frame(back);
        }
        self.reopen_reader();
        self.history(9);
        self.read();
    }

    fn last(&self) -> usize {
        self.lives.len() - 1
    }

    /// Runs `write` on the writer, if there is one, and compares what it says.
    fn with_writer(
        &mut self,
        write: impl FnOnce(&mut Writer, Form) -> Result<u64, PublishError>,
        expect: impl FnOnce(&mut Incarnation) -> u64,
    ) {
        let last = self.last();
        let Some(writer) = &mut self.writer else { return };
        let form = self.lives[writer.life].form;
        let found = write(&mut writer.it, form);
        let expected = match writer.life == last {
            true => Ok(expect(&mut self.lives[last])),
            false => Err(PublishError::Stale { name: self.name.to_string() }),
        };
        assert_eq!(found, expected);
    }

    fn publish(&mut self, seed: u64, id: Option<u64>, acquired: u64) {
        let tag = id.map_or(FrameTag::default(), FrameTag::id).acquired_ns(acquired);
        let mut sent = Vec::new();
        let write = |writer: &mut Writer, form: Form| {
            with_type!(form.kind, T => {
                let data = pattern::<T>(form.elements, seed);
                sent = bytes(&data);
                match (id, acquired) {
                    (None, 0) => writer.publish(&data),
                    _ => writer.publish_tagged(&data, tag),
                }
            })
        };
        let mut published = None;
        self.with_writer(write, |life| {
            published = Some(life.newest() + 1);
            life.publish(Vec::new(), id, acquired)
        });
        self.fill(published, sent);
    }

    /// Gives the frame that was just entered into the model its bytes.
    fn fill(&mut self, count: Option<u64>, sent: Vec<u8>) {
        let last = self.last();
        if let Some(count) = count {
            self.lives[last].set_bytes(count, sent);
        }
    }

    fn publish_wrong(&mut self) {
        let name = self.name.to_string();
        let Some(writer) = &mut self.writer else { return };
        let form = self.lives[writer.life].form;
        let (expected, found) = (with_type!(form.kind, T => T::DTYPE), Dtype::U16);
        let outcome = writer.it.publish(&vec![0_u16; form.elements]);
        assert_eq!(outcome, Err(PublishError::Dtype { name: name.clone(), expected, found }));
        let long = form.elements + 1;
        let outcome = with_type!(form.kind, T => writer.it.publish(&pattern::<T>(long, 0)));
        let (shape, unit, expected) = (vec![form.elements], "elements", form.elements);
        assert_eq!(outcome, Err(PublishError::Length { name, shape, unit, expected, found: long }));
    }

    fn commit(&mut self, seed: u64, id: Option<u64>) {
        let mut sent = Vec::new();
        let write = |writer: &mut Writer, form: Form| {
            let mut loan = writer.loan()?;
            with_type!(form.kind, T => {
                let data = pattern::<T>(form.elements, seed);
                sent = bytes(&data);
                loan.as_mut_slice::<T>()?.copy_from_slice(&data);
            });
            Ok(match id {
                Some(id) => loan.commit_tagged(FrameTag::id(id).acquired_ns(7)),
                None => loan.commit(),
            })
        };
        let mut published = None;
        self.with_writer(write, |life| {
            published = Some(life.newest() + 1);
            life.publish(Vec::new(), id, if id.is_some() { 7 } else { 0 })
        });
        self.fill(published, sent);
    }

    fn abort(&mut self, seed: u64) {
        let write = |writer: &mut Writer, form: Form| {
            let mut loan = writer.loan()?;
            let len = loan.bytes_mut().len();
            assert_eq!(len, with_type!(form.kind, T => size_of::<T>()) * form.elements);
            loan.bytes_mut().copy_from_slice(&pattern::<u8>(len, seed));
            Ok(0)
        };
        self.with_writer(write, |life| {
            life.abort();
            0
        });
    }

    fn clear(&mut self) {
        self.with_writer(
            |writer, _| writer.clear(),
            |life| {
                let len = with_type!(life.form.kind, T => size_of::<T>()) * life.form.elements;
                life.publish(vec![0; len], None, 0)
            },
        );
    }

    /// What reading the newest frame must say, and `None` if that takes a second: the only frame
    /// of a single cell was lost.
    fn newest(&self) -> Option<Result<u64, ReadError>> {
        let (name, life) = (self.name.to_string(), &self.lives[self.reader.life]);
        let newest = life.newest();
        let retired = self.reader.life != self.last();
        if retired && newest <= self.seen {
            return Some(Err(ReadError::Stale { name }));
        }
        if newest == 0 {
            return Some(Err(ReadError::Empty { name }));
        }
        life.holds(newest).then_some(Ok(newest))
    }

    /// Compares what came of reading the newest frame, and notes it as seen.
    fn check_newest(
        &mut self,
        found: Result<(FrameInfo, Option<Vec<u8>>), ReadError>,
        expected: Result<u64, ReadError>,
    ) {
        let (info, data) = match (found, expected) {
            (Ok(found), Ok(count)) => {
                assert_eq!(found.0.count, count);
                found
            }
            (found, expected) => return assert_eq!(found.map(|(info, _)| info.count), expected),
        };
        let missed = if self.seen == 0 { 0 } else { info.count.saturating_sub(self.seen + 1) };
        assert_eq!(info.missed, missed);
        self.missed += missed;
        self.seen = info.count;
        self.check_frame(self.reader.life, info.count, &info, data.as_deref());
    }

    fn check_frame(&self, life: usize, count: u64, info: &FrameInfo, data: Option<&[u8]>) {
        let expected = self.lives[life].ever(count);
        assert_eq!((info.count, info.frame_id), (count, expected.frame_id));
        assert_eq!(
            (info.acquired_wall_ns, info.byte_len),
            (expected.acquired, expected.bytes.len())
        );
        if let Some(data) = data {
            assert_same(data, &expected.bytes);
        }
    }

    fn read(&mut self) {
        let Some(expected) = self.newest() else { return };
        let kind = self.lives[self.reader.life].form.kind;
        let found = with_type!(kind, T => {
            self.reader.it.read::<T>().map(|frame| (frame.info, Some(bytes(&frame.data))))
        });
        self.check_newest(found, expected);
    }

    fn read_into(&mut self) {
        let Some(expected) = self.newest() else { return };
        let form = self.lives[self.reader.life].form;
        let found = with_type!(form.kind, T => {
            let mut out = pattern::<T>(form.elements, 4);
            self.reader.it.read_into(&mut out).map(|info| (info, Some(bytes(&out))))
        });
        self.check_newest(found, expected);
    }

    fn read_wrong(&mut self) {
        let (name, form) = (self.name.to_string(), self.lives[self.reader.life].form);
        let (expected, found) = (with_type!(form.kind, T => T::DTYPE), Dtype::U16);
        let wrong = ReadError::Dtype { name, expected, found };
        assert_eq!(self.reader.it.read::<u16>(), Err(wrong.clone()));
        assert_eq!(self.reader.it.read_frame::<u16>(1), Err(wrong.clone()));
        assert_eq!(self.reader.it.history::<u16>(1), Err(wrong));
    }

    fn history(&mut self, wanted: usize) {
        let (reader, name) = (&mut self.reader, self.name.to_string());
        let life = &self.lives[reader.life];
        let newest = life.newest();
        let counts: Vec<u64> =
            (1..=newest).rev().take(wanted).take_while(|&count| life.holds(count)).collect();
        if newest > 0 && wanted > 0 && counts.is_empty() {
            return;
        }
        let found: Result<Vec<(FrameInfo, Vec<u8>)>, ReadError> = with_type!(life.form.kind, T => {
            let split = |frame: Frame<T>| (frame.info, bytes(&frame.data));
            reader.it.history::<T>(wanted).map(|all| all.into_iter().map(split).collect())
        });
        if newest == 0 {
            return assert_eq!(found, Err(ReadError::Empty { name }));
        }
        let found = found.unwrap();
        assert_eq!(found.len(), counts.len());
        for ((info, data), &count) in found.iter().zip(counts.iter().rev()) {
            self.check_frame(self.reader.life, count, info, Some(data));
        }
    }

    fn read_frame(&mut self, back: u64) {
        let life = &self.lives[self.reader.life];
        let count = (life.newest() + 2).saturating_sub(back);
        let found = with_type!(life.form.kind, T => {
            self.reader.it.read_frame::<T>(count).map(|frame| (frame.info, bytes(&frame.data)))
        });
        match life.frame(count) {
            Some(_) => {
                let (info, data) = found.unwrap();
                assert_eq!(info.missed, 0);
                self.check_frame(self.reader.life, count, &info, Some(&data));
            }
            None => {
                let name = self.name.to_string();
                assert_eq!(found, Err(ReadError::Overwritten { name, count }));
            }
        }
    }

    fn wait_after(&mut self, back: u64) {
        let (newest, name) = (self.lives[self.reader.life].newest(), self.name.to_string());
        let after = newest.saturating_sub(back);
        let found = self.reader.it.wait_after(after, Deadline::NOW);
        if newest > after {
            assert_eq!(found, Ok(newest));
        } else if self.reader.life != self.last() {
            assert_eq!(found, Err(ReadError::Stale { name }));
        } else {
            let Err(ReadError::Timeout { after: asked, writer_alive, .. }) = found else {
                panic!("{found:?}");
            };
            let alive = self.writer.as_ref().is_some_and(|writer| writer.life == self.last());
            assert_eq!((asked, writer_alive), (after, Some(alive)));
        }
    }

    fn view(&mut self) {
        let Some(expected) = self.newest() else { return };
        let found = self.reader.it.view();
        let outcome = found.as_ref().map(|view| (*view.info(), None)).map_err(Clone::clone);
        self.check_newest(outcome, expected);
        if let Ok(view) = found {
            self.views.push(Of { life: self.reader.life, it: view });
        }
    }

    fn check_views(&mut self) {
        for Of { life, it: view } in &self.views {
            let (count, name) = (view.info().count, self.name.to_string());
            let valid = self.lives[*life].holds(count);
            let expected = if valid { Ok(()) } else { Err(ReadError::Overwritten { name, count }) };
            assert_eq!(view.validate(), expected);
            let form = self.lives[*life].form;
            assert_eq!(view.len(), form.elements);
            if valid {
                let data = with_type!(form.kind, T => {
                    bytes(&view.iter::<T>().unwrap().collect::<Vec<T>>())
                });
                self.check_frame(*life, count, view.info(), Some(&data));
            }
        }
        self.views.retain(|view| view.it.validate().is_ok());
    }

    fn reopen_reader(&mut self) {
        self.reader = Of { life: self.last(), it: Reader::open(&self.name).unwrap() };
        (self.seen, self.missed) = (0, 0);
    }

    fn take_writer(&mut self, other_handle: bool) {
        let last = self.last();
        let stream = match other_handle {
            true => Stream::open(&self.name).unwrap(),
            false => self.streams[last].clone(),
        };
        match (stream.writer(Deadline::NOW), &self.writer) {
            (Err(LockError::Timeout { holder: Some(holder), .. }), Some(writer)) => {
                assert_eq!((holder.pid, writer.life), (std::process::id(), last));
            }
            (Ok(it), present) => {
                assert!(present.as_ref().is_none_or(|writer| writer.life != last));
                self.writer = Some(Of { life: last, it });
            }
            (Err(error), _) => panic!("{error:?}"),
        }
    }

    fn replace(&mut self, form: Form) {
        let stream = create(&self.name, form);
        assert!(self.streams.iter().all(Stream::is_retired) && !stream.is_retired());
        self.streams.push(stream);
        self.lives.push(Incarnation::new(form));
        let stale = self.streams[self.last() - 1].unlink();
        assert!(matches!(stale, Err(shm_core::UnlinkError::Stale { .. })));
    }

    fn check_counters(&self) {
        let reader = &self.reader.it;
        assert_eq!(reader.count(), self.lives[self.reader.life].newest());
        assert_eq!((reader.seen(), reader.missed_total()), (self.seen, self.missed));
        assert_eq!(self.streams[self.last()].count(), self.lives[self.last()].newest());
        assert_eq!(reader.stream().is_retired(), self.reader.life != self.last());
    }
}
