"""Write and read in one process: the rows `io/...`, and the bare copies that bound them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .figures import LIMIT, Contender, row_of
from .payload import Stamped, shared_array
from .room import no_room
from .rows import Row, Target
from .run import OURS, Pace, Run
from .systems import StreamPair, System

LIMITS = {"two np.copyto, one shared buffer": 1, "two np.copyto, three shared buffers in turn": 3}
READ, READ_OUT = "write, read", "write, read(out=)"
TWO_CELLS = "create(cells=2), write, read"
SIDES = (1, 100, 128, 1000)
LARGEST = 10_000
LARGEST_BYTES = 4 * LARGEST**2
LARGEST_NEEDS = (8 * LARGEST_BYTES, 3 * LARGEST_BYTES + 2**24)
"""Of memory: private array, two results, three cells and some more; of shared: three cells."""


class RoundTrip:
    """A private array through a stream into a private array."""

    warm_ops = 3

    def __init__(
        self,
        system: System,
        name: str,
        shape: list[int],
        use_out: bool,
        cells: int | None = None,
    ) -> None:
        self._payload = Stamped(tuple(shape))
        self._streams = StreamPair(system, name, tuple(shape), cells=cells)
        self._target = np.ones_like(self._payload.array) if use_out else None
        self._found: NDArray[Any] | None = None

    def arm(self) -> None:
        self._found = None
        self._payload.next()

    def batch(self, n: int) -> None:
        write, read = self._streams.writer.write, self._streams.reader.read
        value, target = self._payload.array, self._target
        if target is not None:
            for _ in repeat(None, n):
                write(value)
                read(out=target)
            self._found = target
            return
        for _ in repeat(None, n - 1):
            write(value)
            read()
        write(value)
        self._found = read()

    def check(self) -> None:
        assert self._found is not None
        self._payload.check(self._found)

    def close(self) -> None:
        self._streams.close()


class Copies:
    """The same with nothing around the copies."""

    warm_ops = 3

    def __init__(self, system: System, shape: list[int], buffers: int) -> None:
        self._payload = Stamped(tuple(shape))
        self._found = np.ones_like(self._payload.array)
        self._buffers = cycle([shared_array(tuple(shape)) for _ in range(buffers)])

    def arm(self) -> None:
        self._payload.next()

    def batch(self, n: int) -> None:
        copy, value, found = np.copyto, self._payload.array, self._found
        for buffer in islice(self._buffers, n):
            copy(buffer, value)
            copy(found, buffer)

    def check(self) -> None:
        self._payload.check(self._found)

    def close(self) -> None:
        self._buffers = cycle(())


CASES = {"roundtrip": RoundTrip, "copies": Copies}


def rows(run: Run) -> Iterator[Row]:
    """`io/...` with arrays that are made by `read`, `io-out/...` with one that is given."""
    for side in SIDES:
        yield from _of_side(run, side, run.pace(9, 0.12))
    largest = f"io/{LARGEST}x{LARGEST}"
    if run.quick:
        run.skip(largest, "400 MB are too much for --quick")
    elif why := no_room(*LARGEST_NEEDS):
        run.skip(largest, why)
    else:
        yield from _of_side(run, LARGEST, run.pace(3, 1.0, one_at_a_time=True))


def _of_side(run: Run, side: int, pace: Pace) -> Iterator[Row]:
    shape = [1] if side == 1 else [side, side]
    label = "1" if side == 1 else f"{side}x{side}"
    contenders = []
    for system in run.installed:
        for how in (READ, READ_OUT):
            if how == READ or run.has(system, "out"):
                args = {"name": run.name("io"), "shape": shape, "use_out": how == READ_OUT}
                contenders.append(Contender(system, how, system, "roundtrip", args))
    for how, buffers in LIMITS.items():
        args = {"shape": shape, "buffers": buffers}
        contenders.append(Contender(LIMIT, how, OURS, "copies", args))
    if side == 1000:
        two_cells = {"name": run.name("io"), "shape": shape, "use_out": False, "cells": 2}
        contenders.append(Contender(OURS, TWO_CELLS, OURS, "roundtrip", two_cells))
    measured = run.alternate(contenders, pace)
    if side == 1000:
        yield row_of(
            f"io-2cells/{label}",
            "Hz",
            [
                one
                for one in measured
                if one.contender.how in (TWO_CELLS, *LIMITS)
                or (one.contender.how == READ and one.contender.label != OURS)
            ],
            ours=OURS,
            touched=True,
            notes=[f"{TWO_CELLS}: less for the cache to hold, and less time for slow readers"],
        )
    for name, chosen in ((f"io/{label}", READ), (f"io-out/{label}", READ_OUT)):
        row = row_of(
            name,
            "Hz",
            [one for one in measured if one.contender.how in (chosen, *LIMITS)],
            ours=OURS,
            touched=True,
            notes=[
                f"{chosen}: float32, one process, private array to private array",
                "p99 and max are the rates of the slowest turns",
            ],
        )
        if chosen == READ:
            _set_goals(run, row, side)
        yield row


def _set_goals(run: Run, row: Row, side: int) -> None:
    newest = run.newest_peer
    if side in (1, 100, 128):
        row.times_as_fast_as(newest, 5.0 if side == 1 else 2.5)
    elif side == 1000:
        for limit in row.limits:
            text = f"0.99 of {limit.how}"
            row.targets.append(Target(text, ">=", 0.99, row.ratio(limit)))
        row.ahead_of(run.peers)
    else:
        for peer in run.peers:
            row.times_as_fast_as(peer, 1.3)
