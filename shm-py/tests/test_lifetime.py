"""Whatever outlives what: a use after the end is an error or the right data, never a signal."""

from __future__ import annotations

import shm_py
from children import run


def test_arrays_outlive_their_handle(shm_name: str) -> None:
    said = run(
        """
import gc, sys
import numpy as np, shm_py

name = sys.argv[1]
words = 300_000
frame = np.arange(words, dtype=np.uint64)
shm = shm_py.create(name, shape=(words,), dtype="uint64")
with shm.write_view() as written:
    written[...] = frame
with shm.locked():
    live = shm.read(safe=False)
view = shm.view()
array = view.array
part = view.array[10:20][::-1]
taken = np.from_dlpack(shm)
found = shm.read_publication()
history = shm.history()
kept = [written, live, array, taken, found.payload, history[0].payload]
for end in (shm.close, lambda: shm_py.unlink(name), gc.collect):
    end()
    for item in kept:
        assert (item == frame).all()
del shm
gc.collect()
others = [shm_py.create(f"{name}-{n}", shape=(words,), dtype="uint64") for n in range(3)]
for other in others:
    with other.write_view() as room:
        room[...] = 2**64 - 1
for item in kept:
    assert (item == frame).all()
assert part.tolist() == list(range(19, 9, -1))
for frozen in (written, live, array):
    try:
        frozen[0] = 1
    except ValueError:
        print("read-only")
del view, kept
gc.collect()
assert (array == frame).all()
for other in others:
    other.unlink()
""",
        shm_name,
    )
    assert said.split() == ["read-only"] * 3


def test_views_outlive_their_handle(shm_name: str) -> None:
    said = run(
        """
import gc, sys
import numpy as np, shm_py

name = sys.argv[1]
shm = shm_py.create(name, shape=(1000,), dtype="int64")
shm.write(np.arange(1000), frame_id=5)
view = shm.view()
entered = shm.view()
entered.__enter__()
shm.unlink()
del shm
gc.collect()
assert (view.array == np.arange(1000)).all()
assert (view.count, view.frame_id) == (1, 5)
assert view.valid
view.validate()
entered.__exit__(None, None, None)
print("fine")
""",
        shm_name,
    )
    assert said == "fine\n"


def test_an_abandoned_write_view_is_not_writable_without_the_lock(shm_name: str) -> None:
    said = run(
        """
import gc, sys
import numpy as np, shm_py

name = sys.argv[1]
other = shm_py.create(name, shape=(10_000,), dtype="int64")
other.write(np.full(10_000, 3))
for forget in ("manager", "handle", "both"):
    shm = shm_py.open(name)
    manager = shm.write_view()
    array = manager.__enter__()
    array[:100] = 9
    if forget != "handle":
        del manager
    if forget != "manager":
        del shm
    gc.collect()
    assert (other.read() == 3).all() and other.count == 1, forget
    if not shm_py.stat(name)["writer_locked"]:
        assert not array.flags.writeable, forget
        print("given back")
    else:
        array[...] = 4
        print("held")
    array = manager = shm = None
    gc.collect()
    assert not shm_py.stat(name)["writer_locked"], forget
    other.write(np.full(10_000, 3), timeout=0)
    other.write(np.full(10_000, 3), timeout=0)
    other = shm_py.create(name, shape=(10_000,), dtype="int64", replace_existing=True)
    other.write(np.full(10_000, 3))
""",
        shm_name,
    )
    assert len(said.split("\n")) == 4, said


def test_a_handle_closed_inside_its_own_write_view(shm_name: str) -> None:
    said = run(
        """
import sys
import numpy as np, shm_py

name = sys.argv[1]
other = shm_py.create(name, shape=(1000,), dtype="int64")
other.write(np.full(1000, 1))
for how in ("close", "unlink by name", "unlink"):
    shm = shm_py.open(name)
    try:
        with shm.write_view() as array:
            array[:10] = 7
            if how == "unlink by name":
                shm_py.unlink(name)
            else:
                getattr(shm, how)()
            if array.flags.writeable:
                array[...] = 2
    except RuntimeError as error:
        print(how, "->", type(error).__name__)
    else:
        print(how, "-> nothing raised")
    assert shm.lock_depth == 0 if not shm.closed else True
    if how == "close":
        assert other.count == 1 and (other.read() == 1).all()
        assert shm_py.stat(name)["writer_locked"] is False
        other.write(np.full(1000, 1), timeout=0)
    else:
        assert name not in shm_py.list_streams(name)
        other = shm_py.create(name, shape=(1000,), dtype="int64")
        other.write(np.full(1000, 1), timeout=0)
""",
        shm_name,
    )
    assert said.count("->") == 3, said


def test_a_dropped_handle_frees_the_lock(shm_name: str) -> None:
    run(
        """
import gc, sys
import shm_py

name = sys.argv[1]
keeper = shm_py.create(name, shape=(1,))
for levels in (1, 3):
    shm = shm_py.open(name)
    for _ in range(levels):
        shm.acquire()
    assert shm_py.stat(name)["writer_locked"] is True
    del shm
    gc.collect()
    assert keeper.lock_depth == 0
    assert shm_py.stat(name)["writer_locked"] is False
    keeper.acquire(timeout=0)
    other = shm_py.open(name)
    other.acquire()
    del other
    gc.collect()
    assert keeper.lock_depth == 1, "only what that handle held"
    keeper.release()
""",
        shm_name,
    )


def test_cycles_are_collected(shm_name: str) -> None:
    run(
        """
import gc, os, sys
import numpy as np, shm_py

name = sys.argv[1]

class Node:
    pass

def tie():
    node = Node()
    node.self = node
    node.shm = shm_py.create(name, shape=(100_000,), replace_existing=True)
    node.shm.write(np.ones(100_000, np.float32))
    node.view = node.shm.view()
    node.array = node.view.array
    node.found = node.shm.read_publication()
    node.manager = node.shm.locked()
    node.bound = node.shm.read
    node.wait = node.shm.read_new_async()
    node.wait.close()

gc.disable()
for _ in range(20):
    tie()
segment = f"shm.{os.getuid()}.{name}"
maps = lambda: open("/proc/self/maps").read().count(segment)
assert maps() > 0
gc.collect()
assert maps() == 0, maps()
assert shm_py.stat(name)["attached"] is False
assert shm_py.gc(name) == [name]
""",
        shm_name,
    )


RACE = """
import random, sys, threading, time
import numpy as np, shm_py

name, seed = sys.argv[1], int(sys.argv[2])
words = 20_000
keeper = shm_py.create(name, shape=(words,), dtype="uint64")
keeper.write(np.zeros(words, np.uint64))
box = [shm_py.open(name)]
ending = threading.Event()
done, refused, strange = [0] * 5, [0] * 5, []

def read(shm, number):
    found = shm.read_publication()
    assert (found.payload == found.payload[0]).all()

def out(shm, number, buffer=np.empty(words, np.uint64)):
    shm.read(out=buffer)

def look(shm, number):
    with shm.view() as view:
        view.array.sum()
    shm.count, shm.age, shm.history(1), shm.describe()

def write(shm, number):
    shm.write(np.full(words, number, np.uint64), timeout=5)

def write_in_place(shm, number):
    with shm.write_view(timeout=5) as array:
        array[...] = number

def work(index, call):
    number = 0
    while not ending.is_set():
        number += 1
        try:
            call(box[0], number)
            done[index] += 1
        except shm_py.FrameOverwrittenError:
            done[index] += 1
        except RuntimeError as error:
            refused[index] += 1
        except BaseException as error:
            strange.append(repr(error))
            return

threads = [
    threading.Thread(target=work, args=item)
    for item in enumerate([read, out, look, write, write_in_place])
]
for thread in threads:
    thread.start()
chance, closed = random.Random(seed), 0
end = time.monotonic() + 2
while time.monotonic() < end:
    time.sleep(chance.uniform(0, 0.003))
    old, box[0] = box[0], shm_py.open(name)
    try:
        old.close()
    except RuntimeError as error:
        # A writing thread has the lock through it.
        assert "another thread owns its lock" in str(error), error
        refusals = 0
        while not old.closed:
            try:
                old.close()
            except RuntimeError:
                refusals += 1
    closed += 1
ending.set()
for thread in threads:
    thread.join()
assert strange == [], strange
keeper.write(np.full(words, 5, np.uint64), timeout=5)
assert (keeper.read() == 5).all()
print(closed, min(done), sum(refused))
"""


def test_every_use_races_close(shm_name: str) -> None:
    closed, done, refused = map(int, run(RACE, shm_name, 3).split())
    print(f"{closed} closes, each thread at least {done} uses, {refused} refusals")
    assert closed > 20 and done > 20 and refused > 0


def test_nothing_leaks_with_the_handles(shm_name: str) -> None:
    said = run(
        """
import gc, os, pickle, sys
import numpy as np, shm_py

name = sys.argv[1]

def things():
    gc.collect()
    return len(os.listdir("/proc/self/fd")), open("/proc/self/maps").read().count("/dev/shm/")

def create():
    with shm_py.create(name, shape=(2000,)) as shm:
        shm.write(np.ones(2000, np.float32))
        shm.unlink()

def reopen():
    with shm_py.open(name + "-kept") as shm, shm_py.open(name + "-kept", readonly=True) as other:
        shm.write(np.ones(2000, np.float32))
        with other.view() as view:
            view.array.sum()
        pickle.loads(pickle.dumps(other)).read()

def fail():
    for call in (
        lambda: shm_py.create(name + "-kept", shape=(1,)),
        lambda: shm_py.create(name + "-bad", shape=(0,)),
        lambda: shm_py.create(name + "-bad", shape=(2**50,)),
        lambda: shm_py.open(name + "-none"),
        lambda: shm_py.stat(name + "-none"),
    ):
        try:
            call()
        except (OSError, ValueError):
            continue
        raise AssertionError
    shm_py.list_streams(name)
    shm_py.stat(name + "-kept")
    shm_py.purge(prefix=name + "-none")

keeper = shm_py.create(name + "-kept", shape=(2000,))
for work in (create, reopen, fail):
    work()
    before = things()
    for _ in range(1000):
        work()
    assert things() == before, (work.__name__, before, things())
    print(work.__name__, before)
""",
        shm_name,
        timeout=120,
    )
    assert len(said.splitlines()) == 3


def test_memory_does_not_grow(shm_name: str) -> None:
    said = run(
        """
import asyncio, gc, sys
import numpy as np, shm_py

def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * 4096

shm = shm_py.create(sys.argv[1], shape=(25_000,), dtype="float32")
frame = np.ones(25_000, np.float32)
wide = np.ones(25_000, np.float64)
out = np.empty(25_000, np.float32)

def wait():
    async def main():
        for _ in range(500):
            shm.write(frame)
            await shm.read_after_async(shm.count - 1, timeout=5)
            try:
                await shm.read_new_async(timeout=0)
            except TimeoutError:
                pass
    asyncio.run(main())

def refuse():
    for bad in (np.ones(3), np.ones(25_000, complex), "x"):
        try:
            shm.write(bad)
        except (TypeError, ValueError):
            continue
        raise AssertionError

def views():
    with shm.view() as view:
        view.array[0]
    with shm.write_view() as array:
        array[0] = 1

shm.write(frame)
for work, rounds in (
    (shm.read, 20_000),
    (lambda: shm.read(out=out), 20_000),
    (shm.read_publication, 20_000),
    (lambda: shm.write(frame), 20_000),
    (lambda: shm.write(wide), 20_000),
    (shm.history, 5_000),
    (views, 20_000),
    (lambda: np.from_dlpack(shm), 20_000),
    (refuse, 5_000),
    (shm.describe, 5_000),
    (wait, 10),
):
    for _ in range(max(rounds // 40, 1)):
        work()
    before = resident()
    for _ in range(rounds):
        work()
    grown = resident() - before
    print(grown // 1024, "KiB")
    assert grown < 8 * 2**20, (work, rounds, grown)
""",
        shm_name,
        timeout=180,
    )
    assert len(said.splitlines()) == 11


def test_a_read_kept_by_each_of_many_names(shm_name: str) -> None:
    """Results are memory of their own: keeping them keeps neither handle nor stream."""
    run(
        """
import gc, os, sys
import numpy as np, shm_py

kept = []
for number in range(50):
    with shm_py.stream(f"{sys.argv[1]}-{number}", shape=(40_000,), dtype="int64") as shm:
        shm.write(np.full(40_000, number))
        kept.append((shm.read(), shm.read_publication(), shm.history(), np.from_dlpack(shm)))
gc.collect()
assert "/dev/shm/" not in open("/proc/self/maps").read()
for number, (array, found, history, taken) in enumerate(kept):
    for payload in (array, found.payload, history[-1].payload, taken):
        assert (payload == number).all()
""",
        shm_name,
    )
    assert shm_py.list_streams(shm_name) == []
