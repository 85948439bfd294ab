"""A server of a provider's endpoints, in this process.

The extension's threads serve; endpoints run on its workers, one call at a time each. A path that a live
server has is never taken from it: invariants 3 and 9.
"""

from __future__ import annotations

import inspect
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Optional, Union

from ._native import ShareError, ShareServerRunningError, _ShareServer
from ._share_errors import SharedTensorConfigurationError, SharedTensorServerError, asked
from ._share_keys import format_key, is_plain_format
from ._share_records import server_info
from ._share_runtime import (
    build_device,
    building,
    refuse_unknown,
    register_local,
    resolve_socket_path,
    unregister_local,
)

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Never

    from ._share_provider import EndpointDefinition, SharedTensorProvider

logger = logging.getLogger("shm_py.share")

#: As the extension names kinds of parameters.
_KINDS = {
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "either",
    inspect.Parameter.POSITIONAL_ONLY: "positional",
    inspect.Parameter.KEYWORD_ONLY: "named",
    inspect.Parameter.VAR_POSITIONAL: "rest",
    inspect.Parameter.VAR_KEYWORD: "others",
}
_Parameters = list[tuple[str, str, bool, Any]]
_KeyRule = Union[None, str, Callable[[tuple[Any, ...], dict[str, Any]], str]]
_Build = Callable[[tuple[Any, ...], dict[str, Any], Callable[[], bool]], Any]
#: Seconds that a stop waits for endpoints that run.
_STOP = 30.0


class SharedTensorServer:
    """Serves the endpoints of a provider to other processes.

    socket_path: where; None takes the provider's. max_request_bytes: of a request without its tensors.
    max_workers: threads that run endpoints. result_ttl: seconds that results of tasks are kept.
    process_start_method: has to be None; servers have threads. connections: clients at a time.
    allow_users: other users, by number, who may connect. cache_entries, cache_bytes, cache_ttl: bounds of
    the cache; None is half of this machine's memory, and no limit of age. max_tasks: tasks that are
    known. max_queue: calls that may wait for a worker; more are refused. max_storage: bytes of the
    tensors of one value.
    """

    def __init__(
        self,
        provider: Optional[SharedTensorProvider] = None,
        *,
        socket_path: Optional[str] = None,
        max_request_bytes: int = 64 * 1024 * 1024,
        max_workers: int = 4,
        result_ttl: float = 3600.0,
        process_start_method: Optional[str] = None,
        startup_timeout: float = 30.0,
        verbose_debug: bool = True,
        connections: int = 1024,
        allow_users: Sequence[int] = (),
        cache_entries: int = 4096,
        cache_bytes: Optional[int] = None,
        cache_ttl: Optional[float] = None,
        max_tasks: int = 1000,
        max_queue: int = 4096,
        max_storage: int = 1 << 40,
        **unknown: Never,
    ) -> None:
        refuse_unknown("SharedTensorServer", unknown, _OPTIONS)
        if provider is None:
            from ._share_provider import SharedTensorProvider

            provider = SharedTensorProvider(execution_mode="server")
        self.provider = provider
        self.socket_path = (
            os.path.abspath(socket_path)
            if socket_path is not None
            else resolve_socket_path(provider.base_path, provider.device_index)
        )
        self.max_request_bytes = max_request_bytes
        self.max_workers = max_workers
        self.result_ttl = result_ttl
        self.process_start_method = process_start_method
        self.startup_timeout = startup_timeout
        self.verbose_debug = verbose_debug
        self.started_at: Optional[float] = None
        self._options: dict[str, Any] = {
            "workers": max_workers,
            "connections": connections,
            "allow_users": list(allow_users),
            "cache_entries": cache_entries,
            "cache_bytes": _half_of_memory() if cache_bytes is None else cache_bytes,
            "cache_age": cache_ttl,
            "max_tasks": max_tasks,
            "result_age": result_ttl,
            "queue": max_queue,
            "max_body": max_request_bytes,
            "max_storage": max_storage,
            "opaque": False,
        }
        self._lock = threading.RLock()
        self._native: Optional[_ShareServer] = None
        self._process = os.getpid()
        self._background = False
        self._offered: set[str] = set()
        provider.serve_with(self)

    @property
    def running(self) -> bool:
        """True from a start to the stop, in the process that started it."""
        return self._native is not None and self._process == os.getpid()

    @property
    def server_id(self) -> Optional[str]:
        """Names this start of the server; None while it does not run."""
        native = self._native
        return None if native is None else native.server_id

    def start(self, blocking: bool = True) -> None:
        """Begins to serve. With `blocking`, returns when it was stopped.

        Raises ShareServerRunningError if a live server has the path.
        """
        if self.process_start_method is not None:
            raise SharedTensorConfigurationError(
                f"process_start_method is {self.process_start_method!r}; servers run in threads of this "
                "process: leave it None, and start a process of your own if you want one"
            )
        with self._lock:
            if self.running:
                raise SharedTensorConfigurationError("Server is already running")
            self._process = os.getpid()
            self._native = native = self._begin()
            self._background = not blocking
            self.started_at = time.time()
            register_local(self.socket_path, self)
        self._log("serves %s", self.socket_path)
        if blocking:
            try:
                native.wait(None)
            finally:
                self.stop()

    def _begin(self) -> _ShareServer:
        definitions = self.provider.definitions()
        self._offered = {definition.name for definition in definitions}
        # All of them are there before the first client is.
        endpoints = [self._described(definition) for definition in definitions]
        try:
            return _ShareServer(self.socket_path, **self._options, endpoints=endpoints)
        except ShareServerRunningError:
            raise
        except ShareError as error:
            raise SharedTensorServerError(f"cannot serve: {error}") from error

    def stop(self, *, wait_for_tasks: bool = True, timeout: float = _STOP) -> bool:
        """Takes no more calls, and ends; False if an endpoint still ran after `timeout` seconds.

        With `wait_for_tasks`, calls and tasks that were accepted are finished, else answered with an
        error. Stopping what does not run does nothing.
        """
        with self._lock:
            native, self._native = self._native, None
            if native is None or self._process != os.getpid():
                return True
            unregister_local(self.socket_path, self)
        self._log("stops %s", self.socket_path)
        return native.stop(wait_for_tasks, timeout)

    def offer(self, definition: EndpointDefinition) -> None:
        """Serves one more endpoint, if it runs."""
        with self._lock:
            native = self._native
            if native is not None and self.running and definition.name not in self._offered:
                name, build, options = self._described(definition)
                asked(lambda: native.register(name, build, **options))
                self._offered.add(name)

    def _described(self, definition: EndpointDefinition) -> tuple[str, _Build, dict[str, Any]]:
        """An endpoint as the extension takes it."""
        parameters = parameters_of(definition.func)
        options = {
            "execution": definition.execution,
            "managed": definition.managed,
            "cache": definition.cache,
            "key": _key_rule(definition, parameters),
            "singleflight": definition.singleflight,
            "concurrency": definition.concurrency,
            "keep_unleased": definition.keep_unleased,
            "parameters": parameters,
        }
        build = _build_of(definition.func, build_device(self.provider.device_index))
        return definition.name, build, options

    def gives_handles(self, endpoint: str) -> bool:
        """True if clients get handles from an endpoint."""
        definition = self.provider.find(endpoint)
        return definition is not None and definition.managed

    def invoke(
        self, endpoint: str, args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float
    ) -> Any:
        """Calls an endpoint from this process: the checks, cache and builds that clients have."""
        return self._running().invoke(endpoint, args, kwargs, timeout)

    def invoke_local(
        self,
        endpoint: str,
        *,
        args: tuple[Any, ...] = (),
        kwargs: Optional[dict[str, Any]] = None,
    ) -> Any:
        """The same, by the provider's timeout. Gives the value, never a handle."""
        return asked(self.invoke, endpoint, args, kwargs or {}, self.provider.timeout)

    def invalidate_call_cache(
        self,
        endpoint: str,
        *,
        args: tuple[Any, ...] = (),
        kwargs: Optional[dict[str, Any]] = None,
    ) -> bool:
        """Forgets what is cached for these arguments; True if there was something."""
        return asked(self._running().invalidate_call, endpoint, args, kwargs or {}) > 0

    def invalidate_endpoint_cache(self, endpoint: str) -> int:
        """Forgets what is cached of an endpoint; how many results that were."""
        return asked(self._running().invalidate_endpoint, endpoint)

    def get_server_info(self) -> dict[str, Any]:
        """The same as clients are told."""
        found = server_info(self._running().info())
        found["process_start_method"] = "thread" if self._background else None
        return found

    def cache_entries(self) -> int:
        """Results that are cached."""
        return int(self._running().counters()["cache_entries"])

    def _running(self) -> _ShareServer:
        native = self._native
        if native is None or self._process != os.getpid():
            raise SharedTensorConfigurationError(
                f"the server of {self.socket_path} does not run in this process; start() it"
            )
        return native

    def __enter__(self) -> SharedTensorServer:
        self.start(blocking=False)
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.stop()

    def _log(self, what: str, *arguments: object) -> None:
        if self.verbose_debug:
            logger.info(what, *arguments)


_OPTIONS = (
    "provider", "socket_path", "max_request_bytes", "max_workers", "result_ttl",
    "process_start_method", "startup_timeout", "verbose_debug", "connections", "allow_users",
    "cache_entries", "cache_bytes", "cache_ttl", "max_tasks", "max_queue", "max_storage",
)


def _half_of_memory() -> int:
    return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)


def _build_of(func: Callable[..., Any], device_index: Optional[int]) -> _Build:
    def build(args: tuple[Any, ...], kwargs: dict[str, Any], cancelled: Callable[[], bool]) -> Any:
        with building(device_index, cancelled):
            return func(*args, **kwargs)

    return build


def parameters_of(func: Callable[..., Any]) -> Optional[_Parameters]:
    """What `f(1)` and `f(x=1)` are told to be the same by; None if that cannot be told."""
    try:
        found = inspect.signature(func).parameters.values()
    except (TypeError, ValueError):
        return None
    listed: _Parameters = []
    for parameter in found:
        given = parameter.default is not inspect.Parameter.empty
        default = parameter.default if given else None
        listed.append((parameter.name, _KINDS[parameter.kind], given, default))
    return listed


def _key_rule(definition: EndpointDefinition, parameters: Optional[_Parameters]) -> _KeyRule:
    text = definition.cache_format_key
    if text is None or not definition.cache:
        return None
    plain = {name for name, kind, _, _ in parameters or () if kind not in ("rest", "others")}
    if is_plain_format(text, plain):
        return text

    def key(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        return format_key(definition.func, text, args, kwargs)

    return key
