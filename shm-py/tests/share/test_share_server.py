"""Servers: their own process, when they start, and what ends them."""

from __future__ import annotations

import os
import signal

import pytest
from children import Child
from share.share_services import provide, until
from shm_py import share
from shm_py.share import (
    SharedObjectHandle,
    SharedTensorClient,
    SharedTensorConfigurationError,
    SharedTensorProvider,
    SharedTensorRemoteError,
    SharedTensorServer,
)


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
