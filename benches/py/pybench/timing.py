"""How a worker times one case: small batches for the figure, single operations for its tail."""

from __future__ import annotations

from time import perf_counter_ns
from typing import Protocol

BATCH_NS = 100_000
BATCH_MAX = 1_000
SINGLES_MAX = 4_000
SINGLES_MIN = 20
BATCHES_MIN = 3


class Timed(Protocol):
    """An operation that can be repeated, and checked."""

    @property
    def warm_ops(self) -> int:
        """So many operations until nothing happens for the first time."""

    def arm(self) -> None:
        """Before each batch: makes a payload that no batch before had."""

    def batch(self, n: int) -> None:
        """Does the operation `n` times; the only part that is timed."""

    def check(self) -> None:
        """After each batch: raises if the payload did not arrive."""

    def close(self) -> None:
        """Removes what was made."""


def calibrate(case: Timed, seconds: float) -> int:
    """Warms up for that long, and finds how many operations make a batch."""
    begun = perf_counter_ns()
    done, size = 0, 1
    while True:
        spent = _batch(case, size)
        done += size
        if perf_counter_ns() - begun >= seconds * 1e9 and done >= case.warm_ops:
            return max(1, min(BATCH_MAX, int(BATCH_NS * size / max(spent, 1))))
        if spent < BATCH_NS:
            size *= 2


def measure(case: Timed, size: int, seconds: float) -> dict[str, list[float]]:
    """Nanoseconds per operation, in batches of `size` and one by one, for that long together."""
    begun = perf_counter_ns()
    until = begun + int(seconds * (0.6e9 if size > 1 else 1e9))
    batches: list[float] = []
    while len(batches) < BATCHES_MIN or perf_counter_ns() < until:
        batches.append(_batch(case, size) / size)
    if size == 1:
        return {"batches": batches, "singles": batches}
    until = begun + int(seconds * 1e9)
    singles: list[float] = []
    while len(singles) < SINGLES_MAX and (len(singles) < SINGLES_MIN or perf_counter_ns() < until):
        singles.append(_batch(case, 1))
    return {"batches": batches, "singles": singles}


def _batch(case: Timed, size: int) -> int:
    case.arm()
    begun = perf_counter_ns()
    case.batch(size)
    spent = perf_counter_ns() - begun
    case.check()
    return spent
