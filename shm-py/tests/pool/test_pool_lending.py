"""Lending, publishing, redeeming, releasing, and what is said about it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import shm_py
from shm_py import Consumer, Pool, PoolError, PoolFull, StaleTicket


@pytest.fixture
def pool(shm_name: str) -> Iterator[Pool]:
    with Pool.create(shm_name, slot_size=4096, slots=4) as pool:
        yield pool


def test_what_is_published_is_read(pool: Pool) -> None:
    consumer = pool.consumer()
    with pool.lend(32) as slot:
        slot.array((4, 2), np.float32)[:] = np.arange(8).reshape(4, 2)
        ticket = slot.publish()
    assert (ticket.nbytes, ticket.index, ticket.parts) == (32, slot.index, 1)
    assert ticket.generation == slot.generation and ticket.pool == pool.instance
    with consumer.redeem(ticket) as lease:
        array = lease.array((4, 2), "float32")
        assert array.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
        assert not array.flags.writeable and array.flags.aligned and not array.flags.owndata
        assert lease.nbytes == 32 and lease.index == ticket.index
        assert bytes(lease.buffer) == array.tobytes() and lease.buffer.readonly
        assert not lease.released
    assert lease.released
    assert pool.stats().free == 4 and pool.stats().in_use == 0


def test_a_pool_says_what_it_is(shm_name: str) -> None:
    with Pool.create(
        shm_name, slot_size=1000, slots=3, consumers=2, overdue_after=0.0, metadata=b"mine"
    ) as pool:
        assert (pool.name, pool.slots, pool.slot_size) == (shm_name, 3, 1024)
        assert (pool.capacity, pool.seats, pool.metadata) == (3072, 8, b"mine")
        assert pool.is_owner and not pool.is_retired and not pool.closed and len(pool.instance) == 16
        other = Pool.open(shm_name)
        assert not other.is_owner and other.metadata == b"mine" and other.instance == pool.instance
        info = other.describe()
        assert (info.name, info.slots, info.slot_size) == (shm_name, 3, 1024)
        assert info.owner_pid == os.getpid() and info.has_owner and not info.chunks
        assert info.expected_consumers == 2 and info.consumers == ()
        assert abs(info.created_ns - time.time_ns()) < 3600e9
        consumer = other.consumer(5)
        assert consumer.seat == 5 and consumer.name == shm_name
        assert [(found.seat, found.pid) for found in pool.describe().consumers] == [(5, os.getpid())]
        slot = pool.lend()
        stats = pool.stats()
        assert (stats.filling, stats.free, stats.in_use, stats.consumers) == (1, 2, 1, 1)
        assert stats.capacity == 3072 and stats.free_bytes == 2048 and stats._asdict()["slots"] == 3
        report = pool.fsck()
        assert report.is_clean and len(report.slots) == 3
        found = report.slots[slot.index]
        assert (found.state, found.producer_pid, found.nbytes) == ("filling", os.getpid(), 1024)
        time.sleep(0.01)
        [overdue] = pool.overdue()
        assert (overdue.slot, overdue.state, overdue.held_by) == (slot.index, "filling", ())
        assert overdue.held_for >= 0
        assert pool.reap() == shm_py.Reaped(0, 0, 0)
        assert "slots=3" in repr(pool) and "lent" in repr(slot) and "seat=5" in repr(consumer)


def test_chunks_have_any_size(shm_name: str) -> None:
    with Pool.create_chunks(shm_name, capacity=1 << 20, granule=4096) as pool:
        consumer = pool.consumer()
        with pytest.raises(ValueError, match="nbytes is needed"):
            pool.lend()
        tickets = []
        for size in (1, 5000, 300_000):
            with pool.lend(size) as slot:
                assert slot.nbytes == size and slot.capacity >= size
                slot.array((size,), np.uint8)[:] = size % 251
                tickets.append(slot.publish())
        for size, ticket in zip((1, 5000, 300_000), tickets):
            with consumer.redeem(ticket) as lease:
                assert (lease.array((size,), np.uint8) == size % 251).all()
        with pytest.raises(ValueError, match="lends at most"):
            pool.lend((1 << 20) + 1)
        assert pool.describe().chunks and pool.describe().granule == 4096
        assert pool.stats().free_bytes == 1 << 20


def test_several_views_of_a_slot(pool: Pool) -> None:
    consumer = pool.consumer()
    slot = pool.lend(128)
    ids = slot.array(16, "int32")
    mask = slot.array((2, 8), "float64", offset=0)
    tail = slot.array((8,), "int64", offset=64)
    fortran = slot.array((4, 4), "int32", order="F")
    assert slot.buffer.nbytes == 128 and not slot.buffer.readonly and slot.buffer is slot.buffer
    mask[:] = 0
    ids[:] = range(16)
    tail[:] = -1
    assert fortran[1, 0] == 1 and fortran[0, 1] == 4
    slot.buffer[127] = 7
    ticket = slot.publish()
    with consumer.redeem(ticket) as lease:
        assert lease.array((16,), "int32").tolist() == list(range(16))
        assert lease.array((4, 4), "int32", "F")[0, 1] == 4
        assert lease.array((64,), "uint8", offset=64)[-1] == 7
        own = lease.copy((16,), "int32")
    own[:] = 5
    assert own.flags.owndata and own.flags.writeable


@pytest.mark.parametrize("end", ["publish", "abort", "with"])
def test_arrays_of_a_slot_are_frozen_at_its_end(pool: Pool, end: str) -> None:
    keeper = pool.consumer()
    slot = pool.lend()
    with slot:
        array, buffer = slot.array((8,), "int32"), slot.buffer
        array[:] = 3
        if end != "with":
            getattr(slot, end)()
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
    with pytest.raises(ValueError, match="read-only|cannot set WRITEABLE"):
        array.flags.writeable = True
        array[0] = 1
    with pytest.raises(ValueError, match="released"):
        buffer[0] = 1
    word = "published" if end == "publish" else "given back"
    for attempt in (lambda: slot.array((1,), "u1"), lambda: slot.buffer, slot.publish):
        with pytest.raises(ValueError, match=word):
            attempt()
    slot.abort()
    assert int(array.sum()) == 24
    assert pool.stats().in_use == (1 if end == "publish" else 0)
    keeper.close()
    assert pool.stats().in_use == 0


def test_arrays_of_a_lease_are_read_only_for_good(pool: Pool) -> None:
    consumer = pool.consumer()
    ticket = pool.lend().publish()
    lease = consumer.redeem(ticket)
    array, buffer = lease.array((8,), "int32"), lease.buffer
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True
    lease.release()
    lease.release()
    array.sum()
    with pytest.raises(ValueError, match="released"):
        buffer[0]
    for attempt in (lambda: lease.array((1,), "u1"), lambda: lease.buffer):
        with pytest.raises(ValueError, match="was released"):
            attempt()


def test_forms_that_do_not_fit_are_refused(pool: Pool) -> None:
    slot = pool.lend(64)
    bad: list[tuple[Any, Any, dict[str, Any], type[Exception], str]] = [
        ((65,), "u1", {}, ValueError, "there are 64"),
        ((2**62, 8), "f8", {}, ValueError, "more bytes than any memory"),
        ((0, 2**62), "f8", {}, ValueError, "more bytes than any memory"),
        ((1,), "u1", {"offset": 64}, ValueError, "there are 64"),
        ((1,), "u1", {"offset": 2**63}, ValueError, "there are 64"),
        ((1,), "u1", {"offset": -1}, ValueError, "is no size"),
        ((-1,), "u1", {}, ValueError, "shape holds -1"),
        ((1,) * 17, "u1", {}, ValueError, "17 dimensions"),
        ("8", "u1", {}, TypeError, "shape"),
        ((1.5,), "u1", {}, TypeError, "shape"),
        ((1,), "O", {}, TypeError, "plain bytes"),
        ((1,), [("a", "O")], {}, TypeError, "plain bytes"),
        ((1,), "S0", {}, TypeError, "plain bytes"),
        ((1,), "nonsense", {}, TypeError, "nonsense"),
        ((1,), "u1", {"order": "K"}, ValueError, "order is"),
    ]
    for shape, dtype, options, error, text in bad:
        with pytest.raises(error, match=text):
            slot.array(shape, dtype, **options)
    assert slot.array((), "f8").shape == () and slot.array((0, 3), "f8").size == 0
    record = slot.array((2,), [("id", "i4"), ("when", "M8[ns]"), ("tag", "S4")])
    record["id"] = [1, 2]
    record["tag"] = b"abcd"
    consumer = pool.consumer()
    with consumer.redeem(slot.publish()) as lease:
        found = lease.array((2,), [("id", "i4"), ("when", "M8[ns]"), ("tag", "S4")])
        assert found["id"].tolist() == [1, 2] and found["tag"][1] == b"abcd"


def test_a_full_pool_names_who_has_it(pool: Pool) -> None:
    held = [pool.lend() for _ in range(4)]
    for options in ({"timeout": 0}, {"policy": "fail"}, {"timeout": 0.06}):
        begun = time.monotonic()
        with pytest.raises(PoolFull, match="Longest held") as refused:
            pool.lend(**options)
        assert isinstance(refused.value, TimeoutError)
        assert {holder.pid for holder in refused.value.holders} == {os.getpid()}
        assert refused.value.holders[0].seat is None
        assert time.monotonic() - begun >= (0.06 if options.get("timeout") else 0)
    assert pool.stats().refused == 3
    held[2].abort()
    assert pool.lend(timeout=0).index == held[2].index


def test_the_oldest_unread_is_dropped_if_asked_for(pool: Pool) -> None:
    consumer = pool.consumer()
    tickets = [pool.lend().publish() for _ in range(4)]
    lease = consumer.redeem(tickets[0])
    slot = pool.lend(policy="drop_oldest_unread", timeout=0)
    assert slot.index == tickets[1].index
    with pytest.raises(StaleTicket, match="stale"):
        consumer.redeem(tickets[1])
    lease.release()
    for ticket in tickets[2:]:
        consumer.skip(ticket)
    assert pool.stats().dropped == 1


def test_drop_oldest_unread_waits_while_all_are_read(pool: Pool) -> None:
    consumer = pool.consumer()
    leases = [consumer.redeem(pool.lend().publish()) for _ in range(4)]
    with pytest.raises(PoolFull):
        pool.lend(policy="drop_oldest_unread", timeout=0.08)
    leases.pop().release()
    pool.lend(policy="drop_oldest_unread", timeout=30).abort()


def test_audiences(shm_name: str) -> None:
    with Pool.create(shm_name, slot_size=64, slots=4, consumers=2) as pool:
        first, second = pool.consumer(), pool.consumer()
        everyone = pool.lend().publish()
        first.redeem(everyone).release()
        assert pool.stats().in_use == 1, "the second has not"
        second.redeem(everyone).release()
        assert pool.stats().in_use == 0
        named: list[Any] = [[1], [second], {np.int64(1)}, iter([second, 1])]
        for seats in named:
            ticket = pool.lend().publish(seats)
            with pytest.raises(PoolError, match="not for seat 0"):
                first.redeem(ticket)
            second.redeem(ticket).release()
        anybody = pool.lend().publish("any")
        lease = second.redeem(anybody)
        with pytest.raises(StaleTicket, match="another was faster"):
            first.redeem(anybody)
        lease.release()
        assert (first.pending(), pool.stats().in_use) == (0, 0)
        for bad, error in [
            ([3], ValueError), ([], ValueError), ([64], ValueError), ([-1], ValueError),
            ("some", ValueError), (3, TypeError), (["0"], TypeError),
        ]:
            slot = pool.lend()
            with pytest.raises(error):
                slot.publish(bad)  # type: ignore[arg-type]
            slot.abort()
        with Pool.create(f"{shm_name}-2", slot_size=64, slots=1) as other:
            with pytest.raises(ValueError, match="another pool"):
                pool.lend().publish([other.consumer()])
        assert pool.stats().in_use == 0


def test_publishing_needs_somebody(shm_name: str) -> None:
    with Pool.create(shm_name, slot_size=64, slots=1) as pool:
        consumer = pool.consumer()
        consumer.close()
        with pytest.raises(PoolError, match="has no consumer"):
            pool.lend().publish()
        assert pool.stats().in_use == 0
        again = pool.consumer()
        again.redeem(pool.lend().publish()).release()


def test_tickets_are_checked(pool: Pool, shm_name: str) -> None:
    consumer = pool.consumer()
    ticket = pool.lend().publish()
    forged = bytearray(bytes(ticket))
    forged[24:28] = (1000).to_bytes(4, "little")
    with pytest.raises(ValueError, match="damaged on its way"):
        consumer.redeem(shm_py.Ticket.from_bytes(forged))
    with Pool.create(f"{shm_name}-2", slot_size=64, slots=1) as other:
        with pytest.raises(ValueError, match="another pool"):
            other.consumer().redeem(ticket)
    forged = bytearray(bytes(ticket))
    forged[28:32] = (3).to_bytes(4, "little")
    with pytest.raises(PoolError, match="batch of 3"):
        consumer.redeem(shm_py.Ticket.from_bytes(forged))
    with pytest.raises(TypeError):
        consumer.redeem(bytes(ticket))  # type: ignore[arg-type]
    lease = consumer.redeem(ticket)
    with pytest.raises(PoolError, match="held by seat 0 already"):
        consumer.redeem(ticket)
    lease.release()
    with pytest.raises(StaleTicket):
        consumer.redeem(ticket)
    assert pool.stats().stale >= 1


def test_revoking(pool: Pool) -> None:
    consumer = pool.consumer()
    unread = pool.lend().publish()
    assert pool.revoke(unread) == ()
    held = pool.lend().publish()
    lease = consumer.redeem(held)
    assert pool.revoke(held) == (consumer.seat,)
    assert pool.stats().quarantined == 1
    lease.array((1,), "u1").sum()
    with pytest.raises(StaleTicket):
        pool.revoke(held)
    lease.release()
    assert pool.stats().quarantined == 0 and pool.stats().in_use == 0


def test_names_have_one_owner(shm_name: str) -> None:
    pool = Pool.create(shm_name, slot_size=64, slots=1)
    with pytest.raises(FileExistsError, match="already owned") as refused:
        Pool.create(shm_name, slot_size=64, slots=1)
    assert isinstance(refused.value, shm_py.AlreadyOwned) and refused.value.pid == os.getpid()
    other = Pool.open(shm_name)
    with pytest.raises(PermissionError, match="only the owner"):
        other.unlink()
    with pytest.raises(PermissionError, match="only the owner"):
        shm_py.remove_pool(shm_name)
    consumer = other.consumer()
    lease = consumer.redeem(other.lend().publish())
    pool.unlink()
    assert pool.is_retired
    with pytest.raises(PoolError, match="was removed"):
        pool.lend()
    with pytest.raises(FileNotFoundError, match="shm_py.Pool.create"):
        Pool.open(shm_name)
    with pytest.raises(FileNotFoundError):
        shm_py.remove_pool(shm_name)
    assert lease.array((64,), "u1").sum() == 0
    pool.close()
    pool.close()
    new = Pool.create(shm_name, slot_size=64, slots=1)
    new.close()
    assert other.is_retired


def test_closed_handles_say_so(shm_name: str) -> None:
    pool = Pool.create(shm_name, slot_size=64, slots=2)
    consumer = pool.consumer()
    slot, ticket = pool.lend(), pool.lend().publish()
    pool.close()
    assert pool.closed and not pool.is_owner and pool.name == shm_name and "closed" in repr(pool)
    for call in (pool.lend, pool.stats, pool.consumer, pool.unlink, pool.fsck, pool.describe):
        with pytest.raises(PoolError, match=r"shm_py\.Pool\.open"):
            call()
    assert consumer.redeem(ticket).nbytes == 256, "consumers outlive the handle"
    slot.array((1,), "u1")[:] = 1
    slot.publish()
    consumer.close()
    assert consumer.closed
    with pytest.raises(PoolError, match=r"shm_py\.Consumer\.open"):
        consumer.redeem(ticket)


def test_a_persistent_pool_stays(shm_name: str) -> None:
    Pool.create(shm_name, slot_size=64, slots=1, persistent=True).close()
    with Pool.open(shm_name) as pool:
        assert not pool.describe().has_owner
    shm_py.remove_pool(shm_name)


def test_bad_arguments_are_named(shm_name: str) -> None:
    good: dict[str, Any] = {"slot_size": 64, "slots": 1}
    bad: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"slots": 0}, ValueError, "slots is 0"),
        ({"slots": -1}, ValueError, "is no size"),
        ({"slots": "1"}, TypeError, "str"),
        ({"slot_size": 0}, ValueError, "slot_size is 0"),
        ({"consumers": 0}, ValueError, "consumers is 0"),
        ({"consumers": 65}, ValueError, "consumers is 65"),
        ({"overdue_after": -1}, ValueError, "overdue_after"),
        ({"metadata": "text"}, TypeError, "metadata"),
        ({"metadata": b"x" * 70_000}, ValueError, "metadata"),
        ({"queue_cells": 1 << 40}, ValueError, "queue_cells"),
    ]
    for options, error, text in bad:
        with pytest.raises(error, match=text):
            Pool.create(shm_name, **{**good, **options})
    for name in ("", "a\0b", 3):
        with pytest.raises(ValueError, match="name must be"):
            Pool.create(name, **good)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="granule"):
        Pool.create_chunks(shm_name, capacity=1 << 20, granule=1000)
    with Pool.create(shm_name, **good) as pool:
        with pytest.raises(ValueError, match="policy is 'maybe'"):
            pool.lend(policy="maybe")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="timeout"):
            pool.lend(timeout=-1)
        with pytest.raises(ValueError, match="at most 256"):
            pool.lend(257)
        with pytest.raises(ValueError, match="0 bytes"):
            pool.lend(0)
        with pytest.raises(ValueError, match="seats 0 to 7"):
            pool.consumer(8)
        with pool.consumer(1), pytest.raises(PoolError, match=f"process {os.getpid()}"):
            pool.consumer(1)


def test_streams_and_pools_are_told_apart(shm_name: str) -> None:
    with shm_py.stream(shm_name, shape=(1,)):
        with pytest.raises(ValueError, match="stream"):
            Pool.open(shm_name)
        with pytest.raises(FileExistsError, match="no pool"):
            Pool.create(shm_name, slot_size=64, slots=1)
    with Pool.create(shm_name, slot_size=64, slots=1):
        with pytest.raises(ValueError, match="pool"):
            shm_py.open(shm_name)
        with pytest.raises(ValueError, match="store"):
            shm_py.Store.open(shm_name)
        assert shm_py.list_streams(shm_name) == []


def test_a_consumer_may_open_by_itself(pool: Pool) -> None:
    with Consumer.open(pool.name) as consumer:
        ticket = pool.lend(8).publish()
        assert consumer.redeem(ticket).array((1,), "f8")[0] == 0
    with pytest.raises(FileNotFoundError):
        Consumer.open(pool.name + "-none")
    begun = time.monotonic()
    with pytest.raises(FileNotFoundError):
        Pool.open(pool.name + "-none", timeout=0.12)
    assert time.monotonic() - begun >= 0.12


def test_full_memory_is_an_os_error(shm_name: str) -> None:
    with pytest.raises(OSError) as refused:
        Pool.create(shm_name, slot_size=1 << 40, slots=4)
    assert refused.value.errno == 28
