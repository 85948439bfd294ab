"""Writers that die, stop or are interrupted at any instant, and what the others find."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import shm_py
from children import Child
from children.frames import Pattern
from conftest import StartChild

PATIENCE = 20.0
WAYS = ["write", "write_view", "write_locked", "write_swapped"]


class Survivor:
    """This process's view of the stream, and what must hold for it at any moment."""

    def __init__(self, name: str, words: int) -> None:
        self.shm = shm_py.create(name, shape=(words,), dtype="uint64")
        self.reader = shm_py.open(name, readonly=True)
        self.pattern = Pattern(words)
        self.newest = 0

    def reads(self) -> int:
        """Reads the newest frame in several ways, none of which may wait; its count."""
        found = self.reader.read_publication(timeout=0)
        if found.count > 0:
            assert self.pattern.number(found.payload) == found.frame_id
            with self.reader.view() as view:
                assert self.pattern.number(view.array) == view.frame_id
            for older in self.reader.history():
                assert self.pattern.number(older.payload) == older.frame_id
        else:
            assert not found.payload.any()
        assert found.count >= self.newest, "a completed frame was lost"
        self.newest = found.count
        return found.count

    def writes(self) -> None:
        """The lock is free at once, and the next frame is the next."""
        before = self.reads()
        with self.shm.locked(timeout=0):
            # A frame that was finished but not yet shown may be handed over to the next writer.
            handed_over = self.shm.count - before
            assert handed_over in (0, 1)
            number = before + handed_over + 1
            self.shm.write_locked(self.pattern.frame(number), frame_id=number)
        assert self.reads() == number == self.shm.frame_id

    def close(self) -> None:
        self.reader.close()
        self.shm.close()


def state_of(pid: int) -> str:
    """The letter that the system gives the state of a process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def await_state(pid: int, letter: str) -> None:
    """Waits for the process as a whole: a zombie's threads hold what it held until all are gone."""
    tasks = Path(f"/proc/{pid}/task")
    deadline = time.monotonic() + PATIENCE
    while state_of(pid) != letter or (letter == "Z" and len(list(tasks.iterdir())) > 1):
        assert time.monotonic() < deadline, f"{pid} is {state_of(pid)}, not {letter}"
        time.sleep(0.001)


def stop_while_it_holds_the_lock(writer: Child, name: str) -> None:
    """Stops a busy writer again and again, until it is in the middle of something."""
    rng = np.random.default_rng(writer.pid)
    for _ in range(2000):
        writer.signal(signal.SIGSTOP)
        await_state(writer.pid, "T")
        if shm_py.stat(name)["writer_locked"]:
            return
        writer.signal(signal.SIGCONT)
        time.sleep(float(rng.uniform(0, 0.003)))
    raise AssertionError("it never held the lock")


def test_writers_killed_at_random(shm_name: str, start: StartChild, stress: bool) -> None:
    rounds = 1000 if stress else 50
    rng = np.random.default_rng(11)
    survivor = Survivor(shm_name, 60_000)
    survivor.writes()
    follower = start("reader", shm_name, "read_after")
    killed = holding = grown = 0
    for number in range(rounds):
        before = survivor.newest
        writer = start("writer", shm_name, WAYS[number % len(WAYS)])
        time.sleep(float(rng.uniform(0, 0.02)))
        if number % 2:
            stop_while_it_holds_the_lock(writer, shm_name)
            holding += 1
            survivor.reads()
        writer.kill()
        killed += 1
        grown += survivor.reads() > before
        survivor.writes()
    follower.say("stop")
    while not follower.has_answered(0.05):  # it waits for one more frame
        survivor.writes()
    reads, distinct, newest = map(int, follower.hear().split())
    follower.finish()
    print(f"{killed} kills, {holding} with the lock held, {grown} after some frames; {reads} reads")
    assert killed == rounds and holding == rounds // 2
    assert grown > rounds // 2, "most writers had published something"
    assert distinct > rounds and newest <= survivor.newest
    survivor.close()


@pytest.mark.parametrize("words", [8, 5_000, 500_000])
def test_killed_with_half_a_frame_in_place(shm_name: str, start: StartChild, words: int) -> None:
    survivor = Survivor(shm_name, words)
    for number in range(6):
        writer = start("peer", shm_name)
        assert writer.ask("half") == "half"
        assert survivor.reads() == number
        with pytest.raises(TimeoutError, match=str(writer.pid)):
            survivor.shm.acquire(timeout=0)
        writer.kill()
        assert survivor.reads() == number
        survivor.writes()
        assert survivor.newest == number + 1
    survivor.close()


def test_a_zombie_holds_nothing(shm_name: str, start: StartChild) -> None:
    survivor = Survivor(shm_name, 5_000)
    survivor.writes()
    writer = start("peer", shm_name)
    assert writer.ask("half") == "half"
    writer.signal(signal.SIGKILL)
    await_state(writer.pid, "Z")
    survivor.reads()
    survivor.writes()
    assert writer.pid not in [holder["pid"] for holder in shm_py.stat(shm_name)["holders"]]
    assert state_of(writer.pid) == "Z"
    writer.stop()
    survivor.close()


def test_a_stopped_writer_costs_readers_nothing(shm_name: str, start: StartChild) -> None:
    survivor = Survivor(shm_name, 200_000)
    writer = start("writer", shm_name, "write")
    survivor.shm.wait_for_count(after=3, timeout=PATIENCE)
    stop_while_it_holds_the_lock(writer, shm_name)
    frozen = survivor.reads()
    for _ in range(20):
        assert survivor.reads() == frozen
    for timeout in (0, 0.1):
        with pytest.raises(TimeoutError, match=str(writer.pid)):
            survivor.shm.acquire(timeout=timeout)
        with pytest.raises(TimeoutError, match=str(writer.pid)):
            survivor.shm.write(survivor.pattern.frame(1), timeout=timeout)
    with pytest.raises(TimeoutError):
        survivor.reader.read_after(frozen + 1, timeout=0.05)
    assert survivor.reader.producer_alive(), "stopped is not dead"
    writer.signal(signal.SIGCONT)
    with survivor.shm.locked(timeout=PATIENCE):
        survivor.shm.write_locked(survivor.pattern.frame(7), frame_id=7)
    survivor.reader.wait_for_count(after=survivor.shm.count + 2, timeout=PATIENCE)
    published = int(writer.ask("stop"))
    writer.finish()
    assert survivor.reads() == survivor.shm.count == published + 1, "nothing was lost"
    survivor.close()


def test_blocked_readers_survive_their_writers(shm_name: str, start: StartChild) -> None:
    survivor = Survivor(shm_name, 5_000)
    survivor.writes()
    for number in range(1, 6):
        reader = start("peer", shm_name)
        writer = start("peer", shm_name)
        reader.say(f"follow {number} 60")
        assert writer.ask("half") == "half"
        time.sleep(0.05)
        writer.kill()
        time.sleep(0.05)
        survivor.writes()
        assert reader.hear() == str(number + 1)
        reader.finish()
    survivor.close()


def test_killed_readers_swallow_nobodys_frame(shm_name: str, start: StartChild) -> None:
    survivor = Survivor(shm_name, 8)
    for number in range(5):
        readers = [start("peer", shm_name) for _ in range(3)]
        for reader in readers:
            reader.say(f"follow {number} 60")
        for reader in readers:
            await_state(reader.pid, "S")
        readers.pop(number % 3).kill()
        survivor.writes()
        for reader in readers:
            assert reader.hear() == str(number + 1)
            reader.finish()
    survivor.close()


@pytest.mark.parametrize("way", ["write", "write_view", "write_locked", "clear"])
def test_an_interrupt_storm(shm_name: str, start: StartChild, way: str, stress: bool) -> None:
    wanted = 3000 if stress else 200
    survivor = Survivor(shm_name, 131_072)  # 1 MiB
    child = start("interrupted", shm_name, way)
    follower = start("reader", shm_name, "publication") if way != "clear" else None
    rng = np.random.default_rng(12)
    for _ in range(wanted):
        time.sleep(float(rng.uniform(0, 0.006)))
        child.signal(signal.SIGINT)
    delivered, raised, published = map(int, child.ask("stop").split())
    print(f"{way}: {wanted} sent, {delivered} delivered, {raised} raised, {published} published")
    child.finish()
    if follower is not None:
        reads, distinct, _ = map(int, follower.ask("stop").split())
        follower.finish()
        assert reads >= distinct > 10
    assert raised > wanted // 8, "enough of them hit a write"
    assert survivor.shm.count == published > 10, "what was counted is what was published"
    assert shm_py.stat(shm_name)["writer_locked"] is False
    if way != "clear":
        survivor.reads()
        survivor.newest = survivor.shm.count
    survivor.shm.write(survivor.pattern.frame(3), frame_id=3, timeout=0)
    assert survivor.reader.read_publication().frame_id == 3
    survivor.close()


def test_threads_that_write_and_one_that_is_interrupted(shm_name: str) -> None:
    """A handler that raises in the main thread costs the other threads nothing."""

    class Alarm(Exception):
        pass

    def ring(number: int, frame: object) -> None:
        raise Alarm

    ending = threading.Event()
    with shm_py.create(shm_name, shape=(100_000,), dtype="uint64") as shm:
        pattern = Pattern(100_000)

        def work() -> int:
            written = 0
            with shm_py.open(shm_name) as mine:
                while not ending.is_set():
                    mine.write(pattern.frame(written), frame_id=written, timeout=PATIENCE)
                    written += 1
            return written

        before = signal.signal(signal.SIGALRM, ring)
        alarms = mine = 0
        with ThreadPoolExecutor(2) as pool:
            futures = [pool.submit(work) for _ in range(2)]
            try:
                while alarms < 50:
                    try:
                        signal.setitimer(signal.ITIMER_REAL, 0.004)
                        while True:
                            count = mine
                            shm.write(pattern.frame(5), frame_id=5, timeout=PATIENCE)
                            mine = count + 1
                    except Alarm:
                        alarms += 1
                        assert shm.lock_depth == 0
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
                ending.set()
            theirs = [future.result(PATIENCE) for future in futures]
        assert alarms == 50 and all(theirs)
        # An alarm may come after a frame was published and before it was counted here.
        assert sum(theirs) + mine <= shm.count <= sum(theirs) + mine + alarms
        found = shm.read_publication()
        assert pattern.number(found.payload) == found.frame_id
