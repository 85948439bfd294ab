//! What comes before what, between streams and on the host.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};

use crate::loaded::{Driver, load};
use crate::rooms::Room;
use crate::status::*;

const BYTES: usize = 1 << 18;

/// A stream that does nothing until it is let go.
struct Gate(mpsc::Sender<()>);

impl Gate {
    fn shut(driver: &Driver, stream: usize) -> Self {
        let (sender, receiver) = mpsc::channel::<()>();
        driver
            .host_function(stream, move || {
                // A test that failed opens it by being gone.
                let _ = receiver.recv();
            })
            .expect("host function");
        Self(sender)
    }

    fn open(self) {
        self.0.send(()).expect("the stream waits");
    }
}

#[test]
fn a_query_says_whether_there_is_work_left() {
    let Some(driver) = load() else { return };
    driver.ready();
    let stream = driver.stream(1).expect("stream");
    assert_eq!(driver.stream_query(stream), Ok(()));
    let gate = Gate::shut(driver, stream);
    assert_eq!(driver.stream_query(stream), Err(NOT_READY));
    gate.open();
    driver.stream_synchronize(stream).expect("synchronise");
    assert_eq!(driver.stream_query(stream), Ok(()));
    driver.stream_destroy(stream).expect("destroy");
}

#[test]
fn a_stream_waits_for_an_event_of_another() {
    let Some(driver) = load() else { return };
    driver.ready();
    let (first, second) = (driver.stream(1).unwrap(), driver.stream(1).unwrap());
    let event = driver.event(2).expect("event");
    let (source, target) = (driver.allocate(BYTES).unwrap(), driver.allocate(BYTES).unwrap());
    for round in 1..=10 {
        let gate = Gate::shut(driver, first);
        driver.set_d8_async(source, round, BYTES, first).expect("set");
        driver.event_record(event, first).expect("record");
        assert_eq!(driver.event_query(event), Err(NOT_READY));
        driver.stream_wait_event(second, event, 0).expect("wait");
        driver.within_device_async(target, source, BYTES, second).expect("copy");
        assert_eq!(driver.stream_query(second), Err(NOT_READY), "it waits for the first");
        gate.open();
        driver.stream_synchronize(second).expect("synchronise");
        assert_eq!(driver.event_query(event), Ok(()));
        assert_eq!(driver.uniform(target, BYTES), Ok(round));
    }
    driver.event_destroy(event).expect("destroy");
    for stream in [first, second] {
        driver.stream_destroy(stream).expect("destroy");
    }
    for address in [source, target] {
        driver.free(address).expect("free");
    }
}

#[test]
fn a_wait_means_the_record_before_it_and_no_later_one() {
    let Some(driver) = load() else { return };
    driver.ready();
    let (first, second) = (driver.stream(1).unwrap(), driver.stream(1).unwrap());
    let event = driver.event(2).expect("event");
    driver.stream_wait_event(second, event, 0).expect("an event without a record");
    driver.event_record(event, first).expect("record");
    driver.event_synchronize(event).expect("synchronise");
    driver.stream_wait_event(second, event, 0).expect("wait");
    let gate = Gate::shut(driver, first);
    driver.event_record(event, first).expect("record again");
    driver.stream_synchronize(second).expect("it waits for the first record only");
    assert_eq!(driver.event_query(event), Err(NOT_READY), "the event means the last record");
    gate.open();
    driver.event_synchronize(event).expect("synchronise");
    driver.event_destroy(event).expect("destroy");
    for stream in [first, second] {
        driver.stream_destroy(stream).expect("destroy");
    }
}

#[test]
fn the_legacy_default_stream_comes_after_and_before_blocking_streams() {
    let Some(driver) = load() else { return };
    driver.ready();
    // Of a context of its own: other tests use the default stream of the primary one.
    let context = driver.context_create(0, 0).expect("context");
    let (blocking, free) = (driver.stream(0).unwrap(), driver.stream(1).unwrap());
    let steps = Arc::new(AtomicU32::new(0));
    let gate = Gate::shut(driver, blocking);
    for (stream, expected) in [(blocking, 0), (0, 1), (blocking, 2)] {
        let steps = Arc::clone(&steps);
        let next = move || {
            let _ =
                steps.compare_exchange(expected, expected + 1, Ordering::SeqCst, Ordering::SeqCst);
        };
        driver.host_function(stream, next).expect("host function");
    }
    let (sender, receiver) = mpsc::channel();
    driver
        .host_function(free, move || sender.send(()).expect("the test listens"))
        .expect("host function");
    receiver.recv().expect("a non-blocking stream waits for neither");
    assert_eq!(driver.stream_query(0), Err(NOT_READY));
    assert_eq!(steps.load(Ordering::SeqCst), 0);
    gate.open();
    driver.context_synchronize().expect("synchronise");
    assert_eq!(steps.load(Ordering::SeqCst), 3, "each step after the one before it");
    driver.context_destroy(context).expect("destroy");
}

#[test]
fn each_thread_has_a_default_stream_of_its_own() {
    const PER_THREAD: usize = 2;
    let Some(driver) = load() else { return };
    driver.ready();
    // Of a context of its own: such streams wait for the default stream, which other tests use.
    let context = driver.context_create(0, 0).expect("context");
    let gate = Gate::shut(driver, PER_THREAD);
    assert_eq!(driver.stream_query(PER_THREAD), Err(NOT_READY));
    let elsewhere = std::thread::spawn(move || {
        driver.set_current(context).expect("set current");
        let done = Arc::new(AtomicU32::new(0));
        let set = Arc::clone(&done);
        driver
            .host_function(PER_THREAD, move || set.store(1, Ordering::SeqCst))
            .expect("host function");
        driver.stream_synchronize(PER_THREAD).expect("synchronise");
        done.load(Ordering::SeqCst)
    });
    assert_eq!(elsewhere.join().expect("join"), 1, "it does not wait for this thread's");
    gate.open();
    driver.stream_synchronize(PER_THREAD).expect("synchronise");
    assert_eq!(driver.stream_query(PER_THREAD), Ok(()));
    driver.context_destroy(context).expect("destroy");
}

#[test]
fn host_functions_run_in_order_and_may_not_call_the_driver() {
    let Some(driver) = load() else { return };
    driver.ready();
    let stream = driver.stream(1).expect("stream");
    let address = driver.allocate(BYTES).expect("allocate");
    let room = Room::new(BYTES);
    driver.host_register(room.at(), room.len(), 0).expect("register");
    let (sender, receiver) = mpsc::channel();
    driver.set_d8_async(address, 7, BYTES, stream).expect("set");
    driver.to_host_async_at(room.at(), address, BYTES, stream).expect("copy");
    driver
        .host_function(stream, move || {
            let seen = room.read(BYTES);
            sender.send((seen, driver.allocate(16))).expect("the test listens");
        })
        .expect("host function");
    let (seen, refused) = receiver.recv().expect("it was called");
    assert!(seen.iter().all(|byte| *byte == 7), "what came before is done");
    assert_eq!(refused, Err(NOT_PERMITTED));
    driver.stream_synchronize(stream).expect("synchronise");
    driver.host_unregister(room.at()).expect("unregister");
    driver.free(address).expect("free");
    driver.stream_destroy(stream).expect("destroy");
}

#[test]
fn freeing_waits_for_queued_work() {
    let Some(driver) = load() else { return };
    driver.ready();
    let stream = driver.stream(1).expect("stream");
    let (source, target) = (driver.allocate(BYTES).unwrap(), driver.allocate(BYTES).unwrap());
    driver.set_d8(target, 0, BYTES).expect("set");
    driver.context_synchronize().expect("synchronise");
    for _ in 0..10 {
        driver.set_d8_async(source, 9, BYTES, stream).expect("set");
        driver.within_device_async(target, source, BYTES, stream).expect("copy");
    }
    driver.free(source).expect("free");
    assert_eq!(driver.context_synchronize(), Ok(()), "nothing used freed memory");
    assert_eq!(driver.uniform(target, BYTES), Ok(9));
    driver.free(target).expect("free");
    driver.stream_destroy(stream).expect("destroy");
}
