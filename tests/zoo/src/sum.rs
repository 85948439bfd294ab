//! A model that remembers.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use shm_triton::server::{Call, Model, ModelError, Placement, SequenceId};
use shm_triton::wire::Code;
use shm_triton::{DataType, ModelSpec};

/// The model `sum`: after each sample, the sum of all samples of its sequence so far, wrapping.
pub struct Sum {
    spec: ModelSpec,
    sums: Mutex<HashMap<SequenceId, Running>>,
}

/// A sequence that has begun and not ended.
struct Running {
    sum: i32,
    used: Instant,
}

impl Sum {
    /// The model.
    #[allow(clippy::new_without_default, reason = "a model has no default")]
    pub fn new() -> Sum {
        let mut spec = ModelSpec::new("sum", 8).input("INPUT0", DataType::Int32, &[1]).output(
            "OUTPUT0",
            DataType::Int32,
            &[1],
        );
        spec.sequence = true;
        Sum { spec, sums: Mutex::default() }
    }
}

/// A sequence that nobody went on with for so long is forgotten: its client may be dead.
const IDLE: Duration = Duration::from_secs(60);
/// Sequences at once.
const AT_MOST: usize = 4096;

impl Model for Sum {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn placement(&self) -> Placement {
        Placement::Inline
    }

    fn infer(&self, call: &mut Call<'_>) -> Result<(), ModelError> {
        let Some(sequence) = call.sequence() else {
            return Err(invalid("the model 'sum' needs the request to name a sequence".to_owned()));
        };
        let input = call.input("INPUT0")?;
        let mut values = input.to_vec::<i32>()?;
        // The room comes first: a request that is refused must not change the sum.
        let mut output = call.output("OUTPUT0", DataType::Int32, input.shape())?;
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sum = if sequence.start { 0 } else { begun(&sums, &sequence.id)? };
        for value in &mut values {
            sum = sum.wrapping_add(*value);
            *value = sum;
        }
        if sequence.end {
            sums.remove(&sequence.id);
        } else {
            remember(&mut sums, &sequence.id, sum)?;
        }
        drop(sums);
        output.copy_from(&values)
    }
}

fn begun(sums: &HashMap<SequenceId, Running>, id: &SequenceId) -> Result<i32, ModelError> {
    sums.get(id).map(|running| running.sum).ok_or_else(|| {
        invalid(format!(
            "the sequence {id} has not begun or was idle for more than {} s: its first request \
             carries the start flag",
            IDLE.as_secs()
        ))
    })
}

fn remember(
    sums: &mut HashMap<SequenceId, Running>,
    id: &SequenceId,
    sum: i32,
) -> Result<(), ModelError> {
    if sums.len() >= AT_MOST && !sums.contains_key(id) {
        sums.retain(|_, running| running.used.elapsed() < IDLE);
    }
    if sums.len() >= AT_MOST && !sums.contains_key(id) {
        return Err(ModelError::new(
            Code::ResourceExhausted,
            format!("{AT_MOST} sequences are open: end one of them by the end flag"),
        ));
    }
    sums.insert(id.clone(), Running { sum, used: Instant::now() });
    Ok(())
}

fn invalid(message: String) -> ModelError {
    ModelError::new(Code::InvalidArgument, message)
}
