//! Where the words of a stream file lie, stated independently of the library: these numbers are
//! ABI 1, and a change to them must be a new ABI.

/// Offsets in the header.
pub(crate) mod header {
    pub(crate) const MAGIC: u64 = 0;
    pub(crate) const ABI: u64 = 8;
    pub(crate) const TOTAL_LEN: u64 = 16;
    pub(crate) const KIND: u64 = 24;
    pub(crate) const NAME: u64 = 96;
    pub(crate) const HOT_OFFSET: u64 = 128;
    pub(crate) const HOT_LEN: u64 = 136;
    pub(crate) const CONTROL_OFFSET: u64 = 144;
    pub(crate) const CONTROL_LEN: u64 = 152;
    pub(crate) const PAYLOAD_OFFSET: u64 = 160;
    pub(crate) const PAYLOAD_LEN: u64 = 168;
    pub(crate) const FIXED_LEN: u64 = 184;
    pub(crate) const CHECKSUM: u64 = 192;

    /// Every field, with its width in bytes.
    pub(crate) const FIELDS: &[(&str, u64, usize)] = &[
        ("magic", 0, 8),
        ("abi", 8, 4),
        ("header_len", 12, 4),
        ("total_len", 16, 8),
        ("kind", 24, 8),
        ("uid", 32, 4),
        ("creator_pid", 36, 4),
        ("creator_start", 40, 8),
        ("boot_id low", 48, 8),
        ("boot_id high", 56, 8),
        ("instance low", 64, 8),
        ("instance high", 72, 8),
        ("created_wall_ns", 80, 8),
        ("pid_namespace", 88, 8),
        ("name offset", 96, 4),
        ("name len", 100, 4),
        ("geometry offset", 104, 4),
        ("geometry len", 108, 4),
        ("counters offset", 112, 4),
        ("counters len", 116, 4),
        ("metadata offset", 120, 4),
        ("metadata len", 124, 4),
        ("hot_offset", 128, 8),
        ("hot_len", 136, 8),
        ("control_offset", 144, 8),
        ("control_len", 152, 8),
        ("payload_offset", 160, 8),
        ("payload_len", 168, 8),
        ("page_size", 176, 4),
        ("lifetime", 180, 4),
        ("fixed_len", 184, 8),
        ("checksum", 192, 8),
        ("reserved 0", 200, 8),
        ("reserved 6", 248, 8),
    ];
}

/// Offsets in the hot part.
pub(crate) mod hot {
    pub(crate) const RETIRED: u64 = 0;
    pub(crate) const WRITER_PID: u64 = 8;
    pub(crate) const WRITER_SINCE: u64 = 16;
    pub(crate) const WRITERS: u64 = 24;
    pub(crate) const ABORTED: u64 = 32;
    pub(crate) const LOCK: u64 = 40;
    pub(crate) const IDENTITIES: u64 = 48;
    pub(crate) const LATEST: u64 = 64;
    pub(crate) const CELLS: u64 = 128;
}

/// Offsets in a cell header; headers of payloads above 256 bytes are 64 bytes apart.
pub(crate) mod cell {
    pub(crate) const SEQUENCE: u64 = 0;
    pub(crate) const FRAME_ID: u64 = 8;
    pub(crate) const WRITTEN_MONO: u64 = 16;
    pub(crate) const BYTE_LEN: u64 = 40;
    pub(crate) const LEN: u64 = 64;
}

/// Offsets in the control page.
pub(crate) mod control {
    pub(crate) const WAKE: u64 = 0;
    pub(crate) const WAKE_CHAIN: u64 = 8;
    pub(crate) const LOCK: u64 = 64;
    pub(crate) const LOCK_CHAIN: u64 = 72;
    pub(crate) const PARTICIPANTS: u64 = 1024;
    pub(crate) const PARTICIPANT_LEN: u64 = 32;
}

/// Byte locks: open-file-description locks at these offsets beyond `1 << 40`.
pub(crate) mod lock {
    pub(crate) const PRESENCE: u64 = 1;
    pub(crate) const UNLINK: u64 = 2;
}
