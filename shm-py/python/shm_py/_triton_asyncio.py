"""Awaiting inferences: the event loop itself goes on with them whenever their pipe is readable."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._native import _Call


async def drive(call: _Call) -> Any:
    """Resolves to what the call comes to; a task that is cancelled gives it up."""
    try:
        if not call.poll():
            await _end_of(call)
        return call.result()
    finally:
        call.cancel()


async def _end_of(call: _Call) -> None:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def go_on() -> None:
        if ended.done():
            return
        try:
            if call.poll():
                ended.set_result(None)
        except BaseException as error:
            ended.set_exception(error)

    loop.add_reader(call.fileno(), go_on)
    try:
        await ended
    finally:
        loop.remove_reader(call.fileno())
