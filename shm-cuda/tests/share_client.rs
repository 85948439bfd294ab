//! The client of the share service: who reads and who waits, what comes back, and how it ends.
#![cfg(target_os = "linux")]

mod peer;
mod share_rig;
mod simulation;

#[path = "share_client/connecting.rs"]
mod connecting;
#[path = "share_client/ending.rs"]
mod ending;
#[path = "share_client/event_loops.rs"]
mod event_loops;
#[path = "share_client/leases.rs"]
mod leases;
#[path = "share_client/processes.rs"]
mod processes;
#[path = "share_client/script.rs"]
mod script;
#[path = "share_client/waiting.rs"]
mod waiting;

#[test]
#[ignore = "run by the other tests, as a process of its own"]
fn child() {
    let Some((role, argument)) = peer::role() else { return };
    processes::play(&role, &argument);
}
