"""Waiting for a frame, in an event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
import shm_py

PATIENCE = 20.0

Wait = Callable[[shm_py.SharedMemory, Any], Coroutine[Any, Any, Any]]

WAITS: dict[str, Wait] = {
    "read_new": lambda shm, timeout: shm.read_new_async(timeout=timeout),
    "read_after": lambda shm, timeout: shm.read_after_async(shm.count, timeout=timeout),
    "read_after_publication": lambda shm, timeout: shm.read_after_publication_async(
        shm.count, timeout=timeout
    ),
    "wait_for_count": lambda shm, timeout: shm.wait_for_count_async(
        after=shm.count, timeout=timeout
    ),
}

ONE = np.ones(1, np.float32)


async def begun(wait: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task that waits."""
    task = asyncio.create_task(wait)
    await asyncio.sleep(0.1)
    assert not task.done()
    return task


@pytest.mark.parametrize("kind", WAITS)
def test_a_wait_ends_with_the_next_frame(shm_name: str, kind: str) -> None:
    async def main() -> None:
        with shm_py.create(shm_name, shape=(1,)) as shm, shm_py.open(shm_name) as reader:
            shm.write(ONE)
            task = await begun(WAITS[kind](reader, PATIENCE))
            shm.write(2 * ONE, frame_id=5)
            found = await asyncio.wait_for(task, PATIENCE)
            if kind == "wait_for_count":
                assert found == 2
            elif kind == "read_after_publication":
                assert (found.count, found.frame_id, found.payload[0]) == (2, 5, 2)
            else:
                assert found.shape == (1,) and found[0] == 2

    asyncio.run(main())


@pytest.mark.parametrize("kind", WAITS)
def test_a_wait_times_out(shm_name: str, kind: str) -> None:
    async def main() -> None:
        with shm_py.create(shm_name, shape=(1,)) as shm:
            shm.write(ONE)
            for timeout in (0, 0.05):
                begun = time.monotonic()
                with pytest.raises(TimeoutError, match=shm_name):
                    await WAITS[kind](shm, timeout)
                assert time.monotonic() - begun >= timeout

    asyncio.run(main())


def test_level_and_edge(shm_name: str) -> None:
    async def main() -> None:
        with shm_py.create(shm_name, shape=(1,)) as shm:
            shm.write(3 * ONE)
            assert (await shm.read_after_async(0, timeout=0))[0] == 3
            assert await shm.wait_for_count_async(after=0, timeout=0) == 1
            out = np.zeros(1, np.float32)
            assert await shm.read_after_async(0, timeout=0, out=out) is out
            assert out[0] == 3
            found = await shm.read_after_publication_async(0, timeout=0, out=out)
            assert found.payload is out
            with pytest.raises(TimeoutError):
                await shm.read_new_async(timeout=0.02)
            for after in (-1, "1", 1.5):
                bad: Any = after
                with pytest.raises(ValueError, match="after"):
                    await shm.read_after_async(bad, timeout=0)
                with pytest.raises(ValueError, match="after"):
                    await shm.wait_for_count_async(after=bad, timeout=0)
            with pytest.raises(ValueError, match="timeout"):
                await shm.read_new_async(timeout=-1)
            with pytest.raises(ValueError, match="out"):
                await shm.read_new_async(timeout=0, out=np.zeros(2, np.float32))

    asyncio.run(main())


@pytest.mark.parametrize("kind", WAITS)
def test_close_ends_a_wait(shm_name: str, kind: str) -> None:
    async def main() -> None:
        shm = shm_py.create(shm_name, shape=(1,))
        task = await begun(WAITS[kind](shm, None))
        shm.close()
        with pytest.raises(RuntimeError, match="closed while a read was waiting"):
            await asyncio.wait_for(task, PATIENCE)
        with pytest.raises(RuntimeError, match="closed shared memory"):
            await shm.read_new_async(timeout=0)

    asyncio.run(main())


@pytest.mark.parametrize("kind", WAITS)
def test_a_close_in_another_thread_ends_a_wait(shm_name: str, kind: str) -> None:
    async def main() -> None:
        shm = shm_py.create(shm_name, shape=(1,))
        task = await begun(WAITS[kind](shm, None))
        await asyncio.to_thread(shm.close)
        with pytest.raises(RuntimeError, match="closed while a read was waiting"):
            await asyncio.wait_for(task, PATIENCE)

    asyncio.run(main())


@pytest.mark.parametrize("kind", WAITS)
def test_unlink_ends_a_wait(shm_name: str, kind: str) -> None:
    async def main() -> None:
        with shm_py.create(shm_name, shape=(1,)) as shm:
            task = await begun(WAITS[kind](shm, None))
            shm_py.unlink(shm_name)
            with pytest.raises(shm_py.StaleStreamError):
                await asyncio.wait_for(task, PATIENCE)

    asyncio.run(main())


@pytest.mark.parametrize("kind", WAITS)
def test_the_loop_runs_on_and_is_not_used_to_poll(shm_name: str, kind: str) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with shm_py.create(shm_name, shape=(1,)) as shm:
            task = await begun(WAITS[kind](shm, PATIENCE))
            turns = 0
            original = loop._run_once

            def counted() -> None:
                nonlocal turns
                turns += 1
                original()

            loop._run_once = counted
            begin = time.process_time()
            await asyncio.sleep(0.5)
            used = time.process_time() - begin
            idle = turns
            ticks = 0
            end = time.monotonic() + 0.1
            while time.monotonic() < end:
                await asyncio.sleep(0)
                ticks += 1
            shm.write(ONE)
            await asyncio.wait_for(task, PATIENCE)
            del loop._run_once
        print(f"{kind}: {idle} turns of the loop, {used * 1000:.1f} ms of processor time in 0.5 s")
        assert 1 <= idle <= 20, "it polls in the loop"
        assert used < 0.15, "it polls in a thread"
        assert ticks > 100, "it blocks the loop"

    asyncio.run(main())


@pytest.mark.parametrize("kind", WAITS)
def test_cancellation(shm_name: str, kind: str) -> None:
    async def main() -> None:
        with shm_py.create(shm_name, shape=(1,)) as shm:
            for number in range(1, 6):
                task = await begun(WAITS[kind](shm, None))
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                other = await begun(WAITS[kind](shm, PATIENCE))
                shm.write(ONE)
                await asyncio.wait_for(other, PATIENCE)
                assert shm.count == number
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(WAITS[kind](shm, None), 0.05)

    before = threading.active_count()
    asyncio.run(main())
    assert threading.active_count() <= before


def test_many_wait_for_one_stream(shm_name: str) -> None:
    async def main() -> None:
        with shm_py.create(shm_name, shape=(1,)) as shm:
            handles = [shm_py.open(shm_name) for _ in range(4)]
            for number in range(1, 6):
                tasks = [
                    asyncio.create_task(
                        handles[index % 4].read_after_publication_async(shm.count, timeout=PATIENCE)
                    )
                    for index in range(100)
                ]
                cancelled = tasks[::7]
                await asyncio.sleep(0.02)
                for task in cancelled:
                    task.cancel()
                shm.write(number * ONE)
                results = await asyncio.gather(*tasks, return_exceptions=True)
                ended = [result for result in results if isinstance(result, BaseException)]
                assert len(ended) == len(cancelled)
                assert all(isinstance(error, asyncio.CancelledError) for error in ended)
                found = [result for result in results if isinstance(result, shm_py.Publication)]
                assert [publication.count for publication in found] == [number] * (100 - len(ended))
                assert all(publication.payload[0] == number for publication in found)
            for handle in handles:
                handle.close()

    asyncio.run(main())


def test_several_streams_wake_only_their_own(shm_name: str) -> None:
    async def main() -> None:
        streams = [shm_py.create(f"{shm_name}-{index}", shape=(1,)) for index in range(5)]
        tasks = [asyncio.create_task(shm.read_new_async(timeout=PATIENCE)) for shm in streams]
        await asyncio.sleep(0.1)
        for index in (3, 0, 4, 1, 2):
            assert not tasks[index].done()
            streams[index].write(index * ONE)
            assert (await asyncio.wait_for(tasks[index], PATIENCE))[0] == index
        for shm in streams:
            shm.close()

    asyncio.run(main())


def test_a_frame_of_another_process_wakes_the_loop(shm_name: str, start: Any) -> None:
    async def main() -> None:
        with shm_py.create(shm_name, shape=(100,), dtype="uint64") as shm:
            peer = start("peer", shm_name)
            for number in range(1, 30):
                task = asyncio.create_task(shm.read_after_async(number - 1, timeout=PATIENCE))
                await asyncio.sleep(0.002 * (number % 3))
                peer.say(f"write {number}")
                assert (await task)[0] == number
                assert peer.hear() == str(number)

    asyncio.run(main())


def test_every_frame_is_seen_and_no_wake_up_is_lost(shm_name: str) -> None:
    frames = 300

    async def main() -> None:
        with shm_py.create(shm_name, shape=(8,), dtype="int64") as shm:
            seen: list[int] = []
            turn = threading.Semaphore(0)

            def write() -> None:
                with shm_py.open(shm_name) as writer:
                    for number in range(1, frames + 1):
                        assert turn.acquire(timeout=PATIENCE)
                        writer.write(np.full(8, number))

            writing = asyncio.create_task(asyncio.to_thread(write))
            turn.release()
            while len(seen) < frames:
                found = await shm.read_after_publication_async(len(seen), timeout=PATIENCE)
                assert (found.payload == found.count).all()
                seen.append(found.count)
                turn.release()
            await writing
            assert seen == list(range(1, frames + 1))

    asyncio.run(main())


def test_one_handle_in_several_loops(shm_name: str) -> None:
    async def wait(shm: shm_py.SharedMemory) -> int:
        return await shm.wait_for_count_async(after=shm.count, timeout=PATIENCE)

    with shm_py.create(shm_name, shape=(1,)) as shm:
        for number in range(1, 4):
            results: list[int] = []
            threads = [
                threading.Thread(target=lambda: results.append(asyncio.run(wait(shm))))
                for _ in range(3)
            ]
            for thread in threads:
                thread.start()
            time.sleep(0.2)
            assert results == []
            shm.write(ONE)
            for thread in threads:
                thread.join(PATIENCE)
            assert results == [number] * 3


def test_a_loop_that_ends_leaves_no_waiter(shm_name: str) -> None:
    async def abandon(shm: shm_py.SharedMemory) -> None:
        asyncio.create_task(shm.read_new_async())
        await asyncio.sleep(0.05)

    with shm_py.create(shm_name, shape=(1,)) as shm:
        for number in range(1, 6):
            asyncio.run(abandon(shm))
            shm.write(ONE)  # what it would wake is gone
            assert shm.read_after(number - 1, timeout=0)[0] == 1


def test_a_coroutine_that_is_never_awaited_costs_nothing(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm:
        before = threading.active_count()
        for _ in range(100):
            shm.read_new_async().close()
        assert threading.active_count() == before
        shm.write(ONE)
    assert shm.closed


def test_no_thread_is_left_after_close(shm_name: str) -> None:
    async def main() -> None:
        with shm_py.create(shm_name, shape=(1,)) as shm:
            task = await begun(shm.read_new_async(timeout=PATIENCE))
            shm.write(ONE)
            await task

    before = _threads()
    asyncio.run(main())
    deadline = time.monotonic() + PATIENCE
    while _threads() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _threads() <= before


def _threads() -> int:
    """The system's count, native threads included."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("Threads:"))
