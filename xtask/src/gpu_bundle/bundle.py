"""The folder of the bundle, and what runs in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

FOLDER = Path(__file__).resolve().parent.parent
SIMULATED = FOLDER / "tests" / "libshm_cuda_sim.so"
RELEASES = ("1.0.1", "1.4.0")


def environment(simulated: bool) -> dict[str, str]:
    """For everything that runs on a driver: the simulated one or `libcuda.so.1`."""
    env = dict(os.environ, PYTHONDONTWRITEBYTECODE="1", SHM_CUDA_SIM_LIBRARY=str(SIMULATED))
    for name in ("SHM_CUDA_DRIVER", "SHM_CUDA_CONFORMANCE", "PYTHONPATH"):
        env.pop(name, None)
    env["PYTHONPATH"] = str(FOLDER / "python")
    if simulated:
        env["SHM_CUDA_DRIVER"] = str(SIMULATED)
    else:
        env["SHM_CUDA_CONFORMANCE"] = "real"
    return env


def devices(env: Mapping[str, str]) -> list[str]:
    """The devices that the driver has, one line each; says what it found, and why there are none."""
    found = subprocess.run(
        [FOLDER / "bench" / "devices"], env=env, capture_output=True, text=True, timeout=300
    )
    print(found.stdout, end="", flush=True)
    print(found.stderr, end="", file=sys.stderr, flush=True)
    return [line for line in found.stdout.splitlines() if line.startswith("cuda:")]


def importable(module: str, env: Mapping[str, str]) -> Optional[str]:
    """None if the interpreter can import the module, else what it says."""
    tried = subprocess.run(
        [sys.executable, "-c", f"import {module}"], env=env, capture_output=True, text=True
    )
    if tried.returncode == 0:
        return None
    lines = tried.stderr.strip().splitlines()
    return lines[-1] if lines else f"the import ended with {tried.returncode}"


class Ended:
    """How a program ended and what it printed."""

    def __init__(self, code: Optional[int], lines: list[str]) -> None:
        self.code = code
        self.lines = lines

    def words(self) -> str:
        """The end in words."""
        if self.code is None:
            return "was killed, because it took too long"
        if self.code < 0:
            return f"ended by {signal.Signals(-self.code).name}"
        return f"ended with {self.code}"


def run(command: Sequence[object], env: Mapping[str, str], seconds: float) -> Ended:
    """Runs a program to its end, passes on what it prints, and kills it with its children after a time."""
    child = subprocess.Popen(
        [str(word) for word in command],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    late = threading.Event()

    def kill() -> None:
        late.set()
        os.killpg(child.pid, signal.SIGKILL)

    timer = threading.Timer(seconds, kill)
    timer.daemon = True
    timer.start()
    lines = []
    assert child.stdout is not None
    for line in child.stdout:
        lines.append(line.rstrip("\n"))
        print(lines[-1], flush=True)
    code = child.wait()
    timer.cancel()
    return Ended(None if late.is_set() else code, lines)
