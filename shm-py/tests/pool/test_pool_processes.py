"""Processes that are killed, forked and interrupted."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
import shm_py
from children import PATIENCE, Child, run
from conftest import StartChild
from shm_py import Pool, PoolError


def _until(condition: object, what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, what
        time.sleep(0.005)


@pytest.fixture
def pool(shm_name: str) -> Iterator[Pool]:
    with Pool.create(shm_name, slot_size=256, slots=2, consumers=2) as pool:
        yield pool


def _ticket(text: str) -> shm_py.Ticket:
    return shm_py.Ticket.from_bytes(bytes.fromhex(text))


def test_two_consumers_in_other_processes(pool: Pool, start: StartChild) -> None:
    first, second = start("pooling", pool.name), start("pooling", pool.name)
    assert (first.ask("sit"), second.ask("open_only")) == ("0", "1")
    for value in range(1, 20):
        slot = pool.lend(timeout=30)
        slot.array((256,), "uint8")[:] = value
        ticket = bytes(slot.publish()).hex()
        for child in (first, second):
            assert child.ask(f"redeem {ticket}") == str(256 * value)
        assert first.ask("release") == "released"
        assert pool.stats().in_use == 1, "the second holds it"
        assert second.ask("release") == "released"
        assert pool.stats().in_use == 0
    first.finish()
    second.finish()
    assert pool.stats().consumers == 0


def test_a_killed_consumer_gives_back_what_it_held(pool: Pool, start: StartChild) -> None:
    child, keeper = start("pooling", pool.name), pool.consumer(1)
    assert child.ask("sit 0") == "0"
    tickets = [pool.lend().publish() for _ in range(2)]
    assert child.ask(f"redeem {bytes(tickets[0]).hex()}") == "0"
    for ticket in tickets:
        keeper.redeem(ticket).release()
    with pytest.raises(shm_py.PoolFull) as refused:
        pool.lend(timeout=0.1)
    assert {(holder.pid, holder.seat) for holder in refused.value.holders} == {(child.pid, 0)}
    child.kill()
    # Whoever waits reaps by itself.
    slots = [pool.lend(timeout=30) for _ in range(2)]
    assert pool.stats().reclaimed >= 1 and pool.stats().consumers == 1
    assert pool.fsck().is_clean
    for slot in slots:
        slot.abort()


def test_a_killed_producer_loses_only_what_it_was_filling(
    pool: Pool, start: StartChild
) -> None:
    consumer, other = pool.consumer(), pool.consumer()
    child = start("pooling", pool.name)
    child.ask("lend")
    assert child.ask("fill 7") == "filled"
    ticket = _ticket(child.ask("publish"))
    child.ask("lend")
    child.ask("fill 9")
    assert pool.stats().filling == 1
    child.kill()
    assert pool.reap().slots == 1 and pool.stats().filling == 0
    with consumer.redeem(ticket) as lease:
        assert (lease.array((256,), "uint8") == 7).all(), "what was published stays readable"
    other.skip(ticket)
    assert pool.stats().in_use == 0 and pool.fsck().is_clean


def test_a_stopped_holder_is_reported_and_not_robbed(shm_name: str, start: StartChild) -> None:
    with Pool.create(shm_name, slot_size=256, slots=1, overdue_after=0.05) as pool:
        child = start("pooling", shm_name)
        assert child.ask("sit") == "0"
        slot = pool.lend()
        slot.array((256,), "uint8")[:] = 1
        assert child.ask(f"redeem {bytes(slot.publish()).hex()}") == "256"
        child.signal(signal.SIGSTOP)
        with pytest.raises(shm_py.PoolFull):
            pool.lend(timeout=0.3)
        [overdue] = pool.overdue()
        assert overdue.held_by == (0,) and overdue.producer_pid == os.getpid()
        assert pool.reap().slots == 0
        child.signal(signal.SIGCONT)
        assert child.ask("release") == "released"
        pool.lend(timeout=30).abort()


def test_a_recycler_notices_deaths_while_nobody_lends(pool: Pool, start: StartChild) -> None:
    with pool.recycler():
        child = start("pooling", pool.name)
        child.ask("lend")
        assert pool.stats().filling == 1
        child.kill()
        _until(lambda: pool.stats().in_use == 0, "nobody reaped")
    pool.recycler().close()


def test_a_killed_owner_leaves_a_pool_that_can_be_removed(
    shm_name: str, start: StartChild
) -> None:
    owner = Child(
        "-c",
        "import sys, shm_py; pool = shm_py.Pool.create(sys.argv[1], slot_size=64, slots=2);"
        "print('ready', flush=True); sys.stdin.read()",
        shm_name,
    )
    try:
        assert owner.hear() == "ready"
        pool = Pool.open(shm_name)
        consumer = pool.consumer()
        ticket = pool.lend().publish()
        owner.kill()
    finally:
        owner.stop()
    _until(lambda: not pool.describe().has_owner, "the owner is dead")
    with pytest.raises(FileExistsError, match="remove_pool"):
        Pool.create(shm_name, slot_size=64, slots=2)
    consumer.redeem(ticket).release()
    shm_py.remove_pool(shm_name)
    with Pool.create(shm_name, slot_size=64, slots=2):
        pass
    pool.close()


def test_a_pool_that_nobody_uses_is_replaced(shm_name: str) -> None:
    run(
        """
import os, signal, sys, shm_py
pool = shm_py.Pool.create(sys.argv[1], slot_size=64, slots=2)
os.kill(os.getpid(), signal.SIGKILL)
""",
        shm_name,
        code=-9,
    )
    with Pool.create(shm_name, slot_size=128, slots=2) as pool:
        assert pool.slot_size == 256


FORKS = """
import os, sys, traceback, warnings
import numpy as np, shm_py
warnings.simplefilter("ignore", DeprecationWarning)
name = sys.argv[1]
pool = shm_py.Pool.create(name, slot_size=256, slots=8, consumers=2)
consumer, held = pool.consumer(), pool.lend(64)
written = held.array((64,), "u1")
lease = consumer.redeem(pool.lend(64).publish([0]))
read = lease.array((64,), "u1")
queue = shm_py.Queue.create("q", pool, 4)
recycler = pool.recycler()
PIPE = os.pipe()

def refused(call, text):
    try:
        call()
    except shm_py.PoolError as error:
        assert text in str(error), error
    else:
        raise AssertionError(f"{text}: not refused")

def child():
    for call in (lease.release, lambda: lease.array((1,), "u1"), lambda: lease.buffer,
                 lambda: shm_py.unpack(lease), held.publish, lambda: held.array((1,), "u1"),
                 lambda: queue.get(consumer, 0), lambda: consumer.redeem(other)):
        refused(call, "parent of this process")
    held.abort(), lease.__exit__(None, None, None)
    assert read.sum() == 0 and not pool.is_owner
    own = pool.consumer()
    assert own.seat == 1
    with pool.lend(8, timeout=10) as slot:
        slot.array((1,), "i8")[:] = 42
        ticket = slot.publish([0])
    queue.put(pool.publish([np.arange(3)], "any"))
    assert own.unpack(queue.get(own, 10))[0].tolist() == [0, 1, 2]
    os.write(PIPE[1], bytes(ticket))
    recycler.close()
    pool.close()

other = pool.lend(8).publish([0])
pid = os.fork()
if pid == 0:
    try:
        child()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
ticket = shm_py.Ticket.from_bytes(os.read(PIPE[0], 40))
with consumer.redeem(ticket) as answer:
    assert answer.array((1,), "i8")[0] == 42
assert shm_py.Pool.open(name).instance == pool.instance, "its name is still there"
assert not lease.released and lease.array((64,), "u1").sum() == 0
written[:] = 1
held.publish([0])
consumer.redeem(other).release()
lease.release()
stats = pool.stats()
assert (stats.shared, stats.filling, stats.consumers) == (1, 0, 1), stats
recycler.close()
pool.close()
print("fine")
"""


def test_a_forked_child_has_the_pool_and_nothing_else(shm_name: str) -> None:
    assert run(FORKS, shm_name) == "fine\n"


@pytest.mark.parametrize("kind", ["wait", "get q", "interrupted_open"])
def test_ctrl_c_ends_a_wait(pool: Pool, start: StartChild, kind: str) -> None:
    queue = shm_py.Queue.create("q", pool, 1)
    slots = [pool.lend() for _ in range(2)]
    child = start("pooling", pool.name)
    child.ask("sit")
    if kind == "interrupted_open":
        kind = f"interrupted_open {pool.name}-never"
    child.say(kind)
    assert child.hear() == "waiting"
    time.sleep(0.3)
    sent = time.monotonic()
    child.signal(signal.SIGINT)
    assert child.hear() == "interrupted"
    print(f"{kind}: {(time.monotonic() - sent) * 1000:.1f} ms from the signal to KeyboardInterrupt")
    # What was interrupted has left nothing in the line.
    for slot in slots:
        slot.abort()
    pool.lend(timeout=0).abort()
    assert child.ask("lend", PATIENCE) in ("0", "1")
    queue.remove()


def test_other_signals_do_not_end_a_wait(shm_name: str) -> None:
    said = run(
        """
import os, signal, sys, threading, time, shm_py
pool = shm_py.Pool.create(sys.argv[1], slot_size=64, slots=1)
slot = pool.lend()
handled = []
signal.signal(signal.SIGUSR1, lambda *_: handled.append(time.monotonic()))

def disturb():
    for _ in range(10):
        time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGUSR1)
    time.sleep(0.1)
    slot.abort()

threading.Thread(target=disturb).start()
pool.lend(timeout=60)
assert 1 <= len(handled) <= 10
print("fine")
""",
        shm_name,
    )
    assert said == "fine\n"


def test_an_exception_from_a_handler_ends_a_wait(shm_name: str) -> None:
    said = run(
        """
import os, signal, sys, threading, time, shm_py
pool = shm_py.Pool.create(sys.argv[1], slot_size=64, slots=1)
slot = pool.lend()
def handle(*_):
    raise ZeroDivisionError
signal.signal(signal.SIGALRM, handle)
signal.setitimer(signal.ITIMER_REAL, 0.1)
try:
    pool.lend()
except ZeroDivisionError:
    print("raised")
slot.abort()
pool.lend(timeout=0).abort()
""",
        shm_name,
    )
    assert said == "raised\n"


def test_waiting_producers_are_served_in_turn(pool: Pool, start: StartChild) -> None:
    held = [pool.lend() for _ in range(2)]
    children = [start("pooling", pool.name) for _ in range(3)]
    for place, child in enumerate(children):
        child.say("lend")
        _until(lambda: pool.stats().waits > place, "it does not wait")
        time.sleep(0.05)
    for child in children[:2]:
        held.pop().abort()
        assert child.hear() in ("0", "1")
        assert not children[2].has_answered(0.05)
    children[0].kill()
    assert children[2].hear() in ("0", "1")
