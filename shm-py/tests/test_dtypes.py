"""Every element type, from every layout a frame may come in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import shm_py
from conftest import segment_files
from numpy.typing import NDArray

NAMES = [
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "bfloat16",
]


def dtype_of(name: str) -> np.dtype[Any]:
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def random_frame(
    rng: np.random.Generator, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> NDArray[Any]:
    """Any bits that are a value of the dtype, NaNs and infinities among them."""
    count = int(np.prod(shape, dtype=int))
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(np.bool_)
    return np.frombuffer(rng.bytes(count * dtype.itemsize), dtype).reshape(shape).copy()


def assert_same_bits(found: NDArray[Any], expected: NDArray[Any]) -> None:
    assert found.dtype == expected.dtype and found.shape == expected.shape
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("shape", [(), (1,), (5,), (2, 3, 4), (1000, 7)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_every_bit_comes_back(shm_name: str, name: str, shape: tuple[int, ...]) -> None:
    dtype = dtype_of(name)
    rng = np.random.default_rng(len(name) + len(shape))
    with shm_py.create(shm_name, shape=shape, dtype=name) as writer:
        assert writer.dtype == dtype
        assert writer.size == dtype.itemsize * np.prod(shape, dtype=int)
        assert_same_bits(writer.read(), np.zeros(shape, dtype))
        with shm_py.open(shm_name) as reader:
            assert reader.dtype == dtype
            assert shm_py.stat(shm_name)["dtype"] == name
            assert f"dtype='{name}'" in repr(reader)
            assert reader.to_config()["dtype"] == name
            for _ in range(4):
                frame = random_frame(rng, dtype, shape)
                writer.write(frame)
                assert_same_bits(reader.read(), frame)
                with reader.view() as view:
                    assert_same_bits(view.array.copy(), frame)
                out = np.empty(shape, dtype)
                assert reader.read(out=out) is out
                assert_same_bits(out, frame)
                with writer.write_view() as array:
                    assert array.dtype == dtype and array.shape == shape
                    array[...] = frame
                assert_same_bits(reader.read_publication().payload, frame)


SPELLINGS: list[tuple[Any, Any]] = [
    (np.float64, np.float64),
    (float, np.float64),
    (int, np.int64),
    (bool, np.bool_),
    (complex, np.complex128),
    ("f4", np.float32),
    ("<i2", np.int16),
    ("=u8", np.uint64),
    (np.dtype("int8"), np.int8),
    ("bfloat16", ml_dtypes.bfloat16),
    (ml_dtypes.bfloat16, ml_dtypes.bfloat16),
    (np.dtype(ml_dtypes.bfloat16), ml_dtypes.bfloat16),
]


@pytest.mark.parametrize(("given", "expected"), SPELLINGS, ids=str)
def test_dtypes_in_any_spelling(shm_name: str, given: Any, expected: Any) -> None:
    with shm_py.create(shm_name, shape=(2,), dtype=given) as shm:
        assert shm.dtype == np.dtype(expected)
        shm.write(np.ones(2, expected))
        assert_same_bits(shm.read(), np.ones(2, expected))


REFUSED: list[Any] = [
    np.dtype([("a", "f4"), ("b", "i4")]),
    "f4,i4",
    np.dtype(("f4", (2,))),
    "S4",
    "U4",
    str,
    bytes,
    "V3",
    object,
    "datetime64[ns]",
    "timedelta64[s]",
    ">f4",
    ">i2",
    ">c8",
    np.longdouble,
    np.clongdouble,
    ml_dtypes.float8_e4m3fn,
    ml_dtypes.float8_e5m2,
    ml_dtypes.int4,
]


@pytest.mark.parametrize("dtype", REFUSED, ids=str)
def test_dtypes_that_are_not_supported(shm_name: str, dtype: Any) -> None:
    with pytest.raises(ValueError, match="dtype"):
        shm_py.create(shm_name, shape=(2,), dtype=dtype)
    assert segment_files(shm_name) == []


@pytest.mark.parametrize("dtype", ["no-such-dtype", 3, [1, 2], {"a": 1}], ids=str)
def test_what_is_no_dtype_at_all(shm_name: str, dtype: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        shm_py.create(shm_name, shape=(2,), dtype=dtype)
    assert segment_files(shm_name) == []


Layout = Callable[[NDArray[Any]], NDArray[Any]]


def _strided(frame: NDArray[Any]) -> NDArray[Any]:
    wide = np.zeros((frame.shape[0] * 2, frame.shape[1] * 3), frame.dtype)
    wide[::2, ::3] = frame
    return wide[::2, ::3]


def _reversed(frame: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(frame[::-1, ::-1])[::-1, ::-1]


def _transposed(frame: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(frame.T).T


def _swapped(frame: NDArray[Any]) -> NDArray[Any]:
    return frame.astype(frame.dtype.newbyteorder(">"))


def _misaligned(frame: NDArray[Any]) -> NDArray[Any]:
    raw = np.zeros(frame.nbytes + 1, np.uint8)
    raw[1:] = np.frombuffer(frame.tobytes(), np.uint8)
    return raw[1:].view(frame.dtype).reshape(frame.shape)


def _frozen(frame: NDArray[Any]) -> NDArray[Any]:
    copy = frame.copy()
    copy.flags.writeable = False
    return copy


class _Matrix(np.ndarray[Any, np.dtype[Any]]):
    pass


LAYOUTS: dict[str, Layout] = {
    "strided": _strided,
    "reversed": _reversed,
    "fortran": np.asfortranarray,
    "transposed": _transposed,
    "byteswapped": _swapped,
    "misaligned": _misaligned,
    "read-only": _frozen,
    "subclass": lambda frame: frame.view(_Matrix),
    "row slice": lambda frame: np.concatenate([frame, frame], axis=0)[: len(frame)],
    "column slice": lambda frame: np.concatenate([frame, frame], axis=1)[:, : frame.shape[1]],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", [name for name in NAMES if name != "bfloat16"])
def test_layouts(shm_name: str, name: str, layout: str) -> None:
    rng = np.random.default_rng(3)
    with shm_py.create(shm_name, shape=(6, 5), dtype=name) as shm:
        for count in (1, 2):
            frame = random_frame(rng, np.dtype(name), (6, 5))
            given = LAYOUTS[layout](frame)
            before = given.tobytes()
            shm.write(given)
            found = shm.read()
            assert_same_bits(found, frame)
            assert (shm.count, type(found), found.flags.c_contiguous) == (count, np.ndarray, True)
            assert given.tobytes() == before, "the input is left alone"


@pytest.mark.parametrize("layout", ["strided", "reversed", "fortran", "transposed", "misaligned"])
def test_layouts_of_bfloat16(shm_name: str, layout: str) -> None:
    with shm_py.create(shm_name, shape=(6, 5), dtype="bfloat16") as shm:
        frame = random_frame(np.random.default_rng(4), shm.dtype, (6, 5))
        shm.write(LAYOUTS[layout](frame))
        assert_same_bits(shm.read(), frame)


def test_broadcast_views_are_written_out(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(4, 3), dtype="int32") as shm:
        shm.write(np.broadcast_to(np.array([1, 2, 3], np.int32), (4, 3)))
        np.testing.assert_array_equal(shm.read(), [[1, 2, 3]] * 4)
        shm.write(np.broadcast_to(np.int32(7), (4, 3)))
        np.testing.assert_array_equal(shm.read(), np.full((4, 3), 7))


def test_lists_and_other_things_that_are_like_arrays(shm_name: str) -> None:
    class Giver:
        def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
            return np.array([[5, 6], [7, 8]], dtype)

    array: Any = np.array([[5, 6], [7, 8]])
    given: list[Any] = [
        [[5, 6], [7, 8]],
        ((5, 6), (7, 8)),
        [np.array([5, 6]), [7, 8]],
        [range(5, 7), range(7, 9)],
        Giver(),
        memoryview(array),
    ]
    with shm_py.create(shm_name, shape=(2, 2), dtype="int64") as shm:
        for count, value in enumerate(given, 1):
            shm.write(np.zeros((2, 2), np.int64))
            shm.write(value)
            np.testing.assert_array_equal(shm.read(), [[5, 6], [7, 8]])
            assert shm.count == 2 * count
        ragged: Any = [[1], [2, 3]]
        with pytest.raises((ValueError, TypeError)):
            shm.write(ragged)
        for bad in (None, "text", object(), {"a": 1}, [["a", "b"], ["c", "d"]]):
            nothing: Any = bad
            with pytest.raises((ValueError, TypeError)):
                shm.write(nothing)
        assert shm.count == 2 * len(given)


def test_scalars_into_a_scalar_stream(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(), dtype="float64") as shm:
        for value in (3.5, np.float64(4.5), np.array(5.5), np.float32(0.25), 7):
            shm.write(value)
            found = shm.read()
            assert isinstance(found, np.ndarray) and found.shape == ()
            assert found == value
        with shm.write_view() as array:
            array[()] = 9.5
        assert shm.read() == 9.5


def test_a_stream_is_written_from_itself(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1000,), dtype="int64") as shm:
        shm.write(np.arange(1000))
        for _ in range(7):
            shm.write(shm.view().array[::-1])
        np.testing.assert_array_equal(shm.read(), np.arange(1000)[::-1])


def test_random_frames_of_random_layouts(shm_name: str, stress: bool) -> None:
    rng = np.random.default_rng(20_240_229)
    rounds = 2000 if stress else 150
    seen = set()
    for number in range(rounds):
        shape = tuple(int(dim) for dim in rng.integers(1, 7, rng.integers(0, 6)))
        name = NAMES[int(rng.integers(len(NAMES)))]
        frame = random_frame(rng, dtype_of(name), shape)
        given = _relaid(rng, frame)
        seen.add((name, given.flags.c_contiguous))
        stream = f"{shm_name}-{number}"
        with shm_py.stream(stream, shape=shape, dtype=name, cells=int(rng.integers(2, 5))) as shm:
            shm.write(given, frame_id=number)
            found = shm.read_publication()
            assert_same_bits(found.payload, frame)
            assert (found.count, found.frame_id) == (1, number)
    assert len(seen) > len(NAMES), "contiguous and other inputs, of most dtypes"


def _relaid(rng: np.random.Generator, frame: NDArray[Any]) -> NDArray[Any]:
    """The same values at other places: axes in any order, with steps of either sign."""
    order = rng.permutation(frame.ndim)
    steps = rng.integers(1, 4, frame.ndim) * rng.choice([-1, 1], frame.ndim)
    moved = frame.transpose(order)
    shape = tuple(int(dim * abs(step)) for dim, step in zip(moved.shape, steps))
    room = np.zeros(shape, frame.dtype)
    slices: Any = (..., *(slice(None, None, int(step)) for step in steps))
    place: NDArray[Any] = room[slices]
    place[...] = moved
    return place.transpose(np.argsort(order))
