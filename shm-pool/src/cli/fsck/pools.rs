//! A pool or a store, looked at again while anything seems wrong, and repaired on request.
//!
//! Upholds invariants 1 and 3: repairing is what every member does for the dead, by the kernel's word; the
//! living keep what they have. The memory that is lent is not touched, so pools on a device are checked
//! without one.

use crate::layout::{Geometry, Layout, POOL_KIND};
use crate::ledger::Ledger;
use crate::member::OWNER_BYTE;
use crate::word::SlotState;
use crate::{Fsck, Reaped};
use serde::Serialize;
use shm_core::segment::{Access, Segment};
use shm_core::{Deadline, OpenError};
use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

/// A problem is what is there at each of so many looks. Two would not do: of 800 checks of a pool at full
/// speed, one found the same slot between the same two states at both.
const LOOKS: usize = 5;
/// Between two looks, so that what somebody is just doing is over.
const PAUSE: Duration = Duration::from_millis(20);

/// What a pool is like.
#[derive(Serialize)]
pub(super) struct PoolCheck {
    /// How many slots are at what.
    pub(super) slots: BTreeMap<String, usize>,
    /// Those that are not free.
    pub(super) lent: Vec<SlotRow>,
    /// What came back, if it was repaired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) repaired: Option<Repaired>,
    #[serde(skip)]
    pub(super) problems: Vec<String>,
    #[serde(skip)]
    pub(super) notes: Vec<String>,
}

/// One slot.
#[derive(Serialize)]
pub(super) struct SlotRow {
    index: usize,
    state: String,
    generation: u64,
    bytes: usize,
    held_ms: u64,
    producer_pid: u32,
    explanation: String,
}

/// What the dead gave back.
#[derive(Serialize)]
pub(super) struct Repaired {
    pub(super) members: usize,
    pub(super) consumers: usize,
    pub(super) slots: u64,
}

impl PoolCheck {
    /// Looks at the pool or store of that name, after giving back what the dead had if asked to.
    pub(super) fn of(name: &str, repair: bool) -> Result<PoolCheck, OpenError> {
        let ledger = open(name)?;
        let mut problems = Vec::new();
        let repaired = match repair {
            true => match ledger.own() {
                Ok(_) => Some(Repaired::from(ledger.reap())),
                Err(error) => {
                    problems.push(format!("it could not be joined for repair: {error}"));
                    None
                }
            },
            false => None,
        };
        let mut seen = look(&ledger);
        for _ in 1..LOOKS {
            if seen.is_clean() {
                break;
            }
            thread::sleep(PAUSE);
            let before = seen.problems;
            seen = look(&ledger);
            seen.problems.retain(|problem| before.contains(problem));
        }
        let mut slots = BTreeMap::new();
        for slot in &seen.slots {
            *slots.entry(state_name(slot.state)).or_default() += 1;
        }
        let lent = seen.slots.iter().filter(|slot| slot.state != Some(SlotState::Free));
        let lent = lent.map(SlotRow::from).collect();
        problems.append(&mut seen.problems);
        Ok(PoolCheck { slots, lent, repaired, problems, notes: notes(&ledger) })
    }

    /// `7 free, 1 filling`.
    pub(super) fn summary(&self) -> String {
        let slots: Vec<String> =
            self.slots.iter().map(|(state, count)| format!("{count} {state}")).collect();
        slots.join(", ")
    }
}

impl Repaired {
    /// What came back, in words; `None` if there was nothing to repair.
    pub(super) fn text(&self) -> Option<String> {
        let parts: Vec<String> = [
            (self.members as u64, "dead handle", "dead handles"),
            (self.consumers as u64, "seat", "seats"),
            (self.slots, "slot", "slots"),
        ]
        .iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }))
        .collect();
        (!parts.is_empty()).then(|| format!("given back: {}", parts.join(", ")))
    }
}

impl From<Reaped> for Repaired {
    fn from(reaped: Reaped) -> Repaired {
        let Reaped { members, consumers, slots } = reaped;
        Repaired { members, consumers, slots }
    }
}

impl From<&crate::SlotReport> for SlotRow {
    fn from(slot: &crate::SlotReport) -> SlotRow {
        SlotRow {
            index: slot.index,
            state: state_name(slot.state),
            generation: slot.generation,
            bytes: slot.byte_len,
            held_ms: u64::try_from(slot.held_for.as_millis()).unwrap_or(u64::MAX),
            producer_pid: slot.producer_pid,
            explanation: slot.explanation.clone(),
        }
    }
}

/// Attached, but neither a member nor a consumer: whoever only looks takes nobody's place, and gives
/// nothing back that a look should still find.
fn open(name: &str) -> Result<Ledger, OpenError> {
    let segment = Segment::open_within(name, POOL_KIND, Access::Attached, Deadline::NOW)?;
    let is_elsewhere = segment.geometry().len() > size_of::<Geometry>();
    let layout = Layout::of(&segment, !is_elsewhere)?;
    // Of memory elsewhere, work may outlive the locks of who began it.
    Ok(Ledger::new(segment, layout, is_elsewhere))
}

fn look(ledger: &Ledger) -> Fsck {
    match ledger.layout.entries {
        true => ledger.fsck_entries(),
        false => ledger.fsck(),
    }
}

fn notes(ledger: &Ledger) -> Vec<String> {
    let owned = ledger.segment.is_held(OWNER_BYTE).unwrap_or(true);
    let pid = ledger.segment.creator_pid();
    let orphaned = (!owned).then(|| {
        format!("its owner (pid {pid}) has left it; `shm gc` removes it once nobody is attached")
    });
    orphaned.into_iter().collect()
}

fn state_name(state: Option<SlotState>) -> String {
    state.map_or("damaged".to_owned(), |state| format!("{state:?}").to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::Ordering;
    use crate::{Store, StoreConfig, Wait};
    use shm_core::{Dtype, TensorDesc};

    #[test]
    fn an_entry_that_nobody_can_find_is_a_problem() {
        let name = format!("test-cli-index-{}", std::process::id());
        let store = Store::create(&name, &StoreConfig::new(1 << 20).unwrap()).unwrap();
        let layout = [TensorDesc::new(Dtype::U8, &[100]).unwrap()];
        store.prepare_store(b"key", &layout, Wait::Try).unwrap().commit().unwrap();
        let check = PoolCheck::of(&name, false).unwrap();
        assert_eq!((check.problems, check.slots["stored"]), (Vec::new(), 1));

        for word in open(&name).unwrap().index() {
            word.store(0, Ordering::Relaxed);
        }
        let [problem] = PoolCheck::of(&name, false).unwrap().problems.try_into().unwrap();
        assert!(problem.contains("no cell of the index leads to it"), "{problem}");
        assert_eq!(store.fsck().problems, [problem]);
    }

    #[test]
    fn what_came_back_is_told_in_words() {
        let repaired = |members, consumers, slots| Repaired { members, consumers, slots }.text();
        assert_eq!(repaired(0, 0, 0), None);
        let text = "given back: 1 dead handle, 2 slots";
        assert_eq!(repaired(1, 0, 2).as_deref(), Some(text));
    }
}
