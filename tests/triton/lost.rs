//! Connections that end before the answer: memory that the server may still write is never used again.

use crate::call::{call, call_async, file_of, ms, until};
use crate::pretender::{Known, Pretender};
use futures::executor::block_on;
use serde_json::Value;
use shm_tests::Watchdog;
use shm_tests::triton::FakeReply;
use shm_triton::{InferError, Model, ModelConfig, Options};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// Takes the request and closes the connection, after a while.
fn close_after(pause: Duration) -> crate::pretender::Act {
    Box::new(move |_: &Known, _: &Value| {
        thread::sleep(pause);
        FakeReply::Close
    })
}

/// Calls for a while, under a server that writes all over the old region all the time.
fn call_under_late_writes(model: &Model, old: &File) {
    let (end, writes) = (AtomicBool::new(false), old.metadata().unwrap().len() as usize);
    assert!(writes > 4096);
    thread::scope(|scope| {
        // Also when a call fails its check.
        let _ended = Ended(&end);
        scope.spawn(|| {
            let pattern = vec![0xAB; writes];
            while !end.load(Ordering::Relaxed) {
                old.write_all_at(&pattern, 0).unwrap();
            }
        });
        for _ in 0..100 {
            call(model, 8, &Options::new()).unwrap();
        }
        block_on(call_async(model, 20, &Options::new())).unwrap();
    });
}

/// Says that it is over, whatever ends it.
struct Ended<'a>(&'a AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn memory_of_an_open_request_is_nobody_elses() {
    let _watchdog = Watchdog::new("open", Duration::from_secs(60));
    let server = Pretender::new("2.51.0");
    let client = server.client();
    let model = client.register_model(ModelConfig::new("echo").slots(2)).unwrap();
    for round in 0..3 {
        let late = Options::new().within(ms(20)).parameter("scribble_ms", 300);
        let error = match round {
            0 => block_on(call_async(&model, 8, &late)),
            _ => call(&model, 8, &late),
        };
        assert!(matches!(error, Err(InferError::Timeout { .. })), "{error:?}");
        let mut calls = 0;
        while client.stats().in_flight > 0 {
            call(&model, 8, &Options::new()).unwrap();
            calls += 1;
        }
        assert!(calls > 0, "nothing was called while the server wrote");
    }
    assert_eq!((client.stats().late, client.stats().retired), (3, 0));
    client.close(ms(5000)).unwrap();
}

#[derive(Clone, Copy, Debug)]
enum How {
    Blocking,
    Async,
    /// The caller has given up before.
    Late,
}

#[test]
fn memory_of_unknown_fate_is_never_used_again() {
    let _watchdog = Watchdog::new("lost", Duration::from_secs(60));
    for how in [How::Blocking, How::Async, How::Late] {
        let server = Pretender::new("2.51.0");
        let client = server.client();
        let model = client.register_model(ModelConfig::new("echo").slots(2)).unwrap();
        call(&model, 8, &Options::new()).unwrap();
        let (name, old) = server.known.only_region();
        match how {
            How::Late => {
                server.act(Some(close_after(ms(150))));
                let error = call(&model, 8, &Options::new().within(ms(30))).unwrap_err();
                assert!(matches!(error, InferError::Timeout { .. }), "{error}");
            }
            _ => {
                server.act(Some(close_after(ms(0))));
                let options = Options::new();
                let error = match how {
                    How::Async => block_on(call_async(&model, 8, &options)),
                    _ => call(&model, 8, &options),
                };
                let error = error.unwrap_err();
                assert!(matches!(error, InferError::Lost { .. }), "{error}");
            }
        }
        until("it is known to be lost", || client.stats().lost == 1);
        server.act(None);
        call_under_late_writes(&model, &old);
        assert_eq!((client.stats().lost, client.stats().retired), (1, 1), "{how:?}");
        until("the server is told", || client.stats().owed == 0);
        assert!(!file_of(&name).exists());
        assert_eq!(*server.known.unregistered.lock().unwrap(), [name]);
        client.close(ms(5000)).unwrap();
    }
}

#[test]
fn servers_that_would_unmap_it_at_once_are_not_told() {
    let _watchdog = Watchdog::new("leaked", Duration::from_secs(60));
    let server = Pretender::new("2.44.0");
    let client = server.client();
    let model = client.register_model(ModelConfig::new("echo").slots(2)).unwrap();
    let (lost, old) = server.known.only_region();
    server.act(Some(close_after(ms(0))));
    assert!(matches!(call(&model, 8, &Options::new()), Err(InferError::Lost { .. })));
    server.act(None);
    call_under_late_writes(&model, &old);
    assert_eq!((client.stats().leaked, client.stats().owed), (1, 0));
    client.close(ms(5000)).unwrap();
    let unregistered = server.known.unregistered.lock().unwrap();
    assert_eq!(unregistered.len(), 1, "only the one whose requests were all answered");
    assert!(!unregistered.contains(&lost));
    assert!(!file_of(&lost).exists());
}

#[test]
fn other_slots_of_the_region_stay_good() {
    let _watchdog = Watchdog::new("others", Duration::from_secs(60));
    let server = Pretender::new("2.51.0");
    let client = server.client();
    let model = client.register_model(ModelConfig::new("echo").slots(2)).unwrap();
    let mut slot = model.slot(ms(1000)).unwrap();
    slot.input::<f32>("INPUT0", &[1, 16]).unwrap().fill(3.0);
    server.act(Some(close_after(ms(0))));
    assert!(matches!(call(&model, 1, &Options::new()), Err(InferError::Lost { .. })));
    server.act(None);
    assert_eq!(slot.run(&Options::new()).unwrap().get::<f32>("OUTPUT0").unwrap(), [3.0; 16]);
    call(&model, 8, &Options::new()).unwrap();
    assert_eq!(slot.run(&Options::new()).unwrap().get::<f32>("OUTPUT0").unwrap(), [3.0; 16]);
    drop(slot);
    until("the server is told", || server.known.unregistered.lock().unwrap().len() == 1);
}
