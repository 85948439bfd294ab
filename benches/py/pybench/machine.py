"""Where a run was made."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

from . import cores


def described() -> dict[str, Any]:
    """The machine, as the Rust suites describe it."""
    return {
        "cpu": _cpu(),
        "cores": cores.count(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name.strip() == "model name":
            return rest.strip()
    return "unknown"
