//! Inputs that do not fit are refused here: nothing is sent, converted, broadcast or left out silently.

use crate::call::{PATIENCE, until};
use shm_tests::triton::Place;
use shm_triton::{
    CallError, DataType, InferError, InputError, Inputs, ModelConfig, ModelSpec, Options,
    OutputError, RegisterError,
};

everywhere!(nothing_is_sent_that_does_not_fit, models_that_are_not_as_said_are_not_registered);

static PIXELS: [f32; 2 * 3 * 224 * 224] = [0.5; 2 * 3 * 224 * 224];
static NUMBERS: [i32; 20] = [1; 20];

/// The inputs of `multi_io`, with one of them as told.
fn inputs<'a>(
    first: Option<(&str, &[i64], &'a [f32])>,
    second: Option<(&str, &[i64], &'a [i32])>,
) -> Inputs<'a> {
    let mut inputs = Inputs::new();
    if let Some((name, shape, data)) = first {
        inputs = inputs.tensor(name, shape, data).unwrap();
    }
    if let Some((name, shape, data)) = second {
        inputs = inputs.tensor(name, shape, data).unwrap();
    }
    inputs
}

fn nothing_is_sent_that_does_not_fit(place: &Place) {
    let server = place.own_server();
    let client = place.client_of(&server);
    let model = client.register_model(ModelConfig::new("multi_io").slots(1)).unwrap();
    let one = 3 * 224 * 224;
    let good = Some(("INPUT0", &[2, 3, 224, 224][..], &PIXELS[..]));
    let also = Some(("INPUT1", &[2, 10][..], &NUMBERS[..]));
    model.infer(&inputs(good, also), &Options::new()).unwrap();
    let statistics = || {
        let statistics = client.statistics("multi_io").unwrap().remove(0);
        (statistics.success.count, statistics.fail.count, statistics.inference_count)
    };
    // A server may count a request after it has answered it.
    until("it is counted", || statistics() == (1, 0, 2));

    let wide = vec![0.5_f64; 2 * one];
    let whole = vec![1_i32; 2 * one];
    let wrong: Vec<(&str, Inputs<'_>)> = vec![
        ("Missing", inputs(good, None)),
        ("Missing", inputs(None, also)),
        ("Unknown", inputs(good, Some(("INPUT2", &[2, 10], &NUMBERS)))),
        ("Unknown", inputs(good, Some(("input1", &[2, 10], &NUMBERS)))),
        ("Unknown", inputs(good, also).tensor("EXTRA", &[2, 10], &NUMBERS).unwrap()),
        ("DataType", Inputs::new().tensor("INPUT0", &[2, 3, 224, 224], &wide).unwrap()),
        ("DataType", Inputs::new().tensor("INPUT0", &[2, 3, 224, 224], &whole).unwrap()),
        // Each could be broadcast, or has as many elements.
        ("Shape", inputs(Some(("INPUT0", &[2, 1, 1, 1], &PIXELS[..2])), also)),
        ("Shape", inputs(Some(("INPUT0", &[3, 224, 224], &PIXELS[..one])), also)),
        ("Shape", inputs(Some(("INPUT0", &[2, 224, 3, 224], &PIXELS[..])), also)),
        ("Shape", inputs(Some(("INPUT0", &[2, 3 * 224 * 224], &PIXELS[..])), also)),
        ("Shape", inputs(good, Some(("INPUT1", &[20], &NUMBERS)))),
        ("Shape", inputs(good, Some(("INPUT1", &[2, 10, 1], &NUMBERS)))),
        ("Batch", inputs(good, Some(("INPUT1", &[1, 10], &NUMBERS[..10])))),
    ];
    for (expected, inputs) in &wrong {
        let errors = [
            model.infer(inputs, &Options::new()).unwrap_err(),
            futures::executor::block_on(model.infer_async(inputs, &Options::new())).unwrap_err(),
            in_slot(&model, inputs),
        ];
        for error in errors {
            let InferError::Input(error) = error else { panic!("{expected}: {error}") };
            assert_eq!(kind(&error), *expected, "{error}");
            assert!(error.to_string().contains("input '"), "{error}");
        }
    }
    let error = model.infer(&inputs(good, also), &Options::new().outputs(&["NONE"])).unwrap_err();
    assert!(matches!(error, InferError::Output(OutputError::Unknown { .. })), "{error}");
    // More samples than a slot has room for are cut, but not in a slot that one holds.
    let mut slot = model.slot(PATIENCE).unwrap();
    let error = slot.input::<i32>("INPUT1", &[9, 10]).unwrap_err();
    assert!(matches!(error, InferError::Input(InputError::Batch { .. })), "{error}");
    let error = slot.input::<i32>("INPUT1", &[-1, 10]).unwrap_err();
    assert!(matches!(error, InferError::Input(InputError::Shape { .. })), "{error}");
    drop(slot);
    // These do not even become inputs.
    for inputs in [
        Inputs::new().tensor("INPUT1", &[2, 10], &NUMBERS[..19]),
        Inputs::new().tensor("INPUT1", &[2, -10], &NUMBERS),
        Inputs::new().tensor("INPUT1", &[i64::MAX, i64::MAX], &NUMBERS),
        Inputs::new().raw("INPUT1", DataType::Int32, &[2, 10], &[0; 79]),
        Inputs::new().items("INPUT1", &[3], &["a", "b"]),
        Inputs::new().raw("INPUT1", DataType::Bytes, &[1], &[9, 0, 0, 0, 1]),
    ] {
        let error = inputs.unwrap_err();
        assert!(matches!(error, InputError::Length { .. } | InputError::Shape { .. }), "{error}");
    }
    let twice = Inputs::new()
        .tensor("INPUT1", &[2, 10], &NUMBERS)
        .and_then(|inputs| inputs.tensor("INPUT1", &[2, 10], &NUMBERS));
    assert_eq!(kind(&twice.unwrap_err()), "Twice");

    model.infer(&inputs(good, also), &Options::new()).unwrap();
    until("it is counted", || statistics().0 > 1);
    assert_eq!(statistics(), (2, 0, 4), "nothing else was sent");
}

fn in_slot(model: &shm_triton::Model, inputs: &Inputs<'_>) -> InferError {
    let mut slot = model.slot(PATIENCE).unwrap();
    match slot.fill(inputs) {
        Err(error) => error,
        Ok(()) => slot.run(&Options::new()).unwrap_err(),
    }
}

/// The name of the variant.
fn kind(error: &InputError) -> String {
    let debug = format!("{error:?}");
    debug.split(' ').next().unwrap_or_default().to_owned()
}

fn models_that_are_not_as_said_are_not_registered(place: &Place) {
    let client = place.client();
    let spec = |name| ModelSpec::new(name, 8);
    let (fp32, int32) = (DataType::Fp32, DataType::Int32);
    for (field, spec) in [
        ("INPUT0", spec("identity").input("INPUT0", int32, &[16]).output("OUTPUT0", fp32, &[16])),
        ("INPUT0", spec("identity").input("INPUT0", fp32, &[15]).output("OUTPUT0", fp32, &[16])),
        ("", spec("identity").input("INPUTX", fp32, &[16]).output("OUTPUT0", fp32, &[16])),
        ("OUTPUT0", spec("identity").input("INPUT0", fp32, &[16]).output("OUTPUT0", int32, &[16])),
        (
            "",
            ModelSpec::new("identity", 9).input("INPUT0", fp32, &[16]).output(
                "OUTPUT0",
                fp32,
                &[16],
            ),
        ),
    ] {
        let error = client.register_model(ModelConfig::explicit(spec)).unwrap_err();
        assert!(matches!(error, RegisterError::Mismatch { .. }), "{error}");
        assert!(error.to_string().contains(field), "{error}");
    }
    for config in [
        ModelConfig::new("identity").slots(0),
        ModelConfig::new("identity").batch(9),
        ModelConfig::new("identity").batch(0),
        ModelConfig::new("identity").max_dims("NONE", &[1]),
    ] {
        let error = client.register_model(config).unwrap_err();
        assert!(matches!(error, RegisterError::Config { .. }), "{error}");
    }
    let error = client.register_model(ModelConfig::new("no_such_model")).unwrap_err();
    assert!(matches!(error, RegisterError::Call(CallError::Refused { .. })), "{error}");
    assert!(error.to_string().contains("no_such_model"), "{error}");
    let spec = spec("identity").input("INPUT0", fp32, &[16]).output("OUTPUT0", fp32, &[16]);
    let model = client.register_model(ModelConfig::explicit(spec)).unwrap();
    let error = client.register_model(ModelConfig::new("identity")).unwrap_err();
    assert!(matches!(error, RegisterError::Registered { .. }), "{error}");
    crate::call::call(&model, 3, &Options::new()).unwrap();
    assert_eq!(client.models(), ["identity"]);
}
