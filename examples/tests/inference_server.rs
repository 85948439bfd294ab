//! The server prepares pictures of any size for clients of both protocols, and ends when asked.

#[allow(dead_code, reason = "each test uses a part")]
mod program;

use program::{PATIENCE, Program};
use shm_triton::{ModelConfig, Options, TritonClient};

const SERVER: &str = env!("CARGO_BIN_EXE_inference-server");

#[test]
fn pictures_are_normalized_in_the_clients_memory() {
    let anywhere = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--seconds", "300"];
    let mut server = Program::start(SERVER, &anywhere);
    let ready = server.hear("ready http=");
    let address = |key: &str| {
        let word = ready.split(' ').find_map(|word| word.strip_prefix(key));
        word.unwrap_or_else(|| panic!("no {key} in: {ready}")).to_owned()
    };
    for url in [address("http="), format!("grpc://{}", address("grpc="))] {
        let client = TritonClient::connect(url.as_str()).expect("the address is good");
        let model = client.register_model(ModelConfig::new("normalize")).expect("it is there");
        let mut slot = model.slot(PATIENCE).expect("nobody else has it");
        for (height, width) in [(1, 1), (48, 64), (333, 17)] {
            let pixels: Vec<u8> = (0..height * width * 3).map(|at| (at * 7) as u8).collect();
            let shape = [height as i64, width as i64, 3];
            let input = slot.input("PIXELS", &shape).expect("the slot grows");
            input.copy_from_slice(&pixels);
            let options = Options::new().within(PATIENCE);
            let answer = slot.run(&options).expect("it answers");
            assert_eq!(answer.shape("PLANES").expect("it is there"), [3, shape[0], shape[1]]);
            assert!(answer.is_shared("PLANES").expect("it is there"), "it came in the message");
            let planes = answer.get::<f32>("PLANES").expect("it is there");
            for (at, &value) in pixels.iter().enumerate() {
                let (pixel, channel) = (at / 3, at % 3);
                let mean = [0.485, 0.456, 0.406][channel];
                let expected = (f64::from(value) / 255.0 - mean) / [0.229, 0.224, 0.225][channel];
                let found = f64::from(planes[channel * height * width + pixel]);
                assert!((found - expected).abs() < 1e-5, "{found}, expected {expected}");
            }
        }
        drop(slot);
        client.close(PATIENCE).expect("the server lets go");
    }
    server.interrupt();
    assert!(server.finish().concat().contains("ends"));
}
