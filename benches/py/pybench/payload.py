"""Arrays whose first and last element tell which batch they belong to."""

from __future__ import annotations

import math
import mmap
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

STAMPS = 100


class NotArrived(AssertionError):
    """What was read is not what was written."""


class Stamped:
    """A private array with a number that changes before every batch, at both ends."""

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> None:
        # Ones, not zeros: untouched zero pages are one page of memory, and read too fast.
        self.array: NDArray[Any] = np.ones(shape, dtype)
        self._flat = self.array.reshape(-1)
        self._stamp = 0

    def next(self) -> None:
        """Puts the next number in."""
        self._stamp = self._stamp % STAMPS + 1
        self._flat[0] = self._flat[-1] = self._stamp

    def check(self, found: NDArray[Any]) -> None:
        """Raises unless `found` has this shape and the newest number at both ends."""
        if found.shape != self.array.shape:
            raise NotArrived(f"shape {found.shape} was read, {self.array.shape} was written")
        flat = found.reshape(-1)
        if flat[0] != self._stamp or flat[-1] != self._stamp:
            raise NotArrived(
                f"{flat[0]} and {flat[-1]} were read, {self._stamp} was written to both ends"
            )


def shared_array(shape: tuple[int, ...], dtype: DTypeLike = np.float32) -> NDArray[Any]:
    """A bare array in memory that other processes could map, so with pages of the same kind as
    those of a stream."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = mmap.mmap(-1, max(size, 1))
    found: NDArray[Any] = np.frombuffer(memory, dtype, count=math.prod(shape)).reshape(shape)
    found[...] = 0
    return found
