//! What other processes do, by name.

use crate::{contexts, events, faults, ipc, lateness, memops, memory, misuse, startup, vmm};

pub fn play(role: &str) {
    match role {
        "startup::before_init" => startup::before_init(),
        "startup::two_devices" => startup::two_devices(),
        "startup::reordered" => startup::reordered(),
        "startup::no_device" => startup::no_device(),
        "contexts::released" => contexts::released(),
        "contexts::two_devices" => contexts::two_devices(),
        "memory::exhausted" => memory::exhausted(),
        "memops::absent" => memops::absent(),
        "ipc::importer" => ipc::importer(),
        "ipc::exporter" => ipc::exporter(),
        "ipc::strict_importer" => ipc::strict_importer(),
        "events::importer" => events::importer(),
        "vmm::importer" => vmm::importer(),
        "vmm::exporter" => vmm::exporter(),
        "vmm::read_only_is_written" => vmm::read_only_is_written(),
        "faults::out_of_memory" => faults::out_of_memory(),
        "faults::launch" => faults::launch(),
        "faults::device_lost" => faults::device_lost(),
        "faults::refusals" => faults::refusals(),
        "faults::from_environment" => faults::from_environment(),
        "lateness::torn" => lateness::torn(),
        "lateness::old" => lateness::old(),
        "lateness::snapshot" => lateness::snapshot(),
        "misuse::freed_in_other_stream" => misuse::freed_in_other_stream(),
        "misuse::forked" => misuse::forked(),
        "misuse::owner" => misuse::owner(),
        "misuse::reports" => misuse::reports(),
        other => panic!("no such role: {other}"),
    }
}
