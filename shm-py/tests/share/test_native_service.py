"""Servers as the extension has them: endpoints, their keys and caches, and how servers end."""

from __future__ import annotations

import errno
import gc
import os
import select
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
