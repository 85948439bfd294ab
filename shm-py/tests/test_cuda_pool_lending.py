"""Pools of device memory within one process: forms, order, refusals, and who keeps what."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import shm_py
from children import environment
from children.simulator import Interface, Producer, Simulator
from shm_py import DeviceConsumer, DevicePool, DeviceTensor, DeviceTicket

SLOT = 1 << 16


def _frame(seed: int, shape: tuple[int, ...] = (8, 32)) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture
def pool(sim: Simulator, shm_name: str) -> Iterator[DevicePool]:
    with DevicePool.create(shm_name, slot_size=SLOT, slots=3) as pool:
        yield pool


@pytest.fixture
def consumer(pool: DevicePool) -> Iterator[DeviceConsumer]:
    with pool.consumer() as consumer:
        yield consumer


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float16", "float32", "complex128", "bool"])
@pytest.mark.parametrize("shape", [(1,), (7, 3), (2, 3, 4)])
def test_a_tensor_arrives_as_it_was_put(
    pool: DevicePool, consumer: DeviceConsumer, dtype: str, shape: tuple[int, ...]
) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    device = DeviceTensor.from_numpy(array)
    for value in (array, device, Producer(device), Producer(device, old=True)):
        ticket = pool.put(value)
        assert (ticket.shape, ticket.dtype) == (shape, array.dtype)
        with consumer.redeem(ticket) as lease:
            assert lease.tensor.readonly
            assert lease.nbytes == array.nbytes
            np.testing.assert_array_equal(lease.to_numpy(), array)
            np.testing.assert_array_equal(lease.copy().to_numpy(), array)
            target = DeviceTensor.empty(shape, dtype)
            lease.copy_to(target)
            np.testing.assert_array_equal(target.to_numpy(), array)
    assert pool.stats().pool.in_use == 0


def test_a_slot_is_filled_in_place_in_the_order_of_a_stream(
    pool: DevicePool, consumer: DeviceConsumer, sim: Simulator
) -> None:
    stream, other = sim.stream(), sim.stream()
    sim.delay(100_000, 100_000)
    with pool.lend(1000) as slot:
        sim.fill_later(slot.tensor.ptr, 7, 1000, stream)
        ticket = slot.publish(stream=stream)
        assert sim.is_busy(stream), "publish() has waited for the device"
    sim.delay(20_000, 40_000)
    target = DeviceTensor.empty((1000,), "uint8")
    lease = consumer.redeem(ticket, stream=other)
    lease.copy_to(target, stream=other)
    lease.release(stream=other)
    sim.synchronize(other)
    lease.check()
    np.testing.assert_array_equal(target.to_numpy(), np.full(1000, 7, np.uint8))
    # Without a stream, whoever wrote is waited for.
    slot = pool.lend(1000)
    sim.fill_later(slot.tensor.ptr, 9, 1000, stream)
    with consumer.redeem(slot.publish(), timeout=0) as lease:
        assert set(lease.to_numpy()) == {9}
    sim.destroy(stream)
    sim.destroy(other)


@pytest.mark.parametrize("say_where", [True, False])
def test_nothing_is_acknowledged_before_the_copy_out_is_done(
    pool: DevicePool, consumer: DeviceConsumer, sim: Simulator, say_where: bool
) -> None:
    stream = sim.stream()
    for round in range(1, 8):
        ticket = pool.put(np.full(SLOT, round, np.uint8))
        target = DeviceTensor.empty((SLOT,), "uint8")
        sim.delay(5_000, 10_000)
        lease = consumer.redeem(ticket)
        sim.copy_later(target.ptr, lease.tensor.ptr, SLOT, stream)
        if say_where:
            lease.release(stream=stream)
        else:
            lease.release()
        sim.delay(0, 0)
        # All slots are used again at once; were the old one among them, it would be overwritten.
        for _ in range(3):
            consumer.skip(pool.put(np.full(SLOT, 100 + round, np.uint8)))
        sim.synchronize(stream)
        assert set(target.to_numpy()) == {round}
    sim.destroy(stream)


@pytest.mark.parametrize("policy", ["block", "fail", "drop_oldest_unread"])
def test_a_full_pool(pool: DevicePool, consumer: DeviceConsumer, policy: Any) -> None:
    tickets = [pool.put(_frame(seed)) for seed in range(3)]
    begun = time.monotonic()
    if policy == "drop_oldest_unread":
        newest = pool.put(_frame(9), policy=policy, timeout=5)
        with pytest.raises(shm_py.StaleTicket):
            consumer.redeem(tickets.pop(0))
        tickets.append(newest)
    else:
        with pytest.raises(shm_py.PoolFull) as refused:
            pool.put(_frame(9), policy=policy, timeout=0.2)
        assert len(refused.value.holders) == 3
        assert (time.monotonic() - begun >= 0.2) == (policy == "block")
    for ticket in tickets:
        consumer.skip(ticket)
    assert pool.stats().pool.in_use == 0
    with pool.lend(SLOT, timeout=0):
        pass


def test_an_error_gives_the_slot_back(pool: DevicePool, consumer: DeviceConsumer) -> None:
    with pytest.raises(KeyError), pool.lend((4, 4), "float32") as slot:
        slot.write(np.zeros((4, 4), np.float32))
        raise KeyError
    for value, error in [
        (np.zeros((4, 5), np.float32), ValueError),
        (np.zeros((4, 4), np.float64), TypeError),
        (DeviceTensor.empty((4, 4), "int32"), TypeError),
    ]:
        slot = pool.lend((4, 4), "float32")
        with pytest.raises(error):
            slot.write(value)
        slot.abort()
        slot.abort()
        with pytest.raises(ValueError, match="given back"):
            slot.write(value)
        with pytest.raises(ValueError, match="given back"):
            slot.publish()
    device = DeviceTensor.from_numpy(np.zeros((4, 4), np.float32))
    columns = Interface(
        shape=(4, 4), typestr="<f4", data=(device.ptr, False), strides=(4, 16)
    )
    with pytest.raises(ValueError, match="contiguous"):
        pool.put(columns)
    with pytest.raises(ValueError, match="seat"):
        pool.put(device, consumers=[5])
    with pytest.raises(ValueError):
        pool.lend(SLOT + 1)
    with pytest.raises(ValueError, match="policy"):
        pool.lend(1, policy="never")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="stream"):
        pool.put(device, stream="0")
    assert pool.stats().pool.in_use == 0


def test_what_was_published_cannot_be_written(pool: DevicePool, consumer: DeviceConsumer) -> None:
    slot = pool.lend((2, 2), "int32")
    tensor = slot.tensor
    tensor.copy_from(np.ones((2, 2), np.int32))
    consumer.skip(slot.publish())
    assert tensor.readonly
    with pytest.raises(ValueError, match="read-only"):
        tensor.copy_from(np.zeros((2, 2), np.int32))
    with pytest.raises(ValueError, match="published"):
        _ = slot.tensor


def test_what_was_made_of_a_lease_keeps_it(pool: DevicePool, consumer: DeviceConsumer) -> None:
    array = _frame(3)
    exported = DeviceTensor.from_dlpack(consumer.redeem(pool.put(array)).tensor)
    gc.collect()
    assert pool.stats().pool.shared == 1
    np.testing.assert_array_equal(exported.to_numpy(), array)
    del exported
    gc.collect()
    assert pool.stats().pool.in_use == 0
    kept = pool.lend((4,), "int32").tensor
    gc.collect()
    assert pool.stats().pool.filling == 1
    del kept
    gc.collect()
    assert pool.stats().pool.in_use == 0


def test_a_ticket_survives_the_way_and_no_damage_goes_unnoticed(
    pool: DevicePool, consumer: DeviceConsumer
) -> None:
    ticket = pool.put(_frame(1))
    for copy in (pickle.loads(pickle.dumps(ticket)), DeviceTicket.from_bytes(bytes(ticket))):
        assert copy == ticket
        assert hash(copy) == hash(ticket)
        assert (copy.shape, copy.dtype, copy.pool) == ((8, 32), np.float32, pool.instance)
    data = bytes(ticket)
    for bad in (b"", data[:-1], data + b"\0", data[:40] + b"\2" + data[41:]):
        with pytest.raises(ValueError, match="ticket"):
            DeviceTicket.from_bytes(bad)
    larger = data[:43] + (1 << 40).to_bytes(8, "little") + data[51:]
    with pytest.raises(ValueError, match="bytes"):
        DeviceTicket.from_bytes(larger)
    # The plain ticket is of bytes.
    with consumer.redeem(ticket.ticket) as lease:
        assert lease.to_numpy().tobytes() == _frame(1).tobytes()
    with pytest.raises(shm_py.StaleTicket):
        consumer.redeem(ticket)
    with pytest.raises(TypeError, match="DeviceTicket"):
        consumer.redeem(b"ticket")  # type: ignore[arg-type]


def test_tickets_of_other_pools_are_refused(
    pool: DevicePool, consumer: DeviceConsumer, shm_name: str
) -> None:
    with DevicePool.create(f"{shm_name}-b", slot_size=64, slots=1) as other, other.consumer() as theirs:
        ticket = other.put(np.zeros(4, np.uint8))
        with pytest.raises(ValueError):
            consumer.redeem(ticket)
        with pytest.raises(ValueError, match="another pool"):
            pool.put(np.zeros(4, np.uint8), consumers=[theirs])
        theirs.skip(ticket)
        lent = pool.put(np.zeros(4, np.uint8), consumers=[consumer])
        assert pool.revoke(lent) == ()
    assert pool.stats().pool.in_use == 0


def test_bytes_that_do_not_come_in_time(
    pool: DevicePool, consumer: DeviceConsumer, sim: Simulator
) -> None:
    source, stream, other = DeviceTensor.from_numpy(_frame(4)), sim.stream(), sim.stream()
    sim.delay(300_000, 300_000)
    ticket = pool.put(source, stream=stream)
    begun = time.monotonic()
    with pytest.raises(shm_py.NotReady) as late:
        consumer.redeem(ticket, timeout=0.05)
    assert isinstance(late.value, TimeoutError)
    assert isinstance(late.value, shm_py.PoolError)
    assert 0.05 <= time.monotonic() - begun
    # The ticket is still good. On the device it is waited for, and let go at the deadline.
    lease = consumer.redeem(ticket, timeout=0.05, stream=other)
    with pytest.raises(shm_py.PoolError, match="waiting"):
        lease.check()
    sim.synchronize(other)
    with pytest.raises(shm_py.NotReady):
        lease.check()
    with pytest.raises(shm_py.NotReady):
        lease.to_numpy()
    lease.release()
    assert pool.stats().released_waits == 1
    sim.synchronize(stream)
    sim.destroy(stream)
    sim.destroy(other)


def test_a_source_is_kept_until_it_was_copied(
    pool: DevicePool, consumer: DeviceConsumer, sim: Simulator
) -> None:
    stream = sim.stream()
    sim.delay(30_000, 40_000)
    frame = _frame(6)
    ticket = pool.put(DeviceTensor.from_numpy(frame), stream=stream)
    gc.collect()
    np.testing.assert_array_equal(consumer.redeem(ticket).to_numpy(), frame)
    sim.synchronize(stream)
    sim.destroy(stream)


@pytest.mark.parametrize("name", ["cuda:1", 1])
def test_another_device_consumes(
    pool: DevicePool, consumer: DeviceConsumer, name: str | int
) -> None:
    array = _frame(2)
    copied = consumer.redeem(pool.put(DeviceTensor.from_numpy(array, name))).copy(name)
    assert copied.device == "cuda:1"
    np.testing.assert_array_equal(copied.to_numpy(), array)
    with pytest.raises(ValueError, match="shm_py.devices"):
        DeviceConsumer.open(pool.name, "cuda:7")
    with pytest.raises(ValueError, match="device"):
        DevicePool.open(pool.name, "cpu")


def test_words_of_the_driver_in_the_place_of_the_devices(
    sim: Simulator, shm_name: str
) -> None:
    stream = sim.stream()
    with DevicePool.create(shm_name, slot_size=SLOT, slots=2, stream_ordered=False) as pool:
        assert not pool.stream_ordered
        sim.delay(20_000, 20_000)
        frame = _frame(5)
        with pool.consumer() as consumer:
            ticket = pool.put(DeviceTensor.from_numpy(frame), stream=stream)
            with consumer.redeem(ticket, stream=stream) as lease:
                np.testing.assert_array_equal(lease.to_numpy(), frame)
        assert pool.stats().host_fallbacks > 0
    sim.destroy(stream)


def test_closed_is_closed_and_says_so(pool: DevicePool, consumer: DeviceConsumer) -> None:
    ticket = pool.put(_frame(1))
    lease = consumer.redeem(ticket)
    lease.release()
    lease.release()
    with pytest.raises(ValueError, match="released"):
        lease.to_numpy()
    consumer.close()
    with pytest.raises(shm_py.PoolError, match="DeviceConsumer.open"):
        consumer.redeem(ticket)
    pool.close()
    pool.close()
    for use in (pool.stats, pool.consumer, lambda: pool.lend(1), lambda: pickle.dumps(pool)):
        with pytest.raises(shm_py.PoolError, match="DevicePool.open"):
            use()
    with pytest.raises(FileNotFoundError, match="DevicePool.create"):
        DevicePool.open(pool.name)


def test_a_pool_says_what_it_is(pool: DevicePool, consumer: DeviceConsumer) -> None:
    stats, info = pool.stats(), pool.describe()
    assert (stats.pool.slots, stats.stream_ordered, stats.host_fallbacks) == (3, True, 0)
    assert (info.alignment, info.slots, info.has_owner) == (512, 3, True)
    assert [seat.seat for seat in info.consumers] == [0]
    assert pool.fsck().problems == ()
    assert pool.overdue() == []
    assert pool.reap().slots == 0
    assert "(sim)" in repr(pool)
    assert pool.simulated
    copy = pickle.loads(pickle.dumps(pool))
    assert (copy.instance, copy.device, copy.is_owner) == (pool.instance, "cuda:0", False)
    copy.close()
    with pytest.raises(shm_py.AlreadyOwned):
        DevicePool.create(pool.name, slot_size=64, slots=1)


def test_memory_that_is_not_there(sim: Simulator, shm_name: str) -> None:
    with pytest.raises(MemoryError):
        DevicePool.create_chunks(shm_name, capacity=1 << 40)
    sim.inject(Simulator.OUT_OF_MEMORY)
    with pytest.raises(MemoryError):
        DevicePool.create(shm_name, slot_size=64, slots=1)
    sim.inject(0)
    sim.inject(Simulator.REGISTER_FAILS)
    with DevicePool.create(shm_name, slot_size=64, slots=1) as pool:
        assert (pool.stream_ordered, pool.stats().host_fallbacks) == (False, 1)


def test_without_a_driver(shm_name: str) -> None:
    script = f"import shm_py; shm_py.DevicePool.create({shm_name!r}, slot_size=64, slots=1)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment({"SHM_CUDA_DRIVER": "/nonexistent"}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "RuntimeError: CUDA is not available" in done.stderr
