"""Received memory that a library writes although it was not asked to: the pages become its own."""

from __future__ import annotations

import ctypes

import numpy as np
from share.sharing import Service, call, copying
from shm_py import _native


def test_what_is_written_into_received_memory_stays_here_and_travels_as_a_copy(service: Service) -> None:
    service.offer(lambda: np.arange(10_000, dtype=np.int64), "numbers")
    service.offer(lambda array: int(array.sum()), "total", cache=False)
    client = service.connect()
    mine, other = call(client, "numbers"), call(service.connect(), "numbers")
    before = int(mine.sum())
    with copying(0):
        assert call(client, "total", mine) == before

    _native._share_own_writes(mine.ctypes.data, mine.nbytes)
    assert int(mine.sum()) == before, "the bytes are the same"
    ctypes.c_int64.from_address(mine.ctypes.data + 8 * 5_000).value = -1
    assert mine[5_000] == -1
    assert other[5_000] == 5_000 and int(other.sum()) == before
    assert int(call(service.connect(), "numbers").sum()) == before
    # The server's memory has other bytes by now, so these are not sent by its descriptor.
    assert call(client, "total", mine) == before - 5_001


def test_memory_that_was_not_received_stays_as_it_is() -> None:
    plain = np.zeros(4)
    _native._share_own_writes(plain.ctypes.data, plain.nbytes)
    board = _native._share_empty((4,), "float64")
    _native._share_own_writes(board.ctypes.data, board.nbytes)
    board[:] = 1
    assert board.sum() == 4
