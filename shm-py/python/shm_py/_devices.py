"""What is known about CUDA devices."""

from __future__ import annotations

from typing import NamedTuple


class DeviceInfo(NamedTuple):
    """A CUDA device that this process sees, at one look.

    ordinal: its number here, as in "cuda:0"; CUDA_VISIBLE_DEVICES decides. name: what the driver calls
    it. uuid: its identity, the same in every process. total, free: bytes of memory, all and unused.
    simulated: True under the simulated driver, which has no GPU behind it.
    """

    ordinal: int
    name: str
    uuid: str
    total: int
    free: int
    simulated: bool


# Where people import it from.
DeviceInfo.__module__ = "shm_py"
