//! Every element type arrives as it was sent, bit by bit.

use shm_tests::triton::Place;
use shm_triton::{DataType, InferError, Inputs, Model, ModelConfig, Options};

everywhere!(numbers_of_every_kind, byte_strings_of_every_kind, any_number_of_bytes);

fn numbers_of_every_kind(place: &Place) {
    let client = place.client();
    let model = client.register_model(ModelConfig::new("half").slots(2)).unwrap();
    let batch = 3;
    let wide = batch as usize * 8;
    let fp16: Vec<half::f16> = (0..wide).map(|at| half::f16::from_bits(at as u16 * 2731)).collect();
    let bf16: Vec<half::bf16> =
        (0..wide).map(|at| half::bf16::from_bits(at as u16 * 2729)).collect();
    // Any byte but 0 is true, and arrives as that byte.
    let truths: Vec<u8> = (0..wide).map(|at| [0, 1, 2, 255][at % 4]).collect();
    let longs: Vec<i64> = (0..wide as i64).map(|at| i64::MIN + at * 0x0123_4567_89AB).collect();
    let bytes: Vec<u8> = (0..wide).map(|at| at as u8 * 11).collect();
    let doubles: Vec<f64> =
        (0..wide).map(|at| [f64::NAN, f64::INFINITY, -0.0, 1e-310, 0.1][at % 5]).collect();
    let shape = [batch, 8];
    let inputs = Inputs::new()
        .tensor("INPUT0", &shape, &fp16)
        .and_then(|inputs| inputs.tensor("INPUT1", &shape, &bf16))
        .and_then(|inputs| inputs.raw("INPUT2", DataType::Bool, &shape, &truths))
        .and_then(|inputs| inputs.tensor("INPUT3", &shape, &longs))
        .and_then(|inputs| inputs.tensor("INPUT4", &shape, &bytes))
        .and_then(|inputs| inputs.tensor("INPUT5", &shape, &doubles))
        .unwrap();
    let outputs = model.infer(&inputs, &Options::new()).unwrap();
    let sent: [&[u8]; 6] = [
        bytemuck::cast_slice(&fp16),
        bytemuck::cast_slice(&bf16),
        &truths,
        bytemuck::cast_slice(&longs),
        &bytes,
        bytemuck::cast_slice(&doubles),
    ];
    for (index, sent) in sent.into_iter().enumerate() {
        let name = format!("OUTPUT{index}");
        assert_eq!(outputs.shape(&name).unwrap(), shape, "{name}");
        assert_eq!(outputs.bytes(&name).unwrap(), sent, "{name}");
    }
    assert_eq!(outputs.get::<i64>("OUTPUT3").unwrap(), longs);
    assert_eq!(outputs.datatype("OUTPUT1").unwrap(), DataType::Bf16);
    assert!(outputs.get::<i64>("OUTPUT5").is_err());
}

fn echo<'a>(
    model: &Model,
    shape: &[i64],
    items: &'a [Vec<u8>],
) -> Result<Vec<&'a [u8]>, InferError> {
    let inputs = Inputs::new().items("INPUT0", shape, items)?;
    let outputs = model.infer(&inputs, &Options::new())?;
    assert_eq!(outputs.shape("OUTPUT0")?, shape);
    assert_eq!(outputs.items("OUTPUT0")?, items);
    Ok(items.iter().map(Vec::as_slice).collect())
}

fn byte_strings_of_every_kind(place: &Place) {
    let client = place.client();
    let model = client.register_model(ModelConfig::new("bytes").slots(2)).unwrap();
    let odd: Vec<Vec<u8>> = vec![
        Vec::new(),
        b"\0".to_vec(),
        b"a\0b\0".to_vec(),
        vec![0xFF, 0xFE, 0x80],
        "ångström".into(),
        vec![0; 5],
    ];
    echo(&model, &[2, 3], &odd).unwrap();
    echo(&model, &[6, 1], &odd).unwrap();
    // Only nothing, and items that are nothing.
    echo(&model, &[2, 0], &[]).unwrap();
    echo(&model, &[1, 2], &[Vec::new(), Vec::new()]).unwrap();
    // Larger than the room that slots begin with.
    let long: Vec<u8> = (0..1 << 20).map(|at| (at % 251) as u8).collect();
    echo(&model, &[1, 2], &[long.clone(), b"end".to_vec()]).unwrap();
    echo(&model, &[2, 1], &[b"x".to_vec(), long]).unwrap();
    // More samples than one request takes: items of any length are put together again.
    let many: Vec<Vec<u8>> = (0..40).map(|at| vec![at as u8; at * 37 % 101]).collect();
    echo(&model, &[20, 2], &many).unwrap();
    // In place.
    let mut slot = model.slot(crate::call::PATIENCE).unwrap();
    slot.set_items("INPUT0", &[1, 6], &odd).unwrap();
    assert_eq!(slot.run(&Options::new()).unwrap().items("OUTPUT0").unwrap(), odd);
    assert!(slot.input_bytes("INPUT0", &[1, 6]).is_err());
}

fn any_number_of_bytes(place: &Place) {
    let client = place.client();
    let model = client.register_model(ModelConfig::new("any").slots(2)).unwrap();
    for count in [5, 0, 1, 65_536, 65_537, 3, 1_000_000] {
        let data: Vec<i8> = (0..count).map(|at| (at % 127) as i8).collect();
        let inputs = Inputs::new().tensor("INPUT0", &[count], &data).unwrap();
        let outputs = model.infer(&inputs, &Options::new()).unwrap();
        assert_eq!(outputs.get::<i8>("OUTPUT0").unwrap(), data, "{count}");
    }
}
