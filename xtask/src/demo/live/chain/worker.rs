//! The worker: takes the newest frame, writes the detector's input where the server reads it, and
//! reads the answer where the server wrote it.

use std::process::ExitCode;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, set_parent_process_death_signal};
use shm_core::{ReadError, Reader};
use shm_triton::{InferSlot, ModelConfig, Options, TritonClient};
use xxhash_rust::xxh3::xxh3_64;

use super::super::frame::{self, BYTES};
use super::super::message::{self, Command};
use super::input::{self, PIXELS, SHAPE, WIDTH};
use super::message::{Answer, WorkerSays};
use super::regions;
use crate::flags::DemoWorkerArgs;

const OPEN_WITHIN: Duration = Duration::from_secs(10);
/// Short, so that commands are heard also while nobody publishes.
const READ_WITHIN: Duration = Duration::from_millis(50);
/// A picture takes a tenth of a second; a server that needs longer hangs.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Works until it is told to stop.
pub fn task(args: &DemoWorkerArgs) -> Result<ExitCode> {
    // The conductor may be killed too, and nobody else knows this process.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut reader =
        Reader::open_within(&args.stream, OPEN_WITHIN).context("the stream did not appear")?;
    let client = TritonClient::connect(&args.server).context("the server cannot be reached")?;
    let room = PIXELS * size_of::<f32>();
    let model = client
        .register_model(
            ModelConfig::new("detector")
                .slots(1)
                .max_dims("INPUT0", &SHAPE)
                .byte_capacity("OUTPUT0", room),
        )
        .context("the model `detector` cannot be used")?;
    let slot = model.slot(ANSWER_WITHIN).context("there is no slot for the pictures")?;
    message::say(&WorkerSays::Ready)?;
    work(&mut reader, slot, args.pictures)?;
    let inline_calls = client.stats().inline_calls;
    drop(model);
    client.close(CLOSE_WITHIN).context("the shared memory could not be given back")?;
    message::say(&WorkerSays::Done { inline_calls })?;
    Ok(ExitCode::SUCCESS)
}

fn work(reader: &mut Reader, mut slot: InferSlot, pictures: u64) -> Result<()> {
    let commands = message::commands();
    let mut frame = vec![0; BYTES];
    loop {
        match commands.try_recv() {
            Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return Ok(()),
            Ok(command) => bail!("the worker was told to {command:?}"),
            Err(TryRecvError::Empty) => {}
        }
        let info = match reader.read_new_into(&mut frame, READ_WITHIN) {
            Ok(info) => info,
            // Tried again: a slow reader may be overtaken.
            Err(
                ReadError::Timeout { .. } | ReadError::Empty { .. } | ReadError::Overrun { .. },
            ) => {
                continue;
            }
            Err(error) => return Err(error).context("the stream can no longer be read"),
        };
        let stamp = frame::verify(&frame, info.frame_id).context("a frame is torn")?;
        let mut answer = look(&mut slot, &frame)?;
        answer.picture = (stamp.number % pictures) as usize;
        answer.age_ns = shm_core::clock::monotonic_ns().saturating_sub(info.written_mono_ns);
        message::say(&WorkerSays::Answer(answer))?;
    }
}

/// Has the server look at a frame.
fn look(slot: &mut InferSlot, frame: &[u8]) -> Result<Answer> {
    input::fill(frame, slot.input::<f32>("INPUT0", &SHAPE)?);
    let begun = Instant::now();
    let outputs = slot.run(&Options::new().within(ANSWER_WITHIN))?;
    let run_ns = begun.elapsed().as_nanos() as u64;
    let values = outputs.get::<f32>("OUTPUT0")?;
    if values.len() != PIXELS {
        bail!("the answer has {} values, expected {PIXELS}", values.len());
    }
    let text = regions::count(values, WIDTH);
    Ok(Answer {
        run_ns,
        text_pixels: text.pixels,
        regions: text.regions,
        checksum: xxh3_64(outputs.bytes("OUTPUT0")?),
        in_place: outputs.is_shared("OUTPUT0")?,
        ..Answer::default()
    })
}
