"""A process that measures one system, driven with lines of JSON over pipes.

A command is `{"do": ..., ...}`, an answer `{"ok": ...}` or `{"error": text}`. Closing the
process's standard input ends it, whatever it was told before.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

PROGRAM = Path(__file__).resolve().parent.parent / "worker.py"
PATIENCE = 120.0
ENDING = 20.0


class WorkerError(RuntimeError):
    """A worker could not do what it was told, or is gone."""


class WorkerProcess:
    """One running worker."""

    def __init__(self, python: str, module: str, core: int, environment: Mapping[str, str]) -> None:
        self._label = f"the worker of {module} in {python}"
        # A session of its own: Ctrl-C reaches the one who cleans up, and only that one.
        self._process = subprocess.Popen(
            [python, str(PROGRAM), module, str(core)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
        )
        self._unread = b""
        self._waiting = 0

    @property
    def usable(self) -> bool:
        """Whether it runs and owes no answer."""
        return self._process.poll() is None and self._waiting == 0

    def ask(self, command: Mapping[str, Any]) -> Any:
        """Sends a command and returns its answer."""
        self.send(command)
        return self.receive()

    def send(self, command: Mapping[str, Any]) -> None:
        """Sends a command; `receive` must follow."""
        try:
            pipe = _open(self._process.stdin)
            pipe.write(json.dumps(command).encode() + b"\n")
            pipe.flush()
        except OSError as error:
            raise WorkerError(f"{self._label} is gone: {self._ended()}") from error
        self._waiting += 1

    def receive(self) -> Any:
        """The answer to the oldest command that was not answered."""
        answer = json.loads(self._line())
        self._waiting -= 1
        if "error" in answer:
            raise WorkerError(f"{self._label}: {answer['error']}")
        return answer["ok"]

    def end(self) -> None:
        """Lets it clean up; kills it if it does not end by itself."""
        # Both: it may be writing an answer that nobody reads any more.
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                _open(pipe).close()
            except OSError:
                pass  # It is gone already.
        try:
            self._process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _line(self) -> bytes:
        pipe = _open(self._process.stdout)
        deadline = time.monotonic() + PATIENCE
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([pipe], [], [], left)[0]:
                raise WorkerError(f"{self._label} did not answer within {PATIENCE:g} s")
            more = os.read(pipe.fileno(), 1 << 20)
            if not more:
                raise WorkerError(f"{self._label} is gone: {self._ended()}")
            self._unread += more
        line, self._unread = self._unread.split(b"\n", 1)
        return line

    def _ended(self) -> str:
        try:
            return f"it ended with {self._process.wait(5)}; what it said stands above"
        except subprocess.TimeoutExpired:
            return "it closed its pipe"


def _open(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None, "started with pipes"
    return pipe
