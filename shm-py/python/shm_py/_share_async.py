"""A client for tasks, and for event loops: many requests on one connection, without a thread for any."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Optional

from ._native import ShareError, ShareTimeoutError, _ShareClient, _SharePending
from ._share_client import SharedObjectHandle, SharedTensorClient
from ._share_errors import (
    SharedTensorClientError,
    SharedTensorTaskError,
    SharedTensorTimeoutError,
    asked,
)
from ._share_records import (
    TaskInfo,
    endpoints,
    object_info,
    private_id,
    public_id,
    server_info,
    status_name,
    task_info,
)
from ._share_runtime import refuse_unknown

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Never


class AsyncSharedTensorClient:
    """Submits calls as tasks and waits for them; and awaits anything in an event loop.

    The methods named `*_async` are coroutines; the others block. Both kinds share one connection.
    base_path, device_index, timeout and the options behind them are those of SharedTensorClient.
    poll_interval: seconds between calls of a `callback` while a task is not over.

        async with AsyncSharedTensorClient() as client:
            answers = await asyncio.gather(*(client.call_async("scale", x) for x in batches))
    """

    def __init__(
        self,
        base_path: Optional[str] = None,
        verbose_debug: bool = True,
        poll_interval: float = 1.0,
        *,
        device_index: Optional[int] = None,
        timeout: float = 600.0,
        socket_path: Optional[str] = None,
        connect_timeout: float = 60.0,
        writable: bool = False,
        trust_users: Sequence[int] = (),
        max_storage: int = 1 << 40,
        **unknown: Never,
    ) -> None:
        refuse_unknown("AsyncSharedTensorClient", unknown, _OPTIONS)
        self.poll_interval = poll_interval
        self.timeout = timeout
        self._client = SharedTensorClient(
            base_path,
            device_index=device_index,
            timeout=timeout,
            verbose_debug=verbose_debug,
            socket_path=socket_path,
            connect_timeout=connect_timeout,
            writable=writable,
            trust_users=trust_users,
            max_storage=max_storage,
        )
        self._reader = _Reader()

    # Awaited.

    async def call_async(self, endpoint: str, /, *args: Any, **kwargs: Any) -> Any:
        """What an endpoint gives; a task that is cancelled gives the request up."""
        return self._client.outcome(await self._ask("call", endpoint, args, kwargs))

    async def submit_async(self, endpoint: str, /, *args: Any, **kwargs: Any) -> str:
        """Makes a task of a call, and gives the task's id."""
        native = await self._connected()
        return public_id(native.server_id, await self._ask("submit", endpoint, args, kwargs))

    async def wait_for_task_async(self, task_id: str, timeout: Optional[float] = None) -> Any:
        """The result of a task when it is over. Raises as wait() does."""
        native = await self._connected()
        number = self._client._task(native, task_id)
        try:
            raw = await self._ask("wait_task", number, patience=timeout, endless=timeout is None)
        except SharedTensorTimeoutError:
            raise _too_late(task_id, timeout) from None
        return self._client.outcome(raw)

    async def get_task_status_async(self, task_id: str) -> TaskInfo:
        """What the server says of a task."""
        native = await self._connected()
        raw = await self._ask("task", self._client._task(native, task_id))
        return TaskInfo.from_dict(task_info(raw, native.server_id))

    async def get_task_result_async(self, task_id: str) -> Any:
        """The result of a task that is over."""
        native = await self._connected()
        raw = await self._ask("task_result", self._client._task(native, task_id))
        return self._client.outcome(raw)

    async def cancel_task_async(self, task_id: str) -> bool:
        """True if the task will not run."""
        native = await self._connected()
        return bool(await self._ask("cancel_task", self._client._task(native, task_id)))

    async def list_tasks_async(self, status: Optional[str] = None) -> dict[str, TaskInfo]:
        """Tasks by id, all or those of one status."""
        native = await self._connected()
        listed = await self._ask("tasks", status_name(status))
        found = [TaskInfo.from_dict(task_info(raw, native.server_id)) for raw in listed]
        return {task.task_id: task for task in found}

    async def ping_async(self) -> bool:
        """True if the server answers."""
        try:
            await self._ask("ping", connect=0.0)
        except ShareError:
            return False
        return True

    async def get_server_info_async(self) -> dict[str, Any]:
        """What the server says about itself."""
        return server_info(await self._ask("info"))

    async def list_endpoints_async(self) -> dict[str, Any]:
        """Options of the endpoints, by name."""
        return endpoints(await self._ask("endpoints"))

    async def acquire_async(self, object_id: str) -> SharedObjectHandle[Any]:
        """A lease of this client's own on an object that is known by its id."""
        native = await self._connected()
        number = private_id(native.server_id, object_id)
        # A number that no object has: the server says so.
        raw = await self._ask("acquire", 0 if number is None else number)
        handle: SharedObjectHandle[Any] = self._client.outcome(raw)
        return handle

    async def get_object_info_async(self, object_id: str) -> Optional[dict[str, Any]]:
        """What the server says of an object; None if it does not know it."""
        native = await self._connected()
        number = private_id(native.server_id, object_id)
        if number is None:
            return None
        raw = await self._ask("object_info", number)
        return None if raw is None else object_info(raw, native.server_id)

    async def invalidate_call_cache_async(self, endpoint: str, /, *args: Any, **kwargs: Any) -> bool:
        """Forgets what is cached for these arguments; True if there was something."""
        return bool(await self._ask("invalidate_call", endpoint, args, kwargs))

    async def invalidate_endpoint_cache_async(self, endpoint: str) -> int:
        """Forgets what is cached of an endpoint; how many results that were."""
        return int(await self._ask("invalidate_endpoint", endpoint))

    async def __aenter__(self) -> AsyncSharedTensorClient:
        await self._connected()
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    async def _connected(self, connect: Optional[float] = None) -> _ShareClient:
        native = self._client._native
        if native is not None and native.alive:
            return native
        # Waiting for a server that is not there yet is all that a thread is used for.
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(None, self._client.connection, connect)

    async def _ask(
        self,
        operation: str,
        *arguments: Any,
        patience: Optional[float] = None,
        endless: bool = False,
        connect: Optional[float] = None,
    ) -> Any:
        native = await self._connected(connect)
        seconds = None if endless else self.timeout if patience is None else patience
        return await self._reader.answer(native, operation, arguments, seconds)

    # Blocking.

    def submit(self, endpoint: str, /, *args: Any, **kwargs: Any) -> str:
        """Makes a task of a call, and gives the task's id."""
        return self._client.submit(endpoint, *args, **kwargs)

    def status(self, task_id: str) -> TaskInfo:
        """What the server says of a task."""
        return TaskInfo.from_dict(self._client.get_task_status(task_id))

    def get_task_status(self, task_id: str) -> TaskInfo:
        """The same as status()."""
        return self.status(task_id)

    def result(self, task_id: str) -> Any:
        """The result of a task that is over."""
        return self._client.get_task_result(task_id)

    def get_task_result(self, task_id: str) -> Any:
        """The same as result()."""
        return self.result(task_id)

    def wait(
        self,
        task_id: str,
        timeout: Optional[float] = None,
        callback: Optional[Callable[[TaskInfo], None]] = None,
    ) -> Any:
        """The result of a task when it is over.

        `callback` is called with its TaskInfo every `poll_interval` seconds and at the end. Raises
        SharedTensorTaskError if the task failed, was cancelled or was not over in time.
        """
        until = None if timeout is None else time.monotonic() + timeout
        step = self.timeout if callback is None else max(self.poll_interval, 0.001)
        while True:
            left = None if until is None else max(until - time.monotonic(), 0.0)
            try:
                found = self._client.wait_result(task_id, step if left is None else min(step, left))
            except ShareTimeoutError:
                if callback is not None:
                    callback(self.status(task_id))
                if until is not None and time.monotonic() >= until:
                    raise _too_late(task_id, timeout) from None
                continue
            except SharedTensorTaskError:
                if callback is not None:
                    callback(self.status(task_id))
                raise
            if callback is not None:
                callback(self.status(task_id))
            return found

    def wait_for_task(
        self,
        task_id: str,
        timeout: Optional[float] = None,
        callback: Optional[Callable[[TaskInfo], None]] = None,
    ) -> Any:
        """The same as wait()."""
        return self.wait(task_id, timeout=timeout, callback=callback)

    def cancel(self, task_id: str) -> bool:
        """True if the task will not run; one that runs is asked to stop."""
        return self._client.cancel_task(task_id)

    def cancel_task(self, task_id: str) -> bool:
        """The same as cancel()."""
        return self.cancel(task_id)

    def list_tasks(self, status: Optional[str] = None) -> dict[str, TaskInfo]:
        """Tasks by id, all or those of one status."""
        listed = self._client.list_tasks(status=status)
        return {task_id: TaskInfo.from_dict(task) for task_id, task in listed.items()}

    def ping(self) -> bool:
        """True if the server answers."""
        return self._client.ping()

    def get_server_info(self) -> dict[str, Any]:
        """What the server says about itself."""
        return self._client.get_server_info()

    def list_endpoints(self) -> dict[str, Any]:
        """Options of the endpoints, by name."""
        return self._client.list_endpoints()

    def acquire(self, object_id: str) -> SharedObjectHandle[Any]:
        """A lease of this client's own on an object that is known by its id."""
        return self._client.acquire(object_id)

    def release(self, object_id: str) -> bool:
        """Releases one of this client's handles on an object."""
        return self._client.release(object_id)

    def release_many(self, object_ids: Sequence[str]) -> dict[str, bool]:
        """The same for several."""
        return self._client.release_many(object_ids)

    def get_object_info(self, object_id: str) -> Optional[dict[str, Any]]:
        """What the server says of an object; None if it does not know it."""
        return self._client.get_object_info(object_id)

    def ensure_handle_live(
        self, handle: SharedObjectHandle[Any], *, refresh: bool = True
    ) -> dict[str, Any]:
        """What the server says of a handle's object. Raises SharedTensorStaleHandleError if it is gone."""
        return self._client.ensure_handle_live(handle, refresh=refresh)

    def invalidate_call_cache(self, endpoint: str, /, *args: Any, **kwargs: Any) -> bool:
        """Forgets what is cached for these arguments; True if there was something."""
        return self._client.invalidate_call_cache(endpoint, *args, **kwargs)

    def invalidate_endpoint_cache(self, endpoint: str) -> int:
        """Forgets what is cached of an endpoint; how many results that were."""
        return self._client.invalidate_endpoint_cache(endpoint)

    def close(self) -> None:
        """Ends the connection, or leaves it to the handles that are held."""
        self._client.close()

    def __enter__(self) -> AsyncSharedTensorClient:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()


_OPTIONS = (
    "base_path", "verbose_debug", "poll_interval", "device_index", "timeout", "socket_path",
    "connect_timeout", "writable", "trust_users", "max_storage",
)


def _too_late(task_id: str, timeout: Optional[float]) -> SharedTensorTaskError:
    return SharedTensorTaskError(f"Task {task_id!r} did not complete within {timeout} seconds")


class _Reader:
    """Lets an event loop take in answers while any are awaited.

    The socket is watched only meanwhile: a loop that is closed, or a server that is gone, leaves nothing
    behind in a selector.
    """

    def __init__(self) -> None:
        self._watch: Optional[_Watch] = None

    async def answer(
        self,
        native: _ShareClient,
        operation: str,
        arguments: tuple[Any, ...],
        seconds: Optional[float],
    ) -> Any:
        """Sends a request and resolves to its answer."""
        loop = asyncio.get_running_loop()
        watch = self._watch
        if watch is None or watch.loop is not loop or watch.native is not native:
            if watch is not None and watch.loop is not loop and watch.awaited and watch.loop.is_running():
                raise SharedTensorClientError(
                    "this client is awaited in another event loop that runs; use a client for each loop"
                )
            # Whoever awaits on the one before, in a loop that has ended or of a server that is gone,
            # keeps it.
            watch = self._watch = _Watch(loop, native)
        watch.enter()
        try:
            pending = asked(native.start, operation, *arguments)
            try:
                if not pending.done():
                    await _ready(loop, pending, seconds)
                if not pending.done():
                    raise SharedTensorTimeoutError(
                        f"no answer to {operation!r} within {seconds} s; the request was cancelled"
                    )
                return asked(pending.result)
            finally:
                pending.cancel()
        finally:
            watch.leave()


class _Watch:
    """A connection's socket in the selector of a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, native: _ShareClient) -> None:
        self.loop = loop
        self.native = native
        self.awaited = 0
        self._descriptor = -1

    def enter(self) -> None:
        if self.awaited == 0 and self._descriptor < 0:
            self._descriptor = self.native.fileno()
            self.loop.add_reader(self._descriptor, self._drive)
        self.awaited += 1

    def leave(self) -> None:
        self.awaited -= 1
        if self.awaited == 0:
            self._unwatch()

    def _drive(self) -> None:
        try:
            self.native.drive()
        except ShareError:
            # All that is awaited fails with the same error; the socket stays readable for ever.
            self._unwatch()

    def _unwatch(self) -> None:
        if self._descriptor >= 0 and not self.loop.is_closed():
            self.loop.remove_reader(self._descriptor)
        self._descriptor = -1


async def _ready(
    loop: asyncio.AbstractEventLoop, pending: _SharePending, seconds: Optional[float]
) -> None:
    """Returns when the answer is there, or the time is up."""
    ready: asyncio.Future[None] = loop.create_future()
    thread = threading.get_ident()

    def settle() -> None:
        if not ready.done():
            ready.set_result(None)

    def notify() -> None:
        if threading.get_ident() == thread:
            settle()
            return
        try:
            loop.call_soon_threadsafe(settle)
        except RuntimeError:
            pass  # the loop is closed, and nobody awaits this

    pending.on_ready(notify)
    timer = None if seconds is None else loop.call_later(seconds, settle)
    try:
        await ready
    finally:
        if timer is not None:
            timer.cancel()
