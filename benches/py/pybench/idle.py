"""What a reader costs that waits for a frame that does not come: the rows `idle...`."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from typing import Any

from .figures import LIMIT
from .payload import NotArrived
from .quantiles import median
from .rows import Reading, Row
from .run import OURS, Run
from .systems import StreamPair, System

UNIT = "% of a core"
BUDGET = 0.2
SETTLING_S = 0.1
"""Until the reader waits, and so much longer that giving up is no part of the measurement."""
THREAD, ASYNC = "read_new", "read_new_async"


class Waiting:
    """A process whose reader waits, in a thread or in an event loop."""

    def __init__(self, system: System, name: str, how: str, notify: bool) -> None:
        self._streams = StreamPair(system, name, (8,), notify=notify)
        self._how = how

    def answer(self, seconds: float) -> float:
        """Processor time of the whole process while it waits, in percent of a core."""
        if self._how == ASYNC:
            return asyncio.run(self._in_loop(seconds))
        return self._in_thread(seconds)

    def close(self) -> None:
        self._streams.close()

    def _in_thread(self, seconds: float) -> float:
        outcome: list[BaseException] = []

        def wait() -> None:
            try:
                self._streams.reader.read_new(timeout=seconds + 3 * SETTLING_S)
            except BaseException as error:
                outcome.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(SETTLING_S)
        cpu, begun = time.process_time(), time.monotonic()
        time.sleep(seconds)
        spent = _percent(cpu, begun)
        thread.join()
        _expect_timeout(outcome)
        return spent

    async def _in_loop(self, seconds: float) -> float:
        patience = seconds + 3 * SETTLING_S
        waiting = asyncio.ensure_future(self._streams.reader.read_new_async(timeout=patience))
        await asyncio.sleep(SETTLING_S)
        cpu, begun = time.process_time(), time.monotonic()
        await asyncio.sleep(seconds)
        spent = _percent(cpu, begun)
        _expect_timeout(await asyncio.gather(waiting, return_exceptions=True))
        return spent


def _percent(cpu: float, begun: float) -> float:
    return 100 * (time.process_time() - cpu) / (time.monotonic() - begun)


def _expect_timeout(outcome: list[Any]) -> None:
    if len(outcome) != 1 or not isinstance(outcome[0], TimeoutError):
        raise NotArrived(f"the reader should have timed out, but there was {outcome!r}")


CASES = {"idle": Waiting}


def rows(run: Run) -> Iterator[Row]:
    """The processor time of processes that wait, one after the other."""
    seconds, rounds = (0.3, 1) if run.quick else (3.0, 2)
    for row_name, how in (("idle", THREAD), ("idle-async", ASYNC)):
        readings = []
        for system in run.installed:
            if how == ASYNC and not run.has(system, ASYNC):
                continue
            for notify in (False, True) if run.has(system, "notify") else (False,):
                if system == OURS and notify:
                    continue  # It always notifies; the option is there for old programs.
                readings.append(_reading(run, system, how, notify, seconds, rounds))
        ours = [one for one in readings if one.name == OURS]
        if not ours:
            run.skip(row_name, f"{OURS} has no {how}")
            continue
        row = Row(
            row_name,
            UNIT,
            "lower",
            ours[0],
            limits=[Reading(LIMIT, f"budget of {BUDGET} {UNIT}", BUDGET)],
            peers=[one for one in readings if one.name != OURS],
            notes=[f"processor time of a whole process that waits {seconds:g} s for a frame"],
        )
        row.below(BUDGET)
        yield row


def _reading(run: Run, system: str, how: str, notify: bool, seconds: float, rounds: int) -> Reading:
    worker = run.worker(system)
    args = {"name": run.name("idle"), "how": how, "notify": notify}
    case = worker.ask({"do": "open", "case": "idle", "pinned": False, "args": args})
    found = []
    try:
        for _ in range(rounds):
            found.append(worker.ask({"do": "answer", "id": case, "seconds": seconds}))
    finally:
        if worker.usable:
            worker.ask({"do": "close", "id": case})
    told = f"notify, {how}" if notify else how
    return Reading(system, told, median(found), max=max(found), rounds=tuple(found))
