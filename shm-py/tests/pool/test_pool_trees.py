"""Packing and unpacking trees of arrays."""

from __future__ import annotations

import collections
import dataclasses
import enum
import gc
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest
import shm_py
from shm_py import Consumer, Pool, pack, unpack


EMPTY: Any = collections.namedtuple("Empty", ())()
Odd: Any = collections.namedtuple("Odd", ["a", "class"], rename=True)
ODD = Odd(1, 2)


class Point(NamedTuple):
    x: Any
    y: Any = 0


@dataclasses.dataclass
class Frame:
    image: Any
    label: str


class Colour(enum.IntEnum):
    RED = 3


class Pair:
    """A pool and its only consumer."""

    def __init__(self, pool: Pool) -> None:
        self.pool, self.consumer = pool, pool.consumer()

    def trip(self, tree: Any) -> Any:
        return self.consumer.unpack(self.pool.publish(tree))


@pytest.fixture
def pair(shm_name: str) -> Iterator[Pair]:
    with Pool.create_chunks(shm_name, capacity=1 << 22) as pool:
        yield Pair(pool)


def same(one: Any, other: Any) -> bool:
    """Equal in value, type and order."""
    if isinstance(one, (np.ndarray, np.generic)):
        equal = np.array_equal(np.asarray(one), other, equal_nan=np.asarray(one).dtype.kind in "fc")
        dtype = np.asarray(one).dtype.newbyteorder("=")
        return bool(equal and other.dtype == dtype and not other.flags.writeable)
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(
            same(one[key], other[key]) for key in one
        )
    if isinstance(one, (list, tuple)):
        fields = getattr(type(one), "_fields", None)
        return (
            isinstance(other, list if isinstance(one, list) else tuple)
            and fields == getattr(type(other), "_fields", None)
            and len(one) == len(other)
            and all(map(same, one, other))
        )
    if isinstance(one, float) and one != one:
        return isinstance(other, float) and other != other
    return type(one) is type(other) and bool(one == other)


TREES: list[Any] = [
    None, True, False, 0, -1, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 2**500, -(2**500), 1.5,
    float("inf"), float("nan"), -0.0, 1 + 2j, "", "text", "\u00e9\U0001f600", "\0", b"", b"\0\xff" * 50,
    [], (), {}, [[[]]], [1, [2, (3, {"a": [4]})]], {"b": 1, "a": 2, 3: None, None: 4, (1, ("x", b"y")): 5},
    {True: 1, 2.5: 2, b"k": 3, 1j: 4}, Point(1, Point([2], {"z": 3})),
    EMPTY, np.arange(10), np.float32(2.5), np.array(3), np.bool_(True),
    {"x": np.zeros((0, 3)), "y": np.ones((2, 0))}, [np.arange(5)] * 3,
]


@pytest.mark.parametrize("tree", TREES, ids=[f"{n}-{str(t)[:20]}" for n, t in enumerate(TREES)])
def test_trees_come_back(pair: Pair, tree: Any) -> None:
    assert same(tree, pair.trip(tree))
    assert same([tree, {"in": (tree,)}], pair.trip([tree, {"in": (tree,)}]))
    gc.collect()
    assert pair.pool.stats().in_use == 0


DTYPES = ["bool", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"]


@pytest.mark.parametrize("dtype", [*DTYPES, ">i4", ">f8", ml_dtypes.bfloat16])
def test_arrays_of_every_dtype_and_layout(pair: Pair, dtype: Any) -> None:
    whole = (np.arange(4 * 6 * 5) % 100).reshape(4, 6, 5).astype(dtype)
    layouts = {
        "whole": whole,
        "fortran": np.asfortranarray(whole),
        "transposed": whole.T,
        "strided": whole[::2, 1::2],
        "reversed": whole[::-1, :, ::-1],
        "broadcast": np.broadcast_to(whole[0, 0], (3, 5)),
        "scalar": whole[0, 0, 0:1].reshape(()),
        "long": (np.arange(100_000) % 100).astype(dtype),
        "unaligned": np.frombuffer(b"\0" + whole.tobytes(), whole.dtype, offset=1),
    }
    layouts["frozen"] = whole.copy()
    layouts["frozen"].flags.writeable = False
    found = pair.trip(layouts)
    for name, array in layouts.items():
        assert np.array_equal(array, found[name]) and found[name].shape == array.shape, name
        assert found[name].ctypes.data % 64 == 0 and found[name].flags.aligned
        assert not found[name].flags.writeable and not found[name].flags.owndata
    assert found["fortran"].flags.f_contiguous and found["transposed"].flags.f_contiguous
    assert found["whole"].flags.c_contiguous and found["strided"].flags.c_contiguous
    assert found["whole"].dtype == np.dtype(dtype).newbyteorder("=")


def test_what_looks_like_an_array_is_one(pair: Pair) -> None:
    class Tensor:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
            return np.arange(6).reshape(2, 3)

    class Exported:
        def __dlpack__(self, **keywords: Any) -> Any:
            return np.arange(4.0).__dlpack__()

        def __dlpack_device__(self) -> tuple[int, int]:
            return (1, 0)

    class Matrix(np.ndarray[Any, Any]):
        pass

    found = pair.trip([Tensor(), Exported(), np.arange(4).view(Matrix), np.float64(2), Colour.RED])
    assert found[0].tolist() == [[0, 1, 2], [3, 4, 5]] and found[1].tolist() == [0, 1, 2, 3]
    assert type(found[2]) is np.ndarray and found[3].shape == () and found[4] == 3


def test_dataclasses_come_back_as_namedtuples(pair: Pair) -> None:
    found = pair.trip({"frame": Frame(np.arange(3), "cat"), "odd": Frame(None, "")})
    assert found["frame"].image.tolist() == [0, 1, 2] and found["frame"].label == "cat"
    assert type(found["frame"]).__name__ == "Frame" and type(found["odd"]) is type(found["frame"])
    assert found["frame"]._fields == ("image", "label")


def test_random_trees_come_back(pair: Pair) -> None:
    chance = random.Random(20)

    def leaf() -> Any:
        shape = tuple(chance.randrange(5) for _ in range(chance.randrange(4)))
        ways: list[Callable[[], Any]] = [
            lambda: None,
            lambda: chance.random() < 0.5,
            lambda: chance.randrange(-(2**chance.randrange(1, 200)), 2**100),
            lambda: struct.unpack("<d", chance.randbytes(8))[0],
            lambda: "".join(chr(chance.randrange(1, 0xD7FF)) for _ in range(chance.randrange(9))),
            lambda: chance.randbytes(chance.randrange(70)),
            lambda: np.frombuffer(chance.randbytes(1000), "u1")[: int(np.prod(shape))].reshape(shape),
            lambda: np.full(shape, chance.random()).astype(chance.choice(DTYPES)),
            lambda: np.asfortranarray(np.full(shape, chance.randrange(99))),
        ]
        return chance.choice(ways)()

    def node(depth: int) -> Any:
        if depth == 0 or chance.random() < 0.3:
            return leaf()
        parts = [node(depth - 1) for _ in range(chance.randrange(5))]
        ways: list[Callable[[], Any]] = [
            lambda: parts,
            lambda: tuple(parts),
            lambda: {chance.randbytes(3): part for part in parts},
            lambda: Point(parts, parts[:1]),
        ]
        return chance.choice(ways)()

    for _ in range(300):
        tree = node(5)
        assert same(tree, pair.trip(tree)), tree
    gc.collect()
    assert pair.pool.stats().in_use == 0 and pair.pool.fsck().is_clean


def test_deep_trees_are_refused_and_nothing_is_lent(pair: Pair) -> None:
    tree: Any = 0
    for _ in range(60):
        tree = [tree]
    assert same(tree, pair.trip(tree))
    endless: list[Any] = [1]
    endless.append({"again": endless})
    with pytest.raises(ValueError, match=r"cannot pack tree\[1\]\['again'\]\[1\].*refers to itself"):
        pack(pair.pool, endless)
    assert pair.pool.stats().in_use == 0


@pytest.mark.parametrize(
    ("tree", "error", "text"),
    [
        ({"a": [1, {2}]}, TypeError, r"tree\['a'\]\[1\]: it is <class 'set'>"),
        ([object()], TypeError, r"tree\[0\]: it is <class 'object'>"),
        ([int], TypeError, "it is <class 'type'>"),
        ([np.ndarray], TypeError, "it is <class 'type'>"),
        (Point(bytearray(3)), TypeError, r"tree\.x: it is <class 'bytearray'>"),
        ({frozenset(): 1}, TypeError, "a key is <class 'frozenset'>"),
        ({(1, Point(1)): 1}, TypeError, "a key is"),
        ([np.array([object()])], TypeError, r"tree\[0\]: dtype object is not supported"),
        ([np.zeros(2, "i4,f8")], TypeError, "is not supported"),
        ([np.array(["text"])], TypeError, "is not supported"),
        ([np.zeros(2, "M8[s]")], TypeError, "is not supported"),
        ([np.ma.masked_array([1, 2], [True, False])], TypeError, "masked"),
        (np.zeros((1,) * 17), ValueError, "17 dimensions"),
        ("\ud800", ValueError, "UTF-8"),
        ({"\ud800": 1}, ValueError, "UTF-8"),
        (ODD, TypeError, "Odd"),
    ],
)
def test_what_cannot_be_packed_says_where(pair: Pair, tree: Any, error: Any, text: str) -> None:
    for call in (lambda: pack(pair.pool, tree), lambda: pair.pool.publish(tree)):
        with pytest.raises(error, match=text):
            call()
    assert pair.pool.stats().in_use == 0


def test_an_error_half_way_leaves_nothing_lent(pair: Pair) -> None:
    class Broken:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
            raise ZeroDivisionError("broken")

    with pytest.raises(ZeroDivisionError, match="broken"):
        pair.pool.publish([np.ones(100), Broken()])
    with pytest.raises(ValueError, match="lends at most"):
        pair.pool.publish([np.zeros(1 << 22, "u1")])
    with pytest.raises(ValueError, match="nobody sits"):
        pair.pool.publish([np.ones(100)], consumers=[4])
    with pytest.raises(TypeError):
        pair.pool.publish([np.ones(100)], consumers=4)  # type: ignore[arg-type]
    assert pair.pool.stats().in_use == 0


def test_a_tree_that_changes_while_it_is_packed(pair: Pair) -> None:
    parts: list[Any] = []

    class Growing:
        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
            if len(parts) < 6:
                parts.append(Growing())
            table["more"] = len(parts)
            return np.arange(2)

    table: dict[str, Any] = {"parts": parts}
    parts.append(Growing())
    found = pair.trip(table)
    assert [part.tolist() for part in found["parts"]] == [[0, 1]]
    assert list(found) == ["parts"], "what was there when it was looked at"


def test_an_array_over_the_same_memory_is_packed_right(shm_name: str) -> None:
    with Pool.create(shm_name, slot_size=4096, slots=1) as pool:
        consumer = pool.consumer()
        slot = pool.lend()
        old = slot.array((4096,), "u1")
        old[:] = np.arange(4096) % 251
        whole = slot.array((4096,), "u1")[100:3000]
        expected = whole.copy()
        slot.abort()
        ticket = pool.publish(whole)
        header = int.from_bytes(old[8:16].tobytes(), "little")
        found = consumer.unpack(ticket)
        assert found.shape == (2900,) and (found[header + 60 :] == expected[header + 60 :]).all()


def test_arrays_keep_the_lease(pair: Pair) -> None:
    tree = pair.trip({"a": np.arange(1000), "b": np.ones(3)})
    assert pair.pool.stats().in_use == 1
    kept = tree["b"][1:]
    del tree
    gc.collect()
    assert pair.pool.stats().in_use == 1 and kept.tolist() == [1, 1]
    del kept
    gc.collect()
    assert pair.pool.stats().in_use == 0
    pair.trip([1, "no arrays", b"x" * 100])
    assert pair.pool.stats().in_use == 0, "nothing is left to keep it"


def test_a_lease_unpacks_until_it_is_released(pair: Pair) -> None:
    slot = pack(pair.pool, {"x": np.arange(3)}, timeout=1, policy="block")
    assert pair.pool.stats().filling == 1
    with pair.consumer.redeem(slot.publish()) as lease:
        one, other = unpack(lease), unpack(lease)
        assert one["x"].tolist() == other["x"].tolist() == [0, 1, 2]
    assert pair.pool.stats().in_use == 0
    with pytest.raises(ValueError, match="released"):
        unpack(lease)
    one["x"].sum()


def test_a_packed_slot_can_be_given_back(pair: Pair) -> None:
    with pack(pair.pool, [1]):
        pass
    with pytest.raises(shm_py.PoolFull):
        [pack(pair.pool, np.zeros(1 << 20, "u1"), timeout=0) for _ in range(9)]
    gc.collect()
    assert pair.pool.stats().in_use == 0


class Forge:
    """Publishes bytes that anybody may have made."""

    def __init__(self, pool: Pool, consumer: Consumer) -> None:
        self.pool, self.consumer = pool, consumer

    def read(self, data: bytes) -> Any:
        with self.pool.lend(len(data)) as slot:
            slot.buffer[:] = data
            ticket = slot.publish()
        return self.consumer.unpack(ticket)


def _framed(nodes: bytes, data: bytes = b"") -> bytes:
    header = 24 + len(nodes)
    padding = bytes(-header % 64) if data else b""
    total = header + len(padding) + len(data)
    return b"SHMTREE1" + struct.pack("<QQ", header, total) + nodes + padding + data


def _u64(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}Q", *numbers)


HOSTILE = {
    "nothing": b"\0",
    "not a tree": b"x" * 200,
    "only a prefix": b"SHMTREE1",
    "a header that is too long": b"SHMTREE1" + _u64(1 << 60, 24),
    "a header that is too short": b"SHMTREE1" + _u64(3, 24),
    "another total": b"SHMTREE1" + _u64(24, 25),
    "no node": _framed(b""),
    "an unknown tag": _framed(b"\x63"),
    "a tag of nothing": _framed(b"\xff"),
    "two trees": _framed(b"\0\0"),
    "half an int": _framed(b"\x03\0\0"),
    "a str that is too long": _framed(b"\x07" + _u64(1 << 63)),
    "a str that ends early": _framed(b"\x07" + _u64(9) + b"short"),
    "a str that is no UTF-8": _framed(b"\x07" + _u64(2) + b"\xff\xff"),
    "a list that is too long": _framed(b"\x09" + _u64(1 << 62)),
    "a list that ends early": _framed(b"\x09" + _u64(2) + b"\0"),
    "a list as a key": _framed(b"\x0b" + _u64(1) + b"\x09" + _u64(0) + b"\0"),
    "an array as a key": _framed(b"\x0b" + _u64(1) + b"\x0d\x0c\0\0" + _u64(0) + b"\0"),
    "a dict without values": _framed(b"\x0b" + _u64(1) + b"\0"),
    "too deep": _framed((b"\x09" + _u64(1)) * 70 + b"\0"),
    "a key that is too deep": _framed(b"\x0b" + _u64(1) + (b"\x0a" + _u64(1)) * 70 + b"\0\0"),
    "an array of no dtype": _framed(b"\x0d\0\0\0" + _u64(0), bytes(64)),
    "an array of dtype 255": _framed(b"\x0d\xff\0\0" + _u64(0), bytes(64)),
    "an array of no order": _framed(b"\x0d\x06\x02\0" + _u64(0), bytes(64)),
    "an array of many dimensions": _framed(b"\x0d\x06\0\xff" + _u64(*[1] * 256), bytes(64)),
    "an array outside": _framed(b"\x0d\x06\0\x01" + _u64(65, 0), bytes(64)),
    "an array far outside": _framed(b"\x0d\x06\0\x01" + _u64(8, 1 << 40), bytes(64)),
    "an array beyond the end of all": _framed(b"\x0d\x06\0\x01" + _u64(8, (1 << 64) - 64), bytes(64)),
    "an array that is not aligned": _framed(b"\x0d\x06\0\x01" + _u64(8, 8), bytes(64)),
    "an array whose size overflows": _framed(b"\x0d\x0d\0\x02" + _u64(1 << 40, 1 << 40, 0), bytes(64)),
    "an empty array of size": _framed(b"\x0d\x0d\0\x02" + _u64(0, 1 << 62, 0), bytes(64)),
    "a record without a name": _framed(b"\x0c\0" + _u64(0)),
    "a record of code": _framed(
        b"\x0c\x07" + _u64(12) + b"__import__()" + _u64(1) + b"\x07" + _u64(1) + b"a" + b"\0"
    ),
    "a record with a field twice": _framed(
        b"\x0c\x07" + _u64(1) + b"P" + _u64(2) + (b"\x07" + _u64(1) + b"a") * 2 + b"\0\0"
    ),
    "a record with a private field": _framed(
        b"\x0c\x07" + _u64(1) + b"P" + _u64(1) + b"\x07" + _u64(2) + b"_a" + b"\0"
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_bytes_are_a_value_error(pair: Pair, kind: str) -> None:
    forge = Forge(pair.pool, pair.consumer)
    with pytest.raises(ValueError, match="no packed tree|more bytes than any memory"):
        forge.read(HOSTILE[kind])
    gc.collect()
    assert pair.pool.stats().in_use == 0


def test_bytes_that_were_changed_do_no_harm(pair: Pair) -> None:
    """Any change gives a tree or a ValueError, and never anything else."""
    chance = random.Random(8)
    forge = Forge(pair.pool, pair.consumer)
    tree = {"a": np.arange(20), "b": [1, 2.5, "text", b"bytes", None, 2**80], "p": Point((1,), True)}
    with pair.consumer.redeem(pair.pool.publish(tree)) as lease:
        good = bytes(lease.buffer)
    header = int.from_bytes(good[8:16], "little")
    read = refused = 0
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(header)] = chance.choice([0, 1, 255, chance.randrange(256)])
        try:
            found = forge.read(bytes(data[: chance.choice([len(data), chance.randrange(1, len(data))])]))
            repr(found)
            read += 1
        except ValueError:
            refused += 1
        found = None
    assert read > 50 and refused > 500, (read, refused)
    assert pair.pool.stats().in_use == 0


def test_slots_that_pack_did_not_fill_are_refused(pair: Pair) -> None:
    ticket = pair.pool.lend(4096).publish()
    with pytest.raises(ValueError, match="redeem"):
        pair.consumer.unpack(ticket)
    with pytest.raises(shm_py.StaleTicket):
        pair.consumer.unpack(ticket)
