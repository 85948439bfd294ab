//! Workers share what one of them has computed, blocks make room for others, and what was never
//! committed is never seen.

#[allow(dead_code, reason = "each test uses a part")]
mod program;

use program::{Name, PATIENCE, Program, number};
use shm_pool::Store;

const STORE: &str = env!("CARGO_BIN_EXE_kv-store");
const WORKER: &str = env!("CARGO_BIN_EXE_kv-worker");

#[test]
fn workers_share_blocks_and_old_ones_make_room() {
    let name = Name::new("kv-shared");
    // Sixty blocks of 32 KiB; prompts need more than that.
    let mut store = Program::start(STORE, &[name.as_str(), "--capacity", "2"]);
    store.hear("MiB in");
    let workers = ["1", "2", "3"]
        .map(|rank| Program::start(WORKER, &[name.as_str(), "--rank", rank, "--frames", "60"]));
    for worker in workers {
        // They compare every number that they retrieve, and would have failed.
        let said = worker.finish();
        let summary = said.last().expect("a summary");
        let (asked, computed) = (number(summary, "blocks"), number(summary, "computed"));
        assert_eq!(number(summary, "prompts"), 60);
        assert!(asked >= 60 * 9 && 0 < computed && computed < asked, "{summary}");
    }
    store.interrupt();
    let said = store.finish();
    let summary = said.last().expect("a summary");
    assert!(number(summary, "hits") > 0 && number(summary, "evicted") > 0, "{summary}");
    assert_eq!(number(summary, "being"), 0, "{summary}");
    assert_eq!(name.segments(), [""; 0]);
}

#[test]
fn a_block_that_was_never_committed_is_computed_by_somebody_else() {
    let name = Name::new("kv-killed");
    let mut owner = Program::start(STORE, &[name.as_str()]);
    owner.hear("MiB in");
    let arguments = [name.as_str(), "--rank", "7", "--frames", "1"];
    let mut victim = Program::start(WORKER, &[&arguments[..], &["--hang"]].concat());
    let said = victim.hear("hangs before the commit");
    let key = said.rsplit(' ').next().and_then(|key| u128::from_str_radix(key, 16).ok());
    let key = key.expect(&said).to_le_bytes();
    let store = Store::open_within(name.as_str(), PATIENCE).expect("it is there");
    assert!(!store.contains(&key), "half a block can be seen");

    // The same prompt: waits for the one that hangs, and takes over when it is dead.
    let next = Program::start(WORKER, &arguments);
    victim.kill();
    let said = next.finish();
    let summary = said.last().expect("a summary");
    assert_eq!(number(summary, "blocks"), number(summary, "computed"), "{summary}");
    assert!(store.contains(&key));
    drop(store);
    owner.interrupt();
    let said = owner.finish();
    let summary = said.last().expect("a summary");
    assert!(number(summary, "reclaimed") >= 1, "{summary}");
    assert_eq!(name.segments(), [""; 0]);
}
