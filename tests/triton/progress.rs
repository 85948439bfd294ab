//! Chunk by chunk: each is told of once, where it lies, and the first error is the one that counts.

use crate::call::assert_all_free;
use shm_tests::triton::{Place, check, samples, tag};
use shm_triton::{Chunk, InferError, Inputs, ModelConfig, Options};

everywhere!(every_chunk_is_told_of, an_error_ends_the_rest);

fn every_chunk_is_told_of(place: &Place) {
    let client = place.client();
    let model = client.register_model(ModelConfig::new("identity").slots(3).batch(4)).unwrap();
    let (tag, batch) = (tag(), 30);
    let data = samples(tag, batch * 16);
    let inputs = Inputs::new().tensor("INPUT0", &[batch as i64, 16], &data).unwrap();
    let (mut chunks, mut values) = (Vec::new(), vec![0.0; batch * 16]);
    let visit = |chunk: Chunk<'_>| {
        assert_eq!(chunk.of, 8);
        assert!(chunk.outputs.is_shared("OUTPUT0")?, "where the server wrote it");
        let found = chunk.outputs.get::<f32>("OUTPUT0")?;
        values[chunk.first * 16..(chunk.first + chunk.samples) * 16].copy_from_slice(found);
        chunks.push((chunk.index, chunk.first, chunk.samples));
        Ok::<_, InferError>(())
    };
    model.infer_each(&inputs, &Options::new(), visit).unwrap();
    check(tag, batch * 16, &values).unwrap();
    chunks.sort();
    let expected: Vec<_> =
        (0..8).map(|index| (index, index * 4, if index == 7 { 2 } else { 4 })).collect();
    assert_eq!(chunks, expected);
}

#[derive(Debug)]
enum Trouble {
    Enough(usize),
    Infer(InferError),
}

impl From<InferError> for Trouble {
    fn from(error: InferError) -> Trouble {
        Trouble::Infer(error)
    }
}

fn an_error_ends_the_rest(place: &Place) {
    let client = place.client();
    let model = client.register_model(ModelConfig::new("fail").slots(2).batch(4)).unwrap();
    // The first value of a chunk says how it fails.
    let mut data = vec![0.0_f32; 40 * 16];
    data[5 * 4 * 16] = 1.0;
    let inputs = Inputs::new().tensor("INPUT0", &[40, 16], &data).unwrap();
    let mut visited = Vec::new();
    let result = model.infer_each(&inputs, &Options::new(), |chunk| {
        visited.push(chunk.index);
        Ok::<_, Trouble>(())
    });
    let Err(Trouble::Infer(InferError::Chunk { index: 5, of: 10, first: 20, samples: 4, source })) =
        result
    else {
        panic!("{result:?}");
    };
    assert!(matches!(*source, InferError::Refused { .. }), "{source}");
    assert!(!visited.contains(&5) && visited.len() >= 4, "{visited:?}");
    let error = model.infer(&inputs, &Options::new()).unwrap_err();
    assert!(matches!(error, InferError::Chunk { index: 5, .. }), "{error}");
    assert!(error.to_string().contains("samples 20 to 23"), "{error}");
    let usual = Options::new();
    let error = futures::executor::block_on(model.infer_async(&inputs, &usual)).unwrap_err();
    assert!(matches!(error, InferError::Chunk { index: 5, .. }), "{error}");

    let mut visits = 0;
    let result = model.infer_each(&inputs, &Options::new(), |chunk| {
        visits += 1;
        if visits == 3 { Err(Trouble::Enough(chunk.samples)) } else { Ok(()) }
    });
    assert!(matches!(result, Err(Trouble::Enough(4))), "{result:?}");
    assert_eq!(visits, 3, "nothing is told after that");
    assert_all_free(&client, &model);
    data[5 * 4 * 16] = 0.0;
    let inputs = Inputs::new().tensor("INPUT0", &[40, 16], &data).unwrap();
    assert_eq!(model.infer(&inputs, &Options::new()).unwrap().get::<f32>("OUTPUT0").unwrap(), data);
}
