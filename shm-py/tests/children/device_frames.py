"""Frames whose elements are all the same, on their way to and from a device."""

from __future__ import annotations

from typing import Any

import numpy as np
from shm_py import DeviceTensor

SHAPE = (4, 8)


def frame(value: float) -> Any:
    """A frame of one value, in host memory."""
    return np.full(SHAPE, value, "float32")


def value(tensor: Any) -> float:
    """What all elements of a frame are; AssertionError if they differ."""
    assert isinstance(tensor, DeviceTensor)
    values = set(tensor.to_numpy().ravel().tolist())
    assert len(values) == 1, values
    found: float = values.pop()
    return found
