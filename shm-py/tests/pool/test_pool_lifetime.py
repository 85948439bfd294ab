"""Whatever outlives what: slots and leases end when they should, and no array ever faults."""

from __future__ import annotations

import gc
import random
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import shm_py
from children import run
from shm_py import Pool


@pytest.fixture
def pool(shm_name: str) -> Iterator[Pool]:
    with Pool.create(shm_name, slot_size=4096, slots=4) as pool:
        yield pool


def test_a_lease_that_is_dropped_is_released(pool: Pool) -> None:
    consumer = pool.consumer()
    lease = consumer.redeem(pool.lend().publish())
    assert pool.stats().in_use == 1
    del lease
    gc.collect()
    assert pool.stats().in_use == 0


@pytest.mark.parametrize("made", ["array", "slice", "buffer", "view of the buffer"])
def test_what_was_made_from_a_lease_keeps_it(pool: Pool, made: str) -> None:
    consumer = pool.consumer()
    slot = pool.lend(64)
    slot.array((8,), "int64")[:] = 7
    lease = consumer.redeem(slot.publish())
    ways: dict[str, Callable[[], object]] = {
        "array": lambda: lease.array((8,), "int64"),
        "slice": lambda: lease.array((8,), "int64")[2:4],
        "buffer": lambda: lease.buffer,
        "view of the buffer": lambda: np.frombuffer(lease.buffer, "int64"),
    }
    kept = ways.pop(made)()
    ways.clear()
    del lease, slot
    gc.collect()
    assert pool.stats().in_use == 1, "held while somebody looks"
    for _ in range(3):
        with pool.lend() as other:
            other.array((512,), "int64")[:] = -1
    assert (np.asarray(kept).view("int64") == 7).all()
    del kept
    gc.collect()
    assert pool.stats().in_use == 0


def test_release_ends_a_lease_whoever_looks(pool: Pool) -> None:
    consumer = pool.consumer()
    lease = consumer.redeem(pool.lend(64).publish())
    array = lease.array((8,), "int64")
    view = np.frombuffer(lease.buffer, "int64")
    lease.release()
    assert pool.stats().in_use == 0
    for _ in range(8):
        slot = pool.lend(64)
        slot.array((8,), "int64")[:] = -1
        slot.abort()
    assert array.shape == view.shape == (8,)
    array.sum(), view.sum()
    del lease
    assert array.sum() == view.sum()


@pytest.mark.parametrize("made", ["nothing", "array", "slice", "buffer"])
def test_a_slot_that_is_dropped_is_given_back(pool: Pool, made: str) -> None:
    slot = pool.lend()
    ways: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "array": lambda: slot.array((8,), "int64"),
        "slice": lambda: slot.array((8,), "int64")[2:4],
        "buffer": lambda: slot.buffer,
    }
    kept = ways.pop(made)()
    ways.clear()
    del slot
    gc.collect()
    assert pool.stats().filling == (0 if made == "nothing" else 1)
    if made == "array":
        assert isinstance(kept, np.ndarray)
        kept[:] = 1
    del kept
    gc.collect()
    assert pool.stats().in_use == 0


def test_an_exception_gives_a_slot_back(pool: Pool) -> None:
    pool.consumer()
    with pytest.raises(ZeroDivisionError):
        with pool.lend() as slot:
            raise ZeroDivisionError
    assert pool.stats().in_use == 0 and "given back" in repr(slot)


def test_many_arrays_of_one_slot_are_not_kept(pool: Pool) -> None:
    slot = pool.lend()
    last = None
    for _ in range(10_000):
        last = slot.array((1,), "u1")
    assert last is not None and last.flags.writeable
    slot.abort()
    assert not last.flags.writeable


def test_arrays_outlive_everything(shm_name: str) -> None:
    said = run(
        """
import gc, os, sys
import numpy as np, shm_py
name = sys.argv[1]
pool = shm_py.Pool.create(name, slot_size=1 << 20, slots=2)
consumer = shm_py.Consumer.open(name)
slot = pool.lend()
written = slot.array((1 << 17,), "int64")
written[:] = 5
lease = consumer.redeem(slot.publish())
read = lease.array((1 << 17,), "int64")
tree = consumer.unpack(pool.publish({"a": np.arange(1000)}))
queue = shm_py.Queue.create("q", pool, 4)
for end in (lease.release, consumer.close, queue.remove, queue.close, pool.unlink, pool.close):
    end()
    gc.collect()
    assert (written == 5).all() and (read == 5).all() and tree["a"][-1] == 999
del pool, consumer, slot, lease, queue
gc.collect()
assert (written == 5).all() and (read == 5).all() and tree["a"].sum() == 499500
for frozen in (written, read, tree["a"]):
    try:
        frozen[0] = 1
    except ValueError:
        print("read-only")
segment = f"shm.{os.getuid()}.{name}"
assert segment in open("/proc/self/maps").read()
del written, read, tree, frozen
gc.collect()
assert segment not in open("/proc/self/maps").read()
""",
        shm_name,
    )
    assert said.split() == ["read-only"] * 3


def test_cycles_are_collected(shm_name: str) -> None:
    run(
        """
import gc, os, sys
import numpy as np, shm_py
name = sys.argv[1]

class Node:
    pass

def tie(number):
    node = Node()
    node.self = node
    node.pool = shm_py.Pool.create(f"{name}-{number}", slot_size=4096, slots=4)
    node.consumer = node.pool.consumer()
    node.queue = shm_py.Queue.create("q", node.pool, 4)
    node.slot = node.pool.lend()
    node.written = node.slot.array((8,), "u1")
    node.buffer = node.slot.buffer
    node.tree = node.consumer.unpack(node.pool.publish([np.ones(4)]))
    node.lease = node.consumer.redeem(node.pool.lend().publish())
    node.view = node.lease.buffer
    node.lend = node.pool.lend
    node.wait = node.pool.lend_async()
    node.wait.close()
    node.recycler = node.pool.recycler()

gc.disable()
threads = len(os.listdir("/proc/self/task"))
for number in range(5):
    tie(number)
segment = f"shm.{os.getuid()}.{name}"
maps = lambda: open("/proc/self/maps").read().count(segment)
assert maps() > 0
gc.collect()
assert maps() == 0, maps()
assert not [file for file in os.listdir("/dev/shm") if file.startswith(segment)]
assert len(os.listdir("/proc/self/task")) == threads
""",
        shm_name,
    )


def test_nothing_leaks_in_many_cycles(shm_name: str) -> None:
    said = run(
        """
import gc, os, sys
import numpy as np, shm_py
pool = shm_py.Pool.create(sys.argv[1], slot_size=4096, slots=3, consumers=1)
consumer = pool.consumer()
queue = shm_py.Queue.create("q", pool, 8)
tree = {"ids": np.arange(100), "text": "x" * 50, "nested": [1, 2.5, (None, True)]}

def cycle(number):
    slot = pool.lend(400)
    slot.array((100,), "i4")[:] = number
    queue.put(slot.publish("any"))
    with consumer.redeem(queue.get(consumer)) as lease:
        assert lease.array((100,), "i4")[0] == number
    found = consumer.unpack(pool.publish(tree))
    assert found["ids"][99] == 99
    with pool.lend() as slot:
        slot.buffer[0] = 1
    try:
        pool.lend(timeout=0), pool.lend(timeout=0), pool.lend(timeout=0), pool.lend(timeout=0)
    except shm_py.PoolFull:
        pass

def memory():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

for number in range(2_000):
    cycle(number)
before, things = memory(), (len(os.listdir("/proc/self/fd")), len(gc.get_objects()))
for number in range(10_000):
    cycle(number)
grown = memory() - before
after = (len(os.listdir("/proc/self/fd")), len(gc.get_objects()))
assert after[0] == things[0] and after[1] - things[1] < 50, (things, after)
assert grown < 2_000_000, grown
assert pool.stats().in_use == 0 and pool.fsck().is_clean
print("fine")
""",
        shm_name,
        timeout=110,
    )
    assert said == "fine\n"


def test_threads_share_a_pool(shm_name: str) -> None:
    """Producers and consumers in threads, which wait for each other with the interpreter released."""
    producers, consumers, each = 3, 3, 400
    with Pool.create(shm_name, slot_size=256, slots=2, consumers=consumers) as pool:
        queue = shm_py.Queue.create("work", pool, 2)
        seen: list[int] = []
        wrong: list[str] = []

        def produce(producer: int) -> None:
            try:
                for number in range(each):
                    slot = pool.lend(64, timeout=60)
                    slot.array((8,), "int64")[:] = producer * each + number
                    queue.put(slot.publish("any"), timeout=60)
            except BaseException as error:
                wrong.append(repr(error))

        def consume(consumer: shm_py.Consumer) -> None:
            try:
                for _ in range(producers * each // consumers):
                    with consumer.redeem(queue.get(consumer, timeout=60)) as lease:
                        array = lease.array((8,), "int64")
                        assert (array == array[0]).all()
                        seen.append(int(array[0]))
            except BaseException as error:
                wrong.append(repr(error))

        threads = [threading.Thread(target=produce, args=(number,)) for number in range(producers)]
        seats = [pool.consumer() for _ in range(consumers)]
        threads += [threading.Thread(target=consume, args=(seat,)) for seat in seats]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(100)
        assert wrong == [] and sorted(seen) == list(range(producers * each))
        assert pool.stats().in_use == 0 and pool.fsck().is_clean


def test_a_wait_lets_other_threads_run_and_ends_with_close(shm_name: str) -> None:
    pool = Pool.create(shm_name, slot_size=64, slots=1)
    slot = pool.lend()
    outcome: list[BaseException] = []

    def wait() -> None:
        try:
            pool.lend()
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    pool.close()
    thread.join(30)
    assert not thread.is_alive()
    assert isinstance(outcome[0], shm_py.PoolError) and "closed" in str(outcome[0])
    slot.abort()


def test_closing_under_use_is_an_error_and_no_crash(shm_name: str) -> None:
    said = run(
        """
import random, sys, threading, time
import numpy as np, shm_py
name, seed = sys.argv[1], int(sys.argv[2])
chance = random.Random(seed)
keeper = shm_py.Pool.create(name, slot_size=4096, slots=4, consumers=1)
box = [shm_py.Pool.open(name)]
seat = [keeper.consumer()]
ending = threading.Event()
done, strange = [0], []

def work():
    while not ending.is_set():
        try:
            pool = box[0]
            with pool.lend(64, timeout=0.01) as slot:
                array = slot.array((8,), "int64")
                array[:] = 3
                ticket = slot.publish("any")
            lease = seat[0].redeem(ticket)
            view = lease.array((8,), "int64")
            if chance.random() < 0.5:
                lease.release()
            del lease
            view.sum(), array.sum(), pool.stats(), pool.fsck()
            done[0] += 1
        except (shm_py.PoolError, ValueError):
            pass
        except BaseException as error:
            strange.append(repr(error))
            return

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
end = time.monotonic() + 2
while time.monotonic() < end:
    box[0].close()
    box[0] = shm_py.Pool.open(name)
    if chance.random() < 0.3:
        seat[0].close()
        seat[0] = keeper.consumer()
    time.sleep(0.003)
ending.set()
for thread in threads:
    thread.join(30)
assert strange == [], strange
assert done[0] > 0
print("fine")
""",
        shm_name,
        random.randrange(1 << 30),
    )
    assert said == "fine\n"
