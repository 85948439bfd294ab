"""What a frame may look like, and what `size` is for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shm_py
from conftest import segment_files


class Index:
    """An integer of somebody else's."""

    def __init__(self, value: int) -> None:
        self._value = value

    def __index__(self) -> int:
        return self._value


SHAPES: list[Any] = [
    (),
    (1,),
    (7,),
    (2, 3),
    [2, 3],
    (1,) * 16,
    (2,) * 16,
    (480, 640, 3),
    (np.int64(2), np.uint8(3)),
    (Index(4), True),
    np.zeros((3, 5)).shape,
]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_round_trip(shm_name: str, shape: Any) -> None:
    expected = tuple(int(np.asarray(dim.__index__())) for dim in shape)
    with shm_py.create(shm_name, shape=shape, dtype="uint8") as writer:
        assert writer.shape == expected
        assert all(type(dim) is int for dim in writer.shape)
        assert writer.size == np.prod(expected, dtype=int)
        frame = np.random.default_rng(1).integers(0, 256, expected).astype(np.uint8)
        writer.write(frame)
        with shm_py.open(shm_name) as reader:
            assert reader.shape == expected
            found = reader.read()
            assert found.shape == expected
            np.testing.assert_array_equal(found, frame)
            with reader.view() as view:
                assert view.array.shape == expected
                np.testing.assert_array_equal(view.array, frame)


BAD_VALUES: list[Any] = [
    (0,),
    (3, 0),
    (-1,),
    (2, -3),
    (1,) * 17,
    (2**70,),
    (2**63,),
    (2**62, 2**62),
    (2**32, 2**32, 1),
]


@pytest.mark.parametrize("shape", BAD_VALUES, ids=str)
def test_impossible_shapes_are_value_errors(shm_name: str, shape: Any) -> None:
    with pytest.raises(ValueError, match="(?i)shape|dimension"):
        shm_py.create(shm_name, shape=shape)
    assert segment_files(shm_name) == []


BAD_TYPES: list[Any] = [3, 2.7, None, (2.7,), (2.0,), ("3",), "3", "34", (None,), ((2, 3),), {}, 1j]


@pytest.mark.parametrize("shape", BAD_TYPES, ids=repr)
def test_what_is_not_a_sequence_of_integers_is_a_type_error(shm_name: str, shape: Any) -> None:
    with pytest.raises(TypeError, match="shape"):
        shm_py.create(shm_name, shape=shape)
    assert segment_files(shm_name) == []


def test_an_array_as_shape(shm_name: str) -> None:
    shape: Any = np.array([2, 3])
    with shm_py.create(shm_name, shape=shape) as shm:
        assert shm.shape == (2, 3)
    shape = np.array([2.0, 3.0])
    with pytest.raises(TypeError, match="shape"):
        shm_py.create(shm_name + "-floats", shape=shape)


def test_size_is_a_check(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(4, 2), dtype="int16", size=16) as shm:
        assert shm.size == 16
    for size in (0, 15, 17, 8, -16, 2**70):
        with pytest.raises(ValueError, match="size does not match"):
            shm_py.create(shm_name + "-wrong", shape=(4, 2), dtype="int16", size=size)
    bad: Any = 16.0
    with pytest.raises(TypeError):
        shm_py.create(shm_name + "-wrong", shape=(4, 2), dtype="int16", size=bad)
    assert shm_py.list_streams(shm_name) == [shm_name]


def test_more_than_there_is_memory_is_refused_and_leaves_nothing(shm_name: str) -> None:
    with pytest.raises((OSError, ValueError, MemoryError)):
        shm_py.create(shm_name, shape=(2**50,), dtype="uint8")
    assert segment_files(shm_name) == []
    with shm_py.create(shm_name, shape=(2,)) as shm:
        assert shm.shape == (2,), "the name is free"


WRONG: list[tuple[tuple[int, ...], Any]] = [
    ((2, 3), (3,)),
    ((2, 3), (3, 2)),
    ((2, 3), (6,)),
    ((2, 3), (1, 2, 3)),
    ((2, 3), ()),
    ((2, 3), (2, 1)),
    ((1,), ()),
    ((), (1,)),
    ((4,), (0,)),
]


@pytest.mark.parametrize(("shape", "given"), WRONG)
def test_a_frame_is_never_broadcast(shm_name: str, shape: Any, given: Any) -> None:
    with shm_py.create(shm_name, shape=shape) as shm:
        shm.write(np.full(shape, 7, np.float32), frame_id=3)
        for attempt in (shm.write, _write_locked(shm)):
            with pytest.raises(ValueError) as error:
                attempt(np.zeros(given, np.float32))
            assert str(error.value).startswith(f"expected shape {shape}, got {given}")
        assert (shm.count, shm.frame_id, shm.lock_depth) == (1, 3, 0)
        np.testing.assert_array_equal(shm.read(), np.full(shape, 7))


def _write_locked(shm: shm_py.SharedMemory) -> Any:
    def attempt(value: Any) -> None:
        with shm.locked():
            shm.write_locked(value)

    return attempt
