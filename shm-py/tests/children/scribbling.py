"""Uses a pool or a store while random words of its memory change: `scribbling NAME SEED ROUNDS`.

Whatever is read, the answer is a result or one of the errors of the package, and never a crash. It says
how many steps it made and how many of them were refused.
"""

from __future__ import annotations

import mmap
import os
import queue
import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import shm_py

STEPS = 150
#: What may be said about damaged memory.
ERRORS = (shm_py.PoolError, ValueError, OSError, KeyError, queue.Full, queue.Empty)

Step = Callable[[], object]


def pool_steps(chance: random.Random, pool: shm_py.Pool) -> tuple[list[Step], Step]:
    consumers = [pool.consumer(), pool.consumer()]
    work = shm_py.Queue.create("work", pool, 3)
    news = shm_py.Queue.create("news", pool, 3, "broadcast")

    def publish() -> None:
        audience: Any = chance.choice([None, "any", [0]])
        policy: Any = chance.choice(["block", "fail", "drop_oldest_unread"])
        tree = {"x": np.arange(chance.randrange(1, 20))}
        ticket = pool.publish(tree, audience, chance.choice([0, 0.002]), policy)
        consumer = chance.choice(consumers)
        ways: list[Step] = [
            lambda: work.put(ticket, 0),
            lambda: news.put(ticket, 0.002),
            lambda: repr(consumer.unpack(ticket)),
            lambda: pool.revoke(ticket),
            lambda: consumer.redeem(ticket),
        ]
        chance.choice(ways)()

    def get() -> None:
        consumer = chance.choice(consumers)
        repr(consumer.unpack(chance.choice([work, news]).get(consumer, 0)))

    def close() -> None:
        for consumer in consumers:
            consumer.close()

    steps: list[Step] = [
        publish,
        publish,
        get,
        pool.stats,
        pool.fsck,
        pool.reap,
        pool.overdue,
        pool.describe,
        work.qsize,
        lambda: shm_py.Queue.list(pool),
        lambda: shm_py.Queue.open("work", pool),
        lambda: shm_py.Pool.open(pool.name),
    ]
    return steps, close


def store_steps(chance: random.Random, store: shm_py.Store) -> tuple[list[Step], Step]:
    def key() -> str:
        return f"key-{chance.randrange(6)}"

    steps: list[Step] = [
        lambda: store.put(key(), {"a": np.arange(chance.randrange(1, 3000))}, timeout=0),
        lambda: repr(store.get(key())),
        lambda: store.prepare_retrieve([key(), key()], timeout=0.002),
        lambda: store.remove(key()),
        store.keys,
        store.stats,
        store.fsck,
        store.reap,
        store.overdue,
        store.clear,
        lambda: len(store),
    ]
    return steps, lambda: None


def scribble(chance: random.Random, memory: mmap.mmap, control: int) -> None:
    end = control if chance.random() < 0.8 else len(memory)
    value = chance.choice(
        [0, 2**64 - 1, chance.randrange(2**64), chance.randrange(300), 1 << chance.randrange(64)]
    )
    # The header is read when it is opened, and not again.
    at = chance.randrange(4096, end - 8)
    memory[at - at % 8 : at - at % 8 + 8] = value.to_bytes(8, "little")


def main(name: str, seed: str, rounds: str) -> None:
    chance = random.Random(int(seed))
    made = refused = 0
    for _ in range(int(rounds)):
        handle: shm_py.Pool | shm_py.Store
        kind = chance.choice(["slots", "chunks", "store"])
        if kind == "store":
            handle = store = shm_py.Store.create(name, capacity=1 << 17)
            steps, close = store_steps(chance, store)
        else:
            handle = pool = (
                shm_py.Pool.create(name, slot_size=256, slots=6, consumers=2)
                if kind == "slots"
                else shm_py.Pool.create_chunks(name, capacity=1 << 17, granule=4096, consumers=2)
            )
            steps, close = pool_steps(chance, pool)
        path = f"/dev/shm/shm.{os.getuid()}.{name}"
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
            for step in range(STEPS):
                for _ in range(chance.randrange(4) if step > 10 else 0):
                    scribble(chance, memory, len(memory) - handle.capacity)
                made += 1
                try:
                    chance.choice(steps)()
                except ERRORS:
                    refused += 1
        close()
        handle.close()
        if os.path.exists(path):
            os.unlink(path)  # what was damaged may be nobody's to remove
    print(made, refused)


if __name__ == "__main__":
    main(*sys.argv[1:])
