//! The ways of a call from tensors to tensors, and what each is held against.

/// One way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// How rows name it.
    pub name: &'static str,
    /// Which client.
    pub system: &'static str,
    /// What is done with the payload in each call.
    pub payload: &'static str,
    /// What no client can do without, if this one is ours.
    pub limit: &'static [&'static str],
    /// Names of the path of perf_analyzer and of the Python client that do the same.
    pub load: Option<&'static str>,
    pub peer: Option<&'static str>,
}

const OURS: &str = "shm-triton";
const ENDS: &str = "written and read in place: first and last value";
const COPIED: &str = "all copied in and out";
const MESSAGE: &str = "all in the message";
const UNTOUCHED: &str = "untouched";

pub(super) const POOL: &str = "triton-shm-client";
pub(super) const REGIONS: &str = "tritonclient-regions";
pub(super) const PLAIN: &str = "tritonclient-message";
pub(super) const LOAD_HTTP: &str = "perf_analyzer/http";
pub(super) const LOAD_GRPC: &str = "perf_analyzer/grpc";

pub(super) const WIRE_HTTP: &str = "wire/http";
pub(super) const WIRE_UNIX: &str = "wire/unix";
pub(super) const WIRE_GRPC: &str = "wire/grpc";
pub(super) const MESSAGE_HTTP: &str = "wire/message-http";
pub(super) const MESSAGE_GRPC: &str = "wire/message-grpc";
pub(super) const MEMORY_MODEL: &str = "memory/model";
pub(super) const MEMORY_CLIENT: &str = "memory/client";

pub(super) const IN_PLACE_HTTP: Path = in_place("in-place/http", &[WIRE_HTTP, MEMORY_MODEL]);
pub(super) const IN_PLACE_UNIX: Path = in_place("in-place/unix", &[WIRE_UNIX, MEMORY_MODEL]);
pub(super) const IN_PLACE_GRPC: Path =
    Path { load: Some(LOAD_GRPC), ..in_place("in-place/grpc", &[WIRE_GRPC, MEMORY_MODEL]) };
pub(super) const COPIED_HTTP: Path =
    Path { payload: COPIED, ..in_place("copied/http", &[WIRE_HTTP, MEMORY_MODEL, MEMORY_CLIENT]) };
pub(super) const COPIED_GRPC: Path = Path {
    payload: COPIED,
    load: Some(LOAD_GRPC),
    ..in_place("copied/grpc", &[WIRE_GRPC, MEMORY_MODEL, MEMORY_CLIENT])
};
pub(super) const IN_MESSAGE_HTTP: Path = in_message("message/http", &[MESSAGE_HTTP, MEMORY_MODEL]);
pub(super) const IN_MESSAGE_GRPC: Path = in_message("message/grpc", &[MESSAGE_GRPC, MEMORY_MODEL]);

/// All ways, in the order of the table.
pub(super) const ALL: [Path; 12] = [
    IN_PLACE_HTTP,
    IN_PLACE_UNIX,
    IN_PLACE_GRPC,
    COPIED_HTTP,
    COPIED_GRPC,
    IN_MESSAGE_HTTP,
    IN_MESSAGE_GRPC,
    other(POOL, "triton-shm-client, gRPC", COPIED),
    other(REGIONS, "tritonclient's own shared memory, gRPC", "all copied in, read in place"),
    other(PLAIN, "tritonclient, gRPC", MESSAGE),
    other(LOAD_HTTP, "perf_analyzer, HTTP", UNTOUCHED),
    other(LOAD_GRPC, "perf_analyzer, gRPC", UNTOUCHED),
];

/// Those that are measured with several calls in flight.
pub(super) const AT_ONCE: [Path; 6] =
    [IN_PLACE_HTTP, IN_PLACE_UNIX, IN_PLACE_GRPC, ALL[7], ALL[10], ALL[11]];

const fn in_place(name: &'static str, limit: &'static [&'static str]) -> Path {
    let (load, peer) = (Some(LOAD_HTTP), Some(POOL));
    Path { name, system: OURS, payload: ENDS, limit, load, peer }
}

const fn in_message(name: &'static str, limit: &'static [&'static str]) -> Path {
    Path { payload: MESSAGE, load: None, peer: Some(PLAIN), ..in_place(name, limit) }
}

const fn other(name: &'static str, system: &'static str, payload: &'static str) -> Path {
    Path { name, system, payload, limit: &[], load: None, peer: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_path_is_held_against_is_a_path() {
        let known = |name: &str| ALL.iter().any(|path| path.name == name);
        for path in ALL {
            assert!(path.load.is_none_or(known) && path.peer.is_none_or(known), "{}", path.name);
            assert_eq!(path.system == OURS, !path.limit.is_empty(), "{}", path.name);
        }
        assert!(AT_ONCE.map(|path| path.name).contains(&LOAD_GRPC));
    }
}
