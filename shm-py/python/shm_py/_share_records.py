"""What servers say about tasks, objects, endpoints and themselves, under the documented names."""

from __future__ import annotations

import enum
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from ._share_errors import SharedTensorConfigurationError

if TYPE_CHECKING:
    from ._native import _ShareObject, _ShareTask


class TaskStatus(str, enum.Enum):
    """How far a task is."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass
class TaskInfo:
    """What a server says about a task. Times are seconds since 1970."""

    task_id: str
    endpoint: str
    status: TaskStatus
    created_at: float
    started_at: Optional[float] = None
    completed_at: Optional[float] = None
    error_type: Optional[str] = None
    error_message: Optional[str] = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {**vars(self), "status": self.status.value, "metadata": dict(self.metadata)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TaskInfo:
        """From plain data, as `to_dict` gives it."""
        return cls(**{**data, "status": TaskStatus(data["status"])})


def public_id(server_id: str, number: int) -> str:
    """An object's or task's number as a name that no other server uses."""
    return f"{server_id[:16]}-{number}"


def private_id(server_id: str, name: object) -> Optional[int]:
    """The number again; None if it is not that server's."""
    if not isinstance(name, str):
        return None
    server, _, number = name.partition("-")
    if server != server_id[:16] or not number.isascii() or not number.isdigit():
        return None
    return int(number) if len(number) <= 20 else None


def status_name(status: Optional[str]) -> Optional[str]:
    """A status to filter by."""
    if status is None:
        return None
    try:
        return TaskStatus(status).value
    except ValueError:
        names = ", ".join(repr(known.value) for known in TaskStatus)
        raise SharedTensorConfigurationError(f"status is {status!r}; expected one of {names}") from None


def task_info(raw: _ShareTask, server_id: str) -> dict[str, Any]:
    """A task as the extension gives it, under the documented names."""
    failure = raw["failure"]
    produced = raw["object_id"]
    return {
        "task_id": public_id(server_id, raw["task_id"]),
        "endpoint": raw["endpoint"],
        "status": raw["status"],
        "created_at": raw["created_at"],
        "started_at": raw["started_at"],
        "completed_at": raw["completed_at"],
        "error_type": None if failure is None else failure["error_type"] or failure["kind"],
        "error_message": None if failure is None else failure["message"],
        "metadata": {} if produced is None else {"object_id": public_id(server_id, produced)},
    }


def object_info(raw: _ShareObject, server_id: str) -> dict[str, Any]:
    """An object as the extension gives it, under the documented names."""
    return {
        "object_id": public_id(server_id, raw["object_id"]),
        "endpoint": raw["endpoint"],
        "cache_key": raw["cache_key"] or None,
        "refcount": raw["leases"],
        "created_at": raw["created_at"],
        "last_accessed_at": raw["last_accessed_at"],
        "server_id": server_id,
        "nbytes": raw["nbytes"],
        "survives_server": raw["survives_server"],
    }


def endpoints(raw: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Endpoints as the extension lists them, by name, under the documented names."""
    return {
        one["name"]: {
            "cache": one["cache"],
            "cache_format_key": None if one["key"] == "all arguments" else one["key"],
            "managed": one["managed"],
            "async_default_wait": True,
            "execution": one["execution"],
            "concurrency": one["concurrency"],
            "singleflight": one["singleflight"],
            "keep_unleased": one["keep_unleased"],
        }
        for one in raw
    }


def server_info(raw: dict[str, Any]) -> dict[str, Any]:
    """A server's info under the documented names, with what the extension counts besides."""
    stats = raw["stats"]
    capabilities = raw["capabilities"]
    device = re.search(r"-(\d+)\.sock$", raw["socket_path"])
    return {
        "server": "SharedTensorServer",
        "version": raw["version"],
        "server_id": raw["server_id"],
        "socket_path": raw["socket_path"],
        "uptime": raw["uptime"],
        "running": raw["running"],
        "ready": raw["ready"],
        "pid": raw["pid"],
        "ppid": _parent(raw["pid"]),
        "device_index": int(device[1]) if device else 0,
        "process_start_method": "thread",
        "workers": raw["workers"],
        "stats": {
            **stats,
            "requests_processed": stats["requests"],
            "errors_encountered": stats["errors"],
            "task_submissions": stats["tasks_total"],
            "cache_invalidations": stats["invalidated"],
            "inflight_calls": stats["builds"],
            "task_count": stats["tasks"],
        },
        "capabilities": {
            **capabilities,
            "torch_available": "torch" in sys.modules,
            "cuda_available": bool(capabilities["cuda"]),
            "transport": "shm-share",
        },
        "endpoints": list(raw["endpoints"]),
    }


def _parent(pid: int) -> Optional[int]:
    """The parent of a process of this machine, if this process may see it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = re.search(r"^PPid:\t(\d+)$", status, re.MULTILINE)
    return int(found[1]) if found else None
