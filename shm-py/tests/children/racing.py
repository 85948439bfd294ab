"""Gives, takes and uses one name that others give and take: `racing NAME ROLE SECONDS SEED`.

Says how often it got through and how often it met another; anything unexpected ends it.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter

import numpy as np
import shm_py
from children.frames import Pattern

EXPECTED = (FileNotFoundError, FileExistsError, shm_py.StaleStreamError)
SIZES = [8, 5_000]


def check(shm: shm_py.SharedMemory) -> None:
    """Whatever it is, it is whole."""
    words = shm.shape[0]
    assert words in SIZES and shm.dtype == np.uint64 and shm.metadata == str(words).encode()
    found = shm.read_publication(timeout=1)
    if found.count == 0:
        assert not found.payload.any()
    else:
        assert Pattern(words).number(found.payload) == found.frame_id == words + found.count


def create(name: str, chance: random.Random, replace: bool) -> None:
    words = chance.choice(SIZES)
    metadata = str(words).encode()
    with shm_py.create(
        name, shape=(words,), dtype="uint64", metadata=metadata, replace_existing=replace
    ) as shm:
        for _ in range(chance.randrange(3)):
            with shm.locked(timeout=10):
                number = words + shm.count + 1
                shm.write_locked(Pattern(words).frame(number), frame_id=number)
        if chance.random() < 0.3:
            time.sleep(0.001)
        if chance.random() < 0.5:
            shm.unlink()
            return
    if chance.random() < 0.8:
        shm_py.unlink(name)


def use(name: str, chance: random.Random) -> None:
    timeout = chance.choice([0.0, 0.01])
    with shm_py.open(name, readonly=chance.random() < 0.5, timeout=timeout) as shm:
        check(shm)
        if not shm.readonly:
            with shm.locked(timeout=10):
                number = shm.shape[0] + shm.count + 1
                shm.write_locked(Pattern(shm.shape[0]).frame(number), frame_id=number)
        check(shm)


def look(name: str, chance: random.Random) -> None:
    assert all(found.startswith(name) for found in shm_py.list_streams(name))
    stat = shm_py.stat(name)
    assert stat["shape"] in [[words] for words in SIZES] and stat["name"] == name


def main(name: str, role: str, seconds: str, seed: str) -> None:
    chance = random.Random(int(seed))
    done: Counter[str] = Counter()
    print("ready")
    assert sys.stdin.readline() == "go\n"
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        try:
            if role in ("creator", "replacer"):
                create(name, chance, role == "replacer")
            elif role == "opener":
                use(name, chance)
            else:
                look(name, chance)
            done["through"] += 1
        except EXPECTED as error:
            done[type(error).__name__] += 1
    through = done.pop("through", 0)
    print(through, done.total() if sys.version_info >= (3, 10) else sum(done.values()), dict(done))


if __name__ == "__main__":
    main(*sys.argv[1:])
