//! The server as a process: what it prints, what it serves, and how it ends.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use shm_triton::{Inputs, ModelConfig, Options, TritonClient};

struct Served {
    process: Child,
    stdout: BufReader<ChildStdout>,
    /// What it printed when it was ready.
    ready: String,
}

impl Served {
    fn start(arguments: &[&str]) -> Served {
        let mut process = Command::new(env!("CARGO_BIN_EXE_shm-zoo-serve"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut ready = String::new();
        stdout.read_line(&mut ready).unwrap();
        Served { process, stdout, ready }
    }

    fn word(&self, key: &str) -> &str {
        let mut words = self.ready.trim_end().split(' ');
        assert_eq!(words.next(), Some("ready"), "{}", self.ready);
        words.find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).unwrap()
    }

    fn ended(&mut self, within: Duration) -> ExitStatus {
        let until = Instant::now() + within;
        while Instant::now() < until {
            if let Some(status) = self.process.try_wait().unwrap() {
                let mut rest = String::new();
                self.stdout.read_line(&mut rest).unwrap();
                assert_eq!(rest, "");
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it did not end within {within:?}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const SOON: Duration = Duration::from_secs(10);

#[test]
fn it_serves_over_http_grpc_and_unix_sockets_and_ends_with_its_standard_input() {
    let socket = std::env::temp_dir().join(format!("shm-zoo-{}.sock", std::process::id()));
    let path = socket.to_str().unwrap();
    let mut served = Served::start(&["--until-stdin-closes", "--http-unix", path]);
    assert_eq!(served.word("pid"), served.process.id().to_string());
    let values = [2.5_f32; 16];
    for address in [
        served.word("http").to_owned(),
        format!("grpc://{}", served.word("grpc")),
        format!("http+unix://{path}"),
    ] {
        let client = TritonClient::connect(&address).unwrap();
        assert!(client.is_ready().unwrap(), "{address}");
        let model = client.register_model(ModelConfig::new("identity")).unwrap();
        let inputs = Inputs::new().tensor("INPUT0", &[1, 16], &values).unwrap();
        let outputs = model.infer(&inputs, &Options::new()).unwrap();
        assert_eq!(outputs.get::<f32>("OUTPUT0").unwrap(), values, "{address}");
        drop(model);
        client.close(SOON).unwrap();
    }
    drop(served.process.stdin.take());
    assert!(served.ended(SOON).success());
    assert!(!socket.exists(), "the socket file is left behind");
}

#[test]
fn it_ends_when_its_time_is_over() {
    let begun = Instant::now();
    let mut served = Served::start(&["--seconds", "1"]);
    assert!(served.ended(SOON).success());
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[test]
fn signals_end_it_in_good_order() {
    for signal in ["TERM", "INT"] {
        let mut served = Served::start(&[]);
        let pid = served.process.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &pid]).status().unwrap().success());
        assert!(served.ended(SOON).success(), "{signal}");
    }
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let first = Served::start(&[]);
    let (_, port) = first.word("http").rsplit_once(':').unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_shm-zoo-serve"))
        .args(["--http-port", port])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(port), "{error}");
    assert_eq!(output.stdout, b"");
}
