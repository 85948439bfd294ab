//! Somebody else shortens or removes the file: it is noticed before anything is sent.

use crate::call::{PATIENCE, call, call_async, file_of, regions_of, until};
use futures::executor::block_on;
use shm_tests::triton::Place;
use shm_triton::{InferError, ModelConfig, Options, RegionError};
use std::fs::{OpenOptions, remove_file};
use std::path::Path;

everywhere!(a_damaged_region_is_noticed_and_replaced);

/// What somebody does to the file.
type Damage = fn(&Path);

fn shorten(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

fn a_damaged_region_is_noticed_and_replaced(place: &Place) {
    let server = place.own_server();
    let client = place.client_of(&server);
    let model = client.register_model(ModelConfig::new("identity").slots(2)).unwrap();
    let newest = || {
        let regions = regions_of(&client, std::process::id());
        assert_eq!(regions.len(), 1, "{regions:?}");
        regions[0].clone()
    };
    // A server may count a request after it has answered it.
    let counted = |calls| {
        let count = || client.statistics("identity").unwrap()[0].success.count;
        until("they are counted", || count() >= calls);
        assert_eq!(count(), calls, "nothing else was sent");
    };
    let damages: [(&str, Damage); 4] = [
        ("unlinked", |path| remove_file(path).unwrap()),
        ("without its end", |path| shorten(path, path.metadata().unwrap().len() - 1)),
        ("without most", |path| shorten(path, 4096)),
        ("without anything", |path| shorten(path, 0)),
    ];
    for (round, (what, damage)) in damages.into_iter().enumerate() {
        // Under a slot that is held and filled.
        let mut slot = model.slot(PATIENCE).unwrap();
        slot.input::<f32>("INPUT0", &[1, 16]).unwrap().fill(1.0);
        slot.run(&Options::new()).unwrap();
        let old = newest();
        damage(&file_of(&old));
        let error = slot.run(&Options::new()).unwrap_err();
        let InferError::Region(RegionError::Damaged { region }) = &error else { panic!("{error}") };
        assert_eq!(*region, old, "{what}");
        drop(slot);
        call(&model, 20, &Options::new()).unwrap();
        until("the server is told", || client.stats().owed == 0);
        assert_ne!(newest(), old);
        assert!(!file_of(&old).exists(), "{what}: it is cleared away");
        // Between two calls it costs the caller nothing.
        damage(&file_of(&newest()));
        call(&model, 3, &Options::new()).unwrap();
        until("the server is told", || client.stats().owed == 0);
        damage(&file_of(&newest()));
        block_on(call_async(&model, 3, &Options::new())).unwrap();
        until("the server is told", || client.stats().owed == 0);
        assert!(server.is_alive());
        // One in the slot, three for twenty samples, and one each.
        counted(6 * (round as u64 + 1));
    }
    assert_eq!(client.stats().retired, 12);
    client.close(PATIENCE).unwrap();
}
