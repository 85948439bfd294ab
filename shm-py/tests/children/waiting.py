"""Waits in one way until it is interrupted: `waiting NAME KIND`."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import shm_py

ONE = np.ones(1, np.uint64)


def _in_write_view(shm: shm_py.SharedMemory) -> None:
    with shm.write_view() as array:
        array[0] = 1


def _lock_many(shm: shm_py.SharedMemory) -> None:
    with shm_py.locked_many([shm]):
        pass


def _with_signals(shm: shm_py.SharedMemory) -> None:
    handled = 0

    def handle(number: int, frame: object) -> None:
        nonlocal handled
        handled += 1

    signal.signal(signal.SIGUSR1, handle)
    found = shm.read_new(timeout=30)
    print(handled, int(found[0]))


def _with_raising_handler(shm: shm_py.SharedMemory) -> None:
    def handle(number: int, frame: object) -> None:
        raise ZeroDivisionError

    signal.signal(signal.SIGUSR1, handle)
    try:
        shm.read_new(timeout=30)
    except ZeroDivisionError as error:
        print(type(error).__name__)


def _held_by_a_thread(shm: shm_py.SharedMemory) -> None:
    """The parent holds the lock, a thread waits for it, and this one waits behind that thread."""

    def wait() -> None:
        with shm.locked():
            pass

    threading.Thread(target=wait).start()
    shm.acquire()


KINDS: dict[str, Callable[[shm_py.SharedMemory], object]] = {
    "read_new": lambda shm: shm.read_new(),
    "read_after": lambda shm: shm.read_after(0),
    "wait_for_count": lambda shm: shm.wait_for_count(after=0),
    "read_new_publication": lambda shm: shm.read_new_publication(),
    "read_after_publication": lambda shm: shm.read_after_publication(0),
    "read_new with a timeout": lambda shm: shm.read_new(timeout=60),
    "read_new_async": lambda shm: _await(shm.read_new_async()),
    "read_after_async": lambda shm: _await(shm.read_after_async(0)),
    "wait_for_count_async": lambda shm: _await(shm.wait_for_count_async(after=0)),
    "acquire": lambda shm: shm.acquire(),
    "acquire with a timeout": lambda shm: shm.acquire(timeout=60),
    "acquire held by a thread": _held_by_a_thread,
    "write": lambda shm: shm.write(ONE),
    "clear": lambda shm: shm.clear(),
    "write_view": _in_write_view,
    "locked_many": _lock_many,
    "open": lambda shm: shm_py.open(shm.name + "-never", timeout=60),
    "read_new with signals": _with_signals,
    "read_new with a raising handler": _with_raising_handler,
}


def _await(wait: Coroutine[Any, Any, object]) -> object:
    async def main() -> object:
        return await wait

    return asyncio.run(main())


def main(name: str, kind: str) -> None:
    shm = shm_py.open(name)
    print("ready")
    assert sys.stdin.readline() == "begin\n"
    print("begun")
    try:
        KINDS[kind](shm)
    except KeyboardInterrupt:
        print("interrupted")
    for line in sys.stdin:
        assert line == "again\n"
        for thread in threading.enumerate():
            if thread is not threading.current_thread():
                thread.join(30)
        assert shm.lock_depth == 0
        if kind != "open":
            shm.write(ONE, timeout=30)
            assert shm.read_after(0, timeout=0)[0] == 1
        print("fine")


if __name__ == "__main__":
    main(*sys.argv[1:])
