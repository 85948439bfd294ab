"""A process that forks with handles in its hands: `forking NAME SCENARIO`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable

import numpy as np
import shm_py


def forked(body: Callable[[], None]) -> int:
    """Runs `body` in a child; its pid. Anything that goes wrong there is its exit code 1."""
    pid = os.fork()
    if pid:
        return pid
    try:
        body()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def ended(pid: int) -> None:
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with {status}"


def frame(number: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.full(50_000, number, np.int64)


def reads_and_writes(shm: shm_py.SharedMemory) -> None:
    shm.write(frame(1), frame_id=1)
    view = shm.view()
    reader = shm_py.open(shm.name, readonly=True)

    def child() -> None:
        assert (shm.read() == 1).all() and (view.array == 1).all() and (reader.read() == 1).all()
        assert view.valid
        shm.write(frame(2), frame_id=2)
        with shm.write_view(frame_id=3) as array:
            array[...] = 3
        assert (reader.read() == 3).all()

    ended(forked(child))
    assert (shm.count, shm.frame_id) == (3, 3)
    assert (shm.read() == 3).all() and (reader.read() == 3).all()
    shm.write(frame(4))
    assert shm.count == 4
    reader.close()


def lock(shm: shm_py.SharedMemory) -> None:
    shm.acquire()
    shm.acquire()
    parent = os.getpid()
    inside, outside = os.pipe()

    def child() -> None:
        os.close(outside)  # so that its parent's end ends it
        assert shm.lock_depth == 0, "not inherited"
        attempts: list[Callable[[], None]] = [
            lambda: shm.acquire(timeout=0.05),
            lambda: shm.write(frame(1), timeout=0),
        ]
        for attempt in attempts:
            try:
                attempt()
            except TimeoutError as error:
                assert str(parent) in str(error), error
            else:
                raise AssertionError("taken from its parent")
        for refused in (shm.release, lambda: shm.write_locked(frame(1))):
            try:
                refused()
            except RuntimeError:
                pass
            else:
                raise AssertionError("used its parent's lock")
        assert os.read(inside, 1) == b"x"
        with shm.locked(timeout=30):
            assert shm.lock_depth == 1
            shm.write_locked(frame(5))

    pid = forked(child)
    time.sleep(0.3)
    assert shm.lock_depth == 2 and shm.count == 0
    shm.write_locked(frame(1))
    shm.release()
    os.write(outside, b"x")
    time.sleep(0.1)
    assert shm.count == 1, "one level is still held"
    shm.release()
    ended(pid)
    assert shm.count == 2 and (shm.read() == 5).all()
    shm.write(frame(6), timeout=0)
    os.close(inside)
    os.close(outside)


def write_view(shm: shm_py.SharedMemory) -> None:
    shm.write(frame(1))
    manager = shm.write_view(frame_id=7)
    array = manager.__enter__()
    array[...] = 2

    def child() -> None:
        try:
            manager.__exit__(None, None, None)
        except RuntimeError:
            pass
        assert shm.count == 1, "it publishes nothing of its parent's"

    ended(forked(child))
    assert shm_py.stat(shm.name)["writer_locked"] is True and shm.count == 1
    assert array.flags.writeable
    array[...] = 3
    manager.__exit__(None, None, None)
    assert (shm.count, shm.frame_id) == (2, 7) and (shm.read() == 3).all()


def waits(shm: shm_py.SharedMemory) -> None:
    def child() -> None:
        assert (shm.read_after(0, timeout=30) == 9).all()
        shm.write(frame(10))
        assert shm.wait_for_count(after=2, timeout=30) == 3

    pid = forked(child)
    time.sleep(0.2)
    shm.write(frame(9))
    assert (shm.read_after(1, timeout=30) == 10).all()
    shm.write(frame(11))
    ended(pid)


def asynchronous(shm: shm_py.SharedMemory) -> None:
    async def wait(after: int) -> int:
        found = await shm.read_after_publication_async(after, timeout=30)
        assert (found.payload == found.count).all()
        return found.count

    async def parents() -> None:
        task = asyncio.create_task(wait(0))
        await asyncio.sleep(0.1)
        shm.write(frame(1))
        assert await task == 1

    # Whatever the parent runs for its waits, the child has to start again.
    asyncio.run(parents())

    def child() -> None:
        assert asyncio.run(wait(1)) == 2
        shm.write(frame(3))

    pid = forked(child)
    time.sleep(0.2)
    shm.write(frame(2))
    assert asyncio.run(wait(2)) == 3
    ended(pid)


def handles(shm: shm_py.SharedMemory) -> None:
    """What the child closes or removes is its own business, or everybody's."""
    other = shm_py.open(shm.name)

    def closing() -> None:
        shm.close()
        other.write(frame(1))
        other.close()
        with shm_py.open(shm.name) as third:
            assert (third.read() == 1).all()

    ended(forked(closing))
    assert not shm.closed and (shm.read() == 1).all()
    assert shm_py.gc(shm.name) == [], "its parent is still attached"
    shm.acquire(timeout=0)
    ended(forked(lambda: shm.close()))
    assert shm.lock_depth == 1 and shm_py.stat(shm.name)["writer_locked"] is True
    shm.release()
    holders = [holder["pid"] for holder in shm_py.stat(shm.name)["holders"]]
    assert set(holders) == {os.getpid()}
    other.close()


def grandchild(shm: shm_py.SharedMemory) -> None:
    def child() -> None:
        with shm.locked(timeout=30):
            shm.write_locked(frame(1))

            def grand() -> None:
                assert shm.lock_depth == 0
                try:
                    shm.acquire(timeout=0.02)
                except TimeoutError:
                    pass
                else:
                    raise AssertionError("taken from its parent")
                assert (shm.read() == 1).all()

            ended(forked(grand))
            assert shm.lock_depth == 1

    ended(forked(child))
    assert shm.count == 1
    shm.write(frame(2), timeout=0)


def killed_parent(shm: shm_py.SharedMemory) -> None:
    """A dead process's lock does not live on in its child."""
    inside, outside = os.pipe()

    def parent() -> None:
        shm.acquire()
        shm.write(frame(1))

        def child() -> None:
            os.write(outside, b"%d " % os.getpid())
            time.sleep(60)

        forked(child)
        time.sleep(60)

    pid = forked(parent)
    child = int(os.read(inside, 20))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    try:
        shm.write(frame(2), timeout=0)
        assert shm.count == 2
    finally:
        os.kill(child, signal.SIGKILL)
        os.close(inside)
        os.close(outside)
    while os.path.exists(f"/proc/{child}") and open(f"/proc/{child}/stat").read().split()[2] != "Z":
        time.sleep(0.01)


SCENARIOS = {
    "reads and writes": reads_and_writes,
    "lock": lock,
    "write view": write_view,
    "waits": waits,
    "async": asynchronous,
    "handles": handles,
    "grandchild": grandchild,
    "killed parent": killed_parent,
}


def main(name: str, scenario: str) -> None:
    with shm_py.create(name, shape=(50_000,), dtype="int64") as shm:
        SCENARIOS[scenario](shm)
    print("fine")


if __name__ == "__main__":
    # Python 3.12 warns of any fork beside threads.
    warnings.simplefilter("ignore", DeprecationWarning)
    main(*sys.argv[1:])
