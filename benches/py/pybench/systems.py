"""The systems that are compared, behind the calls that all of them have.

shm_py has pyshmem's calls, so what is left to adapt is what a version lacks.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
from collections.abc import Coroutine
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray


class FrameView(Protocol):
    """The newest frame where it lies."""

    @property
    def array(self) -> NDArray[Any]: ...
    def validate(self) -> None: ...
    def __enter__(self) -> FrameView: ...
    def __exit__(self, *exception: object) -> bool | None: ...


class Publication(Protocol):
    """A frame with its number."""

    @property
    def payload(self) -> NDArray[Any]: ...


class Handle(Protocol):
    """One process's end of a stream."""

    @property
    def count(self) -> int: ...
    def write(self, value: NDArray[Any]) -> None: ...
    def read(self, *, safe: bool = ..., out: NDArray[Any] | None = ...) -> NDArray[Any]: ...
    def read_new(self, *, timeout: float | None) -> NDArray[Any]: ...
    def read_after(self, after: int, *, timeout: float | None) -> NDArray[Any]: ...
    def read_new_async(self, *, timeout: float | None) -> Coroutine[Any, Any, NDArray[Any]]: ...
    def read_publication(self) -> Publication: ...
    def acquire(self) -> None: ...
    def release(self) -> None: ...
    def locked(self) -> AbstractContextManager[Any]: ...
    def write_view(self) -> AbstractContextManager[NDArray[Any]]: ...
    def view(self) -> FrameView: ...
    def close(self) -> None: ...


class System:
    """One installed system."""

    def __init__(self, module: str) -> None:
        self._module: Any = importlib.import_module(module)
        self.version = str(
            getattr(self._module, "__version__", None) or importlib.metadata.version(module)
        )
        parameters = inspect.signature(self._module.create).parameters
        self._knows_notify = "notify" in parameters

    def has(self, method: str) -> bool:
        """Whether handles have this method."""
        return hasattr(self._module.SharedMemory, method)

    def features(self) -> list[str]:
        """The methods and options that not every system has, of those that are measured."""
        methods = ["read_after", "read_new_async", "read_publication", "view", "write_view"]
        found = [method for method in methods if self.has(method)]
        if "out" in inspect.signature(self._module.SharedMemory.read).parameters:
            found.append("out")
        if self._knows_notify:
            found.append("notify")
        return found

    def create(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: DTypeLike = np.float32,
        notify: bool = False,
        cells: int | None = None,
    ) -> Handle:
        """A new stream. Only shm_py has a number of cells to choose."""
        options: dict[str, Any] = {"notify": True} if notify else {}
        if cells is not None:
            options["cells"] = cells
        made: Handle = self._module.create(name, shape=shape, dtype=dtype, **options)
        return made

    def open(self, name: str) -> Handle:
        """A further handle on a stream."""
        found: Handle = self._module.open(name)
        return found

    def unlink(self, name: str) -> None:
        """Removes a stream; silent if there is none."""
        self._module.unlink(name)


class StreamPair:
    """A new stream with a handle that writes and one that reads, as two processes would have."""

    def __init__(
        self,
        system: System,
        name: str,
        shape: tuple[int, ...],
        dtype: DTypeLike = np.float32,
        notify: bool = False,
        cells: int | None = None,
    ) -> None:
        self._system = system
        self._name = name
        self.writer = system.create(name, shape, dtype, notify, cells)
        self.reader = system.open(name)

    def close(self) -> None:
        """Closes both and removes the stream."""
        try:
            self.reader.close()
            self.writer.close()
        finally:
            self._system.unlink(self._name)
