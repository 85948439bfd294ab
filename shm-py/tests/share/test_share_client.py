"""Clients of a server in another process: values, calls, errors and deadlines."""

from __future__ import annotations

import os
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from share.share_services import Service, until
from shm_py import share
from shm_py.share import (
    SharedTensorClient,
    SharedTensorClientError,
    SharedTensorConfigurationError,
    SharedTensorProvider,
    SharedTensorProviderError,
    SharedTensorRemoteError,
)


def test_a_provider_in_client_mode_calls_the_server(remote: Service) -> None:
    provider = SharedTensorProvider(remote.base_path, execution_mode="client")

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
    assert info["server_ready"] and info["server_info"]["pid"] == remote.child.pid
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


def test_what_a_server_says_of_itself(remote: Service) -> None:
    with remote.client() as client:
        assert client.ping() is True
        client.call("add", 1), client.call("add", 1)
        info = client.get_server_info()
        assert info["server"] == "SharedTensorServer" and len(info["server_id"]) == 32
        assert info["socket_path"] == client.socket_path == f"{remote.base_path}-0.sock"
        assert info["running"] is info["ready"] is True
        assert (info["pid"], info["ppid"]) == (remote.child.pid, os.getpid())
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


def test_values_travel_both_ways(remote: Service) -> None:
    with remote.client() as client:
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


def test_what_is_the_same_call(remote: Service) -> None:
    with remote.client() as client:
        assert client.call("add", 1) == client.call("add", b=2, a=1) == 3
        assert client.call("add", 2) == 4
        assert client.call("built", "add") == 2
        assert client.call("rich", 1) == client.call("rich", a=1, b="x") == 1
        assert client.call("rich", 11) == 2
        assert client.invalidate_call_cache("rich", 1) is True
        assert client.invalidate_call_cache("rich", 1) is False
        assert client.call("rich", 1) == 3
        assert client.invalidate_endpoint_cache("rich") == 2


def test_errors_say_what_kind_they_are(remote: Service) -> None:
    with remote.client() as client:
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


def test_time_is_up_and_the_request_given_up(remote: Service) -> None:
    with remote.client(timeout=0.05) as hasty, remote.client() as client:
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


def test_a_forked_child_has_a_connection_of_its_own(remote: Service) -> None:
    with remote.client() as client:
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
