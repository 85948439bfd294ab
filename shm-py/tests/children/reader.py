"""Reads patterned frames without a pause, until its input has a line or ends.

`reader NAME WAY` says `ready`, starts at once, checks that every frame is whole, carries its own
number and is no older than the one before, and at the end says how many reads it made and how many
different frames they found.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator

import numpy as np
import shm_py
from children.frames import Pattern

#: What a read found: count, frame id, the number that the payload carries.
Found = tuple[int, int, int]
Way = Callable[[shm_py.SharedMemory, Pattern], Iterator[Found]]


def of_publication(found: shm_py.Publication, pattern: Pattern) -> Found:
    return found.count, found.frame_id, pattern.number(found.payload)


def read(shm: shm_py.SharedMemory, pattern: Pattern) -> Iterator[Found]:
    number = pattern.number(shm.read())
    yield shm.last_read_count, number, number


def publication(shm: shm_py.SharedMemory, pattern: Pattern) -> Iterator[Found]:
    yield of_publication(shm.read_publication(), pattern)


def out(shm: shm_py.SharedMemory, pattern: Pattern) -> Iterator[Found]:
    buffer = np.empty(shm.shape, shm.dtype)
    yield of_publication(shm.read_publication(out=buffer), pattern)


def view(shm: shm_py.SharedMemory, pattern: Pattern) -> Iterator[Found]:
    """What an overwritten view shows does not count."""
    try:
        with shm.view() as frame:
            copy = frame.array.copy()
    except shm_py.FrameOverwrittenError:
        return
    yield frame.count, frame.frame_id, pattern.number(copy)


def history(shm: shm_py.SharedMemory, pattern: Pattern) -> Iterator[Found]:
    frames = shm.history()
    counts = [frame.count for frame in frames]
    assert counts == list(range(counts[0], counts[0] + len(counts))), f"a gap in {counts}"
    for frame in frames:
        of_publication(frame, pattern)
    yield of_publication(frames[-1], pattern)


def read_after(shm: shm_py.SharedMemory, pattern: Pattern) -> Iterator[Found]:
    before = shm.last_read_count
    found = shm.read_after_publication(before, timeout=30)
    assert found.count > before
    assert found.missed_publications == found.count - before - 1
    yield of_publication(found, pattern)


def read_new(shm: shm_py.SharedMemory, pattern: Pattern) -> Iterator[Found]:
    yield of_publication(shm.read_new_publication(timeout=30), pattern)


def awaited(shm: shm_py.SharedMemory, pattern: Pattern) -> Iterator[Found]:
    async def main() -> list[Found]:
        frames = []
        for _ in range(20):
            wait = shm.read_after_publication_async(shm.last_read_count, timeout=30)
            frames.append(of_publication(await wait, pattern))
        return frames

    yield from asyncio.run(main())


WAYS: dict[str, Way] = {
    "read": read,
    "publication": publication,
    "out": out,
    "view": view,
    "history": history,
    "read_after": read_after,
    "read_new": read_new,
    "awaited": awaited,
}


def main(name: str, way: str) -> None:
    shm = shm_py.open(name, readonly=True)
    pattern = Pattern(shm.size // 8)
    step = WAYS[way]
    ending = threading.Event()

    def listen() -> None:
        sys.stdin.readline()
        ending.set()

    threading.Thread(target=listen, daemon=True).start()
    print("ready")
    newest = reads = distinct = 0
    shm.wait_for_count(after=0, timeout=30)
    while not ending.is_set():
        for count, frame_id, number in step(shm, pattern):
            assert number == frame_id, f"frame {frame_id} holds the payload of {number}"
            assert count >= newest, f"count {count} after {newest}"
            distinct += count > newest
            newest = count
            reads += 1
    print(reads, distinct, newest)


if __name__ == "__main__":
    main(*sys.argv[1:])
