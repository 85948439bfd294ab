"""A client of the share service, written from share-protocol.md with the standard library alone."""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import stat
import struct
from collections import deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Optional

from share.wire_frames import (
    BODY,
    DESCRIPTORS,
    HEADER,
    VERSION,
    Header,
    Message,
    decode_body,
    decode_header,
    encode_frame,
)
from share.wire_values import DTYPES, Encoded, Host, Opaque, ProtocolError, Tensor, holds

CANCELLED = 11

SEAL = 0x01  # F_SEAL_SEAL, as of fcntl.h; Python names only some of them
SHRINK = 0x02
GROW = 0x04
FUTURE_WRITE = 0x10


class Failed(Exception):
    """The server answered a request by a failure."""

    def __init__(self, code: int, message: str, error_type: str, details: dict[str, str]) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.error_type, self.details = code, message, error_type, details


def share(*parts: bytes) -> tuple[int, Host]:
    """A sealed memfd with these bytes, for arguments; the caller closes it."""
    data = b"".join(parts)
    descriptor = os.memfd_create("argument", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, len(data))
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SHRINK | GROW)
    if data:
        os.posix_fallocate(descriptor, 0, len(data))
        os.pwrite(descriptor, data, 0)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, FUTURE_WRITE | SEAL)
    return descriptor, Host(len(data))


def attach(descriptor: int, length: int) -> Optional[mmap.mmap]:
    """The memory behind a descriptor; the seals are looked at before the size."""
    if not fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & SHRINK:
        raise ProtocolError("memory that can be cut off")
    status = os.fstat(descriptor)
    pages = os.fstatvfs(descriptor).f_bsize
    if not stat.S_ISREG(status.st_mode) or status.st_size < length or pages != mmap.PAGESIZE:
        raise ProtocolError(f"{status.st_size} bytes in pages of {pages} for a storage of {length}")
    return mmap.mmap(descriptor, length, prot=mmap.PROT_READ) if length else None


@dataclass
class Answer:
    """What an endpoint gave, with its memory."""

    lease: Optional[int]
    object: Optional[int]
    tree: Any
    memories: list[Optional[mmap.mmap]] = field(default_factory=list)

    def elements(self, tensor: Tensor) -> list[Any]:
        """All elements, the last dimension first; those of bfloat16 are floats, complex ones pairs."""
        form, size, _ = DTYPES[tensor.dtype]
        places = [tensor.offset]
        for length, stride in zip(tensor.shape, tensor.strides):
            places = [place + i * stride * size for place in places for i in range(length)]
        memory = self.memories[tensor.storage]
        raw = [struct.unpack_from("<" + form, memory or b"", place) for place in places]
        if tensor.dtype == "bfloat16":
            return [struct.unpack("<f", struct.pack("<I", one[0] << 16))[0] for one in raw]
        return [one[0] if len(one) == 1 else complex(*one) for one in raw]

    def bytes(self, tensor: Tensor) -> memoryview:
        """The memory from a tensor's first byte on, without a copy."""
        memory = self.memories[tensor.storage]
        return memoryview(memory or b"")[tensor.offset :]


class Client:
    """A connection to a server. One thread uses it, and no process that was forked."""

    def __init__(self, path: str, *, name: str = "wire", timeout: float = 20.0, **options: Any) -> None:
        """Connects and introduces itself. Options: `users` and `versions`, `opaque` to take such values."""
        users: Collection[int] = options.pop("users", (os.getuid(),))
        versions: Sequence[int] = options.pop("versions", (VERSION, VERSION))
        self.opaque: bool = options.pop("opaque", False)
        assert not options, options
        self.process = os.getpid()
        self.stopping = False
        self.buffer = bytearray()
        self.descriptors: deque[int] = deque()
        self.replies: dict[int, tuple[Message, list[int]]] = {}
        self.last = 0
        self.body_limit = BODY
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.socket.settimeout(timeout)
            self.socket.connect(path)
            credentials = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            if (user := struct.unpack("3i", credentials)[1]) not in users:
                raise PermissionError(f"the server belongs to user {user}")
            self.welcome = self.ask(
                "Hello", versions=list(versions), pid=os.getpid(), process=os.urandom(16), name=name
            )
            self.body_limit = self.welcome["body_limit"]
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the connection, and with it all its leases."""
        self.socket.close()
        for descriptor in self.descriptors:
            os.close(descriptor)
        for _, descriptors in self.replies.values():
            for descriptor in descriptors:
                os.close(descriptor)
        self.descriptors.clear()
        self.replies.clear()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(
        self, kind: str, descriptors: Sequence[int] = (), number: Optional[int] = None, **fields: Any
    ) -> int:
        """A request, and its number."""
        assert os.getpid() == self.process, "a forked process has no part in the connection"
        if number is None:
            self.last += 1
            number = self.last
        frame = encode_frame(Message(kind, number, fields))
        if len(frame) - HEADER.size > self.body_limit or len(descriptors) > DESCRIPTORS:
            raise ValueError(f"{kind} of {len(frame)} bytes and {len(descriptors)} descriptors")
        sent = socket.send_fds(self.socket, [frame], list(descriptors)) if descriptors else 0
        self.socket.sendall(frame[sent:])
        return number

    def receive(self) -> tuple[Message, list[int]]:
        """The next frame and its descriptors, which are the caller's."""
        while (header := self.header()) is None or len(self.buffer) < HEADER.size + header.length:
            data, descriptors, flags, _ = socket.recv_fds(self.socket, 1 << 16, DESCRIPTORS)
            self.descriptors.extend(descriptors)
            for descriptor in descriptors:
                os.set_inheritable(descriptor, False)
            if flags & socket.MSG_CTRUNC:
                raise ProtocolError("descriptors were cut off")
            if not data:
                raise ConnectionResetError("the server hung up")
            self.buffer += data
        if header.descriptors > len(self.descriptors):
            raise ProtocolError(f"{header.descriptors} descriptors announced, {len(self.descriptors)} came")
        own = [self.descriptors.popleft() for _ in range(header.descriptors)]
        size = HEADER.size + header.length
        body = bytes(self.buffer[HEADER.size : size])
        del self.buffer[:size]
        try:
            if self.descriptors and not self.buffer:
                raise ProtocolError(f"{len(self.descriptors)} descriptors that nothing announces")
            return decode_body(header, body), own
        except ProtocolError:
            for descriptor in own:
                os.close(descriptor)
            raise

    def header(self) -> Optional[Header]:
        """The header of the next frame, once it is there."""
        return decode_header(bytes(self.buffer[: HEADER.size])) if len(self.buffer) >= HEADER.size else None

    def reply(self, request: int) -> tuple[Message, list[int]]:
        """The reply to a request; others are kept until they are asked for."""
        while request not in self.replies:
            message, descriptors = self.receive()
            if not message.reply:
                raise ProtocolError(f"a server sent {message.kind}")
            if message.kind == "Stopping":
                self.stopping = True
            elif message.request == 0:
                raise Failed(**message.fields)
            else:
                self.replies[message.request] = message, descriptors
        message, descriptors = self.replies.pop(request)
        if message.kind == "Failed":
            raise Failed(**message.fields)
        return message, descriptors

    def answer(self, request: int) -> Answer:
        """The value that answers a request, mapped."""
        message, descriptors = self.reply(request)
        try:
            value: Encoded = message.fields["value"]
            hosts = [one for one in value.storages if isinstance(one, Host)]
            if len(hosts) != len(value.storages):
                raise ProtocolError("device memory, which this client does not map")
            if not self.opaque and holds(value.tree, Opaque):
                raise ProtocolError("opaque bytes that nobody asked for")
            memories = [attach(one, host.length) for one, host in zip(descriptors, hosts)]
            return Answer(message.fields["lease"], message.fields["object"], value.tree, memories)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def ask(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Asks something that memory is no part of."""
        return self.reply(self.send(kind, **fields))[0].fields

    def begin(
        self,
        kind: str,
        endpoint: str,
        /,
        *positional: Any,
        memory: Sequence[tuple[int, Host]] = (),
        **named: Any,
    ) -> int:
        """Sends a call, a submission or an invalidation with arguments, whose tensors lie in `memory`."""
        arguments = Encoded([one for _, one in memory], [list(positional), named])
        return self.send(kind, [one for one, _ in memory], endpoint=endpoint, arguments=arguments)

    def call(self, endpoint: str, /, *positional: Any, **named: Any) -> Answer:
        """Calls an endpoint."""
        return self.answer(self.begin("Call", endpoint, *positional, **named))

    def submit(self, endpoint: str, /, *positional: Any, **named: Any) -> int:
        """Makes a task."""
        number: int = self.reply(self.begin("Submit", endpoint, *positional, **named))[0].fields["task"]
        return number

    def invalidate(self, endpoint: str, /, *positional: Any, **named: Any) -> int:
        """Forgets what is cached for arguments."""
        request = self.begin("InvalidateCall", endpoint, *positional, **named)
        count: int = self.reply(request)[0].fields["count"]
        return count

    def release(self, *leases: int) -> list[bool]:
        """Ends leases."""
        released: list[bool] = self.ask("Release", leases=list(leases))["released"]
        return released

    def cancel(self, request: int) -> None:
        """Nobody waits for that request any more: what comes of it is given back."""
        self.send("Cancel", number=0, request=request)
        try:
            message, descriptors = self.reply(request)
        except Failed as error:
            if error.code != CANCELLED:
                raise
            return
        for descriptor in descriptors:
            os.close(descriptor)
        if (lease := message.fields.get("lease")) is not None:
            self.send("Release", number=0, leases=[lease])
