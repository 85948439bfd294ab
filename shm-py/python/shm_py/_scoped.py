"""Streams that live as long as a `with` block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Optional, SupportsIndex, Union

from ._native import StaleStreamError, create

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

    from . import SharedMemory


@contextmanager
def stream(
    name: str,
    *,
    shape: Sequence[SupportsIndex],
    dtype: DTypeLike = "float32",
    size: Optional[int] = None,
    gpu_device: Optional[Union[str, int]] = None,
    cpu_mirror: Optional[bool] = None,
    notify: bool = False,
    cells: int = 3,
    metadata: bytes = b"",
    replace_existing: bool = False,
    temporary: bool = False,
    casting: Literal["no", "equiv", "safe", "same_kind", "unsafe"] = "same_kind",
) -> Iterator[SharedMemory]:
    """A `with` block around a new stream: it is unlinked at the end, also after an exception.

    Arguments are those of create().

    Raises what create() raises, such as FileExistsError, when the block is entered.
    """
    handle = create(
        name,
        shape=shape,
        dtype=dtype,
        size=size,
        gpu_device=gpu_device,
        cpu_mirror=cpu_mirror,
        notify=notify,
        cells=cells,
        metadata=metadata,
        replace_existing=replace_existing,
        temporary=temporary,
        casting=casting,
    )
    try:
        yield handle
    finally:
        try:
            handle.unlink()
        except StaleStreamError:
            # Somebody else has the name by now, so this stream is gone, as it should be.
            pass
