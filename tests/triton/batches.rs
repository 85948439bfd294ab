//! However many samples: the same values as in the message, in the same order.

use crate::call::call;
use shm_tests::triton::{Place, samples, tag};
use shm_triton::{DataType, Inputs, Model, ModelConfig, Options, SharedMemory};
use std::thread;

everywhere!(
    any_batch_on_any_slots_equals_the_plain_path,
    several_tensors_stay_in_step,
    parts_are_one_tensor,
);

const BATCHES: [usize; 5] = [0, 1, 8, 9, 100];

fn any_batch_on_any_slots_equals_the_plain_path(place: &Place) {
    let plain_client = place.config().shared_memory(SharedMemory::Never).connect().unwrap();
    let plain = plain_client.register_model(ModelConfig::new("identity").slots(8)).unwrap();
    for slots in [1, 2, 4] {
        let client = place.client();
        let model = client.register_model(ModelConfig::new("identity").slots(slots)).unwrap();
        thread::scope(|scope| {
            for thread in 0..8 {
                let (model, plain) = (&model, &plain);
                scope.spawn(move || {
                    // Not in the same order everywhere.
                    for step in 0..25 {
                        compare(model, plain, BATCHES[(step + thread) % BATCHES.len()]);
                    }
                });
            }
        });
        assert_eq!(client.stats().inline_calls, 0);
    }
    assert!(plain_client.stats().inline_calls > 0);
}

fn compare(model: &Model, plain: &Model, batch: usize) {
    let data = samples(tag(), batch * 16);
    let inputs = Inputs::new().tensor("INPUT0", &[batch as i64, 16], &data).unwrap();
    for model in [model, plain] {
        let outputs = model.infer(&inputs, &Options::new()).unwrap();
        assert_eq!(outputs.shape("OUTPUT0").unwrap(), [batch as i64, 16]);
        assert_eq!(outputs.get::<f32>("OUTPUT0").unwrap(), data);
    }
}

fn several_tensors_stay_in_step(place: &Place) {
    let client = place.client();
    let model = client.register_model(ModelConfig::new("multi_io").slots(3)).unwrap();
    let plain_client = place.config().shared_memory(SharedMemory::Never).connect().unwrap();
    let plain = plain_client.register_model(ModelConfig::new("multi_io")).unwrap();
    let (sample, batch) = (3 * 224 * 224, 19);
    let pixels = samples(tag(), batch * sample);
    let numbers: Vec<i32> = (0..batch as i32 * 10).map(|at| at.wrapping_mul(1_000_003)).collect();
    let inputs = Inputs::new()
        .tensor("INPUT0", &[batch as i64, 3, 224, 224], &pixels)
        .and_then(|inputs| inputs.tensor("INPUT1", &[batch as i64, 10], &numbers))
        .unwrap();
    for model in [&model, &plain] {
        let outputs = model.infer(&inputs, &Options::new()).unwrap();
        let floats = outputs.get::<f32>("OUTPUT0").unwrap();
        assert_eq!(floats.len(), batch * 512);
        for (at, &found) in floats.iter().enumerate() {
            assert_eq!(found, pixels[at / 512 * sample + at % 512] + 1.0, "value {at}");
        }
        let doubled = outputs.get::<i32>("OUTPUT1").unwrap();
        assert_eq!(doubled.len(), batch * 5);
        for (at, &found) in doubled.iter().enumerate() {
            assert_eq!(found, numbers[at / 5 * 10 + at % 5].wrapping_mul(2), "number {at}");
        }
    }
    // One output alone, into memory that is used again.
    let one = Options::new().outputs(&["OUTPUT1"]);
    let earlier = model.infer(&inputs, &one).unwrap();
    assert_eq!(earlier.names().collect::<Vec<_>>(), ["OUTPUT1"]);
    let outputs = model.infer_into(&inputs, &Options::new(), earlier).unwrap();
    assert_eq!(outputs.get::<i32>("OUTPUT1").unwrap()[5], numbers[10].wrapping_mul(2));
}

fn parts_are_one_tensor(place: &Place) {
    let client = place.client();
    let model = client.register_model(ModelConfig::new("identity").slots(2).batch(3)).unwrap();
    call(&model, 100, &Options::new()).unwrap();
    let parts: Vec<Vec<f32>> = (0..5).map(|_| samples(tag(), 2 * 16)).collect();
    let bytes = parts.iter().map(|part| bytemuck::cast_slice(part)).collect();
    let inputs = Inputs::new().parts("INPUT0", DataType::Fp32, &[2, 16], bytes).unwrap();
    let outputs = model.infer(&inputs, &Options::new()).unwrap();
    assert_eq!(outputs.get::<f32>("OUTPUT0").unwrap(), parts.concat());
}
