"""The newest complete frame, and what is known about it."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import shm_py


def test_a_read_is_the_callers_own(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(3, 2)) as shm:
        shm.write(np.ones((3, 2), np.float32))
        first, second = shm.read(), shm.read()
        for array in (first, second):
            assert type(array) is np.ndarray
            assert array.flags.c_contiguous and array.flags.writeable and array.flags.aligned
            assert array.flags.owndata or array.base is not None
        first[...] = 5
        np.testing.assert_array_equal(second, np.ones((3, 2)))
        np.testing.assert_array_equal(shm.read(), np.ones((3, 2)))
        shm.write(np.full((3, 2), 2, np.float32))
        np.testing.assert_array_equal(second, np.ones((3, 2)), "not a view")


def test_out(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(2, 3)) as shm:
        frame = np.arange(6, dtype=np.float32).reshape(2, 3)
        shm.write(frame)
        out = np.full((2, 3), -1, np.float32)
        assert shm.read(out=out) is out
        np.testing.assert_array_equal(out, frame)
        reads: list[Callable[[], Any]] = [
            lambda: shm.read_after(0, timeout=1, out=out),
            lambda: shm.read_publication(out=out).payload,
            lambda: shm.read_after_publication(0, timeout=1, out=out).payload,
        ]
        for read in reads:
            out[...] = -1
            assert read() is out
            np.testing.assert_array_equal(out, frame)
        wide = np.zeros((4, 3), np.float32)
        assert shm.read(out=wide[1:3]).base is wide
        np.testing.assert_array_equal(wide[1:3], frame)
        assert not wide[0].any() and not wide[3].any()


def _bad_outs() -> dict[str, Any]:
    frozen = np.zeros((2, 3), np.float32)
    frozen.flags.writeable = False
    return {
        "shape": np.zeros((3,), np.float32),
        "wider": np.zeros((2, 2, 3), np.float32),
        "transposed shape": np.zeros((3, 2), np.float32),
        "dtype": np.zeros((2, 3), np.float64),
        "kind": np.zeros((2, 3), np.int32),
        "byte order": np.zeros((2, 3), ">f4"),
        "fortran": np.zeros((2, 3), np.float32, order="F"),
        "strided": np.zeros((4, 3), np.float32)[::2],
        "reversed": np.zeros((2, 3), np.float32)[::-1],
        "read-only": frozen,
    }


@pytest.mark.parametrize("what", _bad_outs())
def test_out_that_does_not_fit(shm_name: str, what: str) -> None:
    out = _bad_outs()[what]
    with shm_py.create(shm_name, shape=(2, 3)) as shm:
        shm.write(np.ones((2, 3), np.float32))
        for read in (
            lambda: shm.read(out=out),
            lambda: shm.read_after(0, timeout=1, out=out),
            lambda: shm.read_publication(out=out),
            lambda: shm.read_new(timeout=0, out=out),
        ):
            with pytest.raises(ValueError, match="out"):
                read()
        assert not np.asarray(out).any(), "left alone"
        assert shm.last_read_count == 0


@pytest.mark.parametrize("out", [[0.0] * 3, bytearray(12), 3, "x"], ids=str)
def test_out_that_is_no_array(shm_name: str, out: Any) -> None:
    with shm_py.create(shm_name, shape=(3,)) as shm:
        with pytest.raises(TypeError, match="out"):
            shm.read(out=out)


def test_unsafe_reads_need_the_lock_and_show_the_frame_in_place(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(4,), dtype="int64") as shm:
        shm.write(np.arange(4))
        for read in (shm.read, shm.read_publication):
            with pytest.raises(RuntimeError, match="safe=False requires"):
                read(safe=False)
        with shm.locked():
            live = shm.read(safe=False)
            np.testing.assert_array_equal(live, np.arange(4))
            assert not live.flags.writeable and not live.flags.owndata
            with pytest.raises(ValueError, match="read-only"):
                live[0] = 3
            shm.write_locked(np.full(4, 8))
            np.testing.assert_array_equal(shm.read(safe=False), np.full(4, 8))
            again = shm.read(safe=False)
            assert np.shares_memory(again, shm.read(safe=False)), "no copy"


def test_frame_ids_persist(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm, shm_py.open(shm_name) as reader:
        one = np.ones(1, np.float32)
        assert reader.frame_id == 0
        shm.write(one)
        assert reader.frame_id == 0
        shm.write(one, frame_id=2**64 - 1)
        assert reader.frame_id == 2**64 - 1
        shm.write(one)
        assert reader.read_publication().frame_id == 2**64 - 1, "kept"
        index: Any = np.uint64(7)
        shm.write(one, frame_id=index)
        assert reader.frame_id == 7
        with shm.locked():
            shm.write_locked(one, frame_id=8)
        assert reader.frame_id == 8
        with shm.write_view(frame_id=9) as array:
            array[0] = 1
        assert reader.frame_id == 9
        with shm.locked(), shm.write_view_locked() as array:
            array[0] = 2
        assert reader.frame_id == 9
        shm.clear()
        assert reader.frame_id == 9
        shm.write(one, frame_id=0)
        assert (reader.frame_id, shm.count) == (0, 9)


BAD_IDS: list[tuple[Any, type[Exception]]] = [
    (-1, OverflowError),
    (2**64, OverflowError),
    (2**200, OverflowError),
    ("7", TypeError),
    (1.5, TypeError),
    (b"7", TypeError),
    ([1], TypeError),
]


@pytest.mark.parametrize("field", ["frame_id", "acquired_ns"])
@pytest.mark.parametrize(("value", "error"), BAD_IDS, ids=str)
def test_bad_tags_write_nothing(
    shm_name: str, field: str, value: Any, error: type[Exception]
) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm:
        shm.write(np.ones(1, np.float32), frame_id=3)
        tag = {field: value}
        two = np.full(1, 2, np.float32)
        for attempt in (
            lambda: shm.write(two, **tag),
            lambda: shm.write_view(**tag).__enter__(),
        ):
            with pytest.raises(error):
                attempt()
            assert shm.lock_depth == 0
        with shm.locked():
            for attempt in (
                lambda: shm.write_locked(two, **tag),
                lambda: shm.write_view_locked(**tag).__enter__(),
            ):
                with pytest.raises(error):
                    attempt()
                assert shm.lock_depth == 1
        assert (shm.count, shm.frame_id, shm.read()[0]) == (1, 3, 1)
        shm.write(two)
        assert (shm.count, shm.frame_id, shm.read()[0]) == (2, 3, 2)


def test_time_stamps(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm:
        assert shm.age == math.inf and shm.is_stale(1e9)
        before = time.time_ns()
        shm.write(np.ones(1, np.float32), acquired_ns=before - 5)
        after = time.time_ns()
        assert type(shm.write_time_ns) is int
        assert before <= shm.write_time_ns <= after
        assert abs(shm.write_time - shm.write_time_ns / 1e9) < 1e-6
        assert shm.acquired_ns == before - 5
        found = shm.read_publication()
        assert (found.write_time_ns, found.acquired_ns) == (shm.write_time_ns, before - 5)
        assert found.write_time == shm.write_time
        time.sleep(0.02)
        assert shm.age >= 0.02
        assert shm.is_stale(0.01) and not shm.is_stale(3600)
        shm.write(np.ones(1, np.float32))
        assert shm.acquired_ns is None, "a time belongs to its frame"
        assert shm.read_publication().acquired_ns is None
        for bad in (0, -1.0, float("nan")):
            with pytest.raises(ValueError, match="max_age must be positive"):
                shm.is_stale(bad)


def test_publications(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(2,), dtype="int64") as shm:
        empty = shm.read_publication()
        assert (empty.count, empty.frame_id, empty.write_time_ns) == (0, 0, 0)
        assert (empty.write_time, empty.acquired_ns, empty.missed_publications) == (0.0, None, 0)
        np.testing.assert_array_equal(empty.payload, [0, 0])
        shm.write(np.array([3, 4]), frame_id=11)
        found = shm.read_publication()
        np.testing.assert_array_equal(found.payload, [3, 4])
        assert (found.count, found.frame_id, found.missed_publications) == (1, 11, 0)
        shm.write(np.array([5, 6]), frame_id=12)
        np.testing.assert_array_equal(found.payload, [3, 4])
        assert (found.count, found.frame_id) == (1, 11), "it does not change"


@pytest.mark.parametrize(
    "field", [
        "payload", "count", "frame_id", "write_time", "write_time_ns", "acquired_ns",
        "missed_publications", "anything",
    ],
)
def test_publications_are_frozen(shm_name: str, field: str) -> None:
    with shm_py.create(shm_name, shape=(2,)) as shm:
        found: Any = shm.read_publication()
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(found, field, 3)
        with pytest.raises(dataclasses.FrozenInstanceError):
            delattr(found, field)
        assert isinstance(shm.read_publication().payload, np.ndarray)


def test_missed_frames_are_counted_from_attach(shm_name: str) -> None:
    one = np.ones(1, np.float32)
    with shm_py.create(shm_name, shape=(1,)) as writer:
        for _ in range(5):
            writer.write(one)
        with shm_py.open(shm_name) as reader:
            assert (reader.last_read_count, reader.total_missed_writes) == (5, 0)
            reader.read()
            assert (reader.missed_writes, reader.last_read_count) == (0, 5)
            for _ in range(4):
                writer.write(one)
            assert reader.missed_writes == 0, "nothing was read yet"
            reader.read()
            assert (reader.missed_writes, reader.total_missed_writes) == (3, 3)
            assert reader.last_read_count == 9
            reader.read()
            assert (reader.missed_writes, reader.total_missed_writes) == (0, 3), "the same frame"
            writer.write(one)
            assert reader.read_publication().missed_publications == 0
            writer.write(one)
            writer.write(one)
            found = reader.read_after_publication(10, timeout=1)
            assert (found.count, found.missed_publications) == (12, 1)
            assert (reader.missed_writes, reader.total_missed_writes) == (1, 4)
            assert writer.last_read_count == 0, "each handle has its own place"


def test_clear(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(4,), dtype="int16") as shm:
        shm.write(np.arange(1, 5, dtype=np.int16))
        shm.clear()
        assert shm.count == 2
        np.testing.assert_array_equal(shm.read(), np.zeros(4))
        for number in range(5):  # the cells of older frames too
            shm.write(np.full(4, number + 1, np.int16))
        shm.clear(timeout=1.0)
        np.testing.assert_array_equal(shm.read(), np.zeros(4))


def test_from_dlpack_is_a_snapshot(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(2, 3), dtype="float64") as shm:
        frame = np.arange(6.0).reshape(2, 3)
        shm.write(frame)
        assert shm.__dlpack_device__() == (1, 0)
        taken = np.from_dlpack(shm)
        np.testing.assert_array_equal(taken, frame)
        assert taken.dtype == np.float64
        for _ in range(4):
            shm.write(np.zeros((2, 3)))
        np.testing.assert_array_equal(taken, frame)
        shm.unlink()
        np.testing.assert_array_equal(taken, frame)
        with pytest.raises(RuntimeError, match="closed shared memory"):
            np.from_dlpack(shm)


def test_history(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(3,), dtype="int64", cells=6) as shm:
        assert shm.history() == []
        for number in range(1, 21):
            shm.write(np.full(3, number), frame_id=100 + number)
            frames = shm.history()
            counts = [frame.count for frame in frames]
            assert counts == list(range(number - len(counts) + 1, number + 1)), "no gap"
            assert len(counts) >= min(number, 5)
            for frame in frames:
                np.testing.assert_array_equal(frame.payload, np.full(3, frame.count))
                assert frame.frame_id == 100 + frame.count
                assert frame.payload.flags.writeable
        assert [frame.count for frame in shm.history(3)] == [18, 19, 20]
        assert [frame.count for frame in shm.history(1)] == [20]
        assert len(shm.history(1000)) in (5, 6)
        times = [frame.write_time_ns for frame in shm.history()]
        assert times == sorted(times)
        for bad in (-1, 1.5, "3"):
            wrong: Any = bad
            with pytest.raises((ValueError, TypeError)):
                shm.history(wrong)
        kept = shm.history(2)
    assert [int(frame.payload[0]) for frame in kept] == [19, 20], "after the handle is closed"


@pytest.mark.parametrize("timeout", [-1, -0.001, float("nan"), float("-inf")])
def test_negative_timeouts(shm_name: str, timeout: float) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm:
        for call in (
            lambda: shm.read(timeout=timeout),
            lambda: shm.read_new(timeout=timeout),
            lambda: shm.read_after(0, timeout=timeout),
            lambda: shm.wait_for_count(after=0, timeout=timeout),
            lambda: shm.acquire(timeout=timeout),
            lambda: shm.write(np.ones(1, np.float32), timeout=timeout),
        ):
            with pytest.raises(ValueError, match="timeout"):
                call()
        assert (shm.count, shm.lock_depth) == (0, 0)


def test_endless_timeouts(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm:
        shm.write(np.ones(1, np.float32), timeout=float("inf"))
        assert shm.read_after(0, timeout=1e300)[0] == 1
        assert shm.read(timeout=0)[0] == 1
