"""Providers, servers and clients: modes, options, paths, caches, handles and what becomes of them."""

from __future__ import annotations

import gc
import inspect
import os
import pickle
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shm_py
from children import Child, run
from share.share_services import Service, provide
from shm_py import share
from shm_py.share import (
    SharedObjectHandle,
    SharedTensorClient,
    SharedTensorClientError,
    SharedTensorConfigurationError,
    SharedTensorProvider,
    SharedTensorProviderError,
    SharedTensorRemoteError,
    SharedTensorServer,
    SharedTensorStaleHandleError,
)

ENVIRONMENT = ("SHARED_TENSOR_ENABLED", "SHARED_TENSOR_ROLE", "SHARED_TENSOR_BASE_PATH")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def base(tmp_path: Path) -> str:
    return str(tmp_path / "s")


@pytest.fixture
def service(base: str) -> Iterator[Service]:
    found = Service(base)
    yield found
    found.child.stop()


@pytest.fixture
def local() -> SharedTensorProvider:
    return SharedTensorProvider(execution_mode="local")


def until(condition: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not become true"
        time.sleep(0.005)


# Modes and environment.


@pytest.mark.parametrize(
    ("enabled", "said", "role", "mode"),
    [
        (None, None, None, "local"),
        (None, "0", "server", "local"),
        (None, "1", None, "client"),
        (None, "Yes", "server", "server"),
        (None, "on", "client", "client"),
        (None, "true", "LOCAL", "local"),
        (True, None, None, "client"),
        (False, "1", "server", "local"),
    ],
)
def test_auto_mode_is_decided_by_argument_then_environment(
    enabled: Any, said: Any, role: Any, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if said is not None:
        monkeypatch.setenv("SHARED_TENSOR_ENABLED", said)
    if role is not None:
        monkeypatch.setenv("SHARED_TENSOR_ROLE", role)
    provider = SharedTensorProvider(enabled=enabled)
    assert (provider.execution_mode, provider.auto_mode) == (mode, True)


def test_unknown_values_are_refused_and_do_not_mean_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHARED_TENSOR_ENABLED", "1")
    monkeypatch.setenv("SHARED_TENSOR_ROLE", "sever")
    with pytest.raises(SharedTensorConfigurationError, match="did you mean 'server'"):
        SharedTensorProvider()
    monkeypatch.setenv("SHARED_TENSOR_ENABLED", "ture")
    with pytest.raises(SharedTensorConfigurationError, match="SHARED_TENSOR_ENABLED"):
        SharedTensorProvider()
    with pytest.raises(SharedTensorConfigurationError, match="did you mean 'client'"):
        SharedTensorProvider(execution_mode="clinet")


def test_options_that_do_not_exist_are_refused_by_the_nearest_name(local: Any) -> None:
    with pytest.raises(TypeError, match="'manged'; did you mean 'managed'"):
        local.share(manged=True)
    with pytest.raises(TypeError, match="'cahce'; did you mean 'cache'"):
        local.register(len, cahce=False)
    with pytest.raises(TypeError, match="'execution'; did you mean 'execution_mode'"):
        SharedTensorProvider(execution="task")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="'max_worker'; did you mean 'max_workers'"):
        SharedTensorServer(local, max_worker=3)  # type: ignore[arg-type]
    for kind in (SharedTensorClient, share.AsyncSharedTensorClient):
        with pytest.raises(TypeError, match="'time_out'; did you mean 'timeout'"):
            kind(time_out=3)  # type: ignore[arg-type]


def test_paths_are_those_of_argument_environment_runtime_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = Path(share.socket_path("x")).parent
    assert SharedTensorProvider().base_path == str(folder / "shared-tensor")
    assert SharedTensorClient().socket_path == str(folder / "shared-tensor-0.sock")
    monkeypatch.setenv("SHARED_TENSOR_BASE_PATH", "/run/elsewhere")
    assert SharedTensorProvider().base_path == "/run/elsewhere"
    assert SharedTensorClient(device_index=3).socket_path == "/run/elsewhere-3.sock"
    assert SharedTensorProvider("/run/here").base_path == "/run/here"
    assert SharedTensorClient("/run/here").socket_path == "/run/here-0.sock"
    server = SharedTensorServer(SharedTensorProvider(execution_mode="server", device_index=2))
    assert server.socket_path == "/run/elsewhere-2.sock"
    with pytest.raises(SharedTensorConfigurationError, match=">= 0"):
        SharedTensorClient(device_index=-1)


# Registration.


def test_shared_functions_look_like_what_they_were(local: SharedTensorProvider) -> None:
    @local.share(execution="task")
    def scaled(value: int, *, factor: int = 2) -> int:
        """Multiplies."""
        return value * factor

    assert scaled.__name__ == "scaled" and scaled.__doc__ == "Multiplies."
    assert str(inspect.signature(scaled)) == "(value: 'int', *, factor: 'int' = 2) -> 'int'"
    assert scaled(2, factor=3) == 6
    with pytest.raises(RuntimeError, match="do not support task submission"):
        scaled.submit(2)


def test_registration_says_what_is_wrong(local: SharedTensorProvider) -> None:
    def twice() -> None: ...

    async def later() -> None: ...

    local.register(twice)
    with pytest.raises(SharedTensorProviderError, match="already registered"):
        local.register(twice)
    with pytest.raises(SharedTensorConfigurationError, match="did you mean 'task'"):
        local.share(execution="tsk")(lambda: None)  # type: ignore[call-overload]
    with pytest.raises(SharedTensorConfigurationError, match="serialized"):
        local.share(concurrency="one")(lambda: None)  # type: ignore[call-overload]
    with pytest.raises(SharedTensorConfigurationError, match="coroutine"):
        local.register(later)
    with pytest.raises(SharedTensorProviderError, match="not registered; there are twice"):
        local.get_endpoint("missing")
    assert local.list_endpoints() == {
        "twice": {
            "cache": True,
            "cache_format_key": None,
            "managed": False,
            "async_default_wait": True,
            "execution": "direct",
            "concurrency": "parallel",
            "singleflight": True,
            "keep_unleased": False,
        }
    }


# Local mode.


def test_local_calls_are_cached_by_all_their_arguments(local: SharedTensorProvider) -> None:
    calls: list[Any] = []

    @local.share
    def seen(a: Any, b: Any = 2) -> Any:
        calls.append((a, b))
        return len(calls)

    assert seen(1) == seen(1, 2) == seen(a=1, b=2) == 1
    assert [seen(2), seen("1"), seen(1.0), seen(True), seen([1]), seen((1,))] == [2, 3, 4, 5, 6, 7]
    assert seen(np.arange(3)) == seen(np.arange(3)) == 8
    assert seen(np.arange(3.0)) == 9
    assert seen(object()) == 10 and seen(object()) == 11
    assert local.get_runtime_info()["cache_entries"] == 9
    assert local.invalidate_call_cache("seen", 1) is True
    assert local.invalidate_call_cache("seen", 1) is False
    assert local.invalidate_endpoint_cache("seen") == 8
    assert seen(1) == 12


def test_local_keys_are_formats_of_bound_arguments(local: SharedTensorProvider) -> None:
    calls: list[Any] = []

    @local.share(cache_format_key="{factor}")
    def scaled(tensor: Any, factor: int = 1) -> int:
        calls.append(tensor)
        return factor

    @local.share(cache_format_key="{missing}")
    def broken(value: int) -> int:
        return value

    assert scaled("left", factor=2) == scaled("right", 2) == 2 and calls == ["left"]
    with pytest.raises(SharedTensorConfigurationError, match="missing"):
        broken(1)
    with pytest.raises(SharedTensorConfigurationError, match="do not fit"):
        local.call("scaled")


def test_local_cache_can_be_off_and_a_none_is_cached(local: SharedTensorProvider) -> None:
    calls: list[int] = []

    @local.share(cache=False)
    def uncached() -> None:
        calls.append(1)

    @local.share
    def nothing() -> None:
        calls.append(2)

    uncached(), uncached(), nothing(), nothing()
    assert calls == [1, 1, 2]
    assert local.invalidate_call_cache("nothing") is True


# A server and its own process.


def test_a_server_process_has_one_cache_for_itself_and_others(base: str) -> None:
    provider = provide(base)
    with SharedTensorServer(provider) as server, SharedTensorClient(base) as client:
        assert provider.call("add", 3) == client.call("add", 3) == client.call("add", a=3, b=2) == 5
        assert provider.call("built", "add") == 1
        handle = client.call("weights", rows=2)
        assert isinstance(handle, SharedObjectHandle)
        assert isinstance(provider.call("weights", rows=2), dict)
        assert client.call("built", "weights") == 1
        assert handle.release()
        with pytest.raises(SharedTensorRemoteError) as wrong:
            client.call("fail", "boom")
        assert (wrong.value.code, wrong.value.error_type) == (7, "ValueError")
        assert provider.invalidate_endpoint_cache("add") == 1
        assert provider.invalidate_call_cache("add", 3) is False
        info = provider.get_runtime_info()
        assert info["server_running"] and info["server_socket_path"] == server.socket_path
        assert (info["execution_mode"], info["auto_mode"]) == ("server", False)
        assert info["endpoint_count"] == len(provider.list_endpoints())
        assert isinstance(info["cache_entries"], int)

        @provider.share
        def late(x: int) -> int:
            return -x

        assert client.call("late", 4) == late(4) == -4
        assert "late" in client.list_endpoints()
    assert not server.running and not os.path.exists(server.socket_path)
    assert provider.call("add", 3) == 5, "without a server its functions still run"


def test_a_server_is_started_once_and_knows_whether_it_runs(base: str) -> None:
    provider = provide(base)
    server = SharedTensorServer(provider)
    assert not server.running and server.server_id is None
    with pytest.raises(SharedTensorConfigurationError, match="start"):
        server.invoke_local("add", args=(1,))
    server.start(blocking=False)
    first = server.server_id
    with pytest.raises(SharedTensorConfigurationError, match="already running"):
        server.start(blocking=False)
    with pytest.raises(share.ShareServerRunningError, match=str(os.getpid())):
        SharedTensorServer(provide(base)).start()
    assert server.stop() is True and server.stop() is True
    server.start(blocking=False)
    assert server.server_id not in (None, first)
    server.stop()
    with pytest.raises(SharedTensorConfigurationError, match="process_start_method"):
        SharedTensorServer(provider, process_start_method="fork").start()
    with pytest.raises(share.SharedTensorServerError, match="expected a folder"):
        SharedTensorServer(provider, socket_path="/tmp/shared-tensor-0.sock").start()


def test_auto_mode_starts_a_server_with_the_first_function(
    base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHARED_TENSOR_ENABLED", "1")
    monkeypatch.setenv("SHARED_TENSOR_ROLE", "server")
    monkeypatch.setenv("SHARED_TENSOR_BASE_PATH", base)
    provider = SharedTensorProvider(device_index=1)
    assert provider.get_runtime_info()["server_running"] is False

    @provider.share
    def first() -> str:
        return "first"

    @provider.share
    def second() -> str:
        return "second"

    assert os.path.exists(f"{base}-1.sock")
    with SharedTensorClient(device_index=1) as client:
        assert (client.call("first"), second()) == ("first", "second")
        provider.close()
        assert client.ping() is False
    provider.close()


# Client mode.


def test_a_provider_in_client_mode_calls_the_server(service: Service) -> None:
    provider = SharedTensorProvider(service.base_path, execution_mode="client")

    @provider.share
    def add(a: int, b: int = 2) -> int:
        raise AssertionError("it runs in the server")

    @provider.share(execution="task", managed=True)
    def load(rows: int = 4) -> Any: ...

    assert add(1) == 3 and provider.call("add", 2) == 4
    task = load.submit(3)
    with provider.wait_for_task(task, timeout=30) as handle:
        assert handle.value.tolist() == [0, 1, 2]
    assert provider.get_task_status(task).status is share.TaskStatus.COMPLETED
    assert task in provider.list_tasks("completed")
    assert provider.cancel_task(task) is False
    assert isinstance(provider.execute("load", 2, wait=False), str)
    assert provider.execute("add", 4, timeout=30) == 6
    assert provider.invalidate_endpoint_cache("add") == 3
    info = provider.get_runtime_info()
    assert info["server_ready"] and info["server_info"]["pid"] == service.child.pid
    provider.close()


def test_closing_closes_all_and_nothing_is_made_before_it_is_needed() -> None:
    provider = SharedTensorProvider("/nowhere/at/all", execution_mode="client")
    assert provider._client is None and provider._async_client is None
    events: list[str] = []

    class Fake:
        def __init__(self, name: str) -> None:
            self.name = name

        def close(self) -> None:
            events.append(self.name)

        def stop(self, *, wait_for_tasks: bool) -> None:
            events.append(f"server:{wait_for_tasks}")

    provider._client = Fake("client")  # type: ignore[assignment]
    provider._async_client = Fake("async")  # type: ignore[assignment]
    provider._server = Fake("")  # type: ignore[assignment]
    provider.close()
    assert events == ["client", "async", "server:True"]


def test_what_a_server_says_of_itself(service: Service) -> None:
    with service.client() as client:
        assert client.ping() is True
        client.call("add", 1), client.call("add", 1)
        info = client.get_server_info()
        assert info["server"] == "SharedTensorServer" and len(info["server_id"]) == 32
        assert info["socket_path"] == client.socket_path == f"{service.base_path}-0.sock"
        assert info["running"] is info["ready"] is True
        assert (info["pid"], info["ppid"]) == (service.child.pid, os.getpid())
        assert info["device_index"] == 0 and info["uptime"] >= 0
        assert {"add", "weights", "load"} <= set(info["endpoints"])
        assert {"torch_available", "cuda_available", "transport"} <= set(info["capabilities"])
        stats = info["stats"]
        assert (stats["cache_hits"], stats["cache_misses"]) == (1, 1)
        assert stats["cache_entries"] == 1 and stats["requests_processed"] >= 2
        for name in ("errors_encountered", "task_submissions", "cache_invalidations"):
            assert stats[name] == 0
        for name in ("inflight_calls", "objects", "task_count"):
            assert isinstance(stats[name], int)
        listed = client.list_endpoints()
        assert listed["weights"]["cache_format_key"] == "weights:{rows}"
        assert listed["add"]["cache_format_key"] is None and listed["load"]["execution"] == "task"


def test_values_travel_both_ways(service: Service) -> None:
    with service.client() as client:
        array = np.arange(12.0).reshape(3, 4)
        shared = share.empty((2, 2), "int32")
        shared[:] = 7
        sent = {"a": array[:, ::2], "n": [None, True, 2**63, 1.5, "x", b"y"], "t": (shared, array[1])}
        back = client.call("echo", sent, endpoint="taken as a name")
        assert back["kwargs"] == {"endpoint": "taken as a name"}
        (got,) = back["args"]
        assert got["n"] == sent["n"] and isinstance(got["t"], tuple)
        assert np.array_equal(got["a"], array[:, ::2]) and np.array_equal(got["t"][0], shared)
        assert not got["a"].flags.writeable
        with pytest.raises(TypeError, match=r"args\[0\]\['a'\]\[1\]"):
            client.call("echo", {"a": [1, object()]})
        with pytest.raises(SharedTensorRemoteError, match=r"result\['a'\]\[1\]") as wrong:
            client.call("unsendable")
        assert isinstance(wrong.value, share.SharedTensorSerializationError)


def test_what_is_the_same_call(service: Service) -> None:
    with service.client() as client:
        assert client.call("add", 1) == client.call("add", b=2, a=1) == 3
        assert client.call("add", 2) == 4
        assert client.call("built", "add") == 2
        assert client.call("rich", 1) == client.call("rich", a=1, b="x") == 1
        assert client.call("rich", 11) == 2
        assert client.invalidate_call_cache("rich", 1) is True
        assert client.invalidate_call_cache("rich", 1) is False
        assert client.call("rich", 1) == 3
        assert client.invalidate_endpoint_cache("rich") == 2


def test_errors_say_what_kind_they_are(service: Service) -> None:
    with service.client() as client:
        for endpoint, args, code, kind in [
            ("missing", (), 2, SharedTensorProviderError),
            ("broken", (1,), 6, SharedTensorConfigurationError),
            ("capable", (), 4, share.SharedTensorCapabilityError),
            ("fail", ("boom",), 7, SharedTensorRemoteError),
            ("explode", ("boom",), 5, share.SharedTensorTaskError),
        ]:
            with pytest.raises(SharedTensorRemoteError, match=rf"Remote error \[{code}\]") as wrong:
                client.call(endpoint, *args)
            assert wrong.value.code == code and isinstance(wrong.value, kind)
            again = pickle.loads(pickle.dumps(wrong.value))
            assert type(again) is type(wrong.value) and again.code == code
            assert (str(again), again.error_type) == (str(wrong.value), wrong.value.error_type)


# Handles.


def test_handles_are_leases(service: Service) -> None:
    with service.client() as client, service.client() as other:
        first = client.call("weights", rows=2)
        second = other.call("weights", rows=2)
        assert first.object_id == second.object_id and first.server_id == second.server_id
        assert first.value["w"].tolist() == [[2.0] * 3] * 2
        info = client.get_object_info(first.object_id)
        assert info is not None
        assert (info["endpoint"], info["refcount"]) == ("weights", 2)
        assert info["server_id"] == first.server_id and len(info["cache_key"]) == 64
        assert info["created_at"] <= info["last_accessed_at"]
        assert client.ensure_handle_live(first)["refcount"] == 2
        assert first.get_object_info() == first.get_object_info(refresh=True)

        assert first.release() is True and first.released
        assert first.release() is False and first.is_stale() and first.get_object_info() is None
        assert client.release(second.object_id) is False, "another client's"
        assert not second.is_stale() and other.get_object_info(second.object_id)
        assert second.get_object_info(refresh=True)["refcount"] == 1
        third = other.acquire(second.object_id)
        assert other.release_many([second.object_id, "else"]) == {second.object_id: True, "else": False}
        with third as entered:
            assert entered is third and entered.health == "live" and entered.survives_server
        assert third.health == "released"
        assert other.get_object_info(second.object_id) is None
        assert first.value["w"][0, 0] == 2.0, "what was mapped stays readable"
        with pytest.raises(SharedTensorStaleHandleError) as stale:
            client.ensure_handle_live(first)
        assert stale.value.reason == "object_missing" and stale.value.object_id == first.object_id
        with pytest.raises(SharedTensorRemoteError):
            client.acquire(second.object_id)
        assert client.call("weights", rows=2).object_id != first.object_id


def test_a_dropped_handle_gives_its_lease_back(service: Service) -> None:
    with service.client() as client:
        handle = client.call("weights", rows=2)
        identity, value = handle.object_id, handle.value
        del handle
        gc.collect()
        until(lambda: client.get_object_info(identity) is None)
        assert value["w"][1, 1] == 2.0


def test_what_is_kept_unleased_is_not_built_again(service: Service) -> None:
    with service.client() as client:
        with client.call("kept") as first:
            pass
        with client.call("kept") as second:
            assert second.object_id == first.object_id
        assert client.call("built", "kept") == 1


def test_leases_end_with_their_client(service: Service) -> None:
    program = (
        "import sys, time\nfrom shm_py import share\n"
        "client = share.SharedTensorClient(sys.argv[1])\n"
        "handle = client.call('weights', rows=3)\nprint(handle.object_id, flush=True)\n"
        "time.sleep(600)\n"
    )
    holder = Child("-c", program, service.base_path)
    with service.client() as client:
        identity = holder.hear()
        assert client.get_object_info(identity)
        holder.kill()
        until(lambda: client.get_object_info(identity) is None)


def test_closing_leaves_held_handles_alone(service: Service) -> None:
    with service.client() as client:
        handle = client.call("weights", rows=2)
    with service.client() as other:
        assert other.get_object_info(handle.object_id)
        assert handle.release() is True
        assert other.get_object_info(handle.object_id) is None


def test_the_end_of_a_server_is_seen_at_once(service: Service) -> None:
    client = service.client(connect_timeout=0.0)
    handle = client.call("weights", rows=2)
    value = handle.value["w"]
    service.child.kill()
    until(lambda: handle.health == "server gone")
    assert handle.is_stale() and handle.get_object_info() is None
    assert handle.release() is False
    assert value.sum() == 12.0
    assert client.ping() is False
    with pytest.raises(SharedTensorStaleHandleError) as stale:
        client.ensure_handle_live(handle)
    assert stale.value.reason == "server_gone"
    with pytest.raises(SharedTensorClientError) as gone:
        client.call("add", 1)
    assert isinstance(gone.value, ConnectionError)

    again = Service(service.base_path)
    try:
        assert client.call("add", 1) == 3, "another server is found"
        with pytest.raises(SharedTensorStaleHandleError) as mismatch:
            client.ensure_handle_live(handle)
        assert mismatch.value.reason == "server_mismatch"
        assert client.get_object_info(handle.object_id) is None
        with pytest.raises(share.SharedTensorTaskError):
            client.get_task_status(f"{handle.server_id}-1")
    finally:
        again.child.stop()


def test_time_is_up_and_the_request_given_up(service: Service) -> None:
    with service.client(timeout=0.05) as hasty, service.client() as client:
        with pytest.raises(share.SharedTensorTimeoutError) as late:
            hasty.call("slow", 30.0)
        assert isinstance(late.value, TimeoutError) and isinstance(late.value, SharedTensorClientError)
        until(lambda: client.call("built", "cancelled") == 1)


def test_a_client_waits_for_a_server_that_is_not_there_yet(base: str) -> None:
    found: list[Any] = []
    client = SharedTensorClient(base, connect_timeout=30.0)
    waiting = threading.Thread(target=lambda: found.append(client.call("add", 5)))
    waiting.start()
    service = Service(base)
    waiting.join(30.0)
    service.child.stop()
    assert found == [7], "all endpoints are there when the first client is"


def test_a_forked_child_has_a_connection_of_its_own(service: Service) -> None:
    with service.client() as client:
        handle = client.call("weights", rows=2)
        pid = os.fork()
        if pid == 0:
            try:
                ok = client.call("add", 1) == 3 and client.get_object_info(handle.object_id)
                os._exit(0 if ok else 1)
            except BaseException:
                os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0
        assert not handle.is_stale() and client.call("add", 1) == 3


BLOCKING = """
import sys
from shm_py import share
provider = share.SharedTensorProvider(sys.argv[1], execution_mode="server")
@provider.share
def add(a: int) -> int:
    return a + 1
print("ready", flush=True)
try:
    share.SharedTensorServer(provider).start()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""

ENDING = """
import sys
from shm_py import share
provider = share.SharedTensorProvider(sys.argv[1], enabled=True)
@provider.share
def add(a: int) -> int:
    return a + 1
client = share.SharedTensorClient(sys.argv[1])
print(client.call("add", 1), provider.call("add", 2), flush=True)
sys.stdin.read()
"""


def test_a_blocking_server_is_ended_by_ctrl_c(base: str) -> None:
    child = Child("-c", BLOCKING, base)
    try:
        assert child.hear() == "ready"
        with SharedTensorClient(base) as client:
            assert client.ping() or client.get_server_info()
            child.signal(signal.SIGINT)
            assert child.hear() == "interrupted"
            until(lambda: not client.ping())
        assert not os.path.exists(f"{base}-0.sock")
        child.finish()
    finally:
        child.stop()


def test_a_program_that_ends_takes_its_server_along(base: str) -> None:
    child = Child("-c", ENDING, base, env={"SHARED_TENSOR_ROLE": "server"})
    try:
        assert child.hear() == "2 3"
        with SharedTensorClient(base) as client:
            assert client.call("add", 4) == 5
            child.finish()
            until(lambda: not client.ping())
        assert not os.path.exists(f"{base}-0.sock")
    finally:
        child.stop()


def test_importing_the_package_imports_neither_the_service_nor_torch() -> None:
    said = run(
        "import sys, shm_py\n"
        "assert not [name for name in sys.modules if 'share' in name and name.startswith('shm_py')]\n"
        "share = shm_py.share\n"
        "assert share.SharedTensorClient and 'torch' not in sys.modules\n"
        "assert 'asyncio' in sys.modules\n"
        "try: shm_py.sharing\n"
        "except AttributeError as error: print(error)\n"
    )
    assert "no attribute 'sharing'" in said
    assert shm_py.share is share


def test_everything_public_is_explained() -> None:
    for name in share.__all__:
        text = inspect.getdoc(getattr(share, name))
        assert text is not None and len(text.split()) >= 3, name
        if inspect.isclass(getattr(share, name)) and name.startswith(("Shared", "Async")):
            for member, value in vars(getattr(share, name)).items():
                if not member.startswith("_") and callable(value):
                    assert inspect.getdoc(value), f"{name}.{member}"
