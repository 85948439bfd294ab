"""Named memory without a system around it, for the baselines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from unittest import mock


def create(name: str, size: int) -> SharedMemory:
    """New memory; the creator removes it."""
    with _untracked():
        return SharedMemory(name, create=True, size=size)


def attach(name: str) -> SharedMemory:
    """Memory of another process."""
    with _untracked():
        return SharedMemory(name)


def buffer(memory: SharedMemory) -> memoryview:
    """The bytes; there are none only after `close`."""
    found = memory.buf
    assert found is not None, "closed"
    return found


def remove(memory: SharedMemory) -> None:
    """Removes the name."""
    with _untracked():
        memory.unlink()


@contextmanager
def _untracked() -> Iterator[None]:
    """Without the process that Python starts to remove what a program forgot: it would also
    remove what was only attached, and outlive its parent. `track=False` needs Python 3.13."""
    with mock.patch.multiple(resource_tracker, register=_ignore, unregister=_ignore):
        yield


def _ignore(name: str, rtype: str) -> None:
    del name, rtype
