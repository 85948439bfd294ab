//! A header that describes a pool that cannot be is refused, by the field.

use crate::rig::{chunks, slots};
use shm_pool::{OpenError, Pool};
use shm_tests::Scene;
use shm_tests::pool::RawPool;

/// The field that opening complains about; `None` if it opens.
fn complaint(name: &str) -> Option<&'static str> {
    match Pool::open(name) {
        Ok(_) => None,
        Err(OpenError::Segment(shm_core::OpenError::Corrupt { field, expected, .. })) => {
            assert!(!expected.is_empty());
            Some(field)
        }
        Err(OpenError::Purpose { .. }) => Some("purpose"),
        Err(other) => panic!("{other}"),
    }
}

/// `changed(before)` is stored in a word of the geometry of one of the two pools.
type Attack = (bool, usize, fn(u64) -> u64, &'static [&'static str]);

const ATTACKS: [Attack; 25] = [
    (false, 0, |word| word & !0xFFFF_FFFF, &["version"]),
    (false, 0, |word| word & !0xFFFF_FFFF | 99, &["version"]),
    (false, 0, |word| word & 0xFFFF_FFFF | 2 << 32, &["kind"]),
    (false, 0, |word| word | 0xFFFF << 48, &["kind"]),
    (false, 1, |_| 0, &["slots"]),
    (false, 1, |_| u64::MAX, &["slots"]),
    (false, 1, |slots| slots + 1, &["slot_size", "slots"]),
    (false, 1, |slots| slots - 1, &["slot_size", "slots"]),
    (false, 2, |_| 0, &["slot_size"]),
    (false, 2, |size| size * 2, &["slot_size"]),
    (false, 2, |_| u64::MAX, &["slot_size"]),
    (false, 5, |_| 0, &["capacity"]),
    (false, 5, |_| u64::MAX, &["capacity"]),
    (false, 5, |capacity| capacity * 2, &["slot_size", "capacity"]),
    (false, 6, |_| 0, &["alignment"]),
    (false, 6, |_| 300, &["alignment"]),
    (false, 6, |_| 1 << 40, &["alignment"]),
    (false, 7, |word| word & !0xFFFF_FFFF, &["expected"]),
    (false, 7, |word| word & !0xFFFF_FFFF | 65, &["expected"]),
    (false, 7, |word| word | 2 << 32, &["entries"]),
    (false, 8, |_| u64::MAX, &["queue_cells"]),
    (true, 3, |_| 0, &["granules"]),
    (true, 3, |_| 1 << 40, &["granules"]),
    (true, 4, |_| 4095, &["granule"]),
    (true, 4, |granule| granule * 2, &["granule"]),
];

#[test]
fn no_field_of_the_geometry_is_believed() {
    let scene = Scene::new("geometry");
    let pools = [slots(&scene, "slots", 4, 2), chunks(&scene, "chunks", 2)];
    for (at, (of_chunks, word, change, fields)) in ATTACKS.into_iter().enumerate() {
        let name = pools[usize::from(of_chunks)].name();
        let raw = RawPool::of(name).unwrap();
        let before = raw.geometry(word);
        raw.set_geometry(word, change(before));
        let complaint = complaint(name);
        assert!(complaint.is_some_and(|field| fields.contains(&field)), "{at}: {complaint:?}");
        raw.set_geometry(word, before);
        assert!(Pool::open(name).is_ok(), "{at}: as it was");
    }
    println!("{} hostile geometries refused by name", ATTACKS.len());
}

#[test]
fn a_geometry_larger_than_the_segment_is_refused() {
    let scene = Scene::new("larger");
    let pool = slots(&scene, "pool", 4, 2);
    let raw = RawPool::of(pool.name()).unwrap();
    // Consistent in itself: more slots, each of its old size, and a capacity to match.
    let (slots, size) = (raw.geometry(1) * 1000, raw.geometry(2));
    raw.set_geometry(1, slots);
    raw.set_geometry(5, slots * size);
    assert!(matches!(complaint(pool.name()), Some("control_len" | "payload_len")));
    // The handle that is open has its own copy, and goes on.
    assert_eq!(pool.slots(), 4);
    assert_eq!(pool.stats().free, 4);
}
