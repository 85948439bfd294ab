//! Every native model answers as the other suites expect, and the server obeys.

mod request;

use super::{Options, RealServer};
use request::{Answer, Call, Tensor};
use serde_json::json;
use std::time::{Duration, Instant};

/// Calls of one server.
struct Models<'a>(&'a RealServer);

impl Models<'_> {
    fn call(&self, model: &str, inputs: &[Tensor]) -> Answer {
        self.call_with(model, inputs, json!({}))
    }

    fn call_with(&self, model: &str, inputs: &[Tensor], parameters: serde_json::Value) -> Answer {
        Call { model, inputs, parameters }.send(&self.0.http_addr).unwrap()
    }
}

fn server(options: &Options) -> Option<RealServer> {
    RealServer::start(options).unwrap()
}

fn floats(values: impl IntoIterator<Item = f32>) -> Vec<u8> {
    values.into_iter().flat_map(f32::to_le_bytes).collect()
}

fn whole(values: impl IntoIterator<Item = i32>) -> Vec<u8> {
    values.into_iter().flat_map(i32::to_le_bytes).collect()
}

#[test]
fn the_native_models_do_what_they_are_for() {
    let Some(server) = server(&Options::default()) else { return };
    let models = Models(&server);

    for (model, shape) in [
        ("identity", vec![3, 16]),
        ("normal", vec![2, 3, 224, 224]),
        ("large", vec![1, 3, 2048, 2048]),
    ] {
        let count: i64 = shape.iter().product();
        let input = Tensor::new("INPUT0", "FP32", &shape, floats((0..count).map(|v| v as f32)));
        let output = models.call(model, core::slice::from_ref(&input)).only_output();
        assert!(output == input.named("OUTPUT0"), "{model}");
    }

    let odd = Tensor::new("INPUT0", "INT8", &[777], (0..777).map(|v| v as u8).collect());
    assert_eq!(models.call("any", core::slice::from_ref(&odd)).only_output(), odd.named("OUTPUT0"));

    let texts = b"\x03\0\0\0a\0b\0\0\0\0\x05\0\0\0fives\x01\0\0\0x".to_vec();
    let texts = Tensor::new("INPUT0", "BYTES", &[2, 2], texts);
    let echoed = models.call("bytes", core::slice::from_ref(&texts)).only_output();
    assert_eq!(echoed, texts.named("OUTPUT0"));

    let half: Vec<Tensor> =
        [("FP16", 2), ("BF16", 2), ("BOOL", 1), ("INT64", 8), ("UINT8", 1), ("FP64", 8)]
            .into_iter()
            .enumerate()
            .map(|(index, (kind, size))| {
                let bytes = (0..8 * size).map(|byte| u8::from(byte % size == 0)).collect();
                Tensor::new(&format!("INPUT{index}"), kind, &[1, 8], bytes)
            })
            .collect();
    let outputs = models.call("half", &half).outputs().unwrap();
    let expected: Vec<Tensor> = half
        .iter()
        .enumerate()
        .map(|(index, input)| input.named(&format!("OUTPUT{index}")))
        .collect();
    assert_eq!(outputs, expected);
}

#[test]
fn models_that_compute_do_so_sample_by_sample() {
    let Some(server) = server(&Options::default()) else { return };
    let models = Models(&server);

    let image = 3 * 224 * 224;
    let large = |value: i32| value.wrapping_mul(0x3456_789A);
    let inputs = [
        Tensor::new("INPUT0", "FP32", &[2, 3, 224, 224], floats((0..2 * image).map(|v| v as f32))),
        Tensor::new("INPUT1", "INT32", &[2, 10], whole((0..20).map(large))),
    ];
    let ones = (0..2).flat_map(|sample| (0..512).map(move |v| (sample * image + v) as f32 + 1.0));
    let twos = (0..2).flat_map(|sample| (0..5).map(move |v| sample * 10 + v));
    assert_eq!(
        models.call("multi_io", &inputs).outputs().unwrap(),
        [
            Tensor::new("OUTPUT0", "FP32", &[2, 512], floats(ones)),
            Tensor::new("OUTPUT1", "INT32", &[2, 5], whole(twos.map(|v| large(v).wrapping_mul(2)))),
        ]
    );

    for count in [0, 1, 100] {
        let input = Tensor::new("INPUT0", "INT32", &[1], whole([count]));
        let expected = Tensor::new(
            "OUTPUT0",
            "FP32",
            &[i64::from(count)],
            floats((0..count).map(|v| v as f32)),
        );
        assert_eq!(models.call("dynamic", &[input]).only_output(), expected);
    }

    let mut sums = Vec::new();
    for (index, value) in [5, 6, 7].into_iter().enumerate() {
        for sequence in [41, 42] {
            let input = Tensor::new("INPUT0", "INT32", &[1, 1], whole([value * (sequence - 40)]));
            let flags = json!({
                "sequence_id": sequence, "sequence_start": index == 0, "sequence_end": index == 2,
            });
            sums.push(models.call_with("sum", &[input], flags).only_output().bytes);
        }
    }
    assert_eq!(sums, [5, 10, 11, 22, 18, 36].map(|sum| whole([sum])));
}

#[test]
fn the_failing_model_fails_as_it_is_told() {
    let Some(server) = server(&Options::default()) else { return };
    let models = Models(&server);
    let input = |first: f32| {
        let values = core::iter::once(first).chain((1..32).map(|v| v as f32));
        Tensor::new("INPUT0", "FP32", &[2, 16], floats(values))
    };
    let calls = ["ok", "error", "missing", "short", "type"].into_iter().enumerate();
    for (number, mode) in calls {
        let by_name = models.call_with("fail", &[input(0.0)], json!({ "mode": mode }));
        let by_value = models.call("fail", &[input(number as f32)]);
        for (answer, input) in [(by_name, input(0.0)), (by_value, input(number as f32))] {
            let result = answer.outputs();
            match mode {
                "ok" => assert_eq!(result.unwrap(), [input.named("OUTPUT0")]),
                "error" => assert!(result.unwrap_err().contains("asked to fail")),
                "missing" => assert_eq!(result.unwrap(), []),
                "short" => {
                    let half = input.bytes[..2 * 8 * 4].to_vec();
                    assert_eq!(result.unwrap(), [Tensor::new("OUTPUT0", "FP32", &[2, 8], half)]);
                }
                _ => assert_eq!(
                    result.unwrap(),
                    [Tensor::new("OUTPUT0", "INT32", &[2, 16], input.bytes)]
                ),
            }
        }
    }
}

#[test]
fn the_slow_model_serves_two_at_once() {
    let Some(server) = server(&Options::default()) else { return };
    let models = Models(&server);
    let input = Tensor::new("INPUT0", "FP32", &[1, 1024], floats((0..1024).map(|v| v as f32)));
    let delay = Duration::from_secs(2);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for parameters in [json!({ "delay_ms": 2000 }), json!({ "delay_ms": "2000" })] {
            let (models, input) = (&models, &input);
            scope.spawn(move || {
                let inputs = core::slice::from_ref(input);
                let output = models.call_with("slow", inputs, parameters).only_output();
                assert!(output == input.named("OUTPUT0"));
            });
        }
    });
    assert!(begun.elapsed() >= delay);
    assert!(begun.elapsed() < delay * 2, "one after the other: {:?}", begun.elapsed());
}

#[test]
fn models_in_python_answer_and_leave_no_memory_behind() {
    let Some(server) = server(&Options { python: true, ..Options::default() }) else { return };
    let models = Models(&server);
    let input = Tensor::new("INPUT0", "FP32", &[2, 16], floats((0..32).map(|v| v as f32)));
    let output = models.call("identity_py", core::slice::from_ref(&input)).only_output();
    assert_eq!(output, input.named("OUTPUT0"));

    let grey = |height: i64, width: i64| {
        let values = floats((0..3 * height * width).map(|_| 0.0));
        Tensor::new("INPUT0", "FP32", &[1, 3, height, width], values)
    };
    let found = models.call("detector", &[grey(64, 96)]).only_output();
    assert_eq!(found, Tensor::new("OUTPUT0", "FP32", &[1, 1, 64, 96], found.bytes.clone()));
    let (values, _) = found.bytes.as_chunks::<4>();
    assert_eq!(values.len(), 64 * 96);
    let text = values.iter().filter(|&&value| f32::from_le_bytes(value) > 0.3).count();
    assert_eq!(text, 0, "there is no text on a grey picture");
    let error = models.call("detector", &[grey(64, 50)]).outputs().unwrap_err();
    assert!(error.contains("multiples of 32"), "{error}");

    assert!(server.regions.count().unwrap() > 0);
    let regions = server.regions.clone();
    drop(server);
    assert_eq!(regions.count().unwrap(), 0);
}

#[test]
fn a_server_stops_goes_on_dies_and_comes_back() {
    let Some(mut server) = server(&Options::default()) else { return };
    let input = || Tensor::new("INPUT0", "FP32", &[1, 16], floats((0..16).map(|v| v as f32)));
    server.stop().unwrap();
    assert!(server.is_alive());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| Models(&server).call("identity", &[input()]));
        std::thread::sleep(Duration::from_millis(300));
        assert!(!waiting.is_finished());
        server.cont().unwrap();
        assert_eq!(waiting.join().unwrap().only_output(), input().named("OUTPUT0"));
    });
    let (http, pid) = (server.http_addr.clone(), server.pid);
    server.kill().unwrap();
    assert!(!server.is_alive() && server.stop().is_err());
    server.restart().unwrap();
    assert!(server.is_alive());
    assert_eq!(server.http_addr, http);
    assert_ne!(server.pid, pid);
    assert_eq!(
        Models(&server).call("identity", &[input()]).only_output(),
        input().named("OUTPUT0")
    );
}

#[test]
fn http_by_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("shm-real-{}.sock", std::process::id()));
    let options = Options { http_unix: Some(path.clone()), ..Options::default() };
    let Some(server) = server(&options) else { return };
    assert_eq!(server.http_addr, format!("unix:{}", path.display()));
    let input = Tensor::new("INPUT0", "FP32", &[1, 16], floats((0..16).map(|v| v as f32)));
    let output = Models(&server).call("identity", core::slice::from_ref(&input)).only_output();
    assert_eq!(output, input.named("OUTPUT0"));
    drop(server);
    assert!(!path.exists());
}

#[test]
fn a_server_that_cannot_start_says_why() {
    let options = Options { flags: vec!["--no-such-flag".into()], ..Options::default() };
    match RealServer::start(&options) {
        Ok(None) => {}
        Ok(Some(_)) => panic!("a flag that does not exist was taken"),
        Err(error) => assert!(error.to_string().contains("ended while it started"), "{error}"),
    }
}
