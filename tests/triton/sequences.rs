//! Sequences: samples in their order, started once and ended once, however they are cut.

use crate::call::PATIENCE;
use shm_tests::triton::Place;
use shm_triton::{InferError, Inputs, ModelConfig, Options, Sequence};

everywhere!(chunks_of_a_sequence_keep_their_order, a_sequence_has_to_begin);

fn chunks_of_a_sequence_keep_their_order(place: &Place) {
    let client = place.client();
    // One sample a request: the most that every server's batcher takes of one sequence.
    let model = client.register_model(ModelConfig::new("sum").slots(4).batch(1)).unwrap();
    let id = u64::from(std::process::id()) * 4 + place.wire as u64 + 1;
    for sequence in [Sequence::new(id), Sequence::named(format!("test-{id}"))] {
        let data = [5_i32, 6, 7, -20, 100];
        let inputs = Inputs::new().tensor("INPUT0", &[5, 1], &data).unwrap();
        let options = Options::new().within(PATIENCE);
        let whole = options.clone().sequence(sequence.clone().start().end());
        let sums = model.infer(&inputs, &whole).unwrap();
        assert_eq!(sums.get::<i32>("OUTPUT0").unwrap(), [5, 11, 18, -2, 98]);
        // In two calls, of which the first begins and the second ends; each chunk has its own name.
        let first = options.clone().id("first").sequence(sequence.clone().start());
        let second = options.clone().id("second").sequence(sequence.clone().end());
        let mut seen = Vec::new();
        for options in [&first, &second] {
            let visit = |chunk: shm_triton::Chunk<'_>| {
                let sum = chunk.outputs.get::<i32>("OUTPUT0")?[0];
                seen.push((chunk.outputs.id().to_owned(), sum));
                Ok::<_, InferError>(())
            };
            model.infer_each(&inputs, options, visit).unwrap();
        }
        let sums = [5, 11, 18, -2, 98, 103, 109, 116, 96, 196];
        let ids =
            ["first", "second"].iter().flat_map(|id| (0..5).map(move |at| format!("{id}#{at}")));
        assert_eq!(seen, ids.zip(sums).collect::<Vec<_>>());
    }
}

fn a_sequence_has_to_begin(place: &Place) {
    let client = place.client();
    let model = client.register_model(ModelConfig::new("sum").slots(2).batch(1)).unwrap();
    let inputs = Inputs::new().tensor("INPUT0", &[1, 1], &[1_i32]).unwrap();
    let id = 7_000_000_000 + u64::from(std::process::id()) * 4 + place.wire as u64;
    for options in [Options::new(), Options::new().sequence(Sequence::new(id))] {
        let error = model.infer(&inputs, &options.within(PATIENCE)).unwrap_err();
        assert!(matches!(error, InferError::Refused { .. }), "{error}");
    }
}
