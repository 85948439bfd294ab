"""Writes without a pause under a storm of interrupts: `interrupted NAME WAY`.

After each interrupt it checks what the interrupted write left. At the end it says how many signals
were handled, how many of them interrupted a write, and how many frames were published.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable

import shm_py
from children.frames import Pattern


def write(shm: shm_py.SharedMemory, pattern: Pattern, number: int) -> None:
    shm.write(pattern.frame(number), frame_id=number)


def write_locked(shm: shm_py.SharedMemory, pattern: Pattern, number: int) -> None:
    frame = pattern.frame(number)
    with shm.locked():
        shm.write_locked(frame, frame_id=number)


def write_view(shm: shm_py.SharedMemory, pattern: Pattern, number: int) -> None:
    frame = pattern.frame(number)
    with shm.write_view(frame_id=number) as array:
        for begin in range(0, len(frame), 8192):
            array[begin : begin + 8192] = frame[begin : begin + 8192]


def clear(shm: shm_py.SharedMemory, pattern: Pattern, number: int) -> None:
    shm.clear()


WAYS: dict[str, Callable[[shm_py.SharedMemory, Pattern, int], None]] = {
    "write": write,
    "write_locked": write_locked,
    "write_view": write_view,
    "clear": clear,
}


class Storm:
    """Raises KeyboardInterrupt where the program is ready for it, and nowhere else."""

    def __init__(self) -> None:
        self.armed = False
        self.handled = 0
        signal.signal(signal.SIGINT, self._handle)

    def _handle(self, number: int, frame: object) -> None:
        self.handled += 1
        if self.armed:
            self.armed = False
            raise KeyboardInterrupt


def main(name: str, way: str) -> None:
    shm = shm_py.open(name)
    step = WAYS[way]
    pattern = Pattern(shm.size // 8)
    ending = threading.Event()

    def listen() -> None:
        sys.stdin.readline()
        ending.set()

    threading.Thread(target=listen, daemon=True).start()
    storm = Storm()
    print("ready")
    raised = 0
    newest = 0  # number of the frame that is the newest one
    while not ending.is_set():
        before = shm.count
        number = before + 1
        try:
            storm.armed = True
            step(shm, pattern, number)
            storm.armed = False
            assert shm.count == number
        except KeyboardInterrupt:
            raised += 1
        assert shm.lock_depth == 0, "a lock is left behind"
        published = shm.count - before
        assert published in (0, 1), published
        newest += published
        if published == 1 and newest % 16:
            continue  # a look after every frame would take longer than the writes
        found = shm.read_publication(timeout=0)
        assert found.count == newest
        if way != "clear" and newest > 0:
            assert pattern.number(found.payload) == found.frame_id == newest
    print(storm.handled, raised, newest)


if __name__ == "__main__":
    main(*sys.argv[1:])
