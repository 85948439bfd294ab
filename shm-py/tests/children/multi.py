"""Hands handles to processes that multiprocessing starts: `multi NAME METHOD`."""

from __future__ import annotations

import multiprocessing
import sys
import warnings
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
import shm_py


def write(shm: shm_py.SharedMemory, number: int) -> int:
    with shm.locked(timeout=30):
        value = shm.read(safe=False) + number
        shm.write_locked(value)
    return shm.count


def attempt(shm: shm_py.SharedMemory) -> str:
    assert shm.readonly and shm.casting == "safe"
    try:
        shm.write(np.zeros(3, np.int64))
    except Exception as error:
        return type(error).__name__
    return "written"


def main(name: str, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    with shm_py.create(name, shape=(3,), dtype="int64") as shm:
        process = context.Process(target=write, args=(shm, 2))
        process.start()
        process.join(60)
        assert process.exitcode == 0, process.exitcode
        print("process", int(shm.read()[0]))
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            counts = list(pool.map(write, [shm] * 8, [1] * 8))
            assert max(counts) == 9 == shm.count
            print("pool", int(shm.read()[0]))
            with shm_py.open(name, readonly=True, casting="safe") as reader:
                print("read-only", pool.submit(attempt, reader).result(60))


if __name__ == "__main__":
    # Python 3.12 warns of any fork beside threads, the pool's own included.
    warnings.simplefilter("ignore", DeprecationWarning)
    main(*sys.argv[1:])
