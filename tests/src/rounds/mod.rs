//! Rounds of killing: in each, processes die at a named point or at a random instant, and then
//! everything must still work.
//!
//! Three streams (frames of 64 bytes, 40 kB and 4 MB) live through all rounds, each with a surviving
//! reader that verifies every frame it gets. After each round the newest frame is readable, the lock
//! is free, the next writer's frame has the next count and is read back whole.

mod pools;
mod scenario;
mod stage;

pub use pools::{PoolScenario, Role, role_at, run as run_pools};
pub use scenario::Scenario;

use crate::failure::Failure;
use crate::scene::Scene;
use core::fmt::Display;
use stage::Stage;
use std::time::Duration;

/// Words of a frame: 64 B, 40 kB, 4 MB.
const SIZES: [usize; 3] = [8, 5_000, 500_000];

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many rounds.
    pub rounds: u64,
    /// Decides which processes die when.
    pub seed: u64,
}

/// How one round went.
pub struct Outcome<'a> {
    /// Its number, from 1.
    pub round: u64,
    /// What was played.
    pub scenario: &'a dyn Display,
    /// Bytes of a frame, or the most that the pool lends.
    pub len: usize,
    /// What went wrong.
    pub failure: Option<&'a Failure>,
}

/// How all rounds went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many rounds ran.
    pub rounds: u64,
    /// What went wrong, with the number of the round.
    pub failures: Vec<String>,
    /// How many of the failures were torn frames.
    pub torn: u64,
    /// Processes that were killed.
    pub killed: u64,
    /// Frames and publications that survivors read and verified.
    pub verified: u64,
    /// Frames that were published, and slots that were granted, in all.
    pub published: u64,
    /// What was left in shared memory at the end.
    pub leftovers: u64,
}

impl Summary {
    /// True when nothing at all went wrong, and something was proven.
    pub fn is_clean(&self) -> bool {
        self.failures.is_empty()
            && self.torn + self.leftovers == 0
            && self.killed >= self.rounds
            && self.verified > 0
    }

    /// Adds what other rounds came to.
    pub fn add(&mut self, other: Summary) {
        self.rounds += other.rounds;
        self.failures.extend(other.failures);
        self.torn += other.torn;
        self.killed += other.killed;
        self.verified += other.verified;
        self.published += other.published;
        self.leftovers += other.leftovers;
    }

    fn note(&mut self, place: &str, failure: &Failure) {
        self.torn += u64::from(matches!(failure, Failure::Torn(_)));
        self.failures.push(format!("{place}: {failure}"));
    }
}

/// Plays all rounds; `tell` hears of each.
///
/// # Errors
/// When the streams or the surviving readers cannot be set up. What goes wrong later is in the
/// summary.
pub fn run(plan: Plan, mut tell: impl FnMut(&Outcome<'_>)) -> Result<Summary, Failure> {
    let bound = Duration::from_secs(120 + 10 * plan.rounds);
    let scene = Scene::within("kill rounds", bound);
    let mut rng = fastrand::Rng::with_seed(plan.seed);
    let mut stages = SIZES
        .iter()
        .map(|&words| Stage::new(&scene, words))
        .collect::<Result<Vec<Stage>, Failure>>()?;
    let mut summary = Summary::default();
    for round in 1..=plan.rounds {
        let scenario = Scenario::ALL[(round - 1) as usize % Scenario::ALL.len()];
        let stage = &mut stages[rng.usize(..SIZES.len())];
        let played = scenario.play(&scene, stage, &mut rng);
        let outcome = played.and_then(|killed| stage.settle().map(|()| killed));
        summary.rounds += 1;
        match &outcome {
            Ok(killed) => summary.killed += killed,
            Err(failure) => summary.note(&format!("round {round} ({scenario})"), failure),
        }
        let (len, failure) = (stage.frame_len(), outcome.as_ref().err());
        tell(&Outcome { round, scenario: &scenario, len, failure });
    }
    for stage in stages {
        summary.published += stage.count();
        match stage.end() {
            Ok(verified) => summary.verified += verified,
            Err(failure) => summary.note("surviving reader", &failure),
        }
    }
    scene.sweep_drafts();
    summary.leftovers = scene.leftovers().len() as u64;
    Ok(summary)
}
