"""What pools on devices say about themselves."""

from __future__ import annotations

from typing import NamedTuple

from ._reports import PoolStats


class DevicePoolStats(NamedTuple):
    """The state of a device pool at one look, and what happened since it was created, in all processes.

    pool: what every pool counts. stream_ordered: True if this handle's device says itself when bytes are
    there. host_fallbacks: how often something was done on the host because the device, or the driver,
    would not. released_waits: streams that were let go on without what they waited for. producer_gone:
    publications whose producer died before the bytes were there, once per consumer.
    """

    pool: PoolStats
    stream_ordered: bool
    host_fallbacks: int
    released_waits: int
    producer_gone: int


# Where people import it from.
DevicePoolStats.__module__ = "shm_py"
