"""Where services are found, what the environment says, which servers run in this process."""

from __future__ import annotations

import difflib
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ._native import _share_socket_path
from ._share_errors import SharedTensorConfigurationError

if TYPE_CHECKING:
    from ._share_server import SharedTensorServer

ENABLED = "SHARED_TENSOR_ENABLED"
ROLE = "SHARED_TENSOR_ROLE"
BASE_PATH = "SHARED_TENSOR_BASE_PATH"
#: The part of the default path behind the runtime folder.
DEFAULT_NAME = "shared-tensor"

_YES = frozenset({"1", "true", "yes", "on"})
_NO = frozenset({"", "0", "false", "no", "off"})
_MODES = ("auto", "client", "server", "local")
_ROLES = ("server", "client", "local")

_lock = threading.Lock()
_servers: dict[str, SharedTensorServer] = {}
_builds = threading.local()


def _after_fork() -> None:
    """The servers are the parent's."""
    global _lock
    _lock = threading.Lock()
    _servers.clear()


os.register_at_fork(after_in_child=_after_fork)


def resolve_base_path(base_path: Optional[str]) -> str:
    """The argument, else the environment, else a place in the user's runtime folder."""
    if base_path is not None:
        return os.path.abspath(base_path)
    said = os.environ.get(BASE_PATH, "").strip()
    if said:
        return os.path.abspath(said)
    return str(Path(_share_socket_path(DEFAULT_NAME)).parent / DEFAULT_NAME)


def resolve_device_index(device_index: Optional[int]) -> int:
    """The argument, else PyTorch's current device if the process uses CUDA through it, else 0."""
    if device_index is not None:
        if isinstance(device_index, bool) or not isinstance(device_index, int):
            raise TypeError(f"device_index is {device_index!r}; expected an int or None")
        if device_index < 0:
            raise SharedTensorConfigurationError(f"device_index must be >= 0, found {device_index}")
        return device_index
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return 0
    return int(torch.cuda.current_device())


def resolve_socket_path(base_path: Optional[str], device_index: Optional[int]) -> str:
    """The socket of a service: one for each device."""
    return f"{resolve_base_path(base_path)}-{resolve_device_index(device_index)}.sock"


def resolve_mode(execution_mode: str, enabled: Optional[bool]) -> tuple[str, bool]:
    """The mode, and whether the environment decided it."""
    if execution_mode not in _MODES:
        raise SharedTensorConfigurationError(
            "execution_mode must be one of 'auto', 'client', 'server', or 'local', "
            f"found {execution_mode!r}{_nearest(execution_mode, _MODES)}"
        )
    if execution_mode != "auto":
        return execution_mode, False
    if not _is_enabled(enabled):
        return "local", True
    role = os.environ.get(ROLE, "").strip().lower()
    if role and role not in _ROLES:
        raise SharedTensorConfigurationError(
            f"{ROLE} is {role!r}; expected one of 'server', 'client', 'local', or nothing"
            f"{_nearest(role, _ROLES)}"
        )
    return role or "client", True


def _is_enabled(enabled: Optional[bool]) -> bool:
    if enabled is not None:
        return bool(enabled)
    said = os.environ.get(ENABLED, "").strip().lower()
    if said not in _YES and said not in _NO:
        raise SharedTensorConfigurationError(
            f"{ENABLED} is {said!r}; expected one of 1, true, yes, on, or 0, false, no, off, or nothing"
        )
    return said in _YES


def one_of(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Refuses any other value of an option."""
    if value not in allowed:
        raise SharedTensorConfigurationError(
            f"{name} must be either {' or '.join(map(repr, allowed))}, found {value!r}"
            f"{_nearest(value, allowed)}"
        )


def refuse_unknown(callee: str, unknown: dict[str, Any], known: Sequence[str]) -> None:
    """Refuses options that do not exist, naming the nearest that does."""
    if unknown:
        name = next(iter(unknown))
        raise TypeError(
            f"{callee} has no option {name!r}{_nearest(name, known)}; it has {', '.join(known)}"
        )


def _nearest(value: object, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(str(value), known, n=1)
    return f"; did you mean {found[0]!r}?" if found else ""


def register_local(path: str, server: SharedTensorServer) -> None:
    """A server of this process, to be called without a socket."""
    with _lock:
        _servers[path] = server


def unregister_local(path: str, server: SharedTensorServer) -> None:
    """It has stopped."""
    with _lock:
        if _servers.get(path) is server:
            del _servers[path]


def local_server(path: str) -> Optional[SharedTensorServer]:
    """The server of this process at a path."""
    return _servers.get(path)


@contextmanager
def building(device_index: Optional[int], cancelled: Any) -> Iterator[None]:
    """Around an endpoint's code: on the server's device, and able to ask whether it is still wanted."""
    before = getattr(_builds, "cancelled", None)
    _builds.cancelled = cancelled
    try:
        torch = sys.modules.get("torch")
        if device_index is None or torch is None or not torch.cuda.is_available():
            yield
        elif device_index >= torch.cuda.device_count():
            yield
        else:
            # The current device belongs to a thread, and builds run on the workers'.
            with torch.cuda.device(device_index):
                yield
    finally:
        _builds.cancelled = before


def cancellation_requested() -> bool:
    """Asked by an endpoint's code: True if nobody waits for its result any more, or the server stops."""
    cancelled = getattr(_builds, "cancelled", None)
    return cancelled is not None and bool(cancelled())


def build_device(device_index: Optional[int]) -> Optional[int]:
    """The device that builds run on: the argument, else LOCAL_RANK or RANK, else the current one."""
    if device_index is not None:
        return resolve_device_index(device_index)
    said = os.environ.get("LOCAL_RANK", os.environ.get("RANK", "")).strip()
    return int(said) if said.isdigit() else None
