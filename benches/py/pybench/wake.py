"""A reader of another process sleeps in the kernel until a frame comes: the row `wake/blocked`."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path
from time import monotonic_ns
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import machine, raw_memory
from .duel import Duel
from .futex import Futex
from .payload import NotArrived
from .rows import Reading, Row, Target
from .run import OURS, Run
from .systems import System

WORDS = 8
"""64 bytes of int64: when it was sent, which frame it is, and that again at the end."""
SPARE = 2
"""Frames after the last one: who only notices what comes while it looks may miss that one."""
GAPS_S = (0.001, 0.003)
PATIENCE = 20
SEED = 7
AFTER, NOTIFY, POLL = "read_after", "notify, read_after", "read_new, polling"
FUTEX = "a bare futex through ctypes"
BARE = "bare futex"
RUST = "shm-core from Rust"
GOAL = 1.3
RUST_RUN = Path(__file__).resolve().parents[2] / "results" / "run.json"


class Sender:
    """Publishes a frame again and again, with a rest before each."""

    def __init__(self, system: System, name: str, how: str) -> None:
        self._system = system
        self._name = name
        self._gaps = random.Random(SEED)
        self._sent = 0
        self._futex: SharedWord | None = None
        if how == FUTEX:
            self._futex = SharedWord(name, create=True)
        else:
            self._handle = system.create(name, (WORDS,), np.int64, how == NOTIFY)

    def answer(self, turns: int) -> int:
        frame = np.zeros(WORDS, np.int64)
        for _ in range(turns + SPARE):
            time.sleep(self._gaps.uniform(*GAPS_S))
            self._sent += 1
            frame[1] = frame[-1] = self._sent
            frame[0] = monotonic_ns()
            if self._futex is None:
                self._handle.write(frame)
            else:
                self._futex.send(frame)
        return turns

    def close(self) -> None:
        if self._futex is not None:
            self._futex.close()
        else:
            self._handle.close()
            self._system.unlink(self._name)


class Sleeper:
    """Sleeps until each frame comes, and tells how long ago it was sent."""

    def __init__(self, system: System, name: str, how: str) -> None:
        self._how = how
        self._before = 0
        self._futex: SharedWord | None = None
        if how == FUTEX:
            self._futex = SharedWord(name, create=False)
        else:
            self._handle = system.open(name)

    def answer(self, turns: int) -> list[int]:
        seen, last = self._before, self._before + turns
        self._before = last + SPARE
        samples = []
        while seen < last:
            frame = self._next(seen, last)
            if frame is None:
                break
            now = monotonic_ns()
            seen = int(frame[1])
            samples.append(now - int(frame[0]))
            if frame[-1] != seen:
                raise NotArrived(f"a torn frame: {seen} and {frame[-1]}")
        # The first may have come before this process looked.
        return samples[1:]

    def _next(self, seen: int, last: int) -> NDArray[Any] | None:
        if self._futex is not None:
            return self._futex.next(seen)
        if self._how != POLL:
            return self._handle.read_after(seen, timeout=PATIENCE)
        return None if self._handle.count >= last else self._handle.read_new(timeout=PATIENCE)

    def close(self) -> None:
        if self._futex is not None:
            self._futex.close()
        else:
            self._handle.close()


class SharedWord:
    """A futex and a frame behind it."""

    def __init__(self, name: str, create: bool) -> None:
        self._creates = create
        size = 64 + 8 * WORDS
        self._memory = raw_memory.create(name, size) if create else raw_memory.attach(name)
        buffer = raw_memory.buffer(self._memory)
        self._futex = Futex(buffer)
        self._frame: NDArray[Any] = np.frombuffer(buffer, np.int64, WORDS, 64)

    def send(self, frame: NDArray[Any]) -> None:
        np.copyto(self._frame, frame)
        self._futex.add_and_wake()

    def next(self, seen: int) -> NDArray[Any]:
        self._futex.wait_while(seen, PATIENCE)
        return self._frame.copy()

    def close(self) -> None:
        self._futex.close()
        del self._frame
        self._memory.close()
        if self._creates:
            raw_memory.remove(self._memory)


CASES = {"sender": Sender, "sleeper": Sleeper}


def rows(run: Run, rust_run: Path | None) -> Iterator[Row]:
    """The time from before the write to the return of the reader."""
    duels = [_duel(run, label, how) for label, how in _contenders(run)]
    turns, rounds = (20, 1) if run.quick else (100, 9)
    try:
        for duel in duels:
            duel.play(5)
        for number in range(rounds):
            for duel in duels[:: -1 if number % 2 else 1]:
                _, there = duel.play(turns)
                duel.figures.add_singles(there)
    finally:
        for duel in duels:
            duel.leave()
    readings = [duel.figures.pooled(duel.label, duel.how, "us") for duel in duels]
    (ours,) = [one for one in readings if one.name == OURS]
    limits = [one for one in readings if one.name == BARE]
    peers = [one for one in readings if one.name in run.peers]
    row = Row("wake/blocked", "us", "lower", ours, limits=limits, peers=peers, touched=True)
    row.references = _of_rust(rust_run or RUST_RUN, required=rust_run is not None)
    row.notes = [
        "64 B; a reader sleeps in another process; from before the write to the reader's return",
        "1 to 3 ms of rest before each frame, 0.2 to 1 ms in the run from Rust",
        "p50, p99 and max of all frames",
    ]
    text = f"p50 at most {GOAL} of a bare futex in Python"
    row.targets.append(Target(text, "<=", GOAL, row.ratio(row.limit)))
    yield row


def _contenders(run: Run) -> Iterator[tuple[str, str]]:
    for system in run.installed:
        if not run.has(system, "read_after"):
            yield system, POLL
            continue
        yield system, AFTER
        if system != OURS and run.has(system, "notify"):
            yield system, NOTIFY
    yield BARE, FUTEX


def _duel(run: Run, label: str, how: str) -> Duel:
    args = {"name": run.name("wake"), "how": how}
    worker = OURS if label == BARE else label
    return Duel(run, label, how, worker, ("sender", args), ("sleeper", args))


def _of_rust(file: Path, required: bool) -> list[Reading]:
    """The row of the same name of a stored run: of the Rust suite, or of all suites."""
    if not required and not file.exists():
        return []
    stored = json.loads(file.read_text(encoding="utf-8"))
    stored = stored.get("suites", {}).get("stream", stored)
    found = [row for row in stored["rows"] if row["name"] == "wake/blocked"]
    if not found:
        raise ValueError(f"{file} has no row wake/blocked; give the JSON of `bench stream` or `bench all`")
    (row,) = found
    same = stored["header"]["machine"] == machine.described()
    how = f"{RUST}, stored run of {'a machine like this' if same else 'another machine'}"
    return [Reading(RUST, how, row["value"], row["p99"], row["max"])]
