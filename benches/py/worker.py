"""Measures one system in an interpreter of its own: `worker.py MODULE CORE`.

Reads commands from standard input, one JSON object a line, and answers on what was standard
output; see pybench/worker_process.py. Whatever it made is removed when its input ends.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import traceback
from typing import Any, TextIO

import numpy as np

from pybench import cases, cores, timing
from pybench.systems import System


class Worker:
    """The cases that are set up, by number."""

    def __init__(self, system: System, core: int) -> None:
        self._system = system
        self._core = core
        self._cases: dict[int, Any] = {}
        self._next = 0

    def do(self, command: dict[str, Any]) -> Any:
        what = command.pop("do")
        if what == "about":
            return {
                "version": self._system.version,
                "features": self._system.features(),
                "numpy": np.__version__,
                "python": sys.version.split()[0],
            }
        if what == "open":
            return self._open(**command)
        if what == "unlink":
            return self._unlink(**command)
        case = self._cases[command.pop("id")]
        if what == "calibrate":
            return timing.calibrate(case, **command)
        if what == "measure":
            return timing.measure(case, **command)
        if what == "answer":
            return case.answer(**command)
        if what == "close":
            return self._close(case)
        raise ValueError(f"a worker knows no command {what!r}")

    def close_all(self) -> None:
        for case in list(self._cases.values()):
            try:
                self._close(case)
            except Exception:  # The others have to be removed all the same.
                traceback.print_exc()

    def _open(self, case: str, pinned: bool, args: dict[str, Any]) -> int:
        cores.stay_on(self._core if pinned else None)
        number = self._next
        self._next += 1
        self._cases[number] = cases.CASES[case](self._system, **args)
        return number

    def _close(self, case: Any) -> None:
        for number, known in list(self._cases.items()):
            if known is case:
                del self._cases[number]
        case.close()
        # Only here: a collection within a measurement would be somebody's bad luck.
        gc.collect()

    def _unlink(self, names: list[str]) -> None:
        for name in names:
            self._system.unlink(name)


def serve(worker: Worker, answers: TextIO) -> None:
    """Answers commands until there are no more."""
    for line in sys.stdin:
        try:
            answer = {"ok": worker.do(json.loads(line))}
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    module, core = sys.argv[1:]
    # A library that prints must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    gc.disable()
    worker = Worker(System(module), int(core))
    try:
        serve(worker, answers)
        answers.close()
    except BrokenPipeError:
        # Nobody is left to answer. What is buffered would be tried again at exit.
        os.dup2(2, answers.fileno())
    finally:
        worker.close_all()


if __name__ == "__main__":
    main()
