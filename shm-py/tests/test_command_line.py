"""The program `shm`, as Python starts it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shm_py
from children import PATIENCE, environment
from conftest import SHARED_MEMORY, StartChild
from shm_py import _native
from shm_py.__main__ import main

SHM = [sys.executable, "-m", "shm_py"]


def shm(*arguments: str, code: int = 0, command: list[str] = SHM) -> subprocess.CompletedProcess[str]:
    """Runs the program, which must end with `code`."""
    done = subprocess.run(
        [*command, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120.0,
        env=environment(),
        check=False,
        text=True,
    )
    assert done.returncode == code, f"{done.args}: {done.returncode}: {done.stdout}{done.stderr}"
    return done


def listed(prefix: str) -> list[dict[str, Any]]:
    found = json.loads(shm("ls", prefix, "--json").stdout)["segments"]
    assert isinstance(found, list)
    return found


def test_ls_shows_a_stream_of_this_process(shm_name: str) -> None:
    assert listed(shm_name) == []
    with shm_py.create(shm_name, shape=(3, 4), dtype=np.float32) as stream:
        stream.write(np.ones((3, 4), np.float32))
        (row,) = listed(shm_name)
        assert row["name"] == shm_name
        assert row["kind"] == "stream"
        assert row["creator_pid"] == os.getpid()
        assert row["frame"]["dtype"] == "float32"
        assert row["frame"]["shape"] == [3, 4]
        assert row["frame"]["bytes"] == 48
        assert row["counters"]["frames"] == 1
        assert os.getpid() in [holder["pid"] for holder in row["holders"]]
        assert row["path"] == shm_py.stat(shm_name)["path"]
        assert shm_name in shm("ls", shm_name).stdout


def test_stat_says_by_its_exit_code_what_it_found(shm_name: str) -> None:
    absent = shm("stat", shm_name, code=3)
    assert shm_name in absent.stderr and absent.stdout == ""
    with shm_py.create(shm_name, shape=(2,), dtype=np.int16):
        found = shm("stat", shm_name)
        assert shm_name in found.stdout and "int16" in found.stdout
        assert found.stderr == ""
    usage = shm("stat", code=2)
    # It is called by its own name, not by that of a file of the package.
    assert "Usage: shm stat" in usage.stderr


def test_gc_says_what_it_would_remove_and_leaves_it(shm_name: str, start: StartChild) -> None:
    kept, nobodys = f"{shm_name}-kept", f"{shm_name}-nobodys"
    with shm_py.create(kept, shape=(1,)):
        shm_py.create(nobodys, shape=(1,)).close()
        said = json.loads(shm("gc", shm_name, "--dry-run", "--json").stdout)
        assert [one["name"] for one in said["removed"]] == [nobodys]
        assert shm_py.list_streams(shm_name) == [kept, nobodys]
        shm("gc", shm_name)
        assert shm_py.list_streams(shm_name) == [kept]


def test_help_and_version_are_those_of_the_program() -> None:
    said = shm("--help")
    assert "Usage: shm " in said.stdout
    for command in ("ls", "stat", "watch", "view", "record", "replay", "gc", "fsck", "bench"):
        assert f"\n  {command} " in said.stdout, command
    assert "Exit codes:" in said.stdout
    assert said.stderr == ""
    assert shm("--version").stdout.split() == ["shm", shm_py.__version__]
    assert "__bench" not in said.stdout


def test_an_argument_may_be_any_string() -> None:
    shm("ls", "päth/ \n", "--json")
    shm("ls", os.fsdecode(b"\xff"), code=2)


def test_bench_measures_between_two_pythons() -> None:
    report = json.loads(shm("bench", "--quick", "--json").stdout)
    rows = {row["name"]: row for row in report["rows"]}
    assert {"oneway/64B", "wake/64B", "frame/1MB", "pool/cycle", "store/retrieve"} <= rows.keys()
    for row in rows.values():
        assert 0 < row["value"] <= row["p99"] <= row["max"], row
        assert row["ratio_limit"] == pytest.approx(row["value"] / row["limit"])


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    program = subprocess.Popen(
        [*SHM, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    try:
        yield program
    finally:
        program.kill()
        program.communicate()


def segments_of_bench(pid: int) -> list[Path]:
    return list(SHARED_MEMORY.glob(f"shm.{os.getuid()}.shm-bench-{pid}%2F*"))


def test_ctrl_c_ends_a_bench_and_nothing_stays() -> None:
    with running("bench") as bench:
        deadline = time.monotonic() + PATIENCE
        while not segments_of_bench(bench.pid):
            assert bench.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        bench.send_signal(signal.SIGINT)
        said, complained = bench.communicate(timeout=PATIENCE)
        assert bench.returncode == -signal.SIGINT, complained
        assert (said, complained) == ("", "")
        assert segments_of_bench(bench.pid) == []


def test_ctrl_c_ends_a_watch(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as stream, running("watch", shm_name, "--json") as watch:
        stream.write(np.zeros(1))
        assert watch.stdout is not None
        # It has begun to watch, so it listens.
        assert json.loads(watch.stdout.readline())
        watch.send_signal(signal.SIGINT)
        _, complained = watch.communicate(timeout=PATIENCE)
        assert watch.returncode in (0, -signal.SIGINT), complained
        assert complained == ""


def test_the_interpreter_is_free_meanwhile(capfd: pytest.CaptureFixture[str]) -> None:
    codes: list[int] = []
    bench = threading.Thread(target=lambda: codes.append(_native._shm(["bench", "--quick", "--json"])))
    bench.start()
    turns = 0
    while bench.is_alive():
        time.sleep(0.01)
        turns += 1
    assert codes == [0]
    # With the interpreter held there would be one or two.
    assert turns > 10
    assert len(json.loads(capfd.readouterr().out)["rows"]) > 0


def test_main_returns_the_exit_code_and_gives_ctrl_c_back(
    shm_name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(signal.SIGINT)
    assert main(["stat", shm_name]) == 3
    assert main(["--version"]) == 0
    assert main(["no-such-command"]) == 2
    assert signal.getsignal(signal.SIGINT) is before
    said = capfd.readouterr()
    assert said.out == f"shm {shm_py.__version__}\n"
    assert shm_name in said.err and "no-such-command" in said.err


def test_ctrl_c_still_interrupts_python_afterwards() -> None:
    source = (
        "import os, signal, time\n"
        "from shm_py.__main__ import main\n"
        "assert main(['bench', '--quick', '--json']) == 0\n"
        "try:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(30)\n"
        "except KeyboardInterrupt:\n"
        "    raise SystemExit(7)\n"
    )
    shm(code=7, command=[sys.executable, "-c", source])


def test_the_wheel_installs_the_program() -> None:
    try:
        installed = importlib.metadata.distribution("shm-py")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the package is not installed from its wheel")
    scripts = [entry for entry in installed.entry_points if entry.group == "console_scripts"]
    assert [(script.name, script.value) for script in scripts] == [("shm", "shm_py.__main__:main")]
    program = Path(sysconfig.get_path("scripts")) / "shm"
    assert shm("--version", command=[str(program)]).stdout == f"shm {shm_py.__version__}\n"
    shm("stat", code=2, command=[str(program)])
