"""Servers, clients, handles and requests under way, as the extension has them."""

from __future__ import annotations

import errno
import gc
import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from share.sharing import TIMEOUT, Service, call, connect, copying
from shm_py import _native


def test_an_endpoint_is_called_with_what_it_was_given(service: Service) -> None:
    seen: list[Any] = []

    def build(args: tuple[Any, ...], kwargs: dict[str, Any], cancelled: Callable[[], bool]) -> None:
        seen.append((type(args), args, type(kwargs), kwargs, cancelled(), threading.current_thread()))

    service.offer_native(build, "note")
    assert call(service.connect(), "note", 1, "b", key=[2]) is None
    kind, args, named, kwargs, cancelled, thread = seen[0]
    assert (kind, args, named, kwargs, cancelled) == (tuple, (1, "b"), dict, {"key": [2]}, False)
    assert thread is not threading.main_thread()


@pytest.mark.parametrize(
    ("raised", "name", "text"),
    [
        (ValueError("wrong"), "ValueError", "wrong"),
        (KeyError("k"), "KeyError", "'k'"),
        (SystemExit(3), "SystemExit", "3"),
        (KeyboardInterrupt(), "KeyboardInterrupt", ""),
        (GeneratorExit("g"), "GeneratorExit", "g"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_exceptions_of_an_endpoint_are_failures_of_its_calls(
    service: Service, raised: BaseException, name: str, text: str
) -> None:
    def fail() -> None:
        raise raised

    service.offer(fail)
    service.offer(lambda: 1, "one")
    client = service.connect()
    for _ in range(5):  # more than there are workers
        with pytest.raises(_native.ShareError) as caught:
            call(client, "fail")
        assert (caught.value.kind, caught.value.code) == ("Build", 7)
        assert (caught.value.error_type, str(caught.value)) == (name, text)
        with pytest.raises(_native.ShareError) as local:
            service.native.invoke("fail", (), {}, TIMEOUT)
        assert local.value.error_type == name
    assert call(client, "one") == 1


def test_an_exception_without_a_text_is_a_failure_too(service: Service) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    def fail() -> None:
        raise Mute

    service.offer(fail)
    with pytest.raises(_native.ShareError) as caught:
        call(service.connect(), "fail")
    assert caught.value.error_type == "Mute"


def test_endpoints_that_are_there_from_the_first_moment(folder: Path) -> None:
    options = {
        "execution": "direct",
        "managed": False,
        "cache": True,
        "key": None,
        "singleflight": True,
        "concurrency": "parallel",
        "keep_unleased": True,
        "parameters": None,
    }
    path = folder / "f.sock"
    found: list[Any] = []
    waiting = threading.Thread(target=lambda: found.append(call(connect(path), "first", 3)))
    waiting.start()
    time.sleep(0.2)
    service = Service(path, endpoints=[("first", lambda args, kwargs, cancelled: args[0] + 1, options)])
    waiting.join(10.0)
    assert found == [4]
    assert service.native.stop(False, 5.0)
    with pytest.raises(TypeError, match="no execution"):
        Service(path, endpoints=[("first", print, {})])
    with pytest.raises(TypeError, match="expected a function"):
        Service(path, endpoints=[("first", 3, options)])
    twice = [("first", print, options)] * 2
    with pytest.raises(_native.ShareError, match="already"):
        Service(path, endpoints=twice)


def test_an_unknown_endpoint_is_named(service: Service) -> None:
    with pytest.raises(_native.ShareError, match="missing") as caught:
        call(service.connect(), "missing")
    assert caught.value.kind == "Endpoint"
    assert isinstance(caught.value.details, dict)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"execution": "later"}, ValueError),
        ({"concurrency": "both"}, ValueError),
        ({"key": 3}, TypeError),
        ({"parameters": [("x", "sideways", False, None)]}, ValueError),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(
    service: Service, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        service.offer(lambda: 1, "one", **options)


def test_a_path_is_one_servers(service: Service) -> None:
    with pytest.raises(_native.ShareServerRunningError) as caught:
        Service(service.path)
    assert caught.value.errno == errno.EADDRINUSE
    assert caught.value.details["pid"] == str(os.getpid())
    assert isinstance(caught.value, OSError)


def test_nobody_there(folder: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(_native.ShareConnectionError) as caught:
        connect(folder / "none.sock", connect_timeout=0.2)
    assert 0.1 < time.monotonic() - begun < 3.0
    assert caught.value.kind == "Unreachable" and isinstance(caught.value, ConnectionError)


def test_a_client_waits_for_its_server(folder: Path) -> None:
    services: list[Service] = []
    later = threading.Timer(0.3, lambda: services.append(Service(folder / "late.sock")))
    later.start()
    client = connect(folder / "late.sock", connect_timeout=10.0)
    later.join()
    client.ping(TIMEOUT)
    assert client.server_id == services[0].native.server_id
    assert client.server_pid == os.getpid()
    assert client.path == services[0].native.path == str(folder / "late.sock")
    services[0].native.stop(False, 5.0)


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


def test_cached_results_are_built_and_copied_once(service: Service) -> None:
    builds: list[int] = []

    def make(size: int, scale: float = 2.0) -> Any:
        builds.append(size)
        return np.full(size, scale)

    service.offer(make, cache=True)
    one, other = service.connect(), service.connect()
    with copying(1):
        first = call(one, "make", 1000)
        for found in (
            call(other, "make", size=1000),
            call(one, "make", 1000, scale=2.0),
            service.native.invoke("make", (1000, 2.0), {}, TIMEOUT),
        ):
            assert np.array_equal(found, first) and not found.flags.writeable
    assert builds == [1000]
    assert one.invalidate_call("make", (1000,), {}, TIMEOUT) == 1
    assert service.native.invalidate_call("make", (1000,), {}) == 0
    call(one, "make", 1000)
    assert service.native.invalidate_endpoint("make") == 1
    assert one.invalidate_endpoint("make", TIMEOUT) == 0
    assert builds == [1000, 1000]
    counters = service.native.counters()
    assert counters["builds_total"] == 2 and counters["cache_hits"] == 3


def test_keys_by_format_and_by_function(service: Service) -> None:
    builds: list[Any] = []

    def make(size: int, noise: int) -> int:
        builds.append((size, noise))
        return size

    service.offer(make, "formatted", cache=True, key="size:{size}")
    service.offer(make, "keyed", cache=True, key=lambda args, kwargs: f"{args[0]}")
    service.offer(make, "broken", cache=True, key=lambda args, kwargs: 3)
    client = service.connect()
    for name in ("formatted", "keyed"):
        builds.clear()
        assert [call(client, name, 1, 1), call(client, name, 1, 2), call(client, name, 2, 1)] == [1, 1, 2]
        assert builds == [(1, 1), (2, 1)]
    with pytest.raises(_native.ShareError, match="expected str"):
        call(client, "broken", 1, 1)


def test_defaults_that_cannot_travel_are_parts_of_keys(service: Service) -> None:
    class Device:
        def __repr__(self) -> str:
            return "cpu"

    def make(size: int, device: Any = Device()) -> Any:
        return [size, repr(device)]

    service.offer(make, cache=True)
    client = service.connect()
    assert call(client, "make", 1) == call(client, "make", size=1) == [1, "cpu"]
    assert call(client, "make", 1, "gpu") == [1, "'gpu'"]
    assert service.native.counters()["builds_total"] == 2


def test_handles_lease_their_object(service: Service) -> None:
    service.offer(lambda: {"weights": np.arange(10.0)}, "model", managed=True, cache=True)
    client = service.connect()
    handle = call(client, "model")
    assert isinstance(handle, _native._ShareHandle)
    assert handle.value is handle.value
    assert handle.value["weights"][9] == 9.0
    assert (handle.health, handle.released, handle.survives_server) == ("live", False, True)
    assert handle.server_id == client.server_id
    info = handle.info(TIMEOUT)
    assert info is not None and (info["object_id"], info["leases"]) == (handle.object_id, 1)
    assert info["endpoint"] == "model" and info["nbytes"] >= 80 and info["survives_server"]

    other = client.acquire(handle.object_id, TIMEOUT)
    assert other.lease != handle.lease and other.object_id == handle.object_id
    assert np.array_equal(other.value["weights"], handle.value["weights"])
    assert client.object_info(handle.object_id, TIMEOUT)["leases"] == 2  # type: ignore[index]
    assert handle.release(TIMEOUT) is True and handle.release(TIMEOUT) is False
    assert (handle.health, handle.released) == ("released", True)
    assert client.release([other.lease, other.lease, handle.lease], TIMEOUT) == [True, False, False]
    assert handle.value["weights"][1] == 1.0
    assert client.object_info(2**40, TIMEOUT) is None
    with pytest.raises(_native.ShareStaleError):
        client.acquire(2**40, TIMEOUT)


def test_a_dropped_handle_and_a_closed_client_release(service: Service) -> None:
    service.offer(lambda: np.zeros(8), "model", managed=True, cache=True)
    client = service.connect()

    def has_leases(expected: int) -> bool:
        until = time.monotonic() + 5.0
        while service.native.counters()["leases"] != expected:
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    handle = call(client, "model")
    assert has_leases(1)
    del handle
    gc.collect()
    assert has_leases(0)
    kept = [call(client, "model") for _ in range(3)]
    assert has_leases(3)
    client.close()
    assert has_leases(0)
    assert not client.alive
    assert all(one.value[0] == 0.0 for one in kept)
    with pytest.raises(_native.ShareConnectionError):
        client.ping(TIMEOUT)


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


SERVER = """
    import sys, time
    import numpy as np
    sys.path[:0] = {path!r}
    from pathlib import Path
    from share.sharing import Service
    service = Service(Path({socket!r}))
    service.offer(lambda n: np.arange(n), "make", managed=True, cache=True)
    service.offer(lambda: time.sleep(60), "hang")
    print("ready", flush=True)
    service.native.wait(None)
"""


@pytest.fixture
def elsewhere(folder: Path) -> Any:
    """A server in a process of its own."""
    path = [str(Path(__file__).parent.parent), *sys.path]
    program = textwrap.dedent(SERVER.format(path=path, socket=str(folder / "e.sock")))
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    yield child, folder / "e.sock"
    child.kill()
    child.wait()
    child.stdout.close()


def test_a_server_that_is_killed_is_noticed_at_once(elsewhere: Any) -> None:
    child, path = elsewhere
    client = connect(path)
    gone = threading.Event()
    client.on_gone(gone.set)
    handle = call(client, "make", 100_000)
    array = handle.value
    failed: list[float] = []

    def hang() -> None:
        try:
            call(client, "hang")
        except _native.ShareConnectionError:
            failed.append(time.monotonic())

    thread = threading.Thread(target=hang)
    thread.start()
    pending = client.start("call", "hang", (), {})
    time.sleep(0.3)
    begun = time.monotonic()
    child.kill()
    assert gone.wait(5.0)
    assert time.monotonic() - begun < 1.0
    thread.join(5.0)
    assert failed and failed[0] - begun < 1.0
    assert not client.alive and handle.health == "server gone"
    with pytest.raises(_native.ShareConnectionError) as caught:
        pending.result()
    assert caught.value.kind == "Gone"
    assert array[99_999] == 99_999 and handle.value is array
    late = threading.Event()
    client.on_gone(late.set)
    assert late.wait(5.0)
    with pytest.raises(_native.ShareConnectionError):
        handle.info(TIMEOUT)


def test_a_forked_child_leaves_the_parents_connection_alone(elsewhere: Any) -> None:
    _, path = elsewhere
    client = connect(path)
    handle = call(client, "make", 10)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            said = b"used it"
            try:
                client.ping(1.0)
            except _native.ShareConnectionError:
                said = b"refused"
            values = handle.value.tolist()
            del handle, client
            gc.collect()
            os.write(write, said + str(values).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"refused" + str(list(range(10))).encode()
    os.close(read)
    assert handle.health == "live" and handle.info(TIMEOUT)["leases"] == 1
    assert call(client, "make", 5).value.tolist() == [0, 1, 2, 3, 4]


def test_arrays_that_may_be_written(service: Service) -> None:
    board = _native._share_empty((4,), "int32")
    board[:] = 0
    service.offer(lambda: board, "board")
    client = service.connect(writable=True)
    with copying(0):
        mine = call(client, "board")
    mine[2] = 7
    assert board.tolist() == [0, 0, 7, 0]
    assert not call(service.connect(), "board").flags.writeable


def test_a_writable_client_reads_what_is_sealed(service: Service) -> None:
    service.offer(lambda: np.arange(4), "make")
    array = call(service.connect(writable=True), "make")
    assert array.tolist() == [0, 1, 2, 3] and not array.flags.writeable


def test_info_and_endpoints(service: Service) -> None:
    service.offer(lambda n: n, "echo", cache=True, key="{n}", concurrency="serialized")
    client = service.connect()
    info = client.info(TIMEOUT)
    assert info["pid"] == os.getpid() and info["server_id"] == client.server_id
    assert info["endpoints"] == ["echo"] and info["stats"]["connections"] == 1
    assert service.native.info()["socket_path"] == str(service.path)
    (echo,) = client.endpoints(TIMEOUT)
    assert (echo["name"], echo["key"], echo["concurrency"]) == ("echo", "{n}", "serialized")


def test_stop_drains_or_gives_up(folder: Path) -> None:
    for drain in (True, False):
        service = Service(folder / f"{drain}.sock")
        gate = threading.Event()

        def slow(
            args: Any, kwargs: Any, cancelled: Callable[[], bool], gate: threading.Event = gate
        ) -> str:
            while not gate.is_set() and not cancelled():
                time.sleep(0.005)
            return "whole"

        service.offer_native(slow, "slow")
        client = service.connect()
        pending = client.start("call", "slow", (), {})
        client.ping(TIMEOUT)
        threading.Timer(0.2, gate.set).start() if drain else None
        assert service.native.stop(drain, 10.0) is True
        until = time.monotonic() + 5.0
        while not pending.done() and time.monotonic() < until:
            select.select([client.fileno()], [], [], 0.05)
            try:
                client.drive()
            except _native.ShareError:
                pass
        if drain:
            assert pending.result() == "whole"
        else:
            with pytest.raises(_native.ShareError):
                pending.result()
        assert service.native.wait(1.0) is True
        assert not service.path.exists()


def test_idle_servers_stop_at_once_and_leave_no_threads(folder: Path) -> None:
    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    before = threads()
    service = Service(folder / "i.sock")
    assert threads() > before
    reference = weakref.ref(service.native)
    begun = time.monotonic()
    del service
    gc.collect()
    assert time.monotonic() - begun < 1.0
    assert reference() is None
    until = time.monotonic() + 2.0
    while threads() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threads() <= before


@pytest.mark.parametrize("ending", ["plain", "serving", "building", "daemon"])
def test_programs_end_as_they_want_to(folder: Path, ending: str) -> None:
    program = textwrap.dedent("""
        import sys, threading, time
        sys.path[:0] = {path!r}
        from pathlib import Path
        from share.sharing import Service, call
        service = Service(Path({socket!r}))
        service.offer(lambda: 1, "one")
        client = service.connect()
        client.on_gone(lambda: None)
        assert call(client, "one") == 1
        ending = {ending!r}
        if ending == "building":
            service.offer(lambda: time.sleep(0.5), "slow")
            client.start("call", "slow", (), {{}})
            client.ping(5.0)
        if ending == "daemon":
            def ask():
                try:
                    while True:
                        call(client, "one")
                except ConnectionError:
                    pass
                except RuntimeError as error:
                    if "ending" not in str(error):
                        raise
            for _ in range(3):
                threading.Thread(target=ask, daemon=True).start()
            time.sleep(0.2)
        if ending == "plain":
            service.native.stop(True, 5.0)
        print("end", flush=True)
    """).format(
        path=[str(Path(__file__).parent.parent), *sys.path], socket=str(folder / "x.sock"), ending=ending
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")
