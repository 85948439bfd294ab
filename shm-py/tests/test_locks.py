"""One lock per stream, for all threads and processes, freed by death."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import shm_py
from conftest import StartChild

PATIENCE = 20.0
ONE = np.ones(1, np.float32)


@contextmanager
def held_by_another_thread(shm: shm_py.SharedMemory) -> Iterator[threading.Thread]:
    """Another thread holds the lock for the length of the block."""
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with shm.locked(timeout=PATIENCE):
            taken.set()
            done.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(PATIENCE)
    try:
        yield thread
    finally:
        done.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_the_lock_is_reentrant(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm:
        assert shm.lock_depth == 0
        for depth in range(1, 6):
            shm.acquire(timeout=0)
            assert shm.lock_depth == depth
        with shm.locked(timeout=0) as inside:
            assert inside is shm and shm.lock_depth == 6
            shm.write(ONE)
            with shm.write_view() as array:
                array[0] = 2
            shm.clear()
            assert shm.count == 3
        for depth in range(4, -1, -1):
            assert shm_py.stat(shm_name)["writer_locked"] is True
            shm.release()
            assert shm.lock_depth == depth
        assert shm_py.stat(shm_name)["writer_locked"] is False


def test_release_without_acquire(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm:
        with pytest.raises(RuntimeError, match="unlocked"):
            shm.release()
        with shm.locked():
            pass
        with pytest.raises(RuntimeError, match="unlocked"):
            shm.release()
        shm.acquire(timeout=0)
        shm.release()


def test_all_handles_of_a_process_share_the_lock(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as first, shm_py.open(shm_name) as second:
        first.acquire(timeout=0)
        second.acquire(timeout=0)
        assert first.lock_depth == second.lock_depth == 2
        second.write_locked(ONE)
        second.release()
        first.release()
        assert first.lock_depth == second.lock_depth == 0
        with held_by_another_thread(first):
            for handle in (first, second):
                assert handle.lock_depth == 0
                with pytest.raises(TimeoutError):
                    handle.acquire(timeout=0.02)


def test_another_thread_waits(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm:
        with held_by_another_thread(shm):
            for timeout in (0, 0.05):
                begun = time.monotonic()
                for call in (
                    lambda: shm.acquire(timeout=timeout),
                    lambda: shm.locked(timeout=timeout).__enter__(),
                    lambda: shm.write(ONE, timeout=timeout),
                    lambda: shm.write_view(timeout=timeout).__enter__(),
                    lambda: shm.clear(timeout=timeout),
                ):
                    with pytest.raises(TimeoutError, match=shm_name):
                        call()
                assert time.monotonic() - begun >= 5 * timeout
            with pytest.raises(RuntimeError, match="another thread"):
                shm.release()
            with pytest.raises(RuntimeError, match="lock"):
                shm.write_locked(ONE)
            with pytest.raises(RuntimeError, match="safe=False requires"):
                shm.read(safe=False)
            assert shm.read(timeout=0)[0] == 0, "reads do not wait"
            assert (shm.count, shm.lock_depth) == (0, 0)
        shm.write(ONE, timeout=PATIENCE)
        assert shm.count == 1


def test_a_waiting_thread_gets_the_lock(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm, ThreadPoolExecutor(4) as pool:
        shm.acquire()
        futures = [pool.submit(shm.write, ONE, timeout=PATIENCE) for _ in range(4)]
        time.sleep(0.1)
        assert not any(future.done() for future in futures)
        shm.release()
        for future in futures:
            future.result(PATIENCE)
        assert shm.count == 4


def test_threads_exclude_each_other(shm_name: str) -> None:
    threads, rounds = 6, 200
    with shm_py.create(shm_name, shape=(1,), dtype="int64") as shm:

        def add() -> None:
            with shm_py.open(shm_name) as mine:
                for _ in range(rounds):
                    with mine.locked(timeout=PATIENCE):
                        value = mine.read(safe=False)[0]
                        time.sleep(0)
                        mine.write_locked(np.array([value + 1]))

        with ThreadPoolExecutor(threads) as pool:
            for future in [pool.submit(add) for _ in range(threads)]:
                future.result(60)
        assert shm.count == threads * rounds
        assert shm.read()[0] == threads * rounds, "no update was lost"


def test_a_timeout_names_the_holder(shm_name: str, start: StartChild) -> None:
    with shm_py.create(shm_name, shape=(1,), dtype="uint64") as shm:
        child = start("peer", shm_name)
        assert child.ask("acquire") == "acquired"
        for call in (
            lambda: shm.acquire(timeout=0.05),
            lambda: shm.write(ONE, casting="unsafe", timeout=0),
            lambda: shm_py.locked_many([shm], timeout=0.05).__enter__(),
        ):
            with pytest.raises(TimeoutError) as error:
                call()
            assert str(child.pid) in str(error.value) and shm_name in str(error.value)
        with pytest.raises(RuntimeError):
            shm.release()
        assert child.ask("release") == "released"
        shm.acquire(timeout=0)
        assert child.ask("acquire 0.05").startswith("TimeoutError")
        shm.release()
        assert child.ask("acquire 0") == "acquired"
        child.finish()


def test_the_holders_death_frees_the_lock(shm_name: str, start: StartChild) -> None:
    with shm_py.create(shm_name, shape=(1,), dtype="uint64") as shm:
        for _ in range(5):
            child = start("peer", shm_name)
            assert child.ask("acquire") == "acquired"
            with pytest.raises(TimeoutError):
                shm.acquire(timeout=0)
            child.kill()
            shm.acquire(timeout=0)
            shm.release()


def test_the_holders_death_wakes_who_waits(shm_name: str, start: StartChild) -> None:
    with shm_py.create(shm_name, shape=(1,), dtype="uint64") as shm, ThreadPoolExecutor(1) as pool:
        child = start("peer", shm_name)
        waiter = start("peer", shm_name)
        assert child.ask("acquire") == "acquired"
        waiter.say("acquire 30")
        future = pool.submit(shm.write, np.array([7], np.uint64), timeout=PATIENCE)
        time.sleep(0.2)
        assert not future.done()
        child.kill()
        assert waiter.hear() == "acquired"
        assert waiter.ask("release") == "released"
        future.result(PATIENCE)
        assert shm.count == 1


def test_a_holder_that_exits_frees_the_lock(shm_name: str, start: StartChild) -> None:
    with shm_py.create(shm_name, shape=(1,), dtype="uint64") as shm:
        child = start("peer", shm_name)
        assert child.ask("acquire") == "acquired"
        child.finish()
        shm.acquire(timeout=0)
        shm.release()


def test_close_gives_back_what_this_thread_holds(shm_name: str, start: StartChild) -> None:
    with shm_py.create(shm_name, shape=(1,), dtype="uint64") as other:
        shm = shm_py.open(shm_name)
        shm.acquire()
        shm.acquire()
        shm.close()
        assert other.lock_depth == 0
        assert start("peer", shm_name).ask("acquire 0") == "acquired"


def test_close_leaves_what_another_handle_holds(shm_name: str, start: StartChild) -> None:
    with shm_py.create(shm_name, shape=(1,), dtype="uint64") as other:
        child = start("peer", shm_name)
        with other.locked():
            shm_py.open(shm_name).close()
            assert other.lock_depth == 1
            assert child.ask("acquire 0").startswith("TimeoutError")
            other.write_locked(np.ones(1, np.uint64))
        assert child.ask("acquire 0") == "acquired"


def test_close_does_not_rob_another_thread(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm:
        with held_by_another_thread(shm):
            with pytest.raises(RuntimeError, match="another thread owns its lock"):
                shm.close(timeout=0.05)
            assert not shm.closed
            assert shm.read()[0] == 0
            # Through another handle nothing is in the way.
            shm_py.open(shm_name).close()
        shm.write(ONE)
    assert shm.closed


def test_locked_frees_the_lock_after_an_exception(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm:
        with pytest.raises(KeyError):
            with shm.locked():
                raise KeyError
        assert shm.lock_depth == 0
        with held_by_another_thread(shm):
            pass


def test_a_frame_does_not_wait_for_the_writers_lock(shm_name: str, start: StartChild) -> None:
    with shm_py.create(shm_name, shape=(1,), dtype="uint64") as shm:
        shm.write(np.array([3], np.uint64), frame_id=3)
        child = start("peer", shm_name)
        assert child.ask("acquire") == "acquired"
        shm_py.open(shm_name).close()
        assert shm.read(timeout=0)[0] == 3
        assert [frame.frame_id for frame in shm.history()] == [3]
        with pytest.raises(FileExistsError):
            shm_py.create(shm_name, shape=(1,))
        shm_py.unlink(shm_name)  # nor does this
        assert child.ask("stale") == "True"


class Duck:
    """Something else that has a name and can be locked."""

    def __init__(self, name: str, order: list[str], fail: bool = False) -> None:
        self.name = name
        self._order = order
        self._fail = fail

    @contextmanager
    def locked(self, *, timeout: float | None = None, poll_interval: float = 0.001) -> Iterator[Any]:
        if self._fail:
            raise TimeoutError(self.name)
        self._order.append(f"+{self.name}")
        yield self
        self._order.append(f"-{self.name}")


def test_locked_many_takes_all_in_one_order(shm_name: str) -> None:
    streams = [shm_py.create(f"{shm_name}-{letter}", shape=(1,)) for letter in "cab"]
    with shm_py.locked_many(streams, timeout=1.0) as locked:
        assert isinstance(locked, tuple) and list(locked) == streams
        assert [shm.lock_depth for shm in streams] == [1, 1, 1]
        for shm in locked:
            shm.write_locked(ONE)
        with shm_py.locked_many(streams[:2]):
            assert [shm.lock_depth for shm in streams] == [2, 2, 1]
    assert [shm.lock_depth for shm in streams] == [0, 0, 0]
    assert [shm.count for shm in streams] == [1, 1, 1]
    with shm_py.locked_many([]) as locked:
        assert locked == ()
    with pytest.raises(KeyError):
        with shm_py.locked_many(streams):
            raise KeyError
    assert [shm.lock_depth for shm in streams] == [0, 0, 0]
    for shm in streams:
        shm.close()


def test_locked_many_refuses_the_same_stream_twice(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as first, shm_py.open(shm_name) as second:
        with pytest.raises(ValueError, match="unique"):
            with shm_py.locked_many([first, second]):
                raise AssertionError
        assert first.lock_depth == 0
        with pytest.raises(ValueError, match="timeout"):
            with shm_py.locked_many([first], timeout=-1):
                raise AssertionError


def test_locked_many_unwinds(shm_name: str, start: StartChild) -> None:
    streams = [shm_py.create(f"{shm_name}-{letter}", shape=(1,), dtype="u8") for letter in "abc"]
    child = start("peer", f"{shm_name}-b")
    assert child.ask("acquire") == "acquired"
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match=f"{shm_name}-b"):
        with shm_py.locked_many(streams, timeout=0.1):
            raise AssertionError
    assert time.monotonic() - begun >= 0.1
    assert [shm.lock_depth for shm in streams] == [0, 0, 0]
    assert child.ask("release") == "released"
    with shm_py.locked_many(streams, timeout=0.0):
        pass
    streams[1].close()
    with pytest.raises(RuntimeError, match="closed"):
        with shm_py.locked_many(streams, timeout=0.0):
            raise AssertionError
    assert streams[0].lock_depth == streams[2].lock_depth == 0
    streams[0].close()
    streams[2].close()


def test_locked_many_takes_what_quacks(shm_name: str) -> None:
    order: list[str] = []
    ducks: list[Any] = [Duck("z-last", order), Duck("0-first", order)]
    with shm_py.create(shm_name, shape=(1,)) as shm:
        mixed: list[Any] = [ducks[0], shm, ducks[1]]
        with shm_py.locked_many(mixed, timeout=1.0) as locked:
            assert list(locked) == mixed
            assert order == ["+0-first", "+z-last"] and shm.lock_depth == 1
        assert order == ["+0-first", "+z-last", "-z-last", "-0-first"]
        assert shm.lock_depth == 0
        failing: Any = Duck("z-last", order, fail=True)
        with pytest.raises(TimeoutError, match="z-last"):
            with shm_py.locked_many([failing, shm]):
                raise AssertionError
        assert shm.lock_depth == 0


def test_locked_many_does_not_deadlock(shm_name: str) -> None:
    streams = [shm_py.create(f"{shm_name}-{index}", shape=(1,), dtype="i8") for index in range(4)]
    rng = np.random.default_rng(6)
    orders = [rng.permutation(4) for _ in range(4)]

    def work(order: Any) -> None:
        for _ in range(100):
            with shm_py.locked_many([streams[index] for index in order], timeout=PATIENCE) as locked:
                for shm in locked:
                    shm.write_locked(shm.read(safe=False) + 1)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(work, order) for order in orders]:
            future.result(60)
    assert [int(shm.read()[0]) for shm in streams] == [400] * 4
    for shm in streams:
        shm.close()
