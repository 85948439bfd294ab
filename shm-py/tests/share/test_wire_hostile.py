"""Peers that do not keep to the protocol: each is answered or cut off, and nobody else notices."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pickle
import resource
import socket
import struct
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from share.wire_client import CANCELLED, SHRINK, Client, Failed, share
from share.wire_frames import HEADER, KINDS, MAGIC, Message, encode_frame
from share.wire_service import WireService
from share.wire_values import TUPLE, Encoded, Host, Opaque, Tensor, encode, head

CALL, PING = KINDS["Call"].number, KINDS["Ping"].number
MIB = 1 << 20
#: Bytes of answers that a server keeps for a client that does not read.
UNREAD = 256 * MIB
WHOLE = Tensor(0, "uint8", (8,), (1,), 0)
PROTOCOL = 1
#: The number of the requests that are written by hand.
NUMBER = 9


@pytest.fixture(scope="module")
def module_service() -> Iterator[WireService]:
    with tempfile.TemporaryDirectory(prefix="shm-share-") as folder:
        service = WireService(f"{folder}/h.sock")
        with service.client() as client:
            client.call("model", 4)
        yield service
        service.child.finish()


@pytest.fixture
def wire(module_service: WireService) -> Iterator[WireService]:
    """A server that is as it was after each attack."""
    assert module_service.counts("connections", 0)
    descriptors, memory = module_service.descriptors(), module_service.memory()
    yield module_service
    with module_service.client() as other:
        assert other.call("echo", 1).tree["args"] == (1,)
        answer = other.call("model", 4)
        assert answer.elements(answer.tree["fill"]) == [0.5, 0.5]
    assert module_service.counts("connections", 0) and module_service.counts("leases", 0)
    assert module_service.counts("builds", 0)
    until = time.monotonic() + 10
    while module_service.descriptors() != descriptors and time.monotonic() < until:
        time.sleep(0.01)
    assert module_service.descriptors() == descriptors
    assert module_service.memory() < memory + 32 * MIB


@contextlib.contextmanager
def stranger(wire: WireService) -> Iterator[socket.socket]:
    """A connection that has said nothing yet."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(20)
        raw.connect(wire.path)
        yield raw


def frame(
    kind: int, body: bytes = b"", *, descriptors: int = 0, request: int = NUMBER, length: int = -1
) -> bytes:
    """A frame whose header says what it likes."""
    length = len(body) if length < 0 else length
    return HEADER.pack(MAGIC, kind, descriptors, request, length, 0) + body


def of(tree: bytes, storages: bytes = b"\x80") -> bytes:
    """The body of a call of `echo` with one argument."""
    return encode(["echo"]) + b"\x82" + storages + b"\x82\x81" + tree + b"\xa0"


def refused(client: Client, body: bytes, descriptors: Sequence[int] = ()) -> Failed:
    """How a call with that body fails; the connection goes on."""
    client.last += 1
    data = frame(CALL, body, descriptors=len(descriptors), request=client.last)
    sent = socket.send_fds(client.socket, [data], list(descriptors)) if descriptors else 0
    client.socket.sendall(data[sent:])
    with pytest.raises(Failed) as caught:
        client.reply(client.last)
    assert client.ask("Ping") == {}
    return caught.value


def cut_off(client: Client) -> None:
    """The server answers what was right, says that the rest is not the protocol, and hangs up."""
    message, descriptors = client.receive()
    while message.kind == "Pong":
        message, descriptors = client.receive()
    assert (message.kind, message.fields["code"], descriptors) == ("Failed", PROTOCOL, []), message
    assert message.request in (0, NUMBER)
    with pytest.raises(ConnectionError):
        client.receive()
    client.close()


def call_frame(length: int = 8) -> bytes:
    """A good call with a tensor."""
    arguments = Encoded([Host(length)], [[WHOLE, "text", -1.5], {"name": (None,)}])
    return encode_frame(Message("Call", NUMBER, {"endpoint": "echo", "arguments": arguments}))


def test_frames_that_end_early(wire: WireService) -> None:
    data, memory = call_frame(), share(b"12345678")
    for end in range(len(data)):
        with wire.client() as client:
            if end:
                socket.send_fds(client.socket, [data[:end]], [memory[0]])
    hello = encode_frame(
        Message("Hello", 1, {"versions": [1, 1], "pid": 1, "process": b"p" * 16, "name": "short"})
    )
    for end in range(len(hello)):
        with stranger(wire) as raw:
            raw.sendall(hello[:end])
    os.close(memory[0])


def test_frames_that_come_in_bytes(wire: WireService) -> None:
    data, memory = call_frame(), share(b"12345678")
    with wire.client() as client:
        socket.send_fds(client.socket, [data[:1]], [memory[0]])
        for one in data[1:]:
            client.socket.sendall(bytes([one]))
        answer = client.answer(NUMBER)
        assert bytes(answer.bytes(answer.tree["args"][0])) == b"12345678"
    os.close(memory[0])


BROKEN = {
    "wrong magic": b"SHR2" + frame(PING)[4:],
    "not even a header's magic": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "nil that is not": frame(PING)[:20] + b"\1\0\0\0",
    "unknown kind": frame(18),
    "kind 0": frame(0),
    "kind of a reply": frame(0x8002),
    "kind beyond replies": frame(0x800E),
    "a body of 4 GiB": frame(CALL, length=0xFFFFFFFF),
    "a body above the limit": frame(CALL, length=MIB + 1),
    "more descriptors than can be": frame(PING, descriptors=254),
    "65535 descriptors": frame(PING, descriptors=65535),
    "descriptors that did not come": frame(CALL, of(b"\0"), descriptors=2),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_frames_that_break_the_connection(wire: WireService, data: bytes) -> None:
    client = wire.client()
    client.socket.sendall(data)
    cut_off(client)


@pytest.mark.parametrize("kind", sorted({one.number for one in KINDS.values()} - {1}))
def test_nobody_is_served_who_did_not_say_hello(wire: WireService, kind: int) -> None:
    with stranger(wire) as raw:
        raw.sendall(frame(kind, of(b"\0") if kind == CALL else b""))
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while more := raw.recv(4096):
                data += more
        magic, found, _, request, length, _ = HEADER.unpack_from(data)
        assert (magic, found, request) == (MAGIC, 0x800C, NUMBER)
        assert len(data) == HEADER.size + length


def test_a_second_hello(wire: WireService) -> None:
    with wire.client() as client:
        with pytest.raises(Failed) as caught:
            client.ask("Hello", versions=[1, 1], pid=1, process=b"x" * 16, name="again")
        assert caught.value.code == PROTOCOL
        assert client.ask("Ping") == {}


def test_bodies_that_are_announced_and_do_not_come(wire: WireService) -> None:
    before = wire.memory()
    with contextlib.ExitStack() as held:
        for _ in range(40):
            held.enter_context(wire.client()).socket.sendall(frame(CALL, of(b"\0"), length=MIB))
        assert wire.counts("connections", 40)
        assert wire.memory() < before + 8 * MIB


BAD_TREES = {
    "float of 2 bytes": "f93c00",
    "float of 4 bytes": "fa3f800000",
    "array without end": "9fff",
    "text without end": "7f6161ff",
    "map without end": "bfff",
    "undefined": "f7",
    "simple value": "f8ff",
    "break": "ff",
    "reserved information": "1c",
    "date": "c06161",
    "big number": "c24101",
    "tag of nobody": "d99c4400",
    "no UTF-8": "61ff",
    "surrogate": "63eda080",
    "key that is no text": "a10101",
    "key twice": "a2616101616102",
    "tuple of a number": "d99c4001",
    "tensor without storage": "d99c41850065696e74388080" + "00",
    "tensor of four fields": "d99c41840065696e74388080",
    "array beyond memory": "9bffffffffffffffff",
    "array of 2^32": "9affffffff",
    "text beyond memory": "7bffffffffffffffff",
    "bytes of 2^63": "5b8000000000000000",
    "map beyond memory": "bbffffffffffffffff",
    "tuple beyond memory": "d99c409bffffffffffffffff",
    "65 levels": "81" * 64 + "00",
    "500000 levels": "81" * 500_000 + "00",
    "500000 tags": "d99c40" * 300_000 + "00",
    "262145 nodes": "9a00040000" + "00" * 262_144,
    "bundle of two": "d99c428261 6280".replace(" ", ""),
    "bundle of no tensors": "d99c42836162f6a1617801",
    "opaque of three": "d99c43836170410000",
}


@pytest.mark.parametrize("tree", BAD_TREES.values(), ids=BAD_TREES)
def test_trees_that_are_not_of_the_profile(wire: WireService, tree: str) -> None:
    with wire.client() as client:
        assert refused(client, of(bytes.fromhex(tree))).code == PROTOCOL


def test_bodies_of_another_form(wire: WireService) -> None:
    bodies = [
        b"",
        encode(["echo"]),
        of(b"\0") + b"\0",
        of(b"\0")[:-1],
        encode([1]) + of(b"\0")[6:],
        encode(["echo", 1]) + of(b"\0")[6:],
        encode(["echo"]) + encode([[], [[], []]]),
        encode(["echo"]) + encode([[], [{}, {}]]),
        encode(["echo"]) + head(4, 2) + encode([]) + head(6, TUPLE) + encode([[], {}]),
        encode(["echo"]) + encode([[], [[]]]),
    ]
    with wire.client() as client:
        for body in bodies:
            assert refused(client, body).code == PROTOCOL, body.hex()
        for kind in ("Ping", "ServerInfo", "Endpoints"):
            client.socket.sendall(frame(KINDS[kind].number, b"\x80", request=1 << 40))
            with pytest.raises(Failed) as caught:
                client.reply(1 << 40)
            assert caught.value.code == PROTOCOL


BAD_TENSORS: dict[str, Any] = {
    "too long": [0, "uint8", [9], [1], 0],
    "too far": [0, "uint8", [8], [1], 1],
    "below the start": [0, "uint8", [2], [-2], 1],
    "far stride": [0, "uint8", [2], [1 << 63], 0],
    "farther stride": [0, "uint8", [2], [(1 << 64) - 1], 0],
    "farthest stride": [0, "uint8", [3], [-(1 << 64)], 0],
    "not aligned": [0, "int32", [1], [1], 2],
    "empty and behind": [0, "uint8", [0], [1], 9],
    "empty and not aligned": [0, "int16", [0], [1], 7],
    "negative": [0, "uint8", [-1], [1], 0],
    "too many elements": [0, "uint8", [1 << 32, 1 << 32], [0, 0], 0],
    "too many bytes": [0, "int64", [1 << 60], [0], 0],
    "33 dimensions": [0, "uint8", [1] * 33, [1] * 33, 0],
    "one stride": [0, "uint8", [1, 1], [1], 0],
    "no such dtype": [0, "uint128", [1], [1], 0],
    "no such storage": [1, "uint8", [1], [1], 0],
    "storage -1": [-1, "uint8", [1], [1], 0],
    "offset beyond": [0, "uint8", [1], [1], (1 << 64) - 1],
    "float length": [0, "uint8", [1.0], [1], 0],
}


@pytest.mark.parametrize("fields", BAD_TENSORS.values(), ids=BAD_TENSORS)
def test_tensors_that_cannot_be(wire: WireService, fields: Any) -> None:
    memory = share(b"12345678")
    with wire.client() as client:
        tree = head(4, 2) + encode(WHOLE) + b"\xd9\x9c\x41" + encode(fields)
        assert refused(client, of(tree, encode([[0, 8]])), [memory[0]]).code == PROTOCOL
    os.close(memory[0])


def test_tables_of_storages_that_cannot_be(wire: WireService) -> None:
    memory = share(b"12345678")[0]
    tree = encode(WHOLE)
    tables: list[tuple[Any, int]] = [
        ([[0, 8]], 0),
        ([[0, 8]], 2),
        ([[0, 8], [0, 8]], 2),
        ([[0, 9]], 1),
        ([[0, 1 << 63]], 1),
        ([[0, (1 << 64) - 1]], 1),
        ([[0, -8]], 1),
        ([[0]], 1),
        ([[0, 8, 8]], 1),
        ([[3, 8]], 1),
        ([[]], 1),
        ([8], 1),
        ([[1, b"d" * 15, 8]], 1),
        ([[2, b"h" * 255]], 0),
        ([[2, b"h" * 256]], 0),
        ([[2, b"h" * 256]], 1),
        ([], 1),
        ([[3, b"d" * 16, 16, 8]], 1),
        ([[3, b"d" * 16, 16, 16, 8]], 0),
        ([[4, 8]], 1),
    ]
    with wire.client() as client:
        for table, count in tables:
            assert refused(client, of(tree, encode(table)), [memory] * count).code == PROTOCOL, table
        assert refused(client, of(tree, encode([[1, b"d" * 16, 8]])), [memory]).code in (1, 4)
    os.close(memory)


def descriptors_of_others(folder: Path) -> Iterator[tuple[str, int]]:
    """Descriptors that are no sealed memory of 8 bytes."""
    unsealed = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    os.ftruncate(unsealed, 8)
    yield "unsealed", unsealed
    plain = os.memfd_create("without seals")
    os.ftruncate(plain, 8)
    yield "not to be sealed", plain
    yield "too short", share(b"1234567")[0]
    yield "empty", share(b"")[0]
    (folder / "file").write_bytes(b"12345678")
    yield "file", os.open(folder / "file", os.O_RDONLY)
    yield "folder", os.open(folder, os.O_RDONLY)
    yield "path", os.open(folder, os.O_PATH)
    yield "device", os.open("/dev/zero", os.O_RDWR)
    ends = os.pipe()
    os.close(ends[1])
    yield "pipe", ends[0]
    one, other = socket.socketpair()
    other.close()
    yield "socket", one.detach()
    with contextlib.suppress(OSError):  # where the machine has no huge pages
        huge = os.memfd_create("huge", os.MFD_ALLOW_SEALING | os.MFD_HUGETLB)
        os.ftruncate(huge, 2 * MIB)
        fcntl.fcntl(huge, fcntl.F_ADD_SEALS, SHRINK)
        yield "huge pages", huge


def test_descriptors_that_are_no_sealed_memory(wire: WireService, folder: Path) -> None:
    with wire.client() as client:
        for name, descriptor in descriptors_of_others(folder):
            found = refused(client, of(encode(WHOLE), encode([[0, 8]])), [descriptor])
            os.close(descriptor)
            assert found.code == PROTOCOL, name


def test_descriptors_that_nothing_announces(wire: WireService) -> None:
    memory = share(b"12345678")[0]
    client = wire.client()
    socket.send_fds(client.socket, [frame(PING)], [memory])
    cut_off(client)
    client = wire.client()
    socket.send_fds(client.socket, [call_frame()], [memory] * 2)
    cut_off(client)
    for first in (1, 23, 24, 30):
        client = wire.client()
        data = call_frame()
        with contextlib.suppress(OSError):
            socket.send_fds(client.socket, [data[:first]], [memory] * 250)
            socket.send_fds(client.socket, [data[first:]], [memory] * 50)
        cut_off(client)
    os.close(memory)


def test_descriptors_with_every_byte(wire: WireService) -> None:
    memory = share(b"12345678")[0]
    before = wire.descriptors()
    for _ in range(20):
        with wire.client() as client, contextlib.suppress(OSError):
            for one in call_frame()[:23]:
                socket.send_fds(client.socket, [bytes([one])], [memory] * 253)
            time.sleep(0.02)
    assert wire.descriptors() < before + 1000
    os.close(memory)


def test_descriptors_up_to_the_limit_of_the_server(wire: WireService) -> None:
    memory = share(b"12345678")[0]
    pid, limit = wire.child.pid, resource.RLIMIT_NOFILE
    before = resource.prlimit(pid, limit)
    with wire.client() as other, contextlib.ExitStack() as held:
        resource.prlimit(pid, limit, (300, before[1]))
        for _ in range(3):
            client = held.enter_context(wire.client())
            socket.send_fds(client.socket, [call_frame()[:1]], [memory] * 253)
        assert other.ask("Ping") == {}
    resource.prlimit(pid, limit, before)
    os.close(memory)


class Trap:
    """What unpickling it does is seen."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def test_nobody_unpickles(wire: WireService, folder: Path) -> None:
    marker = folder / "marker"
    with wire.client() as client:
        for version in range(pickle.HIGHEST_PROTOCOL + 1):
            trap = pickle.dumps(Trap(marker), version)
            assert refused(client, trap).code == PROTOCOL
            assert refused(client, encode(["echo"]) + trap).code == PROTOCOL
            for encoding in ("pickle", "python", ""):
                assert refused(client, of(encode([Opaque(encoding, trap)]))).code == PROTOCOL
            assert client.call("echo", trap).tree["args"] == (trap,)
        memory = share(trap)
        with pytest.raises(Failed) as caught:
            client.call("model", Tensor(0, "uint8", (len(trap),), (1,), 0), memory=[memory])
        assert caught.value.code == 7
        os.close(memory[0])
    assert not marker.exists()
    pickle.loads(trap)
    assert marker.exists()


def flood(client: Client, data: bytes, count: int) -> int:
    """Sends and never reads; how many frames went out before the server took no more."""
    client.socket.settimeout(3)
    sent = 0
    with contextlib.suppress(OSError):
        for _ in range(count):
            client.socket.sendall(data)
            sent += 1
    return sent


FLOODS = {
    "pings": frame(PING),
    "questions": frame(KINDS["ServerInfo"].number),
    "slow calls": frame(CALL, encode(["slow"]) + encode([[], [[3.0], {}]])),
    "tensors": frame(CALL, encode(["model"]) + encode([[], [[4], {}]])),
    "long texts": frame(CALL, encode(["text"]) + encode([[], [[], {}]])),
    "wrong bodies": frame(CALL, b"\xff"),
    "tasks": frame(KINDS["Submit"].number, encode(["patient"]) + encode([[], [[0.0], {}]])),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_ten_thousand_requests_of_one_who_does_not_read(wire: WireService, kind: str) -> None:
    before = wire.descriptors(), wire.memory()
    base = FLOODS[kind]
    with wire.client() as client, wire.client() as other:
        data = b"".join(base[:8] + struct.pack("<Q", 10 + n) + base[16:] for n in range(100))
        flood(client, data, 100)
        begun = time.monotonic()
        assert other.ask("Ping") == {}
        assert time.monotonic() - begun < 5
        assert wire.descriptors() < before[0] + 600
        assert wire.memory() < before[1] + UNREAD + 64 * MIB


def test_more_requests_in_flight_than_allowed(wire: WireService) -> None:
    with wire.client() as client:
        allowed = client.welcome["in_flight_limit"]
        assert allowed == 4096
        held = [client.begin("Call", "slow", 60.0) for _ in range(allowed + 50)]
        for request in held[allowed:]:
            with pytest.raises(Failed) as caught:
                client.reply(request)
            assert caught.value.code == 9


def test_requests_with_the_number_of_another(wire: WireService) -> None:
    with wire.client() as client:
        first = client.begin("Call", "slow", 60.0)
        arguments = Encoded([], [[1], {}])
        client.send("Call", number=first, endpoint="echo", arguments=arguments)
        with pytest.raises(Failed) as caught:
            client.reply(first)
        assert caught.value.code == PROTOCOL
        client.send("Cancel", number=0, request=first)
        with pytest.raises(Failed) as caught:
            client.reply(first)
        assert caught.value.code == CANCELLED


def test_cancelling_what_is_not_there(wire: WireService) -> None:
    with wire.client() as client:
        for number in (0, 1, 99, (1 << 64) - 1):
            client.send("Cancel", number=0, request=number)
        assert client.ask("Ping") == {}
