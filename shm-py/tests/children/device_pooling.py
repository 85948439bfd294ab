"""Uses one device pool as it is told, line by line: `device_pooling NAME [DEVICE [WORD BYTES SLOTS]]`.

With WORD it creates the pool, else it opens it. Answers every line with the result, or with the type of
the exception and its text.
"""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import shm_py

from children.simulator import Simulator


class Pooling:
    def __init__(self, name: str, device: str = "cuda:0", create: str = "", *size: str) -> None:
        self._sim = Simulator(Path(os.environ["SHM_CUDA_DRIVER"]))
        if create:
            slot_size, slots = map(int, size)
            self._pool = shm_py.DevicePool.create(
                name, slot_size=slot_size, slots=slots, device=device
            )
        else:
            self._pool = shm_py.DevicePool.open(name, device)
        self._consumer: Any = None
        self._kept: list[Any] = []
        self._source: Any = None

    def sit(self) -> int:
        self._consumer = self._pool.consumer()
        return int(self._consumer.seat)

    def put(self, number: str, count: str) -> str:
        ticket = self._pool.put(np.full(int(count), int(number), "i8"))
        return bytes(ticket).hex()

    def put_later(self, number: str, count: str, seconds: str) -> str:
        """Puts what the device takes that long to copy."""
        if self._source is None or self._source.shape != (int(count),):
            self._sim.delay(0, 0)
            self._source = shm_py.DeviceTensor.from_numpy(np.full(int(count), int(number), "i8"))
        # Not shortened again: what was put before may not have begun yet, and takes as long as is said
        # when it does.
        stream = self._sim.stream()
        microseconds = int(float(seconds) * 1e6)
        self._sim.delay(microseconds, microseconds)
        self._kept.append((self._source, stream))
        return bytes(self._pool.put(self._source, stream=stream)).hex()

    def take(self, ticket: str) -> str:
        """Number and count of what a ticket is of."""
        time.sleep(random.random() * 0.01)
        with self._consumer.redeem(shm_py.DeviceTicket.from_bytes(bytes.fromhex(ticket))) as lease:
            found = lease.to_numpy()
        values = set(found.tolist())
        assert len(values) == 1, f"torn: {sorted(values)[:5]}"
        return f"{values.pop()} {found.size}"

    def hold(self, ticket: str) -> str:
        found = shm_py.DeviceTicket.from_bytes(bytes.fromhex(ticket))
        self._kept.append(self._consumer.redeem(found))
        return "held"

    def wait(self, ticket: str) -> str:
        """Says that it begins to wait, and then what came of it."""
        found = shm_py.DeviceTicket.from_bytes(bytes.fromhex(ticket))
        print("waiting", flush=True)
        lease = self._consumer.redeem(found)
        return str(lease.to_numpy()[0])


def main() -> None:
    pooling = Pooling(*sys.argv[1:])
    print("ready", flush=True)
    for line in sys.stdin:
        verb, *arguments = line.split()
        try:
            answer = getattr(pooling, verb)(*arguments)
        except KeyboardInterrupt:
            answer = "interrupted"
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        print(answer, flush=True)


main()
