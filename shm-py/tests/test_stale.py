"""A name that was taken away or given to another stream: everybody is told, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shm_py
from conftest import StartChild

PATIENCE = 20.0
Shm = shm_py.SharedMemory


def removed(name: str) -> None:
    shm_py.unlink(name)


def recreated(name: str) -> None:
    shm_py.unlink(name)
    shm_py.create(name, shape=(2,)).close()


def replaced(name: str) -> None:
    shm_py.create(name, shape=(2,), replace_existing=True).close()


def reshaped(name: str) -> None:
    shm_py.create(name, shape=(7, 7), dtype="int8", replace_existing=True).close()


WAYS: dict[str, Callable[[str], None]] = {
    "removed": removed,
    "recreated": recreated,
    "replaced": replaced,
    "reshaped": reshaped,
}
ways = pytest.mark.parametrize("way", WAYS)


@ways
def test_the_last_frame_is_still_read_once(shm_name: str, way: str) -> None:
    with shm_py.create(shm_name, shape=(2,)) as writer, shm_py.open(shm_name) as reader:
        writer.write(np.array([1, 2], np.float32), frame_id=4)
        assert (writer.stale, reader.stale) == (False, False)
        WAYS[way](shm_name)
        assert (writer.stale, reader.stale) == (True, True)
        found = reader.read_publication()
        assert (found.count, found.frame_id, found.payload.tolist()) == (1, 4, [1, 2])
        reads: list[Callable[[], object]] = [
            lambda: reader.read(),
            lambda: reader.read_publication(),
            lambda: reader.read_new(timeout=PATIENCE),
            lambda: reader.read_after(1, timeout=PATIENCE),
            lambda: reader.wait_for_count(after=1, timeout=PATIENCE),
        ]
        for read in reads:
            with pytest.raises(shm_py.StaleStreamError, match=shm_name):
                read()
        assert (reader.count, reader.frame_id, reader.last_read_count) == (1, 4, 1)
        assert reader.shape == (2,) and not reader.closed


@ways
def test_waits_for_an_unseen_frame_find_it(shm_name: str, way: str) -> None:
    with shm_py.create(shm_name, shape=(2,)) as writer, shm_py.open(shm_name) as reader:
        writer.write(np.ones(2, np.float32))
        WAYS[way](shm_name)
        assert reader.wait_for_count(after=0, timeout=PATIENCE) == 1
        assert reader.read_after(0, timeout=PATIENCE)[0] == 1
        with pytest.raises(shm_py.StaleStreamError):
            reader.read_after(1, timeout=PATIENCE)


@ways
def test_writes_are_refused(shm_name: str, way: str) -> None:
    with shm_py.create(shm_name, shape=(2,)) as shm:
        shm.write(np.ones(2, np.float32))
        WAYS[way](shm_name)
        writes: list[Callable[[], object]] = [
            lambda: shm.write(np.zeros(2, np.float32)),
            lambda: shm.clear(),
            lambda: shm.write_view().__enter__(),
        ]
        for write in writes:
            with pytest.raises(shm_py.StaleStreamError, match=shm_name):
                write()
        assert (shm.count, shm.lock_depth) == (1, 0)
        if way != "removed":
            with shm_py.open(shm_name) as new:
                assert new.count == 0 and not new.read().any()
                new.write(np.ones(new.shape, new.dtype))
                assert new.count == 1


@ways
def test_writes_in_the_middle_are_refused(shm_name: str, way: str) -> None:
    with shm_py.create(shm_name, shape=(2,)) as shm:
        with shm.locked():
            WAYS[way](shm_name)
            with pytest.raises(shm_py.StaleStreamError):
                shm.write_locked(np.zeros(2, np.float32))
            assert shm.lock_depth == 1
        assert shm.lock_depth == 0
    with shm_py.create(shm_name, shape=(2,), replace_existing=True) as shm:
        with pytest.raises(shm_py.StaleStreamError):
            with shm.write_view() as array:
                array[...] = 1
                WAYS[way](shm_name)
        assert (shm.count, shm.lock_depth) == (0, 0)
        assert not array.flags.writeable


@ways
def test_a_stale_handle_removes_nothing_of_its_successors(shm_name: str, way: str) -> None:
    old = shm_py.create(shm_name, shape=(2,))
    instance = old.instance_id
    WAYS[way](shm_name)
    if way == "removed":
        old.unlink()
        assert old.closed
        return
    for method in (old.unlink, old.delete):
        with pytest.raises(shm_py.StaleStreamError, match="newer generation"):
            method()
    assert shm_py.list_streams(shm_name) == [shm_name]
    with shm_py.open(shm_name) as new:
        assert not new.stale
        assert new.instance_id != instance and new.count == 0
    old.close()


def test_generations_do_not_mix(shm_name: str) -> None:
    handles: list[Shm] = []
    for number in range(1, 6):
        shm = shm_py.create(shm_name, shape=(number,), dtype="int64", replace_existing=True)
        shm.write(np.full(number, number), frame_id=number)
        handles.append(shm)
    assert len({shm.instance_id for shm in handles}) == 5
    assert [shm.stale for shm in handles] == [True] * 4 + [False]
    for number, shm in enumerate(handles, 1):
        found = shm.read_publication()
        assert (found.frame_id, found.payload.tolist()) == (number, [number] * number)
        shm.close()


WAITS: dict[str, Callable[[Shm], Any]] = {
    "read_new": lambda shm: shm.read_new(timeout=PATIENCE),
    "read_after": lambda shm: shm.read_after(shm.count, timeout=PATIENCE),
    "wait_for_count": lambda shm: shm.wait_for_count(after=shm.count),
    "read_new_publication": lambda shm: shm.read_new_publication(),
    "read_after_publication": lambda shm: shm.read_after_publication(shm.count),
}


@ways
@pytest.mark.parametrize("wait", WAITS)
def test_blocked_readers_are_woken(shm_name: str, wait: str, way: str) -> None:
    with shm_py.create(shm_name, shape=(2,)) as shm, ThreadPoolExecutor(3) as pool:
        shm.write(np.ones(2, np.float32))
        readers = [shm, *(shm_py.open(shm_name, readonly=readonly) for readonly in (True, False))]
        futures = [pool.submit(WAITS[wait], reader) for reader in readers]
        time.sleep(0.1)
        assert not any(future.done() for future in futures)
        WAYS[way](shm_name)
        for future in futures:
            assert type(future.exception(PATIENCE)) is shm_py.StaleStreamError
        for reader in readers:
            reader.close()


@ways
def test_blocked_writers_are_woken(shm_name: str, start: StartChild, way: str) -> None:
    with shm_py.create(shm_name, shape=(2,), dtype="uint64") as shm:
        holder = start("peer", shm_name)
        waiter = start("peer", shm_name)
        assert holder.ask("acquire") == "acquired"
        waiter.say("write 1 60")
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(shm.write, np.zeros(2, np.uint64), timeout=60)
            time.sleep(0.1)
            assert not future.done()
            WAYS[way](shm_name)
            assert type(future.exception(PATIENCE)) is shm_py.StaleStreamError
        assert waiter.hear().startswith("StaleStreamError")
        assert holder.ask("stale") == "True"
        assert holder.ask("write 1").startswith("StaleStreamError")
        assert holder.ask("release") == "released"


@ways
def test_readers_in_other_processes_are_woken(shm_name: str, start: StartChild, way: str) -> None:
    shm_py.create(shm_name, shape=(2,), dtype="uint64").close()
    readers = [start("peer", shm_name) for _ in range(3)]
    for reader in readers:
        reader.say("follow 0 60")
    time.sleep(0.1)
    WAYS[way](shm_name)
    for reader in readers:
        assert reader.hear().startswith("StaleStreamError")
        assert reader.ask("stale") == "True"
        reader.finish()


def test_a_file_taken_away_by_hand(shm_name: str) -> None:
    """Whoever clears /dev/shm with `rm` does not leave the others with a ghost."""
    with shm_py.create(shm_name, shape=(2,)) as shm:
        shm.write(np.ones(2, np.float32))
        Path(shm_py.stat(shm_name)["path"]).unlink()
        np.testing.assert_array_equal(shm.read(), [1, 1])
        with shm_py.create(shm_name, shape=(3,)) as new:
            new.write(np.full(3, 3, np.float32))
            np.testing.assert_array_equal(new.read(), [3, 3, 3])
            np.testing.assert_array_equal(shm.view().array, [1, 1])
