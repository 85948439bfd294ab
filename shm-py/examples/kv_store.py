"""Workers that share a cache of keys and values: whoever computed a prefix stores it for all.

There is no server. A worker asks for all blocks of a prompt at once, and computes those that nobody
has stored yet; two workers never compute the same block at the same time. The store is smaller than
what is asked for, so blocks that nobody has in use make room for new ones.
"""

import multiprocessing
import random

import numpy as np
import shm_py

NAME = "doc-kv-cache"
WORKERS = 3
PROMPTS = 200
LAYERS, TOKENS, WIDTH = 4, 16, 64
BLOCK = {
    "keys": ((LAYERS, TOKENS, WIDTH), np.float16),
    "values": ((LAYERS, TOKENS, WIDTH), np.float16),
}
BLOCK_BYTES = 2 * LAYERS * TOKENS * WIDTH * 2


def compute(store: shm_py.Store, block: str) -> bool:
    """Stores a block, unless somebody else does."""
    try:
        with store.prepare_store(block, BLOCK, timeout=30) as reservation:
            number = int(block.split("-")[1])
            reservation.arrays["keys"][:] = number  # in place: nothing is copied
            reservation.arrays["values"][:] = -number
            reservation.commit()
            return True
    except shm_py.KeyExists:
        return False


def prefill(store: shm_py.Store, blocks: list[str]) -> int:
    """Makes sure that all blocks are there, and reads them; how many it had to compute."""
    computed = 0
    timeout = 0.0
    while True:
        try:
            with store.prepare_retrieve(blocks, timeout) as found:
                for block in blocks:
                    number = int(block.split("-")[1])
                    assert (found[block]["keys"] == number).all()
                    assert (found[block]["values"] == -number).all()
            return computed
        except shm_py.KeysMissing as error:
            computed += sum(compute(store, str(block)) for block in error.missing)
            timeout = 0.1  # what others are computing may come


def worker(rank: int) -> None:
    """Serves prompts that have their beginnings in common."""
    store = shm_py.Store.open(NAME, timeout=30)
    chance = random.Random(rank)
    computed = asked = 0
    for _ in range(PROMPTS):
        first = chance.choice([0, 0, 0, 10, 20])
        blocks = [f"block-{number}" for number in range(first, first + chance.randrange(1, 6))]
        computed += prefill(store, blocks)
        asked += len(blocks)
    print(f"worker {rank}: {asked} blocks asked for, {computed} computed", flush=True)
    assert computed < asked


def main() -> None:
    """Runs the workers over one store."""
    with shm_py.Store.create(NAME, capacity=12 * (BLOCK_BYTES + 4096)) as store:
        spawn = multiprocessing.get_context("spawn")
        children = [
            spawn.Process(target=worker, args=(rank,), daemon=True) for rank in range(WORKERS)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join()
            assert child.exitcode == 0
        stats = store.stats()
        print(f"store: {stats.hits} hits, {stats.misses} misses, {stats.evicted} evicted")
        assert stats.filling == 0 and store.fsck().is_clean


if __name__ == "__main__":
    main()
