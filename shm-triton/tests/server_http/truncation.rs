//! A client that cuts its memory short gets an error, and the server goes on.

use crate::http_client::{Client, shared};
use crate::served::{self, Object, floats};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const PAGE: u64 = 4096;

fn through_slow(delay_ms: u64) -> Value {
    json!({
        "parameters": { "delay_ms": delay_ms },
        "inputs": [shared("INPUT0", "FP32", &[1, 1024], "r", 0, 4096)],
        "outputs": [shared("OUTPUT0", "FP32", &[1, 1024], "r", PAGE as i64, 4096)],
    })
}

#[test]
fn cut_short_before_a_request() {
    let (_server, mut client) = super::served();
    let object = Object::new(2 * PAGE);
    client.register("r", &object.key, 0, 2 * PAGE).ok();
    object.resize(PAGE);
    client
        .infer("slow", &through_slow(0))
        .refused(400, &["'r'", "8192", "4096", "register it again"]);
    client.unregister("r").ok();
    object.resize(2 * PAGE);
    client.register("r", &object.key, 0, 2 * PAGE).ok();
    client.infer("slow", &through_slow(0)).ok();
}

#[test]
fn cut_short_while_a_model_runs() {
    let (server, mut client) = super::served();
    // The input goes, or only the page of the output.
    for left in [0, PAGE] {
        let object = Object::new(2 * PAGE);
        object.write(0, &floats((0..1024).map(|value| value as f32)));
        client.register("r", &object.key, 0, 2 * PAGE).ok();
        let address = server.http_addr().unwrap();
        let running = thread::spawn(move || Client::new(address).infer("slow", &through_slow(300)));
        thread::sleep(Duration::from_millis(100));
        object.resize(left);
        // Long enough again before anybody asks for its size: only the signal can tell.
        thread::sleep(Duration::from_millis(100));
        let answer = running.join().unwrap();
        answer.refused(400, &["'r'"]);
        object.resize(2 * PAGE);
        client
            .infer("slow", &through_slow(0))
            .refused(400, &["'r' is damaged", "register it again"]);
        client.unregister("r").ok();
        client.register("r", &object.key, 0, 2 * PAGE).ok();
        client.infer("slow", &through_slow(0)).ok();
        client.unregister("r").ok();
    }
}

#[test]
fn cut_short_again_and_again() {
    let (server, mut client) = super::served();
    let address = server.http_addr().unwrap();
    let size = 4 << 20;
    let object = Object::new(2 * size);
    let ended = AtomicBool::new(false);
    let (mut good, mut refused) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(7);
            while !ended.load(Ordering::Relaxed) {
                object.resize(random.u64(0..2 * size));
                thread::sleep(Duration::from_micros(random.u64(0..1500)));
                object.resize(2 * size);
                thread::sleep(Duration::from_micros(random.u64(0..6000)));
            }
        });
        let request = json!({
            "inputs": [shared("INPUT0", "INT8", &[size as i64], "r", 0, size as usize)],
            "outputs": [shared("OUTPUT0", "INT8", &[size as i64], "r", size as i64, size as usize)],
        });
        let start = Instant::now();
        let mut client = Client::new(address);
        while start.elapsed() < Duration::from_secs(3) {
            let registered = client.register("r", &object.key, 0, 2 * size);
            if registered.status != 200 {
                registered.refused(400, &["'r'"]);
                continue;
            }
            let answer = client.infer("any", &request);
            if answer.status == 200 {
                good += 1;
            } else {
                answer.refused(400, &["'r'", "cut short"]);
                refused += 1;
            }
            client.unregister("r").ok();
        }
        ended.store(true, Ordering::Relaxed);
    });
    assert!(good > 10 && refused > 10, "{good} answered, {refused} refused");
    let input = json!({ "name": "INPUT0", "datatype": "INT8", "shape": [1], "data": [1] });
    client.infer("any", &json!({ "inputs": [input] })).ok();
}

/// In a process of its own, since it dies.
#[test]
fn without_the_guard_and_elsewhere_the_signal_is_what_it_was() {
    const ROLE: &str = "SHM_TRITON_TEST_BUS_ERROR";
    if let Ok(role) = std::env::var(ROLE) {
        let server =
            served::builder().sigbus_guard(role == "guarded").http("127.0.0.1:0").start().unwrap();
        let mut client = Client::new(server.http_addr().unwrap());
        let object = Object::new(2 * PAGE);
        client.register("r", &object.key, 0, 2 * PAGE).ok();
        if role == "sent" {
            unlink_and_raise(object);
        }
        let address = server.http_addr().unwrap();
        let running = thread::spawn(move || Client::new(address).infer("slow", &through_slow(200)));
        thread::sleep(Duration::from_millis(80));
        object.resize(0);
        std::fs::remove_file(format!("/dev/shm/{}", object.key)).unwrap();
        running.join().unwrap().refused(400, &["'r'"]);
        return;
    }
    let test = "truncation::without_the_guard_and_elsewhere_the_signal_is_what_it_was";
    let run = |role: &str| {
        std::process::Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact"])
            .env(ROLE, role)
            .output()
            .unwrap()
    };
    use std::os::unix::process::ExitStatusExt;
    assert!(run("guarded").status.success());
    // SIGBUS, which nobody handles.
    assert_eq!(run("bare").status.signal(), Some(7));
    assert_eq!(run("sent").status.signal(), Some(7));
}

/// Ends the process by the signal, sent from outside, with the guard installed.
fn unlink_and_raise(object: Object) -> ! {
    drop(object);
    // Installs the handler, which must pass on a signal that is not about memory.
    let _guarded = served::builder().http("127.0.0.1:0").start().unwrap();
    // The handler of Rust's runtime, which was there before, takes the first one as a reason to go away.
    for _ in 0..2 {
        let id = std::process::id().to_string();
        let _ = std::process::Command::new("kill").args(["-BUS", &id]).status();
        thread::sleep(Duration::from_millis(500));
    }
    unreachable!("the signal ends the process")
}
