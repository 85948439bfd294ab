//! Calls that are given up go on at the server, and no other call ever sees their values.

use crate::call::{assert_all_free, call, ms, shape, taking};
use shm_tests::triton::Place;
use shm_triton::{InferError, ModelConfig, Options};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

everywhere!(
    late_answers_reach_nobody,
    the_wait_for_a_slot_counts,
    a_slot_given_up_is_gone_until_the_answer,
    a_wait_can_be_interrupted,
);

/// Two instances and four slots: late requests finish while others run and wait, in any order.
fn late_answers_reach_nobody(place: &Place) {
    let server = place.own_server();
    let client = place.client_of(&server);
    let model = client.register_model(ModelConfig::new("slow").slots(4)).unwrap();
    let (good, late) = (AtomicU32::new(0), AtomicU32::new(0));
    let end = Instant::now() + Duration::from_millis(2500);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while Instant::now() < end {
                    let batch = fastrand::usize(1..=8);
                    let options = taking(fastrand::i64(0..40)).within(ms(fastrand::u64(2..70)));
                    match call(&model, batch, &options) {
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
    assert!(good.into_inner() > 10 && late.into_inner() > 10);
    let stats = client.stats();
    assert!(stats.late > 0);
    assert_eq!((stats.lost, stats.retired), (0, 0), "slots came back, they were not replaced");
    assert_all_free(&client, &model);
    call(&model, 8, &taking(0)).unwrap();
}

fn the_wait_for_a_slot_counts(place: &Place) {
    let client = place.client();
    let model = client.register_model(ModelConfig::new("identity").slots(1)).unwrap();
    let slot = model.slot(ms(1000)).unwrap();
    let begun = Instant::now();
    let error = call(&model, 1, &Options::new().within(ms(150))).unwrap_err();
    assert!(matches!(error, InferError::NoSlot { in_use: 1, slots: 1, .. }), "{error}");
    let error = futures::executor::block_on(crate::call::call_async(
        &model,
        1,
        &Options::new().within(ms(150)),
    ));
    assert!(matches!(error, Err(InferError::NoSlot { .. })), "{error:?}");
    let error = model.slot(shm_pool::Wait::Try).unwrap_err();
    assert!(matches!(error, InferError::NoSlot { .. }), "{error}");
    let waited = begun.elapsed();
    assert!(waited >= ms(300) && waited < Duration::from_secs(20), "{waited:?}");
    drop(slot);
    call(&model, 1, &Options::new()).unwrap();
}

fn a_slot_given_up_is_gone_until_the_answer(place: &Place) {
    let server = place.own_server();
    let client = place.client_of(&server);
    let model = client.register_model(ModelConfig::new("slow").slots(1)).unwrap();
    let mut slot = model.slot(ms(1000)).unwrap();
    let shape = shape(&model, 1);
    slot.input::<f32>("INPUT0", &shape).unwrap().fill(7.0);
    let error = slot.run(&taking(400).within(ms(50))).unwrap_err();
    assert!(matches!(error, InferError::Timeout { .. }), "{error}");
    assert!(slot.is_gone());
    assert!(matches!(slot.input::<f32>("INPUT0", &shape), Err(InferError::SlotGone)));
    assert!(matches!(slot.set("INPUT0", &shape, &[0.0_f32; 1024]), Err(InferError::SlotGone)));
    assert!(matches!(slot.run(&Options::new()), Err(InferError::SlotGone)));
    assert!(matches!(model.slot(shm_pool::Wait::Try), Err(InferError::NoSlot { .. })));
    drop(slot);
    assert_all_free(&client, &model);
    let mut slot = model.slot(ms(1000)).unwrap();
    slot.input::<f32>("INPUT0", &shape).unwrap().fill(8.0);
    let outputs = slot.run(&taking(0)).unwrap();
    assert_eq!(outputs.get::<f32>("OUTPUT0").unwrap(), [8.0; 1024]);
    assert!(outputs.is_shared("OUTPUT0").unwrap());
    // The inputs are still there: it can be run again.
    assert_eq!(slot.run(&taking(0)).unwrap().get::<f32>("OUTPUT0").unwrap(), [8.0; 1024]);
}

fn a_wait_can_be_interrupted(place: &Place) {
    let server = place.own_server();
    let client = place.client_of(&server);
    let model = client.register_model(ModelConfig::new("slow").slots(1)).unwrap();
    let flag = Arc::new(AtomicBool::new(false));
    let asked = flag.clone();
    let long = Duration::from_secs(60);
    let options = taking(2500).within(long).interrupt(move || asked.load(Ordering::Relaxed));
    let begun = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(ms(100));
            flag.store(true, Ordering::Relaxed);
        });
        let error = call(&model, 1, &options).unwrap_err();
        assert!(matches!(error, InferError::Timeout { .. }), "{error}");
    });
    assert!(begun.elapsed() < ms(2400), "{:?}", begun.elapsed());
    // Its slot is still the request's, and that wait can be interrupted too.
    let error = call(&model, 1, &options).unwrap_err();
    assert!(matches!(error, InferError::NoSlot { .. }), "{error}");
    flag.store(false, Ordering::Relaxed);
    call(&model, 1, &taking(0)).unwrap();
}
