"""Writes patterned frames without a pause, until its input has a line or ends.

`writer NAME WAY [FRAMES]` says `ready`, starts at once, and at the end says how many it published.
An interrupt costs it at most the frame it was at.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

import numpy as np
import shm_py
from children.frames import Pattern


def numbers() -> Callable[[], int]:
    """Numbers of frames that no other process uses."""
    number = os.getpid() << 32

    def following() -> int:
        nonlocal number
        number += 1
        return number

    return following


def write(shm: shm_py.SharedMemory, pattern: Pattern, number: int) -> None:
    shm.write(pattern.frame(number), frame_id=number)


def write_locked(shm: shm_py.SharedMemory, pattern: Pattern, number: int) -> None:
    with shm.locked():
        shm.write_locked(pattern.frame(number), frame_id=number)


def write_counted(shm: shm_py.SharedMemory, pattern: Pattern, number: int) -> None:
    """The frame's number is its count: only right while nobody else writes."""
    with shm.locked():
        number = shm.count + 1
        shm.write_locked(pattern.frame(number), frame_id=number)
        assert shm.count == number


def write_view(shm: shm_py.SharedMemory, pattern: Pattern, number: int) -> None:
    with shm.write_view(frame_id=number) as array:
        array[...] = pattern.frame(number)


def write_swapped(shm: shm_py.SharedMemory, pattern: Pattern, number: int) -> None:
    """From an input that has to be converted on the way."""
    shm.write(pattern.frame(number).astype(">u8"), frame_id=number)


def write_backwards(shm: shm_py.SharedMemory, pattern: Pattern, number: int) -> None:
    shm.write(np.ascontiguousarray(pattern.frame(number)[::-1])[::-1], frame_id=number)


WAYS = {
    "write": write,
    "write_locked": write_locked,
    "write_counted": write_counted,
    "write_view": write_view,
    "write_swapped": write_swapped,
    "write_backwards": write_backwards,
}


def main(name: str, way: str, frames: str = "0") -> None:
    shm = shm_py.open(name)
    pattern = Pattern(shm.size // 8)
    step, number, limit = WAYS[way], numbers(), int(frames)
    ending = threading.Event()

    def listen() -> None:
        sys.stdin.readline()
        ending.set()

    threading.Thread(target=listen, daemon=True).start()
    print("ready")
    written = 0
    while not ending.is_set() and (limit == 0 or written < limit):
        step(shm, pattern, number())
        written += 1
    print(written)
    ending.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
