"""Handles that go to other processes: by pickle, by fork, and through the end of one."""

from __future__ import annotations

import copy
import multiprocessing
import pickle

import numpy as np
import pytest
import shm_py
from children import PROGRAMS, Child, run
from conftest import StartChild


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_opens_the_name_again(shm_name: str, protocol: int) -> None:
    with shm_py.create(shm_name, shape=(2,), casting="unsafe") as shm:
        shm.write(np.ones(2, np.float32), frame_id=6)
        with pickle.loads(pickle.dumps(shm, protocol)) as other:
            assert isinstance(other, shm_py.SharedMemory) and other is not shm
            assert (other.name, other.shape, other.count) == (shm_name, (2,), 1)
            assert (other.casting, other.readonly, other.owner) == ("unsafe", False, False)
            other.write(np.full(2, 2, np.float32))
            assert shm.read()[0] == 2
        assert not shm.closed
        with shm_py.open(shm_name, readonly=True) as reader:
            with pickle.loads(pickle.dumps(reader, protocol)) as other:
                assert (other.readonly, other.casting) == (True, "same_kind")
                with pytest.raises(PermissionError, match="read-only"):
                    other.write(np.ones(2, np.float32))
        pickled = pickle.dumps(shm, protocol)
        shm.unlink()
    with pytest.raises(FileNotFoundError, match=shm_name):
        pickle.loads(pickled)


def test_a_pickled_handle_holds_no_lock(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm, shm.locked():
        with pickle.loads(pickle.dumps(shm)) as other:
            assert other.lock_depth == 1, "one lock per stream and process"
        assert shm.lock_depth == 1
        with copy.copy(shm) as other:
            assert other.name == shm_name


def test_publications_are_pickled_whole(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(2,)) as shm:
        shm.write(np.ones(2, np.float32), frame_id=2**64 - 1, acquired_ns=5)
        found = shm.read_publication()
    for other in (pickle.loads(pickle.dumps(found)), copy.copy(found), copy.deepcopy(found)):
        assert type(other) is shm_py.Publication
        assert (other.count, other.frame_id, other.acquired_ns) == (1, 2**64 - 1, 5)
        assert (other.write_time_ns, other.missed_publications) == (found.write_time_ns, 0)
        np.testing.assert_array_equal(other.payload, [1, 1])


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_handles_as_arguments(shm_name: str, method: str) -> None:
    child = Child(PROGRAMS / "multi.py", shm_name, method)
    try:
        assert child.hear(60) == "process 2"
        assert child.hear(60) == "pool 10"
        assert child.hear(60) == "read-only PermissionError"
        child.finish()
    finally:
        child.stop()


def test_many_children_print_nothing(shm_name: str, start: StartChild) -> None:
    """No tracker of Python's knows of the segments: no complaint, and nothing is removed early."""
    with shm_py.create(shm_name, shape=(4,), dtype="uint64") as shm:
        for _ in range(2):
            children = [start("peer", shm_name) for _ in range(4)]
            for number, child in enumerate(children, 1):
                child.ask(f"write {number}")
            for child in children:
                child.finish()
                assert child.errors() == ""
        assert shm.count == 8
        assert shm_py.list_streams(shm_name) == [shm_name]
    creator = start("peer", shm_name + "-theirs", "create", "4")
    creator.ask("write 4")
    creator.finish()
    with shm_py.open(shm_name + "-theirs") as shm:
        assert shm.count == 1, "the creator's end does not end the stream"


FORKS = ["reads and writes", "lock", "write view", "waits", "async", "handles", "grandchild",
         "killed parent"]


@pytest.mark.parametrize("scenario", FORKS)
def test_fork(shm_name: str, scenario: str) -> None:
    child = Child(PROGRAMS / "forking.py", shm_name, scenario)
    try:
        assert child.hear(60) == "fine"
        child.finish(60)
        assert shm_py.list_streams(shm_name) == [shm_name]
        assert shm_py.stat(shm_name)["holders"] == []
    finally:
        child.stop()


ENDS = {
    "a daemon thread waits": """
threading.Thread(target=shm.read_new, daemon=True).start()
time.sleep(0.2)
""",
    "many daemon threads wait": """
for wait in (shm.read_new, lambda: shm.read_after(9), lambda: shm.wait_for_count(after=9)) * 5:
    threading.Thread(target=wait, daemon=True).start()
time.sleep(0.2)
""",
    "a daemon thread waits for the lock": """
shm.acquire()
threading.Thread(target=shm.acquire, daemon=True).start()
time.sleep(0.2)
""",
    "daemon threads are busy": """
def work(call):
    while True:
        call()
for call in (shm.read, lambda: shm.write(np.ones(1000, np.float32)), shm.history, shm.clear):
    threading.Thread(target=work, args=(call,), daemon=True).start()
time.sleep(0.2)
""",
    "an async wait is pending in a thread": """
async def main():
    await shm.read_new_async()
threading.Thread(target=asyncio.run, args=(main(),), daemon=True).start()
time.sleep(0.2)
""",
    "an async wait is cancelled by the end of the loop": """
async def main():
    task = asyncio.create_task(shm.read_new_async())
    await asyncio.sleep(0.1)
asyncio.run(main())
""",
    "the lock is held": "shm.acquire()",
    "a write view is open": """
manager = shm.write_view()
array = manager.__enter__()
array[0] = 1
""",
    "a view is open": """
view = shm.view()
view.__enter__()
array = view.array
""",
    "a thread waits and the handle is closed at exit": """
import atexit
def wait():
    try:
        shm.read_new()
    except RuntimeError as error:
        assert "closed while a read was waiting" in str(error)
threading.Thread(target=wait, daemon=True).start()
time.sleep(0.1)
atexit.register(shm.close)
""",
    "nothing is closed": "module_level = [shm, shm.view(), shm.read_publication(), shm.locked()]",
    "sys.exit in a thread that waits": """
import _thread
threading.Timer(0.1, _thread.interrupt_main).start()
try:
    shm.read_new(timeout=30)
except KeyboardInterrupt:
    pass
""",
}


@pytest.mark.parametrize("how", ENDS)
def test_the_end_of_a_process_while(shm_name: str, how: str) -> None:
    before = """
import asyncio, sys, threading, time
import numpy as np, shm_py
shm = shm_py.create(sys.argv[1], shape=(1000,))
shm.write(np.ones(1000, np.float32))
"""
    for _ in range(3):
        said = run(before + ENDS[how] + "\nprint('end')\n", shm_name, timeout=60)
        assert said == "end\n"
        with shm_py.open(shm_name) as shm:
            shm.acquire(timeout=0)
            shm.release()
            found = shm.read()
            assert (found == found[0]).all() and found[0] in (0, 1)
            assert shm_py.stat(shm_name)["creator_alive"] is False
            shm.unlink()


def test_a_loop_abandoned_with_a_pending_wait(shm_name: str) -> None:
    """asyncio complains about the pending task, and nobody else does."""
    run(
        """
import asyncio, sys
import shm_py
shm = shm_py.create(sys.argv[1], shape=(1,))
loop = asyncio.new_event_loop()
loop.set_exception_handler(lambda loop, context: None)
task = loop.create_task(shm.read_new_async())
loop.run_until_complete(asyncio.sleep(0.1))
print("end")
""",
        shm_name,
    )


