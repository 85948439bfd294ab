//! Futures that are dropped, and many at once.

use crate::call::{assert_all_free, call, call_async, ms, taking};
use futures::executor::block_on;
use futures::future::{Either, join_all, select};
use shm_tests::triton::Place;
use shm_triton::{InferError, ModelConfig, Options};
use std::pin::pin;
use std::thread;
use std::time::{Duration, Instant};

everywhere!(dropped_futures_disturb_nobody, a_thousand_calls_at_once);

/// One future is dropped as soon as the other is done: unsent, in flight, or answered and not looked at.
fn dropped_futures_disturb_nobody(place: &Place) {
    let server = place.own_server();
    let client = place.client_of(&server);
    let model = client.register_model(ModelConfig::new("slow").slots(3)).unwrap();
    let end = Instant::now() + ms(1500);
    let rounds = thread::scope(|scope| {
        let model = &model;
        let round = move || {
            let delay = || taking(fastrand::i64(0..20)).within(Duration::from_secs(20));
            let (first, second) = (delay(), delay());
            let (first, second) =
                (pin!(call_async(model, 2, &first)), pin!(call_async(model, 1, &second)));
            match block_on(select(first, second)) {
                Either::Left((done, _)) | Either::Right((done, _)) => done.unwrap(),
            }
        };
        let work = move || {
            let mut rounds = 0;
            while Instant::now() < end {
                round();
                rounds += 1;
            }
            rounds
        };
        let threads = [scope.spawn(work), scope.spawn(work)];
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<u32>()
    });
    println!("{rounds} futures dropped; {:?}", client.stats());
    assert!(rounds > 10);
    assert_all_free(&client, &model);
    assert_eq!((client.stats().retired, client.stats().lost), (0, 0));
    // Deadlines of futures are kept too.
    let error = block_on(call_async(&model, 1, &taking(300).within(ms(20)))).unwrap_err();
    assert!(matches!(error, InferError::Timeout { .. }), "{error}");
    call(&model, 8, &taking(0)).unwrap();
}

fn a_thousand_calls_at_once(place: &Place) {
    let client = place.client();
    let model = client.register_model(ModelConfig::new("identity").slots(16)).unwrap();
    let options = Options::new();
    let calls = (0..1000).map(|call| call_async(&model, 1 + call % 8, &options));
    for (number, done) in block_on(join_all(calls)).into_iter().enumerate() {
        done.unwrap_or_else(|error| panic!("call {number}: {error}"));
    }
    assert_all_free(&client, &model);
}
