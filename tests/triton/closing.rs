//! Models that are unregistered and clients that are closed under calls that run.

use crate::call::{PATIENCE, call, file_of, ms, regions_of, taking};
use shm_tests::triton::Place;
use shm_triton::{CloseError, InferError, ModelConfig, TritonClient};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

everywhere!(fifty_times_under_calls, what_is_still_lent_stays_valid);

fn fifty_times_under_calls(place: &Place) {
    let server = place.own_server();
    let watcher = place.client_of(&server);
    let answered = AtomicU32::new(0);
    for round in 0..50 {
        let client = place.client_of(&server);
        let model = client.register_model(ModelConfig::new("slow").slots(3)).unwrap();
        let region = newest(&watcher);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    loop {
                        match call(&model, 2, &taking(fastrand::i64(0..6)).within(PATIENCE)) {
                            Ok(()) => answered.fetch_add(1, Ordering::Relaxed),
                            Err(InferError::Closed) => break,
                            Err(error) => panic!("round {round}: {error}"),
                        };
                    }
                });
            }
            thread::sleep(ms(fastrand::u64(0..20)));
            if round % 2 == 0 {
                model.unregister(PATIENCE).unwrap();
                assert!(client.model("slow").is_none());
            } else {
                client.close(PATIENCE).unwrap();
            }
        });
        assert!(!file_of(&region).exists(), "round {round}");
        assert_eq!(regions_of(&watcher, std::process::id()).iter().find(|r| **r == region), None);
        assert!(matches!(model.unregister(PATIENCE), Err(CloseError::Closed)));
    }
    println!("{answered:?} calls were answered meanwhile");
    assert!(answered.into_inner() > 0);
}

fn what_is_still_lent_stays_valid(place: &Place) {
    let server = place.own_server();
    let client = place.client_of(&server);
    let model = client.register_model(ModelConfig::new("identity").slots(2)).unwrap();
    let region = newest(&client);
    let mut slot = model.slot(PATIENCE).unwrap();
    slot.input::<f32>("INPUT0", &[1, 16]).unwrap().fill(5.0);
    let error = model.unregister(ms(50)).unwrap_err();
    assert!(matches!(error, CloseError::InUse { slots: 1 }), "{error}");
    assert_eq!(slot.input::<f32>("INPUT0", &[1, 16]).unwrap(), [5.0; 16]);
    assert!(matches!(slot.run(&taking(0)), Err(InferError::Closed)));
    assert!(matches!(model.slot(PATIENCE), Err(InferError::Closed)));
    // The name is free at once.
    let again = client.register_model(ModelConfig::new("identity")).unwrap();
    call(&again, 3, &taking(0)).unwrap();
    let error = client.close(ms(50)).unwrap_err();
    assert!(matches!(error, CloseError::InUse { .. }), "{error}");
    assert_eq!(slot.input::<f32>("INPUT0", &[1, 16]).unwrap(), [5.0; 16]);
    drop(slot);
    let watcher = place.client_of(&server);
    crate::call::until("the server lets go of it", || {
        !regions_of(&watcher, std::process::id()).contains(&region)
    });
    assert!(!file_of(&region).exists());
}

/// The region of this process that this server was told of last; there is one client at a time.
fn newest(client: &TritonClient) -> String {
    let regions = regions_of(client, std::process::id());
    assert_eq!(regions.len(), 1, "{regions:?}");
    regions[0].clone()
}
