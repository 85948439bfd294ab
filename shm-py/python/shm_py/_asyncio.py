"""Awaiting frames: futures that a sleeping thread settles, so that nothing polls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from . import Publication, SharedMemory


async def wait(handle: SharedMemory, after: int, timeout: Optional[float]) -> int:
    """Resolves to the newest count once it is above `after`."""
    newest = handle.count
    if newest > after:
        return newest
    loop = asyncio.get_running_loop()
    future: asyncio.Future[int] = loop.create_future()
    handle._notify(after, loop, future)
    try:
        if timeout is None:
            return await future
        try:
            return await asyncio.wait_for(future, timeout)
        except asyncio.TimeoutError:
            raise TimeoutError(
                f"timed out waiting for a new write on shared memory {handle.name!r} after "
                f"{timeout:.3f} s: its count is still {after}"
            ) from None
    finally:
        handle._forget(future)


async def read(
    handle: SharedMemory, after: int, timeout: Optional[float], out: Optional[NDArray[Any]]
) -> NDArray[Any]:
    """Resolves to the newest payload once the count is above `after`."""
    await wait(handle, after, timeout)
    return handle.read(out=out)


async def read_publication(
    handle: SharedMemory, after: int, timeout: Optional[float], out: Optional[NDArray[Any]]
) -> Publication:
    """Resolves to the newest publication once the count is above `after`."""
    await wait(handle, after, timeout)
    return handle.read_publication(out=out)


def settle(
    future: asyncio.Future[int], count: Optional[int], error: Optional[BaseException]
) -> None:
    """Runs in the loop's thread; a future that was cancelled meanwhile stays so."""
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    elif count is not None:
        future.set_result(count)
