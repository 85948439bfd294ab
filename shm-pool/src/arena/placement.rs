//! Where runs are found and what is left, against a plain look at every granule.

use super::*;
use proptest::prelude::*;

/// A table of chunks that lie where they lie; 0 is free.
#[derive(Debug)]
struct Table {
    granules: Vec<AtomicU64>,
}

impl Table {
    fn new(tags: &[u64]) -> Table {
        Table { granules: tags.iter().map(|tag| AtomicU64::new(*tag)).collect() }
    }

    fn arena(&self) -> Arena<'_> {
        let frontier = self.tags().iter().rposition(|tag| *tag != 0).map_or(0, |last| last + 1);
        Arena { granules: &self.granules, frontier }
    }

    fn tags(&self) -> Vec<u64> {
        self.granules.iter().map(|granule| granule.load(Ordering::Relaxed)).collect()
    }

    /// The free runs, one granule looked at after the other.
    fn runs(&self) -> Vec<Range<usize>> {
        let tags = self.tags();
        let mut runs: Vec<Range<usize>> = Vec::new();
        for at in (0..tags.len()).filter(|at| tags[*at] == 0) {
            match runs.last_mut() {
                Some(run) if run.end == at => run.end += 1,
                _ => runs.push(at..at + 1),
            }
        }
        runs
    }
}

/// Chunks and holes of those lengths, one after the other.
fn tables() -> impl Strategy<Value = Table> {
    prop::collection::vec((any::<bool>(), 1..9_usize), 1..30).prop_map(|parts| {
        let mut tags = Vec::new();
        for (slot, (free, length)) in parts.into_iter().enumerate() {
            let word = if free { 0 } else { tag(slot, 1 + slot as u64 * 3) };
            tags.extend(std::iter::repeat_n(word, length));
        }
        Table::new(&tags)
    })
}

/// How a record may answer: rightly, with nothing, or with anything.
fn length_of(table: &Table, answer: u8) -> impl Fn(u64) -> usize {
    let tags = table.tags();
    move |tag| match answer {
        0 => tags.iter().filter(|other| **other == tag).count(),
        1 => 0,
        2 => usize::MAX,
        _ => 2,
    }
}

fn without(run: &Range<usize>, avoid: &Range<usize>) -> Vec<Range<usize>> {
    if avoid.is_empty() {
        return vec![run.clone()];
    }
    let before = run.start..run.end.min(avoid.start);
    let after = run.start.max(avoid.end)..run.end;
    [before, after].into_iter().filter(|part| part.start < part.end).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_run_that_fits_best_is_found(
        table in tables(), need in 1..12_usize, start in 0..200_usize, len in 0..20_usize, right in 0..2_u8,
    ) {
        let avoid = start..start + len;
        let found = table.arena().find(need, avoid.clone(), length_of(&table, right));
        let parts = table.runs().into_iter().flat_map(|run| without(&run, &avoid));
        let best = parts.filter(|part| part.len() >= need).min_by_key(|part| (part.len(), part.start));
        prop_assert_eq!(found, best.map(|part| part.start));
    }

    /// A record that lies costs an opportunity, and never gives away what is taken.
    #[test]
    fn what_is_found_is_free(table in tables(), need in 1..12_usize, answer in 0..4_u8) {
        if let Some(start) = table.arena().find(need, 0..0, length_of(&table, answer)) {
            prop_assert!(table.tags()[start..start + need].iter().all(|tag| *tag == 0));
        }
    }

    /// What is said to fit is then found, one after the other, in the same places.
    #[test]
    fn what_packs_is_found(
        table in tables(), mut needs in prop::collection::vec(1..9_usize, 1..6), first in 0..3_usize,
    ) {
        needs.sort_unstable_by(|one, other| other.cmp(one));
        let tags = table.tags();
        let taken: Vec<u64> = tags.iter().copied().filter(|tag| *tag != 0).collect();
        let held: Vec<u64> = taken.into_iter().skip(first).step_by(3).take(4).collect();
        let runs = (0..tags.len()).filter(|at| held.contains(&tags[*at])).map(|at| at..at + 1);
        let said = table.arena().packs(&needs, runs, length_of(&table, 0));
        for granule in &table.granules {
            if held.contains(&granule.load(Ordering::Relaxed)) {
                granule.store(0, Ordering::Relaxed);
            }
        }
        let arena = Arena { granules: &table.granules, frontier: tags.len() };
        let found = needs.iter().enumerate().all(|(part, need)| {
            let own = tag(1000 + part, 1);
            let place = arena.find(*need, 0..0, |_| 1);
            place.is_some_and(|start| arena.claim(start..start + need, own))
        });
        prop_assert_eq!(said, found);
    }

    #[test]
    fn what_is_free_is_counted(table in tables()) {
        let extents = table.arena().extents(length_of(&table, 0));
        let runs = table.runs();
        prop_assert_eq!(extents.free, runs.iter().map(Range::len).sum::<usize>());
        prop_assert_eq!(extents.largest, runs.iter().map(Range::len).max().unwrap_or(0));
    }

    #[test]
    fn the_emptiest_window_has_the_fewest_taken(table in tables(), need in 0..40_usize) {
        let tags = table.tags();
        let taken = |start: usize| tags[start..start + need].iter().filter(|tag| **tag != 0).count();
        let windows = match need {
            0 => 0,
            need => (tags.len() + 1).saturating_sub(need),
        };
        let best = (0..windows).min_by_key(|start| (taken(*start), *start));
        prop_assert_eq!(table.arena().emptiest(need), best);
    }

    #[test]
    fn all_of_a_run_is_claimed_or_nothing(table in tables(), start in 0..150_usize, len in 1..12_usize) {
        let (before, mine) = (table.tags(), tag(500, 9));
        let run = start..start + len;
        let free = before.get(run.clone()).is_some_and(|tags| tags.iter().all(|tag| *tag == 0));
        prop_assert_eq!(table.arena().claim(run.clone(), mine), free);
        prop_assert_eq!(table.arena().is_owned(run.clone(), mine), free);
        let mut expected = before.clone();
        if free {
            expected[run.clone()].fill(mine);
        }
        prop_assert_eq!(table.tags(), expected);
        // Freed by its own tag, and by no other one.
        prop_assert_eq!(table.arena().clear(run.clone(), mine + 1), 0);
        prop_assert_eq!(table.arena().clear(run, mine), if free { len } else { 0 });
        prop_assert_eq!(table.tags(), before);
    }

    #[test]
    fn a_tag_names_its_tenant(slot in 0..MAX_CHUNKS, generation in 1..crate::word::GENERATIONS) {
        prop_assert_eq!(tenant(tag(slot, generation)), Some((slot, generation)));
    }

    /// What came free a moment ago is proposed once, in its length, outside of what is kept.
    #[test]
    fn what_came_free_is_proposed_once(
        runs in prop::collection::vec((0..1000_usize, 1..20_usize), 0..60), buckets in 0..9_usize,
        start in 0..1000_usize, len in 0..200_usize,
    ) {
        let words: Vec<AtomicU64> = (0..buckets * WAYS).map(|_| AtomicU64::new(0)).collect();
        let (recent, avoid) = (Recent { words: &words }, start..start + len);
        for (start, len) in &runs {
            recent.put(*start..start + len);
        }
        for len in 1..20 {
            let mut proposed = Vec::new();
            while let Some(run) = recent.take(len, &avoid) {
                prop_assert!(run.len() == len && runs.contains(&(run.start, len)));
                prop_assert!(run.end <= avoid.start || run.start >= avoid.end);
                proposed.push(run);
                prop_assert!(proposed.len() <= runs.len());
            }
        }
    }
}

#[test]
fn a_free_granule_has_no_tenant() {
    assert_eq!(tenant(0), None);
    assert_eq!(tenant(crate::word::GENERATIONS - 1), None);
}

#[test]
fn threads_never_share_a_granule() {
    let table = Table::new(&[0; 64]);
    let owners: Vec<AtomicU64> = (0..64).map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        for slot in 0..4 {
            let (table, owners) = (&table, &owners);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(slot as u64);
                for generation in 1..5_000 {
                    let (need, tag) = (random.usize(1..24), tag(slot, generation));
                    let arena = Arena { granules: &table.granules, frontier: 64 };
                    let Some(start) = arena.find(need, 0..0, |_| 1) else { continue };
                    if !arena.claim(start..start + need, tag) {
                        continue;
                    }
                    for owner in &owners[start..start + need] {
                        assert_eq!(owner.fetch_add(1, Ordering::Relaxed), 0);
                        owner.fetch_sub(1, Ordering::Relaxed);
                    }
                    assert_eq!(arena.clear(start..start + need, tag), need);
                }
            });
        }
    });
    assert_eq!(table.tags(), [0; 64]);
}
