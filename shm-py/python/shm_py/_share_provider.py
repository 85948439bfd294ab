"""A registry of endpoints, whose functions run here, in a server or elsewhere, as the mode says."""

from __future__ import annotations

import asyncio
import atexit
import functools
import inspect
import logging
import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Optional, TypeVar, cast, overload

from ._share_async import AsyncSharedTensorClient
from ._share_client import SharedTensorClient
from ._share_errors import SharedTensorConfigurationError, SharedTensorProviderError
from ._share_keys import call_key
from ._share_records import TaskInfo
from ._share_runtime import (
    one_of,
    refuse_unknown,
    resolve_base_path,
    resolve_mode,
    resolve_socket_path,
)
from ._share_server import SharedTensorServer

if TYPE_CHECKING:
    from typing_extensions import Never, ParamSpec, Protocol

    _P = ParamSpec("_P")
    _R = TypeVar("_R", covariant=True)

    class SharedFunction(Protocol, Generic[_P, _R]):
        """A shared function: called as before, and with more ways to be called."""

        __name__: str

        def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> Any: ...
        def submit(self, *args: _P.args, **kwargs: _P.kwargs) -> str: ...
        async def call_async(self, *args: _P.args, **kwargs: _P.kwargs) -> Any: ...


logger = logging.getLogger("shm_py.share")

EndpointExecution = Literal["direct", "task"]
EndpointConcurrency = Literal["parallel", "serialized"]
#: Results that a provider without a server keeps.
_CACHED = 1024


@dataclass
class EndpointDefinition:
    """An endpoint and its options, as `SharedTensorProvider.share` explains them."""

    name: str
    func: Callable[..., Any]
    cache: bool = True
    cache_format_key: Optional[str] = None
    managed: bool = False
    async_default_wait: bool = True
    execution: EndpointExecution = "direct"
    concurrency: EndpointConcurrency = "parallel"
    singleflight: bool = True
    keep_unleased: bool = False

    def options(self) -> dict[str, Any]:
        """All but its name and function."""
        return {name: value for name, value in vars(self).items() if name not in ("name", "func")}


class SharedTensorProvider:
    """Shares functions between processes.

    base_path: where the server is, without `-<device_index>.sock`; None takes SHARED_TENSOR_BASE_PATH, else
    a place in the user's runtime folder; clients decide alike. execution_mode: "local" (functions run
    here), "server" (here, and for others once a SharedTensorServer serves them), "client" (in the
    server) or "auto": local unless `enabled`, or SHARED_TENSOR_ENABLED if that is None; then by
    SHARED_TENSOR_ROLE "server", which starts one with the first function, "local", or "client" if it is
    not set. timeout: seconds that a request may take. server_startup_timeout: kept for those who pass
    it; a server serves as soon as it is started.
    """

    def __init__(
        self,
        base_path: Optional[str] = None,
        *,
        enabled: Optional[bool] = None,
        device_index: Optional[int] = None,
        timeout: float = 600.0,
        execution_mode: str = "auto",
        server_startup_timeout: float = 30.0,
        verbose_debug: bool = True,
        **unknown: Never,
    ) -> None:
        refuse_unknown("SharedTensorProvider", unknown, _OPTIONS)
        self.execution_mode, self.auto_mode = resolve_mode(execution_mode, enabled)
        self.base_path = resolve_base_path(base_path)
        self.enabled = enabled
        self.device_index = device_index
        self.timeout = timeout
        self.server_startup_timeout = server_startup_timeout
        self.verbose_debug = verbose_debug
        self._client: Optional[SharedTensorClient] = None
        self._async_client: Optional[AsyncSharedTensorClient] = None
        self._server: Optional[SharedTensorServer] = None
        self._endpoints: dict[str, EndpointDefinition] = {}
        self._cache: OrderedDict[str, tuple[str, Any]] = OrderedDict()
        self._lock = threading.RLock()
        self._process = os.getpid()
        atexit.register(_close, weakref.ref(self))

    def register(
        self,
        func: Callable[_P, _R],
        *,
        cache: bool = True,
        cache_format_key: Optional[str] = None,
        managed: bool = False,
        async_default_wait: bool = True,
        execution: EndpointExecution = "direct",
        concurrency: EndpointConcurrency = "parallel",
        singleflight: bool = True,
        keep_unleased: bool = False,
        **unknown: Never,
    ) -> SharedFunction[_P, _R]:
        """Makes an endpoint of a function, by its name, and gives what to call instead.

        The options are those of `share`; `async_default_wait` is listed and does nothing.
        """
        refuse_unknown("register()", unknown, _SHARE_OPTIONS)
        one_of("execution", execution, ("direct", "task"))
        one_of("concurrency", concurrency, ("parallel", "serialized"))
        if inspect.iscoroutinefunction(func):
            raise SharedTensorConfigurationError(
                f"{func.__name__} is a coroutine function; endpoints run on threads: share a plain one"
            )
        definition = EndpointDefinition(
            name=func.__name__,
            func=func,
            cache=cache,
            cache_format_key=cache_format_key,
            managed=managed,
            async_default_wait=async_default_wait,
            execution=execution,
            concurrency=concurrency,
            singleflight=singleflight,
            keep_unleased=keep_unleased,
        )
        with self._lock:
            if definition.name in self._endpoints:
                raise SharedTensorProviderError(f"Endpoint '{definition.name}' is already registered")
            self._endpoints[definition.name] = definition
            try:
                if self._server is not None:
                    self._server.offer(definition)
                elif self.auto_mode and self.execution_mode == "server":
                    self._start_server()
            except BaseException:
                del self._endpoints[definition.name]
                raise
        return self._wrapped(definition.name, func)

    def _wrapped(self, name: str, func: Callable[_P, _R]) -> SharedFunction[_P, _R]:
        @functools.wraps(func)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return self.call(name, *args, **kwargs)

        def submit(*args: Any, **kwargs: Any) -> str:
            """Makes a task of the call, and gives its id."""
            return self.submit(name, *args, **kwargs)

        async def call_async(*args: Any, **kwargs: Any) -> Any:
            """The call, awaited."""
            return await self.call_async(name, *args, **kwargs)

        wrapper.submit = submit  # type: ignore[attr-defined]
        wrapper.call_async = call_async  # type: ignore[attr-defined]
        return cast("SharedFunction[_P, _R]", wrapper)

    @overload
    def share(self, func: Callable[_P, _R], /) -> SharedFunction[_P, _R]: ...
    @overload
    def share(
        self,
        func: None = None,
        *,
        cache: bool = ...,
        cache_format_key: Optional[str] = ...,
        managed: bool = ...,
        execution: EndpointExecution = ...,
        concurrency: EndpointConcurrency = ...,
        singleflight: bool = ...,
        keep_unleased: bool = ...,
    ) -> Callable[[Callable[_P, _R]], SharedFunction[_P, _R]]: ...
    def share(
        self,
        func: Optional[Callable[..., Any]] = None,
        *,
        cache: bool = True,
        cache_format_key: Optional[str] = None,
        managed: bool = False,
        execution: EndpointExecution = "direct",
        concurrency: EndpointConcurrency = "parallel",
        singleflight: bool = True,
        keep_unleased: bool = False,
        **unknown: Any,
    ) -> Any:
        """Shares a function; with or without options, as a decorator.

        execution: "direct", or "task": each call becomes a task that is listed and can be cancelled.
        managed: clients get a SharedObjectHandle. concurrency: "serialized" runs it one at a time.
        cache: the same call is built once. cache_format_key: what the same call is, such as
        "model:{hidden_size}"; None: all arguments. singleflight: callers of what is being built wait for
        it. keep_unleased: a cached managed object stays when its last handle is released, within the
        bounds of the cache; else it goes.
        """
        refuse_unknown("share()", unknown, _SHARE_OPTIONS)
        register = functools.partial(
            self.register,
            cache=cache,
            cache_format_key=cache_format_key,
            managed=managed,
            execution=execution,
            concurrency=concurrency,
            singleflight=singleflight,
            keep_unleased=keep_unleased,
        )
        return register if func is None else register(func)

    def call(self, endpoint: str, /, *args: Any, **kwargs: Any) -> Any:
        """Calls an endpoint, where the mode says."""
        if self.execution_mode == "client":
            return self._get_client().call(endpoint, *args, **kwargs)
        server = self._served()
        if server is not None:
            return server.invoke_local(endpoint, args=args, kwargs=kwargs)
        return self.invoke_local(endpoint, args=args, kwargs=kwargs)

    async def call_async(self, endpoint: str, /, *args: Any, **kwargs: Any) -> Any:
        """The same, awaited; where functions run in this process, they do so on a thread."""
        if self.execution_mode == "client":
            return await self._get_async_client().call_async(endpoint, *args, **kwargs)
        work = functools.partial(self.call, endpoint, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(None, work)

    def submit(self, endpoint: str, /, *args: Any, **kwargs: Any) -> str:
        """Makes a task of a call, and gives its id. In client mode only."""
        if self.execution_mode != "client":
            raise RuntimeError("Local and server modes do not support task submission")
        return self._get_async_client().submit(endpoint, *args, **kwargs)

    def execute(
        self,
        endpoint: str,
        /,
        *args: Any,
        wait: bool = True,
        timeout: Optional[float] = None,
        callback: Optional[Callable[[TaskInfo], None]] = None,
        **kwargs: Any,
    ) -> Any:
        """Submits, and waits for the result unless `wait` is False; then it gives the task's id."""
        task_id = self.submit(endpoint, *args, **kwargs)
        if not wait:
            return task_id
        return self.wait_for_task(task_id, timeout=timeout, callback=callback)

    def get_task_status(self, task_id: str) -> TaskInfo:
        """What the server says of a task."""
        return self._get_async_client().get_task_status(task_id)

    def get_task_result(self, task_id: str) -> Any:
        """The result of a task that is over."""
        return self._get_async_client().get_task_result(task_id)

    def wait_for_task(
        self,
        task_id: str,
        timeout: Optional[float] = None,
        callback: Optional[Callable[[TaskInfo], None]] = None,
    ) -> Any:
        """The result of a task when it is over, as AsyncSharedTensorClient.wait gives it."""
        return self._get_async_client().wait_for_task(task_id, timeout=timeout, callback=callback)

    def cancel_task(self, task_id: str) -> bool:
        """True if the task will not run."""
        return self._get_async_client().cancel_task(task_id)

    def list_tasks(self, status: Optional[str] = None) -> dict[str, TaskInfo]:
        """Tasks by id, all or those of one status."""
        return self._get_async_client().list_tasks(status=status)

    def invalidate_call_cache(self, endpoint: str, /, *args: Any, **kwargs: Any) -> bool:
        """Forgets what is cached for these arguments; True if there was something."""
        if self.execution_mode == "client":
            return self._get_client().invalidate_call_cache(endpoint, *args, **kwargs)
        server = self._served()
        if server is not None:
            return server.invalidate_call_cache(endpoint, args=args, kwargs=kwargs)
        key = call_key(self.get_endpoint(endpoint), args, kwargs)
        with self._lock:
            return key is not None and self._cache.pop(key, None) is not None

    def invalidate_endpoint_cache(self, endpoint: str) -> int:
        """Forgets what is cached of an endpoint; how many results that were."""
        if self.execution_mode == "client":
            return self._get_client().invalidate_endpoint_cache(endpoint)
        server = self._served()
        if server is not None:
            return server.invalidate_endpoint_cache(endpoint)
        self.get_endpoint(endpoint)
        with self._lock:
            keys = [key for key, (of, _) in self._cache.items() if of == endpoint]
            for key in keys:
                del self._cache[key]
        return len(keys)

    def invoke_local(
        self,
        endpoint: str,
        *,
        args: tuple[Any, ...] = (),
        kwargs: Optional[dict[str, Any]] = None,
    ) -> Any:
        """Runs an endpoint's function here and now, with the cache of this provider alone."""
        definition = self.get_endpoint(endpoint)
        named = kwargs or {}
        key = call_key(definition, args, named)
        if key is None:
            return definition.func(*args, **named)
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key][1]
        result = definition.func(*args, **named)
        with self._lock:
            self._cache[key] = (endpoint, result)
            while len(self._cache) > _CACHED:
                self._cache.popitem(last=False)
        return result

    def find(self, endpoint: str) -> Optional[EndpointDefinition]:
        """An endpoint's definition, if there is one."""
        return self._endpoints.get(endpoint)

    def get_endpoint(self, endpoint: str) -> EndpointDefinition:
        """An endpoint's definition. Raises SharedTensorProviderError if there is none."""
        found = self.find(endpoint)
        if found is None:
            raise SharedTensorProviderError(
                f"Endpoint '{endpoint}' is not registered; there are {', '.join(self._endpoints) or 'none'}"
            )
        return found

    def definitions(self) -> list[EndpointDefinition]:
        """Of all endpoints, in the order in which they were registered."""
        return list(self._endpoints.values())

    def list_endpoints(self) -> dict[str, dict[str, Any]]:
        """Options of the endpoints, by name."""
        return {one.name: one.options() for one in self.definitions()}

    def get_runtime_info(self) -> dict[str, Any]:
        """The mode, where the server is, and in client mode what it says about itself."""
        info: dict[str, Any] = {
            "execution_mode": self.execution_mode,
            "auto_mode": self.auto_mode,
            "base_path": self.base_path,
            "device_index": self.device_index,
            "server_socket_path": resolve_socket_path(self.base_path, self.device_index),
        }
        if self.execution_mode == "client":
            said = self._get_client().get_server_info()
            return {
                **info,
                "server_socket_path": said["socket_path"],
                "server_running": bool(said["running"]),
                "server_ready": bool(said["ready"]),
                "endpoint_count": len(self._endpoints),
                "server_info": said,
            }
        server = self._served()
        return {
            **info,
            "server_socket_path": (
                info["server_socket_path"] if self._server is None else self._server.socket_path
            ),
            "server_running": server is not None,
            "endpoint_count": len(self._endpoints),
            "cache_entries": len(self._cache) if server is None else server.cache_entries(),
        }

    def close(self) -> None:
        """Closes the clients and stops the server. Done when the program ends, too."""
        with self._lock:
            client, self._client = self._client, None
            waiting, self._async_client = self._async_client, None
            server, self._server = self._server, None
        if client is not None:
            client.close()
        if waiting is not None:
            waiting.close()
        if server is not None:
            server.stop(wait_for_tasks=True)

    def serve_with(self, server: SharedTensorServer) -> None:
        """A server says that it is this provider's; the first one is."""
        with self._lock:
            if self._server is None:
                self._server = server

    def _served(self) -> Optional[SharedTensorServer]:
        server = self._server
        return server if server is not None and server.running else None

    def _start_server(self) -> None:
        server = SharedTensorServer(
            self,
            socket_path=resolve_socket_path(self.base_path, self.device_index),
            startup_timeout=self.server_startup_timeout,
            verbose_debug=self.verbose_debug,
        )
        try:
            server.start(blocking=False)
        except BaseException:
            self._server = None
            raise

    def _get_client(self) -> SharedTensorClient:
        with self._lock:
            if self._client is None:
                self._client = SharedTensorClient(
                    base_path=self.base_path,
                    device_index=self.device_index,
                    timeout=self.timeout,
                    verbose_debug=self.verbose_debug,
                )
            return self._client

    def _get_async_client(self) -> AsyncSharedTensorClient:
        with self._lock:
            if self._async_client is None:
                self._async_client = AsyncSharedTensorClient(
                    base_path=self.base_path,
                    device_index=self.device_index,
                    timeout=self.timeout,
                    verbose_debug=self.verbose_debug,
                )
            return self._async_client


_OPTIONS = (
    "base_path", "enabled", "device_index", "timeout", "execution_mode", "server_startup_timeout",
    "verbose_debug",
)
_SHARE_OPTIONS = (
    "cache", "cache_format_key", "managed", "execution", "concurrency", "singleflight", "keep_unleased",
)


def _close(provider: weakref.ref[SharedTensorProvider]) -> None:
    found = provider()
    if found is not None and found._process == os.getpid():
        found.close()
