//! Cache lines that carry a few words to another process each, and nothing else: what tells the
//! other process of a publication in the rows that measure no queue.

use std::sync::atomic::Ordering;

use anyhow::Result;

use super::{Mapping, spin_until};

/// The words that travel beside the sequence: one line in all.
pub const WORDS: usize = 7;

/// Two lines apart: processors fetch lines in pairs.
const STRIDE: usize = 128;

/// Lines that one process fills and one other reads, in turn. Whoever fills must know that the
/// message before in the same line was read.
#[derive(Debug)]
pub struct Mailbox {
    mapping: Mapping,
    lines: u64,
}

impl Mailbox {
    /// Makes empty lines under a new name.
    pub fn create(what: &str, lines: usize) -> Result<Mailbox> {
        Mailbox::over(Mapping::create(what, lines * STRIDE)?)
    }

    /// Maps what another process made.
    pub fn open(name: &str) -> Result<Mailbox> {
        Mailbox::over(Mapping::open(name)?)
    }

    fn over(mapping: Mapping) -> Result<Mailbox> {
        let lines = (mapping.len() / STRIDE) as u64;
        Ok(Mailbox { mapping, lines })
    }

    /// Its name, for [`Mailbox::open`] in another process.
    pub fn name(&self) -> &str {
        self.mapping.name()
    }

    /// Fills the next line: with the sequence that differs from that of `turn` one round before.
    #[inline]
    pub fn send(&self, turn: u64, sequence: u64, words: &[u64; WORDS]) -> Result<()> {
        let line = self.line(turn);
        for (index, word) in words.iter().enumerate() {
            self.mapping.word(line + 8 + 8 * index)?.store(*word, Ordering::Relaxed);
        }
        self.mapping.word(line)?.store(sequence, Ordering::Release);
        Ok(())
    }

    /// Waits until the line of this turn has another sequence than `before`.
    #[inline]
    pub fn receive(&self, turn: u64, before: u64) -> Result<(u64, [u64; WORDS])> {
        let line = self.line(turn);
        let sequence = self.mapping.word(line)?;
        let sequence = spin_until("a message", || {
            let now = sequence.load(Ordering::Acquire);
            (now != before).then_some(now)
        })?;
        let mut words = [0; WORDS];
        for (index, word) in words.iter_mut().enumerate() {
            *word = self.mapping.word(line + 8 + 8 * index)?.load(Ordering::Relaxed);
        }
        Ok((sequence, words))
    }

    #[inline]
    fn line(&self, turn: u64) -> usize {
        (turn % self.lines) as usize * STRIDE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_whole_and_in_their_lines() {
        let sender = Mailbox::create("test-mailbox", 2).unwrap();
        let receiver = Mailbox::open(sender.name()).unwrap();
        for turn in 0..5 {
            let before = if turn < 2 { 0 } else { turn - 1 };
            sender.send(turn, turn + 1, &[10 * turn; WORDS]).unwrap();
            assert_eq!(receiver.receive(turn, before).unwrap(), (turn + 1, [10 * turn; WORDS]));
        }
    }
}
