"""The protocol as its specification has it: the golden vectors, and a client that knows nothing else."""

from __future__ import annotations

import json
import math
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from share.wire_client import Answer, Client, Failed, share
from share.wire_frames import HEADER, KINDS, REPLIES, Message, decode_body, decode_header, encode_frame
from share.wire_service import TEXT, WireService
from share.wire_values import (
    DTYPES,
    Bundle,
    Device,
    Encoded,
    Handle,
    Host,
    Opaque,
    ProtocolError,
    Reader,
    Tensor,
    encode,
)

VECTORS = json.loads((Path(__file__).parents[3] / "shm-cuda/docs/share-vectors.json").read_text())


@pytest.fixture
def wire(folder: Path) -> Iterator[WireService]:
    """A server in a process of its own, with nothing left of its clients afterwards."""
    service = WireService(str(folder / "w.sock"))
    yield service
    if service.child.process.poll() is None:
        assert service.counts("connections", 0) and service.counts("leases", 0)
        service.child.finish()
    service.child.stop()


def described(value: Any) -> Any:
    """A tree as the vectors describe it."""
    if isinstance(value, float):
        return {"bits": struct.pack(">d", value).hex()}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if type(value) is int and not -(1 << 63) <= value < 1 << 64:
        return {"int": str(value)}
    if isinstance(value, Tensor):
        return {"tensor": {**vars(value), "shape": list(value.shape), "strides": list(value.strides)}}
    if isinstance(value, Bundle):
        tensors = [[name, described(one)] for name, one in value.tensors.items()]
        return {"bundle": value.kind, "structure": described(value.structure), "tensors": tensors}
    if isinstance(value, Opaque):
        return {"opaque": value.encoding, "bytes": value.data.hex()}
    if isinstance(value, dict):
        return {"map": [[name, described(one)] for name, one in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [described(one) for one in value]}
    return [described(one) for one in value] if isinstance(value, list) else value


def described_storage(storage: Any) -> dict[str, Any]:
    """A storage as the vectors describe it."""
    if isinstance(storage, Host):
        return {"host": storage.length}
    if isinstance(storage, Device):
        return {"vmm": storage.length, "device": storage.device.hex()}
    return {"legacy": storage.handle.hex()}


def described_field(name: str, value: Any) -> Any:
    """A field of a message as the vectors describe it."""
    if isinstance(value, Encoded):
        tree = value.tree
        return {"storages": [described_storage(one) for one in value.storages], "value": described(tree)}
    if name == "info":
        return described(value)
    if name == "details":
        return [list(pair) for pair in value.items()]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {inner: described_field(inner, one) for inner, one in value.items()}
    return [described_field("", one) for one in value] if isinstance(value, list) else value


def meant(value: Any) -> Any:
    """The tree that a description describes."""
    if isinstance(value, list):
        return [meant(one) for one in value]
    if not isinstance(value, dict):
        return value
    if "float" in value:
        number = struct.unpack(">d", bytes.fromhex(value["bits"]))[0]
        assert float(value["float"]) == number or math.isnan(float(value["float"])) and math.isnan(number)
        return number
    if "opaque" in value:
        return Opaque(value["opaque"], bytes.fromhex(value["bytes"]))
    if "bundle" in value:
        tensors = {name: meant(one) for name, one in value["tensors"]}
        return Bundle(value["bundle"], meant(value["structure"]), tensors)
    ((name, inner),) = value.items()
    if name == "tensor":
        return Tensor(**{**inner, "shape": tuple(inner["shape"]), "strides": tuple(inner["strides"])})
    if name == "map":
        return {key: meant(one) for key, one in inner}
    if name == "tuple":
        return tuple(map(meant, inner))
    return int(inner) if name == "int" else bytes.fromhex(inner)


def meant_field(name: str, value: Any) -> Any:
    """The field of a message that a description describes."""
    if name in ("arguments", "value"):
        storages: list[Any] = []
        for one in value["storages"]:
            if "host" in one:
                storages.append(Host(one["host"]))
            elif "vmm" in one:
                storages.append(Device(bytes.fromhex(one["device"]), one["vmm"]))
            else:
                storages.append(Handle(bytes.fromhex(one["legacy"])))
        return Encoded(storages, meant(value["value"]))
    if name == "info":
        return meant(value)
    if name == "details":
        return dict(value)
    if name in ("process", "server"):
        return bytes.fromhex(value)
    if isinstance(value, dict):
        return {inner: meant_field(inner, one) for inner, one in value.items()}
    return [meant_field("", one) for one in value] if isinstance(value, list) else value


def without_text(value: Any) -> Any:
    """A description, its floats by their bits alone."""
    if isinstance(value, list):
        return [without_text(one) for one in value]
    if isinstance(value, dict):
        return {name: without_text(one) for name, one in value.items() if name != "float"}
    return value


@pytest.mark.parametrize("vector", VECTORS, ids=lambda one: str(one["name"]))
def test_golden_vectors_mean_what_they_say_and_are_written_as_they_are(vector: dict[str, Any]) -> None:
    frame, meaning = bytes.fromhex(vector["frame"]), vector["meaning"]
    header = decode_header(frame)
    assert (header.descriptors, header.length) == (vector["descriptors"], len(frame) - HEADER.size)
    message = decode_body(header, frame[HEADER.size :])
    fields = {name: described_field(name, one) for name, one in message.fields.items()}
    assert (message.kind, message.request) == (meaning["kind"], meaning["request"])
    assert fields == without_text(meaning["fields"])
    written = {name: meant_field(name, one) for name, one in meaning["fields"].items()}
    assert encode_frame(Message(meaning["kind"], meaning["request"], written, header.reply)) == frame
    for end in range(HEADER.size, len(frame)):
        with pytest.raises(ProtocolError):
            decode_body(header, frame[HEADER.size : end])
    with pytest.raises(ProtocolError):
        decode_body(header, frame[HEADER.size :] + b"\0")


def test_there_is_a_vector_of_every_kind() -> None:
    headers = [decode_header(bytes.fromhex(vector["frame"])) for vector in VECTORS]
    assert {one.name for one in headers if not one.reply} == KINDS.keys()
    assert {one.name for one in headers if one.reply} == REPLIES.keys()


def test_a_first_conversation(wire: WireService) -> None:
    with wire.client() as client:
        assert client.welcome["version"] == 1 and client.welcome["pid"] == wire.child.pid
        assert (client.welcome["body_limit"], client.welcome["opaque"]) == (1 << 20, False)
        assert client.ask("Ping") == {}
        info = client.ask("ServerInfo")["info"]
        wanted = "server version server_id socket_path pid uptime running ready endpoints workers"
        assert {*wanted.split(), "capabilities", "stats"} <= info.keys()
        assert (info["pid"], info["socket_path"], info["ready"]) == (wire.child.pid, wire.path, True)
        assert info["server_id"] == client.welcome["server"].hex()
        assert {"cuda", "simulated", "routes"} <= info["capabilities"].keys()
        endpoints = {one["name"]: one for one in client.ask("Endpoints")["info"]}
        assert list(endpoints) == info["endpoints"]
        wanted = "execution managed cache key singleflight concurrency keep_unleased parameters"
        assert {*wanted.split()} <= endpoints["model"].keys()
        assert (endpoints["patient"]["execution"], endpoints["model"]["managed"]) == ("task", True)


def test_versions_are_settled(wire: WireService) -> None:
    with wire.client(versions=(1, 9)) as client:
        assert client.welcome["version"] == 1
    for versions in ((2, 9), (0, 0), (3, 1)):
        with pytest.raises(Failed) as caught:
            wire.client(versions=versions)
        assert caught.value.code == 1


def test_a_server_of_somebody_else_hears_nothing(wire: WireService) -> None:
    with pytest.raises(PermissionError):
        wire.client(users=[os.getuid() + 1])
    assert wire.counts("connections", 0)
    assert wire.counters()["requests"] == 0


def test_a_cached_result_is_memory_that_clients_share(wire: WireService) -> None:
    with wire.client() as client, wire.client() as other:
        first, second, third = (one.call("model", 4) for one in (client, client, other))
        assert client.call("built").tree == 1
        assert first.object == second.object == third.object is not None
        assert len({first.lease, second.lease, third.lease}) == 3
        base, views = first.tree["base"], first.tree["views"]
        assert (base.dtype, base.shape, type(views)) == ("float32", (4, 3), tuple)
        numbers = [float(n) for n in range(12)]
        assert first.elements(base) == third.elements(third.tree["base"]) == numbers
        assert bytes(first.bytes(base)[:48]) == struct.pack("<12f", *numbers)
        assert views[0].strides == (-3, 1)
        assert first.elements(views[0]) == [*numbers[9:], *numbers[6:9], *numbers[3:6], *numbers[:3]]
        assert first.elements(views[1][0]) == [number for i in range(3) for number in numbers[i::3]]
        assert first.elements(views[1][1]) == [3.0, 5.0, 6.0, 8.0, 9.0, 11.0]
        assert base.storage == views[0].storage == views[1][1].storage
        assert first.elements(first.tree["fill"]) == [0.5, 0.5]
        with pytest.raises(TypeError):
            first.bytes(base)[0] = 1
        assert wire.counters()["leases"] == 3


def test_values_come_back_as_they_were_sent(wire: WireService) -> None:
    values: list[Any] = [
        None, True, False, 0, 23, 24, 255, 256, 65536, 1 << 32, (1 << 64) - 1, -1, -24, -25, -(1 << 64),
        0.0, -0.0, 1.5, 5e-324, math.inf, -math.inf, "", "zwölf \U0001f600\0", b"", b"\0\xff",
        [], (), {}, [1, (2.5, {"b": [None], "a": ({},)})],
    ]  # fmt: skip
    with wire.client() as client:
        tree = client.call("echo", *values, one=values, naïve=-1).tree
        assert repr(tree) == repr({"args": tuple(values), "kwargs": {"one": values, "naïve": -1}})
        assert math.isnan(client.call("echo", math.nan).tree["args"][0])


def test_numbers_may_be_longer_than_they_need(wire: WireService) -> None:
    with wire.client() as client:
        arguments = "82 80 82 98 01 3b 0000000000000007 b9 0001 78 01 61 1a 00000005"
        body = encode(["echo"]) + bytes.fromhex(arguments)
        client.socket.sendall(HEADER.pack(b"SHR1", KINDS["Call"].number, 0, 500, len(body), 0) + body)
        assert client.answer(500).tree == {"args": (-8,), "kwargs": {"a": 5}}


def test_arguments_with_tensors(wire: WireService) -> None:
    with wire.client() as client:
        for dtype, (form, size, _) in DTYPES.items():
            raw = [1, 0, 1] if dtype in ("bool", "bfloat16") else [1, 2, 3]
            flat = [number for number in raw for _ in form] if len(form) > 1 else raw
            memory = share(b"\xee" * 16, struct.pack("<" + form * 3, *flat))
            whole, part = Tensor(0, dtype, (3,), (1,), 16), Tensor(0, dtype, (2, 2), (-2, 0), 16 + 2 * size)
            answer = client.call("echo", whole, [part], memory=[memory], turned=part)
            os.close(memory[0])
            (one, (two,)), three = answer.tree["args"], answer.tree["kwargs"]["turned"]
            before = Answer(None, None, None, answer.memories)
            numbers = before.elements(one)
            assert (one.dtype, one.shape, two.shape, len(numbers)) == (dtype, (3,), (2, 2), 3)
            if dtype != "bfloat16":
                assert numbers == [complex(n, n) for n in raw] if len(form) > 1 else numbers == raw
            assert before.elements(two) == [numbers[2], numbers[2], numbers[0], numbers[0]]
            assert before.elements(three) == before.elements(two)
        memories = [share(struct.pack("<q", 7)), share(b""), share(struct.pack("<2d", 0.5, -1.0))]
        tensors = [Tensor(2, "float64", (2,), (1,), 0), Tensor(1, "int8", (0, 4), (4, 1), 0)]
        answer = client.call("echo", *tensors, x={"y": (Tensor(0, "int64", (), (), 0),)}, memory=memories)
        for descriptor, _ in memories:
            os.close(descriptor)
        found = [answer.elements(one) for one in (*answer.tree["args"], answer.tree["kwargs"]["x"]["y"][0])]
        assert found == [[0.5, -1.0], [], [7]]


def test_bundles_travel_both_ways(wire: WireService) -> None:
    with wire.client() as client:
        answer = client.call("module")
        bundle = answer.tree
        assert isinstance(bundle, Bundle) and bundle.kind == "layer" and list(bundle.tensors) == ["w", "b"]
        assert bundle.structure == {"class": "Linear", "sizes": (2, 3)}
        assert [answer.elements(one) for one in bundle.tensors.values()] == [[1.0] * 6, [0.0] * 2]
        memory = share(bytes(range(8)))
        sent = Bundle("anything", ["x", (1,)], {"t": Tensor(0, "uint16", (4,), (1,), 0)})
        answer = client.call("echo", sent, memory=[memory])
        os.close(memory[0])
        back = answer.tree["args"][0]
        assert (back.kind, back.structure) == (sent.kind, sent.structure)
        assert answer.elements(back.tensors["t"]) == [0x0100, 0x0302, 0x0504, 0x0706]


def test_tasks(wire: WireService) -> None:
    with wire.client() as client, wire.client() as other:
        number = client.submit("patient", 60.0)
        waiting = client.send("WaitTask", task=number)
        with pytest.raises(Failed) as caught:
            client.answer(client.send("TaskResult", task=number))
        assert caught.value.code == 5
        until = time.monotonic() + 10
        while (task := client.ask("Task", task=number))["state"] == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert (task["task"], task["endpoint"], task["state"], task["object"]) == (number, "patient", 1, None)
        assert abs(task["created"] - time.time()) < 30 and task["started"] >= task["created"]
        assert task["completed"] is None and task["failure"] is None
        assert [one["task"] for one in client.ask("Tasks", state=1)["tasks"]] == [number]
        assert client.ask("CancelTask", task=number) == {"cancelled": True}
        assert client.answer(waiting).tree == "cancelled"  # it was asked to stop, and gave a result
        assert client.ask("Task", task=number)["state"] == 2
        assert client.ask("CancelTask", task=number) == {"cancelled": False}

        workers = [client.submit("patient", 60.0) for _ in range(4)]
        number = client.submit("patient", 60.0)
        assert client.ask("CancelTask", task=number) == {"cancelled": True}
        assert client.ask("Task", task=number)["state"] == 4
        with pytest.raises(Failed) as caught:
            client.answer(client.send("WaitTask", task=number))
        assert caught.value.code == 5
        for one in workers:
            client.ask("CancelTask", task=one)

        number = client.submit("load", 2, fill=2.0)
        answers = [client.answer(client.send(kind, task=number)) for kind in ("WaitTask", "TaskResult")]
        assert answers[0].object == answers[1].object and answers[0].lease != answers[1].lease
        assert answers[1].elements(answers[1].tree["fill"]) == [2.0, 2.0]
        task = client.ask("Task", task=number)
        assert (task["state"], task["object"]) == (2, answers[0].object)

        number = client.submit("fail_later", "not today")
        with pytest.raises(Failed, match="not today") as caught:
            client.answer(client.send("WaitTask", task=number))
        assert (caught.value.code, caught.value.error_type) == (5, "LookupError")
        failure = client.ask("Task", task=number)["failure"]
        assert (failure["code"], failure["error_type"]) == (7, "LookupError")
        assert len(client.ask("Tasks", state=None)["tasks"]) == 8
        for kind in ("Task", "WaitTask", "TaskResult", "CancelTask"):
            with pytest.raises(Failed) as caught:
                other.ask(kind, task=1 << 60)
            assert caught.value.code == 5, kind


def test_leases_end_once_and_are_their_connections(wire: WireService) -> None:
    with wire.client() as client, wire.client() as other:
        first = client.call("model", 2)
        assert first.lease is not None and first.object is not None
        again = client.answer(client.send("Acquire", object=first.object))
        theirs = other.answer(other.send("Acquire", object=first.object))
        assert again.lease is not None and theirs.lease is not None
        assert again.elements(again.tree["base"]) == first.elements(first.tree["base"])
        known = client.ask("Object", object=first.object)["object"]
        assert (known["object"], known["endpoint"], known["leases"]) == (first.object, "model", 3)
        assert len(bytes.fromhex(known["key"])) == 32 and known["survives"] is True
        assert known["bytes"] >= 6 * 4 + 16 and known["created"] <= known["accessed"] <= time.time()
        assert client.release(theirs.lease, again.lease, again.lease, 1 << 50) == [False, True, False, False]
        assert client.release(again.lease) == [False]
        assert other.release(theirs.lease) == [True]
        client.send("Release", number=0, leases=[first.lease])
        assert client.ask("Ping") == {}
        assert client.release(first.lease) == [False]
        assert client.ask("Object", object=first.object)["object"]["leases"] == 0
        assert client.ask("Object", object=1 << 50) == {"object": None}
        with pytest.raises(Failed) as caught:
            client.ask("Acquire", object=1 << 50)
        assert caught.value.code == 8
        fleeting = client.call("fleeting", 2)
        assert fleeting.lease is not None and client.release(fleeting.lease) == [True]
        with pytest.raises(Failed) as caught:
            client.ask("Acquire", object=fleeting.object)
        assert caught.value.code == 8
        assert fleeting.elements(fleeting.tree["fill"]) == [0.5, 0.5]


def test_a_hang_up_ends_leases(wire: WireService) -> None:
    client, other = wire.client(), wire.client()
    kept = [client.call("model", 3) for _ in range(5)]
    other.call("model", 3)
    assert wire.counters()["leases"] == 6
    client.close()
    assert wire.counts("leases", 1) and wire.counts("connections", 1)
    assert kept[0].elements(kept[0].tree["fill"]) == [0.5, 0.5]
    other.close()
    assert wire.counts("leases", 0)


def test_invalidation(wire: WireService) -> None:
    with wire.client() as client:
        first = [client.call("model", rows).object for rows in (1, 2, 3)]
        assert client.invalidate("model", 2) == 1 and client.invalidate("model", rows=2) == 0
        assert client.call("model", 1).object == first[0] and client.call("model", 2).object != first[1]
        assert client.ask("InvalidateEndpoint", endpoint="model") == {"count": 3}
        assert client.ask("InvalidateEndpoint", endpoint="model") == {"count": 0}
        assert client.call("model", 1).object != first[0]


def test_failures_say_what_is_wrong(wire: WireService) -> None:
    with wire.client() as client:
        with pytest.raises(Failed, match="there is none") as caught:
            client.call("fail", "there is none")
        assert (caught.value.code, caught.value.error_type) == (7, "LookupError")
        for request in (client.begin("Call", "absent"), client.send("InvalidateEndpoint", endpoint="absent")):
            with pytest.raises(Failed, match="absent") as caught:
                client.reply(request)
            assert caught.value.code == 2
        for positional, named in (((), {}), ((1,), {"columns": 2}), ((1, 2, 3), {})):
            with pytest.raises(Failed, match="argument") as caught:
                client.call("model", *positional, **named)
            assert (caught.value.code, caught.value.error_type) == (6, "TypeError")
        assert client.ask("Ping") == {}


def test_answers_stay_within_the_limit_of_bodies(wire: WireService) -> None:
    with wire.client() as client:
        limit = client.body_limit
        assert client.call("text").tree == "x" * TEXT
        with pytest.raises(ValueError, match="Call"):
            client.call("echo", "x" * limit)
        with pytest.raises(Failed) as caught:
            client.call("sized", limit + 1)
        assert caught.value.code == 3
        assert client.ask("Ping") == {}


def test_replies_come_in_any_order_and_requests_can_be_cancelled(wire: WireService) -> None:
    with wire.client() as client:
        slow = client.begin("Call", "slow", 60.0)
        quick = [client.begin("Call", "echo", n) for n in range(50)]
        for n, request in reversed(list(enumerate(quick))):
            assert client.answer(request).tree["args"] == (n,)
        begun = time.monotonic()
        client.cancel(slow)
        managed = client.begin("Call", "model", 9)
        client.cancel(managed)
        assert client.ask("Ping") == {} and time.monotonic() - begun < 20
        assert wire.counts("leases", 0)


def test_memory_outlives_its_server(wire: WireService) -> None:
    with wire.client() as client:
        answer = client.call("model", 50_000)
        wire.child.kill()
        with pytest.raises(ConnectionError):
            client.ask("Ping")
        assert answer.elements(answer.tree["base"]) == [float(n) for n in range(150_000)]
        assert answer.elements(answer.tree["views"][0])[:3] == [149_997.0, 149_998.0, 149_999.0]


def test_values_that_are_not_of_the_profile_are_refused_here_too() -> None:
    for level, tail in ((63, b""), (64, b"\x00")):
        with pytest.raises(ProtocolError):
            Reader(b"\x81" * (level + 1) + tail).item()
    found = Reader(b"\x81" * 63 + b"\x00").item()
    for _ in range(63):
        (found,) = found
    assert found == 0


def test_the_client_needs_no_package() -> None:
    for module in ("wire_client", "wire_frames", "wire_values"):
        source = (Path(__file__).parent / f"{module}.py").read_text()
        imports = {line.split()[1] for line in source.splitlines() if line.startswith(("import ", "from "))}
        assert not [one for one in imports if one.startswith(("shm_py", "numpy"))], module
    assert Client.__module__ == "share.wire_client"
