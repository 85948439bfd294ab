"""One run of the suite: its workers, its names, its pace, and measuring in turns."""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from . import cores
from .figures import Contender, Figures, Measured
from .worker_process import WorkerError, WorkerProcess

OURS = "shm_py"
NEAR, FAR = 0, 1


@dataclass(frozen=True)
class Pace:
    """How long a case is measured: so many turns of so many seconds for each contender."""

    rounds: int
    seconds: float
    # The payloads are so large that only one contender may be there at a time.
    one_at_a_time: bool = False


@dataclass(frozen=True)
class Installed:
    """An interpreter with a system."""

    python: str
    module: str


@dataclass
class Run:
    """Starts workers when they are needed; ends them and removes all names at the end."""

    installed: Mapping[str, Installed]
    quick: bool
    skipped: list[dict[str, str]] = field(default_factory=list)
    _workers: dict[tuple[str, int], WorkerProcess] = field(default_factory=dict)
    _about: dict[str, dict[str, Any]] = field(default_factory=dict)
    _names: list[str] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _scratch: tempfile.TemporaryDirectory[str] | None = None

    def __enter__(self) -> Run:
        self._scratch = tempfile.TemporaryDirectory(prefix="bench-py-")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._end_workers()
            self._unlink_names()
        finally:
            self._end_workers()
            if self._scratch is not None:
                self._scratch.cleanup()

    @property
    def peers(self) -> list[str]:
        """All systems but ours."""
        return [label for label in self.installed if label != OURS]

    @property
    def newest_peer(self) -> str:
        """The peer with the highest version."""

        def version(label: str) -> list[int]:
            return [int(part) for part in label.split()[-1].split(".") if part.isdigit()]

        return max(self.peers, key=version, default="a peer")

    @property
    def environment(self) -> dict[str, str]:
        """Peers put lock files into TMPDIR and leave them there. Linear algebra has one thread: with
        more, what a product takes depends on which of them got a processor."""
        assert self._scratch is not None, "a run is entered before it measures"
        threads = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "MKL", "OMP", "BLIS")}
        return {**os.environ, **threads, "TMPDIR": self._scratch.name}

    def pace(self, rounds: int, seconds: float, one_at_a_time: bool = False) -> Pace:
        """That pace, or with --quick the least that shows that it works."""
        if self.quick:
            return Pace(1, min(seconds, 0.01), one_at_a_time)
        return Pace(rounds, seconds, one_at_a_time)

    def about(self, system: str) -> dict[str, Any]:
        """Versions and features of a system."""
        if system not in self._about:
            self._about[system] = self.worker(system).ask({"do": "about"})
        return self._about[system]

    def has(self, system: str, feature: str) -> bool:
        """Whether a system has a method or option that not every system has."""
        return feature in self.about(system)["features"]

    def name(self, hint: str) -> str:
        """A new name for a stream, removed at the end whatever happens."""
        name = f"bench-{os.getpid()}-{hint}-{next(self._numbers)}"
        self._names.append(name)
        return name

    def skip(self, row: str, why: str) -> None:
        """Notes a row that is not measured."""
        self.skipped.append({"name": row, "why": why})
        print(f"  {row} skipped: {why}", file=sys.stderr)

    def worker(self, system: str, seat: int = NEAR) -> WorkerProcess:
        """The worker of a system on one of the two processors."""
        key = (system, seat)
        worker = self._workers.get(key)
        if worker is not None and worker.usable:
            return worker
        if worker is not None:
            print(f"  a worker of {system} is gone or stuck; starting another", file=sys.stderr)
            worker.end()
        installed = self.installed[system]
        core = cores.near_and_far()[seat]
        worker = WorkerProcess(installed.python, installed.module, core, self.environment)
        self._workers[key] = worker
        return worker

    def alternate(self, contenders: Sequence[Contender], pace: Pace) -> list[Measured]:
        """Lets them take turns, in an order that reverses every round, so that whatever the
        machine does meanwhile hits all of them alike."""
        figures = [Figures() for _ in contenders]
        seats = [_Seat(self, contender, pace) for contender in contenders]
        try:
            for turn in range(pace.rounds):
                order = list(zip(seats, figures))
                for seat, figure in order[:: -1 if turn % 2 else 1]:
                    figure.add(seat.measure())
        finally:
            for seat in seats:
                seat.leave()
        return [Measured(c, f) for c, f in zip(contenders, figures)]

    def _end_workers(self) -> None:
        workers = list(self._workers.values())
        self._workers.clear()
        for worker in workers:
            worker.end()

    def _unlink_names(self) -> None:
        """What a worker made that did not come to remove it."""
        for system in self.installed if self._names else ():
            try:
                self.worker(system).ask({"do": "unlink", "names": self._names})
            except WorkerError as error:
                print(f"could not remove the streams of {system}: {error}", file=sys.stderr)
        for name in self._names:
            Path("/dev/shm", name).unlink(missing_ok=True)


class _Seat:
    """A contender's case in its worker."""

    def __init__(self, run: Run, contender: Contender, pace: Pace) -> None:
        self._run = run
        self._contender = contender
        self._pace = pace
        self._open: tuple[WorkerProcess, int, int] | None = None

    def measure(self) -> dict[str, list[float]]:
        worker, case, batch = self._open or self._sit_down()
        command = {"do": "measure", "id": case, "size": batch, "seconds": self._pace.seconds}
        answer: dict[str, list[float]] = worker.ask(command)
        if self._pace.one_at_a_time:
            self.leave()
        return answer

    def leave(self) -> None:
        if self._open is not None:
            worker, case, _ = self._open
            self._open = None
            if worker.usable:
                worker.ask({"do": "close", "id": case})

    def _sit_down(self) -> tuple[WorkerProcess, int, int]:
        contender = self._contender
        worker = self._run.worker(contender.worker)
        case: int = worker.ask(
            {
                "do": "open",
                "case": contender.case,
                "pinned": contender.pinned,
                "args": contender.args,
            }
        )
        self._open = worker, case, 1
        warm_up = 0.0 if self._pace.one_at_a_time else self._pace.seconds
        batch: int = worker.ask({"do": "calibrate", "id": case, "seconds": warm_up})
        self._open = worker, case, batch
        return self._open
