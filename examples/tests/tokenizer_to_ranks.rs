//! Every rank gets every batch, the parts add up to the whole, and a killed rank leaves nothing.

#[allow(dead_code, reason = "each test uses a part")]
mod program;

use program::{Name, Program, number};
use std::collections::BTreeMap;

const TOKENIZER: &str = env!("CARGO_BIN_EXE_tokenizer");
const RANK: &str = env!("CARGO_BIN_EXE_rank");

#[test]
fn what_the_ranks_compute_adds_up() {
    let name = Name::new("whole");
    // Two MiB, of which the longest batch needs half: batches have to wait for each other.
    let sizes = ["--ranks", "3", "--frames", "60", "--rate", "1000", "--capacity", "2"];
    let tokenizer = Program::start(TOKENIZER, &[&[name.as_str()], &sizes[..]].concat());
    let ranks =
        ["0", "1", "2"].map(|rank| Program::start(RANK, &[rank, name.as_str(), "--ranks", "3"]));
    let sent = tokenizer.finish();
    assert_eq!(number(sent.last().expect("a summary"), "chunks"), 0, "{sent:?}");
    let whole = sums(&sent);
    assert_eq!(whole.len(), 60);
    let parts = ranks.map(|rank| sums(&rank.finish()));
    for (batch, (tokens, sum)) in whole {
        let parts: Vec<&(u64, f64)> = parts.iter().map(|rank| &rank[&batch]).collect();
        assert!(parts.iter().all(|part| part.0 == tokens), "batch {batch}: {parts:?}");
        assert_eq!(parts.iter().map(|part| part.1).sum::<f64>(), sum, "batch {batch}");
    }
    assert_eq!(name.segments(), [""; 0]);
}

#[test]
fn a_rank_that_is_killed_with_a_batch_gives_it_back() {
    let name = Name::new("killed");
    let sizes = ["--frames", "100", "--rate", "1000", "--capacity", "2"];
    let tokenizer = Program::start(TOKENIZER, &[&[name.as_str()], &sizes[..]].concat());
    let mut whole = Program::start(RANK, &["0", name.as_str()]);
    // Holds its first batch for an hour; the pool is soon full of what it has not read.
    let mut stuck = Program::start(RANK, &["1", name.as_str(), "--work", "3600000"]);
    stuck.hear("batch 0 has");
    // The other one is done with that batch, so the dead one is the last who held it.
    whole.hear("batch 1 has");
    stuck.kill();
    // The one that takes its place comes in the middle, or too late.
    let next = Program::start(RANK, &["1", name.as_str(), "--seconds", "100"]);

    let sent = tokenizer.finish();
    let summary = sent.last().expect("a summary");
    assert_eq!(number(summary, "chunks"), 0, "{summary}");
    assert!(number(summary, "came") >= 1, "the dead rank's batch came back: {summary}");
    assert_eq!(sums(&sent).len(), 100, "nobody waited for the dead one");
    assert_eq!(sums(&whole.finish()).len(), 100, "the other rank missed nothing");
    // It may have found no tokenizer any more.
    next.interrupt();
    next.finish();
    assert_eq!(name.segments(), [""; 0]);
}

#[test]
fn ctrl_c_leaves_no_batch_that_nobody_was_told_of() {
    let name = Name::new("interrupted");
    // Faster than the ranks, so that it waits for them when it is interrupted.
    let fast = ["--rate", "10000", "--ranks", "1"];
    let mut tokenizer = Program::start(TOKENIZER, &[&[name.as_str()], &fast[..]].concat());
    let slow = ["0", name.as_str(), "--ranks", "1", "--work", "10"];
    let mut rank = Program::start(RANK, &slow);
    rank.hear("batch 5 has");
    tokenizer.hear("batch 10 has");
    tokenizer.interrupt();
    let sent = tokenizer.finish();
    assert_eq!(number(sent.last().expect("a summary"), "chunks"), 0, "{sent:?}");
    let (sent, read) = (sums(&sent), sums(&rank.finish()));
    assert!(sent.len() > 10 && sent == read, "{} batches sent, {} read", sent.len(), read.len());
    assert_eq!(name.segments(), [""; 0]);
}

#[test]
fn ctrl_c_is_heard_while_nobody_is_there() {
    let name = Name::new("alone");
    let mut tokenizer = Program::start(TOKENIZER, &[name.as_str()]);
    tokenizer.hear("waiting for 2 ranks");
    tokenizer.interrupt();
    assert!(sums(&tokenizer.finish()).is_empty());
    assert_eq!(name.segments(), [""; 0]);
}

/// Tokens and sum of each batch, as the lines of a program say.
fn sums(lines: &[String]) -> BTreeMap<u64, (u64, f64)> {
    let batches = lines.iter().filter_map(|line| {
        let (_, batch) = line.split_once(": batch ")?;
        let (batch, rest) = batch.split_once(" has ")?;
        let (_, sum) = rest.split_once("sum ")?;
        Some((batch.parse().ok()?, (number(line, "tokens"), sum.parse().ok()?)))
    });
    batches.collect()
}
