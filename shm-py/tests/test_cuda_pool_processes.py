"""Device pools between processes: nothing is lost or torn, whoever dies, and nobody hangs."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator

import numpy as np
import pytest
import shm_py
from children import run
from children.simulator import Simulator
from conftest import StartChild
from shm_py import DeviceConsumer, DevicePool, DeviceTensor, DeviceTicket

WORDS = 4096


@pytest.fixture
def pool(sim: Simulator, shm_name: str) -> Iterator[DevicePool]:
    with DevicePool.create(shm_name, slot_size=8 * WORDS, slots=4) as pool:
        yield pool


def _wait_until_free(pool: DevicePool, seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while pool.stats().pool.in_use and time.monotonic() < deadline:
        pool.reap()
        time.sleep(0.01)
    assert pool.stats().pool.in_use == 0


def test_a_thousand_tensors_arrive_whole(
    pool: DevicePool, sim: Simulator, start: StartChild, stress: bool
) -> None:
    peer = start("device_pooling", pool.name)
    assert peer.ask("sit") == "0"
    sim.delay(0, 500)
    stream = sim.stream()
    waiting: list[tuple[int, int]] = []
    for number in range(10_000 if stress else 1_000):
        count = random.randint(1, WORDS)
        source = DeviceTensor.from_numpy(np.full(count, number, "i8"))
        ticket = pool.put(source, stream=stream, timeout=30)
        peer.say(f"take {bytes(ticket).hex()}")
        waiting.append((number, count))
        while len(waiting) > 3:
            number, count = waiting.pop(0)
            assert peer.hear() == f"{number} {count}"
    for number, count in waiting:
        assert peer.hear() == f"{number} {count}"
    sim.synchronize(stream)
    sim.destroy(stream)
    peer.finish()
    _wait_until_free(pool)
    assert pool.stats().producer_gone == 0


def test_a_killed_consumer_gives_back_what_it_held(pool: DevicePool, start: StartChild) -> None:
    peer = start("device_pooling", pool.name)
    peer.ask("sit")
    for number in range(4):
        assert peer.ask(f"hold {bytes(pool.put(np.full(9, number))).hex()}") == "held"
    with pytest.raises(shm_py.PoolFull) as full:
        pool.lend(1, timeout=0.05)
    assert {holder.pid for holder in full.value.holders} == {peer.pid}
    peer.kill()
    with pool.lend(1, timeout=10):
        pass
    _wait_until_free(pool)


def test_a_producer_that_dies_before_its_bytes_are_there(
    pool: DevicePool, sim: Simulator, start: StartChild
) -> None:
    with pool.consumer() as consumer:
        producer = start("device_pooling", pool.name)
        tickets = [
            DeviceTicket.from_bytes(bytes.fromhex(producer.ask(f"put_later {number} 8 600")))
            for number in range(3)
        ]
        stream = sim.stream()
        lease = consumer.redeem(tickets[0], stream=stream)
        with pytest.raises(shm_py.NotReady):
            consumer.redeem(tickets[1], timeout=0.05)
        producer.kill()
        for ticket in tickets[1:]:
            with pytest.raises(shm_py.ProducerGone):
                consumer.redeem(ticket)
        # The stream goes on, and is told.
        sim.synchronize(stream)
        with pytest.raises(shm_py.ProducerGone):
            lease.check()
        with pytest.raises(shm_py.ProducerGone):
            lease.to_numpy()
        lease.release()
        sim.destroy(stream)
        _wait_until_free(pool)
        assert pool.stats().producer_gone == 3


def test_an_owner_that_dies_takes_the_memory_along(
    sim: Simulator, shm_name: str, start: StartChild
) -> None:
    owner = start("device_pooling", shm_name, "cuda:0", "create", 256, 2)
    with DeviceConsumer.open(shm_name) as consumer:
        ticket = DeviceTicket.from_bytes(bytes.fromhex(owner.ask("put 7 4")))
        owner.kill()
        with pytest.raises(shm_py.OwnerGone, match="create"):
            DevicePool.open(shm_name)
        with pytest.raises(shm_py.PoolError):
            consumer.redeem(ticket, timeout=5)
    shm_py.remove_pool(shm_name)


def test_the_other_process_counts_its_devices_differently(
    pool: DevicePool, start: StartChild
) -> None:
    with pool.consumer() as consumer:
        env = {"CUDA_VISIBLE_DEVICES": "1,0"}
        for device in ("cuda:1", shm_py.devices()[0].uuid, "cuda:0"):
            peer = start("device_pooling", pool.name, device, env=env)
            ticket = DeviceTicket.from_bytes(bytes.fromhex(peer.ask("put 3 5")))
            with consumer.redeem(ticket) as lease:
                assert lease.to_numpy().tolist() == [3] * 5
            peer.finish()


def test_ctrl_c_ends_every_wait(pool: DevicePool, start: StartChild, sim: Simulator) -> None:
    producer, peer = start("device_pooling", pool.name), start("device_pooling", pool.name)
    peer.ask("sit")
    ticket = producer.ask("put_later 1 8 600")
    peer.say(f"wait {ticket}")
    assert peer.hear() == "waiting"
    time.sleep(0.1)
    begun = time.monotonic()
    peer.signal(signal.SIGINT)
    assert peer.hear() == "interrupted"
    assert time.monotonic() - begun < 1
    # For a slot, too.
    for _ in range(3):
        pool.put(np.zeros(3))
    peer.say("put 1 1")
    time.sleep(0.1)
    assert not peer.has_answered(0.0)
    peer.signal(signal.SIGINT)
    assert peer.hear() == "interrupted"
    producer.kill()
    peer.kill()
    _wait_until_free(pool)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_is_told(sim: Simulator, shm_name: str) -> None:
    said = run(
        """
import os, sys
import numpy as np, shm_py
pool = shm_py.DevicePool.create(sys.argv[1], slot_size=64, slots=2)
consumer = pool.consumer()
ticket, slot = pool.put(np.zeros(4)), pool.lend(8)
lease = consumer.redeem(ticket)
child = os.fork()
if child == 0:
    for call in (
        pool.stats, lambda: pool.lend(8), lambda: pool.put(np.zeros(4)), lambda: consumer.redeem(ticket),
        lease.to_numpy, lambda: lease.tensor, lease.release, lambda: slot.tensor, slot.publish,
    ):
        try:
            call()
        except shm_py.PoolError as error:
            assert "fork" in str(error) or "parent" in str(error), error
        else:
            os._exit(3)
    slot.abort()
    del lease, slot, consumer, pool
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert lease.to_numpy().sum() == 0
lease.release()
slot.publish()
print(pool.stats().pool.in_use)
pool.close()
""",
        shm_name,
    )
    assert said == "1\n"


def test_objects_that_are_left_at_the_end_do_no_harm(sim: Simulator, shm_name: str) -> None:
    said = run(
        """
import sys
import numpy as np, shm_py
pool = shm_py.DevicePool.create(sys.argv[1], slot_size=64, slots=4)
consumer = pool.consumer()
lease = consumer.redeem(pool.put(np.zeros(4)))
tensor, slot, ticket = lease.tensor, pool.lend(8), pool.put(np.ones(2))
written = slot.tensor
print("end")
""",
        shm_name,
    )
    assert said == "end\n"
