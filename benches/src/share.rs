//! The rows of the suite `share`, a file for each group.
//!
//! The server is this program again, as a child on a processor of its own; beside it the same child
//! answers bare sockets, which are the limit. The peer is shared-tensor, by the same script in Python that
//! measures our own package; where it cannot be imported its column stays empty.
//!
//! ```text
//!   served ──► the child: offers (endpoints) and bare sockets        place ──► where sockets lie
//!     │
//!     ├──► ping, call, acquire, nested, argument, pipelined          timing ──► contenders in turns
//!     ├──► lifecycle, hang_up
//!     └──► python ──► benches/share/system.py, one process for each system
//! ```

mod acquire;
mod argument;
mod call;
mod hang_up;
mod lifecycle;
mod nested;
mod offers;
mod ping;
mod pipelined;
mod place;
mod python;
mod served;
mod timing;

use std::time::Duration;

use crate::child::Role;
use crate::limits;
use crate::suites::Group;

/// All groups, in the order of the table.
pub const GROUPS: [Group; 9] = [
    Group { name: "ping", run: ping::run },
    Group { name: "call", run: call::run },
    Group { name: "pipelined", run: pipelined::run },
    Group { name: "acquire", run: acquire::run },
    Group { name: "nested", run: nested::run },
    Group { name: "argument", run: argument::run },
    Group { name: "lifecycle", run: lifecycle::run },
    Group { name: "hang-up", run: hang_up::run },
    Group { name: "python", run: python::run },
];

/// What the children of these groups can be told to do.
pub const ROLES: [Role; 3] = [limits::SOCKET_HOLDER, served::SHARE_SERVER, hang_up::LEASING_CLIENT];

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
