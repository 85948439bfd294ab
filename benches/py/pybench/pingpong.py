"""A payload to another process and an answer back: the row `pingpong/64KiB`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import repeat
from time import perf_counter_ns
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from . import raw_memory
from .duel import Duel
from .payload import NotArrived
from .rows import Reading, Row, Target
from .run import OURS, Run
from .systems import Handle, System

SIZE = 65_536
PATIENCE = 20.0
SPINS_MAX = 50_000_000
"""A few dozen seconds: the other side is gone then."""
SPIN, AFTER, NOTIFY = "spin on count with sleep(0), read", "read_after", "notify, read_after"
RAW = "multiprocessing.shared_memory, spin on a word with sleep(0)"
BASELINE = "raw polling"
NOTES = (
    "a whole turn: uint8[65536] there, int64[1] back, both copied in and out",
    "two spawned interpreters, each on a processor of its own; p50, p99 and max of all turns",
)


class Channel(Protocol):
    """One direction of a ping-pong."""

    def send(self, value: NDArray[Any]) -> None:
        """Sends a copy of `value`."""

    def receive(self) -> NDArray[Any]:
        """Waits for what was sent next, and returns a copy of it."""

    def close(self) -> None:
        """Lets go of it."""


class Spinning:
    """A stream whose count is polled."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._seen = handle.count
        self.send = handle.write

    def receive(self) -> NDArray[Any]:
        handle, seen, sleep = self._handle, self._seen, time.sleep
        for _ in repeat(None, SPINS_MAX):
            if handle.count != seen:
                self._seen = seen + 1
                return handle.read()
            sleep(0)
        raise NotArrived(f"no frame came after {seen}")

    def close(self) -> None:
        self._handle.close()


class Blocking:
    """A stream that is waited for."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._seen = handle.count
        self.send = handle.write

    def receive(self) -> NDArray[Any]:
        value = self._handle.read_after(self._seen, timeout=PATIENCE)
        self._seen += 1
        return value

    def close(self) -> None:
        self._handle.close()


class Raw:
    """Bare memory: a word that counts, then the payload."""

    def __init__(self, name: str, size: int, dtype: str, create: bool) -> None:
        self._creates = create
        self._memory = raw_memory.create(name, size + 8) if create else raw_memory.attach(name)
        buffer = raw_memory.buffer(self._memory)
        self._word = buffer[:8].cast("Q")
        self._payload: NDArray[Any] = np.frombuffer(
            buffer, dtype, count=size // np.dtype(dtype).itemsize, offset=8
        )
        self._seen = self._word[0]

    def send(self, value: NDArray[Any]) -> None:
        np.copyto(self._payload, value)
        self._word[0] += 1

    def receive(self) -> NDArray[Any]:
        word, seen, sleep = self._word, self._seen, time.sleep
        for _ in repeat(None, SPINS_MAX):
            if word[0] != seen:
                self._seen = seen + 1
                return self._payload.copy()
            sleep(0)
        raise NotArrived(f"no payload came after {seen}")

    def close(self) -> None:
        del self._payload
        self._word.release()
        self._memory.close()
        if self._creates:
            raw_memory.remove(self._memory)


class Side:
    """One of the two processes."""

    def __init__(self, system: System, names: list[str], style: str, create: bool) -> None:
        self._system = system
        self._names = names if create and style != RAW else []
        if style == RAW:
            self._there: Channel = Raw(names[0], SIZE, "u1", create)
            self._back: Channel = Raw(names[1], 8, "i8", create)
            return
        kind = Spinning if style == SPIN else Blocking
        if create:
            notify = style == NOTIFY
            self._there = kind(system.create(names[0], (SIZE,), np.uint8, notify))
            self._back = kind(system.create(names[1], (1,), np.int64, notify))
        else:
            self._there, self._back = kind(system.open(names[0])), kind(system.open(names[1]))

    def close(self) -> None:
        self._there.close()
        self._back.close()
        for name in self._names:
            self._system.unlink(name)


class Ping(Side):
    """Sends the payload and waits for the answer."""

    def answer(self, turns: int) -> list[int]:
        payload = np.ones(SIZE, np.uint8)
        send, receive = self._there.send, self._back.receive
        samples = []
        for turn in range(turns):
            stamp = turn % 256
            payload[0] = payload[-1] = stamp
            begun = perf_counter_ns()
            send(payload)
            found = receive()
            samples.append(perf_counter_ns() - begun)
            if found[0] != stamp:
                raise NotArrived(f"{stamp} was sent, {found[0]} came back")
        return samples


class Pong(Side):
    """Waits for the payload and answers with its last element."""

    def answer(self, turns: int) -> int:
        acknowledgement = np.zeros(1, np.int64)
        send, receive = self._back.send, self._there.receive
        for _ in repeat(None, turns):
            payload = receive()
            if payload[0] != payload[-1]:
                raise NotArrived(f"a torn payload: {payload[0]} and {payload[-1]}")
            acknowledgement[0] = payload[-1]
            send(acknowledgement)
        return turns


CASES = {"ping": Ping, "pong": Pong}


def rows(run: Run) -> Iterator[Row]:
    """Every way to wait: our adaptive one, polling as the peer's benchmark does, the peers' ways
    and polling of bare memory."""
    duels = [_duel(run, label, style) for label, style in _contenders(run)]
    turns, rounds = (50, 1) if run.quick else (1_500, 9)
    try:
        for duel in duels:
            duel.play(min(turns, 200))
        for number in range(rounds):
            for duel in duels[:: -1 if number % 2 else 1]:
                there, _ = duel.play(turns)
                duel.figures.add_singles(there)
    finally:
        for duel in duels:
            duel.leave()
    readings = [duel.figures.pooled(duel.label, duel.how, "us") for duel in duels]
    for style, name in ((AFTER, "pingpong/64KiB"), (SPIN, "pingpong-spin/64KiB")):
        (mine,) = [one for one in readings if (one.name, one.how) == (OURS, style)]
        raw = [one for one in readings if one.name == BASELINE]
        peers = [one for one in readings if one.name in run.peers]
        row = Row(name, "us", "lower", mine, limits=raw, peers=peers, touched=True, notes=NOTES)
        if style == AFTER:
            _set_goals(row, "pyshmem's best", peers)
            _set_goals(row, BASELINE, raw)
        yield row


def _contenders(run: Run) -> Iterator[tuple[str, str]]:
    for system in run.installed:
        if run.has(system, "read_after"):
            yield system, AFTER
            if system != OURS and run.has(system, "notify"):
                yield system, NOTIFY
        yield system, SPIN
    yield BASELINE, RAW


def _duel(run: Run, label: str, style: str) -> Duel:
    worker = OURS if label == BASELINE else label
    names = [run.name("there"), run.name("back")]
    near = {"names": names, "style": style, "create": True}
    far = {"names": names, "style": style, "create": False}
    return Duel(run, label, style, worker, ("ping", near), ("pong", far))


def _set_goals(row: Row, whose: str, others: Sequence[Reading]) -> None:
    medians = [other.value for other in others]
    tails = [other.p99 for other in others if other.p99 is not None]
    p50 = min(medians) / row.ours.value if medians else None
    p99 = min(tails) / row.ours.p99 if tails and row.ours.p99 else None
    row.targets.append(Target(f"p50 ahead of {whose}", ">", 1.0, p50))
    row.targets.append(Target(f"p99 ahead of {whose}", ">", 1.0, p99))
