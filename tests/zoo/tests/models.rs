//! Every model, asked by a client through shared memory.

use std::time::{Duration, Instant};

use half::{bf16, f16};
use shm_triton::server::Server;
use shm_triton::wire::Code;
use shm_triton::{
    InferError, Inputs, Model, ModelConfig, Options, OutputError, Outputs, Sequence, TritonClient,
};

/// A server and its client, which goes first.
struct Rig {
    client: TritonClient,
    _server: Server,
}

impl Rig {
    fn start() -> Rig {
        let builder = Server::builder().http("127.0.0.1:0");
        let server =
            shm_zoo::all().into_iter().fold(builder, |builder, model| builder.model(model));
        let server = server.start().unwrap();
        let client = TritonClient::connect(server.http_addr().unwrap().to_string()).unwrap();
        Rig { client, _server: server }
    }

    /// A model with room for two samples.
    fn model(&self, name: &str) -> Model {
        self.client.register_model(ModelConfig::new(name).slots(2).batch(2)).unwrap()
    }

    fn unbatched(&self, name: &str) -> Model {
        self.client.register_model(ModelConfig::new(name).slots(2)).unwrap()
    }
}

fn infer(model: &Model, inputs: &Inputs<'_>, options: &Options) -> Outputs<'static> {
    model.infer(inputs, options).unwrap()
}

fn count_up(count: usize) -> Vec<f32> {
    (0..count).map(|value| value as f32 * 0.5).collect()
}

/// Why the server refused.
fn refusal(result: Result<Outputs<'static>, InferError>) -> (Code, String) {
    match result {
        Err(InferError::Refused { code, message, .. }) => (code, message),
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn copying_models_return_their_input() {
    let rig = Rig::start();
    for (name, shape) in [
        ("identity", vec![2, 16]),
        ("normal", vec![2, 3, 224, 224]),
        ("large", vec![1, 3, 2048, 2048]),
    ] {
        let values = count_up(shape.iter().product::<i64>() as usize);
        let inputs = Inputs::new().tensor("INPUT0", &shape, &values).unwrap();
        let outputs = infer(&rig.model(name), &inputs, &Options::new());
        assert_eq!(outputs.shape("OUTPUT0").unwrap(), shape, "{name}");
        assert!(outputs.get::<f32>("OUTPUT0").unwrap() == values, "{name}");
    }
}

#[test]
fn any_and_bytes_are_of_any_length() {
    let rig = Rig::start();
    let any = rig.unbatched("any");
    for count in [0, 1, 5000] {
        let values: Vec<i8> = (0..count).map(|value| value as i8).collect();
        let inputs = Inputs::new().tensor("INPUT0", &[count], &values).unwrap();
        let outputs = infer(&any, &inputs, &Options::new());
        assert_eq!(outputs.get::<i8>("OUTPUT0").unwrap(), values);
    }
    let items: [&[u8]; 4] = [b"a", b"", b"\0\xff", b"a longer one"];
    let inputs = Inputs::new().items("INPUT0", &[2, 2], &items).unwrap();
    let outputs = infer(&rig.model("bytes"), &inputs, &Options::new());
    assert_eq!(outputs.items("OUTPUT0").unwrap(), items);
}

#[test]
fn half_keeps_every_bit_of_six_types() {
    let rig = Rig::start();
    let halves = [f16::from_f32(1.5); 8];
    let brains = [bf16::from_f32(-3.0); 8];
    let bools = [1_u8, 0, 2, 255, 1, 1, 0, 0];
    let whole = [i64::MIN, i64::MAX, 0, 1, 2, 3, 4, 5];
    let small = [7_u8; 8];
    let wide = [f64::MIN_POSITIVE; 8];
    let inputs = Inputs::new()
        .tensor("INPUT0", &[1, 8], &halves)
        .and_then(|inputs| inputs.tensor("INPUT1", &[1, 8], &brains))
        .and_then(|inputs| inputs.raw("INPUT2", shm_triton::DataType::Bool, &[1, 8], &bools))
        .and_then(|inputs| inputs.tensor("INPUT3", &[1, 8], &whole))
        .and_then(|inputs| inputs.tensor("INPUT4", &[1, 8], &small))
        .and_then(|inputs| inputs.tensor("INPUT5", &[1, 8], &wide))
        .unwrap();
    let outputs = infer(&rig.model("half"), &inputs, &Options::new());
    assert_eq!(outputs.get::<f16>("OUTPUT0").unwrap(), halves);
    assert_eq!(outputs.get::<bf16>("OUTPUT1").unwrap(), brains);
    assert_eq!(outputs.bytes("OUTPUT2").unwrap(), bools);
    assert_eq!(outputs.get::<i64>("OUTPUT3").unwrap(), whole);
    assert_eq!(outputs.get::<u8>("OUTPUT4").unwrap(), small);
    assert_eq!(outputs.get::<f64>("OUTPUT5").unwrap(), wide);
}

#[test]
fn multi_io_reads_the_beginning_of_each_sample() {
    let rig = Rig::start();
    let values = count_up(2 * 3 * 224 * 224);
    let mut numbers: Vec<i32> = (0..20).collect();
    numbers[10] = i32::MAX;
    let inputs = Inputs::new()
        .tensor("INPUT0", &[2, 3, 224, 224], &values)
        .and_then(|inputs| inputs.tensor("INPUT1", &[2, 10], &numbers))
        .unwrap();
    let outputs = infer(&rig.model("multi_io"), &inputs, &Options::new());
    let second = 3 * 224 * 224;
    let expected: Vec<f32> = values[..512]
        .iter()
        .chain(&values[second..second + 512])
        .map(|value| value + 1.0)
        .collect();
    assert_eq!(outputs.get::<f32>("OUTPUT0").unwrap(), expected);
    assert_eq!(outputs.get::<i32>("OUTPUT1").unwrap(), [0, 2, 4, 6, 8, -2, 22, 24, 26, 28]);
}

#[test]
fn slow_waits_as_long_as_it_is_told() {
    let rig = Rig::start();
    let slow = rig.model("slow");
    let values = count_up(1024);
    let inputs = Inputs::new().tensor("INPUT0", &[1, 1024], &values).unwrap();
    let begun = Instant::now();
    let outputs = infer(&slow, &inputs, &Options::new().parameter("delay_ms", 120));
    assert!(begun.elapsed() >= Duration::from_millis(120));
    assert_eq!(outputs.get::<f32>("OUTPUT0").unwrap(), values);
    infer(&slow, &inputs, &Options::new().parameter("delay_ms", "1"));
    let begun = Instant::now();
    infer(&slow, &inputs, &Options::new());
    assert!(begun.elapsed() >= Duration::from_millis(1500));

    for wrong in ["soon", "-1"] {
        let options = Options::new().parameter("delay_ms", wrong);
        let (code, message) = refusal(slow.infer(&inputs, &options));
        assert_eq!(code, Code::InvalidArgument);
        assert!(message.contains("delay_ms") && message.contains(wrong), "{message}");
    }
}

#[test]
fn fail_fails_in_every_way() {
    let rig = Rig::start();
    let fail = rig.model("fail");
    let asked = |first: f32, mode: Option<&str>| {
        let mut values = count_up(16);
        values[0] = first;
        let inputs = Inputs::new().tensor("INPUT0", &[1, 16], &values).unwrap();
        let options = Options::new();
        let options = match mode {
            Some(mode) => options.parameter("mode", mode),
            None => options,
        };
        fail.infer(&inputs, &options)
    };
    assert_eq!(asked(9.0, Some("ok")).unwrap().get::<f32>("OUTPUT0").unwrap()[0], 9.0);
    assert_eq!(asked(0.0, None).unwrap().get::<f32>("OUTPUT0").unwrap()[15], 7.5);
    for failed in [asked(0.0, Some("error")), asked(1.0, None)] {
        let (code, message) = refusal(failed);
        assert_eq!((code, message.as_str()), (Code::Internal, "the model was asked to fail"));
    }
    for (number, mode) in [(2.0, "missing"), (3.0, "short"), (4.0, "type")] {
        for answered in [asked(0.0, Some(mode)), asked(number, None)] {
            let output = match answered {
                Err(InferError::Output(error)) => error,
                other => panic!("{mode}: {other:?}"),
            };
            let told = match mode {
                "missing" => matches!(output, OutputError::Missing { .. }),
                "short" => output.to_string().contains('8'),
                _ => output.to_string().contains("INT32"),
            };
            assert!(told, "{mode}: {output}");
        }
    }
    let (code, message) = refusal(asked(0.0, Some("otherwise")));
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("otherwise") && message.contains("missing"), "{message}");
}

#[test]
fn dynamic_gives_as_many_values_as_it_is_asked_for() {
    let rig = Rig::start();
    let dynamic = rig.unbatched("dynamic");
    let asked = |count: i32| {
        let inputs = Inputs::new().tensor("INPUT0", &[1], std::slice::from_ref(&count)).unwrap();
        dynamic.infer(&inputs, &Options::new())
    };
    for count in [0, 1, 7, 100_000] {
        let outputs = asked(count).unwrap();
        let expected: Vec<f32> = (0..count).map(|value| value as f32).collect();
        assert_eq!(outputs.shape("OUTPUT0").unwrap(), [i64::from(count)]);
        assert!(outputs.get::<f32>("OUTPUT0").unwrap() == expected, "{count}");
    }
    for wrong in [-1, i32::MAX] {
        let (code, message) = refusal(asked(wrong));
        assert_eq!(code, Code::InvalidArgument);
        assert!(message.contains(&wrong.to_string()), "{message}");
    }
}

#[test]
fn sum_remembers_each_sequence_by_itself() {
    let rig = Rig::start();
    let model = rig.model("sum");
    let asked = |values: &[i32], sequence: Sequence| {
        let inputs = Inputs::new().tensor("INPUT0", &[values.len() as i64, 1], values).unwrap();
        model.infer(&inputs, &Options::new().sequence(sequence))
    };
    let sums = |values: &[i32], sequence: Sequence| {
        asked(values, sequence).unwrap().get::<i32>("OUTPUT0").unwrap().to_vec()
    };
    assert_eq!(sums(&[5], Sequence::new(42).start()), [5]);
    assert_eq!(sums(&[i32::MAX], Sequence::named("other").start()), [i32::MAX]);
    assert_eq!(sums(&[6], Sequence::new(42)), [11]);
    assert_eq!(sums(&[1], Sequence::named("other")), [i32::MIN]);
    // More samples than a slot has: the client cuts them, and the flags go with the right ones.
    assert_eq!(sums(&[7, 1, 1], Sequence::new(42).end()), [18, 19, 20]);
    let (code, message) = refusal(asked(&[1], Sequence::new(42)));
    assert_eq!(code, Code::InvalidArgument);
    assert!(message.contains("42") && message.contains("start"), "{message}");
    assert_eq!(sums(&[1], Sequence::new(42).start().end()), [1]);
}
