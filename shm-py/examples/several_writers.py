"""Several processes change one stream, and no change is lost.

Reading and writing under the lock is one step. Two streams are changed together under both locks.
"""

import multiprocessing
import time
from contextlib import ExitStack

import numpy as np
import shm_py

TOTAL = "doc-writers-total"
SQUARES = "doc-writers-squares"
WRITERS = 4
CHANGES = 500


def writer(which: int) -> None:
    """Adds to one cell of the first stream, and keeps the second in step with it."""
    total = shm_py.open(TOTAL)
    squares = shm_py.open(SQUARES)
    for _ in range(CHANGES):
        with shm_py.locked_many([total, squares], timeout=60):
            sums = total.read()
            sums[which] += 1
            total.write_locked(sums)
            squares.write_locked(sums**2)
    total.close()
    squares.close()


def main() -> None:
    """Starts the writers and looks on, without ever making them wait."""
    shm_py.purge(prefix="doc-writers-")
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(target=writer, args=(which,), daemon=True) for which in range(WRITERS)
    ]
    with ExitStack() as block:
        total = block.enter_context(shm_py.stream(TOTAL, shape=(WRITERS,), dtype=np.int64))
        squares = block.enter_context(shm_py.stream(SQUARES, shape=(WRITERS,), dtype=np.int64))
        begun = time.monotonic()
        for process in processes:
            process.start()
        looks = 0
        newest = 0
        while any(process.is_alive() for process in processes):
            seen = total.read_publication()
            assert int(seen.payload.sum()) == seen.count >= newest
            newest = seen.count
            looks += 1
        for process in processes:
            process.join()
            assert process.exitcode == 0
        took = time.monotonic() - begun

        assert total.count == squares.count == WRITERS * CHANGES
        assert total.read().tolist() == [CHANGES] * WRITERS
        assert squares.read().tolist() == [CHANGES**2] * WRITERS
    print(f"{WRITERS} processes, {WRITERS * CHANGES} changes in {took:.1f} s, none lost")
    print(f"{looks} reads meanwhile, each of one frame")


if __name__ == "__main__":
    main()
