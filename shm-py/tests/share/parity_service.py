"""Endpoints, and a server of them in a process of its own, which ends with its standard input."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import shm_py.share

sys.modules.setdefault("shared_tensor", shm_py.share)

if TYPE_CHECKING:
    import shm_py.share as shared_tensor
else:
    import shared_tensor

READY = "ready"
DEVICE = 0


class Service:
    """A server in a process of its own."""

    def __init__(self, base_path: str) -> None:
        """Starts it, and waits until it serves."""
        self.base_path = base_path
        command = [sys.executable, __file__, base_path]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().strip() == READY

    def client(self, **options: Any) -> shared_tensor.SharedTensorClient:
        """A client that waits for nobody."""
        options = {"timeout": 20.0, "connect_timeout": 5.0, **options}
        return shared_tensor.SharedTensorClient(
            self.base_path, device_index=DEVICE, **options
        )

    def end(self) -> None:
        """Has it end."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        assert self.process.wait(20) == 0
        self.process.stdout.close()

    def kill(self) -> None:
        """Kills it."""
        self.process.kill()
        self.process.wait(20)
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()


def provider_of(base_path: str) -> shared_tensor.SharedTensorProvider:
    """Endpoints of every kind; `built` tells how often one of them was run."""
    provider = shared_tensor.SharedTensorProvider(
        base_path, execution_mode="server", device_index=DEVICE
    )
    builds: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    lock = threading.Lock()

    def overlap(name: str) -> int:
        """How many run that endpoint at once, this one included."""
        with lock:
            inside[name] += 1
            found = inside[name]
        time.sleep(0.1)
        with lock:
            inside[name] -= 1
        return found

    @provider.share(
        execution="task",
        managed=True,
        concurrency="serialized",
        cache_format_key="model:{hidden_size}",
    )
    def load_model(hidden_size: int = 4) -> dict[str, Any]:
        """Loads a model, as the example of shared-tensor does."""
        builds["load_model"] += 1
        return {"weight": np.full((hidden_size, hidden_size), hidden_size, np.float32)}

    @provider.share(execution="direct", cache=False)
    def echo(value: Any) -> Any:
        return value

    @provider.share
    def number(value: int, scale: int = 1) -> int:
        builds["number"] += 1
        return value * scale

    @provider.share
    def nothing() -> None:
        builds["nothing"] += 1

    @provider.share(cache_format_key="one for all")
    def same_key(value: int) -> int:
        return value

    @provider.share(cache_format_key="{absent}")
    def badly_keyed(value: int) -> int:
        return value

    @provider.share(managed=True)
    def held(size: int) -> Any:
        builds["held"] += 1
        return np.arange(size)

    @provider.share(managed=True, cache=False)
    def fresh(size: int) -> Any:
        return np.arange(size)

    @provider.share
    def fails(message: str) -> None:
        builds["fails"] += 1
        raise ValueError(message)

    @provider.share(execution="task")
    def fails_later(message: str) -> None:
        raise ValueError(message)

    @provider.share(execution="task", cache=False)
    def slow(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @provider.share(execution="task")
    def no_result() -> None:
        return None

    @provider.share
    def joined(value: int) -> int:
        builds["joined"] += 1
        time.sleep(0.3)
        return value

    @provider.share(singleflight=False, cache=False)
    def apart(value: int) -> int:
        return overlap("apart")

    @provider.share(concurrency="serialized", cache=False)
    def one_at_a_time(value: int) -> int:
        return overlap("one_at_a_time")

    @provider.share(cache=False)
    def built(name: str) -> int:
        return builds[name]

    return provider


def main(base_path: str) -> None:
    """Serves until standard input ends."""
    server = shared_tensor.SharedTensorServer(provider_of(base_path), max_workers=4)
    with server:
        print(READY, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(sys.argv[1])
