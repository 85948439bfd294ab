"""Processors for the two sides of a measurement."""

from __future__ import annotations

import os
from pathlib import Path

_ALL = sorted(os.sched_getaffinity(0))


def near_and_far() -> tuple[int, int]:
    """Two processors of this process, of different cores where there are such."""
    far = [core for core in _ALL if _core_id(core) != _core_id(_ALL[0])] or _ALL[1:] or _ALL
    return _ALL[0], far[0]


def stay_on(core: int | None) -> None:
    """Pins the calling thread, or gives it all processors of the process again."""
    os.sched_setaffinity(0, _ALL if core is None else [core])


def count() -> int:
    """How many processors this process may use."""
    return len(_ALL)


def _core_id(processor: int) -> tuple[str, str]:
    topology = Path(f"/sys/devices/system/cpu/cpu{processor}/topology")
    try:
        package = (topology / "physical_package_id").read_text().strip()
        return package, (topology / "core_id").read_text().strip()
    except OSError:
        return "", str(processor)
