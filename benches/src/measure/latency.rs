//! One-way latency between two processes that take turns.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Samples, median};

/// The sequence of the last turn: it tells the other side to stop.
pub const LAST: u64 = u64::MAX;

/// Turns between two readings of the clock.
const BATCH: u64 = 32;
/// So many batches and single turns at least, however short the slice: the processors may have
/// been taken away for most of it.
const BATCHES_MIN: usize = 50;
const SINGLES_MIN: u64 = 500;

/// The side of a ping-pong that measures.
pub trait PingPong {
    /// Sends `sequence` and returns when it has come back.
    fn turn(&mut self, sequence: u64) -> Result<()>;
}

/// The side of a ping-pong that answers.
pub trait Echo {
    /// Waits for the sequence that is not the one before, sends it back and returns it.
    fn answer(&mut self, before: u64) -> Result<u64>;
}

/// A side that sends and receives in the same way, whether it measures or answers.
pub trait Exchange {
    /// Sends `sequence`.
    fn send(&mut self, sequence: u64) -> Result<()>;

    /// Waits for the next sequence of the other side.
    fn receive(&mut self) -> Result<u64>;
}

impl<S: Exchange> PingPong for S {
    #[inline]
    fn turn(&mut self, sequence: u64) -> Result<()> {
        self.send(sequence)?;
        let back = self.receive()?;
        ensure!(back == sequence, "{back} came back in place of {sequence}");
        Ok(())
    }
}

impl<S: Exchange> Echo for S {
    #[inline]
    fn answer(&mut self, _before: u64) -> Result<u64> {
        let sequence = self.receive()?;
        self.send(sequence)?;
        Ok(sequence)
    }
}

/// What a ping-pong took: half of each turn.
#[derive(Clone, Debug)]
pub struct Latency {
    /// Nanoseconds one way: the median of small batches, without a clock between their turns. A
    /// mean would tell how often something else wanted the processor.
    pub one_way: f64,
    /// Nanoseconds one way of single turns.
    pub single: Samples,
}

impl Latency {
    /// Several rounds as one: the median of their medians, all of their single turns.
    pub fn of_rounds(rounds: &[Latency]) -> Result<Latency> {
        let mut single = Samples::default();
        for round in rounds {
            single.add(&round.single)?;
        }
        Ok(Latency { one_way: median(rounds.iter().map(|round| round.one_way)), single })
    }
}

/// Warms up, measures turns in batches, then turns one by one, for as long as `slice` together.
/// The sequence begins at 1, grows by one each turn and ends with [`LAST`].
pub fn ping_pong(side: &mut impl PingPong, slice: Duration) -> Result<Latency> {
    let mut sequence = 0;
    let mut turn = |side: &mut _| {
        sequence += 1;
        PingPong::turn(side, sequence)
    };
    let begun = Instant::now();
    while begun.elapsed() < slice / 5 {
        turn(side)?;
    }
    let mut batches = Vec::new();
    while batches.len() < BATCHES_MIN || begun.elapsed() < slice * 3 / 5 {
        let begun = Instant::now();
        for _ in 0..BATCH {
            turn(side)?;
        }
        batches.push(begun.elapsed().as_nanos() as f64 / BATCH as f64 / 2.0);
    }
    let mut single = Samples::default();
    let mut before = Instant::now();
    while single.count() < SINGLES_MIN || before - begun < slice {
        turn(side)?;
        let now = Instant::now();
        single.record((now - before).as_nanos() as u64 / 2);
        before = now;
    }
    side.turn(LAST)?;
    Ok(Latency { one_way: median(batches), single })
}

/// Answers until the last turn.
pub fn echo(side: &mut impl Echo) -> Result<()> {
    let mut before = 0;
    while before != LAST {
        let sequence = side.answer(before)?;
        ensure!(sequence == before + 1 || sequence == LAST, "{sequence} came after {before}");
        before = sequence;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Recorded(Vec<u64>);

    impl PingPong for Recorded {
        fn turn(&mut self, sequence: u64) -> Result<()> {
            self.0.push(sequence);
            Ok(())
        }
    }

    impl Echo for std::vec::IntoIter<u64> {
        fn answer(&mut self, _before: u64) -> Result<u64> {
            self.next().ok_or_else(|| anyhow::anyhow!("nothing was sent"))
        }
    }

    #[test]
    fn the_sequence_has_no_gap_and_ends_with_the_last_turn() {
        let mut side = Recorded::default();
        let latency = ping_pong(&mut side, Duration::from_millis(5)).unwrap();
        let (last, others) = side.0.split_last().unwrap();
        assert_eq!(*last, LAST);
        assert!(others.iter().copied().eq(1..=others.len() as u64));
        assert!(latency.single.count() >= SINGLES_MIN);
        echo(&mut side.0.into_iter()).unwrap();
    }

    #[test]
    fn an_echo_notices_what_was_lost_and_what_never_ends() {
        assert!(echo(&mut vec![1, 3, LAST].into_iter()).is_err());
        assert!(echo(&mut vec![1, 2].into_iter()).is_err());
    }
}
