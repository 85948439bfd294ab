"""Nested data with tensors in it: structures, ways, refusals; and between processes."""

from __future__ import annotations

import gc
import multiprocessing
import pickle
import queue
import sys
import time
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import shm_py
from children import transporting
from children.simulator import Interface, Producer, Simulator
from shm_py import DevicePool, DeviceTensor, Pool
from shm_py.transport import (
    CudaIpcTensorTransportProxy,
    Receiver,
    Sender,
    TensorProxy,
    TensorQueue,
    TensorTransportMode,
    unwrap_mm_inputs_from_ipc,
    wrap_mm_inputs_for_ipc,
)

Pair = namedtuple("Pair", ["left", "right"])
MODES = [mode.value for mode in TensorTransportMode]
SPAWN = multiprocessing.get_context("spawn")


class Names(dict):  # type: ignore[type-arg]
    """A dict of somebody's own."""


@pytest.fixture
def pool(sim: Simulator, shm_name: str) -> Iterator[DevicePool]:
    with DevicePool.create(shm_name, slot_size=1 << 14, slots=6) as pool:
        yield pool


@pytest.fixture
def host_pool(shm_name: str) -> Iterator[Pool]:
    with Pool.create(f"{shm_name}-host", slot_size=1 << 14, slots=8) as pool:
        yield pool


def _device(number: int, count: int = 100) -> DeviceTensor:
    return DeviceTensor.from_numpy(np.full(count, number, np.float32))


def _sent(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def _sender(mode: str, pool: DevicePool, **options: Any) -> Sender:
    return Sender(mode, pool=pool if mode == "cuda_ipc_pool" else None, **options)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("packed", [False, True])
def test_a_structure_comes_back_as_it_was(
    pool: DevicePool, host_pool: Pool, mode: str, packed: bool
) -> None:
    array = np.arange(12, dtype=np.int16).reshape(3, 4)
    value: dict[Any, Any] = {
        "list": [_device(1), [_device(2), "text"], None],
        "pair": Pair(_device(3), (4.5, b"bytes")),
        "ordered": OrderedDict([("z", array), ("a", _device(5))]),
        "default": defaultdict(list, k=[_device(6)]),
        "own": Names(k=array),
        7: {"plain": [1, 2]},
        "empty": np.zeros((0, 3)),
        "objects": np.array([None, "x"], dtype=object),
    }
    sender = _sender(mode, pool, host_pool=host_pool if packed else None, inline_up_to=16)
    receiver = Receiver()
    wrapped = sender.wrap(value)
    assert isinstance(wrapped["list"][0], TensorProxy)
    assert isinstance(wrapped["ordered"]["z"], TensorProxy) == packed
    assert wrapped[7] is value[7]
    expected = {"default": "host_pool" if packed else "inline"}.get(mode, mode)
    assert wrapped["list"][0].route == expected
    assert len(pickle.dumps(wrapped["list"][0])) < 1000
    found = receiver.unwrap(_sent(wrapped))
    for tensor, number in [
        (found["list"][0], 1), (found["list"][1][0], 2), (found["pair"].left, 3),
        (found["ordered"]["a"], 5), (found["default"]["k"][0], 6),
    ]:
        assert isinstance(tensor, DeviceTensor)
        np.testing.assert_array_equal(tensor.to_numpy(), np.full(100, number, np.float32))
    for there in (found["ordered"]["z"], found["own"]["k"]):
        assert isinstance(there, np.ndarray)
        np.testing.assert_array_equal(there, array)
    for key in ("pair", "ordered", "default", "own"):
        assert type(found[key]) is type(value[key])
    assert list(found["ordered"]) == ["z", "a"]
    assert (found["list"][1][1], found["list"][2]) == ("text", None)
    assert found["pair"].right == (4.5, b"bytes")
    assert found["default"].default_factory is list
    assert sender.stats().wrapped == receiver.stats().unwrapped == (7 if packed else 5)
    assert (sender.stats().shared, sender.stats().failed) == (0, 0)
    assert pool.stats().pool.in_use == host_pool.stats().in_use == 0
    assert value["list"][0].to_numpy()[0] == 1


def test_tensors_of_other_libraries(pool: DevicePool) -> None:
    tensor = _device(8)
    interface = Interface(shape=(100,), typestr="<f4", data=(tensor.ptr, False))
    sender, receiver = Sender("cuda_ipc_pool", pool=pool), Receiver()
    for found in receiver.unwrap(sender.wrap([Producer(tensor), interface])):
        assert set(found.to_numpy()) == {8}
    unchanged = {"x": np.ones(3), "y": "z"}
    assert sender.wrap(unchanged) is unchanged
    assert receiver.unwrap(unchanged) is unchanged


def test_torch_tensors_if_asked_for(pool: DevicePool, monkeypatch: pytest.MonkeyPatch) -> None:
    sender, receiver = Sender("cuda_ipc_pool", pool=pool), Receiver()
    wrapped = sender.wrap([_device(1)])
    assert "torch" not in sys.modules
    fake = SimpleNamespace(from_dlpack=lambda it: ("torch", DeviceTensor.from_dlpack(it)))
    monkeypatch.setitem(sys.modules, "torch", fake)
    ((kind, tensor),) = receiver.unwrap(wrapped, as_torch=True)
    assert (kind, set(tensor.to_numpy())) == ("torch", {1})


@pytest.mark.parametrize("mode", MODES)
def test_each_proxy_is_unwrapped_once(pool: DevicePool, host_pool: Pool, mode: str) -> None:
    sender, receiver = _sender(mode, pool, host_pool=host_pool, inline_up_to=0), Receiver()
    wrapped = sender.wrap([_device(1), _device(2)])
    again = _sent(wrapped)
    # Each by itself, and the last one first.
    assert set(wrapped[1].reconstruct_on_device("cuda:0", receiver=receiver).to_numpy()) == {2}
    with pytest.raises(shm_py.StaleTicket, match="unwrapped here before"):
        receiver.unwrap(wrapped[1])
    # The other one is acknowledged although this one fails.
    with pytest.raises(shm_py.StaleTicket):
        receiver.unwrap(again)
    assert receiver.stats().failed >= 2
    with pytest.raises(shm_py.PoolError):
        receiver.unwrap(_sent(wrapped[0]))
    assert pool.stats().pool.in_use == host_pool.stats().in_use == sender.stats().shared == 0


def test_an_error_takes_everything_back(pool: DevicePool) -> None:
    sender = Sender("cuda_ipc_pool", pool=pool, timeout=0.1)
    stays = pool.consumer()
    tensor = _device(1)
    columns = Interface(
        shape=(10, 10), typestr="<f4", data=(tensor.ptr, False), strides=(4, 40)
    )
    for bad, error in [(columns, ValueError), (_device(1, 1 << 13), ValueError)]:
        with pytest.raises(error):
            sender.wrap([_device(1), {"x": bad}])
        assert pool.stats().pool.in_use == 0
    # More than all slots: some were lent.
    begun = time.monotonic()
    with pytest.raises(shm_py.PoolFull, match="within 1..[.]"):
        sender.wrap([_device(number) for number in range(7)])
    assert 0.1 <= time.monotonic() - begun < 5
    assert pool.stats().pool.in_use == 0
    assert (sender.stats().full, sender.stats().wrapped) == (1, 0)

    class Broken(tuple):  # type: ignore[type-arg]
        def __new__(cls, items: Any = ()) -> Broken:
            if any(isinstance(item, TensorProxy) for item in items):
                raise KeyError("no proxies")
            return super().__new__(cls, items)

    with pytest.raises(KeyError):
        sender.wrap(Broken([_device(1)]))
    wrapped = sender.wrap([_device(1)])
    assert pool.stats().pool.in_use == 1
    sender.take_back(wrapped)
    assert pool.stats().pool.in_use == 0
    with pytest.raises(shm_py.StaleTicket):
        Receiver(seat=1).unwrap(wrapped)
    stays.close()


def test_a_full_pool(pool: DevicePool) -> None:
    stays = pool.consumer()
    held = [pool.lend(1) for _ in range(6)]
    with pytest.raises(shm_py.PoolFull):
        Sender("cuda_ipc_pool", pool=pool, when_full="fail").wrap(_device(1))
    through_host = Sender("cuda_ipc_pool", pool=pool, when_full="host")
    wrapped = through_host.wrap(_device(2))
    assert (wrapped.route, wrapped.on_device) == ("inline", True)
    assert (through_host.stats().fallbacks, through_host.stats().full) == (1, 1)
    assert set(Receiver().unwrap(wrapped).to_numpy()) == {2}
    large = Sender("cuda_ipc_pool", pool=pool, fallback="host")
    assert large.wrap(_device(3, 1 << 13)).route == "inline"
    del held
    stays.close()


def test_what_cannot_be_is_refused(pool: DevicePool) -> None:
    with pytest.raises(ValueError, match="mode is 'none'; expected one of 'default'"):
        Sender("none")
    with pytest.raises(ValueError, match="needs a pool"):
        Sender("cuda_ipc_pool")
    with pytest.raises(ValueError, match="pool is None"):
        TensorQueue(mode="cuda_ipc_pool")
    with pytest.raises(ValueError, match="2"):
        Sender("cuda_ipc_pool", pool=pool, consumers=2)
    with pytest.raises(ValueError, match="when_full"):
        Sender(when_full="never")
    with pytest.raises(ValueError, match="fallback"):
        Sender(fallback="never")
    with pytest.raises(ValueError, match="timeout"):
        Sender(timeout=-1)
    proxy = Sender().wrap(_device(1))
    data = bytes(proxy)
    assert bytes(TensorProxy.from_bytes(data)) == data
    for bad in (b"", data[:-1], data[:9] + b"\xff" + data[10:]):
        with pytest.raises(ValueError, match="proxy"):
            TensorProxy.from_bytes(bad)
    with pytest.raises(ValueError, match="device"):
        Receiver("cuda:9").unwrap(proxy)
    assert CudaIpcTensorTransportProxy is TensorProxy
    # Nothing was used up by naming a device that is not there.
    assert set(unwrap_mm_inputs_from_ipc(proxy, "cuda:1").to_numpy()) == {1}


@pytest.mark.parametrize("mode", MODES)
def test_other_devices(pool: DevicePool, mode: str) -> None:
    sender = _sender(mode, pool)
    tensors = [_device(1), DeviceTensor.from_numpy(np.full(5, 2.0), "cuda:1")]
    found = Receiver("cuda:1").unwrap(sender.wrap(tensors))
    assert [tensor.device for tensor in found] == ["cuda:1", "cuda:1"]
    assert [set(tensor.to_numpy()) for tensor in found] == [{1}, {2}]
    assert pool.stats().pool.in_use == sender.stats().shared == 0


def test_in_the_order_of_streams(pool: DevicePool, sim: Simulator) -> None:
    sender, receiver = Sender("cuda_ipc_pool", pool=pool), Receiver()
    stream, other = sim.stream(), sim.stream()
    tensor = DeviceTensor.empty((1000,), "uint8")
    sim.delay(10_000, 20_000)
    for number in range(1, 6):
        sim.fill_later(tensor.ptr, number, 1000, stream)
        wrapped = sender.wrap(tensor, stream=stream)
        # Behind the copy that the call has queued.
        sim.fill_later(tensor.ptr, 0xEE, 1000, stream)
        found = receiver.unwrap(wrapped, stream=other)
        assert set(found.to_numpy(stream=other)) == {number}
    sim.delay(0, 0)
    sim.synchronize(stream)
    sim.destroy(stream)
    sim.destroy(other)


def test_in_place_memory_is_kept_while_it_is_used(sim: Simulator, pool: DevicePool) -> None:
    sender, receiver = Sender("cuda_ipc"), Receiver()
    wrapped = sender.wrap(_device(4))
    gc.collect()
    assert (sender.stats().shared, sender.stats().shared_bytes) == (1, 400)
    assert set(receiver.unwrap(wrapped).to_numpy()) == {4}
    sender.collect()
    assert sender.stats().shared == 0


def test_one_call_with_what_the_process_has(pool: DevicePool) -> None:
    for mode in (*MODES, *TensorTransportMode):
        wrapped = wrap_mm_inputs_for_ipc({"x": [_device(3)]}, mode, pool)
        assert set(unwrap_mm_inputs_from_ipc(wrapped)["x"][0].to_numpy()) == {3}
    assert pool.stats().pool.in_use == 0
    # What the process keeps for such calls would keep the pool.
    from shm_py import _transport

    _transport._senders.clear()
    _transport._receivers.clear()


@pytest.mark.parametrize("mode", MODES)
def test_a_queue_of_requests(pool: DevicePool, mode: str) -> None:
    tensors = TensorQueue(4, mode, pool if mode == "cuda_ipc_pool" else None)
    receiver = Receiver()
    assert tensors.empty()
    with pytest.raises(queue.Empty):
        tensors.get(timeout=0.01)
    child = SPAWN.Process(target=transporting.put_in_queue, args=(tensors, 5))
    if mode == "cuda_ipc":
        # Its memory ends with the process, so it has to be this one.
        tensors.put("r5", None, {"x": _device(5)})
    else:
        child.start()
    name, nothing, wrapped = tensors.get(timeout=30)
    assert (name, nothing) == ("r5", None)
    assert isinstance(wrapped["x"], TensorProxy)
    assert set(receiver.unwrap(wrapped)["x"].to_numpy()) == {5}
    if mode != "cuda_ipc":
        child.join(30)
        assert child.exitcode == 0
    # What does not pickle leaves nothing lent, and is said here.
    with pytest.raises((AttributeError, pickle.PicklingError)):
        tensors.put({"x": _device(1), "bad": lambda: None})
    assert pool.stats().pool.in_use == 0
    for _ in range(4):
        tensors.put([1])
    with pytest.raises(queue.Full):
        tensors.put([_device(1)], timeout=0.05)
    assert pool.stats().pool.in_use == 0
    assert tensors.qsize() == 4
    while tensors.qsize():
        assert tensors.get(timeout=5) == [1]
    tensors.close()
    tensors.close()


@pytest.mark.parametrize("mode", MODES)
def test_many_tensors_through_a_process_that_takes_its_time(
    pool: DevicePool, sim: Simulator, mode: str, stress: bool
) -> None:
    rounds = 2000 if stress else 334
    requests, answers = SPAWN.Queue(), SPAWN.Queue()
    arguments = (requests, answers, rounds, "cuda:0")
    child = SPAWN.Process(target=transporting.check_all, args=arguments)
    child.start()
    assert answers.get(timeout=60) == "ready"
    sender = _sender(mode, pool)
    for number in range(rounds):
        tensors = [_device(number * 10 + index, 1 + (number * 7 + index) % 900) for index in range(3)]
        requests.put({"number": number, "tensors": sender.wrap(tensors)})
    wrong, unwrapped = answers.get(timeout=120)
    assert (wrong, unwrapped) == ([], rounds * 3)
    child.join(30)
    assert child.exitcode == 0
    assert sender.stats().wrapped == rounds * 3
    assert pool.stats().pool.in_use == sender.stats().shared == 0
    requests.close()
    answers.close()


def test_a_receiver_that_is_killed_keeps_nothing(pool: DevicePool) -> None:
    requests, answers = SPAWN.Queue(), SPAWN.Queue()
    child = SPAWN.Process(target=transporting.die_holding, args=(requests, answers, pool.name))
    child.start()
    assert answers.get(timeout=60) == "ready"
    sender = Sender("cuda_ipc_pool", pool=pool, timeout=20)
    requests.put(sender.wrap([_device(number) for number in range(6)]))
    assert answers.get(timeout=60) == "held"
    assert pool.stats().pool.shared == 6
    child.kill()
    child.join(30)
    with pool.lend(1, timeout=10):
        pass
    pool.reap()
    assert pool.stats().pool.in_use == 0
    requests.close()
    answers.close()


def test_a_sender_that_is_killed_is_told_of(sim: Simulator, pool: DevicePool) -> None:
    receiver = Receiver(timeout=5)
    for mode in ("cuda_ipc_pool", "cuda_ipc"):
        requests, answers = SPAWN.Queue(), SPAWN.Queue()
        arguments = (requests, answers, pool.name, mode)
        child = SPAWN.Process(target=transporting.send, args=arguments)
        child.start()
        wrapped = requests.get(timeout=60)
        child.kill()
        child.join(30)
        if mode == "cuda_ipc_pool":
            # It had arrived in memory that is not the sender's.
            np.testing.assert_array_equal(receiver.unwrap(wrapped)[0].to_numpy(), np.arange(64))
        else:
            with pytest.raises((shm_py.PoolError, FileNotFoundError)):
                receiver.unwrap(wrapped)
            # What it kept its ledger under.
            shm_py.remove_pool(f"shares-{child.pid}-0")
        requests.close()
        answers.close()
    assert pool.stats().pool.in_use == 0
