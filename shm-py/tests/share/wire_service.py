"""Endpoints for the client in wire_client.py, in a process of their own.

As a program: serves at the path that it is given, says `ready`, answers each line by the server's counters,
and ends when its input ends.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from children import Child
from share.sharing import Service
from share.wire_client import Client
from shm_py._share_modules import Bundle

TEXT = 900_000


def offer(service: Service) -> None:
    """All the endpoints."""
    builds = {"model": 0}

    def model(rows: int, fill: float = 0.5) -> Any:
        builds["model"] += 1
        base = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
        return {"base": base, "views": (base[::-1], [base.T, base[1:, ::2]]), "fill": np.full(2, fill)}

    def module() -> Any:
        return Bundle("layer", {"class": "Linear", "sizes": (2, 3)}, {"w": np.ones((2, 3)), "b": np.zeros(2)})

    def fail(text: str) -> None:
        raise LookupError(text)

    def patient(args: Any, kwargs: Any, cancelled: Callable[[], bool]) -> str:
        until = time.monotonic() + args[0]
        while time.monotonic() < until and not cancelled():
            time.sleep(0.005)
        return "cancelled" if cancelled() else "done"

    service.offer(lambda *args, **kwargs: {"args": args, "kwargs": kwargs}, "echo")
    service.offer(model, managed=True, cache=True)
    service.offer(model, "fleeting", managed=True, cache=True, keep_unleased=False)
    service.offer(lambda: builds["model"], "built")
    service.offer(module)
    service.offer(fail)
    service.offer(fail, "fail_later", execution="task")
    service.offer(model, "load", execution="task", managed=True)
    service.offer(lambda: "x" * TEXT, "text")
    service.offer(lambda size: "x" * size, "sized")
    service.offer_native(patient, "patient", execution="task")
    service.offer_native(patient, "slow")


class WireService:
    """The server's process, and what of it can be seen from outside."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.child = Child(__file__, path)
        answer = self.child.hear()
        assert answer == "ready", answer

    def client(self, **options: Any) -> Client:
        """A client of it."""
        return Client(self.path, **options)

    def counters(self) -> dict[str, int]:
        """The server's own counters."""
        found: dict[str, int] = json.loads(self.child.ask("counters"))
        return found

    def counts(self, name: str, expected: int, patience: float = 10.0) -> bool:
        """Whether a counter gets that far in time."""
        until = time.monotonic() + patience
        while self.counters()[name] != expected and time.monotonic() < until:
            time.sleep(0.01)
        return self.counters()[name] == expected

    def descriptors(self) -> int:
        """How many it has open."""
        return len(list(Path(f"/proc/{self.child.pid}/fd").iterdir()))

    def memory(self, field: str = "VmRSS") -> int:
        """Bytes that it has resident, or had at most (`VmHWM`)."""
        for line in Path(f"/proc/{self.child.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise AssertionError(field)


def main() -> None:
    """Serves until the input ends."""
    service = Service(Path(sys.argv[1]))
    offer(service)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(json.dumps(service.native.counters()), flush=True)
    service.native.stop(False, 10.0)


if __name__ == "__main__":
    # As programs of the tests are started, their folder is not on the path.
    main()
