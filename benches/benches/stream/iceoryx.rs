//! The peer: iceoryx2's publish-subscribe, set up as in its own benchmark (one publisher, one
//! subscriber, a buffer of one sample, a spinning receiver), with a child process in place of a
//! thread.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use iceoryx2::port::publisher::Publisher;
use iceoryx2::port::subscriber::Subscriber;
use iceoryx2::prelude::*;
use serde::{Deserialize, Serialize};
use shm_benches::child::{self, Child, Role};
use shm_benches::measure::{self, Exchange, Latency, ping_pong};
use shm_benches::scratch;
use shm_benches::suites::{DEADLINE, Payload, Peer};

/// The child's part.
pub const ECHO: Role = Role { name: "iceoryx-echo", run: echo };

/// iceoryx2.
pub struct Iceoryx;

impl Peer for Iceoryx {
    fn name(&self) -> &'static str {
        "iceoryx2 0.10.0 publish-subscribe"
    }

    fn ping_pong(&self, far: usize, payload: Payload, slice: Duration) -> Result<Latency> {
        set_log_level(LogLevel::Error);
        let job = EchoJob {
            // Everything it makes bears this name.
            name: scratch::name("iox"),
            payload,
        };
        let latency = measured(far, &job, slice);
        // It leaves folders and a file of its node management behind even when all goes well.
        scratch::sweep_name(&job.name);
        latency
    }
}

fn measured(far: usize, job: &EchoJob, slice: Duration) -> Result<Latency> {
    let mut side = Side::new(job, Way::There)?;
    let child = Child::start(&ECHO, far, job)?;
    let latency = ping_pong(&mut side, slice)?;
    child.end()?;
    Ok(latency)
}

#[derive(Debug, Serialize, Deserialize)]
struct EchoJob {
    name: String,
    payload: Payload,
}

fn echo(job: &str) -> Result<()> {
    set_log_level(LogLevel::Error);
    let job: EchoJob = child::job(job)?;
    let mut side = Side::new(&job, Way::Back)?;
    child::ready()?;
    measure::echo(&mut side)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    There,
    Back,
}

impl Way {
    const fn service(self) -> &'static str {
        match self {
            Way::There => "there",
            Way::Back => "back",
        }
    }
}

/// What both processes do. The ports are declared before the node that they belong to, so that
/// they are dropped before it.
struct Side {
    publisher: Publisher<ipc::Service, [u64], ()>,
    subscriber: Subscriber<ipc::Service, [u64], ()>,
    outgoing: Vec<u64>,
    incoming: Vec<u64>,
    copied: bool,
    _node: Node<ipc::Service>,
}

impl Side {
    fn new(job: &EchoJob, out: Way) -> Result<Side> {
        let node = NodeBuilder::new().config(&config(&job.name)?).create::<ipc::Service>()?;
        let back = if out == Way::There { Way::Back } else { Way::There };
        let open = |way: Way| -> Result<_> {
            Ok(node
                .service_builder(&way.service().try_into()?)
                .publish_subscribe::<[u64]>()
                .max_publishers(1)
                .max_subscribers(1)
                .history_size(0)
                .subscriber_max_buffer_size(1)
                .enable_safe_overflow(true)
                .open_or_create()?)
        };
        let words = job.payload.words;
        Ok(Side {
            publisher: open(out)?.publisher_builder().initial_max_slice_len(words).create()?,
            subscriber: open(back)?.subscriber_builder().create()?,
            outgoing: vec![1; words],
            incoming: vec![0; words],
            copied: job.payload.copied,
            _node: node,
        })
    }

    #[inline]
    fn next(&self) -> Result<iceoryx2::sample::Sample<ipc::Service, [u64], ()>> {
        for _ in 0..100_000 {
            if let Some(sample) = self.subscriber.receive()? {
                return Ok(sample);
            }
        }
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            if let Some(sample) = self.subscriber.receive()? {
                return Ok(sample);
            }
        }
        bail!("iceoryx2 delivered nothing within {DEADLINE:?}")
    }
}

impl Exchange for Side {
    #[inline]
    fn send(&mut self, sequence: u64) -> Result<()> {
        let words = self.outgoing.len();
        let sample = self.publisher.loan_slice_uninit(words)?;
        if self.copied {
            (self.outgoing[0], self.outgoing[words - 1]) = (sequence, sequence);
            sample.write_from_slice(&self.outgoing).send()?;
        } else {
            // SAFETY: the payload lies in shared memory, which the kernel hands out zeroed, and
            // every value of its bytes is a valid u64; this is how iceoryx2 measures itself.
            let mut sample = unsafe { sample.assume_init() };
            let payload = sample.payload_mut();
            (payload[0], payload[words - 1]) = (sequence, sequence);
            sample.send()?;
        }
        Ok(())
    }

    #[inline]
    fn receive(&mut self) -> Result<u64> {
        let sample = self.next()?;
        let ends = if self.copied {
            self.incoming.copy_from_slice(sample.payload());
            (self.incoming[0], self.incoming[self.incoming.len() - 1])
        } else {
            let payload = sample.payload();
            (payload[0], payload[payload.len() - 1])
        };
        ensure!(ends.0 == ends.1, "the ends of a sample are {ends:?}");
        Ok(ends.0)
    }
}

/// Files and shared memory of its own, apart from those of programs that run beside.
fn config(name: &str) -> Result<Config> {
    let mut config = Config::default();
    let root = std::env::temp_dir().join(name);
    let root = root.to_str().context("the folder for temporary files has an odd name")?;
    config.global.set_root_path(&Path::new(root.as_bytes())?);
    config.global.prefix = FileName::new(format!("{name}_").as_bytes())?;
    Ok(config)
}
