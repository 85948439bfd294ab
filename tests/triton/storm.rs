//! Deadlines around the time that an answer takes: what once killed servers whose clients passed theirs on.

use crate::call::{assert_all_free, call};
use shm_tests::triton::Place;
use shm_triton::{InferError, ModelConfig, Options};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

everywhere!(tight_deadlines_do_the_server_no_harm);

/// Three seconds, or as many as `SHM_STORM_SECONDS` says.
fn tight_deadlines_do_the_server_no_harm(place: &Place) {
    let seconds = std::env::var("SHM_STORM_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(3));
    let server = place.own_server();
    let client = place.client_of(&server);
    let model = client.register_model(ModelConfig::new("identity").slots(8)).unwrap();
    let (good, late) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while Instant::now() < end {
                    let within = Duration::from_micros(fastrand::u64(300..6000));
                    match call(&model, 8, &Options::new().within(within)) {
                        Ok(()) => good.fetch_add(1, Ordering::Relaxed),
                        Err(InferError::Timeout { .. } | InferError::NoSlot { .. }) => {
                            late.fetch_add(1, Ordering::Relaxed)
                        }
                        Err(error) => panic!("{error}"),
                    };
                }
            });
        }
    });
    println!("{good:?} answered, {late:?} late; {:?}", client.stats());
    assert!(good.into_inner() + late.into_inner() > 1000);
    assert!(server.is_alive());
    assert_all_free(&client, &model);
    assert_eq!((client.stats().retired, client.stats().lost), (0, 0));
    call(&model, 8, &Options::new()).unwrap();
}
