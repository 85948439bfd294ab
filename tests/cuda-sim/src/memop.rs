//! Stream memory operations: words that a stream stores and waits for.

use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::address::Place;
use crate::context::{Context, current};
use crate::driver::Driver;
use crate::inject::{self, Fault};
use crate::settings::SETTINGS;
use crate::status::{Result, Status};
use crate::stream::{self, poll};

/// One operation as the caller writes it.
#[derive(Clone, Copy, Debug)]
pub enum Memop {
    Write {
        address: u64,
        value: u64,
        wide: bool,
        flags: u32,
    },
    Wait {
        address: u64,
        value: u64,
        wide: bool,
        flags: u32,
    },
    /// Flushes and barriers: nothing here is out of order.
    Nothing,
}

/// The layout of `CUstreamBatchMemOpParams`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct BatchEntry {
    words: [u64; 6],
}

const NO_MEMORY_BARRIER: u32 = 1;
const FLUSH: u32 = 1 << 30;
const MOST: usize = 256;

/// Queues operations that are done one after another.
pub fn queue(handle: usize, operations: &[Memop]) -> Result {
    let (driver, context) = current()?;
    if !SETTINGS.memops {
        return Err(Status::NOT_SUPPORTED);
    }
    inject::check(Fault::Memop)?;
    if operations.is_empty() || operations.len() > MOST {
        return Err(Status::INVALID_VALUE);
    }
    let stream = stream::find_in(handle, &context)?;
    let steps: Vec<Step> =
        operations.iter().map(|operation| Step::check(driver, operation)).collect::<Result<_>>()?;
    context.submit(
        &stream,
        Box::new(move |context| steps.iter().try_for_each(|step| step.run(context))),
    )?;
    Ok(())
}

impl BatchEntry {
    pub fn read(&self) -> Result<Memop> {
        let [kind, address, value, flags, ..] = self.words;
        let (kind, flags) = (kind as u32, flags as u32);
        let narrow = value & u64::from(u32::MAX);
        Ok(match kind {
            1 => Memop::Wait { address, value: narrow, wide: false, flags },
            2 => Memop::Write { address, value: narrow, wide: false, flags },
            4 => Memop::Wait { address, value, wide: true, flags },
            5 => Memop::Write { address, value, wide: true, flags },
            3 | 6 => Memop::Nothing,
            _ => return Err(Status::INVALID_VALUE),
        })
    }
}

/// An operation whose address was checked.
struct Step {
    place: Option<Place>,
    wide: bool,
    value: u64,
    act: Act,
}

#[derive(Clone, Copy)]
enum Act {
    Write { fenced: bool },
    Wait(Condition),
    Nothing,
}

#[derive(Clone, Copy)]
enum Condition {
    AtLeast,
    Equal,
    And,
    Nor,
}

impl Step {
    fn check(driver: &Driver, operation: &Memop) -> Result<Self> {
        let (address, value, wide, act) = match *operation {
            Memop::Nothing => {
                return Ok(Self { place: None, wide: false, value: 0, act: Act::Nothing });
            }
            Memop::Write { address, value, wide, flags } => {
                if flags & !NO_MEMORY_BARRIER != 0 {
                    return Err(Status::INVALID_VALUE);
                }
                (address, value, wide, Act::Write { fenced: flags & NO_MEMORY_BARRIER == 0 })
            }
            Memop::Wait { address, value, wide, flags } => {
                let condition = match flags & !FLUSH {
                    0 => Condition::AtLeast,
                    1 => Condition::Equal,
                    2 => Condition::And,
                    3 => Condition::Nor,
                    _ => return Err(Status::INVALID_VALUE),
                };
                (address, value, wide, Act::Wait(condition))
            }
        };
        let bytes = if wide { 8 } else { 4 };
        if !address.is_multiple_of(bytes) {
            return Err(Status::INVALID_VALUE);
        }
        let mut parts = driver.state().map.device_range(address, bytes)?;
        let (place, _) = parts.pop().ok_or(Status::INVALID_VALUE)?;
        Ok(Self { place: Some(place), wide, value, act })
    }

    fn run(&self, context: &Context) -> Result {
        let Some(place) = &self.place else { return Ok(()) };
        match self.act {
            Act::Nothing => {}
            Act::Write { fenced } => context.touch(|| {
                place.check(context, true)?;
                if fenced {
                    fence(Ordering::SeqCst);
                }
                self.store(place);
                Ok(())
            })?,
            Act::Wait(condition) => {
                let mut outcome = Ok(());
                poll(
                    || {
                        outcome = place.check(context, false);
                        outcome.is_err() || self.holds(condition, self.load(place))
                    },
                    || context.is_over(),
                );
                context.touch(|| outcome)?;
            }
        }
        Ok(())
    }

    fn holds(&self, condition: Condition, found: u64) -> bool {
        match condition {
            Condition::AtLeast if self.wide => found.wrapping_sub(self.value) as i64 >= 0,
            Condition::AtLeast => (found as u32).wrapping_sub(self.value as u32) as i32 >= 0,
            Condition::Equal => found == self.value,
            Condition::And => found & self.value != 0,
            Condition::Nor if self.wide => !(found | self.value) != 0,
            Condition::Nor => !(found as u32 | self.value as u32) != 0,
        }
    }

    fn store(&self, place: &Place) {
        if self.wide {
            wide(place).store(self.value, Ordering::Release);
        } else {
            narrow(place).store(self.value as u32, Ordering::Release);
        }
    }

    fn load(&self, place: &Place) -> u64 {
        if self.wide {
            wide(place).load(Ordering::Acquire)
        } else {
            u64::from(narrow(place).load(Ordering::Acquire))
        }
    }
}

fn wide(place: &Place) -> &AtomicU64 {
    let word = ptr::with_exposed_provenance_mut::<u64>(place.at);
    // SAFETY: the range was checked to lie in the region that `place` keeps mapped, or in host
    // memory that its owner keeps until it is unregistered; regions begin on a page, or for host
    // memory at the address itself, so the word is aligned as the address is.
    unsafe { AtomicU64::from_ptr(word) }
}

fn narrow(place: &Place) -> &AtomicU32 {
    let word = ptr::with_exposed_provenance_mut::<u32>(place.at);
    // SAFETY: as for `wide`.
    unsafe { AtomicU32::from_ptr(word) }
}
