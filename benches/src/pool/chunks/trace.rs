//! A trace of requests that keeps an arena nearly full, and what an arena makes of it.
//!
//! Which pieces are given back before which request is decided beforehand, for an ideal arena whose
//! free bytes always lie together. So every arena is asked the same, whatever it answered before; one
//! that refuses more runs a little emptier afterwards, which its fill shows.

use std::collections::HashMap;

use anyhow::Result;
use fastrand::Rng;

/// What a trace asks for.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Bytes of the arena.
    pub capacity: usize,
    /// The smallest request.
    pub smallest: usize,
    /// The largest request; sizes between are equally likely on a logarithmic scale.
    pub largest: usize,
    /// The share of the capacity that the bytes asked for never exceed.
    pub fill: f64,
}

/// One step of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A piece of so many bytes is asked for, under a number of its own.
    Take {
        /// Its number.
        id: usize,
        /// Its size.
        bytes: usize,
    },
    /// The piece with this number is given back, if it was granted.
    GiveBack {
        /// Its number.
        id: usize,
    },
}

/// Makes a trace with so many requests. Before each, pieces chosen by chance are given back until it
/// fits below the fill.
///
/// # Panics
/// If the smallest request is zero or the largest exceeds the fill: no trace can be made of it.
pub fn trace(shape: &Shape, requests: usize, seed: u64) -> Vec<Step> {
    let room = (shape.capacity as f64 * shape.fill) as usize;
    let sizes_fit = shape.smallest <= shape.largest && shape.largest <= room;
    assert!(shape.smallest > 0 && sizes_fit, "no trace can be made of {shape:?}");
    let mut rng = Rng::with_seed(seed);
    let mut steps = Vec::with_capacity(2 * requests);
    let mut held: Vec<(usize, usize)> = Vec::new();
    let mut held_bytes = 0;
    for id in 0..requests {
        let bytes = log_uniform(&mut rng, shape.smallest, shape.largest);
        while held_bytes + bytes > room {
            let (gone, its_bytes) = held.swap_remove(rng.usize(..held.len()));
            held_bytes -= its_bytes;
            steps.push(Step::GiveBack { id: gone });
        }
        steps.push(Step::Take { id, bytes });
        held.push((id, bytes));
        held_bytes += bytes;
    }
    steps
}

fn log_uniform(rng: &mut Rng, smallest: usize, largest: usize) -> usize {
    let ratio = largest as f64 / smallest as f64;
    let bytes = (smallest as f64 * ratio.powf(rng.f64())) as usize;
    bytes.clamp(smallest, largest)
}

/// Something that hands out pieces of a fixed number of bytes.
pub trait Arena {
    /// What was handed out.
    type Piece;

    /// Asks for bytes that lie together; `None` is a refusal.
    fn take(&mut self, bytes: usize) -> Result<Option<Self::Piece>>;

    /// How many bytes a piece keeps from others, rounding included.
    fn occupied(&self, piece: &Self::Piece) -> usize;

    /// Gives a piece back.
    fn give_back(&mut self, piece: Self::Piece) -> Result<()>;
}

/// What an arena made of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// How many pieces were asked for.
    pub requests: u64,
    /// How many of them were refused.
    pub refused: u64,
    /// How many of those while enough bytes were free in total.
    pub fragmented: u64,
    /// Bytes asked for by the requests that were granted.
    pub granted_bytes: u64,
    /// Bytes that those kept from others.
    pub occupied_bytes: u64,
    /// The share of the arena that the bytes asked for and granted took at refusals, summed up.
    fill_at_refusals: f64,
    /// The same after every request.
    fill_after_requests: f64,
}

impl Outcome {
    /// Both as one.
    #[must_use]
    pub fn plus(self, other: Outcome) -> Outcome {
        Outcome {
            requests: self.requests + other.requests,
            refused: self.refused + other.refused,
            fragmented: self.fragmented + other.fragmented,
            granted_bytes: self.granted_bytes + other.granted_bytes,
            occupied_bytes: self.occupied_bytes + other.occupied_bytes,
            fill_at_refusals: self.fill_at_refusals + other.fill_at_refusals,
            fill_after_requests: self.fill_after_requests + other.fill_after_requests,
        }
    }

    /// Refusals among requests, in per cent.
    pub fn refused_percent(&self) -> f64 {
        100.0 * self.refused as f64 / self.requests as f64
    }

    /// What rounding added to the bytes asked for, in per cent.
    pub fn waste_percent(&self) -> f64 {
        100.0 * (self.occupied_bytes as f64 / self.granted_bytes as f64 - 1.0)
    }

    /// How much of the arena was in use on average when it refused, in per cent of its bytes, without
    /// rounding; `None` if it never did.
    pub fn fill_at_refusal_percent(&self) -> Option<f64> {
        (self.refused > 0).then(|| 100.0 * self.fill_at_refusals / self.refused as f64)
    }

    /// How much of it was in use on average after a request, in per cent.
    pub fn fill_percent(&self) -> f64 {
        100.0 * self.fill_after_requests / self.requests as f64
    }
}

/// Drives an arena, which must be empty, with a trace and gives back what is left at the end.
pub fn drive<A: Arena>(arena: &mut A, shape: &Shape, steps: &[Step]) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut held: HashMap<usize, (A::Piece, usize)> = HashMap::new();
    let (mut asked, mut occupied) = (0, 0);
    for step in steps {
        match *step {
            Step::Take { id, bytes } => {
                let fill = asked as f64 / shape.capacity as f64;
                outcome.requests += 1;
                if let Some(piece) = arena.take(bytes)? {
                    let its_bytes = arena.occupied(&piece);
                    outcome.granted_bytes += bytes as u64;
                    outcome.occupied_bytes += its_bytes as u64;
                    asked += bytes;
                    occupied += its_bytes;
                    held.insert(id, (piece, bytes));
                } else {
                    outcome.refused += 1;
                    outcome.fragmented += u64::from(shape.capacity - occupied >= bytes);
                    outcome.fill_at_refusals += fill;
                }
                outcome.fill_after_requests += asked as f64 / shape.capacity as f64;
            }
            Step::GiveBack { id } => {
                if let Some((piece, bytes)) = held.remove(&id) {
                    asked -= bytes;
                    occupied -= arena.occupied(&piece);
                    arena.give_back(piece)?;
                }
            }
        }
    }
    held.into_values().try_for_each(|(piece, _)| arena.give_back(piece))?;
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { capacity: 100_000, smallest: 200, largest: 13_000, fill: 0.9 };

    /// An arena whose bytes always lie together.
    struct Ideal(usize);

    impl Arena for Ideal {
        type Piece = usize;

        fn take(&mut self, bytes: usize) -> Result<Option<usize>> {
            Ok((self.0 + bytes <= SHAPE.capacity).then(|| {
                self.0 += bytes;
                bytes
            }))
        }

        fn occupied(&self, piece: &usize) -> usize {
            *piece
        }

        fn give_back(&mut self, piece: usize) -> Result<()> {
            self.0 -= piece;
            Ok(())
        }
    }

    /// One that refuses whatever is odd.
    struct RefusesOdd(Ideal);

    impl Arena for RefusesOdd {
        type Piece = usize;

        fn take(&mut self, bytes: usize) -> Result<Option<usize>> {
            if bytes % 2 == 1 { Ok(None) } else { self.0.take(bytes) }
        }

        fn occupied(&self, piece: &usize) -> usize {
            2 * piece
        }

        fn give_back(&mut self, piece: usize) -> Result<()> {
            self.0.give_back(piece)
        }
    }

    #[test]
    fn a_trace_keeps_below_its_fill_and_close_to_it() {
        let steps = trace(&SHAPE, 2000, 1);
        let (mut sizes, mut held, mut peak) = (HashMap::new(), 0, 0);
        for step in &steps {
            match *step {
                Step::Take { id, bytes } => {
                    assert!((SHAPE.smallest..=SHAPE.largest).contains(&bytes));
                    assert!(sizes.insert(id, bytes).is_none(), "{id} was used twice");
                    held += bytes;
                    peak = peak.max(held);
                }
                Step::GiveBack { id } => held -= sizes[&id],
            }
        }
        assert!((89_000..=90_000).contains(&peak), "{peak}");
        assert_eq!(sizes.len(), 2000);
        // Half of the requests are smaller than the geometric middle.
        let small = sizes.values().filter(|bytes| **bytes < 1612).count();
        assert!((900..1100).contains(&small), "{small}");
    }

    #[test]
    fn the_same_seed_asks_the_same_and_another_does_not() {
        assert_eq!(trace(&SHAPE, 100, 7), trace(&SHAPE, 100, 7));
        assert_ne!(trace(&SHAPE, 100, 7), trace(&SHAPE, 100, 8));
    }

    #[test]
    fn an_ideal_arena_is_kept_nearly_full_refuses_nothing_and_is_left_empty() {
        let mut ideal = Ideal(0);
        let outcome = drive(&mut ideal, &SHAPE, &trace(&SHAPE, 2000, 3)).unwrap();
        assert_eq!((outcome.requests, outcome.refused), (2000, 0));
        assert_eq!(outcome.waste_percent(), 0.0);
        assert_eq!(outcome.fill_at_refusal_percent(), None);
        assert!((80.0..90.0).contains(&outcome.fill_percent()), "{}", outcome.fill_percent());
        assert_eq!(ideal.0, 0);
    }

    #[test]
    fn refusals_waste_and_what_was_free_are_counted() {
        let steps = [
            Step::Take { id: 0, bytes: 30_000 },
            Step::Take { id: 1, bytes: 40_001 },
            Step::Take { id: 2, bytes: 39_999 },
            Step::GiveBack { id: 1 },
            Step::GiveBack { id: 0 },
            Step::Take { id: 3, bytes: 10_000 },
        ];
        let mut arena = RefusesOdd(Ideal(0));
        let outcome = drive(&mut arena, &SHAPE, &steps).unwrap();
        // 40000 are free beside the 60000 that the first occupies: enough for one of the refused.
        assert_eq!((outcome.requests, outcome.refused, outcome.fragmented), (4, 2, 1));
        assert_eq!(outcome.waste_percent(), 100.0);
        assert_eq!(outcome.fill_at_refusal_percent(), Some(30.0));
        let mean = (30.0 + 30.0 + 30.0 + 10.0) / 4.0;
        assert!((outcome.fill_percent() - mean).abs() < 1e-9, "{}", outcome.fill_percent());
        let both = outcome.plus(outcome);
        assert_eq!((both.requests, both.refused_percent()), (8, 50.0));
        assert_eq!(arena.0.0, 0);
    }
}
