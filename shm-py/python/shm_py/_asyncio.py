"""Awaiting: futures that a sleeping thread settles, so that nothing polls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional

from ._native import Reservation, Retrieved, Slot, Ticket

if TYPE_CHECKING:
    from . import Consumer, Pool, Publication, Queue, SharedMemory, Store
    from ._native import _Policy, _Waiter


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
    handle: SharedMemory, after: int, timeout: Optional[float], out: Any
) -> Any:
    """Resolves to the newest payload once the count is above `after`."""
    await wait(handle, after, timeout)
    return handle.read(out=out)


async def read_publication(
    handle: SharedMemory, after: int, timeout: Optional[float], out: Any
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


async def lend(pool: Pool, nbytes: int, timeout: Optional[float], policy: _Policy) -> Slot:
    """Resolves to a slot."""
    begun = pool._lend_or_waiter(nbytes, timeout, policy)
    if isinstance(begun, Slot):
        return begun
    slot: Slot = await wish(begun, Slot.abort)
    return slot


async def get(
    queue: Queue, consumer: Optional[Consumer], seat: int, timeout: Optional[float]
) -> Ticket:
    """Resolves to a ticket."""
    begun = queue._get_or_waiter(consumer, timeout)
    if isinstance(begun, Ticket):
        return begun
    ticket: Ticket = await wish(begun, lambda ticket: queue._give_back(ticket, seat))
    return ticket


async def put(queue: Queue, ticket: Ticket, timeout: Optional[float]) -> None:
    """Resolves once the ticket is in the queue."""
    begun = queue._put_or_waiter(ticket, timeout)
    if begun is not None:
        # What is in the queue may have been got already: it stays put.
        await wish(begun, lambda _: None)


async def prepare_store(store: Store, key: Any, layout: Any, timeout: Optional[float]) -> Reservation:
    """Resolves to a reservation."""
    begun = store._store_or_waiter(key, layout, timeout)
    if isinstance(begun, Reservation):
        return begun
    reservation: Reservation = await wish(begun, Reservation.abort)
    return reservation


async def retrieve(store: Store, keys: Any, timeout: Optional[float]) -> Retrieved:
    """Resolves to what was retrieved."""
    begun = store._retrieve_or_waiter(keys, timeout)
    if isinstance(begun, Retrieved):
        return begun
    retrieved: Retrieved = await wish(begun, Retrieved.release)
    return retrieved


async def wish(waiter: _Waiter, give_back: Callable[[Any], object]) -> Any:
    """Resolves to what a thread waits for; what comes too late for a cancelled task is given back."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    waiter._start(loop, future, give_back)
    try:
        return await future
    except BaseException:
        waiter._cancel()
        if future.done() and not future.cancelled() and future.exception() is None:
            # Cancelled between its arrival and this task's turn.
            give_back(future.result())
        raise


def deliver(
    loop: asyncio.AbstractEventLoop,
    future: asyncio.Future[Any],
    result: Any,
    error: Optional[BaseException],
    give_back: Callable[[Any], object],
) -> None:
    """Runs in the waiting thread: hands the outcome over to the loop's."""
    try:
        loop.call_soon_threadsafe(_accept, future, result, error, give_back)
    except RuntimeError:
        # The loop is closed.
        if error is None:
            give_back(result)


def _accept(
    future: asyncio.Future[Any],
    result: Any,
    error: Optional[BaseException],
    give_back: Callable[[Any], object],
) -> None:
    if future.done():
        if error is None:
            give_back(result)
    elif error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
