"""What travels, and how it looks on the other side."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from share.sharing import Service, call, copying
from shm_py import _native

PLAIN: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    2**63,
    2**64 - 1,
    -(2**64),
    1.5,
    -0.0,
    math.inf,
    "",
    "ä€😀",
    b"",
    b"\x00\xff",
    [],
    [1, [2, [3]]],
    (),
    (1, ("a",), [None]),
    {},
    {"b": 1, "a": {"c": [True]}},
]


@pytest.fixture
def echo(service: Service) -> Any:
    """Calls an endpoint that gives back what it is called with."""
    seen: list[Any] = []

    def echo(value: Any) -> Any:
        seen[:] = [value]
        return value

    service.offer(echo)
    client = service.connect()

    def ask(value: Any) -> Any:
        return call(client, "echo", value)

    ask.seen = seen  # type: ignore[attr-defined]
    yield ask
    client.close()


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_come_back_as_they_were(echo: Any, value: Any) -> None:
    back = echo(value)
    assert back == value and type(back) is type(value)
    assert repr(back) == repr(value)


def test_nan_is_nan(echo: Any) -> None:
    assert math.isnan(echo(math.nan))


def test_other_plain_types_become_the_nearest(echo: Any) -> None:
    assert echo(bytearray(b"ab")) == b"ab"
    assert echo(memoryview(b"abcd")[::2]) == b"ac"
    assert echo(np.float32(0.5)) == 0.5 and type(echo(np.float32(0.5))) is float
    assert echo(np.int8(-3)) == -3 and type(echo(np.int8(-3))) is int
    assert echo(np.bool_(True)) is True
    assert echo(np.str_("x")) == "x"


DTYPES = "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 complex128"


@pytest.mark.parametrize("dtype", DTYPES.split())
def test_arrays_of_every_dtype(echo: Any, dtype: str) -> None:
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    back = echo(array)
    assert back.dtype == array.dtype and np.array_equal(back, array)
    assert not back.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        back[0] = 0


def test_bfloat16(echo: Any) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16)
    for one in (array, array[:, ::2], array.T, array[::-1]):
        back = echo(one)
        assert back.dtype == array.dtype and np.array_equal(back, one)
    assert echo(ml_dtypes.bfloat16(1.5)) == 1.5


def shapes() -> dict[str, np.ndarray[Any, Any]]:
    base = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
    records = np.zeros(3, dtype=[("a", "u1"), ("b", "<i4")])
    records["b"] = [1, 2, 3]
    return {
        "no dimensions": np.array(7.0),
        "empty": np.zeros((0, 3), np.int16),
        "empty in the middle": np.zeros((3, 0, 2)),
        "fortran": np.asfortranarray(base),
        "transposed": base.transpose(1, 2, 0),
        "reversed": base[::-1, :, ::-1],
        "all reversed": base[::-1, ::-1, ::-1],
        "gaps": base[::2, 1:4, ::3],
        "broadcast": np.broadcast_to(np.arange(6, dtype=np.int16), (5, 6)),
        "broadcast scalar": np.broadcast_to(np.array(3.0), (4, 4)),
        "one wide": base[:1, :, :1],
        "unaligned": np.frombuffer(b"x" + np.arange(5, dtype="<i4").tobytes(), "<i4", offset=1),
        "field of a record": records["b"],
        "many dimensions": np.arange(2).reshape((1,) * 15 + (2,)),
    }


@pytest.mark.parametrize("kind", shapes())
def test_arrays_of_every_layout(echo: Any, kind: str) -> None:
    array = shapes()[kind]
    back = echo(array)
    assert back.dtype == array.dtype and back.shape == array.shape
    assert np.array_equal(back, array)
    assert np.array_equal(echo.seen[0], array)


@pytest.mark.parametrize("kind", ["fortran", "transposed", "reversed", "broadcast"])
def test_dense_layouts_keep_their_strides(echo: Any, kind: str) -> None:
    array = shapes()[kind]
    assert echo(array).strides == array.strides


def test_bytes_between_elements_do_not_travel(echo: Any) -> None:
    secret = np.full((64, 2), 255, np.uint8)
    secret[:, 0] = 1
    back = echo(secret[:, 0])
    assert back.strides == (1,)
    assert bytes(memoryview(back)) == b"\1" * 64


def test_views_of_one_array_are_copied_once_and_stay_together(echo: Any) -> None:
    base = np.arange(1000, dtype=np.float64)
    with copying() as copies:
        back = echo([base, base[10:20], base[::-1], base[::7], base.reshape(10, 100).T])
    assert copies == [1, base.nbytes]
    assert all(np.shares_memory(back[0], other) for other in back[1:])
    assert np.array_equal(back[4], base.reshape(10, 100).T)
    assert np.array_equal(back[3], base[::7])


def test_several_arrays_lie_in_one_memory_aligned(echo: Any) -> None:
    arrays = [np.full(n, n, np.uint8) for n in (1, 3, 65, 100)]
    back = echo(arrays)
    assert len({id(one.base) for one in back}) == 1
    assert all(one.ctypes.data % 16 == 0 for one in back)
    assert all(np.array_equal(one, other) for one, other in zip(arrays, back))


def test_memory_that_is_shared_already_is_not_copied(echo: Any) -> None:
    array = _native._share_empty((100, 10), "int32")
    array[:] = np.arange(1000).reshape(100, 10)
    with copying(0):
        back = echo({"all": array, "part": array[5:8, ::2], "turned": array[::-1].T})
        # What was received, too.
        again = echo([back["part"], back["all"]])
    assert np.array_equal(again[0], array[5:8, ::2])
    array[5, 0] = -1
    assert again[0][0, 0] == -1 and back["part"][0, 0] == -1
    assert not again[0].flags.writeable


def test_the_memory_outlives_everything_it_came_from(service: Service) -> None:
    service.offer(lambda: np.arange(100_000), "make")
    client = service.connect()
    array = call(client, "make")[50_000:]
    client.close()
    assert service.native.stop(True, 5.0)
    del client
    assert array[0] == 50_000 and array.sum() == np.arange(50_000, 100_000).sum()


class Lender:
    """Host memory by DLPack, with what no array protocol says."""

    def __init__(self, array: Any) -> None:
        self.array = array

    def __dlpack__(self, **keywords: Any) -> Any:
        return self.array.__dlpack__(**keywords)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


def test_host_tensors_by_dlpack(echo: Any) -> None:
    array = np.arange(12, dtype=np.int64).reshape(3, 4)
    for one in (array, array.T, array[:, ::2], array[:0]):
        assert np.array_equal(echo(Lender(one)), one)
    shared = _native._share_empty((4,), "uint8")
    shared[:] = 1
    with copying(0):
        back = echo(Lender(shared))
    shared[2] = 5
    assert list(back) == [1, 1, 5, 1]


REFUSED: list[tuple[Any, type[Exception], str]] = [
    ({"a": [1, 2, object()]}, TypeError, r"args\[0\]\['a'\]\[2\] cannot travel: it is <class 'object'>"),
    ({1: 2}, TypeError, r"args\[0\] cannot travel: it has a key of <class 'int'>"),
    ([np.array(["x", None], object)], TypeError, r"args\[0\]\[0\] cannot travel: dtype object"),
    (np.zeros(2, ">i4"), TypeError, "args.0. cannot travel: dtype >i4"),
    (np.zeros(2, "M8[s]"), TypeError, "dtype datetime64"),
    (np.ma.masked_array([1], [True]), TypeError, "masked"),
    (1j, TypeError, "<class 'complex'>"),
    (np.complex64(1j), TypeError, "scalar of <class 'numpy.complex64'>"),
    ({1, 2}, TypeError, "<class 'set'>"),
    (int, TypeError, "<class 'type'>"),
    (np.ndarray, TypeError, "<class 'type'>"),
    (2**64, ValueError, "int beyond"),
    (-(2**64) - 1, ValueError, "int beyond"),
    ("\ud800", ValueError, "UTF-8"),
    ({"\ud800": 1}, ValueError, "UTF-8"),
]


@pytest.mark.parametrize(("value", "error", "text"), REFUSED, ids=lambda one: repr(one)[:30])
def test_what_cannot_travel_is_refused_with_its_place(
    echo: Any, value: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        echo(value)


def test_a_value_that_refers_to_itself_is_refused(echo: Any) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="refers to itself"):
        echo(loop)


def test_results_that_cannot_travel_say_so_to_the_caller(service: Service) -> None:
    service.offer(lambda: {"a": [1, 2, object()]}, "bad")
    client = service.connect()
    with pytest.raises(_native.ShareError, match=r"result\['a'\]\[2\] cannot travel") as caught:
        call(client, "bad")
    assert (caught.value.kind, caught.value.error_type) == ("Value", "TypeError")


def test_pickles_travel_only_where_both_sides_ask_for_them(folder: Any) -> None:
    service = Service(folder / "p.sock", opaque=True)
    try:
        service.offer(lambda value: value, "echo")
        asking = service.connect(opaque=True)
        assert call(asking, "echo", 3 + 4j) == 3 + 4j
        plain = service.connect()
        with pytest.raises(TypeError, match="complex"):
            call(plain, "echo", 3 + 4j)
        service.offer(lambda: 3 + 4j, "give")
        with pytest.raises(_native.ShareError, match="opaque"):
            call(plain, "give")
    finally:
        service.native.stop(False, 5.0)
