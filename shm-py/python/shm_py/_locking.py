"""Several locks at once, always in the same order."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from . import SharedMemory


def locked_many(
    streams: Sequence[SharedMemory],
    *,
    timeout: Optional[float] = None,
    poll_interval: float = 1e-3,
) -> LockedMany:
    """A `with` block that holds the locks of several streams, and yields the handles as given.

    The locks are taken in the order of the names, so that two programs that want the same streams
    never wait for each other. `timeout` (seconds, None waits for ever) bounds all of it; when it
    passes, the locks taken so far are given back.

    Raises ValueError if a stream is given twice or a time is bad; TimeoutError and the other errors of
    SharedMemory.acquire() when the block is entered.
    """
    return LockedMany(streams, timeout, poll_interval)


class LockedMany:
    """What locked_many() returns; use it in a `with` statement."""

    def __init__(
        self, streams: Sequence[SharedMemory], timeout: Optional[float], poll_interval: float
    ) -> None:
        self._handles = tuple(streams)
        self._timeout = timeout
        self._poll_interval = poll_interval
        self._stack: Optional[ExitStack] = None
        if not poll_interval > 0:
            raise ValueError(f"poll_interval is {poll_interval}; it must be positive")
        if timeout is not None and not timeout >= 0:
            raise ValueError(f"timeout is {timeout}; expected seconds from 0 on, or None")
        names = [handle.name for handle in self._handles]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"streams must be unique; {twice!r} is given more than once")

    def __enter__(self) -> tuple[SharedMemory, ...]:
        deadline = None if self._timeout is None else time.monotonic() + self._timeout
        with ExitStack() as stack:
            for handle in sorted(self._handles, key=lambda handle: handle.name):
                left = None if deadline is None else max(0.0, deadline - time.monotonic())
                lock = handle.locked(timeout=left, poll_interval=self._poll_interval)
                stack.enter_context(lock)
            # All are held: from here on the end of the block gives them back.
            self._stack = stack.pop_all()
        return self._handles

    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc: Optional[BaseException],
        tb: Optional[TracebackType],
    ) -> None:
        stack, self._stack = self._stack, None
        if stack is not None:
            # An inner lock that swallows the exception does not decide that for the whole block.
            stack.__exit__(exc_type, exc, tb)
