//! The store against a map that remembers the order of use.

use super::*;
use proptest::prelude::*;
use std::collections::HashMap;

const ROOM: usize = 6;
const KEYS: u8 = 12;

#[derive(Clone, Debug)]
enum Step {
    /// By one of two handles; kept as a reservation, or committed.
    Store {
        by: usize,
        key: u8,
        commit: bool,
    },
    /// What one of the open reservations becomes.
    Settle {
        which: usize,
        commit: bool,
    },
    Retrieve {
        by: usize,
        keys: Vec<u8>,
    },
    Release {
        which: usize,
    },
    Remove {
        by: usize,
        key: u8,
    },
    Clear {
        by: usize,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let by = || 0_usize..2;
    let step = prop_oneof![
        6 => (by(), 0..KEYS, prop::bool::weighted(0.8))
            .prop_map(|(by, key, commit)| Step::Store { by, key, commit }),
        2 => (any::<usize>(), any::<bool>())
            .prop_map(|(which, commit)| Step::Settle { which, commit }),
        5 => (by(), prop::collection::vec(0..KEYS, 1..4))
            .prop_map(|(by, keys)| Step::Retrieve { by, keys }),
        4 => any::<usize>().prop_map(|which| Step::Release { which }),
        1 => (by(), 0..KEYS).prop_map(|(by, key)| Step::Remove { by, key }),
        1 => by().prop_map(|by| Step::Clear { by }),
    ];
    prop::collection::vec(step, 1..120)
}

#[derive(Default)]
struct Model {
    now: u64,
    entries: HashMap<u8, Stored>,
    reserved: Vec<u8>,
}

struct Stored {
    value: u8,
    used: u64,
    /// Of each handle.
    leases: [usize; 2],
}

impl Stored {
    fn is_leased(&self) -> bool {
        self.leases != [0, 0]
    }
}

impl Model {
    fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    /// Room for one more, by taking out the least recently used if need be.
    fn make_room(&mut self) -> bool {
        if self.entries.len() + self.reserved.len() < ROOM {
            return true;
        }
        let oldest = self.entries.iter().filter(|(_, entry)| !entry.is_leased());
        let oldest = oldest.min_by_key(|(_, entry)| entry.used).map(|(key, _)| *key);
        oldest.is_some_and(|key| self.entries.remove(&key).is_some())
    }

    fn commit(&mut self, key: u8, value: u8) {
        let used = self.tick();
        self.entries.insert(key, Stored { value, used, leases: [0, 0] });
    }
}

/// What both sides have leased: by which handle, which keys, with which values.
type Lease = (usize, Vec<(u8, u8)>, Retrieved);

fn check_values(values: &[(u8, u8)], retrieved: &Retrieved) {
    for (entry, (_, value)) in retrieved.entries().iter().zip(values) {
        assert_eq!(entry.tensor(0).unwrap().to_vec(), [*value; 300]);
    }
}

fn run(steps: &[Step]) {
    let first = store("model", ROOM);
    let stores = [first.clone(), Store::open(first.name()).unwrap()];
    let mut model = Model::default();
    let mut reservations: Vec<(u8, u8, Reservation)> = Vec::new();
    let mut leases: Vec<Lease> = Vec::new();
    let mut value = 0_u8;
    for step in steps {
        match step {
            Step::Store { by, key, commit } => {
                value = value.wrapping_add(1);
                let prepared = stores[*by].prepare_store(&[*key], &[bytes(300)], Wait::Try);
                if model.entries.contains_key(key) {
                    assert!(matches!(prepared, Err(StoreError::Exists { .. })), "{prepared:?}");
                } else if model.reserved.contains(key) {
                    assert!(matches!(prepared, Err(StoreError::InProgress { .. })), "{prepared:?}");
                } else if !model.make_room() {
                    assert!(matches!(prepared, Err(StoreError::Full { .. })), "{prepared:?}");
                } else {
                    let mut reservation = prepared.unwrap();
                    reservation.tensor_mut::<u8>(0).unwrap().fill(value);
                    if *commit {
                        reservation.commit().unwrap();
                        model.commit(*key, value);
                    } else {
                        model.reserved.push(*key);
                        reservations.push((*key, value, reservation));
                    }
                }
            }
            Step::Settle { which, commit } if !reservations.is_empty() => {
                let (key, value, reservation) = reservations.remove(which % reservations.len());
                model.reserved.retain(|reserved| *reserved != key);
                if *commit {
                    reservation.commit().unwrap();
                    model.commit(key, value);
                }
            }
            Step::Retrieve { by, keys } => {
                let names: Vec<[u8; 1]> = keys.iter().map(|key| [*key]).collect();
                let names: Vec<&[u8]> = names.iter().map(|name| &name[..]).collect();
                let retrieved = get(&stores[*by], &names);
                let there = |key: &&u8| model.entries.contains_key(key);
                let absent: Vec<usize> = (0..keys.len()).filter(|&at| !there(&&keys[at])).collect();
                if !absent.is_empty() {
                    let Err(StoreError::Missing { missing, .. }) = retrieved else { panic!() };
                    assert_eq!(missing, absent);
                    continue;
                }
                let retrieved = retrieved.unwrap();
                let mut values = Vec::new();
                for key in keys {
                    let used = model.tick();
                    let entry = model.entries.get_mut(key).unwrap();
                    entry.used = used;
                    entry.leases[*by] += 1;
                    values.push((*key, entry.value));
                }
                check_values(&values, &retrieved);
                leases.push((*by, values, retrieved));
            }
            Step::Release { which } if !leases.is_empty() => {
                let (by, values, retrieved) = leases.remove(which % leases.len());
                check_values(&values, &retrieved);
                retrieved.release();
                for (key, _) in values {
                    let used = model.tick();
                    let entry = model.entries.get_mut(&key).unwrap();
                    entry.leases[by] -= 1;
                    if entry.leases[by] == 0 {
                        entry.used = used;
                    }
                }
            }
            Step::Remove { by, key } => {
                let removed = stores[*by].remove(&[*key]);
                match model.entries.get(key) {
                    None => assert!(!removed.unwrap()),
                    Some(entry) if entry.is_leased() => {
                        assert!(matches!(removed, Err(StoreError::Leased { .. })));
                    }
                    Some(_) => {
                        assert!(removed.unwrap());
                        model.entries.remove(key);
                    }
                }
            }
            Step::Clear { by } => {
                let before = model.entries.len();
                model.entries.retain(|_, entry| entry.is_leased());
                assert_eq!(stores[*by].clear().unwrap(), before - model.entries.len());
            }
            Step::Settle { .. } | Step::Release { .. } => {}
        }
        let mut keys: Vec<Vec<u8>> = model.entries.keys().map(|key| vec![*key]).collect();
        let mut found = stores[0].keys().unwrap();
        keys.sort();
        found.sort();
        assert_eq!(found, keys, "after {step:?}");
        assert_eq!(stores[1].stats().filling, model.reserved.len());
    }
    drop((reservations, leases));
    assert_whole(&stores[0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_store_is_a_map_that_forgets_what_was_not_used(steps in steps()) {
        run(&steps);
    }
}
