"""What pools, queues and stores say about themselves."""

from __future__ import annotations

from typing import NamedTuple, Optional


class PoolStats(NamedTuple):
    """The state of a pool or store at one look, and what happened since it was created.

    `free + filling + shared + linked + draining + quarantined + stored + evicting` is `slots`.

    slots: how many slots (or chunks) there can be. free: nobody's. filling: being filled by producers.
    shared: published, waited for. linked: parts of batches. draining: on their way to free.
    quarantined: revoked, or used up. stored, evicting: entries of a store. capacity: bytes that are
    lent. free_bytes: of these, free now. largest_free: bytes of the largest free piece. wasted_bytes:
    lent beyond what was asked for. high_water: the most slots in use at once. high_water_bytes: the
    same in bytes, of chunks. waits: producers that had to wait. refused: producers that got nothing.
    refused_fragmented: of these, those for whom enough was free, but not in one piece. stale: tickets
    redeemed too late. late: releases of what was not held any more. dropped: publications taken back
    unread. overdue: slots that somebody has had for long. reclaimed: slots that dead processes held.
    consumers: those present. evicted: entries taken out of a store to make room. hits, misses: keys
    that a store had, and had not. in_use: slots that are not free. fragmentation: which part of the
    free bytes cannot be lent in one piece, from 0 to 1.
    """

    slots: int
    free: int
    filling: int
    shared: int
    linked: int
    draining: int
    quarantined: int
    stored: int
    evicting: int
    capacity: int
    free_bytes: int
    largest_free: int
    wasted_bytes: int
    high_water: int
    high_water_bytes: int
    waits: int
    refused: int
    refused_fragmented: int
    stale: int
    late: int
    dropped: int
    overdue: int
    reclaimed: int
    consumers: int
    evicted: int
    hits: int
    misses: int
    in_use: int
    fragmentation: float


class ConsumerInfo(NamedTuple):
    """A consumer that is present: its seat, its process, and when it joined (monotonic clock, ns)."""

    seat: int
    pid: int
    since_ns: int


class PoolInfo(NamedTuple):
    """What a pool is, and who is there.

    instance: random id, sixteen bytes. chunks: whether chunks of any size are lent, in units of
    `granule` bytes. slot_size: the most bytes lent at once. alignment: of every slot, in bytes.
    created_ns: nanoseconds since 1970 UTC. has_owner: whether the owner lives. is_retired: whether the
    name was taken away. consumers: a tuple of ConsumerInfo. segment_bytes: shared memory in all.
    """

    name: str
    instance: bytes
    chunks: bool
    slots: int
    slot_size: int
    granule: int
    capacity: int
    alignment: int
    expected_consumers: int
    seats: int
    owner_pid: int
    created_ns: int
    has_owner: bool
    is_retired: bool
    consumers: tuple[ConsumerInfo, ...]
    segment_bytes: int


class SlotReport(NamedTuple):
    """One slot of a Fsck, and the same in words: `explanation`.

    state: None if the slot's word is none that exists. held_for: seconds. waiting_for: seats that have
    not released it. held_by: of these, the seats that have begun to read.
    """

    slot: int
    state: Optional[str]
    generation: int
    nbytes: int
    held_for: float
    producer_pid: int
    waiting_for: tuple[int, ...]
    held_by: tuple[int, ...]
    explanation: str


class Fsck(NamedTuple):
    """Every slot of a pool, explained, and what is not as it should be, one sentence each.

    While others work, a slot may be seen between two states; what is still there at a second look is
    real.
    """

    slots: tuple[SlotReport, ...]
    problems: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """True if nothing is wrong."""
        return not self.problems


class Overdue(NamedTuple):
    """A slot that has been in somebody's hands for long; times are in seconds, holders are seats."""

    slot: int
    state: str
    held_for: float
    producer_pid: int
    waiting_for: tuple[int, ...]
    held_by: tuple[int, ...]


class Reaped(NamedTuple):
    """What a sweep gave back: processes and consumers that had died, slots that came free."""

    members: int
    consumers: int
    slots: int


class SlotHolder(NamedTuple):
    """Who has a slot: a process, its seat (None for a producer), and for how many seconds."""

    pid: int
    seat: Optional[int]
    slot: int
    held_for: float


class QueueInfo(NamedTuple):
    """A queue of a pool, as it was a moment ago.

    put: tickets ever put into it. stale: tickets that nobody could redeem any more when their turn
    came. missed: tickets for which consumers of a broadcast queue joined too late.
    """

    name: str
    mode: str
    maxsize: int
    qsize: int
    put: int
    stale: int
    missed: int


# Where people import them from.
_KINDS: tuple[type, ...] = (
    ConsumerInfo,
    Fsck,
    Overdue,
    PoolInfo,
    PoolStats,
    QueueInfo,
    Reaped,
    SlotHolder,
    SlotReport,
)
for _kind in _KINDS:
    _kind.__module__ = "shm_py"
