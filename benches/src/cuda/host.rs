//! What calls cost the thread that makes them: a GPU would be at work meanwhile.

mod import;
mod lease;
mod publish;
mod read;
mod transport;

use super::Group;

pub(super) use import::IMPORTER;

/// In the order of the table.
pub(super) const GROUPS: [Group; 5] = [
    Group { name: "host/publish", run: publish::run },
    Group { name: "host/read", run: read::run },
    Group { name: "host/lease", run: lease::run },
    Group { name: "host/transport", run: transport::run },
    Group { name: "host/import", run: import::run },
];

/// The payload of these rows: small, so that the device is hardly busy.
const LEN: usize = 4096;
