//! What one process knows of its devices, and the way into every call.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};
use rustix::process::{Pid, getpid};

use crate::address::AddressMap;
use crate::context::Context;
use crate::device::Device;
use crate::event::Event;
use crate::settings::SETTINGS;
use crate::status::{Result, Status};
use crate::stream::Stream;
use crate::vmm::{Physical, Reservation};

static DRIVER: OnceLock<Driver> = OnceLock::new();

/// Everything since `cuInit`, of the process that called it.
pub struct Driver {
    pub devices: Vec<Device>,
    pub calls: AtomicU64,
    pub opens: AtomicU64,
    pid: Pid,
    ids: AtomicU64,
    state: Mutex<State>,
    violations: Mutex<Vec<String>>,
}

/// What calls look up and change. Nobody waits for queued work while holding it.
#[derive(Default)]
pub struct State {
    pub contexts: HashMap<usize, Arc<Context>>,
    pub primaries: HashMap<usize, u64>,
    pub primary_flags: HashMap<usize, u32>,
    pub map: AddressMap,
    pub streams: HashMap<usize, Arc<Stream>>,
    pub events: HashMap<usize, Arc<Event>>,
    pub physical: HashMap<u64, Physical>,
    pub reservations: BTreeMap<u64, Reservation>,
}

/// Makes the devices; a second call finds them made.
pub fn init() -> Result {
    if let Some(driver) = DRIVER.get() {
        return driver.is_ours();
    }
    let devices = Device::visible(&SETTINGS);
    if devices.is_empty() {
        return Err(Status::NO_DEVICE);
    }
    DRIVER.get_or_init(|| Driver {
        devices,
        calls: AtomicU64::new(0),
        opens: AtomicU64::new(0),
        pid: getpid(),
        ids: AtomicU64::new(0),
        state: Mutex::default(),
        violations: Mutex::default(),
    });
    Ok(())
}

/// The driver, if this process has initialised it. A child of a fork has not.
pub fn driver() -> Result<&'static Driver> {
    let driver = DRIVER.get().ok_or(Status::NOT_INITIALIZED)?;
    driver.is_ours()?;
    Ok(driver)
}

thread_local! {
    static IN_HOST_FUNCTION: Cell<bool> = const { Cell::new(false) };
}

/// Runs what a stream calls on the host; the driver may not be called from there.
pub fn in_host_function(function: impl FnOnce()) {
    IN_HOST_FUNCTION.set(true);
    function();
    IN_HOST_FUNCTION.set(false);
}

pub fn is_in_host_function() -> bool {
    IN_HOST_FUNCTION.try_with(Cell::get).unwrap_or(false)
}

impl Driver {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    pub fn try_state(&self) -> Option<MutexGuard<'_, State>> {
        self.state.try_lock_for(std::time::Duration::from_millis(200))
    }

    pub fn device(&self, ordinal: i32) -> Result<&Device> {
        let ordinal = usize::try_from(ordinal).map_err(|_| Status::INVALID_DEVICE)?;
        self.devices.get(ordinal).ok_or(Status::INVALID_DEVICE)
    }

    /// A number that looks like a pointer and is given to one object only, ever.
    pub fn new_id(&self) -> usize {
        0x51D0_0000_0000 + 16 * (1 + self.ids.fetch_add(1, Ordering::Relaxed)) as usize
    }

    pub fn was_id(&self, id: usize) -> bool {
        let last = 0x51D0_0000_0000 + 16 * self.ids.load(Ordering::Relaxed) as usize;
        (0x51D0_0000_0010..=last).contains(&id) && id.is_multiple_of(16)
    }

    /// Writes down what the real driver would have left undefined.
    pub fn violation(&self, text: String) {
        if SETTINGS.log {
            eprintln!("cuda sim: violation: {text}");
        }
        self.violations.lock().push(text);
    }

    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().clone()
    }

    fn is_ours(&self) -> Result {
        if self.pid == getpid() { Ok(()) } else { Err(Status::NOT_INITIALIZED) }
    }
}
