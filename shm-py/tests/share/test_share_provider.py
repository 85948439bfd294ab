"""Providers: modes, options, paths, registration, and functions that run where they are called."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shm_py
from children import run
from shm_py import share
from shm_py.share import (
    SharedTensorClient,
    SharedTensorConfigurationError,
    SharedTensorProvider,
    SharedTensorProviderError,
    SharedTensorServer,
)


@pytest.fixture
def local() -> SharedTensorProvider:
    return SharedTensorProvider(execution_mode="local")


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


# The module.


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
