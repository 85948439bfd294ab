//! What a process left behind, for tests.

use std::fs;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::address::{AddressMap, Kind};
use crate::driver::{State, driver};
use crate::settings::SETTINGS;

/// The state of the driver, as JSON.
pub fn text() -> String {
    value().to_string()
}

/// Writes the report of this process, if one is asked for.
pub extern "C" fn write_at_exit() {
    // A child of a fork has no driver, so nothing to say.
    if let (Some(folder), Ok(_)) = (&SETTINGS.report, driver()) {
        let path = folder.join(format!("{}.json", std::process::id()));
        // Nobody is left to hear of an error; the test finds the report missing.
        let _ = fs::write(path, text());
    }
}

fn value() -> Value {
    let Ok(driver) = driver() else { return json!({ "sim": true, "initialized": false }) };
    let nothing = State::default();
    let state = driver.try_state();
    let state = state.as_deref().unwrap_or(&nothing);
    json!({
        "sim": true,
        "allocations": allocations(&state.map).count(),
        "allocated_bytes": allocations(&state.map).sum::<u64>(),
        "imports": state.map.all().filter(|region| region.kind == Kind::Imported).count(),
        "import_opens_total": driver.opens.load(Ordering::Relaxed),
        "streams": state.streams.len(),
        "events": state.events.len(),
        "registered": state.map.all().filter(|region| region.kind == Kind::Registered).count(),
        "pinned": state.map.all().filter(|region| region.kind == Kind::Pinned).count(),
        "contexts": state.contexts.len(),
        "reservations": state.reservations.len(),
        "mappings": state.map.all().filter(|region| region.kind == Kind::Mapped).count(),
        "vmm_handles": state.physical.len(),
        "calls": driver.calls.load(Ordering::Relaxed),
        "violations": driver.violations(),
    })
}

fn allocations(map: &AddressMap) -> impl Iterator<Item = u64> {
    map.all()
        .filter(|region| matches!(region.kind, Kind::Device | Kind::Pool | Kind::Managed))
        .map(|region| region.bytes)
}
