"""Frames that are filled and looked at where they lie: the rows `handover/...`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice, repeat

import numpy as np

from .figures import LIMIT, Contender, row_of
from .payload import NotArrived, shared_array
from .rows import Row
from .run import OURS, Run
from .systems import StreamPair, System

SIDE = 1000
WRITING = {True: "write_view", False: "write"}
READING = {True: "view, validate", False: "locked() with read(safe=False)"}
LIMITS = {
    "np.copyto and sum, one shared buffer": 1,
    "np.copyto and sum, three shared buffers in turn": 3,
}
TOLERANCE = 1e-5
"""Of a sum of a million float32; one batch differs from the next by more."""
BUDGET_US = 2.0


class Untouched:
    """Opens the next frame and publishes it; opens the newest frame and validates it."""

    warm_ops = 4

    def __init__(self, system: System, name: str) -> None:
        self._streams = StreamPair(system, name, (SIDE, SIDE))
        self._in_place = system.has("view")
        self._expected = 0

    def arm(self) -> None:
        self._expected = self._streams.writer.count

    def batch(self, n: int) -> None:
        self._expected += n
        write_view, reader = self._streams.writer.write_view, self._streams.reader
        if self._in_place:
            view = reader.view
            for _ in repeat(None, n):
                with write_view():
                    pass
                frame = view()
                frame.array  # noqa: B018 - making the array is part of the work
                frame.validate()
        else:
            locked, read = reader.locked, reader.read
            for _ in repeat(None, n):
                with write_view():
                    pass
                with locked():
                    read(safe=False)

    def check(self) -> None:
        found = self._streams.reader.count
        if found != self._expected:
            raise NotArrived(f"{self._expected} frames were published, the count is {found}")

    def close(self) -> None:
        self._streams.close()


class Filled:
    """The producer fills the frame in place, the consumer sums it in place."""

    warm_ops = 4

    def __init__(self, system: System, name: str) -> None:
        self._payload = Summed()
        self._streams = StreamPair(system, name, (SIDE, SIDE))
        self._fill = self._fill_in_place if system.has("write_view") else self._write
        self._sum = self._sum_of_view if system.has("view") else self._sum_under_lock
        self._found = 0.0

    def arm(self) -> None:
        self._payload.next()

    def batch(self, n: int) -> None:
        fill, total = self._fill, self._sum
        for _ in repeat(None, n):
            fill()
            self._found = total()

    def check(self) -> None:
        self._payload.check(self._found)

    def close(self) -> None:
        self._streams.close()

    def _fill_in_place(self) -> None:
        with self._streams.writer.write_view() as frame:
            np.copyto(frame, self._payload.array)

    def _write(self) -> None:
        self._streams.writer.write(self._payload.array)

    def _sum_of_view(self) -> float:
        with self._streams.reader.view() as frame:
            return float(frame.array.sum())

    def _sum_under_lock(self) -> float:
        reader = self._streams.reader
        with reader.locked():
            return float(reader.read(safe=False).sum())


class FilledBare:
    """The same with bare buffers."""

    warm_ops = 4

    def __init__(self, system: System, buffers: int) -> None:
        self._payload = Summed()
        self._buffers = cycle([shared_array((SIDE, SIDE)) for _ in range(buffers)])
        self._found = 0.0

    def arm(self) -> None:
        self._payload.next()

    def batch(self, n: int) -> None:
        copy, value = np.copyto, self._payload.array
        for buffer in islice(self._buffers, n):
            copy(buffer, value)
            self._found = float(buffer.sum())

    def check(self) -> None:
        self._payload.check(self._found)

    def close(self) -> None:
        self._buffers = cycle(())


class Summed:
    """A million ones, of which a few are replaced by a number that changes, for a known sum."""

    def __init__(self) -> None:
        self.array = np.ones((SIDE, SIDE), np.float32)
        self._expected = float(SIDE * SIDE)
        self._turn = 0

    def next(self) -> None:
        self._turn = self._turn % 100 + 1
        self.array[-1, -1] = self.array[0, 0] = 100.0 * self._turn
        self._expected = SIDE * SIDE - 2 + 200.0 * self._turn

    def check(self, found: float) -> None:
        if abs(found - self._expected) > TOLERANCE * self._expected:
            raise NotArrived(f"the sum is {found}, it should be {self._expected}")


CASES = {
    "handover-untouched": Untouched,
    "handover-filled": Filled,
    "handover-filled-bare": FilledBare,
}


def rows(run: Run) -> Iterator[Row]:
    """The hand-over alone, then with a payload that is written and read in place."""
    pace = run.pace(9, 0.1)
    alone = [_contender(run, s, "untouched") for s in run.installed if run.has(s, "write_view")]
    row = row_of(
        f"handover/{SIDE}x{SIDE}",
        "us",
        run.alternate(alone, pace),
        ours=OURS,
        touched=False,
        notes=["the hand-over alone: nobody writes or reads the payload of 4 MB"],
    )
    row.below(BUDGET_US)
    yield row
    filled = [_contender(run, system, "filled") for system in run.installed]
    for how, buffers in LIMITS.items():
        args = {"buffers": buffers}
        filled.append(Contender(LIMIT, how, OURS, "handover-filled-bare", args))
    row = row_of(
        f"handover-filled/{SIDE}x{SIDE}",
        "us",
        run.alternate(filled, pace),
        ours=OURS,
        touched=True,
        notes=["np.copyto into the frame, sum of the frame, both in place"],
    )
    row.ahead_of(run.peers)
    yield row


def _contender(run: Run, system: str, what: str) -> Contender:
    writing, reading = WRITING[run.has(system, "write_view")], READING[run.has(system, "view")]
    args = {"name": run.name("handover")}
    return Contender(system, f"{writing}; {reading}", system, f"handover-{what}", args)
