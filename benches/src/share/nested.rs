//! Many tensors in one result: how long it takes, and how little of it goes through the socket.

use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shm_cuda::share::wire::{
    ArgumentsOf, Channel, Frame, HEADER_LEN, Hello, Message, Received, Reply, Request, VERSION,
    decode_value, encode_arguments,
};
use shm_cuda::share::{Access, Arguments, Handle, Limits, Value};

use super::PATIENCE;
use super::offers::{LISTS, NESTED, NESTED_LEN, TENSORS};
use super::served::{Served, handle_of};
use super::timing::{Contender, side_by_side};
use crate::limits::Carries;
use crate::measure::pin;
use crate::report::Row;
use crate::suites::Setting;

const SOCKET_BUDGET: f64 = 65_536.0;

pub(super) fn run(setting: &Setting<'_>) -> Result<Vec<Row>> {
    pin(setting.cores.near)?;
    let mut rows = Vec::new();
    for (name, apart) in [("64 memories", true), ("one memory", false)] {
        rows.extend(of_case(setting, name, apart)?);
    }
    Ok(rows)
}

fn of_case(setting: &Setting<'_>, name: &str, apart: bool) -> Result<[Row; 2]> {
    let (len, times) = match apart {
        true => (NESTED_LEN / TENSORS, TENSORS as u32),
        false => (NESTED_LEN, 1),
    };
    let served = Served::start(setting.cores.far, &[len])?;
    let client = served.client()?;
    let mut files = served.bare(Carries::Descriptors)?;
    let arguments = || Arguments::positional([Value::Bool(apart)]);
    let call = || handle_of(&client, NESTED, arguments());
    let kept = call()?;
    let contenders: &mut [Contender<'_>] =
        &mut [&mut || expect_nested(call()?.value()), &mut || files.fetch(0, times, len).map(drop)];
    let figures = side_by_side(setting.plan, contenders)?;
    let (ours, bare) = (figures[0], figures[1]);
    let through = Counted::connect(&served.path())?.call(&arguments())?;
    drop::<Handle>(kept);
    Ok([
        ours.row(format!("nested/256MiB/{name}"))
            .with_limit(
                "one bare message with as many descriptors, each mapped and unmapped",
                bare.p50,
            )
            .with_limit_quantiles(bare.quantiles)
            .with_note(format!(
                "a cached result of {TENSORS} tensors in {LISTS} lists: call + map + release by \
                 dropping it; payload untouched"
            )),
        Row::new(format!("nested/256MiB/{name}/through the socket"), through as f64, "B")
            .with_limit("budget of 64 KiB", SOCKET_BUDGET)
            .with_note("request and answer, headers included, as read and written"),
    ])
}

fn expect_nested(value: &Value) -> Result<()> {
    let (mut tensors, mut bytes) = (0, 0);
    value.for_each_tensor(&mut |tensor| {
        tensors += 1;
        bytes += tensor.byte_len();
    });
    ensure!((tensors, bytes) == (TENSORS, NESTED_LEN), "{tensors} tensors of {bytes} bytes came");
    Ok(())
}

/// A client that does no more than to count the bytes of a call.
struct Counted {
    channel: Channel,
    limits: Limits,
}

impl Counted {
    fn connect(path: &Path) -> Result<Counted> {
        let limits = Limits::default();
        let socket = UnixStream::connect(path).context("nobody serves there")?;
        let mut counted = Counted { channel: Channel::new(socket, limits)?, limits };
        let hello = Hello {
            versions: (VERSION, VERSION),
            pid: std::process::id(),
            process: *b"bench of sockets",
            name: "bench".to_owned(),
        };
        let (_, _, frame) = counted.exchange(Request::Hello(hello).encode())?;
        match Reply::decode(&frame.header, &frame.body, frame.descriptors)? {
            Received::Reply(Reply::Welcome(_)) => Ok(counted),
            other => bail!("{other:?} is no welcome"),
        }
    }

    /// Bytes that went there and back.
    fn call(&mut self, arguments: &Arguments) -> Result<usize> {
        let encoded = encode_arguments(arguments, &self.limits)?;
        let message = Request::encode_with(ArgumentsOf::Call, NESTED, encoded);
        let (written, read, frame) = self.exchange(message)?;
        ensure!(
            read == HEADER_LEN + frame.body.len(),
            "{read} bytes were read for a frame of {}",
            HEADER_LEN + frame.body.len()
        );
        let Received::Answer { value, .. } =
            Reply::decode(&frame.header, &frame.body, frame.descriptors)?
        else {
            bail!("the call was not answered by a value");
        };
        expect_nested(&decode_value(&value.body, value.descriptors, &self.limits, Access::Read)?)?;
        Ok(written + read)
    }

    fn exchange(&mut self, message: Message) -> Result<(usize, usize, Frame)> {
        self.channel.push(1, message)?;
        let written = self.channel.queued();
        while !self.channel.flush()? {
            self.wait(PollFlags::OUT)?;
        }
        let mut read = 0;
        loop {
            if let Some(frame) = self.channel.next_frame()? {
                return Ok((written, read, frame));
            }
            self.wait(PollFlags::IN)?;
            read += self.channel.fill()?;
        }
    }

    fn wait(&self, until: PollFlags) -> Result<()> {
        let patience = Timespec::try_from(PATIENCE).context("no such time")?;
        let mut polled = [PollFd::new(self.channel.socket(), until)];
        ensure!(poll(&mut polled, Some(&patience))? > 0, "the server is silent");
        Ok(())
    }
}
