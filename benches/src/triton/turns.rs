//! Who takes part in a comparison, and taking turns.

use std::time::Duration;

use anyhow::{Context, Result};

use super::calls::{Calls, Summary};
use super::watch;

/// One round of somebody.
pub(super) type Round<'a> = Box<dyn FnMut(Duration) -> Result<Calls> + 'a>;

/// Somebody who takes part.
pub(super) struct Entrant<'a> {
    pub name: String,
    /// Whether the whole comparison fails where this one does: others are skipped.
    pub ours: bool,
    state: State<'a>,
    rounds: Vec<Calls>,
}

enum State<'a> {
    Takes(Round<'a>),
    Skipped(String),
}

impl<'a> Entrant<'a> {
    /// One of ours, or a limit: it has to work.
    pub fn ours(name: impl Into<String>, round: Round<'a>) -> Entrant<'a> {
        Entrant { name: name.into(), ours: true, state: State::Takes(round), rounds: Vec::new() }
    }

    /// Another system, or why it is not there.
    pub fn other(name: impl Into<String>, round: Result<Round<'a>, String>) -> Entrant<'a> {
        let state = match round {
            Ok(round) => State::Takes(round),
            Err(why) => State::Skipped(why),
        };
        Entrant { name: name.into(), ours: false, state, rounds: Vec::new() }
    }

    /// One round; the result of a warming one is dropped.
    pub fn run(&mut self, slice: Duration, counts: bool) -> Result<()> {
        let State::Takes(round) = &mut self.state else {
            return Ok(());
        };
        watch::begin(&self.name);
        match round(slice) {
            Ok(calls) if counts => self.rounds.push(calls),
            Ok(_) => {}
            Err(error) if self.ours => return Err(error).context(self.name.clone()),
            Err(error) => {
                eprintln!("SKIPPED: {}: {error:#}", self.name);
                self.rounds.clear();
                self.state = State::Skipped(format!("{error:#}"));
            }
        }
        Ok(())
    }

    /// What a call took in its last round that counted.
    pub fn typical(&self) -> Option<Duration> {
        self.rounds.last().map(|calls| Duration::from_nanos(calls.took.p50() as u64))
    }

    /// What its rounds were, or why there are none.
    pub fn end(self) -> Result<Result<Summary, String>> {
        Ok(match (Summary::of(&self.rounds)?, self.state) {
            (Some(summary), _) => Ok(summary),
            (None, State::Skipped(why)) => Err(why),
            (None, State::Takes(_)) => Err("a quick run leaves it out".to_owned()),
        })
    }
}

/// Runs everybody once a round. Each round begins with another one, and every other round goes
/// backwards: nobody always follows the same one.
pub(super) fn round(
    entrants: &mut [Entrant<'_>],
    number: usize,
    slice: Duration,
    counts: bool,
) -> Result<()> {
    order(entrants.len(), number).into_iter().try_for_each(|at| entrants[at].run(slice, counts))
}

fn order(count: usize, round: usize) -> Vec<usize> {
    let turned = (0..count).map(|step| (step + round) % count);
    if round.is_multiple_of(2) { turned.collect() } else { turned.rev().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Samples;
    use anyhow::bail;

    fn calls(_: Duration) -> Result<Calls> {
        Ok(Calls { took: Samples::from_iter([7]), elapsed: Duration::from_nanos(7) })
    }

    #[test]
    fn everybody_runs_once_a_round_and_first_in_turn() {
        assert_eq!(order(3, 0), [0, 1, 2]);
        assert_eq!(order(3, 1), [0, 2, 1]);
        assert_eq!(order(3, 2), [2, 0, 1]);
        assert!(order(0, 5).is_empty());
    }

    #[test]
    fn a_warming_round_does_not_count() {
        let mut entrant = Entrant::ours("a", Box::new(calls));
        entrant.run(Duration::ZERO, false).unwrap();
        entrant.run(Duration::ZERO, true).unwrap();
        assert_eq!(entrant.rounds.len(), 1);
        assert_eq!(entrant.typical(), Some(Duration::from_nanos(7)));
        assert_eq!(entrant.end().unwrap().unwrap().p50, 7.0);
    }

    #[test]
    fn others_are_skipped_where_they_fail_and_ours_are_not() {
        let fails = || -> Round<'static> { Box::new(|_| bail!("refused")) };
        let mut entrants = [Entrant::other("b", Ok(fails())), Entrant::ours("a", Box::new(calls))];
        round(&mut entrants, 0, Duration::ZERO, true).unwrap();
        let [other, ours] = entrants;
        assert_eq!(other.end().unwrap().unwrap_err(), "refused");
        assert!(ours.end().unwrap().is_ok());
        let error = Entrant::ours("a", fails()).run(Duration::ZERO, true).unwrap_err();
        assert!(format!("{error:#}").contains("a: refused"));
    }
}
