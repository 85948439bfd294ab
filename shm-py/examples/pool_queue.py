"""Tokenizers that feed a scheduler: tensors in a pool, tickets through a queue.

Each tokenizer packs a request into one slot of the pool, and puts its ticket into the queue. The
scheduler gets tickets, reads the arrays where they lie, and gives each slot back by being done with it.
The pool's size is the limit of what may be under way: a fast tokenizer waits, nothing piles up.
"""

import multiprocessing
import time

import numpy as np
import shm_py

NAME = "doc-tokens"
TOKENIZERS = 2
REQUESTS = 500
LONGEST = 256


def tokenize(text: str) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    """A stand-in for a tokenizer: one id per character."""
    return np.frombuffer(text.encode("utf-32-le"), np.int32)


def tokenizer(rank: int) -> None:
    """Sends its share of the requests."""
    pool = shm_py.Pool.open(NAME, timeout=30)
    queue = shm_py.Queue.open("requests", pool, timeout=30)
    for number in range(rank, REQUESTS, TOKENIZERS):
        ids = tokenize(f"request {number}: " + "x" * (number % LONGEST))
        mask = np.ones(len(ids), np.bool_)
        request = {"id": number, "ids": ids, "mask": mask, "sent": time.time_ns()}
        # "any": the slot is free again when one consumer is done with it.
        queue.put(pool.publish(request, consumers="any", timeout=30), timeout=30)


def schedule(pool: shm_py.Pool, queue: shm_py.Queue) -> None:
    """Takes requests as they come, in batches of what is there."""
    consumer = pool.consumer()
    seen: set[int] = set()
    tokens = 0
    latencies = []
    while len(seen) < REQUESTS:
        request = consumer.unpack(queue.get(consumer, timeout=30))
        latencies.append(time.time_ns() - request["sent"])
        assert request["ids"].shape == request["mask"].shape and not request["ids"].flags.writeable
        assert request["ids"][: len("request ")].tobytes() == tokenize("request ").tobytes()
        seen.add(request["id"])
        tokens += len(request["ids"])
        # The arrays of the request are gone with the next turn, and its slot is free.
    assert seen == set(range(REQUESTS))
    print(f"scheduler: {len(seen)} requests of {tokens} tokens")
    print(f"scheduler: {np.median(latencies) / 1e3:.0f} us from tokenizer to scheduler (median)")


def main() -> None:
    """Runs the scheduler here and the tokenizers beside it."""
    with shm_py.Pool.create(NAME, slot_size=8192, slots=8) as pool:
        queue = shm_py.Queue.create("requests", pool, maxsize=8)
        spawn = multiprocessing.get_context("spawn")
        children = [
            spawn.Process(target=tokenizer, args=(rank,), daemon=True) for rank in range(TOKENIZERS)
        ]
        for child in children:
            child.start()
        schedule(pool, queue)
        for child in children:
            child.join()
            assert child.exitcode == 0
        stats = pool.stats()
        print(f"pool: at most {stats.high_water} of {stats.slots} slots in use")
        assert stats.in_use == 0, "everything came back"


if __name__ == "__main__":
    main()
