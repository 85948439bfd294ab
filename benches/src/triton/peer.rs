//! The clients in Python: triton-shm-client, and tritonclient with and without shared memory.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use super::calls::Calls;
use super::model::{Model, Tensor};
use crate::measure::Samples;
use crate::script::Script;

/// How a Python client sends tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Way {
    /// triton-shm-client.
    Pool,
    /// tritonclient with regions of its own that are registered once.
    Regions,
    /// tritonclient, in the message.
    Plain,
}

/// The process that runs them.
pub(super) struct Peer {
    script: Script,
    /// The versions of what it runs.
    pub versions: Versions,
}

/// What runs in the peer's process.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Versions {
    python: String,
    numpy: String,
    grpcio: String,
    tritonclient: String,
    #[serde(rename = "triton-shm-client")]
    peer: String,
}

#[derive(Serialize)]
#[serde(tag = "do", rename_all = "lowercase")]
enum Order<'a> {
    Open {
        url: &'a str,
        model: &'a str,
        batch: usize,
        inputs: Vec<Described<'a>>,
        outputs: Vec<Described<'a>>,
        adds: f32,
        shown: [usize; 2],
        slots: usize,
    },
    Run {
        way: Way,
        seconds: f64,
        threads: usize,
    },
    Close,
}

/// Name, dimensions per sample, element type.
type Described<'a> = (&'a str, &'a [usize], &'a str);

#[derive(Deserialize)]
struct Answer {
    error: Option<String>,
    versions: Option<Versions>,
    /// Nanoseconds of each call.
    took: Option<Vec<u64>>,
    elapsed: Option<u64>,
}

impl Peer {
    /// Starts the interpreter.
    pub fn start(python: &Path) -> Result<Peer> {
        let mut script = Script::start(python, "triton/peer.py", &[])?;
        let ready = checked(script.answer()?)?;
        let versions = ready.versions.context("the peer did not say its versions")?;
        Ok(Peer { script, versions })
    }

    /// Connects to a server; the model is registered when it is first run.
    pub fn open(&mut self, url: &str, name: &str, model: &Model, slots: usize) -> Result<()> {
        self.ask(&Order::Open {
            url,
            model: name,
            batch: model.batch,
            inputs: described(model.inputs),
            outputs: described(model.outputs),
            adds: model.adds,
            shown: model.shown(),
            slots,
        })?;
        Ok(())
    }

    /// Calls for as long as `slice` and once at least, by that many threads.
    pub fn run(&mut self, way: Way, slice: Duration, threads: usize) -> Result<Calls> {
        let answer = self.ask(&Order::Run { way, seconds: slice.as_secs_f64(), threads })?;
        let (Some(took), Some(elapsed)) = (answer.took, answer.elapsed) else {
            bail!("the peer did not say how long its calls took");
        };
        ensure!(!took.is_empty() && elapsed > 0, "the peer made no calls");
        Ok(Calls {
            took: took.into_iter().collect::<Samples>(),
            elapsed: Duration::from_nanos(elapsed),
        })
    }

    /// Gives back what it has registered.
    pub fn close(&mut self) -> Result<()> {
        self.ask(&Order::Close).map(|_| ())
    }

    fn ask(&mut self, order: &Order<'_>) -> Result<Answer> {
        checked(self.script.ask(order)?)
    }
}

fn checked(answer: Answer) -> Result<Answer> {
    match answer.error {
        Some(error) => bail!("{error}"),
        None => Ok(answer),
    }
}

fn described(tensors: &'static [Tensor]) -> Vec<Described<'static>> {
    tensors.iter().map(|tensor| (tensor.name, tensor.dims, tensor.datatype)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::triton::model::NUMBER;
    use crate::triton::model::SMALLEST;

    #[test]
    fn orders_are_what_the_script_reads() {
        let run = Order::Run { way: Way::Pool, seconds: 0.5, threads: 2 };
        let text = serde_json::to_string(&run).unwrap();
        assert_eq!(text, "{\"do\":\"run\",\"way\":\"pool\",\"seconds\":0.5,\"threads\":2}");
        assert_eq!(serde_json::to_string(&Order::Close).unwrap(), "{\"do\":\"close\"}");
        let script = include_str!("../../triton/peer.py");
        for word in ["\"open\"", "\"run\"", "\"close\"", "\"pool\"", "\"regions\"", "\"plain\""] {
            assert!(script.contains(word), "{word}");
        }
        assert!(script.contains(&format!("NUMBER = {NUMBER}")));
        assert_eq!(described(SMALLEST.inputs), [("INPUT0", &[16][..], "FP32")]);
    }

    #[test]
    fn an_interpreter_that_ends_is_an_error() {
        let error = Peer::start(Path::new("/bin/false")).err().unwrap();
        assert!(format!("{error:#}").contains("without a word"), "{error:#}");
    }
}
