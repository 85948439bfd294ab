//! Our client: in place, with copies, and with the tensors in the message.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use shm_triton::{
    ClientConfig, InferSlot, Inputs, ModelConfig, Options, Outputs, SharedMemory, TritonClient,
};

use super::model::{Model, NUMBER};

/// Longer than any wait here.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client with one model registered; it goes when this is dropped.
pub(super) struct Ours {
    client: TritonClient,
    registered: shm_triton::Model,
    model: Model,
}

impl Ours {
    /// Connects and registers `name`, a model like `model`.
    pub fn register(
        url: &str,
        name: &str,
        model: Model,
        slots: usize,
        shared_memory: SharedMemory,
    ) -> Result<Ours> {
        let client = ClientConfig::new(url)
            .timeout(Some(PATIENCE))
            .shared_memory(shared_memory)
            .connect()
            .with_context(|| format!("could not connect to {url}"))?;
        let config = ModelConfig::new(name).slots(slots).batch(model.batch);
        let registered = client
            .register_model(config)
            .with_context(|| format!("could not register {name} at {url}"))?;
        Ok(Ours { client, registered, model })
    }

    /// A slot that is filled once, then run as often as one likes.
    pub fn in_place(&self) -> Result<InPlace> {
        let model = self.model;
        let mut slot = self.registered.slot(PATIENCE)?;
        for tensor in model.inputs {
            let shape = model.shape(tensor);
            match tensor.datatype {
                "INT32" => slot.input::<i32>(tensor.name, &shape)?.fill(NUMBER),
                _ => slot.input::<f32>(tensor.name, &shape)?.fill(0.5),
            }
        }
        let shape = model.shape(&model.inputs[0]);
        Ok(InPlace { slot, shape, model, turn: 0 })
    }

    /// Calls that copy in and out, or send and receive everything.
    pub fn copied(&self) -> Copied {
        let model = self.model;
        let floats = vec![0.5; model.elements(&model.inputs[0])];
        let numbers = model
            .inputs
            .get(1)
            .map_or_else(Vec::new, |tensor| vec![NUMBER; model.elements(tensor)]);
        Copied {
            registered: self.registered.clone(),
            floats,
            numbers,
            outputs: Outputs::default(),
            model,
            turn: 0,
        }
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // What a server keeps of it would only show at the end of the whole run.
        if let Err(error) = self.client.close(PATIENCE) {
            eprintln!("a client of {} did not end in good order: {error}", self.client.address());
        }
    }
}

/// See [`Ours::in_place`].
pub(super) struct InPlace {
    slot: InferSlot,
    shape: Vec<i64>,
    model: Model,
    turn: u32,
}

impl InPlace {
    /// Changes the first and the last value, runs the model, and looks at what became of them.
    pub fn call(&mut self) -> Result<()> {
        self.turn += 1;
        let marks = marks(self.turn);
        let input = self.slot.input::<f32>("INPUT0", &self.shape)?;
        for (at, mark) in self.model.shown().into_iter().zip(marks) {
            input[at] = mark;
        }
        let outputs = self.slot.run(&Options::default())?;
        check(&self.model, &outputs, marks)
    }
}

/// See [`Ours::copied`].
pub(super) struct Copied {
    registered: shm_triton::Model,
    floats: Vec<f32>,
    numbers: Vec<i32>,
    outputs: Outputs<'static>,
    model: Model,
    turn: u32,
}

impl Copied {
    /// The same with tensors in memory of their own on both sides.
    pub fn call(&mut self) -> Result<()> {
        self.turn += 1;
        let (model, marks) = (self.model, marks(self.turn));
        for (at, mark) in model.shown().into_iter().zip(marks) {
            self.floats[at] = mark;
        }
        let mut inputs =
            Inputs::new().tensor("INPUT0", &model.shape(&model.inputs[0]), &self.floats)?;
        if let Some(second) = model.inputs.get(1) {
            inputs = inputs.tensor(second.name, &model.shape(second), &self.numbers)?;
        }
        let earlier = std::mem::take(&mut self.outputs);
        self.outputs = self.registered.infer_into(&inputs, &Options::default(), earlier)?;
        check(&model, &self.outputs, marks)
    }
}

/// Values that no call before had.
fn marks(turn: u32) -> [f32; 2] {
    // Up to here every whole number is a float of its own.
    let turn = (turn % (1 << 22)) as f32;
    [turn, turn + 0.5]
}

fn check(model: &Model, outputs: &Outputs<'_>, marks: [f32; 2]) -> Result<()> {
    let got = outputs.get::<f32>("OUTPUT0")?;
    let ends = [got.first(), got.last()].map(|end| end.copied().unwrap_or(f32::NAN));
    let expected = marks.map(|mark| mark + model.adds);
    ensure!(ends == expected, "{}: {ends:?} came back in place of {expected:?}", model.name);
    if let Some(second) = model.outputs.get(1) {
        let got = outputs.get::<i32>(second.name)?;
        ensure!(got.first() == Some(&(2 * NUMBER)), "{}: {:?}", second.name, got.first());
    }
    Ok(())
}
