"""Endpoints that the tests of shm_py.share call, in a process of their own.

As a program: serves at the base path that it is given, says `ready`, and ends when its input ends.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from children import Child
from numpy.typing import NDArray
from shm_py import share

Floats = NDArray[np.float64]


def provide(base_path: str, **options: Any) -> share.SharedTensorProvider:
    """A provider in server mode, with all the endpoints."""
    provider = share.SharedTensorProvider(base_path, execution_mode="server", **options)
    builds: dict[str, int] = {}

    def count(name: str) -> int:
        builds[name] = builds.get(name, 0) + 1
        return builds[name]

    @provider.share(cache=False)
    def built(name: str) -> int:
        return builds.get(name, 0)

    @provider.share(cache=False)
    def echo(*args: Any, **kwargs: Any) -> Any:
        return {"args": args, "kwargs": kwargs}

    @provider.share
    def add(a: int, b: int = 2) -> int:
        count("add")
        return a + b

    @provider.share(managed=True, cache_format_key="weights:{rows}")
    def weights(rows: int = 4) -> dict[str, Floats]:
        count("weights")
        return {"w": np.full((rows, 3), float(rows)), "b": np.zeros(3)}

    @provider.share(managed=True, keep_unleased=True)
    def kept(rows: int = 4) -> Floats:
        count("kept")
        return np.ones(rows)

    @provider.share(execution="task", managed=True, concurrency="serialized")
    def load(rows: int = 4, delay: float = 0.0) -> Floats:
        count("load")
        time.sleep(delay)
        return np.arange(rows, dtype=np.float64)

    @provider.share(cache=False)
    def slow(seconds: float) -> str:
        return patiently(seconds)

    @provider.share(execution="task", cache=False)
    def patient(seconds: float) -> str:
        return patiently(seconds)

    def patiently(seconds: float) -> str:
        count("patient")
        until = time.monotonic() + seconds
        while time.monotonic() < until and not share.cancellation_requested():
            time.sleep(0.005)
        count("cancelled" if share.cancellation_requested() else "finished")
        return "done"

    @provider.share(execution="task")
    def explode(text: str) -> None:
        raise ValueError(text)

    @provider.share
    def fail(text: str) -> None:
        raise ValueError(text)

    @provider.share(cache_format_key="{a:>8}|{b!r}")
    def rich(a: int, b: str = "x") -> int:
        return count("rich")

    @provider.share(cache_format_key="{missing}")
    def broken(a: int) -> int:
        return a

    @provider.share
    def capable() -> None:
        raise share.SharedTensorCapabilityError("not with this machine")

    @provider.share(cache=False)
    def unsendable() -> Any:
        return {"a": [1, object()]}

    return provider


class Service:
    """A server process and where it is."""

    def __init__(self, base_path: str) -> None:
        self.base_path = base_path
        self.child = Child(__file__, base_path)
        answer = self.child.hear()
        assert answer == "ready", answer

    def client(self, **options: Any) -> share.SharedTensorClient:
        """A client of it."""
        return share.SharedTensorClient(self.base_path, **options)

    def awaiting(self, **options: Any) -> share.AsyncSharedTensorClient:
        """A client of it for tasks and event loops."""
        return share.AsyncSharedTensorClient(self.base_path, **options)


def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Waits for what has to become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not become true"
        time.sleep(0.005)


def main() -> None:
    """Serves until the input ends."""
    server = share.SharedTensorServer(provide(sys.argv[1]), max_workers=4)
    with server:
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
