"""Two processes on two processors that do one thing together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .figures import Figures
from .run import FAR, NEAR, Run
from .worker_process import WorkerProcess

Part = tuple[str, Mapping[str, Any]]
"""A case and how it is set up."""


class Duel:
    """A case in the near worker, which makes what both need, and one in the far worker."""

    def __init__(self, run: Run, label: str, how: str, system: str, near: Part, far: Part) -> None:
        self.label = label
        self.how = how
        self.figures = Figures()
        self._run = run
        self._system = system
        self._parts = (near, far)
        self._open: list[tuple[WorkerProcess, int]] | None = None

    def play(self, turns: int) -> tuple[Any, Any]:
        """So many turns; the answers of both. The far one is ready before the near one begins."""
        (near, near_case), (far, far_case) = self._open or self._sit_down()
        far.send({"do": "answer", "id": far_case, "turns": turns})
        near.send({"do": "answer", "id": near_case, "turns": turns})
        # A failure of either must not leave an answer of the other in its pipe.
        errors, answers = [], []
        for worker in (near, far):
            try:
                answers.append(worker.receive())
            except RuntimeError as error:
                errors.append(error)
        if errors:
            raise errors[0]
        return answers[0], answers[1]

    def leave(self) -> None:
        """Removes what was made, the far one first."""
        for worker, case in reversed(self._open or []):
            if worker.usable:
                worker.ask({"do": "close", "id": case})
        self._open = None

    def _sit_down(self) -> list[tuple[WorkerProcess, int]]:
        self._open = []
        for seat, (case, args) in zip((NEAR, FAR), self._parts):
            worker = self._run.worker(self._system, seat)
            command = {"do": "open", "case": case, "pinned": True, "args": args}
            self._open.append((worker, worker.ask(command)))
        return self._open
