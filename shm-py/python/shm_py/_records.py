"""Classes for what comes back from a packed tree with names for its parts."""

from __future__ import annotations

from collections import namedtuple
from functools import lru_cache
from typing import Any


@lru_cache(maxsize=256)
def record(name: str, fields: tuple[str, ...]) -> type[tuple[Any, ...]]:
    """A namedtuple class; equal names and fields give the same class while it is remembered.

    Raises ValueError for names that a namedtuple cannot have.
    """
    kind: type[tuple[Any, ...]] = namedtuple(name, fields)  # type: ignore[misc]
    return kind
