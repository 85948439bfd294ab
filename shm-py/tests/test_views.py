"""Frames in place: to be read, and to be written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shm_py


def test_a_view_shows_the_frame_in_place(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(2, 3), dtype="int32") as shm:
        frame = np.arange(6, dtype=np.int32).reshape(2, 3)
        shm.write(frame, frame_id=4, acquired_ns=5)
        with shm.view() as view:
            assert isinstance(view, shm_py.FrameView)
            assert not view.array.flags.writeable and not view.array.flags.owndata
            with pytest.raises(ValueError, match="read-only"):
                view.array[0, 0] = 1
            with pytest.raises(ValueError):
                view.array.flags.writeable = True
            np.testing.assert_array_equal(view.array, frame)
            assert (view.count, view.frame_id, view.acquired_ns) == (1, 4, 5)
            assert (view.write_time_ns, view.write_time) == (shm.write_time_ns, shm.write_time)
            assert view.valid
            view.validate()
            assert np.shares_memory(view.array, shm.view().array), "no copy"


def test_there_is_no_view_before_the_first_frame(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm:
        with pytest.raises(RuntimeError, match="has no frame yet"):
            shm.view()


@pytest.mark.parametrize("cells", [2, 3, 5])
def test_a_view_knows_when_it_was_overwritten(shm_name: str, cells: int) -> None:
    with shm_py.create(shm_name, shape=(1000,), dtype="int64", cells=cells) as shm:
        shm.write(np.full(1000, 1))
        view = shm.view()
        for number in range(2, cells + 1):
            shm.write(np.full(1000, number))
            assert view.valid, f"frame {number} went elsewhere"
            view.validate()
            assert view.array[0] == view.array[-1] == 1
        shm.write(np.full(1000, 99))
        assert not view.valid
        with pytest.raises(shm_py.FrameOverwrittenError):
            view.validate()
        with pytest.raises(shm_py.InconsistentStreamError):
            view.validate()
        assert view.count == 1, "it tells which frame it was"
        shm.write(np.full(1000, 100))
        assert not view.valid, "and it does not become valid again"


def test_a_view_of_a_frame_that_is_being_overwritten_is_invalid(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(10,), cells=2) as shm:
        shm.write(np.ones(10, np.float32))
        first = shm.view()
        shm.write(np.full(10, 2, np.float32))
        with shm.write_view() as array:
            array[0] = 3
            assert not first.valid


def test_leaving_the_block_validates(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,), cells=2) as shm:
        shm.write(np.ones(1, np.float32))
        with pytest.raises(shm_py.FrameOverwrittenError):
            with shm.view():
                for _ in range(4):
                    shm.write(np.ones(1, np.float32))
        with pytest.raises(KeyError, match="mine"):
            with shm.view():
                for _ in range(4):
                    shm.write(np.ones(1, np.float32))
                raise KeyError("mine")


def test_a_write_view_publishes_what_it_holds(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(2, 2), dtype="float64") as shm:
        for number in range(1, 8):
            with shm.write_view(frame_id=number, acquired_ns=number, timeout=1.0) as array:
                assert array.flags.writeable and array.flags.c_contiguous
                assert array.shape == (2, 2) and array.dtype == np.float64
                assert (shm.lock_depth, shm.count) == (1, number - 1)
                older = array.copy()
                assert older.min() == older.max(), "a whole older frame, or zeros"
                assert older[0, 0] in (0, *range(1, number))
                array[...] = number
                if number > 1:
                    np.testing.assert_array_equal(shm.read(), np.full((2, 2), number - 1))
            assert (shm.count, shm.frame_id, shm.acquired_ns) == (number, number, number)
            assert shm.lock_depth == 0
            np.testing.assert_array_equal(shm.read(), np.full((2, 2), number))


def test_a_write_view_is_over_when_it_is_over(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(4,), dtype="int64") as shm:
        with shm.write_view() as array:
            array[...] = 1
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 2
        assert not array.flags.writeable
        np.testing.assert_array_equal(shm.read(), np.ones(4))
        with pytest.raises(ZeroDivisionError):
            with shm.write_view() as array:
                raise ZeroDivisionError
        assert not array.flags.writeable


def test_a_write_view_is_used_once(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(4,)) as shm:
        manager = shm.write_view()
        assert shm.lock_depth == 0, "nothing is taken before the block"
        with manager:
            pass
        with pytest.raises(RuntimeError):
            manager.__enter__()
        with pytest.raises(RuntimeError):
            manager.__exit__(None, None, None)
        assert (shm.count, shm.lock_depth) == (1, 0)


@pytest.mark.parametrize("touched", [False, True])
@pytest.mark.parametrize("locked", [False, True])
def test_an_exception_publishes_nothing(shm_name: str, touched: bool, locked: bool) -> None:
    with shm_py.create(shm_name, shape=(5000,), dtype="int64") as shm:
        shm.write(np.arange(5000), frame_id=3)
        for _ in range(5):
            if locked:
                shm.acquire()
            with pytest.raises(KeyError, match="mine"):
                manager = shm.write_view_locked(frame_id=9) if locked else shm.write_view(frame_id=9)
                with manager as array:
                    if touched:
                        array[::2] = -1
                    raise KeyError("mine")
            assert shm.lock_depth == locked
            if locked:
                shm.release()
            assert (shm.count, shm.frame_id, shm.stale) == (1, 3, False)
            np.testing.assert_array_equal(shm.read(), np.arange(5000))
            assert shm.read_publication().frame_id == 3
        shm.write(np.zeros(5000, np.int64))
        assert (shm.count, shm.frame_id) == (2, 3)
        assert not shm.read().any()


@pytest.mark.parametrize("nested", ["write", "write_view", "write_locked", "clear", "view_locked"])
def test_nothing_is_written_inside_a_write_view(shm_name: str, nested: str) -> None:
    attempts: dict[str, Any] = {
        "write": lambda shm: shm.write(np.full(3, 9)),
        "write_locked": lambda shm: shm.write_locked(np.full(3, 9)),
        "write_view": lambda shm: shm.write_view().__enter__(),
        "view_locked": lambda shm: shm.write_view_locked().__enter__(),
        "clear": lambda shm: shm.clear(),
    }
    with shm_py.create(shm_name, shape=(3,), dtype="int64") as shm, shm_py.open(shm_name) as other:
        with shm.write_view() as array:
            array[...] = [1, 2, 3]
            for handle in (shm, other):
                with pytest.raises(RuntimeError):
                    attempts[nested](handle)
            assert (shm.count, shm.lock_depth) == (0, 1)
        assert (shm.count, shm.lock_depth) == (1, 0)
        np.testing.assert_array_equal(shm.read(), [1, 2, 3])


def test_locked_writing_needs_the_lock(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(2,)) as shm:
        two = np.full(2, 2, np.float32)
        with pytest.raises(RuntimeError, match="lock"):
            shm.write_locked(two)
        with pytest.raises(RuntimeError, match="lock"):
            shm.write_view_locked().__enter__()
        assert (shm.count, shm.lock_depth) == (0, 0)
        with shm.locked():
            shm.write_locked(two, frame_id=1, acquired_ns=2)
            with shm.write_view_locked(frame_id=2, acquired_ns=3) as array:
                array[...] = 5
            assert shm.lock_depth == 1
        assert (shm.count, shm.frame_id, shm.acquired_ns) == (2, 2, 3)
        np.testing.assert_array_equal(shm.read(), [5, 5])


def test_reads_go_on_beside_an_open_write_view(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(100,), dtype="int64") as shm:
        shm.write(np.full(100, 1))
        with shm_py.open(shm_name, readonly=True) as reader, shm.write_view() as array:
            array[:50] = 7
            for _ in range(3):
                np.testing.assert_array_equal(reader.read(timeout=0), np.full(100, 1))
            assert reader.count == 1
            with reader.view() as view:
                np.testing.assert_array_equal(view.array, np.full(100, 1))
