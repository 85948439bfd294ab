"""Frames whose every element tells which frame it belongs to."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Pattern:
    """Frame `n` of `words` elements is `n, n + 1, n + 2, ...`: any mixture of two is seen."""

    def __init__(self, words: int) -> None:
        self._base = np.arange(words, dtype=np.uint64)

    def frame(self, number: int) -> NDArray[np.uint64]:
        """The frame as it is to be written."""
        return self._base + np.uint64(number)

    def number(self, array: NDArray[Any]) -> int:
        """Which frame this is; AssertionError if it is a mixture."""
        assert array.dtype == np.uint64 and array.shape == self._base.shape
        first = array[0]
        torn = np.flatnonzero(array - self._base != first)
        assert torn.size == 0, f"frame {first} is torn from element {torn[0]} on"
        return int(first)
