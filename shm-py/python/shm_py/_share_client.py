"""Clients that wait for their answers, and handles on what they were given.

A client has one connection, made by its first request. Its leases end with it, and a server that is gone
is known at once: invariants 3 and 5.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Optional, Protocol, TypeVar
from weakref import WeakValueDictionary

from ._native import ShareError, ShareTimeoutError, _ShareClient, _ShareHandle
from ._share_errors import SharedTensorStaleHandleError, asked, remote_error
from ._share_records import (
    endpoints,
    object_info,
    private_id,
    public_id,
    server_info,
    status_name,
    task_info,
)
from ._share_runtime import local_server, refuse_unknown, resolve_base_path, resolve_device_index

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Never

    from ._share_server import SharedTensorServer

logger = logging.getLogger("shm_py.share")

_T = TypeVar("_T")
_LATER: Any = object()
#: Results of tasks that were waited for without being fetched, kept for whoever fetches them next.
_WAITED = 64
_STORAGE = 1 << 40


class _Releaser(Protocol):
    def release(self) -> bool: ...
    def get_object_info(self) -> Optional[dict[str, Any]]: ...


class _Lease:
    """A lease of the extension, as a handle uses it."""

    __slots__ = ("native", "timeout")

    def __init__(self, native: _ShareHandle, timeout: float) -> None:
        self.native = native
        self.timeout = timeout

    def release(self) -> bool:
        if self.native.health != "live":
            return False
        try:
            return self.native.release(self.timeout)
        except ConnectionError:
            return False  # the server is gone, and the lease with it

    def get_object_info(self) -> Optional[dict[str, Any]]:
        if self.native.health != "live":
            return None
        try:
            found = asked(self.native.info, self.timeout)
        except ConnectionError:
            return None
        return None if found is None else object_info(found, self.native.server_id)


class SharedObjectHandle(Generic[_T]):
    """A managed object of a server, leased to this client.

    `value` is the object. The lease ends by `release()`, with the handle's `with` block, with the handle
    itself, or with the connection; each handle has a lease of its own.
    """

    __slots__ = ("__weakref__", "_info", "_releaser", "_value", "object_id", "released", "server_id")

    def __init__(
        self,
        object_id: str,
        value: _T,
        _releaser: _Releaser,
        released: bool = False,
        server_id: Optional[str] = None,
    ) -> None:
        #: Names the object; no other object of any server has that name.
        self.object_id = object_id
        #: True once `release()` has given the lease back.
        self.released = released
        #: Names the server's start that made the object.
        self.server_id = server_id
        self._value = value
        self._releaser = _releaser
        self._info: Optional[dict[str, Any]] = None

    @property
    def value(self) -> _T:
        """The object. On the host it stays readable as long as it is referred to, whatever happens."""
        if self._value is _LATER and isinstance(self._releaser, _Lease):
            native = self._releaser.native
            self._value = asked(lambda: native.value)
        return self._value

    @property
    def health(self) -> str:
        """"live", "released", "server gone" (the object is readable) or "lost" (it is not). Asks nobody."""
        if self.released:
            return "released"
        if isinstance(self._releaser, _Lease):
            return str(self._releaser.native.health)
        return "live"

    @property
    def survives_server(self) -> bool:
        """True if the object stays readable when the server is gone."""
        return isinstance(self._releaser, _Lease) and bool(self._releaser.native.survives_server)

    def release(self) -> bool:
        """Gives the lease back: True the first time, False afterwards or if the server is gone."""
        if self.released:
            return False
        released = self._releaser.release()
        if released:
            self.released = True
            self._info = None
        return released

    def get_object_info(self, *, refresh: bool = False) -> Optional[dict[str, Any]]:
        """What the server says of the object; None if the object, the lease or the server is gone.

        Without `refresh` the first answer is remembered.
        """
        if self.released or self.health != "live":
            return None
        if self._info is None or refresh:
            self._info = self._releaser.get_object_info()
        return None if self._info is None else dict(self._info)

    def is_stale(self) -> bool:
        """True if the object is not there any more; at once if the server is gone."""
        return self.get_object_info(refresh=True) is None

    def __enter__(self) -> SharedObjectHandle[_T]:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        return f"SharedObjectHandle(object_id={self.object_id!r}, {self.health})"


class SharedTensorClient:
    """Calls the endpoints of a server.

    base_path: where the server is, without `-<device_index>.sock`; None takes SHARED_TENSOR_BASE_PATH,
    else a place in the user's runtime folder. timeout: seconds that a request may take in all.
    connect_timeout: seconds to wait for a server that is not there yet. writable: map host memory that
    servers left writable for writing. trust_users: other users, by number, whose servers are accepted.
    socket_path: the whole path, instead of base_path and device_index.
    """

    def __init__(
        self,
        base_path: Optional[str] = None,
        *,
        device_index: Optional[int] = None,
        timeout: float = 600.0,
        verbose_debug: bool = True,
        socket_path: Optional[str] = None,
        connect_timeout: float = 60.0,
        writable: bool = False,
        trust_users: Sequence[int] = (),
        max_storage: int = _STORAGE,
        **unknown: Never,
    ) -> None:
        refuse_unknown("SharedTensorClient", unknown, _OPTIONS)
        self.base_path = resolve_base_path(base_path)
        self.device_index = device_index
        self.socket_path = (
            os.path.abspath(socket_path)
            if socket_path is not None
            else f"{self.base_path}-{resolve_device_index(device_index)}.sock"
        )
        self.timeout = timeout
        self.verbose_debug = verbose_debug
        self.connect_timeout = connect_timeout
        self._writable = writable
        self._trusted = list(trust_users)
        self._max_storage = max_storage
        self._native: Optional[_ShareClient] = None
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._handles: WeakValueDictionary[tuple[str, int], SharedObjectHandle[Any]] = (
            WeakValueDictionary()
        )
        self._waited: OrderedDict[int, SharedObjectHandle[Any]] = OrderedDict()

    def call(self, endpoint: str, /, *args: Any, **kwargs: Any) -> Any:
        """What an endpoint gives: a value, or a SharedObjectHandle if it is managed."""
        self._log("calls %s", endpoint)
        server = self._local_server()
        if server is not None and not server.gives_handles(endpoint):
            return asked(server.invoke, endpoint, args, kwargs, self.timeout)
        native = self.connection()
        return self.outcome(asked(native.call, endpoint, args, kwargs, self.timeout))

    def submit(self, endpoint: str, /, *args: Any, **kwargs: Any) -> str:
        """Makes a task of a call, and gives the task's id."""
        self._log("submits %s", endpoint)
        native = self.connection()
        task = asked(native.submit, endpoint, args, kwargs, self.timeout)
        return public_id(native.server_id, task)

    def acquire(self, object_id: str) -> SharedObjectHandle[Any]:
        """A lease of this client's own on an object that is known by its id."""
        native = self.connection()
        number = private_id(native.server_id, object_id)
        if number is None:
            raise remote_error(f"no object {object_id!r} here; it is another server's or gone", 8)
        handle: SharedObjectHandle[Any] = self.outcome(asked(native.acquire, number, self.timeout))
        return handle

    def release(self, object_id: str) -> bool:
        """Releases one of this client's handles on an object; False if it has none."""
        for handle in list(self._handles.values()):
            if handle.object_id == object_id and not handle.released:
                return handle.release()
        return False

    def release_many(self, object_ids: Sequence[str]) -> dict[str, bool]:
        """The same for several; for an id that occurs twice, what the last release said."""
        return {object_id: self.release(object_id) for object_id in object_ids}

    def get_object_info(self, object_id: str) -> Optional[dict[str, Any]]:
        """What the server says of an object, whoever has it; None if it does not know it."""
        native = self.connection()
        number = private_id(native.server_id, object_id)
        if number is None:
            return None
        found = asked(native.object_info, number, self.timeout)
        return None if found is None else object_info(found, native.server_id)

    def ensure_handle_live(
        self, handle: SharedObjectHandle[Any], *, refresh: bool = True
    ) -> dict[str, Any]:
        """What the server says of a handle's object. Raises SharedTensorStaleHandleError if it is gone."""
        found = handle.get_object_info(refresh=refresh)
        observed = handle.server_id if found is None else found.get("server_id")
        reason = "object_missing"
        if found is None and handle.health in ("server gone", "lost"):
            reason = "server_gone"
            if self.ping() and self._native is not None:
                reason, observed = "server_mismatch", self._native.server_id
        elif found is not None:
            if handle.server_id is None or observed is None or observed == handle.server_id:
                return found
            reason = "server_mismatch"
        what = {
            "object_missing": "is not there any more, or its handle was released",
            "server_gone": "is gone with its server",
            "server_mismatch": f"belonged to server {handle.server_id!r}; now {observed!r} answers",
        }[reason]
        raise SharedTensorStaleHandleError(
            f"managed object {handle.object_id!r} {what}; call its endpoint again",
            object_id=handle.object_id,
            server_id=handle.server_id,
            reason=reason,
        )

    def ping(self) -> bool:
        """True if the server answers; does not wait for one that is not there."""
        try:
            self.connection(patience=0.0).ping(self.timeout)
        except ShareError:
            return False
        return True

    def get_server_info(self) -> dict[str, Any]:
        """What the server says about itself: identity, endpoints, capabilities, statistics."""
        return server_info(asked(self.connection().info, self.timeout))

    def list_endpoints(self) -> dict[str, Any]:
        """Options of the endpoints, by name."""
        return endpoints(asked(self.connection().endpoints, self.timeout))

    def invalidate_call_cache(self, endpoint: str, /, *args: Any, **kwargs: Any) -> bool:
        """Forgets what is cached for these arguments; True if there was something."""
        native = self.connection()
        return asked(native.invalidate_call, endpoint, args, kwargs, self.timeout) > 0

    def invalidate_endpoint_cache(self, endpoint: str) -> int:
        """Forgets what is cached of an endpoint; how many results that were."""
        return asked(self.connection().invalidate_endpoint, endpoint, self.timeout)

    def get_task_status(self, task_id: str) -> dict[str, Any]:
        """What the server says of a task, as TaskInfo.to_dict() gives it."""
        native = self.connection()
        found = asked(native.task, self._task(native, task_id), self.timeout)
        return task_info(found, native.server_id)

    def get_task_result(self, task_id: str) -> Any:
        """The result of a task that is over, a handle of its own if it is managed."""
        native = self.connection()
        number = self._task(native, task_id)
        waited = self._waited.pop(number, None)
        if waited is not None:
            return waited
        return self.outcome(asked(native.task_result, number, self.timeout))

    def wait_task(self, task_id: str, timeout: Optional[float] = None) -> dict[str, Any]:
        """What the server says of a task when it is over, or when that took too long.

        Raises SharedTensorRemoteError, which is a SharedTensorTaskError, if it failed or was cancelled.
        """
        native = self.connection()
        try:
            result = self.wait_result(task_id, self.timeout if timeout is None else timeout)
        except ShareTimeoutError:
            return self.get_task_status(task_id)
        if isinstance(result, SharedObjectHandle):
            # Its lease keeps it for get_task_result.
            self._waited[self._task(native, task_id)] = result
            while len(self._waited) > _WAITED:
                self._waited.popitem(last=False)
        return self.get_task_status(task_id)

    def wait_result(self, task_id: str, timeout: float) -> Any:
        """The result of a task when it is over. Raises SharedTensorTimeoutError if that took too long."""
        native = self.connection()
        number = self._task(native, task_id)
        return self.outcome(asked(native.wait_task, number, timeout))

    def cancel_task(self, task_id: str) -> bool:
        """True if the task will not run; one that runs is asked to stop, and may or may not."""
        native = self.connection()
        return asked(native.cancel_task, self._task(native, task_id), self.timeout)

    def list_tasks(self, status: Optional[str] = None) -> dict[str, Any]:
        """Tasks by id, all or those of one status."""
        native = self.connection()
        found = asked(native.tasks, status_name(status), self.timeout)
        listed = [task_info(raw, native.server_id) for raw in found]
        return {task["task_id"]: task for task in listed}

    def close(self) -> None:
        """Ends the connection, or leaves it to the handles that are held; another request makes a new one."""
        self._waited.clear()
        with self._lock:
            native, self._native = self._native, None
        held = any(not handle.released for handle in list(self._handles.values()))
        if native is not None and not held and self._process == os.getpid():
            native.close()

    def __enter__(self) -> SharedTensorClient:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def connection(self, patience: Optional[float] = None) -> _ShareClient:
        """The connection, made if there is none or its server is gone. For this package only."""
        native = self._native
        if native is not None and native.alive and self._process == os.getpid():
            return native
        with self._lock:
            native = self._native
            if native is None or not native.alive or self._process != os.getpid():
                self._log("connects to %s", self.socket_path)
                self._waited.clear()
                self._native = native = asked(self._connect, patience)
                self._process = os.getpid()
        return native

    def _connect(self, patience: Optional[float]) -> _ShareClient:
        return _ShareClient(
            self.socket_path,
            connect_timeout=self.connect_timeout if patience is None else patience,
            name=f"{Path(sys.argv[0] or 'python').name} ({os.getpid()})",
            trust_users=self._trusted,
            writable=self._writable,
            opaque=False,
            max_storage=self._max_storage,
        )

    def outcome(self, raw: Any) -> Any:
        """What a call gave, with a handle around a lease. For this package only."""
        if not isinstance(raw, _ShareHandle):
            return raw
        handle: SharedObjectHandle[Any] = SharedObjectHandle(
            object_id=public_id(raw.server_id, raw.object_id),
            value=_LATER,
            _releaser=_Lease(raw, self.timeout),
            server_id=raw.server_id,
        )
        self._handles[raw.server_id, raw.lease] = handle
        return handle

    def _local_server(self) -> Optional[SharedTensorServer]:
        return local_server(self.socket_path)

    @staticmethod
    def _task(native: _ShareClient, task_id: str) -> int:
        number = private_id(native.server_id, task_id)
        if number is None:
            raise remote_error(f"no task {task_id!r}; it is another server's, or no task's id", 5)
        return number

    def _log(self, what: str, *arguments: object) -> None:
        if self.verbose_debug:
            logger.debug(what, *arguments)


_OPTIONS = (
    "base_path", "device_index", "timeout", "verbose_debug", "socket_path", "connect_timeout",
    "writable", "trust_users", "max_storage",
)
