"""What shared-tensor documents of modes, options and calls in the own process, held against shm_py.share.

`cargo xtask parity shared-tensor` runs this file and test_parity_served.py, and says which behaviour each
test shows.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import shm_py.share

sys.modules.setdefault("shared_tensor", shm_py.share)

if TYPE_CHECKING:
    import shm_py.share as shared_tensor
else:
    import shared_tensor

ENVIRONMENT = ("SHARED_TENSOR_ENABLED", "SHARED_TENSOR_ROLE", "SHARED_TENSOR_BASE_PATH")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is chosen before a test chooses."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def base_path(tmp_path: Path) -> str:
    """A place for sockets in a folder of this test's own."""
    tmp_path.chmod(0o700)
    return str(tmp_path / "s")


@pytest.fixture
def local() -> shared_tensor.SharedTensorProvider:
    """A provider that runs its functions here."""
    return shared_tensor.SharedTensorProvider()


@pytest.fixture
def serving(base_path: str) -> Iterator[shared_tensor.SharedTensorProvider]:
    """A provider in server mode; its server is the test's to start."""
    provider = shared_tensor.SharedTensorProvider(
        base_path, execution_mode="server", device_index=0
    )
    yield provider
    provider.close()


def test_mode_is_local_by_default(local: shared_tensor.SharedTensorProvider) -> None:
    """Without a word in the environment functions run here."""
    assert (local.execution_mode, local.auto_mode) == ("local", True)


@pytest.mark.parametrize("said", ["1", "true", "YES", "On"])
def test_enabled_means_client(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Enabled without a role is a client, however it is spelt."""
    monkeypatch.setenv("SHARED_TENSOR_ENABLED", said)
    assert shared_tensor.SharedTensorProvider().execution_mode == "client"


@pytest.mark.parametrize("role", ["server", "client", "local"])
def test_the_role_chooses(role: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """SHARED_TENSOR_ROLE decides once it is enabled, and only then."""
    monkeypatch.setenv("SHARED_TENSOR_ROLE", role.upper())
    assert shared_tensor.SharedTensorProvider().execution_mode == "local"
    monkeypatch.setenv("SHARED_TENSOR_ENABLED", "1")
    assert shared_tensor.SharedTensorProvider().execution_mode == role


def test_the_argument_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`enabled` counts in both directions."""
    assert shared_tensor.SharedTensorProvider(enabled=True).execution_mode == "client"
    monkeypatch.setenv("SHARED_TENSOR_ENABLED", "1")
    assert shared_tensor.SharedTensorProvider(enabled=False).execution_mode == "local"


@pytest.mark.parametrize("mode", ["local", "server", "client"])
def test_an_explicit_mode_is_taken(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says."""
    monkeypatch.setenv("SHARED_TENSOR_ENABLED", "1")
    monkeypatch.setenv("SHARED_TENSOR_ROLE", "server")
    provider = shared_tensor.SharedTensorProvider(execution_mode=mode)
    assert (provider.execution_mode, provider.auto_mode) == (mode, False)


def test_another_mode_is_refused() -> None:
    """The message names those that there are."""
    with pytest.raises(shared_tensor.SharedTensorConfigurationError, match="client"):
        shared_tensor.SharedTensorProvider(execution_mode="remote")


def test_registration_keeps_the_options(local: shared_tensor.SharedTensorProvider) -> None:
    """They are found by name."""

    def model(size: int) -> int:
        return size

    local.register(
        model, managed=True, execution="task", concurrency="serialized", cache_format_key="m:{size}"
    )
    found = local.get_endpoint("model")
    assert (found.name, found.managed, found.execution) == ("model", True, "task")
    assert (found.concurrency, found.cache_format_key) == ("serialized", "m:{size}")
    assert (found.cache, found.singleflight) == (True, True)


def test_endpoints_are_listed(local: shared_tensor.SharedTensorProvider) -> None:
    """With all of their options."""

    @local.share(cache=False, singleflight=False)
    def shown() -> int:
        return 1

    listed = local.list_endpoints()["shown"]
    names = {"cache", "cache_format_key", "managed", "async_default_wait", "execution"}
    assert names | {"concurrency", "singleflight"} <= set(listed)
    assert (listed["cache"], listed["singleflight"], listed["execution"]) == (False, False, "direct")


def test_a_name_is_taken_once(local: shared_tensor.SharedTensorProvider) -> None:
    """The second function of a name is refused."""

    def model() -> int:
        return 1

    local.share(model)
    with pytest.raises(shared_tensor.SharedTensorProviderError, match="model"):
        local.share(model)


@pytest.mark.parametrize("option", ["execution", "concurrency"])
def test_other_values_of_options_are_refused(
    option: str, local: shared_tensor.SharedTensorProvider
) -> None:
    """The message names the option."""
    wrong: dict[str, Any] = {option: "sometimes"}
    with pytest.raises(shared_tensor.SharedTensorConfigurationError, match=option):
        local.share(**wrong)(lambda: 1)


def test_the_decorator_works_with_and_without_options(
    local: shared_tensor.SharedTensorProvider,
) -> None:
    """What it gives is called like the function, and named like it."""

    @local.share
    def bare(value: int) -> int:
        """Says so."""
        return value + 1

    @local.share(cache=False)
    def with_options(value: int) -> int:
        return value + 2

    assert (bare(1), with_options(1)) == (2, 3)
    assert (bare.__name__, bare.__doc__) == ("bare", "Says so.")
    assert callable(bare.submit)


@pytest.mark.parametrize("mode", ["local", "server"])
def test_only_clients_submit(mode: str) -> None:
    """Elsewhere there are no tasks."""
    provider = shared_tensor.SharedTensorProvider(execution_mode=mode)

    @provider.share(execution="task")
    def work() -> int:
        return 1

    with pytest.raises(RuntimeError, match="submission"):
        work.submit()
    with pytest.raises(RuntimeError, match="submission"):
        provider.execute("work")


def test_an_unknown_endpoint_is_named(local: shared_tensor.SharedTensorProvider) -> None:
    """By a call and by a look at it."""
    for ask in (local.call, local.get_endpoint):
        with pytest.raises(shared_tensor.SharedTensorProviderError, match="absent"):
            ask("absent")


def test_a_local_result_is_cached(local: shared_tensor.SharedTensorProvider) -> None:
    """The same object comes again; without a cache another one does."""
    counted = itertools.count()

    @local.share
    def kept() -> list[int]:
        return [next(counted)]

    @local.share(cache=False)
    def made() -> list[int]:
        return [next(counted)]

    assert kept() is kept()
    assert made() != made()


def test_a_key_is_made_of_bound_arguments(local: shared_tensor.SharedTensorProvider) -> None:
    """By position or by name, defaults filled in."""
    counted = itertools.count()

    @local.share(cache_format_key="{size}:{kind}")
    def model(size: int, kind: str = "small") -> int:
        return next(counted)

    assert model(1) == model(size=1) == model(1, "small") == model(kind="small", size=1)
    assert model(1) != model(2)


def test_a_key_that_names_no_argument_is_refused_by_the_call(
    local: shared_tensor.SharedTensorProvider,
) -> None:
    """Not by the registration."""

    @local.share(cache_format_key="{absent}")
    def model(size: int) -> int:
        return size

    with pytest.raises(shared_tensor.SharedTensorConfigurationError, match="absent"):
        model(1)


def test_local_results_are_forgotten_on_demand(local: shared_tensor.SharedTensorProvider) -> None:
    """One call's, or all of an endpoint."""
    counted = itertools.count()

    @local.share(cache_format_key="{size}")
    def model(size: int) -> int:
        return next(counted)

    first, second = model(1), model(2)
    assert local.invalidate_call_cache("model", size=1) is True
    assert local.invalidate_call_cache("model", size=1) is False
    assert model(1) != first and model(2) == second
    assert local.invalidate_endpoint_cache("model") == 2
    assert model(2) != second


def test_runtime_info_of_a_local_provider(base_path: str) -> None:
    """Mode, path, endpoints and cache."""
    provider = shared_tensor.SharedTensorProvider(base_path, device_index=3)

    @provider.share
    def model() -> int:
        return 1

    model()
    found = provider.get_runtime_info()
    assert found["server_socket_path"] == f"{base_path}-3.sock"
    assert (found["execution_mode"], found["auto_mode"]) == ("local", True)
    assert (found["base_path"], found["device_index"]) == (base_path, 3)
    assert (found["server_running"], found["endpoint_count"]) == (False, 1)
    assert found["cache_entries"] == 1


def test_the_device_is_in_the_name_of_the_socket(base_path: str) -> None:
    """Client and server find each other by it; there is no device below 0."""
    client = shared_tensor.SharedTensorClient(base_path, device_index=2)
    assert client.socket_path == f"{base_path}-2.sock"
    with pytest.raises(shared_tensor.SharedTensorConfigurationError, match="device_index"):
        shared_tensor.SharedTensorClient(base_path, device_index=-1)


def test_the_environment_says_where(base_path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To provider and client alike."""
    monkeypatch.setenv("SHARED_TENSOR_BASE_PATH", base_path)
    assert shared_tensor.SharedTensorProvider().base_path == base_path
    client = shared_tensor.SharedTensorClient(device_index=0)
    assert client.socket_path == f"{base_path}-0.sock"


def test_a_client_connects_when_it_is_first_asked(base_path: str) -> None:
    """A provider in client mode is made before there is a server."""
    provider = shared_tensor.SharedTensorProvider(base_path, enabled=True, device_index=0)

    @provider.share
    def model() -> int:
        return 1

    serving = shared_tensor.SharedTensorProvider(
        base_path, execution_mode="server", device_index=0
    )

    @serving.share(managed=True)
    def model_of_server() -> int:
        return 2

    with shared_tensor.SharedTensorServer(serving):
        assert provider.call("model_of_server").value == 2
        provider.close()


def test_the_first_shared_function_starts_the_server(
    base_path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, in auto mode with the role of a server; all functions are served by it."""
    monkeypatch.setenv("SHARED_TENSOR_ROLE", "server")
    provider = shared_tensor.SharedTensorProvider(base_path, enabled=True, device_index=0)
    try:
        assert not os.path.exists(f"{base_path}-0.sock")

        @provider.share
        def first() -> int:
            return 1

        assert provider.get_runtime_info()["server_running"] is True

        @provider.share
        def second() -> int:
            return 2

        assert (first(), second()) == (1, 2)
        client = shared_tensor.SharedTensorClient(base_path, device_index=0)
        info = client.get_server_info()
        assert info["pid"] == os.getpid() and {"first", "second"} <= set(info["endpoints"])
        client.close()
    finally:
        provider.close()
    assert not os.path.exists(f"{base_path}-0.sock")


def test_an_explicit_server_waits_to_be_started(
    serving: shared_tensor.SharedTensorProvider, base_path: str
) -> None:
    """Until then its functions run by themselves."""

    @serving.share
    def model() -> int:
        return 1

    assert not os.path.exists(f"{base_path}-0.sock")
    assert model() == 1
    assert serving.get_runtime_info()["server_running"] is False


def test_server_mode_uses_the_cache_of_the_server(
    serving: shared_tensor.SharedTensorProvider, base_path: str
) -> None:
    """A call from here and one from a client are the same call; here no handle comes back."""
    counted = itertools.count()

    @serving.share(managed=True)
    def model(size: int) -> Any:
        return np.full(size, next(counted))

    with shared_tensor.SharedTensorServer(serving):
        client = shared_tensor.SharedTensorClient(base_path, device_index=0)
        with client.call("model", 3) as handle:
            assert isinstance(handle, shared_tensor.SharedObjectHandle)
            assert model(3).tolist() == handle.value.tolist() == [0, 0, 0]
        info = serving.get_runtime_info()
        assert (info["execution_mode"], info["server_running"]) == ("server", True)
        client.close()


def test_server_mode_forgets_on_demand(serving: shared_tensor.SharedTensorProvider) -> None:
    """One call's result, or all of an endpoint."""
    counted = itertools.count()

    @serving.share
    def model(size: int) -> int:
        return next(counted)

    with shared_tensor.SharedTensorServer(serving):
        first, second = model(1), model(2)
        assert serving.invalidate_call_cache("model", 1) is True
        assert serving.invalidate_call_cache("model", 1) is False
        assert model(1) != first and model(2) == second
        assert serving.invalidate_endpoint_cache("model") == 2


def test_a_local_client_waits_for_a_task(
    serving: shared_tensor.SharedTensorProvider, base_path: str
) -> None:
    """A call of a task endpoint gives the result, also to a client in the server's process."""

    @serving.share(execution="task")
    def work() -> int:
        time.sleep(0.05)
        return 5

    with shared_tensor.SharedTensorServer(serving):
        client = shared_tensor.SharedTensorClient(base_path, device_index=0)
        assert client.call("work") == 5
        client.close()


def test_closing_stops_the_server(
    serving: shared_tensor.SharedTensorProvider, base_path: str
) -> None:
    """And is done twice without harm."""
    server = shared_tensor.SharedTensorServer(serving)
    server.start(blocking=False)
    assert server.running and os.path.exists(f"{base_path}-0.sock")
    serving.close()
    serving.close()
    assert not server.running and not os.path.exists(f"{base_path}-0.sock")


def test_a_server_starts_in_the_background_and_stops_at_once(
    serving: shared_tensor.SharedTensorProvider,
) -> None:
    """Stopping it again does nothing; starting it twice is refused."""
    server = shared_tensor.SharedTensorServer(serving)
    server.start(blocking=False)
    with pytest.raises(shared_tensor.SharedTensorConfigurationError, match="running"):
        server.start(blocking=False)
    begun = time.monotonic()
    server.stop()
    server.stop()
    assert time.monotonic() - begun < 2.0
    assert not server.running


def test_a_blocking_start_returns_when_it_is_stopped(
    serving: shared_tensor.SharedTensorProvider, base_path: str
) -> None:
    """By another thread."""
    server = shared_tensor.SharedTensorServer(serving)
    thread = threading.Thread(target=server.start)
    thread.start()
    client = shared_tensor.SharedTensorClient(base_path, device_index=0)
    deadline = time.monotonic() + 20
    while not client.ping():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    client.close()
    server.stop()
    thread.join(20)
    assert not thread.is_alive()


def test_a_background_server_has_no_start_method(
    serving: shared_tensor.SharedTensorProvider,
) -> None:
    """It is a thread."""
    server = shared_tensor.SharedTensorServer(serving, process_start_method="spawn")
    with pytest.raises(shared_tensor.SharedTensorConfigurationError, match="process_start_method"):
        server.start(blocking=False)


def test_a_stop_waits_for_what_runs(
    serving: shared_tensor.SharedTensorProvider, base_path: str
) -> None:
    """Its caller is answered; whoever comes later is refused."""
    running = threading.Event()

    @serving.share(execution="task", managed=True)
    def work() -> int:
        running.set()
        time.sleep(0.5)
        return 7

    server = shared_tensor.SharedTensorServer(serving)
    server.start(blocking=False)
    client = shared_tensor.SharedTensorClient(base_path, device_index=0, connect_timeout=0.0)
    found: list[Any] = []
    caller = threading.Thread(target=lambda: found.append(client.call("work").value))
    caller.start()
    assert running.wait(20)
    server.stop(wait_for_tasks=True)
    caller.join(20)
    assert found == [7]
    with pytest.raises(shared_tensor.SharedTensorError):
        client.call("work")
    client.close()


def test_records_of_tasks_are_plain_data() -> None:
    """There and back."""
    info = shared_tensor.TaskInfo("t", "model", shared_tensor.TaskStatus.RUNNING, 1.0)
    data = info.to_dict()
    assert (data["status"], data["metadata"], data["started_at"]) == ("running", {}, None)
    assert shared_tensor.TaskInfo.from_dict(data) == info


def test_errors_have_one_base() -> None:
    """And those of the server carry what it said."""
    names = ["Configuration", "Provider", "Protocol", "Serialization", "Capability", "Task", "Remote"]
    for name in [*names, "StaleHandle", "Client"]:
        kind = getattr(shared_tensor, f"SharedTensor{name}Error")
        assert issubclass(kind, shared_tensor.SharedTensorError), name
    error = shared_tensor.SharedTensorRemoteError("no", code=4, error_type="SharedTensorCapabilityError")
    assert (error.code, error.data, error.error_type) == (4, None, "SharedTensorCapabilityError")
