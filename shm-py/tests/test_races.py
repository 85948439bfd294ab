"""Names given and taken away by many at once; and no room left."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import shm_py
from children import PROGRAMS, environment
from conftest import StartChild, segment_files


def test_creators_and_openers_race(shm_name: str, start: StartChild, stress: bool) -> None:
    span = 180.0 if stress else 4.0
    roles = ["creator", "creator", "replacer", "opener", "opener", "looker"]
    children = [start("racing", shm_name, role, span, seed) for seed, role in enumerate(roles)]
    for child in children:
        child.say("go")
    for role, child in zip(roles, children):
        report = child.hear(span + 60)
        print(f"{role}: {report}")
        done, refused = map(int, report.split()[:2])
        assert done > 20, f"{role} did nothing"
        assert refused > 0 or role == "replacer", f"{role} never met another"
        child.finish()
    shm_py.unlink(shm_name)
    assert segment_files(shm_name) == []


def _small_memory(program: str, *arguments: str) -> list[str]:
    """A command that runs a program where /dev/shm has 1 MiB of its own."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("there is no unshare")
    reasons = []
    for how in (["-m"], ["-r", "-m"]):
        mount = "mount -t tmpfs -o size=1m,mode=1777 tmpfs /dev/shm"
        tried = subprocess.run(
            [unshare, *how, "sh", "-c", mount], capture_output=True, text=True, timeout=30
        )
        if tried.returncode == 0:
            run = f'{mount} && exec "$0" "$@"'
            return [unshare, *how, "sh", "-c", run, sys.executable, program, *arguments]
        reasons.append(tried.stderr.strip())
    pytest.skip(f"no private mount namespace: {reasons}")


def test_shared_memory_smaller_than_the_stream(shm_name: str) -> None:
    program = PROGRAMS / "crowded.py"
    done = subprocess.run(
        _small_memory(str(program), shm_name),
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
        cwd=Path("/"),
    )
    assert done.returncode == 0, f"ended with {done.returncode}: {done.stderr}"
    refused, created = map(int, done.stdout.split()[-2:])
    print(done.stdout)
    assert refused >= 5 and created >= 5
    assert segment_files(shm_name) == [], "it was in a place of its own"
