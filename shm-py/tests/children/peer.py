"""Does to one stream what it is told, line by line: `peer NAME [create WORDS]`.

Answers every line with the result, or with the type of the exception and its text.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import shm_py
from children.frames import Pattern


class Peer:
    def __init__(self, name: str, words: int | None) -> None:
        if words is None:
            self._shm = shm_py.open(name)
        else:
            self._shm = shm_py.create(name, shape=(words,), dtype="uint64")
        self._pattern = Pattern(self._shm.size // 8)
        self._open = ExitStack()

    def write(self, number: str, timeout: str = "30") -> int:
        """Writes the frame of that number."""
        value = self._pattern.frame(int(number))
        self._shm.write(value, frame_id=int(number), timeout=float(timeout))
        return self._shm.count

    def read(self) -> int:
        """The number of the newest frame, which must be whole."""
        return self._pattern.number(self._shm.read())

    def acquire(self, timeout: str = "30") -> str:
        self._shm.acquire(timeout=float(timeout))
        return "acquired"

    def release(self) -> str:
        self._shm.release()
        return "released"

    def half(self) -> str:
        """Half of a frame in place, and the lock held."""
        array: Any = self._open.enter_context(self._shm.write_view(frame_id=2**63))
        array[: len(array) // 2 + 1] = 0xDEAD
        return "half"

    def follow(self, after: str, timeout: str = "30") -> int:
        """Waits for a frame after that count; its number."""
        found = self._shm.read_after_publication(int(after), timeout=float(timeout))
        number = self._pattern.number(found.payload)
        assert number == found.frame_id
        return number

    def stale(self) -> bool:
        return self._shm.stale


def main(name: str, create: str = "", words: str = "1") -> None:
    peer = Peer(name, int(words) if create == "create" else None)
    print("ready")
    for line in sys.stdin:
        command, *arguments = line.split()
        call: Callable[..., object] = getattr(peer, command)
        try:
            print(call(*arguments))
        except Exception as error:
            print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
