"""The client for tasks and for event loops: blocking helpers, coroutines, cancellation, several loops."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from share.share_services import Service, provide
from shm_py import share
from shm_py.share import AsyncSharedTensorClient, TaskInfo, TaskStatus


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    found = Service(str(tmp_path / "s"))
    yield found
    found.child.stop()


def settled(work: Coroutine[Any, Any, Any]) -> Any:
    """Runs in a loop of its own, in which nothing hangs."""
    return asyncio.run(asyncio.wait_for(work, 60.0))


# Blocking.


def test_tasks_from_submission_to_result(service: Service) -> None:
    with service.awaiting() as client:
        task = client.submit("load", rows=3)
        with client.wait_for_task(task, timeout=30) as handle:
            assert handle.value.tolist() == [0, 1, 2] and handle.server_id
            info = client.get_task_status(task)
            assert info == client.status(task)
            assert (info.task_id, info.endpoint, info.status) == (task, "load", TaskStatus.COMPLETED)
            assert info.metadata == {"object_id": handle.object_id}
            assert info.started_at is not None and info.completed_at is not None
            assert info.created_at <= info.started_at <= info.completed_at
            assert (info.error_type, info.error_message) == (None, None)
            assert TaskInfo.from_dict(info.to_dict()) == info
            assert info.to_dict()["status"] == "completed"
            with client.get_task_result(task) as second:
                assert second.object_id == handle.object_id
            assert not handle.is_stale(), "each fetch has a lease of its own"
        assert client.list_tasks("completed") == client.list_tasks() == {task: info}
        assert client.list_tasks(status="pending") == {}
        with pytest.raises(share.SharedTensorConfigurationError, match="'done'"):
            client.list_tasks("done")


def test_waiting_without_fetching_keeps_the_result_for_its_fetch(service: Service) -> None:
    with service.client() as client:
        task = client.submit("load", rows=2, delay=0.05)
        assert client.wait_task(task, timeout=0.001)["status"] in ("pending", "running")
        assert client.wait_task(task, timeout=30)["status"] == "completed"
        with client.get_task_result(task) as handle:
            assert handle.value.tolist() == [0, 1]
        failed = client.submit("explode", "boom")
        with pytest.raises(share.SharedTensorRemoteError) as wrong:
            client.wait_task(failed)
        assert wrong.value.code == 5


def test_failed_cancelled_and_late_tasks_are_task_errors(service: Service) -> None:
    with service.awaiting() as client:
        task = client.submit("explode", "boom")
        with pytest.raises(share.SharedTensorTaskError, match="boom"):
            client.wait_for_task(task, timeout=30)
        info = client.get_task_status(task)
        assert (info.status, info.error_type) == (TaskStatus.FAILED, "ValueError")
        assert "boom" in str(info.error_message)

        running = client.submit("patient", 30.0)
        with pytest.raises(share.SharedTensorTaskError, match="within 0.05 seconds"):
            client.wait_for_task(running, timeout=0.05)
        with pytest.raises(share.SharedTensorTaskError):
            client.get_task_result(running)
        others = [client.submit("patient", 30.0) for _ in range(8)]
        waiting = others[-1]
        assert client.get_task_status(waiting).status is TaskStatus.PENDING
        assert client.cancel_task(waiting) is True
        assert client.get_task_status(waiting).status is TaskStatus.CANCELLED
        with pytest.raises(share.SharedTensorTaskError):
            client.wait(waiting, timeout=30)
        for task in [running, *others]:
            client.cancel(task)
        with pytest.raises(share.SharedTensorTaskError):
            client.get_task_status("no task's id")


def test_a_callback_hears_of_progress(service: Service) -> None:
    heard: list[TaskInfo] = []
    with service.awaiting(poll_interval=0.01) as client:
        task = client.submit("load", delay=0.1)
        client.wait_for_task(task, timeout=30, callback=heard.append).release()
        assert len(heard) > 2 and {info.task_id for info in heard} == {task}
        assert heard[0].status is not TaskStatus.COMPLETED
        assert heard[-1].status is TaskStatus.COMPLETED


def test_the_helpers_are_those_of_the_other_client(service: Service) -> None:
    with service.awaiting() as client, service.client() as plain:
        assert client.ping() is True
        assert client.get_server_info()["pid"] == service.child.pid
        assert client.list_endpoints() == plain.list_endpoints()
        handle = client.wait(client.submit("weights"), timeout=30)
        assert client.ensure_handle_live(handle)["object_id"] == handle.object_id
        assert client.get_object_info(handle.object_id) == handle.get_object_info()
        assert client.release(handle.object_id) is True and handle.released
        assert client.release_many([handle.object_id]) == {handle.object_id: False}
        plain.call("add", 1), plain.call("add", 2)
        assert client.invalidate_call_cache("add", 1) is True
        assert client.invalidate_endpoint_cache("add") == 1
    for name in dir(share.SharedTensorClient):
        # Its task methods go by other names there, its calls are tasks, and the rest is for the package.
        if name not in ("call", "wait_task", "wait_result", "connection", "outcome"):
            assert name.startswith("_") or hasattr(AsyncSharedTensorClient, name), name


# Awaited.


def test_many_calls_share_one_connection_and_no_threads(service: Service) -> None:
    async def main() -> None:
        async with service.awaiting() as client:
            await client.ping_async()
            before = threading.active_count()
            calls = [client.call_async("echo", number) for number in range(500)]
            answers = await asyncio.gather(*calls)
            assert [answer["args"] for answer in answers] == [(number,) for number in range(500)]
            assert threading.active_count() == before
            assert (await client.get_server_info_async())["stats"]["connections"] == 1

    settled(main())


def test_slow_answers_do_not_hold_up_others(service: Service) -> None:
    async def main() -> list[str]:
        order: list[str] = []

        async def note(name: str, work: Coroutine[Any, Any, Any]) -> None:
            await work
            order.append(name)

        async with service.awaiting() as client:
            await asyncio.gather(
                note("slow", client.call_async("slow", 0.3)), note("fast", client.call_async("add", 1))
            )
        return order

    assert settled(main()) == ["fast", "slow"]


def test_everything_can_be_awaited(service: Service) -> None:
    async def main() -> None:
        async with service.awaiting() as client:
            assert await client.ping_async() is True
            assert "add" in await client.list_endpoints_async()
            task = await client.submit_async("load", rows=2, delay=0.02)
            with await client.wait_for_task_async(task, timeout=30) as handle:
                assert handle.value.tolist() == [0, 1]
                assert (await client.get_task_status_async(task)).status is TaskStatus.COMPLETED
                assert list(await client.list_tasks_async("completed")) == [task]
                with await client.get_task_result_async(task) as second:
                    assert second.object_id == handle.object_id
                with await client.acquire_async(handle.object_id) as third:
                    found = await client.get_object_info_async(third.object_id)
                    assert found is not None and found["refcount"] == 2
            assert await client.get_object_info_async("another server's") is None
            assert await client.cancel_task_async(task) is False
            assert await client.call_async("add", a=1) == 3
            assert await client.invalidate_call_cache_async("add", 1) is True
            assert await client.invalidate_endpoint_cache_async("add") == 0
            array = np.arange(6.0)
            assert np.array_equal((await client.call_async("echo", array))["args"][0], array)
            with pytest.raises(share.SharedTensorRemoteError) as wrong:
                await client.call_async("fail", "boom")
            assert (wrong.value.code, wrong.value.error_type) == (7, "ValueError")
            with pytest.raises(share.SharedTensorTaskError):
                await client.wait_for_task_async(await client.submit_async("explode", "boom"))
            with pytest.raises(TypeError, match="cannot travel"):
                await client.call_async("echo", object())
            with pytest.raises(share.SharedTensorRemoteError):
                await client.acquire_async("another server's")

    settled(main())


def test_cancelling_a_coroutine_cancels_the_request(service: Service) -> None:
    async def main() -> None:
        async with service.awaiting() as client:
            call = asyncio.ensure_future(client.call_async("slow", 30.0))
            while not await client.call_async("built", "patient"):
                await asyncio.sleep(0.005)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            while not await client.call_async("built", "cancelled"):
                await asyncio.sleep(0.005)

    settled(main())


def test_awaited_requests_have_a_deadline(service: Service) -> None:
    async def main() -> None:
        async with service.awaiting(timeout=0.05) as client:
            with pytest.raises(share.SharedTensorTimeoutError):
                await client.call_async("slow", 30.0)
            task = await client.submit_async("patient", 30.0)
            with pytest.raises(share.SharedTensorTaskError, match="did not complete"):
                await client.wait_for_task_async(task, timeout=0.05)
            await client.cancel_task_async(task)

    settled(main())


def test_one_loop_after_another_and_blocking_calls_between(service: Service) -> None:
    with service.awaiting() as client:
        for number in range(3):
            assert settled(client.call_async("add", number)) == number + 2
            assert client.ping() is True

    async def abandoned() -> None:
        asyncio.ensure_future(client.call_async("slow", 30.0))
        await asyncio.sleep(0.02)

    asyncio.run(abandoned())
    assert settled(client.call_async("add", 9)) == 11


def test_blocking_calls_in_threads_and_awaited_ones_do_not_mix_up(service: Service) -> None:
    with service.awaiting() as client:
        wrong: list[Any] = []
        over = threading.Event()

        def blocking() -> None:
            number = 0
            while not over.is_set():
                number += 1
                found = client._client.call("echo", number)
                if found["args"] != (number,):
                    wrong.append(found)

        threads = [threading.Thread(target=blocking) for _ in range(2)]
        for thread in threads:
            thread.start()

        async def main() -> None:
            for start in range(0, 400, 40):
                numbers = range(start, start + 40)
                answers = await asyncio.gather(*(client.call_async("echo", n) for n in numbers))
                assert [answer["args"][0] for answer in answers] == list(numbers)

        try:
            settled(main())
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert wrong == []


def test_the_end_of_a_server_ends_what_is_awaited(service: Service) -> None:
    async def main() -> None:
        client = service.awaiting(connect_timeout=0.0)
        calls = [asyncio.ensure_future(client.call_async("slow", 30.0)) for _ in range(3)]
        while len(calls) and not await client.call_async("built", "patient"):
            await asyncio.sleep(0.005)
        service.child.kill()
        for call in calls:
            with pytest.raises(share.SharedTensorConnectionError):
                await call
        assert await client.ping_async() is False
        # The loop has nothing to do: the dead socket is not watched.
        used = time.process_time()
        await asyncio.sleep(0.3)
        assert time.process_time() - used < 0.2
        client.close()

    settled(main())


def test_providers_await_in_every_mode(service: Service, tmp_path: Path) -> None:
    remote = share.SharedTensorProvider(service.base_path, execution_mode="client")

    @remote.share
    def add(a: int, b: int = 2) -> int:
        raise AssertionError("it runs in the server")

    assert settled(add.call_async(4)) == 6
    remote.close()
    own = provide(str(tmp_path / "o"))
    assert settled(own.call_async("add", 4)) == 6
    with share.SharedTensorServer(own):
        assert settled(own.call_async("add", 5)) == 7


def test_a_connection_leaves_no_descriptors(service: Service) -> None:
    async def main() -> None:
        async with service.awaiting() as client:
            await client.call_async("add", 1)

    settled(main())
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        settled(main())
    assert len(os.listdir("/proc/self/fd")) == before
