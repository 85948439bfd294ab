"""Queues of tickets."""

from __future__ import annotations

import multiprocessing
import pickle
import queue
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import shm_py
from conftest import StartChild
from shm_py import Consumer, Pool, PoolError, Queue, QueueInfo


@pytest.fixture
def pool(shm_name: str) -> Iterator[Pool]:
    with Pool.create(shm_name, slot_size=256, slots=8, consumers=2) as pool:
        yield pool


def publish(pool: Pool, value: int = 0, consumers: Any = "any") -> shm_py.Ticket:
    with pool.lend(8, timeout=30) as slot:
        slot.array((1,), "int64")[:] = value
        return slot.publish(consumers)


def read(consumer: Consumer, ticket: shm_py.Ticket) -> int:
    with consumer.redeem(ticket) as lease:
        return int(lease.array((1,), "int64")[0])


def test_tickets_come_in_order(pool: Pool) -> None:
    requests = Queue.create("requests", pool, maxsize=4)
    consumer = pool.consumer()
    assert (requests.name, requests.maxsize, requests.mode) == ("requests", 4, "work")
    assert requests.empty() and not requests.full() and requests.qsize() == 0
    tickets = [publish(pool, number) for number in range(4)]
    for ticket in tickets:
        requests.put(ticket)
    assert requests.full() and requests.qsize() == 4
    assert Queue.list(pool) == [QueueInfo("requests", "work", 4, 4, 4, 0, 0)]
    with pytest.raises(queue.Full, match="full with 4"):
        requests.put_nowait(publish(pool))
    other = Queue.open("requests", pool)
    for number, ticket in enumerate(tickets):
        got = other.get()
        assert got == ticket and read(consumer, got) == number
    with pytest.raises(queue.Empty, match="nothing for seat 0"):
        other.get_nowait()
    assert "requests" in repr(other) and "work" in repr(other)


def test_timeouts_are_those_of_the_library(pool: Pool) -> None:
    consumer = pool.consumer()
    requests = Queue.create("requests", pool, 1)
    begun = time.monotonic()
    with pytest.raises(queue.Empty, match="nothing came within"):
        requests.get(consumer, 0.1)
    requests.put(publish(pool), timeout=0)
    with pytest.raises(queue.Full, match="no room within"):
        requests.put(publish(pool), timeout=0.1)
    assert time.monotonic() - begun >= 0.2
    with pytest.raises(ValueError, match="timeout"):
        requests.get(consumer, -1)


def test_the_consumer_may_be_left_out_if_there_is_one(pool: Pool) -> None:
    requests = Queue.create("requests", pool)
    ticket = publish(pool)
    requests.put(ticket)
    with pytest.raises(TypeError, match="which consumer"):
        requests.get(timeout=0)
    first = pool.consumer()
    with pool.consumer():
        with pytest.raises(TypeError, match="which consumer"):
            requests.get(timeout=0)
    assert requests.get(timeout=0) == ticket
    first.skip(ticket)
    with Consumer.open(pool.name) as alone:
        through = Queue.open("requests", alone)
        again = publish(pool)
        through.put(again)
        assert through.get(timeout=0) == again
        with pytest.raises(TypeError):
            pickle.dumps(through)


def test_broadcast_reaches_everybody(pool: Pool) -> None:
    news = Queue.create("news", pool, 2, "broadcast")
    first, second = pool.consumer(), pool.consumer()
    tickets = [publish(pool, number, None) for number in range(2)]
    for ticket in tickets:
        news.put(ticket)
    with pytest.raises(queue.Full, match="not got by seat 0, 1"):
        news.put(publish(pool, 2, None), timeout=0)
    for consumer in (first, second):
        assert [read(consumer, news.get(consumer, 0)) for _ in tickets] == [0, 1]
        with pytest.raises(queue.Empty):
            news.get(consumer, 0)
    assert news.mode == "broadcast" and news.empty()


def test_errors_are_named(pool: Pool, shm_name: str) -> None:
    requests = Queue.create("requests", pool, 2)
    with pytest.raises(FileExistsError, match="requests"):
        Queue.create("requests", pool, 2)
    with pytest.raises(FileNotFoundError, match="there is 'requests'"):
        Queue.open("none", pool)
    begun = time.monotonic()
    with pytest.raises(FileNotFoundError):
        Queue.open("none", pool, timeout=0.05)
    assert time.monotonic() - begun >= 0.05
    bad: list[tuple[Any, type[Exception], str]] = [
        (("", pool), ValueError, "1 to 128 bytes"),
        (("x" * 129, pool), ValueError, "1 to 128 bytes"),
        (("q", pool, 0), ValueError, "maxsize"),
        (("q", pool, 1 << 30), ValueError, "queue_cells"),
        (("q", pool, 1, "fifo"), ValueError, "mode is 'fifo'"),
        (("q", "pool"), TypeError, "expected a Pool"),
    ]
    for arguments, error, text in bad:
        with pytest.raises(error, match=text):
            Queue.create(*arguments)
    consumer = pool.consumer()
    stale = publish(pool)
    consumer.skip(stale)
    with pytest.raises(shm_py.StaleTicket):
        requests.put(stale)
    with Pool.create(f"{shm_name}-2", slot_size=64, slots=1) as other:
        with pytest.raises(ValueError, match="not one of pool"):
            requests.get(other.consumer(), 0)
        with pytest.raises(ValueError, match="not one of pool"):
            requests.put(publish(other))
    requests.close()
    requests.close()
    assert requests.closed
    with pytest.raises(PoolError, match=r"shm_py\.Queue\.open"):
        requests.qsize()
    with Queue.open("requests", pool) as again:
        again.remove()
        with pytest.raises(PoolError, match="was removed"):
            again.put(publish(pool))
    assert Queue.list(pool) == []


def test_removing_a_queue_ends_waits(pool: Pool) -> None:
    requests = Queue.create("requests", pool, 2)
    consumer = pool.consumer()
    outcome: list[BaseException] = []

    def wait() -> None:
        try:
            requests.get(consumer)
        except BaseException as error:
            outcome.append(error)

    for end in ("remove", "close"):
        thread = threading.Thread(target=wait)
        thread.start()
        thread.join(0.1)
        assert thread.is_alive()
        getattr(requests, end)()
        thread.join(30)
        assert isinstance(outcome.pop(), PoolError)
        if end == "remove":
            requests = Queue.create("requests", pool, 2)


def _serve(pool: Pool, requests: Queue, answers: Queue, seat: int) -> None:
    """Doubles what it gets until it gets a negative number."""
    consumer = pool.consumer(seat)
    while True:
        tree = consumer.unpack(requests.get(consumer, 60))
        if tree["n"] < 0:
            break
        answers.put(pool.publish({"n": tree["n"], "twice": tree["x"] * 2}, [0], 60), 60)


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_queues_between_processes(shm_name: str, method: str) -> None:
    rounds, workers = 120, 2
    context: Any = multiprocessing.get_context(method)
    with Pool.create_chunks(shm_name, capacity=1 << 22, consumers=1) as pool:
        requests, answers = Queue.create("requests", pool, 4), Queue.create("answers", pool, 64)
        children = [
            context.Process(target=_serve, args=(pool, requests, answers, 1 + rank), daemon=True)
            for rank in range(workers)
        ]
        for child in children:
            child.start()
        own = pool.consumer(0)
        found: set[int] = set()
        sent = 0
        while len(found) < rounds:
            if sent < rounds and sent - len(found) < 20:
                requests.put(pool.publish({"n": sent, "x": np.full(50, sent)}, "any", 60), 60)
                sent += 1
                continue
            tree = own.unpack(answers.get(own, 60))
            assert (tree["twice"] == 2 * tree["n"]).all()
            found.add(tree["n"])
        for _ in children:
            requests.put(pool.publish({"n": -1}, "any", 60), 60)
        for child in children:
            child.join(60)
            assert child.exitcode == 0
        del tree
        assert sorted(found) == list(range(rounds))
        assert pool.stats().in_use == 0 and pool.fsck().is_clean


def test_a_getter_that_is_killed_keeps_nothing(pool: Pool, start: StartChild) -> None:
    requests = Queue.create("requests", pool, 4)
    child = start("pooling", pool.name)
    child.ask("sit")
    requests.put(publish(pool, 1))
    child.say("get requests")
    assert child.hear() == "waiting"
    shm_py.Ticket.from_bytes(bytes.fromhex(child.hear()))
    child.say("get requests")
    assert child.hear() == "waiting"
    child.kill()
    consumer = pool.consumer()
    requests.put(publish(pool, 2))
    assert read(consumer, requests.get(consumer, 30)) == 2
    pool.reap()
    assert pool.stats().in_use == 0


def test_a_stopped_consumer_keeps_a_broadcast_full(pool: Pool, start: StartChild) -> None:
    news = Queue.create("news", pool, 1, "broadcast")
    consumer = pool.consumer()
    child = start("pooling", pool.name)
    assert child.ask("sit") == "1"
    child.signal(signal.SIGSTOP)
    news.put(publish(pool, 1, None))
    consumer.skip(news.get(consumer, 0))
    with pytest.raises(queue.Full, match="not got by seat 1"):
        news.put(publish(pool, 2, None), timeout=0.2)
    child.signal(signal.SIGCONT)
    child.kill()
    news.put(publish(pool, 3, None), timeout=30)
    assert read(consumer, news.get(consumer, 0)) == 3
