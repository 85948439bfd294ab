"""The keyed store."""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import shm_py
from children import PATIENCE, run
from conftest import StartChild
from shm_py import KeyExists, KeysMissing, PoolError, PoolFull, Store


@pytest.fixture
def store(shm_name: str) -> Iterator[Store]:
    with Store.create(shm_name, capacity=1 << 20) as store:
        yield store


def test_what_is_committed_is_retrieved(store: Store) -> None:
    layout = {"k": ((2, 8), "float16"), "v": ((2, 8), np.dtype("float32"))}
    with store.prepare_store("layer-0", layout) as reservation:
        arrays = reservation.arrays
        assert list(arrays) == ["k", "v"] and arrays["k"].shape == (2, 8)
        arrays["k"][:] = 1
        arrays["v"][:] = np.arange(16).reshape(2, 8)
        assert "layer-0" not in store and len(store) == 0
        with pytest.raises(KeysMissing):
            store.get("layer-0")
        reservation.commit()
    assert not arrays["k"].flags.writeable, "an entry does not change"
    for call in (reservation.commit, lambda: reservation.arrays):
        with pytest.raises(ValueError, match="committed or given back"):
            call()
    reservation.abort()
    assert "layer-0" in store and b"layer-0" in store and len(store) == 1
    with store.prepare_retrieve(["layer-0"]) as found:
        assert list(found) == ["layer-0"] and len(found) == 1 and "layer-0" in found
        assert found["layer-0"]["k"].dtype == np.float16
        assert found["layer-0"]["v"].tolist() == np.arange(16).reshape(2, 8).tolist()
        assert not found["layer-0"]["v"].flags.writeable
        assert found.keys() == ["layer-0"] and found.items()[0][0] == "layer-0"
        assert found.values()[0] is found["layer-0"]
        with pytest.raises(KeyError):
            found["other"]
    assert found.released
    with pytest.raises(ValueError, match="was released"):
        found["layer-0"]


def test_arrays_may_have_no_names(store: Store) -> None:
    with store.prepare_store(b"\xff\0key", [((3,), "int64"), ((), "bool")]) as reservation:
        numbers, flag = reservation.arrays
        numbers[:], flag[...] = [1, 2, 3], True
        reservation.commit()
    found = store.get(b"\xff\0key")
    assert isinstance(found, list) and found[0].tolist() == [1, 2, 3] and bool(found[1])
    assert store.keys() == [b"\xff\0key"]
    # Bytes that look like names are the caller's own unless they are exactly that.
    magic = b"\x93shm-py names\x00\x01\x1a"
    for number, tail in enumerate([b"", b"\x01\0\0\0", b"\xff\xff\xff\xffa", b"\x01\0\0\0\xff"]):
        store.put(f"odd-{number}", [np.ones(2), np.frombuffer(magic + tail, "u1")])
        assert len(store.get(f"odd-{number}")) == 2


def test_put_and_get(store: Store) -> None:
    odd = np.asfortranarray(np.arange(12).reshape(3, 4))[::2]
    store.put("mixed", {"a": odd, "b": 2.5, "c": [1, 2], "d": np.array([1.5], ml_dtypes.bfloat16)})
    found = store.get("mixed")
    assert (found["a"] == odd).all() and found["b"] == 2.5 and found["c"].tolist() == [1, 2]
    assert found["d"].dtype == ml_dtypes.bfloat16
    store.put("bytes", [np.arange(3, dtype=">i4")])
    assert store.get("bytes")[0].tolist() == [0, 1, 2]
    assert store.get("bytes")[0].dtype == np.dtype("int32")
    template = np.empty((2, 2), "complex64")
    store.prepare_store("like", [template]).abort()
    assert "like" not in store


def test_a_key_is_stored_once(store: Store) -> None:
    first = store.prepare_store("key", [((4,), "u1")])
    with pytest.raises(KeyExists, match="being stored") as refused:
        store.prepare_store("key", [((4,), "u1")])
    assert refused.value.pid == os.getpid() and isinstance(refused.value, FileExistsError)
    first.abort()
    second = store.prepare_store("key", [((4,), "u1")])
    second.commit()
    with pytest.raises(KeyExists, match="already") as refused:
        store.put("key", [np.ones(3)])
    assert refused.value.pid is None
    del store["key"]
    store.put("key", [np.ones(3)])


def test_retrieving_is_all_or_nothing(store: Store) -> None:
    store.put("a", [np.ones(1)])
    store.put("b", [np.zeros(1)])
    with pytest.raises(KeysMissing, match="lacks 2 of 4 keys: 'x', b'y'") as missed:
        store.prepare_retrieve(["a", "x", b"b", b"y"])
    assert missed.value.missing == ("x", b"y") and isinstance(missed.value, KeyError)
    assert store.remove("a"), "nothing is leased"
    with store.prepare_retrieve(["b", b"b", "b"]) as found:
        assert found["b"][0][0] == 0 and found[b"b"][0][0] == 0 and len(found) == 2
    with pytest.raises(KeysMissing, match="after 0.0"):
        store.prepare_retrieve(["a"], timeout=0.05)
    stats = store.stats()
    assert stats.hits >= 3 and stats.misses >= 3 and stats.stored == 1


def test_waiting_for_keys(store: Store) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(store.prepare_retrieve(["a", "b"], None)))
    thread.start()
    store.put("a", [np.ones(1)])
    thread.join(0.1)
    assert thread.is_alive()
    store.put("b", [np.ones(1)])
    thread.join(PATIENCE)
    assert found[0]["b"][0].tolist() == [1]


def test_leases_keep_entries(store: Store) -> None:
    store.put("key", {"x": np.arange(1000)})
    array = store.get("key")["x"][10:20]
    gc.collect()
    with pytest.raises(PoolError, match="leased by process"):
        del store["key"]
    for number in range(60):
        store.put(f"other-{number}", [np.full(10_000, -1)])
    assert store.stats().evicted > 0 and "key" in store
    assert array.tolist() == list(range(10, 20))
    del array
    gc.collect()
    del store["key"]
    with pytest.raises(KeyError):
        del store["key"]
    assert not store.remove("key")


def test_reservations_that_are_dropped_are_given_back(store: Store) -> None:
    reservation = store.prepare_store("key", [((10,), "int64")])
    array = reservation.arrays[0]
    del reservation
    gc.collect()
    with pytest.raises(KeyExists):
        store.prepare_store("key", [((1,), "u1")])
    array[:] = 1
    del array
    gc.collect()
    with pytest.raises(ZeroDivisionError):
        with store.prepare_store("key", [((1,), "u1")]):
            raise ZeroDivisionError
    assert store.stats().in_use == 0
    with pytest.raises(ValueError):
        store.put("key", {"a": np.ones(2), "b": np.array(["text"])})
    with pytest.raises(TypeError):
        store.put("key", {"a": np.ones(2), 3: np.ones(1)})  # type: ignore[dict-item]
    assert store.stats().in_use == 0 and store.fsck().is_clean


def test_a_full_store_makes_room_or_says_who_has_it(shm_name: str) -> None:
    with Store.create(shm_name, capacity=1 << 16) as store:
        store.put("old", [np.zeros(30_000, "u1")])
        held = store.prepare_retrieve(["old"])
        with pytest.raises(PoolFull, match="leased by process") as refused:
            store.put("new", [np.zeros(40_000, "u1")], timeout=0)
        assert refused.value.holders[0].pid == os.getpid()
        with pytest.raises(PoolFull, match="within"):
            store.prepare_store("new", [((40_000,), "u1")], timeout=0.1)
        with pytest.raises(ValueError, match="does not fit"):
            store.put("new", [np.zeros(70_000, "u1")])
        held.release()
        store.put("new", [np.zeros(40_000, "u1")], timeout=0)
        assert "old" not in store and store.stats().evicted == 1


def test_entries_grow_old(shm_name: str) -> None:
    with Store.create(shm_name, capacity=1 << 16, ttl=0.05) as store:
        store.put("key", [np.ones(1)])
        deadline = time.monotonic() + PATIENCE
        while "key" in store:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        with pytest.raises(KeysMissing):
            store.get("key")
        store.put("key", [np.ones(1)])


def test_bad_arguments_are_named(store: Store, shm_name: str) -> None:
    bad: list[tuple[Any, Any, type[Exception], str]] = [
        ("", [((1,), "u1")], ValueError, "1 to 1024"),
        ("x" * 1025, [((1,), "u1")], ValueError, "1 to 1024"),
        (3, [((1,), "u1")], TypeError, "expected str or bytes"),
        ("\ud800", [((1,), "u1")], ValueError, "UTF-8"),
        ("key", [], ValueError, "1 to 4096 tensors"),
        ("key", [(1, 2, 3)], TypeError, "expected \\(shape, dtype\\)"),
        ("key", ["text"], TypeError, "expected \\(shape, dtype\\)"),
        ("key", "text", TypeError, "expected a mapping"),
        ("key", [((0,), "u1")], ValueError, "0"),
        ("key", [((1,), "O")], ValueError, "not supported"),
        ("key", {1: ((1,), "u1")}, TypeError, "name of an array"),
    ]
    for key, layout, error, text in bad:
        with pytest.raises(error, match=text):
            store.prepare_store(key, layout)
    for keys, kind in [("key", TypeError), ([3], TypeError), (3, TypeError), ([], ValueError)]:
        with pytest.raises(kind):
            store.prepare_retrieve(keys)  # type: ignore[arg-type]
    for options in ({"capacity": 0}, {"ttl": 0}, {"ttl": -1}, {"granule": 5}, {"entries": 0}):
        with pytest.raises(ValueError):
            Store.create(f"{shm_name}-2", **{"capacity": 1 << 16, **options})  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match=r"shm_py\.Store\.create"):
        Store.open(f"{shm_name}-2")
    with pytest.raises(ValueError, match="store"):
        shm_py.Pool.open(shm_name)


def test_a_store_has_one_owner(shm_name: str) -> None:
    with Store.create(shm_name, capacity=1 << 16, metadata=b"mine") as store:
        with pytest.raises(shm_py.AlreadyOwned) as refused:
            Store.create(shm_name, capacity=1 << 16)
        assert refused.value.pid == os.getpid()
        worker = Store.open(shm_name)
        assert store.is_owner and not worker.is_owner and worker.metadata == b"mine"
        with pytest.raises(PermissionError):
            worker.unlink()
        worker.put("key", [np.ones(3)])
        array = store.get("key")[0]
        assert len(store.describe().consumers) == 2 and store.overdue() == []
        assert "capacity=65536" in repr(worker) and store.instance == worker.instance
        worker.close()
        with pytest.raises(PoolError, match=r"shm_py\.Store\.open"):
            worker.get("key")
    assert array.tolist() == [1, 1, 1] and store.closed
    with pytest.raises(FileNotFoundError):
        Store.open(shm_name)


def test_workers_in_other_processes(store: Store, start: StartChild) -> None:
    first, second = start("storing", store.name), start("storing", store.name)
    assert first.ask("put a 1") == "stored" and second.ask("get a") == "1"
    assert first.ask("prepare b") == "reserved"
    assert second.ask("put b 2").startswith("KeyExists: key 'b'") and f"{first.pid}" in second.ask(
        "put b 2"
    )
    assert first.ask("commit 5") == "stored" and second.ask("get b 30") == "5"
    with pytest.raises(PoolError, match=f"process {second.pid}"):
        del store["b"]
    second.kill()
    store.reap()
    del store["b"]
    assert first.ask("prepare c") == "reserved"
    first.kill()
    store.put("c", [np.full(16, 9)])
    assert store.get("c")[0][0] == 9
    assert store.stats().filling == 0 and store.fsck().is_clean


def test_ctrl_c_ends_a_wait_for_keys(store: Store, start: StartChild) -> None:
    child = start("storing", store.name)
    child.say("wait never")
    assert child.hear() == "waiting"
    time.sleep(0.2)
    child.signal(signal.SIGINT)
    assert child.hear() == "interrupted"
    assert child.ask("put fine 1") == "stored"
    child.finish()


def _fill(store: Store, rank: int, rounds: int) -> None:
    """Stores and reads keys that others store and read, in a store that is too small for all."""
    for number in range(rounds):
        key = f"key-{number % 40}"
        try:
            store.put(key, {"rank": np.array(rank), "data": np.full(2000, number % 40)}, timeout=60)
        except KeyExists:
            pass
        try:
            with store.prepare_retrieve([key]) as found:
                assert (found[key]["data"] == number % 40).all()
        except KeysMissing:
            pass


@pytest.mark.parametrize("method", ["spawn", "fork"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_store_under_use(shm_name: str, method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    with Store.create(shm_name, capacity=1 << 18) as store:
        children = [
            context.Process(target=_fill_by_name, args=(shm_name, rank, 300), daemon=True)
            for rank in range(3)
        ]
        for child in children:
            child.start()
        _fill(store, 9, 300)
        for child in children:
            child.join(100)
            assert child.exitcode == 0
        stats = store.stats()
        assert stats.evicted > 0 and stats.filling == 0 and store.fsck().is_clean
        for key in store.keys():
            assert (store.get(key)["data"] == int(key.split(b"-")[1])).all()
        again = pickle.loads(pickle.dumps(store))
        assert again.instance == store.instance and not again.is_owner
        assert store.clear() > 0 and len(again) == 0


def _fill_by_name(name: str, rank: int, rounds: int) -> None:
    _fill(Store.open(name), rank, rounds)


def test_a_forked_child_opens_the_store_itself(shm_name: str) -> None:
    said = run(
        """
import os, sys, traceback, warnings
import numpy as np, shm_py
warnings.simplefilter("ignore", DeprecationWarning)
store = shm_py.Store.create(sys.argv[1], capacity=1 << 20)
store.put("key", [np.arange(3)])
leased = store.prepare_retrieve(["key"])
array = leased["key"][0]
reservation = store.prepare_store("open", [((1,), "u1")])
pid = os.fork()
if pid == 0:
    try:
        for call in (lambda: store.get("key"), lambda: leased["key"], leased.release,
                     reservation.commit, lambda: reservation.arrays):
            try:
                call()
            except shm_py.PoolError as error:
                assert "parent of this process" in str(error), error
            else:
                raise AssertionError("not refused")
        reservation.abort()
        leased.__exit__(None, None, None)
        assert array.tolist() == [0, 1, 2]
        own = shm_py.Store.open(sys.argv[1])
        assert own.get("key")[0].tolist() == [0, 1, 2]
        store.close()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
assert not leased.released and shm_py.Store.open(sys.argv[1]).instance == store.instance
reservation.arrays[0][:] = 1
reservation.commit()
assert "open" in store
leased.release()
store.close()
print("fine")
""",
        shm_name,
    )
    assert said == "fine\n"


def test_nothing_leaks_in_many_cycles(shm_name: str) -> None:
    said = run(
        """
import gc, os, sys
import numpy as np, shm_py
store = shm_py.Store.create(sys.argv[1], capacity=1 << 18)

def cycle(number):
    key = f"k{number % 50}"
    try:
        store.put(key, {"a": np.full(500, number), "b": np.ones(3)}, timeout=0)
    except shm_py.KeyExists:
        pass
    found = store.get(key)
    assert (found["a"] == found["a"][0]).all()
    store.prepare_store("never", [((100,), "u1")])
    try:
        store.get("none")
    except KeyError:
        pass

def memory():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

for number in range(2_000):
    cycle(number)
before, things = memory(), len(gc.get_objects())
for number in range(10_000):
    cycle(number)
assert memory() - before < 2_000_000, memory() - before
assert len(gc.get_objects()) - things < 50
assert store.stats().filling == 0 and store.fsck().is_clean
print("fine")
""",
        shm_name,
        timeout=110,
    )
    assert said == "fine\n"
