"""Single calls: the rows `ops/...`."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any, Callable

import numpy as np
from numpy.typing import NDArray

from .figures import LIMIT, Contender, row_of
from .payload import Stamped, shared_array
from .rows import Row
from .run import OURS, Run
from .systems import Handle, StreamPair, System

SHAPES = {"1": [1], "100x100": [100, 100]}


class SingleCall:
    """One call again and again, on a stream that has a frame."""

    warm_ops = 8

    def __init__(self, system: System, name: str, shape: list[int], call: str) -> None:
        self._payload = Stamped(tuple(shape))
        self._streams = StreamPair(system, name, tuple(shape))
        self._out = np.ones_like(self._payload.array)
        self._loop = LOOPS[call]
        self._writes = call == "write"

    def arm(self) -> None:
        self._payload.next()
        if not self._writes:
            self._streams.writer.write(self._payload.array)

    def batch(self, n: int) -> None:
        handle = self._streams.writer if self._writes else self._streams.reader
        self._loop(handle, self._payload.array, self._out, n)

    def check(self) -> None:
        self._payload.check(self._streams.reader.read())

    def close(self) -> None:
        self._streams.close()


class SingleCopy:
    """One bare copy."""

    warm_ops = 8

    def __init__(self, system: System, shape: list[int]) -> None:
        self._payload = Stamped(tuple(shape))
        self._buffer = shared_array(tuple(shape))

    def arm(self) -> None:
        self._payload.next()

    def batch(self, n: int) -> None:
        copy, buffer, value = np.copyto, self._buffer, self._payload.array
        for _ in repeat(None, n):
            copy(buffer, value)

    def check(self) -> None:
        self._payload.check(self._buffer)

    def close(self) -> None:
        del self._buffer


def _write(handle: Handle, value: NDArray[Any], out: NDArray[Any], n: int) -> None:
    write = handle.write
    for _ in repeat(None, n):
        write(value)


def _read(handle: Handle, value: NDArray[Any], out: NDArray[Any], n: int) -> None:
    read = handle.read
    for _ in repeat(None, n):
        read()


def _read_out(handle: Handle, value: NDArray[Any], out: NDArray[Any], n: int) -> None:
    read = handle.read
    for _ in repeat(None, n):
        read(out=out)


def _publication(handle: Handle, value: NDArray[Any], out: NDArray[Any], n: int) -> None:
    read = handle.read_publication
    for _ in repeat(None, n):
        read()


def _view(handle: Handle, value: NDArray[Any], out: NDArray[Any], n: int) -> None:
    view = handle.view
    for _ in repeat(None, n):
        with view() as frame:
            frame.array  # noqa: B018 - making the array is part of the work


def _locked(handle: Handle, value: NDArray[Any], out: NDArray[Any], n: int) -> None:
    locked = handle.locked
    for _ in repeat(None, n):
        with locked():
            pass


def _acquire(handle: Handle, value: NDArray[Any], out: NDArray[Any], n: int) -> None:
    acquire, release = handle.acquire, handle.release
    for _ in repeat(None, n):
        acquire()
        release()


LOOPS: dict[str, Callable[[Handle, NDArray[Any], NDArray[Any], int], None]] = {
    "write": _write,
    "read": _read,
    "read_out": _read_out,
    "read_publication": _publication,
    "view": _view,
    "locked": _locked,
    "acquire": _acquire,
}
HOW = {
    "write": "write(value)",
    "read": "read()",
    "read_out": "read(out=array)",
    "read_publication": "read_publication()",
    "view": "with view(): the array, validated",
    "locked": "with locked(): nothing",
    "acquire": "acquire(), release()",
}
NEEDS = {"read_out": "out", "read_publication": "read_publication", "view": "view"}
COPYING = {"write", "read", "read_out", "read_publication"}
WITHOUT_PAYLOAD = {"locked", "acquire"}

CASES = {"ops": SingleCall, "ops-copy": SingleCopy}


def rows(run: Run) -> Iterator[Row]:
    """Every call, at two sizes where the payload matters. They have no goals."""
    pace = run.pace(5, 0.06)
    for call in LOOPS:
        for size, shape in SHAPES.items():
            if call in WITHOUT_PAYLOAD and size != "1":
                continue
            measured = run.alternate(_contenders(run, call, shape), pace)
            yield row_of(
                f"ops/{call}" if call in WITHOUT_PAYLOAD else f"ops/{call}/{size}",
                "us",
                measured,
                ours=OURS,
                touched=call in COPYING,
                notes=["one call, nobody else at the stream"],
            )


def _contenders(run: Run, call: str, shape: list[int]) -> list[Contender]:
    contenders = []
    for system in run.installed:
        if call not in NEEDS or run.has(system, NEEDS[call]):
            args = {"name": run.name("ops"), "shape": shape, "call": call}
            contenders.append(Contender(system, HOW[call], system, "ops", args))
    if call in COPYING:
        how = "one np.copyto, one shared buffer"
        contenders.append(Contender(LIMIT, how, OURS, "ops-copy", {"shape": shape}))
    return contenders
