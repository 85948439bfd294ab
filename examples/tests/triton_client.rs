//! The client works against the embedded server, over both protocols, and leaves nothing with it.

#[allow(dead_code, reason = "each test uses a part")]
mod program;

use image::{GrayImage, RgbImage};
use program::{Name, Program};
use shm_triton::TritonClient;
use shm_triton::server::Server;
use std::path::PathBuf;

const CLIENT: &str = env!("CARGO_BIN_EXE_triton-picture");
/// What the model takes, so that nothing is scaled and the answer is known to the last bit.
const SIDE: u32 = 224;

/// The server and the files of a test.
struct Scene {
    server: Server,
    folder: PathBuf,
}

impl Scene {
    fn new(name: &Name) -> Scene {
        let builder =
            shm_zoo::all().into_iter().fold(Server::builder(), |all, model| all.model(model));
        let server = builder.http("127.0.0.1:0").grpc("127.0.0.1:0").start().expect("it starts");
        let folder = std::env::temp_dir().join(name.as_str());
        std::fs::create_dir_all(&folder).expect("it can be made");
        Scene { server, folder }
    }

    fn file(&self, name: &str) -> String {
        self.folder.join(name).to_str().expect("it is text").to_owned()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn the_answer_is_the_picture_as_it_was_prepared() {
    let name = Name::new("client");
    let scene = Scene::new(&name);
    let http = scene.server.http_addr().expect("it serves HTTP").to_string();
    let grpc = format!("grpc://{}", scene.server.grpc_addr().expect("it serves gRPC"));
    let picture =
        RgbImage::from_fn(SIDE, SIDE, |x, y| image::Rgb([x as u8, y as u8, (x * y) as u8]));
    picture.save(scene.file("in.png")).expect("it can be written");
    for url in [&http, &grpc] {
        // The model copies, so its first plane is the blue one that it was given, from -1 to 1.
        let (from, to) = (scene.file("in.png"), scene.file("out.png"));
        let flags = ["--url", url, "--model", "normal", "--out", &to, "--frames", "3"];
        let said = Program::start(CLIENT, &[&[from.as_str()], &flags[..]].concat()).finish();
        let values: Vec<f32> = [2, 1, 0]
            .iter()
            .flat_map(|&channel| picture.pixels().map(move |pixel| pixel.0[channel]))
            .map(|value| f32::from(value) / 127.5 - 1.0)
            .collect();
        let above = values.iter().filter(|&&value| value > 0.3).count();
        let expected = format!("answer [1, 3, 224, 224], {above} of {} values", values.len());
        assert!(said.iter().any(|line| line.contains(&expected)), "{expected}: {said:?}");
        assert!(said.last().is_some_and(|line| line.contains("3 answers")), "{said:?}");
        let answer: GrayImage = image::open(&to).expect("it was written").to_luma8();
        for (value, pixel) in values.iter().zip(answer.pixels()) {
            assert_eq!((value.clamp(0.0, 1.0) * 255.0).round() as u8, pixel.0[0]);
        }
        std::fs::remove_file(&to).expect("it is there");
    }
    let observer = TritonClient::connect(http.as_str()).expect("the address is good");
    assert_eq!(observer.regions().expect("it answers").len(), 0, "regions are left");
    // Two clients, three answers each, and no more.
    let statistics = observer.statistics("normal").expect("it answers");
    assert_eq!(statistics[0].inference_count, 6, "{statistics:?}");
}

#[test]
fn a_model_that_is_not_there_is_named() {
    let name = Name::new("client-wrong");
    let scene = Scene::new(&name);
    let http = scene.server.http_addr().expect("it serves HTTP").to_string();
    RgbImage::new(8, 8).save(scene.file("in.png")).expect("it can be written");
    for (model, expected) in [("missing", "missing"), ("any", "INT8"), ("identity", "[16]")] {
        let refused = std::process::Command::new(CLIENT)
            .args([&scene.file("in.png"), "--url", &http, "--model", model])
            .output()
            .expect("it starts");
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && why.contains(expected), "{model}: {why}");
    }
}
