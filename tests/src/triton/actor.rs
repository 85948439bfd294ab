//! What a peer does as a client of a Triton server.
//!
//! | command                      | does                                                            |
//! |------------------------------|-----------------------------------------------------------------|
//! | `connect URL`, `sweeping URL` | a client that leaves, or removes, the regions of dead ones     |
//! | `register MODEL SLOTS`       | registers a model                                               |
//! | `infer`                      | one call, every value of its answer checked                     |
//! | `hold`                       | lends a slot, fills it and keeps it                              |
//! | `run`                        | runs the slot that is kept                                      |
//! | `work`                       | calls with random delays and deadlines until the next line: answers how many were answered |
//! | `cycle`                      | registers, calls and unregisters until the next line            |
//! | `endure`                     | the same, whatever fails: answers how often nothing did         |
//! | `close`                      | drops all                                                       |

use super::values::{check, samples, tag};
use crate::Failure;
use shm_triton::{
    ClientConfig, InferError, InferSlot, Inputs, Model, ModelConfig, Options, Outputs, TritonClient,
};
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct TritonActor {
    slot: Option<InferSlot>,
    model: Option<Model>,
    client: Option<TritonClient>,
}

/// Why a step did not go as it should; shows as the kind of its cause.
pub(crate) struct Refusal {
    pub kind: String,
    pub text: String,
}

type Done = Result<String, Refusal>;

impl TritonActor {
    /// Acts on one line, without the word `triton`. `begun` answers that something goes on until the next
    /// line, `stop` tells whether that has come.
    pub(crate) fn act(
        &mut self,
        words: &[&str],
        begun: &dyn Fn(),
        stop: &dyn Fn() -> bool,
    ) -> Done {
        match *words {
            ["connect", url] => self.connect(url, false),
            ["sweeping", url] => self.connect(url, true),
            ["register", model, slots] => self.register(model, slots.parse()?),
            ["infer"] => self.infer(&at_once()).map(|_| String::new()),
            ["hold"] => self.hold(),
            ["run"] => self.run(),
            ["work"] => self.work(begun, stop),
            ["cycle"] => self.cycle(begun, stop),
            ["endure"] => self.endure(begun, stop),
            ["close"] => {
                *self = TritonActor::default();
                Ok(String::new())
            }
            _ => Err(Failure::Unexpected(format!("unknown: triton {words:?}")).into()),
        }
    }

    fn connect(&mut self, url: &str, sweep: bool) -> Done {
        self.client = Some(ClientConfig::new(url).sweep(sweep).connect()?);
        Ok(String::new())
    }

    fn register(&mut self, model: &str, slots: usize) -> Done {
        let config = ModelConfig::new(model).slots(slots);
        self.model = Some(self.client()?.register_model(config)?);
        Ok(String::new())
    }

    fn infer(&self, options: &Options) -> Result<bool, Refusal> {
        let model = self.model()?;
        let (tag, values) = (own_tag(), values_of(model));
        let data = samples(tag, values);
        let inputs = Inputs::new().tensor("INPUT0", &[1, values as i64], &data)?;
        match model.infer(&inputs, options) {
            Ok(outputs) => verify(tag, values, &outputs).map(|()| true),
            Err(InferError::Timeout { .. } | InferError::NoSlot { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn hold(&mut self) -> Done {
        let mut slot = self.model()?.slot(Duration::from_secs(20))?;
        let values = values_of(self.model()?);
        slot.set("INPUT0", &[1, values as i64], &samples(0, values))?;
        self.slot = Some(slot);
        Ok(String::new())
    }

    fn run(&mut self) -> Done {
        let values = values_of(self.model()?);
        let slot = self.slot.as_mut().ok_or_else(|| missing("slot"))?;
        let outputs = slot.run(&at_once())?;
        verify(0, values, &outputs).map(|()| String::new())
    }

    fn work(&self, begun: &dyn Fn(), stop: &dyn Fn() -> bool) -> Done {
        begun();
        let mut answered = 0;
        while !stop() {
            let options = Options::new()
                .parameter("delay_ms", fastrand::i64(0..8))
                .within(Duration::from_millis(fastrand::u64(1..40)));
            answered += u32::from(self.infer(&options)?);
        }
        Ok(answered.to_string())
    }

    fn cycle(&mut self, begun: &dyn Fn(), stop: &dyn Fn() -> bool) -> Done {
        begun();
        let mut rounds = 0;
        while !stop() {
            self.round(1 + rounds % 3)?;
            rounds += 1;
        }
        Ok(rounds.to_string())
    }

    /// What is torn is never endured.
    fn endure(&mut self, begun: &dyn Fn(), stop: &dyn Fn() -> bool) -> Done {
        begun();
        let mut rounds = 0;
        while !stop() {
            match self.round(2) {
                Ok(()) => rounds += 1,
                Err(refusal) if refusal.kind == "Torn" => return Err(refusal),
                Err(_) => {
                    if let Some(model) = self.model.take() {
                        // It is gone already, or this fails like the rest.
                        let _ = model.unregister(Duration::from_millis(50));
                    }
                }
            }
        }
        Ok(rounds.to_string())
    }

    fn round(&mut self, slots: usize) -> Result<(), Refusal> {
        self.register("identity", slots)?;
        self.infer(&at_once())?;
        Ok(self.model()?.unregister(Duration::from_secs(20))?)
    }

    fn client(&self) -> Result<&TritonClient, Refusal> {
        self.client.as_ref().ok_or_else(|| missing("client"))
    }

    fn model(&self) -> Result<&Model, Refusal> {
        self.model.as_ref().ok_or_else(|| missing("model"))
    }
}

/// Without the delay that the model `slow` has of its own.
fn at_once() -> Options {
    Options::new().parameter("delay_ms", 0)
}

/// Tags of two peers differ.
fn own_tag() -> u32 {
    tag() ^ std::process::id().wrapping_mul(40_014)
}

fn values_of(model: &Model) -> usize {
    model.spec().inputs[0].dims.iter().product::<i64>().unsigned_abs() as usize
}

fn verify(tag: u32, values: usize, outputs: &Outputs<'_>) -> Result<(), Refusal> {
    Ok(check(tag, values, outputs.get::<f32>("OUTPUT0")?)?)
}

fn missing(what: &str) -> Refusal {
    Failure::Unexpected(format!("no {what}")).into()
}

impl<E: std::error::Error> From<E> for Refusal {
    fn from(error: E) -> Refusal {
        let debug = format!("{error:?}");
        let end = debug.find(|c: char| !c.is_alphanumeric()).unwrap_or(debug.len());
        Refusal { kind: debug[..end].to_owned(), text: error.to_string() }
    }
}
