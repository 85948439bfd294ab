"""Values of the share service as CBOR, written from share-protocol.md with the standard library alone."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Union

LEVELS = 64
NODES = 262144
STORAGE_BYTES = 1 << 40
DIMENSIONS = 32

TUPLE, TENSOR, BUNDLE, OPAQUE = range(40000, 40004)

#: Of each dtype: what `struct` calls it, bytes of an element, bytes that it is aligned to.
DTYPES = {
    "bool": ("?", 1, 1),
    "int8": ("b", 1, 1),
    "int16": ("h", 2, 2),
    "int32": ("i", 4, 4),
    "int64": ("q", 8, 8),
    "uint8": ("B", 1, 1),
    "uint16": ("H", 2, 2),
    "uint32": ("I", 4, 4),
    "uint64": ("Q", 8, 8),
    "float16": ("e", 2, 2),
    "bfloat16": ("H", 2, 2),
    "float32": ("f", 4, 4),
    "float64": ("d", 8, 8),
    "complex64": ("ff", 8, 4),
    "complex128": ("dd", 16, 8),
}


class ProtocolError(Exception):
    """What came is not of this protocol."""


class Host(NamedTuple):
    """Shared memory of the host."""

    length: int


class Device(NamedTuple):
    """Device memory that is a descriptor of its own."""

    device: bytes
    length: int


class Handle(NamedTuple):
    """Device memory by a handle of the driver."""

    handle: bytes


class Part(NamedTuple):
    """Part of device memory that is a descriptor."""

    device: bytes
    allocation: int
    offset: int
    length: int


Storage = Union[Host, Device, Handle, Part]


@dataclass(frozen=True)
class Tensor:
    """Where the elements of a tensor lie."""

    storage: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    def check(self, storages: Sequence[Storage]) -> None:
        """Every element lies in its storage, and is aligned."""
        if not 0 <= self.storage < len(storages):
            raise ProtocolError(f"a tensor lies in storage {self.storage} of {len(storages)}")
        if self.dtype not in DTYPES:
            raise ProtocolError(f"there is no dtype {self.dtype!r}")
        if len(self.shape) != len(self.strides) or len(self.shape) > DIMENSIONS:
            raise ProtocolError(f"{len(self.shape)} lengths and {len(self.strides)} strides")
        _, size, alignment = DTYPES[self.dtype]
        if self.offset < 0 or min(self.shape, default=0) < 0 or self.offset % alignment:
            raise ProtocolError(f"a tensor of {self.shape} at {self.offset}")
        if math.prod(self.shape) * size >= 1 << 63:
            raise ProtocolError(f"a tensor of {self.shape} is too large")
        storage = storages[self.storage]
        if isinstance(storage, Handle):
            return  # its length is the driver's to know
        ends = [(length - 1) * stride * size for length, stride in zip(self.shape, self.strides)]
        low = self.offset + sum(end for end in ends if end < 0)
        high = self.offset + sum(end for end in ends if end > 0) + size
        if math.prod(self.shape) == 0:
            low = high = self.offset
        if low < 0 or high > storage.length:
            raise ProtocolError(f"elements from {low} to {high} in {storage.length} bytes")


@dataclass(frozen=True)
class Bundle:
    """A module: what it is made of, by name, and how."""

    kind: str
    structure: Any
    tensors: dict[str, Tensor]


@dataclass(frozen=True)
class Opaque:
    """Bytes that one language understands."""

    encoding: str
    data: bytes


class Encoded(NamedTuple):
    """A value, or a list and a map of arguments, and the table of the memory that its tensors lie in."""

    storages: list[Storage]
    tree: Any


def head(major: int, number: int) -> bytes:
    """The shortest head of a CBOR item."""
    if number < 24:
        return bytes([major << 5 | number])
    for extra, (form, limit) in enumerate((("B", 8), ("H", 16), ("I", 32), ("Q", 64))):
        if number < 1 << limit:
            return struct.pack(">B" + form, major << 5 | 24 + extra, number)
    raise ValueError(f"{number} is beyond 64 bits")


def encode(value: Any) -> bytes:
    """A value of a tree as a CBOR item."""
    if value is None or isinstance(value, bool):
        return {None: b"\xf6", False: b"\xf4", True: b"\xf5"}[value]
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, float):
        return struct.pack(">Bd", 0xFB, value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return head(3, len(text)) + text
    if isinstance(value, Tensor):
        place = [value.storage, value.dtype, list(value.shape), list(value.strides), value.offset]
        return head(6, TENSOR) + encode(place)
    if isinstance(value, Bundle):
        return head(6, BUNDLE) + encode([value.kind, value.structure, value.tensors])
    if isinstance(value, Opaque):
        return head(6, OPAQUE) + encode([value.encoding, value.data])
    if isinstance(value, tuple):
        return head(6, TUPLE) + encode(list(value))
    if isinstance(value, list):
        return head(4, len(value)) + b"".join(map(encode, value))
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("keys of maps are texts")
        pairs = (encode(key) + encode(item) for key, item in value.items())
        return head(5, len(value)) + b"".join(pairs)
    raise TypeError(f"{type(value)} cannot travel")


def encode_storage(storage: Storage) -> list[Any]:
    """An entry of the table of storages."""
    return [(Host, Device, Handle, Part).index(type(storage)), *storage]


class Reader:
    """The items of a body, one behind the other."""

    def __init__(self, body: bytes, levels: int = LEVELS, nodes: int = NODES) -> None:
        self.body, self.at, self.levels, self.nodes = body, 0, levels, nodes
        self.tensors: list[Tensor] = []

    def take(self, count: int) -> bytes:
        """So many bytes, if they are there."""
        if count > len(self.body) - self.at:
            raise ProtocolError(f"{count} bytes announced, {len(self.body) - self.at} left")
        self.at += count
        return self.body[self.at - count : self.at]

    def head(self) -> tuple[int, int, int]:
        """Major type, additional information and number of the next item."""
        major, info = divmod(self.take(1)[0], 32)
        if info < 24:
            return major, info, info
        if info > 27:
            raise ProtocolError(f"additional information {info}")
        return major, info, int.from_bytes(self.take(1 << info - 24), "big")

    def expect(self, major: int, number: int) -> None:
        """A head that can only be this one."""
        found, _, count = self.head()
        if (found, count) != (major, number):
            raise ProtocolError(f"a head of {found} and {count}, not {major} and {number}")

    def item(self, level: int = 1, tags: bool = True) -> Any:
        """A value; those above level 1 are structure, and no nodes."""
        if level > self.levels:
            raise ProtocolError(f"more than {self.levels} levels")
        self.nodes -= level > 0
        if self.nodes < 0:
            raise ProtocolError("too many nodes")
        major, info, number = self.head()
        if major == 0:
            return number
        if major == 1:
            return -1 - number
        if major == 2:
            return self.take(number)
        if major == 3:
            return self.text(number)
        if major in (4, 5) and number * (major - 3) > len(self.body) - self.at:
            raise ProtocolError(f"{number} items announced, {len(self.body) - self.at} bytes left")
        if major == 4:
            return [self.item(level + 1, tags) for _ in range(number)]
        if major == 5:
            return self.map(number, lambda: self.item(level + 1, tags))
        if major == 6 and tags:
            return self.tagged(number, level)
        if major == 7 and info == 27:
            return struct.unpack(">d", number.to_bytes(8, "big"))[0]
        if major == 7 and info in (20, 21, 22):
            return (False, True, None)[info - 20]
        raise ProtocolError(f"an item of major type {major} and information {info}")

    def text(self, length: int) -> str:
        """UTF-8 of so many bytes."""
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise ProtocolError(str(error)) from error

    def map(self, count: int, item: Callable[[], Any]) -> dict[str, Any]:
        """So many pairs, with texts that differ as keys."""
        found: dict[str, Any] = {}
        for _ in range(count):
            major, _, length = self.head()
            if major != 3:
                raise ProtocolError(f"a key of major type {major}")
            if (key := self.text(length)) in found:
                raise ProtocolError(f"two keys {key!r}")
            found[key] = item()
        return found

    def tagged(self, tag: int, level: int) -> Any:
        """What stands behind a tag of a value at this level."""
        if tag == TUPLE:
            major, _, count = self.head()
            if major != 4 or count > len(self.body) - self.at:
                raise ProtocolError("a tuple of something else")
            return tuple(self.item(level + 1) for _ in range(count))
        if tag == TENSOR:
            found = Tensor(*TENSOR_FIELDS.read(self.item(-2, False)).values())
            self.tensors.append(found)
            return found
        if tag == BUNDLE:
            self.expect(4, 3)
            kind, structure = TEXT.read(self.item(0, False)), self.item(level + 1)
            major, _, count = self.head()
            if major != 5:
                raise ProtocolError("the tensors of a bundle are a map")
            return Bundle(kind, structure, self.map(count, self.tensor))
        if tag == OPAQUE:
            return Opaque(*OPAQUE_FIELDS.read(self.item(-1, False)).values())
        raise ProtocolError(f"tag {tag}")

    def tensor(self) -> Tensor:
        """A tensor of a bundle."""
        self.expect(6, TENSOR)
        self.nodes -= 1
        if self.nodes < 0:
            raise ProtocolError("too many nodes")
        found: Tensor = self.tagged(TENSOR, 1)
        return found

    def encoded(self, arguments: bool) -> Encoded:
        """An encoded value, or encoded arguments."""
        self.expect(4, 2)
        storages = LIST_OF_STORAGES.read(self.item(-2, False))
        tree = self.item(-1 if arguments else 1)
        if arguments:
            ARGUMENTS.read(tree)
        for tensor in self.tensors:
            tensor.check(storages)
        if {tensor.storage for tensor in self.tensors} != set(range(len(storages))):
            raise ProtocolError("a storage without a tensor")
        if sum(one.length for one in storages if not isinstance(one, Handle)) > STORAGE_BYTES:
            raise ProtocolError("too many bytes of storages")
        return Encoded(storages, tree)

    def end(self) -> None:
        """Nothing follows."""
        if self.at != len(self.body):
            raise ProtocolError(f"{len(self.body) - self.at} bytes behind the last item")


class Codec(NamedTuple):
    """What a field is in CBOR's terms and in Python's."""

    read: Callable[[Any], Any]
    write: Callable[[Any], Any] = lambda value: value


def plain(name: str, check: Callable[[Any], bool]) -> Codec:
    """A field that is the same on both sides."""

    def read(value: Any) -> Any:
        if not check(value):
            raise ProtocolError(f"{value!r:.80} is no {name}")
        return value

    return Codec(read, read)


def unsigned(bits: int) -> Codec:
    return plain(f"u{bits}", lambda value: type(value) is int and 0 <= value < 1 << bits)


def optional(one: Codec) -> Codec:
    return Codec(
        lambda value: None if value is None else one.read(value),
        lambda value: None if value is None else one.write(value),
    )


def each(one: Codec) -> Codec:
    """An array of any length."""

    def of(change: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda value: [change(item) for item in LIST.read(value)]

    return Codec(of(one.read), of(one.write))


def record(**fields: Codec) -> Codec:
    """An array of fields in their order, a dict by their names."""

    def read(value: Any) -> dict[str, Any]:
        if len(LIST.read(value)) != len(fields):
            raise ProtocolError(f"{len(value)} fields instead of {', '.join(fields)}")
        return {name: one.read(item) for (name, one), item in zip(fields.items(), value)}

    return Codec(read, lambda value: [one.write(value[name]) for name, one in fields.items()])


def holds(tree: Any, *types: type) -> bool:
    """Whether something of these types is in a tree."""
    if isinstance(tree, types):
        return True
    if isinstance(tree, Bundle):
        return holds(tree.structure, *types)
    items = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, (list, tuple)) else ()
    return any(holds(item, *types) for item in items)


def read_storage(value: Any) -> Storage:
    """An entry of the table of storages."""
    kind = LIST.read(value)[:1]
    if kind == [0] and len(value) == 2:
        return Host(U64.read(value[1]))
    if kind == [1] and len(value) == 3:
        return Device(SIXTEEN.read(value[1]), U64.read(value[2]))
    if kind == [2] and len(value) == 2 and isinstance(value[1], bytes) and len(value[1]) == 256:
        return Handle(value[1])
    if kind == [3] and len(value) == 5:
        part = Part(SIXTEEN.read(value[1]), *map(U64.read, value[2:]))
        if part.offset + part.length <= part.allocation:
            return part
    raise ProtocolError(f"a storage {value!r:.80}")


LIST = plain("array", lambda value: type(value) is list)
BOOL = plain("bool", lambda value: type(value) is bool)
TEXT = plain("text", lambda value: type(value) is str)
BYTES = plain("bytes", lambda value: type(value) is bytes)
SIXTEEN = plain("16 bytes", lambda value: type(value) is bytes and len(value) == 16)
INTEGER = plain("integer", lambda value: type(value) is int)
FLOAT = plain("float", lambda value: type(value) is float)
TEXTS = plain(
    "map of texts", lambda value: type(value) is dict and all(type(one) is str for one in value.values())
)
ARGUMENTS = plain(
    "list and map of arguments",
    lambda value: type(value) is list and list(map(type, value)) == [list, dict],
)
PLAIN = plain("plain data", lambda value: not holds(value, Tensor, Bundle, Opaque))
U16, U32, U64 = unsigned(16), unsigned(32), unsigned(64)
LIST_OF_STORAGES = Codec(lambda value: [read_storage(one) for one in LIST.read(value)])
DIMENSION = Codec(lambda value: tuple(each(INTEGER).read(value)), list)
TENSOR_FIELDS = record(storage=U64, dtype=TEXT, shape=DIMENSION, strides=DIMENSION, offset=U64)
OPAQUE_FIELDS = record(encoding=TEXT, bytes=BYTES)
