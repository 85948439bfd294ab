"""A machine without a driver: everything but CUDA works, and CUDA says what is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest
import shm_py
from children import environment
from children.simulator import Simulator

NOWHERE = "/nonexistent/libcuda.so.1"


def _run(source: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", source, *arguments],
        env=environment({"SHM_CUDA_DRIVER": NOWHERE}), capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


def test_host_streams_work(shm_name: str) -> None:
    said = _run(
        """
import sys, shm_py
assert shm_py.gpu_available() is False
with shm_py.stream(sys.argv[1], shape=(2,)) as shm:
    shm.write([1, 2])
    with shm_py.open(sys.argv[1], gpu_device="cuda") as other:
        print(other.read().tolist(), other.gpu_device, shm_py.stat(sys.argv[1])["gpu_device"])
""",
        shm_name,
    )
    assert said == "[1.0, 2.0] None None\n"


@pytest.mark.parametrize(
    "call",
    [
        "shm_py.create(sys.argv[1], shape=(2,), gpu_device='cuda')",
        "shm_py.create(sys.argv[1], shape=(2,), gpu_device=0)",
        "shm_py.devices()",
        "shm_py.DeviceTensor.empty((2,))",
        "shm_py.DeviceTensor.from_numpy([1, 2], device='cuda:1')",
    ],
)
def test_cuda_says_what_is_missing(shm_name: str, call: str) -> None:
    said = _run(
        f"""
import sys, shm_py
try:
    {call}
except RuntimeError as error:
    print(error)
print(shm_py.list_streams(sys.argv[1]))
""",
        shm_name,
    )
    assert said.startswith(f"CUDA is not available: {NOWHERE} cannot be loaded")
    assert "install the NVIDIA driver" in said and said.endswith("[]\n")


def test_an_import_loads_no_driver(sim: Simulator) -> None:
    program = """
import os, sys
import shm_py
shm = shm_py.create(sys.argv[1], shape=(2,))
shm.write([1, 2]), shm.read(), shm.describe(), shm_py.stat(sys.argv[1]), shm.unlink()
def loaded():
    names = {line.split("/")[-1].strip() for line in open("/proc/self/maps") if "/" in line}
    return sorted(name for name in names if name.startswith("libcuda") or "cuda_sim" in name)
before = loaded()
shm_py.gpu_available()
print(before, loaded())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "pytest-no-driver"], env=environment(),
        capture_output=True, text=True, check=False,
    )
    assert done.stdout == "[] ['libshm_cuda_sim.so']\n", done.stderr


def test_a_device_stream_without_a_driver(sim: Simulator, shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(2,), gpu_device=0, cpu_mirror=True) as shm:
        shm.write([3, 4])
        said = _run(
            """
import sys, shm_py
with shm_py.open(sys.argv[1]) as shm:
    print(shm.read().tolist(), shm.count, shm.gpu_enabled, shm.gpu_device)
    shm.acquire()
    shm.release()
try:
    shm_py.open(sys.argv[1], gpu_device="cuda")
except RuntimeError as error:
    print(error)
""",
            shm_name,
        )
        first, second = said.splitlines()
        assert first == f"[3.0, 4.0] 1 True {shm_py.devices()[0].uuid}"
        assert second.startswith("CUDA is not available")
        shm.unlink()
