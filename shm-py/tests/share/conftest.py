"""A service for each test, in a folder of its own or in a process of its own."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from share import share_services, sharing

ENVIRONMENT = ("SHARED_TENSOR_ENABLED", "SHARED_TENSOR_ROLE", "SHARED_TENSOR_BASE_PATH")


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is chosen before a test chooses."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of this user's alone, with a short name: sockets have short paths."""
    with tempfile.TemporaryDirectory(prefix="shm-share-") as folder:
        yield Path(folder)


@pytest.fixture
def service(folder: Path) -> Iterator[sharing.Service]:
    """A server in this process, which is stopped afterwards."""
    service = sharing.Service(folder / "s.sock")
    yield service
    assert service.native.stop(False, 10.0)
    gc.collect()


@pytest.fixture
def base(tmp_path: Path) -> str:
    """What the paths of this test's sockets begin with."""
    return str(tmp_path / "s")


@pytest.fixture
def remote(base: str) -> Iterator[share_services.Service]:
    """A server process with the endpoints of `share_services`, which is stopped afterwards."""
    remote = share_services.Service(base)
    yield remote
    remote.child.stop()
