"""Where, when, how and of what a run was made: without it a figure means nothing later."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import machine
from .run import OURS, Run

ROOT = Path(__file__).resolve().parents[3]
FILES = {"--json", "--svg", "--wake-rust"}


def described(run: Run, arguments: Sequence[str]) -> dict[str, Any]:
    """The header of the JSON. Raises if the systems do not run on the same Python and numpy."""
    abouts = {system: run.about(system) for system in run.installed}
    for system, about in abouts.items():
        for part in ("python", "numpy"):
            if about[part] != abouts[OURS][part]:
                raise ValueError(
                    f"{system} runs on {part} {about[part]}, {OURS} on {abouts[OURS][part]}; "
                    "install the same, or the figures compare something else"
                )
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": machine.described(),
        "command": " ".join(["benches/py/bench.py", *_without_paths(arguments)]),
        "commit": _commit(),
        "python": f"{platform.python_implementation()} {abouts[OURS]['python']}",
        "numpy": abouts[OURS]["numpy"],
        "systems": {system: about["version"] for system, about in abouts.items()},
        "load_before": round(os.getloadavg()[0], 2),
        "quick": run.quick,
    }


def _without_paths(arguments: Sequence[str]) -> list[str]:
    """A path names one person's folders, so only what it stands for is told."""
    words, before = [], ""
    for word in arguments:
        option, equals, _ = word.partition("=")
        if before in FILES:
            words.append("FILE")
        elif equals and option in FILES:
            words.append(f"{option}=FILE")
        elif before == "--peer":
            words.append(f"{word.partition('=')[0]}=PYTHON")
        else:
            words.append(word)
        before = word
    return words


def _commit() -> str | None:
    found = _git("rev-parse", "--short=12", "HEAD")
    if found is None:
        return None
    return f"{found}+" if _git("status", "--porcelain") else found


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=ROOT,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
