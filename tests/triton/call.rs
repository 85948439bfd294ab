//! Calls whose every value is checked, and what tests wait for.

use shm_tests::triton::{check, samples, tag};
use shm_triton::{InferError, Inputs, Model, Options, TritonClient};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// For what has to come about by itself. Not a statement about speed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Calls a model that copies FP32 values with values that no other call has, and checks every one of the
/// answer.
pub(crate) fn call(model: &Model, batch: usize, options: &Options) -> Result<(), InferError> {
    let (tag, shape) = (tag(), shape(model, batch));
    let data = samples(tag, shape.iter().product::<i64>() as usize);
    let inputs = Inputs::new().tensor("INPUT0", &shape, &data)?;
    let outputs = model.infer(&inputs, options)?;
    assert_eq!(outputs.shape("OUTPUT0")?, shape);
    check(tag, data.len(), outputs.get("OUTPUT0")?).unwrap();
    Ok(())
}

/// As [`call`], asynchronously.
pub(crate) async fn call_async(
    model: &Model,
    batch: usize,
    options: &Options,
) -> Result<(), InferError> {
    let (tag, shape) = (tag(), shape(model, batch));
    let data = samples(tag, shape.iter().product::<i64>() as usize);
    let inputs = Inputs::new().tensor("INPUT0", &shape, &data)?;
    let outputs = model.infer_async(&inputs, options).await?;
    assert_eq!(outputs.shape("OUTPUT0")?, shape);
    check(tag, data.len(), outputs.get("OUTPUT0")?).unwrap();
    Ok(())
}

/// Shape of the first input with so many samples.
pub(crate) fn shape(model: &Model, batch: usize) -> Vec<i64> {
    let spec = model.spec();
    let batch = (spec.max_batch_size > 0).then_some(batch as i64);
    batch.into_iter().chain(spec.inputs[0].dims.iter().copied()).collect()
}

/// The model `slow`, asked to take that long.
pub(crate) fn taking(ms: i64) -> Options {
    Options::new().parameter("delay_ms", ms)
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Waits until it is so.
#[track_caller]
pub(crate) fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "still not after {PATIENCE:?}: {what}");
        std::thread::sleep(ms(5));
    }
}

/// All slots of the model can be had at once, which is so once no request is open.
#[track_caller]
pub(crate) fn assert_all_free(client: &TritonClient, model: &Model) {
    until("open requests end", || client.stats().in_flight == 0);
    let slots: Vec<_> = (0..model.slots())
        .map(|slot| model.slot(PATIENCE).unwrap_or_else(|e| panic!("slot {slot}: {e}")))
        .collect();
    drop(slots);
}

/// Names of the regions that the server has of the process with that number.
pub(crate) fn regions_of(client: &TritonClient, pid: u32) -> Vec<String> {
    let ours = format!("shm-triton-triton.{pid}.");
    let regions = client.regions().unwrap().into_iter().map(|region| region.name);
    regions.filter(|name| name.starts_with(&ours)).collect()
}

/// Files in shared memory that the process with that number has made for a server.
pub(crate) fn files_of(pid: u32) -> Vec<PathBuf> {
    shm_tests::leftovers(&format!("triton.{pid}."), &[])
}

/// The files of the regions of that name.
pub(crate) fn file_of(region: &str) -> PathBuf {
    let segment = region.strip_prefix("shm-triton-").unwrap();
    let files = shm_tests::leftovers(segment, &[]);
    files.into_iter().next().unwrap_or_else(|| PathBuf::from("/dev/shm/none"))
}
