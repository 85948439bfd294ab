//! A response is believed only if it is what the model declares; and outputs of any length find room.

use crate::call::{PATIENCE, assert_all_free, call, until};
use futures::executor::block_on;
use shm_tests::triton::Place;
use shm_triton::{InferError, Inputs, Model, ModelConfig, Options, OutputError};
use std::thread;

everywhere!(
    what_the_model_did_not_produce_is_an_error,
    outputs_of_unknown_length_find_room,
    slots_grow_under_many_threads,
    room_that_was_asked_for_too_small_disturbs_no_neighbour,
);

fn what_the_model_did_not_produce_is_an_error(place: &Place) {
    let client = place.client();
    let model = client.register_model(ModelConfig::new("fail").slots(1)).unwrap();
    let data = [42.0_f32; 3 * 16];
    let inputs = Inputs::new().tensor("INPUT0", &[3, 16], &data).unwrap();
    for mode in ["ok", "error", "missing", "short", "type", "ok"] {
        let options = Options::new().parameter("mode", mode);
        let mut slot = model.slot(PATIENCE).unwrap();
        slot.fill(&inputs).unwrap();
        check(
            mode,
            slot.run(&options).map(|outputs| outputs.get::<f32>("OUTPUT0").unwrap() == data),
        );
        // It was answered, so the slot is the caller's still.
        check("ok", slot.run(&Options::new().parameter("mode", "ok")).map(|_| true));
        drop(slot);
        let equal =
            |outputs: shm_triton::Outputs<'_>| outputs.get::<f32>("OUTPUT0").unwrap() == data;
        check(mode, model.infer(&inputs, &options).map(equal));
        check(mode, block_on(model.infer_async(&inputs, &options)).map(equal));
    }
    assert_all_free(&client, &model);
    assert_eq!(client.stats().retired, 0);
}

#[track_caller]
fn check(mode: &str, result: Result<bool, InferError>) {
    let expected = match (&result, mode) {
        (Ok(equal), "ok") => *equal,
        (Err(InferError::Refused { message, .. }), "error") => message.contains("asked to fail"),
        (Err(InferError::Output(OutputError::Missing { name })), "missing") => name == "OUTPUT0",
        (Err(InferError::Output(OutputError::Shape { expected, found, .. })), "short") => {
            (expected.as_slice(), found.as_slice()) == (&[3, 16], &[3, 8])
        }
        (Err(InferError::Output(OutputError::DataType { found, .. })), "type") => found == "INT32",
        _ => false,
    };
    assert!(expected, "{mode}: {result:?}");
}

fn outputs_of_unknown_length_find_room(place: &Place) {
    let client = place.client();
    let config = ModelConfig::new("dynamic").slots(2).byte_capacity("OUTPUT0", 400);
    let model = client.register_model(config).unwrap();
    for count in [100, 0, 1, 99, 100] {
        assert_eq!(counted(&model, count, false), count);
    }
    assert_eq!(client.stats().retired, 0, "it has room for a hundred");
    // One more than there is room for, then far more, then few again.
    for count in [101, 20_000, 0, 100, 300_000] {
        assert_eq!(counted(&model, count, count == 20_000), count);
    }
    let grown = client.stats().retired;
    assert!((1..=6).contains(&grown), "{grown}");
    // In a slot that one holds: it is exchanged for a larger one.
    let mut slot = model.slot(PATIENCE).unwrap();
    slot.input::<i32>("INPUT0", &[1]).unwrap()[0] = 500_000;
    let outputs = slot.run(&Options::new()).unwrap();
    assert_eq!(outputs.get::<f32>("OUTPUT0").unwrap().len(), 500_000);
    assert_eq!(outputs.get::<f32>("OUTPUT0").unwrap()[499_999], 499_999.0);
    drop(slot);
    // Room can be made beforehand.
    model.reserve("OUTPUT0", 4_000_000).unwrap();
    let before = client.stats().retired;
    assert_eq!(counted(&model, 1_000_000, false), 1_000_000);
    assert_eq!(client.stats().retired, before);
    assert!(model.reserve("NONE", 1).is_err());
    let error = counted_or(&model, -1).unwrap_err();
    assert!(matches!(error, InferError::Refused { .. }), "{error}");
    assert_all_free(&client, &model);
}

fn counted(model: &Model, count: i32, asynchronously: bool) -> i32 {
    if !asynchronously {
        return counted_or(model, count).unwrap();
    }
    let input = [count];
    let inputs = Inputs::new().tensor("INPUT0", &[1], &input).unwrap();
    verified(&block_on(model.infer_async(&inputs, &Options::new())).unwrap())
}

fn counted_or(model: &Model, count: i32) -> Result<i32, InferError> {
    let input = [count];
    let inputs = Inputs::new().tensor("INPUT0", &[1], &input)?;
    Ok(verified(&model.infer(&inputs, &Options::new())?))
}

/// How many there are; each must be its own place.
fn verified(outputs: &shm_triton::Outputs<'_>) -> i32 {
    let values = outputs.get::<f32>("OUTPUT0").unwrap();
    assert_eq!(outputs.shape("OUTPUT0").unwrap(), [values.len() as i64]);
    assert!(values.iter().enumerate().all(|(at, &value)| value == at as f32));
    values.len() as i32
}

/// Each growth replaces all slots, of which others are in use.
fn slots_grow_under_many_threads(place: &Place) {
    let client = place.client();
    let config = ModelConfig::new("dynamic").slots(2).byte_capacity("OUTPUT0", 64);
    let model = client.register_model(config).unwrap();
    thread::scope(|scope| {
        for thread in 0..8 {
            let model = &model;
            scope.spawn(move || {
                for round in 0..30 {
                    let most = 16 << (round / 2);
                    let count = fastrand::i32(0..=most);
                    assert_eq!(counted(model, count, thread % 2 == 0), count);
                }
            });
        }
    });
    assert!(client.stats().retired > 3, "{:?}", client.stats());
    assert_eq!(client.stats().lost, 0);
    assert_all_free(&client, &model);
    // Every one that was replaced is given back.
    model.unregister(PATIENCE).unwrap();
    until("the server is told of all", || client.stats().owed == 0);
}

fn room_that_was_asked_for_too_small_disturbs_no_neighbour(place: &Place) {
    let client = place.client();
    let config = ModelConfig::new("identity").slots(2);
    let config = config.byte_capacity("OUTPUT0", 4).byte_capacity("INPUT0", 4);
    let model = client.register_model(config).unwrap();
    let mut slots = [model.slot(PATIENCE).unwrap(), model.slot(PATIENCE).unwrap()];
    for (slot, value) in slots.iter_mut().zip([1.0, 2.0]) {
        slot.input::<f32>("INPUT0", &[8, 16]).unwrap().fill(value);
    }
    for (slot, value) in slots.iter_mut().zip([1.0, 2.0]) {
        let outputs = slot.run(&Options::new()).unwrap();
        assert_eq!(outputs.get::<f32>("OUTPUT0").unwrap(), [value; 8 * 16]);
    }
    drop(slots);
    call(&model, 30, &Options::new()).unwrap();
}
