"""Streams that live as long as a `with` block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ._native import create

if TYPE_CHECKING:
    from . import SharedMemory


@contextmanager
def stream(name: str, **arguments: Any) -> Iterator[SharedMemory]:
    """A `with` block around a new stream: it is unlinked at the end, also after an exception.

    Arguments are those of create().

    Raises what create() raises, when the block is entered.
    """
    handle = create(name, **arguments)
    try:
        yield handle
    finally:
        if not handle.closed:
            handle.unlink()
