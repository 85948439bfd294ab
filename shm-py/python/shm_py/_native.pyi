"""The extension module; use it through `shm_py`."""

from collections.abc import Coroutine, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, Literal, SupportsIndex, TypedDict, final, type_check_only

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from typing_extensions import Self

__all__ = [
    "__version__",
    "InconsistentStreamError",
    "FrameOverwrittenError",
    "StaleStreamError",
    "SharedMemory",
    "Publication",
    "FrameView",
    "WriteView",
    "create",
    "open",
    "_reopen",
    "gpu_available",
    "unlink",
    "unlink_quiet",
    "list_streams",
    "stat",
    "_purge",
    "gc",
]

__version__: str

_Casting = Literal["no", "equiv", "safe", "same_kind", "unsafe"]

class InconsistentStreamError(RuntimeError): ...
class FrameOverwrittenError(InconsistentStreamError): ...
class StaleStreamError(RuntimeError): ...

@type_check_only
class _Config(TypedDict):
    name: str
    shape: list[int]
    dtype: str
    gpu_device: str | None
    cpu_mirror: bool
    notify: bool
    cells: int
    metadata: bytes
    temporary: bool

@final
class Publication:
    def __new__(
        cls,
        payload: Any,
        count: int,
        frame_id: int,
        write_time: float,
        missed_publications: int,
        write_time_ns: int | None = None,
        acquired_ns: int | None = None,
    ) -> Self: ...
    @property
    def payload(self) -> NDArray[Any]: ...
    @property
    def count(self) -> int: ...
    @property
    def frame_id(self) -> int: ...
    @property
    def write_time(self) -> float: ...
    @property
    def write_time_ns(self) -> int: ...
    @property
    def acquired_ns(self) -> int | None: ...
    @property
    def missed_publications(self) -> int: ...

@final
class FrameView:
    """The newest frame where it lies; what was computed from it counts once it is validated."""

    @property
    def array(self) -> NDArray[Any]: ...
    @property
    def count(self) -> int: ...
    @property
    def frame_id(self) -> int: ...
    @property
    def write_time(self) -> float: ...
    @property
    def write_time_ns(self) -> int: ...
    @property
    def acquired_ns(self) -> int | None: ...
    @property
    def valid(self) -> bool: ...
    def validate(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> Literal[False]: ...

@final
class WriteView:
    def __enter__(self) -> NDArray[Any]: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> Literal[False]: ...

@final
class SharedMemory:
    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def size(self) -> int: ...
    @property
    def gpu_device(self) -> str | None: ...
    @property
    def gpu_enabled(self) -> bool: ...
    @property
    def cpu_mirror(self) -> bool: ...
    @property
    def owner(self) -> bool: ...
    @property
    def readonly(self) -> bool: ...
    @property
    def casting(self) -> _Casting: ...
    @property
    def closed(self) -> bool: ...
    @property
    def notify(self) -> bool: ...
    @property
    def instance_id(self) -> str: ...
    @property
    def creator_pid(self) -> int: ...
    @property
    def metadata(self) -> bytes: ...
    @property
    def cells(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def frame_id(self) -> int: ...
    @property
    def write_time(self) -> float: ...
    @property
    def write_time_ns(self) -> int: ...
    @property
    def acquired_ns(self) -> int | None: ...
    @property
    def write_sequence(self) -> int: ...
    @property
    def last_read_count(self) -> int: ...
    @property
    def missed_writes(self) -> int: ...
    @property
    def total_missed_writes(self) -> int: ...
    @property
    def age(self) -> float: ...
    @property
    def lock_depth(self) -> int: ...
    @property
    def stale(self) -> bool: ...
    def is_stale(self, max_age: float) -> bool: ...
    def producer_alive(self) -> bool: ...
    def acquire(self, *, timeout: float | None = None, poll_interval: float = 0.001) -> None: ...
    def release(self) -> None: ...
    def locked(
        self, *, timeout: float | None = None, poll_interval: float = 0.001
    ) -> AbstractContextManager[SharedMemory]: ...
    def write(
        self,
        value: ArrayLike,
        *,
        frame_id: SupportsIndex | None = None,
        acquired_ns: SupportsIndex | None = None,
        casting: _Casting | None = None,
        timeout: float | None = None,
    ) -> None: ...
    def write_locked(
        self,
        value: ArrayLike,
        *,
        frame_id: SupportsIndex | None = None,
        acquired_ns: SupportsIndex | None = None,
        casting: _Casting | None = None,
    ) -> None: ...
    def write_view(
        self,
        *,
        timeout: float | None = None,
        frame_id: SupportsIndex | None = None,
        acquired_ns: SupportsIndex | None = None,
    ) -> WriteView: ...
    def write_view_locked(
        self,
        *,
        frame_id: SupportsIndex | None = None,
        acquired_ns: SupportsIndex | None = None,
    ) -> WriteView: ...
    def clear(self, *, timeout: float | None = None) -> None: ...
    def read(
        self,
        *,
        safe: bool = True,
        poll_interval: float = 1e-06,
        out: NDArray[Any] | None = None,
        timeout: float | None = None,
    ) -> NDArray[Any]: ...
    def read_new(
        self,
        *,
        timeout: float | None = None,
        safe: bool = True,
        poll_interval: float = 1e-05,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]: ...
    def read_after(
        self,
        after: SupportsIndex,
        *,
        timeout: float | None = None,
        safe: bool = True,
        poll_interval: float = 1e-05,
        out: NDArray[Any] | None = None,
    ) -> NDArray[Any]: ...
    def wait_for_count(
        self,
        *,
        after: SupportsIndex,
        timeout: float | None = None,
        poll_interval: float = 1e-05,
    ) -> int: ...
    def read_publication(
        self,
        *,
        safe: bool = True,
        poll_interval: float = 1e-06,
        out: NDArray[Any] | None = None,
        timeout: float | None = None,
    ) -> Publication: ...
    def read_new_publication(
        self,
        *,
        timeout: float | None = None,
        safe: bool = True,
        poll_interval: float = 1e-05,
        out: NDArray[Any] | None = None,
    ) -> Publication: ...
    def read_after_publication(
        self,
        after: SupportsIndex,
        *,
        timeout: float | None = None,
        safe: bool = True,
        poll_interval: float = 1e-05,
        out: NDArray[Any] | None = None,
    ) -> Publication: ...
    def read_new_async(
        self,
        *,
        timeout: float | None = None,
        safe: bool = True,
        poll_interval: float = 1e-05,
        out: NDArray[Any] | None = None,
    ) -> Coroutine[Any, Any, NDArray[Any]]: ...
    def read_after_async(
        self,
        after: SupportsIndex,
        *,
        timeout: float | None = None,
        out: NDArray[Any] | None = None,
    ) -> Coroutine[Any, Any, NDArray[Any]]: ...
    def read_after_publication_async(
        self,
        after: SupportsIndex,
        *,
        timeout: float | None = None,
        out: NDArray[Any] | None = None,
    ) -> Coroutine[Any, Any, Publication]: ...
    def wait_for_count_async(
        self, *, after: SupportsIndex, timeout: float | None = None
    ) -> Coroutine[Any, Any, int]: ...
    def history(self, n: SupportsIndex | None = None) -> list[Publication]: ...
    def view(self) -> FrameView: ...
    def describe(self) -> str: ...
    def to_config(self) -> _Config: ...
    @classmethod
    def create_from_config(cls, config: Any) -> SharedMemory: ...
    def pinned_buffer(self) -> None: ...
    def close(self, *, timeout: float = 5.0) -> None: ...
    def unlink(self) -> None: ...
    def delete(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> Literal[False]: ...
    def _notify(self, after: int, event_loop: Any, future: Any) -> None: ...
    def _forget(self, future: Any) -> None: ...
    def __dlpack__(self, *, stream: Any = None, **kwargs: Any) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...

def create(
    name: str,
    *,
    shape: Sequence[SupportsIndex],
    dtype: DTypeLike = ...,
    size: int | None = None,
    gpu_device: str | int | None = None,
    cpu_mirror: bool | None = None,
    auto_unlink: bool = False,
    notify: bool = False,
    cells: int = 3,
    metadata: bytes = b"",
    replace_existing: bool = False,
    temporary: bool = False,
    casting: _Casting = "same_kind",
) -> SharedMemory: ...
def open(
    name: str,
    *,
    gpu_device: str | int | bool | None = None,
    readonly: bool = False,
    timeout: float | None = 0.0,
    casting: _Casting = "same_kind",
) -> SharedMemory: ...
def unlink(name: str) -> None: ...
def unlink_quiet(name: str) -> None: ...
def gpu_available() -> bool: ...
def list_streams(prefix: str = "") -> list[str]: ...
def stat(name: str) -> dict[str, Any]: ...
def _purge(*, prefix: str = "", dry_run: bool = False) -> list[str]: ...
def _reopen(name: str, readonly: bool, casting: str) -> SharedMemory: ...
def gc(prefix: str = "", *, dry_run: bool = False) -> list[str]: ...
