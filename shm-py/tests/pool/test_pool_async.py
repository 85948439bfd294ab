"""Awaiting slots, tickets and entries."""

from __future__ import annotations

import asyncio
import gc
import os
import queue
import threading
import time
from collections.abc import Coroutine, Iterator
from typing import Any

import numpy as np
import pytest
import shm_py
from children import PATIENCE, run
from shm_py import Pool, PoolFull, Queue, Store


@pytest.fixture
def pool(shm_name: str) -> Iterator[Pool]:
    with Pool.create(shm_name, slot_size=256, slots=2) as pool:
        yield pool


async def begun(wait: Coroutine[Any, Any, Any], ready: Any = None) -> asyncio.Task[Any]:
    """A task that has begun to wait."""
    task = asyncio.create_task(wait)
    for _ in range(10):
        await asyncio.sleep(0.005)
    assert not task.done()
    return task


def all_come_back(pool: Pool) -> None:
    """A thread that waits for a task that has gone gives back what it is lent within a nap."""
    gc.collect()
    deadline = time.monotonic() + PATIENCE
    while pool.stats().in_use:
        assert time.monotonic() < deadline, pool.fsck().slots
        time.sleep(0.01)


def test_a_slot_that_is_free_is_there_at_once(pool: Pool) -> None:
    async def main() -> None:
        before = threading.active_count()
        with await pool.lend_async() as slot:
            assert slot.nbytes == 256
        assert threading.active_count() == before and pool.stats().waits == 0

    asyncio.run(main())
    assert pool.stats().in_use == 0


def test_a_slot_is_awaited(pool: Pool) -> None:
    async def main() -> None:
        held = [pool.lend(), pool.lend()]
        tasks = [await begun(pool.lend_async()) for _ in range(2)]
        for number, task in enumerate(tasks):
            held.pop().abort()
            slot = await asyncio.wait_for(task, PATIENCE)
            assert slot.nbytes == 256 and all(not later.done() for later in tasks[number + 1 :])
            held.insert(0, slot)

    asyncio.run(main())


def test_the_loop_goes_on_meanwhile(pool: Pool) -> None:
    async def main() -> None:
        held = [pool.lend(), pool.lend()]
        task = await begun(pool.lend_async(timeout=PATIENCE))
        ticks = 0
        for _ in range(20):
            await asyncio.sleep(0.001)
            ticks += 1
        assert ticks == 20 and not task.done()
        held.pop().abort()
        (await task).abort()

    asyncio.run(main())


def test_timeouts_say_who_has_it(pool: Pool) -> None:
    async def main() -> None:
        held = [pool.lend(), pool.lend()]
        for wait in (pool.lend_async(timeout=0.05), pool.lend_async(timeout=0),
                     pool.lend_async(policy="fail")):
            with pytest.raises(PoolFull) as refused:
                await wait
            assert refused.value.holders[0].pid == os.getpid()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pool.lend_async(), 0.05)
        assert len(held) == 2

    asyncio.run(main())
    all_come_back(pool)


def test_bad_arguments_are_refused_when_called(pool: Pool) -> None:
    lend: Any = pool.lend_async
    with pytest.raises(ValueError):
        lend(timeout=-1)
    with pytest.raises(ValueError):
        lend(policy="maybe")

    async def main() -> None:
        with pytest.raises(ValueError, match="lends at most"):
            await pool.lend_async(1 << 20)

    asyncio.run(main())


def test_a_cancelled_wait_gives_its_place_up(pool: Pool) -> None:
    async def main() -> None:
        held = [pool.lend(), pool.lend()]
        first = await begun(pool.lend_async())
        second = await begun(pool.lend_async())
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        held.pop().abort()
        slot = await asyncio.wait_for(second, PATIENCE)
        slot.abort()
        held.pop().abort()
        with pytest.raises(asyncio.CancelledError):
            # Cancelled in the turn in which it was to be told.
            held = [pool.lend(), pool.lend()]
            third = await begun(pool.lend_async())
            held.pop().abort()
            time.sleep(0.3)
            third.cancel()
            await third

    asyncio.run(main())
    all_come_back(pool)
    pool.lend(timeout=0).abort()


def test_many_waits_that_are_cancelled_leave_nothing(pool: Pool) -> None:
    async def main() -> None:
        held = [pool.lend(), pool.lend()]
        for _ in range(5):
            tasks = [asyncio.create_task(pool.lend_async()) for _ in range(10)]
            await asyncio.sleep(0.01)
            for task in tasks[::2]:
                task.cancel()
            held.pop().abort()
            done, _ = await asyncio.wait(tasks[1::2], return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            slots = [slot for slot in results if isinstance(slot, shm_py.Slot)]
            assert len(slots) >= 1
            held.append(slots.pop())
            for slot in slots:
                slot.abort()

    asyncio.run(main())
    all_come_back(pool)
    assert pool.fsck().is_clean


def test_closing_ends_awaited_lends(shm_name: str) -> None:
    async def main() -> None:
        pool = Pool.create(shm_name, slot_size=64, slots=1)
        held = pool.lend()
        task = await begun(pool.lend_async())
        pool.close()
        with pytest.raises(shm_py.PoolError, match="closed"):
            await asyncio.wait_for(task, PATIENCE)
        held.abort()

    asyncio.run(main())


def test_tickets_are_awaited(pool: Pool) -> None:
    requests = Queue.create("requests", pool, 1)
    consumer = pool.consumer()

    async def main() -> None:
        task = await begun(requests.get_async())
        requests.put(pool.publish(1, "any"))
        assert consumer.unpack(await asyncio.wait_for(task, PATIENCE)) == 1
        await requests.put_async(pool.publish(2, "any"))
        put = await begun(requests.put_async(pool.publish(3, "any")))
        assert consumer.unpack(await requests.get_async(consumer)) == 2
        await asyncio.wait_for(put, PATIENCE)
        assert consumer.unpack(requests.get_nowait()) == 3
        with pytest.raises(queue.Empty):
            await requests.get_async(timeout=0.05)
        with pytest.raises(queue.Empty):
            await requests.get_async(timeout=0)

    asyncio.run(main())


def test_a_cancelled_get_loses_no_ticket(shm_name: str) -> None:
    rounds = 60
    with Pool.create(shm_name, slot_size=256, slots=8) as pool:
        requests = Queue.create("requests", pool, 8)
        consumer = pool.consumer()

        async def main() -> list[int]:
            found: list[int] = []
            for number in range(rounds):
                task = asyncio.create_task(requests.get_async())
                await asyncio.sleep(0)
                await asyncio.sleep(0.002 * (number % 3))
                requests.put(pool.publish(number, "any"))
                if number % 2:
                    await asyncio.sleep(0.0005 * (number % 5))
                task.cancel()
                try:
                    found.append(consumer.unpack(await task))
                except asyncio.CancelledError:
                    # A thread may have it already, which gives it to whoever asks next.
                    ticket = await requests.get_async(timeout=PATIENCE)
                    found.append(consumer.unpack(ticket))
            return found

        assert asyncio.run(main()) == list(range(rounds))
        assert pool.stats().in_use == 0


def test_entries_are_awaited(shm_name: str) -> None:
    with Store.create(shm_name, capacity=1 << 16) as store:

        async def main() -> None:
            task = await begun(store.retrieve_async(["a", "b"]))
            store.put("a", [np.arange(3)])
            await asyncio.sleep(0.02)
            assert not task.done()
            store.put("b", [np.ones(2)])
            with await asyncio.wait_for(task, PATIENCE) as found:
                assert found["a"][0].tolist() == [0, 1, 2]
            with pytest.raises(KeyError):
                await store.retrieve_async(["c"], timeout=0.05)
            lease = store.prepare_retrieve(["a"])
            store.clear()
            full = store.prepare_store("full", [((50_000,), "u1")])
            wait = await begun(store.prepare_store_async("more", [((50_000,), "u1")]))
            full.abort()
            reservation = await asyncio.wait_for(wait, PATIENCE)
            reservation.arrays[0][:] = 1
            reservation.commit()
            assert "more" in store
            lease.release()
            gone = await begun(store.retrieve_async(["never"]))
            gone.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gone

        asyncio.run(main())


def test_a_loop_that_ends_meanwhile_is_no_trouble(shm_name: str) -> None:
    said = run(
        """
import asyncio, sys, time, shm_py
pool = shm_py.Pool.create(sys.argv[1], slot_size=64, slots=1)
held = pool.lend()

async def main():
    asyncio.create_task(pool.lend_async())
    await asyncio.sleep(0.05)

asyncio.run(main())
held.abort()
deadline = time.monotonic() + 30
while pool.stats().in_use:
    assert time.monotonic() < deadline
    time.sleep(0.01)

async def leave():
    held = pool.lend()
    task = asyncio.create_task(pool.lend_async())
    await asyncio.sleep(0.05)
    print("left")
    sys.stdout.flush()
    import os
    sys.exit(0)

try:
    asyncio.run(leave())
except SystemExit:
    print("fine")
""",
        shm_name,
    )
    assert said.split() == ["left", "fine"]
