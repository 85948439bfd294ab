"""Whether the machine has the memory that the largest cases take."""

from __future__ import annotations

import os
from pathlib import Path


def no_room(memory: int, shared: int) -> str | None:
    """Why so many bytes of memory, and of those so many in shared memory, cannot be used."""
    if (free := _memory()) < memory:
        return f"needs {memory / 1e9:.1f} GB of memory, {free / 1e9:.1f} GB are free"
    if (free := _shared_memory()) < shared:
        return f"needs {shared / 1e9:.1f} GB of /dev/shm, {free / 1e9:.1f} GB are free"
    return None


def _memory() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    return 0


def _shared_memory() -> int:
    found = os.statvfs("/dev/shm")
    return found.f_bavail * found.f_frsize
