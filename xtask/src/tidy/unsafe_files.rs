//! The files that may hold `unsafe`, relative to the workspace root.
//!
//! A file comes onto this list when its unsafe code has been reviewed: every block has a SAFETY
//! comment that proves the callee's conditions, and no safe crate does the same work.

pub const UNSAFE_FILES: &[&str] = &[
    "benches/benches/stream/iceoryx.rs",
    "benches/src/copy_suite.rs",
    "benches/src/limits/copies.rs",
    "benches/src/limits/mapping.rs",
    "shm-core/src/copy/libc_call.rs",
    "shm-core/src/copy/mod.rs",
    "shm-core/src/copy/tests.rs",
    "shm-core/src/copy/tests/opaque.rs",
    "shm-core/src/copy/threads.rs",
    "shm-core/src/copy/words.rs",
    "shm-core/src/copy/x86_64.rs",
    "shm-core/src/os/heap.rs",
    "shm-core/src/os/linux/fork.rs",
    "shm-core/src/os/linux/futex.rs",
    "shm-core/src/os/linux/mapping.rs",
    "shm-core/src/os/linux/ofd.rs",
    "shm-core/src/os/portable.rs",
    "shm-core/src/os/region.rs",
    "shm-core/src/stream/writer.rs",
    "tests/contract/messages/locking.rs",
    "tests/contract/messages/publishing.rs",
    "tests/contract/read_only.rs",
    "tests/contract/support/private_shm.rs",
    "tests/contract/support/raw_file.rs",
    "tests/src/peer/actor.rs",
    "tests/src/peer/mod.rs",
];
