//! Workers that are killed or stopped. Each is a process of its own: this very test program, told by its
//! environment which part to play.

use super::*;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

const ROLE: &str = "SHM_POOL_STORE_TEST";

/// Starts a worker, and waits until it says that it is ready.
fn worker(role: &str, store: &Store) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store::tests::crash::play_a_part", "--nocapture"])
        .env(ROLE, format!("{role} {}", store.name()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let ready = lines.map_while(Result::ok).any(|line| line.ends_with("ready"));
    assert!(ready, "the worker never got ready");
    child
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Not a test by itself: what a worker does that one of the tests below has started.
#[test]
fn play_a_part() {
    let Ok(part) = std::env::var(ROLE) else { return };
    let (role, name) = part.split_once(' ').unwrap();
    let store = Store::open(name).unwrap();
    let _kept: Box<dyn std::any::Any> = match role {
        "reserve" => Box::new(store.prepare_store(b"k", &[bytes(100)], Wait::Try).unwrap()),
        "lease" => Box::new(get(&store, &[b"k"]).unwrap()),
        "evict" => {
            let (ledger, hash) = (store.worker().ledger(), store.worker().hasher.hash(b"k"));
            let found = ledger.stored(hash).unwrap();
            let member = store.worker().member().unwrap();
            assert!(ledger.slot(found.slot).begin_evicting(found.state, member));
            Box::new(())
        }
        #[cfg(feature = "testing")]
        point if point.starts_with("store.") => {
            println!("\nready");
            die_at(point, &store)
        }
        other => panic!("no part is called {other}"),
    };
    println!("\nready");
    loop {
        std::thread::sleep(Duration::from_secs(3600));
    }
}

#[test]
fn a_killed_storer_leaves_the_key_to_others() {
    let store = store("killed-storer", 16);
    let child = worker("reserve", &store);
    let error = put(&store, b"k", 100, 1).unwrap_err();
    let StoreError::InProgress { pid, .. } = error else { panic!("{error}") };
    assert_eq!(pid, child.id());
    signal(&child, "-STOP");
    assert!(matches!(put(&store, b"k", 100, 1), Err(StoreError::InProgress { .. })));
    assert_eq!(store.reap().members, 0, "who is stopped lives");
    kill(child);
    put(&store, b"k", 100, 2).unwrap();
    assert_eq!(get(&store, &[b"k"]).unwrap().tensor(0, 0).unwrap().get::<u8>(0), Ok(2));
    assert_whole(&store);
}

#[test]
fn a_killed_reader_holds_nothing_and_a_stopped_one_does() {
    let store = store("killed-reader", 2);
    put(&store, b"k", 4096, 1).unwrap();
    let child = worker("lease", &store);
    signal(&child, "-STOP");
    let error = put(&store, b"x", 4096, 1).unwrap_err();
    let StoreError::Full { holders, .. } = error else { panic!("{error}") };
    assert_eq!(holders.iter().map(|holder| holder.pid).collect::<Vec<_>>(), [child.id()]);
    assert!(matches!(store.remove(b"k"), Err(StoreError::Leased { .. })));
    kill(child);
    let waited = store.prepare_store(b"x", &[bytes(4096)], Wait::FOREVER).unwrap();
    waited.commit().unwrap();
    assert!(!store.contains(b"k"));
    assert_whole(&store);
}

#[test]
fn a_stopped_evictor_hides_nothing_and_a_killed_one_is_undone() {
    let store = store("evictor", 16);
    put(&store, b"k", 100, 1).unwrap();
    let child = worker("evict", &store);
    signal(&child, "-STOP");
    assert_eq!(store.stats().evicting, 1);
    assert!(store.contains(b"k"));
    drop(get(&store, &[b"k"]).unwrap());
    assert_eq!(store.stats().stored, 1, "taken back by who read it");
    kill(child);

    kill(worker("evict", &store));
    assert_eq!(store.stats().evicting, 1);
    store.reap();
    assert_eq!(store.stats().stored, 1, "taken back by who reaped");
    kill(worker("evict", &store));
    assert!(store.remove(b"k").unwrap(), "nobody has it");
    store.reap();
    assert_whole(&store);
}

/// Stores, retrieves and removes until the point is passed.
#[cfg(feature = "testing")]
fn die_at(point: &str, store: &Store) -> ! {
    shm_core::fault::arm_in(crate::fault::POINTS, point, shm_core::fault::Action::Kill, 1);
    put(store, b"k", 100, 1).unwrap();
    drop(get(store, &[b"k", b"old"]).unwrap());
    store.remove(b"old").unwrap();
    panic!("{point} was never passed");
}

#[cfg(feature = "testing")]
#[test]
fn killed_at_every_point() {
    for point in crate::fault::POINTS.iter().filter(|point| point.starts_with("store.")) {
        let store = store("points", 16);
        put(&store, b"old", 100, 9).unwrap();
        let mut child = worker(point, &store);
        let status = child.wait().unwrap();
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(status.signal(), Some(9), "{point}");
        // An entry is there as a whole, or its key is free.
        for (key, value) in [(b"k" as &[u8], 1), (b"old", 9)] {
            match get(&store, &[key]) {
                Ok(retrieved) => {
                    assert_eq!(retrieved.tensor(0, 0).unwrap().to_vec(), [value; 100], "{point}");
                }
                Err(StoreError::Missing { .. }) => put(&store, key, 100, 5).unwrap(),
                Err(error) => panic!("{point}: {error}"),
            }
        }
        store.reap();
        assert_eq!((store.len(), store.stats().in_use()), (2, 2), "{point}");
        assert_all_memory_is_back(&store);
    }
}
