//! What a peer holds and does.

mod announcing;

use crate::payload::{Payload, Torn, tag, verify};
use crate::pool::PoolActor;
use crate::triton::TritonActor;
use core::fmt::{Debug, Display};
use shm_core::fault::{self, Action};
use shm_core::{Announced, FrameTag, ReadError, Reader, Stream, StreamConfig, Writer};
use std::time::{Duration, Instant};

/// What a command answers.
#[derive(Debug)]
pub(super) enum Reply {
    Ok(String),
    Error {
        kind: String,
        text: String,
    },
    Torn(String),
    /// Somebody else answers.
    Nothing,
}

impl Reply {
    pub(super) fn ok(text: impl Display) -> Reply {
        Reply::Ok(text.to_string())
    }

    pub(super) fn from_result<E: Debug + Display>(result: Result<String, E>) -> Reply {
        result.map_or_else(Reply::error, Reply::Ok)
    }

    /// The kind is the variant's name.
    fn error(error: impl Debug + Display) -> Reply {
        let debug = format!("{error:?}");
        let end = debug.find(|c: char| !c.is_alphanumeric()).unwrap_or(debug.len());
        Reply::Error { kind: debug[..end].to_owned(), text: error.to_string() }
    }

    fn wrong(text: impl Display) -> Reply {
        Reply::Error { kind: "Wrong".into(), text: text.to_string() }
    }
}

/// An error on the way to a reply.
impl<E: Debug + Display + std::error::Error> From<E> for Reply {
    fn from(error: E) -> Reply {
        Reply::error(error)
    }
}

#[derive(Debug, Default)]
pub(super) struct Actor {
    writer: Option<Writer>,
    reader: Option<Reader>,
    stream: Option<Stream>,
    announced: Vec<Announced>,
    pool: PoolActor,
    triton: TritonActor,
}

type Step = Result<Reply, Reply>;

impl Actor {
    pub(super) fn create(&mut self, name: &str, words: usize, replace: bool) -> Reply {
        flat(|| {
            let config = StreamConfig::of::<u64>(&[words])?.replace_existing(replace);
            self.stream = Some(Stream::create(name, &config)?);
            Ok(Reply::ok(""))
        })
    }

    pub(super) fn open(&mut self, name: &str) -> Reply {
        flat(|| {
            self.stream = Some(Stream::open(name)?);
            Ok(Reply::ok(""))
        })
    }

    pub(super) fn open_reader(&mut self, name: &str) -> Reply {
        flat(|| {
            self.reader = Some(Reader::open(name)?);
            Ok(Reply::ok(""))
        })
    }

    pub(super) fn reader_of_stream(&mut self) -> Reply {
        flat(|| {
            self.reader = Some(self.stream()?.reader());
            Ok(Reply::ok(""))
        })
    }

    /// Takes the lock; a writer held before, such as an inherited one, is dropped after.
    pub(super) fn lock(&mut self, ms: u64) -> Reply {
        flat(|| {
            self.writer = Some(self.stream()?.writer(Duration::from_millis(ms))?);
            Ok(Reply::ok(self.stream()?.count()))
        })
    }

    pub(super) fn unlock(&mut self) -> Reply {
        self.writer = None;
        Reply::ok("")
    }

    pub(super) fn publish(&mut self, frames: u64) -> Reply {
        self.write(frames, |writer, payload, count| {
            Ok(writer.publish_tagged(payload.of(count), FrameTag::id(tag(count)))?)
        })
    }

    pub(super) fn loan(&mut self, frames: u64) -> Reply {
        self.write(frames, |writer, _, count| {
            let mut frame = writer.loan()?;
            Payload::whole_into(frame.as_mut_slice()?, count);
            Ok(frame.commit_tagged(FrameTag::id(tag(count))))
        })
    }

    fn write(
        &mut self,
        frames: u64,
        publish: impl Fn(&mut Writer, &mut Payload, u64) -> Result<u64, Reply>,
    ) -> Reply {
        flat(|| {
            let stream = self.stream()?.clone();
            let mut payload = Payload::new(stream.desc().elements());
            let writer = self.writer.as_mut().ok_or_else(|| Reply::wrong("no writer"))?;
            for _ in 0..frames {
                let count = stream.count() + 1;
                let published = publish(writer, &mut payload, count)?;
                if published != count {
                    return Err(Reply::wrong(format!("published {published}, expected {count}")));
                }
            }
            Ok(Reply::ok(stream.count()))
        })
    }

    pub(super) fn loan_half(&mut self, tell: impl FnOnce()) -> Reply {
        flat(|| {
            let count = self.stream()?.count() + 1;
            let writer = self.writer.as_mut().ok_or_else(|| Reply::wrong("no writer"))?;
            let mut frame = writer.loan()?;
            Payload::half_into(frame.as_mut_slice()?, count);
            tell();
            loop {
                std::thread::park();
            }
        })
    }

    pub(super) fn locked(&mut self, frames: u64, ms: u64) -> Reply {
        for _ in 0..frames {
            for reply in [self.lock(ms), self.publish(1)] {
                if !matches!(reply, Reply::Ok(_)) {
                    return reply;
                }
            }
            self.writer = None;
        }
        Reply::ok(frames)
    }

    pub(super) fn read(&mut self) -> Reply {
        self.take(|reader, buffer| reader.read_into(buffer).map(|info| (info, true)))
    }

    pub(super) fn read_after(&mut self, count: u64, ms: u64) -> Reply {
        let deadline = Duration::from_millis(ms);
        self.take(|reader, buffer| {
            reader.read_after_into(count, buffer, deadline).map(|info| (info, info.count > count))
        })
    }

    pub(super) fn chase(&mut self, target: u64, ms: u64) -> Reply {
        let deadline = Duration::from_millis(ms);
        let mut last = 0;
        self.take(|reader, buffer| {
            let info = reader.read_after_into(last, buffer, deadline)?;
            last = info.count;
            Ok((info, info.count >= target))
        })
    }

    /// Reads and verifies until `enough`; answers the count of the last frame.
    fn take(
        &mut self,
        mut read: impl FnMut(&mut Reader, &mut [u64]) -> Result<(shm_core::FrameInfo, bool), ReadError>,
    ) -> Reply {
        flat(|| {
            let reader = self.reader.as_mut().ok_or_else(|| Reply::wrong("no reader"))?;
            let mut payload = Payload::new(reader.desc().elements());
            loop {
                let (info, enough) = read(reader, payload.buffer())?;
                payload.verify(&info).map_err(torn)?;
                if enough {
                    return Ok(Reply::ok(info.count));
                }
            }
        })
    }

    /// Reads and verifies until told to stop; answers how many reads and what they saw.
    pub(super) fn follow(&mut self, how: Following, stop: impl Fn() -> bool) -> Reply {
        flat(|| {
            let reader = self.reader.as_mut().ok_or_else(|| Reply::wrong("no reader"))?;
            let mut payload = Payload::new(reader.desc().elements());
            let (mut reads, mut last, mut slowest) = (0_u64, 0, Duration::ZERO);
            let begun = Instant::now();
            // Once more after the stop: whatever was published before it is seen.
            let mut stopping = false;
            while !stopping {
                stopping = stop();
                let at = Instant::now();
                let count = match how.read(reader, &mut payload, last) {
                    Ok(verified) => verified?,
                    Err(ReadError::Timeout { .. } | ReadError::Overwritten { .. }) => continue,
                    Err(ReadError::Empty { .. }) => {
                        std::thread::yield_now();
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                slowest = slowest.max(at.elapsed());
                if count < last {
                    return Err(Reply::wrong(format!("count {count} after {last}")));
                }
                (reads, last) = (reads + 1, count);
            }
            let (us, slowest) = (begun.elapsed().as_micros(), slowest.as_micros());
            Ok(Reply::ok(format!("reads={reads} last={last} us={us} slowest_us={slowest}")))
        })
    }

    pub(super) fn arm(&mut self, point: &str, action: &str, nth: u64) -> Reply {
        let action = match action {
            "kill" => Action::Kill,
            "stop" => Action::Stop,
            other => return Reply::wrong(format!("no action '{other}'")),
        };
        match shm_pool::fault::POINTS.contains(&point) {
            true => fault::arm_in(shm_pool::fault::POINTS, point, action, nth),
            false => fault::arm(point, action, nth),
        }
        Reply::ok("")
    }

    pub(super) fn pool(
        &mut self,
        words: &[&str],
        begun: &dyn Fn(),
        stop: &dyn Fn() -> bool,
    ) -> Reply {
        match crate::pool::act(&mut self.pool, words, begun, stop) {
            Ok(text) => Reply::Ok(text),
            Err(refusal) if refusal.kind == "Torn" => Reply::Torn(refusal.text),
            Err(refusal) => Reply::Error { kind: refusal.kind, text: refusal.text },
        }
    }

    /// The child says nothing and goes on serving. The parent says who it is, waits for its end
    /// without reading commands, and says how it ended.
    pub(super) fn triton(
        &mut self,
        words: &[&str],
        begun: &dyn Fn(),
        stop: &dyn Fn() -> bool,
    ) -> Reply {
        match self.triton.act(words, begun, stop) {
            Ok(text) => Reply::Ok(text),
            Err(refusal) => Reply::Error { kind: refusal.kind, text: refusal.text },
        }
    }

    pub(super) fn fork(&mut self, say: impl Fn(&str)) -> Reply {
        // SAFETY: a peer has one thread, so the child may do whatever the parent may. Threads of a
        // Triton client sleep meanwhile and hold nothing; the C library keeps its own locks in order.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            return Reply::Nothing;
        }
        let Some(child) = rustix::process::Pid::from_raw(pid) else {
            return std::io::Error::last_os_error().into();
        };
        say(&format!("ok {pid}"));
        loop {
            let options = rustix::process::WaitOptions::empty();
            match rustix::process::waitpid(Some(child), options) {
                Ok(_) => return Reply::ok("ended"),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return errno.into(),
            }
        }
    }

    pub(super) fn unshare(&mut self, what: &[&str]) -> Reply {
        Reply::from_result(unshare(what).map(|()| String::new()))
    }

    pub(super) fn mount_proc(&mut self) -> Reply {
        Reply::from_result(mount_proc().map(|()| String::new()))
    }

    pub(super) fn gc(&mut self, prefix: &str) -> Reply {
        flat(|| {
            let report = shm_core::gc(prefix, false)?;
            Ok(Reply::ok(format!("removed={:?} in_use={:?}", report.removed, report.in_use)))
        })
    }

    fn stream(&self) -> Result<&Stream, Reply> {
        self.stream.as_ref().ok_or_else(|| Reply::wrong("no stream"))
    }
}

/// How a following reader reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Following {
    Newest,
    Waiting,
    History,
    View,
}

impl Following {
    pub(super) fn from_word(word: &str) -> Option<Following> {
        Some(match word {
            "read" => Following::Newest,
            "wait" => Following::Waiting,
            "history" => Following::History,
            "view" => Following::View,
            _ => return None,
        })
    }

    /// One read; the count of the newest frame in it, once all of them are verified.
    fn read(
        self,
        reader: &mut Reader,
        payload: &mut Payload,
        last: u64,
    ) -> Result<Result<u64, Reply>, ReadError> {
        let info = match self {
            Following::Newest => reader.read_into(payload.buffer())?,
            Following::Waiting => {
                reader.read_after_into(last, payload.buffer(), Duration::from_millis(50))?
            }
            Following::View => {
                let view = reader.view()?;
                view.copy_range(0, payload.buffer())?;
                view.validate()?;
                *view.info()
            }
            Following::History => {
                let frames = reader.history::<u64>(reader.stream().cells())?;
                let verified = frames.iter().try_for_each(|frame| verify(&frame.info, &frame.data));
                let newest = frames.last().map_or(0, |frame| frame.info.count);
                return Ok(verified.map(|()| newest).map_err(torn));
            }
        };
        Ok(payload.verify(&info).map(|()| info.count).map_err(torn))
    }
}

fn flat(step: impl FnOnce() -> Step) -> Reply {
    step().unwrap_or_else(|reply| reply)
}

fn torn(torn: Torn) -> Reply {
    Reply::Torn(torn.to_string())
}

fn unshare(what: &[&str]) -> std::io::Result<()> {
    let flag = |what: &&str| match *what {
        "user" => libc::CLONE_NEWUSER,
        "mount" => libc::CLONE_NEWNS,
        "pid" => libc::CLONE_NEWPID,
        other => panic!("no namespace '{other}'"),
    };
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // SAFETY: no memory is involved; a peer has one thread, as a new user namespace demands.
    if unsafe { libc::unshare(what.iter().map(flag).sum()) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    if what.contains(&"user") {
        // The same ids inside: segments belong to the user they belong to outside.
        std::fs::write("/proc/self/setgroups", "deny")?;
        std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    Ok(())
}

/// A view of processes for a new pid namespace; wants a new mount namespace around it.
fn mount_proc() -> std::io::Result<()> {
    use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    Ok(mount("proc", "/proc", "proc", MountFlags::empty(), None)?)
}
