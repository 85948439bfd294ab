"""Waiting for a frame, in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import shm_py

PATIENCE = 20.0

Wait = Callable[[shm_py.SharedMemory, Any], Any]

WAITS: dict[str, Wait] = {
    "read_new": lambda shm, timeout: shm.read_new(timeout=timeout),
    "read_after": lambda shm, timeout: shm.read_after(shm.count, timeout=timeout),
    "wait_for_count": lambda shm, timeout: shm.wait_for_count(after=shm.count, timeout=timeout),
    "read_new_publication": lambda shm, timeout: shm.read_new_publication(timeout=timeout),
    "read_after_publication": lambda shm, timeout: shm.read_after_publication(
        shm.count, timeout=timeout
    ),
}


@contextmanager
def waiting(wait: Wait, shm: shm_py.SharedMemory, timeout: float | None = PATIENCE) -> Iterator[Any]:
    """A future of a wait that has begun and has had time to fall asleep."""
    begun = threading.Event()

    def body() -> Any:
        begun.set()
        return wait(shm, timeout)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(body)
        assert begun.wait(PATIENCE)
        time.sleep(0.1)
        assert not future.done()
        try:
            yield future
        finally:
            if not future.done():  # the test has failed: let the thread end
                try:
                    shm_py.unlink(shm.name)
                finally:
                    future.exception(PATIENCE)


@pytest.mark.parametrize("kind", WAITS)
def test_a_wait_ends_with_the_next_frame(shm_name: str, kind: str) -> None:
    with shm_py.create(shm_name, shape=(2,)) as shm, shm_py.open(shm_name, readonly=True) as reader:
        shm.write(np.ones(2, np.float32))
        with waiting(WAITS[kind], reader) as future:
            shm.write(np.full(2, 2, np.float32), frame_id=5)
            found = future.result(PATIENCE)
        if kind == "wait_for_count":
            assert found == 2 and reader.count == 2
        elif kind.endswith("publication"):
            assert (found.count, found.frame_id) == (2, 5)
            np.testing.assert_array_equal(found.payload, [2, 2])
        else:
            np.testing.assert_array_equal(found, [2, 2])
            assert reader.last_read_count == 2


@pytest.mark.parametrize("kind", WAITS)
@pytest.mark.parametrize("timeout", [0, 0.0, 0.05])
def test_a_wait_times_out(shm_name: str, kind: str, timeout: float) -> None:
    with shm_py.create(shm_name, shape=(2,)) as shm:
        shm.write(np.ones(2, np.float32))
        begun = time.monotonic()
        with pytest.raises(TimeoutError, match=shm_name):
            WAITS[kind](shm, timeout)
        assert time.monotonic() - begun >= timeout
        shm.write(np.ones(2, np.float32))
        assert shm.read()[0] == 1, "the handle is as good as before"


def test_read_new_is_edge_triggered(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm, shm_py.open(shm_name) as reader:
        shm.write(np.ones(1, np.float32))
        assert reader.count == 1
        with pytest.raises(TimeoutError):
            reader.read_new(timeout=0.05)
        with pytest.raises(TimeoutError):
            reader.read_new_publication(timeout=0)


def test_read_after_is_level_triggered(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,), dtype="int64") as shm:
        for number in (1, 2, 3):
            shm.write(np.array([number]))
        for after in (0, 1, 2, np.uint64(2)):
            level: Any = after
            assert shm.read_after(level, timeout=0)[0] == 3, "the newest, at once"
            assert shm.wait_for_count(after=level, timeout=0) == 3
            assert shm.read_after_publication(level, timeout=0).count == 3
        for after in (3, 4, 2**63, 2**64 - 1):
            with pytest.raises(TimeoutError):
                shm.read_after(after, timeout=0)
            with pytest.raises(TimeoutError):
                shm.wait_for_count(after=after, timeout=0.01)


@pytest.mark.parametrize("after", [-1, -(2**70), 1.5, "1", None, [1]], ids=str)
def test_counts_that_are_none(shm_name: str, after: Any) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm:
        for call in (
            lambda: shm.read_after(after, timeout=0),
            lambda: shm.read_after_publication(after, timeout=0),
            lambda: shm.wait_for_count(after=after, timeout=0),
        ):
            with pytest.raises(ValueError, match="after"):
                call()


def test_every_frame_of_a_patient_writer_is_seen(shm_name: str) -> None:
    frames = 300
    with shm_py.create(shm_name, shape=(64,), dtype="int64") as shm:
        seen: list[int] = []
        ready = threading.Semaphore(0)

        def follow() -> None:
            with shm_py.open(shm_name, readonly=True) as reader:
                ready.release()
                while len(seen) < frames:
                    found = reader.read_after_publication(len(seen), timeout=PATIENCE)
                    assert (found.payload == found.count).all()
                    assert found.missed_publications == 0
                    seen.append(found.count)
                    ready.release()

        thread = threading.Thread(target=follow)
        thread.start()
        for number in range(1, frames + 1):
            assert ready.acquire(timeout=PATIENCE)
            shm.write(np.full(64, number))
        thread.join(PATIENCE)
    assert seen == list(range(1, frames + 1))


@pytest.mark.parametrize("kind", WAITS)
def test_close_ends_a_wait(shm_name: str, kind: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as writer:
        reader = shm_py.open(shm_name)
        with waiting(WAITS[kind], reader, None) as future:
            reader.close()
            error = future.exception(PATIENCE)
        assert type(error) is RuntimeError
        assert "closed while a read was waiting" in str(error)
        assert reader.closed
        writer.write(np.ones(1, np.float32))
        assert writer.read()[0] == 1


def test_close_ends_many_waits_of_one_handle(shm_name: str) -> None:
    shm = shm_py.create(shm_name, shape=(1,))
    with ThreadPoolExecutor(10) as pool:
        futures = [pool.submit(wait, shm, None) for wait in list(WAITS.values()) * 2]
        time.sleep(0.2)
        assert not any(future.done() for future in futures)
        shm.close()
        errors = [future.exception(PATIENCE) for future in futures]
    assert all("closed while a read was waiting" in str(error) for error in errors)
    assert [type(error) for error in errors] == [RuntimeError] * 10


def test_other_handles_wait_on(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as writer, shm_py.open(shm_name) as other:
        with waiting(WAITS["read_new"], other) as future:
            shm_py.open(shm_name).close()
            time.sleep(0.05)
            assert not future.done()
            writer.write(np.full(1, 3, np.float32))
            assert future.result(PATIENCE)[0] == 3


def test_one_handle_serves_many_waiting_threads(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,), dtype="int64") as shm:
        with ThreadPoolExecutor(16) as pool:
            for number in range(1, 20):
                futures = [
                    pool.submit(shm.read_after, number - 1, timeout=PATIENCE) for _ in range(16)
                ]
                shm.write(np.array([number]))
                assert [future.result(PATIENCE)[0] for future in futures] == [number] * 16


@pytest.mark.parametrize("kind", WAITS)
def test_others_run_while_one_waits(shm_name: str, kind: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm:
        with waiting(WAITS[kind], shm) as future:
            turns = 0
            end = time.monotonic() + 0.2
            while time.monotonic() < end:
                turns += 1
            assert turns > 1000 and not future.done()
            shm.write(np.ones(1, np.float32))
            future.result(PATIENCE)


@pytest.mark.parametrize("kind", WAITS)
def test_a_waiting_thread_costs_no_processor_time(shm_name: str, kind: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm:
        with waiting(WAITS[kind], shm) as future:
            begun = time.process_time()
            time.sleep(1.0)
            used = time.process_time() - begun
            shm.write(np.ones(1, np.float32))
            future.result(PATIENCE)
    print(f"{kind}: {used * 1000:.1f} ms of processor time in 1 s")
    assert used < 0.2, "it polls"


def test_a_wait_for_the_lock_lets_others_run(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm:
        shm.acquire()
        with waiting(_lock_and_unlock, shm) as future:
            begun = time.process_time()
            time.sleep(0.5)
            assert time.process_time() - begun < 0.2, "it polls"
            assert not future.done()
            shm.release()
            future.result(PATIENCE)


def _lock_and_unlock(shm: shm_py.SharedMemory, timeout: float | None) -> None:
    with shm.locked(timeout=timeout):
        pass


def test_out_of_a_wait_that_times_out_is_whole(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1000,), dtype="int64") as shm:
        out = np.full(1000, -1)
        with pytest.raises(TimeoutError):
            shm.read_new(timeout=0.02, out=out)
        assert (out == -1).all()
        with waiting(lambda shm, timeout: shm.read_new(timeout=timeout, out=out), shm) as future:
            shm.write(np.full(1000, 6))
            assert future.result(PATIENCE) is out
        assert (out == 6).all()


def test_poll_intervals_are_accepted(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm:
        shm.write(np.ones(1, np.float32))
        assert shm.read(poll_interval=1e-3)[0] == 1
        assert shm.read_after(0, timeout=1, poll_interval=1e-3)[0] == 1
        assert shm.wait_for_count(after=0, timeout=1, poll_interval=0.5) == 1
        shm.acquire(timeout=1, poll_interval=0.5)
        shm.release()
