"""Tickets travel by any channel."""

from __future__ import annotations

import concurrent.futures
import copy
import multiprocessing
import pickle
import random

import numpy as np
import pytest
import shm_py
from shm_py import Pool, Ticket


def _made(generation: int = 7, index: int = 3) -> Ticket:
    data = bytes(range(16)) + generation.to_bytes(8, "little") + index.to_bytes(4, "little")
    return Ticket.from_bytes(data + (1).to_bytes(4, "little") + (4096).to_bytes(8, "little"))


def test_a_ticket_is_forty_bytes() -> None:
    ticket = _made()
    assert len(bytes(ticket)) == 40 and Ticket.from_bytes(bytes(ticket)) == ticket
    assert Ticket.from_bytes(bytearray(bytes(ticket))) == ticket
    assert (ticket.pool, ticket.generation, ticket.index) == (bytes(range(16)), 7, 3)
    assert (ticket.parts, ticket.nbytes) == (1, 4096)
    assert "index=3" in repr(ticket) and "generation=7" in repr(ticket)
    for wrong in (b"", bytes(39), bytes(41)):
        with pytest.raises(ValueError, match="a ticket has 40 bytes"):
            Ticket.from_bytes(wrong)
    with pytest.raises(TypeError, match="made of bytes"):
        Ticket.from_bytes("x" * 40)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Ticket()


def test_equal_tickets_are_one() -> None:
    ticket = _made()
    assert ticket == _made() and hash(ticket) == hash(_made())
    assert ticket != _made(8) and ticket != _made(index=4) and ticket != bytes(ticket)
    assert len({ticket, _made(), _made(8)}) == 2


def test_any_bytes_are_some_ticket() -> None:
    chance = random.Random(5)
    for _ in range(200):
        data = chance.randbytes(40)
        ticket = Ticket.from_bytes(data)
        assert bytes(ticket) == data and pickle.loads(pickle.dumps(ticket)) == ticket
        repr(ticket), hash(ticket)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_tickets_pickle_and_copy(protocol: int) -> None:
    ticket = _made()
    again = pickle.loads(pickle.dumps(ticket, protocol))
    assert again == ticket and hash(again) == hash(ticket)
    assert copy.copy(ticket) == copy.deepcopy(ticket) == ticket


def _consume(name: str, inbox: multiprocessing.Queue[Ticket | None], outbox: object) -> None:
    consumer = shm_py.Consumer.open(name, 30)
    total = 0
    while True:
        ticket = inbox.get(timeout=60)
        if ticket is None:
            break
        with consumer.redeem(ticket) as lease:
            total += int(lease.array((16,), "int64").sum())
    outbox.put((consumer.seat, total))  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tickets_through_a_multiprocessing_queue(shm_name: str, method: str) -> None:
    rounds, consumers = 200, 2
    context = multiprocessing.get_context(method)
    with Pool.create(shm_name, slot_size=128, slots=4, consumers=consumers) as pool:
        inboxes = [context.Queue() for _ in range(consumers)]
        outbox = context.Queue()
        children = [
            context.Process(target=_consume, args=(shm_name, inbox, outbox), daemon=True)  # type: ignore[attr-defined]
            for inbox in inboxes
        ]
        for child in children:
            child.start()
        for number in range(rounds):
            slot = pool.lend(timeout=60)
            slot.array((16,), "int64")[:] = number
            ticket = slot.publish()
            for inbox in inboxes:
                inbox.put(ticket)
        for inbox in inboxes:
            inbox.put(None)
        answers = sorted(outbox.get(timeout=60) for _ in children)
        for child in children:
            child.join(60)
            assert child.exitcode == 0
        total = 16 * sum(range(rounds))
        assert answers == [(0, total), (1, total)]
        assert pool.stats().in_use == 0 and pool.stats().stale == 0


def _double(name: str, ticket: Ticket) -> Ticket:
    """Reads one publication and answers with another."""
    pool = Pool.open(name)
    with pool.consumer(1) as consumer:
        found = consumer.unpack(ticket)
        return pool.publish({"twice": found["x"] * 2}, consumers=[0])


def test_tickets_through_a_process_pool(shm_name: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    with (
        Pool.create_chunks(shm_name, capacity=1 << 20, consumers=1) as pool,
        concurrent.futures.ProcessPoolExecutor(1, mp_context=spawn) as executor,
    ):
        mine, theirs = pool.consumer(0), pool.consumer(1)
        theirs.close()
        for number in range(10):
            ticket = pool.publish({"x": np.full(100, number)}, consumers="any")
            answer = executor.submit(_double, shm_name, ticket).result(60)
            assert (mine.unpack(answer)["twice"] == 2 * number).all()
        assert pool.stats().in_use == 0
