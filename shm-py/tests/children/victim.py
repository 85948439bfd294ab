"""Uses a stream that somebody else spoils: `victim NAME ROLE`. Every call has a deadline.

Says how many calls went through and how many were refused. Any exception but the documented ones,
and any signal, ends it.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from collections import Counter
from collections.abc import Callable

import numpy as np
import shm_py

#: What the calls document; MemoryError and the like are not among it.
DOCUMENTED = (OSError, ValueError, RuntimeError, TimeoutError, PermissionError, OverflowError)

FRAME = np.zeros(4_000, np.uint64)


def _view(shm: shm_py.SharedMemory) -> None:
    with shm.view() as view:
        view.array.sum()


def _write_view(shm: shm_py.SharedMemory) -> None:
    with shm.write_view(timeout=0.01) as array:
        array[...] = 1


def _await(shm: shm_py.SharedMemory) -> None:
    asyncio.run(_wait(shm))


async def _wait(shm: shm_py.SharedMemory) -> None:
    await shm.read_after_async(shm.count, timeout=0.01)


CALLS: list[Callable[[shm_py.SharedMemory], object]] = [
    lambda shm: shm.read(timeout=0.05),
    lambda shm: shm.read_publication(timeout=0.05),
    lambda shm: shm.read_new(timeout=0.005),
    lambda shm: shm.read_after(shm.count, timeout=0.005),
    lambda shm: shm.wait_for_count(after=0, timeout=0.005),
    lambda shm: shm.history(),
    lambda shm: shm.history(2),
    _view,
    lambda shm: shm.write(FRAME, timeout=0.01),
    lambda shm: shm.clear(timeout=0.01),
    _write_view,
    _await,
    lambda shm: shm.describe(),
    lambda shm: shm.to_config(),
    lambda shm: (shm.count, shm.frame_id, shm.age, shm.write_time, shm.acquired_ns, shm.stale),
    lambda shm: (shm.metadata, shm.instance_id, shm.creator_pid, shm.producer_alive()),
    lambda shm: np.from_dlpack(shm),
]


def main(name: str, role: str) -> None:
    held = shm_py.open(name)
    ending = threading.Event()

    def listen() -> None:
        sys.stdin.readline()
        ending.set()

    threading.Thread(target=listen, daemon=True).start()
    print("ready")
    chance = random.Random(role)
    refused: Counter[str] = Counter()
    through = 0
    while not ending.is_set():
        call = chance.choice(CALLS)
        try:
            if role == "holder":
                call(held)
            else:
                shm_py.list_streams(name)
                shm_py.stat(name)
                with shm_py.open(name, readonly=chance.random() < 0.5) as shm:
                    call(shm)
            through += 1
        except DOCUMENTED as error:
            refused[type(error).__name__] += 1
    print(through, sum(refused.values()), dict(refused))


if __name__ == "__main__":
    main(*sys.argv[1:])
