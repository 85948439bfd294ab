"""Frames of the share service, written from share-protocol.md with the standard library alone."""

from __future__ import annotations

import struct
from typing import Any, NamedTuple, Optional

from share.wire_values import (
    BOOL,
    FLOAT,
    PLAIN,
    SIXTEEN,
    TEXT,
    TEXTS,
    U16,
    U32,
    U64,
    Codec,
    Handle,
    ProtocolError,
    Reader,
    each,
    encode,
    encode_storage,
    head,
    optional,
    plain,
    record,
    unsigned,
)

MAGIC = b"SHR1"
HEADER = struct.Struct("<4sHHQII")
VERSION = 1
DESCRIPTORS = 253
BODY = 4 << 20

FAILURE = record(code=U16, message=TEXT, error_type=TEXT, details=TEXTS)
TASK = record(
    task=U64,
    endpoint=TEXT,
    state=plain("state", lambda value: value in range(5) and type(value) is int),
    created=FLOAT,
    started=optional(FLOAT),
    completed=optional(FLOAT),
    failure=optional(FAILURE),
    object=optional(U64),
)
OBJECT = record(
    object=U64,
    endpoint=TEXT,
    key=TEXT,
    leases=U64,
    bytes=U64,
    created=FLOAT,
    accessed=FLOAT,
    survives=BOOL,
)
NUMBER_OF_TASK = record(task=U64)
TO_ENDPOINT = record(endpoint=TEXT)


class Kind(NamedTuple):
    """A kind of frame: its number, its own fields, and what follows them."""

    number: int
    fields: Optional[Codec] = None
    value: Optional[str] = None


KINDS = {
    "Hello": Kind(1, record(versions=each(U16), pid=U32, process=SIXTEEN, name=TEXT)),
    "Ping": Kind(2),
    "ServerInfo": Kind(3),
    "Endpoints": Kind(4),
    "Call": Kind(5, TO_ENDPOINT, "arguments"),
    "Submit": Kind(6, TO_ENDPOINT, "arguments"),
    "Task": Kind(7, NUMBER_OF_TASK),
    "TaskResult": Kind(8, NUMBER_OF_TASK),
    "WaitTask": Kind(9, NUMBER_OF_TASK),
    "CancelTask": Kind(10, NUMBER_OF_TASK),
    "Tasks": Kind(11, record(state=optional(unsigned(8)))),
    "Release": Kind(12, record(leases=each(U64))),
    "Acquire": Kind(13, record(object=U64)),
    "Object": Kind(14, record(object=U64)),
    "InvalidateCall": Kind(15, TO_ENDPOINT, "arguments"),
    "InvalidateEndpoint": Kind(16, TO_ENDPOINT),
    "Cancel": Kind(17, record(request=U64)),
}
REPLIES = {
    "Welcome": Kind(
        0x8001,
        record(
            version=U16,
            server=SIXTEEN,
            pid=U32,
            process=SIXTEEN,
            body_limit=U32,
            in_flight_limit=U32,
            opaque=BOOL,
        ),
    ),
    "Pong": Kind(0x8002),
    "Info": Kind(0x8003, record(info=PLAIN)),
    "Answer": Kind(0x8004, record(lease=optional(U64), object=optional(U64)), "value"),
    "Submitted": Kind(0x8005, NUMBER_OF_TASK),
    "Task": Kind(0x8006, TASK),
    "Tasks": Kind(0x8007, record(tasks=each(TASK))),
    "Cancelled": Kind(0x8008, record(cancelled=BOOL)),
    "Released": Kind(0x8009, record(released=each(BOOL))),
    "Object": Kind(0x800A, record(object=optional(OBJECT))),
    "Invalidated": Kind(0x800B, record(count=U64)),
    "Failed": Kind(0x800C, FAILURE),
    "Stopping": Kind(0x800D),
}


class Message(NamedTuple):
    """A frame's meaning."""

    kind: str
    request: int
    fields: dict[str, Any]
    reply: bool = False


def encode_frame(message: Message) -> bytes:
    """The whole frame."""
    kind = (REPLIES if message.reply else KINDS)[message.kind]
    body, descriptors = b"", 0
    if kind.fields is not None:
        body = encode(kind.fields.write(message.fields))
    if kind.value is not None:
        storages, tree = message.fields[kind.value]
        body += head(4, 2) + encode([encode_storage(one) for one in storages]) + encode(tree)
        descriptors = sum(not isinstance(one, Handle) for one in storages)
    return HEADER.pack(MAGIC, kind.number, descriptors, message.request, len(body), 0) + body


class Header(NamedTuple):
    """What the header of a frame says."""

    name: str
    reply: bool
    descriptors: int
    request: int
    length: int


def decode_header(data: bytes, limit: int = BODY) -> Header:
    """The header that `data` begins with."""
    magic, number, descriptors, request, length, nil = HEADER.unpack_from(data)
    kinds = REPLIES if number & 0x8000 else KINDS
    names = [name for name, kind in kinds.items() if kind.number == number]
    if magic != MAGIC or not names or nil:
        raise ProtocolError(f"a frame of kind {number:#x} with {magic!r} and {nil}")
    if length > limit or descriptors > DESCRIPTORS:
        raise ProtocolError(f"a frame of {length} bytes and {descriptors} descriptors")
    return Header(names[0], kinds is REPLIES, descriptors, request, length)


def decode_body(header: Header, body: bytes) -> Message:
    """The meaning of a frame."""
    kind = (REPLIES if header.reply else KINDS)[header.name]
    reader, fields = Reader(body), dict[str, Any]()
    if kind.fields is not None:
        info = header.name == "Info"
        fields = kind.fields.read(reader.item(0 if info else -8, info))
    if kind.value is not None:
        value = fields[kind.value] = reader.encoded(kind.value == "arguments")
        expected = sum(not isinstance(one, Handle) for one in value.storages)
        if expected != header.descriptors:
            raise ProtocolError(f"{header.descriptors} descriptors instead of {expected}")
    reader.end()
    return Message(header.name, header.request, fields, header.reply)
