"""Where shared memory has room for 1 MiB: too much is an error, and leaves nothing behind.

Says at the end how often it was refused and how many streams it made.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

import numpy as np
import shm_py


def refused(name: str, **options: Any) -> int:
    before = sorted(os.listdir("/dev/shm"))
    try:
        shm_py.create(name, **options)
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
        assert not isinstance(error, FileExistsError)
    else:
        raise AssertionError("there is room?")
    assert sorted(os.listdir("/dev/shm")) == before, "something is left"
    return 1


def main(name: str) -> None:
    assert os.listdir("/dev/shm") == [] and os.statvfs("/dev/shm").f_blocks * 4096 <= 2**20
    refusals = 0
    for shape in ((2**20,), (2**18,), (2**28,)):
        refusals += refused(name, shape=shape)
    assert os.listdir("/dev/shm") == []

    # A small one works at once, in full.
    with shm_py.create(name, shape=(10_000,)) as shm:
        for number in range(1, 8):
            shm.write(np.full(10_000, number, np.float32))
            assert (shm.read() == number).all()
        refusals += refused(name + "-big", shape=(2**18,))
        refusals += refused(name, shape=(2**18,), replace_existing=True)
        assert not shm.stale and (shm.read() == 7).all(), "what could not be replaced stays"

    # As many as there is room for; each can be written in full.
    streams: list[shm_py.SharedMemory] = []
    while True:
        try:
            streams.append(shm_py.create(f"{name}-{len(streams)}", shape=(5_000,)))
        except OSError as error:
            assert error.errno == errno.ENOSPC
            refusals += 1
            break
    for shm in streams:
        for number in range(1, 5):
            shm.write(np.full(5_000, number, np.float32))
            with shm.write_view() as array:
                array[...] = -number
    del array  # it keeps its stream's memory
    assert all((shm.read() == -4).all() and shm.count == 8 for shm in streams)

    # Room that is given back is room again.
    streams.pop().unlink()
    streams.append(shm_py.create(name + "-again", shape=(5_000,)))
    streams[-1].write(np.ones(5_000, np.float32))
    made = len(streams)
    for shm in streams:
        shm.unlink()
    assert shm_py.purge(prefix=name) == [name]
    assert os.listdir("/dev/shm") == []
    print(refusals, made)


if __name__ == "__main__":
    main(*sys.argv[1:])
