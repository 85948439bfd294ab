"""Programs that run beside the tests, and how a test speaks with them.

A child answers in lines. It says `ready` once it is set up, and ends when its input ends.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

PROGRAMS = Path(__file__).parent

#: Long enough for any machine; only a hang takes longer.
PATIENCE = 30.0


class Child:
    """A process that a test started, and that ends with it."""

    def __init__(self, *arguments: object, env: Mapping[str, str] | None = None) -> None:
        self._said = b""
        self._errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(env),
        )

    @classmethod
    def program(cls, name: str, *arguments: object, env: Mapping[str, str] | None = None) -> Child:
        """Starts a program of this folder and waits until it is ready."""
        child = cls(PROGRAMS / f"{name}.py", *arguments, env=env)
        answer = child.hear()
        assert answer == "ready", f"{name}: {answer}"
        return child

    @property
    def pid(self) -> int:
        return self.process.pid

    def say(self, line: str) -> None:
        """One line to the child's input."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self._ended_too_early()

    def hear(self, timeout: float = PATIENCE) -> str:
        """The next line of the child's output."""
        assert self.process.stdout is not None
        descriptor = self.process.stdout.fileno()
        deadline = time.monotonic() + timeout
        while b"\n" not in self._said:
            left = deadline - time.monotonic()
            if not select.select([descriptor], [], [], max(0.0, left))[0]:
                raise AssertionError(f"child {self.pid} silent for {timeout} s: {self.errors()}")
            more = os.read(descriptor, 65536)
            if not more:
                self._ended_too_early()
            self._said += more
        line, _, self._said = self._said.partition(b"\n")
        return line.decode()

    def has_answered(self, timeout: float) -> bool:
        """Whether there is something to hear, within that time."""
        assert self.process.stdout is not None
        return bool(self._said or select.select([self.process.stdout], [], [], timeout)[0])

    def ask(self, line: str, timeout: float = PATIENCE) -> str:
        """Says a line and hears one."""
        self.say(line)
        return self.hear(timeout)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """Ends it at whatever it is doing, and waits until it is gone."""
        self.process.kill()
        assert self.process.wait(PATIENCE) == -9, self.errors()
        self.stop()

    def finish(self, timeout: float = PATIENCE) -> None:
        """Ends its input, and expects it to end well and to have complained about nothing."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(timeout)
        assert code == 0, f"child {self.pid} ended with {code}: {self.errors()}"
        assert self.errors() == ""

    def _ended_too_early(self) -> NoReturn:
        code = self.process.wait(PATIENCE)
        raise AssertionError(f"child {self.pid} ended with {code}: {self.errors()}")

    def errors(self) -> str:
        """What it has written to its standard error so far."""
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")

    def stop(self) -> None:
        """Whatever state it is in: gone afterwards."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass
        self._errors.close()


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Of a child: it can import the children's modules, and its output is not held back."""
    path = os.pathsep.join(filter(None, [str(PROGRAMS.parent), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **(extra or {})}


def run(source: str, *arguments: object, timeout: float = 60.0, code: int = 0) -> str:
    """What a program given as text prints; it must end with `code` and without complaints."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", source, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout,
        env=environment(),
        check=False,
    )
    errors = done.stderr.decode(errors="replace")
    assert done.returncode == code, f"ended with {done.returncode}: {errors}"
    if code == 0:
        assert errors == ""
    return done.stdout.decode()
