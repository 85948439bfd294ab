"""Requests under way, as the extension has them: waits, threads, tasks and event loops."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from share.sharing import TIMEOUT, Service, call
from shm_py import _native


def test_time_is_up(service: Service) -> None:
    ended = threading.Event()

    def slow(args: Any, kwargs: Any, cancelled: Callable[[], bool]) -> None:
        while not cancelled():
            time.sleep(0.005)
        ended.set()

    service.offer_native(slow, "slow")
    client = service.connect()
    with pytest.raises(_native.ShareTimeoutError) as caught:
        client.call("slow", (), {}, 0.1)
    assert isinstance(caught.value, TimeoutError)
    assert ended.wait(5.0), "nobody told the endpoint that nobody waits"
    ended.clear()
    with pytest.raises(_native.ShareTimeoutError):
        service.native.invoke("slow", (), {}, 0.1)
    assert ended.wait(5.0)
    client.ping(TIMEOUT)


def test_waits_end_with_ctrl_c_and_the_endpoint_hears_of_it(service: Service) -> None:
    ended = threading.Event()

    def slow(args: Any, kwargs: Any, cancelled: Callable[[], bool]) -> None:
        while not cancelled():
            time.sleep(0.005)
        ended.set()

    service.offer_native(slow, "slow")
    client = service.connect()
    waits: list[Callable[[], object]] = [
        lambda: client.call("slow", (), {}, 60.0),
        lambda: service.native.wait(60.0),
    ]
    for wait in waits:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            wait()
        assert time.monotonic() - begun < 2.0
    assert ended.wait(5.0)
    client.ping(TIMEOUT)


def test_other_threads_go_on_while_one_waits(service: Service) -> None:
    gate = threading.Event()
    service.offer(lambda: gate.wait(20.0), "wait")
    client = service.connect()
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(call(client, "wait"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(100):
        client.ping(TIMEOUT)
    gate.set()
    for thread in threads:
        thread.join(10.0)
    assert results == [True] * 3


def test_many_threads_share_a_client(service: Service) -> None:
    service.offer(lambda n: np.full(n % 50 + 1, n), "make")
    client = service.connect()
    wrong: list[Any] = []

    def ask(seed: int) -> None:
        for n in range(seed * 1000, seed * 1000 + 60):
            array = call(client, "make", n)
            if array.tolist() != [n] * (n % 50 + 1):
                wrong.append(n)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert not wrong and not any(thread.is_alive() for thread in threads)


def test_tasks(service: Service) -> None:
    gate = threading.Event()

    def work(fail: bool = False) -> Any:
        gate.wait(20.0)
        if fail:
            raise LookupError("nothing")
        return np.arange(3)

    service.offer(work, execution="task")
    client = service.connect()
    task = client.submit("work", (), {}, TIMEOUT)
    assert client.task(task, TIMEOUT)["status"] in ("pending", "running")
    with pytest.raises(_native.ShareTaskError):
        client.task_result(task, TIMEOUT)
    bad = client.submit("work", (True,), {}, TIMEOUT)
    gate.set()
    assert client.wait_task(task, TIMEOUT).tolist() == [0, 1, 2]
    assert client.task_result(task, TIMEOUT).tolist() == [0, 1, 2]
    with pytest.raises(_native.ShareTaskError, match="nothing") as caught:
        client.wait_task(bad, TIMEOUT)
    assert caught.value.kind == "Task"
    found = client.task(bad, TIMEOUT)
    assert found["status"] == "failed" and found["failure"]["error_type"] == "LookupError"  # type: ignore[index]
    assert found["created_at"] <= found["started_at"] <= found["completed_at"]  # type: ignore[operator]
    assert [one["task_id"] for one in client.tasks("failed", TIMEOUT)] == [bad]
    assert {one["task_id"] for one in client.tasks(None, TIMEOUT)} == {task, bad}
    assert client.cancel_task(task, TIMEOUT) is False
    with pytest.raises(ValueError, match="pending, running"):
        client.tasks("done", TIMEOUT)


def test_requests_under_way_for_event_loops(service: Service) -> None:
    gate = threading.Event()
    service.offer(lambda: gate.wait(20.0), "wait")
    service.offer(lambda n: n, "echo")
    client = service.connect()
    waiting = client.start("call", "wait", (), {})
    ready: list[str] = []
    waiting.on_ready(lambda: ready.append("wait"))
    numbers = [client.start("call", "echo", (n,), {}) for n in range(100)]
    until = time.monotonic() + 10.0
    while not all(one.done() for one in numbers) and time.monotonic() < until:
        select.select([client.fileno()], [], [], 0.1)
        client.drive()
    assert [one.result() for one in numbers] == list(range(100))
    assert numbers[0].result() == 0
    assert not waiting.done() and not ready
    with pytest.raises(RuntimeError, match="no answer yet"):
        waiting.result()
    gate.set()
    while not waiting.done() and time.monotonic() < until:
        select.select([client.fileno()], [], [], 0.1)
        client.drive()
    assert waiting.result() is True and ready == ["wait"]
    waiting.on_ready(lambda: ready.append("late"))
    assert ready == ["wait", "late"]

    failing = client.start("call", "none", (), {})
    while not failing.done():
        select.select([client.fileno()], [], [], 0.1)
        client.drive()
    for _ in range(2):
        with pytest.raises(_native.ShareError, match="none"):
            failing.result()
    with pytest.raises(ValueError, match="operation"):
        client.start("calls")
    with pytest.raises(TypeError):
        client.start("task", "x")


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [
        ("ping", ()),
        ("info", ()),
        ("endpoints", ()),
        ("submit", ("echo", (1,), {})),
        ("tasks", (None,)),
        ("release", ([1],)),
        ("object_info", (1,)),
        ("invalidate_call", ("echo", (1,), {})),
        ("invalidate_endpoint", ("echo",)),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_every_operation_can_be_started(
    service: Service, operation: str, arguments: tuple[Any, ...]
) -> None:
    service.offer(lambda n: n, "echo")
    client = service.connect()
    pending = client.start(operation, *arguments)
    while not pending.done():
        select.select([client.fileno()], [], [], 0.1)
        client.drive()
    found, direct = pending.result(), getattr(client, operation)(*arguments, TIMEOUT)
    assert type(found) is type(direct)


def test_a_request_that_is_cancelled(service: Service) -> None:
    begun, ended = threading.Event(), threading.Event()

    def slow(args: Any, kwargs: Any, cancelled: Callable[[], bool]) -> None:
        begun.set()
        while not cancelled():
            time.sleep(0.005)
        ended.set()

    service.offer_native(slow, "slow")
    client = service.connect()
    pending = client.start("call", "slow", (), {})
    assert begun.wait(5.0)
    pending.cancel()
    pending.cancel()
    assert pending.done() and ended.wait(5.0)
    with pytest.raises(_native.ShareError) as caught:
        pending.result()
    assert caught.value.kind == "Cancelled"
    begun.clear()
    ended.clear()
    dropped = client.start("call", "slow", (), {})
    assert begun.wait(5.0)
    del dropped
    assert ended.wait(5.0)


def test_callbacks_that_raise_are_reported_and_harmless(
    service: Service, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    client = service.connect()
    pending = client.start("ping")

    def fail() -> None:
        raise LookupError("in a callback")

    pending.on_ready(fail)
    while not pending.done():
        client.ping(TIMEOUT)
    assert pending.result() is None
    assert [type(one.exc_value) for one in seen] == [LookupError]
