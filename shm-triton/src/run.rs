//! One request with a slot that is filled: sent, answered, checked; sent again where that is right.
//!
//! ```text
//!          ┌── the server has forgotten the region: register again ──┐
//!          ▼                                                         │
//! sent ──▶ answered ──▶ outputs                                      │
//!   │      └── an output needs more room: a larger slot ─────────────┘
//!   ├── late: the slot belongs to the open request, and comes back with its answer
//!   └── lost: the slot's memory is never lent again
//! ```
//!
//! Upholds invariants 1, 3 and 7.

use crate::error::{CallError, InferError, OutputError, RegionError};
use crate::flight::{Flight, settle};
use crate::hub::Counts;
use crate::lent::Lent;
use crate::options::Options;
use crate::outputs::{About, OutputEntry};
use crate::registration::Registration;
use crate::response;
use crate::transport::{Ending, Lost, Outcome, Patience, Prepared, Reply, Request};
use crate::wire::{Code, InferRequest};
use shm_core::Deadline;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// How often a server may forget the region during one call before it is called an error.
const FORGIVEN: u32 = 3;

/// How often slots may grow during one call: once for each output, and once more.
const GROWTHS: usize = 8;

/// Whether the calling thread waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It does, and futures of this module are ready at once.
    Blocking,
    Async,
}

/// What is asked for, and until when.
pub(crate) struct Errand<'a> {
    pub options: &'a Options,
    /// Which chunk this is, of how many.
    pub chunk: (usize, usize),
    pub deadline: Deadline,
    pub mode: Mode,
}

impl Errand<'_> {
    /// Nothing but the shapes tells its request from others with the same slot.
    fn is_plain(&self) -> bool {
        let Options { id, version, sequence, parameters, outputs, deadline: _, interrupt: _ } =
            self.options;
        self.chunk.1 == 1
            && id.is_empty()
            && version.is_none()
            && sequence.is_none()
            && parameters.is_empty()
            && outputs.is_none()
    }
}

/// Runs the model on the inputs of the slot. Afterwards the slot has the outputs, or is gone.
pub(crate) async fn run(
    registration: &Arc<Registration>,
    held: &mut Option<Lent>,
    errand: &Errand<'_>,
) -> Result<(Vec<OutputEntry>, About), InferError> {
    let began = Instant::now();
    let spec = &registration.spec;
    let wanted = registration.wanted(errand.options)?;
    let samples = held.as_ref().ok_or(InferError::SlotGone)?.samples(spec)?;
    if samples == 0 {
        return Ok((response::nothing(spec, &wanted), About::default()));
    }
    let (mut forgotten, mut growths) = (0, 0);
    loop {
        let lent = held.as_ref().ok_or(InferError::SlotGone)?;
        if !registration.is_open() {
            return Err(InferError::Closed);
        }
        lent.generation.check()?;
        let registrations = lent.generation.registrations();
        let request = match lent.remembered().filter(|_| errand.is_plain()) {
            Some(request) => request,
            None => {
                let request = compose(registration, lent, errand, &wanted, samples);
                let request = Arc::new(Prepared::new(request));
                if let (true, Some(lent)) =
                    (errand.is_plain() && lent.generation.region.is_shared(), held.as_mut())
                {
                    lent.remember(request.clone());
                }
                request
            }
        };
        match send(registration, held, &request, errand).await {
            Sent::Answered(Reply::Infer(infer)) => {
                let about = About { id: infer.id.clone(), version: infer.model_version.clone() };
                let lent = held.as_ref().ok_or(InferError::SlotGone)?;
                return Ok((response::check(spec, lent, &wanted, samples, infer)?, about));
            }
            Sent::Answered(Reply::Refused { code, message }) => {
                let lent = held.as_ref().ok_or(InferError::SlotGone)?;
                if is_forgotten(lent, code, &message) && forgotten < FORGIVEN {
                    forgotten += 1;
                    register_again(registration, lent, registrations, errand).await?;
                    continue;
                }
                match too_small(registration, &message) {
                    Some((output, bytes)) if growths < GROWTHS && !spec.sequence => {
                        growths += 1;
                        grow(registration, held, output, bytes, errand).await?;
                    }
                    _ => {
                        return Err(InferError::Refused {
                            model: spec.name.clone(),
                            code,
                            message,
                        });
                    }
                }
            }
            Sent::Answered(Reply::Malformed(wrong)) => {
                return Err(InferError::Malformed { model: spec.name.clone(), wrong });
            }
            Sent::Answered(reply) => {
                let wrong = format!("a reply to something else: {reply:.200?}");
                return Err(InferError::Malformed { model: spec.name.clone(), wrong });
            }
            Sent::Late => {
                Counts::add(&registration.hub.counts.late);
                return Err(InferError::Timeout {
                    model: spec.name.clone(),
                    after: began.elapsed(),
                });
            }
            Sent::Lost(lost) => {
                let address = registration.hub.address.to_string();
                return Err(match lost.sent {
                    true => InferError::Lost { address, source: lost.source },
                    false => InferError::Unavailable { address, source: lost.source },
                });
            }
        }
    }
}

/// Runs a future of [`Mode::Blocking`], which has nothing to wait for.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => unreachable!("a blocking call blocks, and does not suspend"),
    }
}

enum Sent {
    Answered(Reply),
    Late,
    Lost(Lost),
}

/// Sends the request. The slot is there afterwards unless it is late or lost.
async fn send(
    registration: &Registration,
    held: &mut Option<Lent>,
    request: &Prepared,
    errand: &Errand<'_>,
) -> Sent {
    let hub = &registration.hub;
    if hub.inline.load(Ordering::Relaxed) {
        Counts::add(&hub.counts.inline_calls);
    }
    if errand.mode == Mode::Async {
        let Some(lent) = held.take() else { return Sent::Late };
        let Some((lent, how)) = Flight::begin(hub, request, lent, errand.deadline).await else {
            return Sent::Late;
        };
        return match how {
            Ok(reply) => {
                *held = Some(lent);
                Sent::Answered(reply)
            }
            Err(lost) => lose(held, Some(lent), lost),
        };
    }
    let patience =
        Patience { deadline: errand.deadline, interrupt: errand.options.interrupt.as_deref() };
    let mut late = || -> Ending {
        let lent = held.take();
        Box::new(move |how| {
            if let Some(lent) = lent {
                settle(lent, how);
            }
        })
    };
    match hub.transport.call(Request::Infer(request), &patience, &mut late) {
        Outcome::Answered(reply) => Sent::Answered(reply),
        Outcome::Late => Sent::Late,
        Outcome::Lost(lost) if patience.ended_unsent(&lost) => Sent::Late,
        Outcome::Lost(lost) => {
            let lent = held.take();
            lose(held, lent, lost)
        }
    }
}

/// Nobody will ever say whether the server still writes to the slot, unless nothing was sent.
fn lose(held: &mut Option<Lent>, lent: Option<Lent>, lost: Lost) -> Sent {
    match (lost.sent, lent) {
        (true, Some(lent)) => {
            let Lost { sent, source } = lost;
            let kind = source.kind();
            settle(lent, Err(Lost { sent, source }));
            Sent::Lost(Lost { sent, source: kind.into() })
        }
        (_, lent) => {
            *held = lent;
            Sent::Lost(lost)
        }
    }
}

fn compose(
    registration: &Registration,
    lent: &Lent,
    errand: &Errand<'_>,
    wanted: &[usize],
    samples: usize,
) -> InferRequest {
    let spec = &registration.spec;
    let (index, of) = errand.chunk;
    let id = match (errand.options.id.as_str(), of) {
        ("", _) => String::new(),
        (id, 1) => id.to_owned(),
        (id, _) => format!("{id}#{index}"),
    };
    let outputs = wanted
        .iter()
        .map(|&output| {
            let tensor = &spec.outputs[output];
            let shape = response::expected_shape(spec, tensor, samples);
            lent.wanted_message(spec, output, tensor.datatype.byte_len(&shape))
        })
        .collect();
    InferRequest {
        model_name: spec.name.clone(),
        model_version: errand.options.version.clone().unwrap_or_else(|| spec.version.clone()),
        id,
        parameters: errand.options.wire_parameters(index, of),
        inputs: lent.input_messages(spec),
        outputs,
    }
}

/// Whether the server does not know the region, as one that was restarted does not.
fn is_forgotten(lent: &Lent, code: Code, message: &str) -> bool {
    let region = &lent.generation.region;
    // Releases put it into different words; the region's name is in all of them.
    region.is_shared()
        && matches!(code, Code::NotFound | Code::InvalidArgument | Code::Internal)
        && message.contains(&region.name)
        && (code == Code::NotFound || message.contains("Unable to find"))
}

async fn register_again(
    registration: &Arc<Registration>,
    lent: &Lent,
    seen: u64,
    errand: &Errand<'_>,
) -> Result<(), InferError> {
    let (generation, deadline) = (lent.generation.clone(), errand.deadline);
    let again = match errand.mode {
        Mode::Blocking => generation.register_again(seen, deadline),
        Mode::Async => crate::aside::run(move || generation.register_again(seen, deadline)).await,
    };
    again.map_err(|error| match error {
        RegionError::Call(CallError::Timeout { after, .. }) => {
            InferError::Timeout { model: registration.spec.name.clone(), after }
        }
        RegionError::Call(
            CallError::Unavailable { address, source, .. }
            | CallError::Lost { address, source, .. },
        ) => InferError::Unavailable { address, source },
        error => error.into(),
    })
}

/// The output that did not fit, and how many bytes it needs: "shared memory size specified with the
/// request for output 'OUTPUT0' (64 bytes) should be at least 128 bytes to hold the results". Only for
/// outputs whose size the model alone knows.
fn too_small(registration: &Registration, message: &str) -> Option<(usize, usize)> {
    let (_, rest) = message.split_once("for output '")?;
    let (name, rest) = rest.split_once('\'')?;
    let (_, rest) = rest.split_once("should be at least ")?;
    let bytes = rest.split(' ').next()?.parse().ok()?;
    let index = registration.spec.outputs.iter().position(|tensor| tensor.name == name)?;
    registration.spec.outputs[index].is_dynamic().then_some((index, bytes))
}

/// Exchanges the slot for one with room for `bytes` bytes of an output.
async fn grow(
    registration: &Arc<Registration>,
    held: &mut Option<Lent>,
    output: usize,
    bytes: usize,
    errand: &Errand<'_>,
) -> Result<(), InferError> {
    let lent = held.as_ref().ok_or(InferError::SlotGone)?;
    let found = lent.generation.layout.outputs[output].capacity;
    if !registration.reserve(true, output, bytes) {
        let tensor = &registration.spec.outputs[output];
        let (name, shape) = (tensor.name.clone(), tensor.dims.clone());
        return Err(OutputError::Length { name, shape, expected: bytes, found }.into());
    }
    let mut larger = match errand.mode {
        Mode::Async => registration.lend_async(errand.deadline).await?,
        Mode::Blocking => {
            let interrupt = errand.options.interrupt.clone();
            let mut asked = || interrupt.as_ref().is_some_and(|interrupt| interrupt());
            registration.lend(errand.deadline, &mut asked)?
        }
    };
    lent.copy_inputs_to(&mut larger);
    *held = Some(larger);
    Ok(())
}
