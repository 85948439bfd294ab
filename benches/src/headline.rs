//! The rows that stand for a suite: what a newcomer asks, and what the pictures show.

use crate::stored::{StoredRow, StoredRun};

/// A row of the short table.
#[derive(Clone, Copy, Debug)]
pub struct Headline {
    /// The suite.
    pub suite: &'static str,
    /// The row.
    pub row: &'static str,
    /// What it answers.
    pub what: &'static str,
}

const fn ask(what: &'static str, suite: &'static str, row: &'static str) -> Headline {
    Headline { suite, row, what }
}

/// The short table.
pub const QUESTIONS: [Headline; 14] = [
    ask("64 B to a spinning reader, one way", "stream", "oneway/64B"),
    ask("waking a reader that sleeps", "stream", "wake/blocked"),
    ask("publish + read, 1000x1000 f32", "stream", "roundtrip/1000x1000"),
    ask("publish + read, 10000x10000 f32", "stream", "roundtrip/10000x10000"),
    ask("8 MiB from process to process", "pool", "handover-8MiB"),
    ask("lend to redeem, between processes", "pool", "lend-to-redeem"),
    ask("store a value of 2 MiB", "pool", "store/put/2MiB"),
    ask("ping a server of tensors", "share", "ping"),
    ask("call it for a cached tensor", "share", "call/cached managed/tensor of 4 kB"),
    ask("inference in place, HTTP, 4.8 MB", "triton", "native/normal/in-place/http"),
    ask("inference in place, HTTP, 101 MB", "triton", "native/large/in-place/http"),
    ask("Python: write, 100x100", "py", "ops/write/100x100"),
    ask("Python: read, 100x100", "py", "ops/read/100x100"),
    ask("Python: 64 KiB there, a number back", "py", "pingpong/64KiB"),
];

/// The rows of a suite's picture.
pub fn shown(suite: &str) -> &'static [&'static str] {
    match suite {
        "copy" => &COPY,
        "stream" => &STREAM,
        "pool" => &POOL,
        "cuda" => &CUDA,
        "share" => &SHARE,
        "py" => &PY,
        "triton" => &TRITON,
        _ => &[],
    }
}

const COPY: [&str; 7] = [
    "copy/in+out/64 B/shm-core",
    "copy/in+out/1024 B/shm-core",
    "copy/in+out/40000 B/shm-core",
    "copy/in+out/1048576 B/shm-core",
    "copy/in+out/8388608 B/shm-core",
    "copy/in+out/67108864 B/shm-core",
    "copy/in+out/400000000 B/shm-core",
];

const STREAM: [&str; 11] = [
    "oneway/64B",
    "oneway/40kB",
    "oneway/40kB-in-place",
    "wake/blocked",
    "roundtrip/100x100",
    "roundtrip/1000x1000",
    "roundtrip/10000x10000",
    "publish/64B/readers=8",
    "publish/1MB/readers=8",
    "view/4MB",
    "reads_under_writer/4MB",
];

const POOL: [&str; 9] = [
    "cycle",
    "acknowledge",
    "lend-to-redeem",
    "release-to-grant",
    "handover-8MiB",
    "allocation/100k",
    "chunks-90/fill",
    "store/put/2MiB",
    "store/get/2MiB",
];

const CUDA: [&str; 9] = [
    "host/publish/device only/idle queue",
    "host/publish/mirrored/idle queue",
    "host/read/snapshot",
    "host/read/start",
    "host/lease/whole cycle",
    "host/transport/wrap/8x4kB",
    "host/transport/unwrap/8x4kB",
    "host/import/first",
    "host/import/cached",
];

const SHARE: [&str; 10] = [
    "ping",
    "ping/one processor",
    "call/cached managed",
    "call/cached managed/tensor of 4 kB",
    "pipelined/ping",
    "acquire/1MiB/untouched",
    "acquire/256MiB/read",
    "nested/256MiB/one memory",
    "argument/1MiB/in place",
    "python/ping",
];

const PY: [&str; 11] = [
    "ops/write/1",
    "ops/read/1",
    "io/1",
    "io/100x100",
    "io-2cells/1000x1000",
    "io/1000x1000",
    "io/10000x10000",
    "handover/1000x1000",
    "mvm/1000",
    "pingpong/64KiB",
    "wake/blocked",
];

const TRITON: [&str; 12] = [
    "native/identity/in-place/http",
    "native/normal/in-place/http",
    "native/normal/in-place/grpc",
    "native/large/in-place/http",
    "python/identity/in-place/http",
    "python/normal/in-place/http",
    "python/large/in-place/http",
    "embedded/identity/in-place/unix",
    "embedded/identity/in-place/http",
    "embedded/normal/in-place/http",
    "embedded/large/in-place/http",
    "embedded/at-once/8/in-place/http",
];

/// The rows whose distribution is shown.
pub const CURVES: [Headline; 8] = [
    ask("64 B to a spinning reader, one way", "stream", "oneway/64B"),
    ask("waking a reader that sleeps", "stream", "wake/blocked"),
    ask("lend to redeem, between processes", "pool", "lend-to-redeem"),
    ask("release until a sleeper has the slot", "pool", "release-to-grant"),
    ask("store a value of 2 MiB", "pool", "store/put/2MiB"),
    ask("ping a server of tensors", "share", "ping"),
    ask("inference in place, HTTP, 4.8 MB", "triton", "native/normal/in-place/http"),
    ask("Python: 64 KiB there, a number back", "py", "pingpong/64KiB"),
];

impl Headline {
    /// Its row in a run.
    pub fn of<'a>(&self, run: &'a StoredRun) -> Option<&'a StoredRow> {
        run.row(self.suite, self.row)
    }
}

/// The name of a peer, as short as it is understood.
pub fn short_peer(name: &str) -> &str {
    const KNOWN: [(&str, &str); 5] = [
        ("iceoryx2", "iceoryx2"),
        ("pymllm", "pymllm, modelled"),
        ("shared-tensor", "shared-tensor"),
        ("libc memcpy + futex", "bare memcpy + futex"),
        ("tagged free list", "bare free list"),
    ];
    KNOWN.iter().find(|(part, _)| name.contains(part)).map_or(name, |(_, short)| short)
}
