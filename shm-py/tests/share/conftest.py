"""A service for each test, in a folder of its own."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from share.sharing import Service


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of this user's alone, with a short name: sockets have short paths."""
    with tempfile.TemporaryDirectory(prefix="shm-share-") as folder:
        yield Path(folder)


@pytest.fixture
def service(folder: Path) -> Iterator[Service]:
    """A server in this process, which is stopped afterwards."""
    service = Service(folder / "s.sock")
    yield service
    assert service.native.stop(False, 10.0)
    gc.collect()
