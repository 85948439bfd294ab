//! Any geometry is a layout whose parts lie side by side, or names the field that cannot be.

use super::*;
use crate::config::PoolConfig;
use core::ops::Range;
use proptest::prelude::*;

/// Small, at a limit, or anything.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..70_u64,
        (0..64_u32, -1..=1_i64).prop_map(|(bit, step)| (1_u64 << bit).wrapping_add_signed(step)),
        any::<u64>(),
    ]
}

fn small() -> impl Strategy<Value = u32> {
    prop_oneof![0..3_u32, 0..66_u32, any::<u32>()]
}

prop_compose! {
    fn anything()(
        numbers in [number(), number(), number(), number(), number(), number(), number(), number(), number()],
        version in prop_oneof![9 => Just(Geometry::VERSION), 1 => any::<u32>()],
        kind in small(), expected in small(), entries in small(),
    ) -> Geometry {
        let [slots, slot_size, granules, granule, capacity, alignment, queue_cells, overdue_ns, ttl_ns] = numbers;
        Geometry {
            version, kind, slots, slot_size, granules, granule, capacity, alignment, expected, entries,
            queue_cells, overdue_ns, ttl_ns, reserved: [u64::MAX; 3],
        }
    }
}

prop_compose! {
    /// One that is possible, or is once a field is replaced.
    fn nearly_right()(
        kind in 0..2_u32, slots in 1..3000_u64, size in 1..100_u64, power in 12..24_u32,
        expected in 1..=64_u32, entries in 0..2_u32, queue_cells in 0..5000_u64,
        damage in prop_oneof![2 => Just(None), 3 => (0..9_usize, number()).prop_map(Some)],
    ) -> Geometry {
        let (granule, slot_size) = (1_u64 << power, size * 256);
        let capacity = if kind == 0 { slot_size * slots } else { granule * slots };
        let slot_size = if kind == 0 { slot_size } else { capacity };
        let mut geometry = Geometry {
            version: Geometry::VERSION, kind, slots, slot_size, granules: slots, granule, capacity,
            alignment: 256, expected, entries, queue_cells, overdue_ns: 0, ttl_ns: 0, reserved: [0; 3],
        };
        if let Some((field, value)) = damage {
            match field {
                0 => geometry.kind = value as u32,
                1 => geometry.slots = value,
                2 => geometry.slot_size = value,
                3 => geometry.granules = value,
                4 => geometry.granule = value,
                5 => geometry.capacity = value,
                6 => geometry.alignment = value,
                7 => geometry.expected = value as u32,
                _ => geometry.queue_cells = value,
            }
        }
        geometry
    }
}

fn check(geometry: &Geometry) {
    let layout = match Layout::new(geometry) {
        Ok(layout) => layout,
        Err((field, expected, found)) => {
            let fields = [
                ("version", geometry.version.into()),
                ("kind", geometry.kind.into()),
                ("slots", geometry.slots),
                ("slot_size", geometry.slot_size),
                ("granules", geometry.granules),
                ("granule", geometry.granule),
                ("capacity", geometry.capacity),
                ("alignment", geometry.alignment),
                ("expected", geometry.expected.into()),
                ("entries", geometry.entries.into()),
                ("queue_cells", geometry.queue_cells),
            ];
            assert!(fields.contains(&(field, found)), "{field} is {found}, expected {expected}");
            assert!(!expected.is_empty());
            return;
        }
    };
    let parts: [(usize, usize); 12] = [
        (0, at::END),
        (layout.at_members, MEMBERS * 64),
        (layout.at_seats, MAX_SEATS * 64),
        (layout.at_audience, layout.lanes * 8),
        (layout.at_line, LINE * 64),
        (layout.at_hints, layout.hints.len() * 8),
        (layout.at_slots, layout.slots * layout.slot_stride),
        (layout.at_granules, layout.granules * 8),
        (layout.at_recent, RECENT * 8),
        (layout.at_queues, QUEUES * QUEUE_LEN),
        (layout.at_cells, layout.queue_cells * 8),
        (layout.at_index, layout.index_cells * 8),
    ];
    let entries = (layout.at_entries, if layout.entries { layout.slots * 64 } else { 0 });
    let mut parts: Vec<Range<usize>> =
        parts.into_iter().chain([entries]).map(|(start, len)| start..start + len).collect();
    assert!(parts.iter().all(|part| part.start % 64 == 0));
    parts.sort_by_key(|part| (part.start, part.end));
    for pair in parts.windows(2) {
        assert!(pair[0].end <= pair[1].start, "{pair:?} overlap");
    }
    assert!(parts.iter().all(|part| part.end <= layout.control_len));
    // A record has its fields and its lanes, and the last slot lies within the storage.
    assert!((crate::ledger::record::LANES + layout.lanes) * 8 <= layout.slot_stride);
    match layout.kind {
        Kind::Slots => assert_eq!(layout.slots * layout.slot_size, layout.capacity),
        Kind::Chunks => assert_eq!(layout.granules * layout.granule, layout.capacity),
    }
    assert!(layout.slot_size <= layout.capacity && layout.capacity <= isize::MAX as usize);
    if layout.kind == Kind::Chunks {
        for bytes in [1, layout.granule, layout.slot_size / 9 + 1, layout.slot_size] {
            let granules = layout.granules_for(bytes);
            assert!(granules <= layout.granules, "{bytes} bytes in {granules} granules");
            assert!(granules * layout.granule >= bytes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_geometry_is_checked(geometry in anything()) {
        check(&geometry);
    }

    #[test]
    fn a_damaged_field_is_named(geometry in nearly_right()) {
        check(&geometry);
    }

    #[test]
    fn what_a_configuration_says_is_possible(slots in 1..100_000_usize, size in 1..1_usize << 40, capacity in 1..1_usize << 50) {
        for config in [PoolConfig::slots(slots, size), PoolConfig::chunks(capacity)] {
            let geometry = config.unwrap().geometry();
            prop_assert!(Layout::new(&geometry).is_ok());
            check(&geometry);
        }
    }

    #[test]
    fn classes_are_kept(granules in 1..=1_usize << 20) {
        let class = class_of(granules);
        prop_assert!(class >= granules && (class - granules) * STEPS < class);
        prop_assert_eq!(class_of(class), class);
        prop_assert!(class_of(granules + 1) >= class);
    }
}

#[test]
fn the_largest_pools_have_a_layout() {
    let most = Geometry {
        version: Geometry::VERSION,
        kind: 0,
        slots: crate::config::MAX_SLOTS as u64,
        slot_size: 1 << 32,
        granules: 0,
        granule: 0,
        capacity: 1 << 56,
        alignment: 256,
        expected: 64,
        entries: 1,
        queue_cells: 1 << 20,
        overdue_ns: u64::MAX,
        ttl_ns: u64::MAX,
        reserved: [0; 3],
    };
    assert!(Layout::new(&most).is_ok());
    check(&most);
}
