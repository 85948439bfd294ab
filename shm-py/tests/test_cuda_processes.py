"""Device streams between processes, some of which are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pytest
import shm_py
from children import environment, run
from children.simulator import Simulator
from conftest import StartChild

WORDS = 4096


def _frame(number: int) -> Any:
    return np.full(WORDS, number, "u8")


def _number(tensor: Any) -> int:
    values = set(tensor.to_numpy().tolist())
    assert len(values) == 1, "torn"
    return int(values.pop())


@pytest.mark.parametrize("mirror", [False, True])
def test_others_read_on_the_device(
    sim: Simulator, shm_name: str, start: StartChild, mirror: bool
) -> None:
    with shm_py.create(
        shm_name, shape=(WORDS,), dtype="u8", gpu_device=0, cpu_mirror=mirror
    ) as shm:
        shm.write(_frame(1), frame_id=1)
        peer = start("device_peer", shm_name, "cuda")
        assert peer.ask("read") == "1"
        assert peer.ask("device") == f"cuda:0 True {mirror}"
        # Both write: with host memory, and with memory of their own on the device.
        assert peer.ask("write 2") == "2" and _number(shm.read()) == 2
        assert peer.ask("write_device 3") == "3" and _number(shm.read()) == 3
        peer.say("follow 3")
        shm.write(shm_py.DeviceTensor.from_numpy(_frame(4)), frame_id=4)
        assert peer.hear() == "4"
        host = start("device_peer", shm_name, "None")
        answer = host.ask("read")
        assert answer == "4" if mirror else "cpu_mirror=True" in answer
        for child in (peer, host):
            assert child.ask("close") == "closed"
            child.finish()
        shm.unlink()


def test_devices_are_told_apart_by_identity(
    sim: Simulator, shm_name: str, start: StartChild
) -> None:
    other = {"CUDA_VISIBLE_DEVICES": "1,0"}
    with shm_py.create(shm_name, shape=(WORDS,), dtype="u8", gpu_device="cuda:0") as shm:
        shm.write(_frame(7), frame_id=7)
        peer = start("device_peer", shm_name, "cuda", env=other)
        assert peer.ask("device") == "cuda:1 True False"
        assert peer.ask("read") == "7"
        assert peer.ask("write_device 8") == "2" and _number(shm.read()) == 8
        exact = start("device_peer", shm_name, "cuda:1", env=other)
        assert exact.ask("read") == "8"
        done = subprocess.run(
            [sys.executable, "-c", OPEN, shm_name, "cuda:0"],
            env=environment(other), capture_output=True, text=True, check=False,
        )
        uuids = [device.uuid for device in shm_py.devices()]
        assert done.stdout.startswith("ValueError") and all(uuid in done.stdout for uuid in uuids)
        # A process that does not see the device at all.
        hidden = environment({"CUDA_VISIBLE_DEVICES": "1"})
        done = subprocess.run(
            [sys.executable, "-c", OPEN, shm_name, "cuda"],
            env=hidden, capture_output=True, text=True, check=False,
        )
        assert done.stdout.startswith("ValueError") and uuids[0] in done.stdout
        done = subprocess.run(
            [sys.executable, "-c", OPEN, shm_name, ""],
            env=hidden, capture_output=True, text=True, check=False,
        )
        assert done.stdout == f"{uuids[0]}\n", done.stderr
        shm.unlink()


OPEN = """
import sys, shm_py
try:
    print(shm_py.open(sys.argv[1], gpu_device=sys.argv[2] or None).gpu_device)
except Exception as error:
    print(f"{type(error).__name__}: {error}")
"""


@pytest.mark.parametrize("mirror", [False, True])
def test_snapshots_are_whole_while_another_process_writes(
    sim: Simulator, shm_name: str, start: StartChild, mirror: bool
) -> None:
    with shm_py.create(
        shm_name, shape=(WORDS,), dtype="u8", gpu_device=0, cpu_mirror=mirror
    ) as shm:
        writer = start("device_peer", shm_name, "cuda")
        reader = start("device_peer", shm_name, "cuda")
        writer.say("flood 1.5")
        reader.say("watch 1.5")
        end, seen = time.monotonic() + 1.5, 0
        while time.monotonic() < end:
            found = shm.read_publication()
            assert found.count == 0 or _number(found.payload) == found.frame_id
            seen += found.count > 0
        assert int(writer.hear()) > 0 and int(reader.hear()) > 0 and seen > 0
        for child in (writer, reader):
            child.finish()
        shm.unlink()


def test_a_killed_writer_leaves_the_last_frame(
    sim: Simulator, shm_name: str, start: StartChild
) -> None:
    with shm_py.create(shm_name, shape=(WORDS,), dtype="u8", gpu_device=0) as shm:
        shm.write(_frame(1), frame_id=1)
        writer = start("device_peer", shm_name, "cuda")
        assert writer.ask("half") == "half"
        with pytest.raises(TimeoutError, match=f"process {writer.pid}"):
            shm.write(_frame(2), timeout=0.05)
        writer.kill()
        assert (_number(shm.read()), shm.count) == (1, 1)
        shm.write(_frame(3), frame_id=3, timeout=30.0)
        assert (_number(shm.read()), shm.count) == (3, 2)
        busy = start("device_peer", shm_name, "cuda")
        busy.say("flood 30")
        time.sleep(0.3)
        busy.kill()
        found = shm.read_publication()
        assert _number(found.payload) == found.frame_id
        shm.write(_frame(4), frame_id=4, timeout=30.0)
        assert _number(shm.read()) == 4
        shm.unlink()


def test_a_killed_reader_leaves_nothing(sim: Simulator, shm_name: str, start: StartChild) -> None:
    with shm_py.create(shm_name, shape=(WORDS,), dtype="u8", gpu_device=0) as shm:
        reader = start("device_peer", shm_name, "cuda")
        reader.say("watch 30")
        for number in range(1, 20):
            shm.write(_frame(number), frame_id=number)
        reader.kill()
        shm.write(_frame(20), timeout=30.0)
        assert _number(shm.read()) == 20
        shm.unlink()


@pytest.mark.parametrize("mirror", [False, True])
def test_frames_end_with_their_creator_and_mirrors_do_not(
    sim: Simulator, shm_name: str, start: StartChild, mirror: bool
) -> None:
    options = ["mirror"] if mirror else []
    creator = start("device_peer", shm_name, "cuda:0", "create", WORDS, *options)
    assert creator.ask("write 5") == "1"
    shm = shm_py.open(shm_name, gpu_device="cuda")
    assert _number(shm.read()) == 5
    creator.kill()
    for call in (
        shm.read, shm.view, lambda: shm.write(_frame(1), timeout=30.0),
        lambda: shm.read_new(timeout=30.0), lambda: shm_py.open(shm_name, gpu_device="cuda"),
    ):
        with pytest.raises(RuntimeError, match="has ended or closed it"):
            call()
    assert shm.count == 1
    shm.close()
    with shm_py.open(shm_name) as host:
        assert host.count == 1 and host.gpu_device == "cuda:0"
        if mirror:
            assert host.read().tolist() == [5] * WORDS
    shm_py.unlink(shm_name)


def test_a_readers_memory_outlives_the_creators_handle(
    sim: Simulator, shm_name: str, start: StartChild
) -> None:
    creator = start("device_peer", shm_name, "cuda:0", "create", WORDS)
    assert creator.ask("write 6") == "1"
    shm = shm_py.open(shm_name, gpu_device="cuda")
    assert creator.ask("close") == "closed"
    # Closed, but alive: the memory stays while anybody has it.
    assert _number(shm.read()) == 6
    shm.unlink()
    creator.finish()


def test_the_lock_is_one_for_all_processes(
    sim: Simulator, shm_name: str, start: StartChild
) -> None:
    with shm_py.create(shm_name, shape=(WORDS,), dtype="u8", gpu_device=0) as shm:
        for device in ("cuda", "None"):
            peer = start("device_peer", shm_name, device)
            assert peer.ask("acquire") == "acquired"
            with pytest.raises(TimeoutError):
                shm.write(_frame(1), timeout=0.05)
            assert peer.ask("release") == "released"
            shm.write(_frame(1), timeout=30.0)
            peer.finish()
        shm.unlink()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_child_has_no_device(sim: Simulator, shm_name: str) -> None:
    said = run(
        """
import os, sys
import numpy as np, shm_py
shm = shm_py.create(sys.argv[1], shape=(4,), gpu_device=0, cpu_mirror=True)
shm.write([1, 2, 3, 4])
tensor = shm.read()
child = os.fork()
if child == 0:
    for call in (shm.read, tensor.to_numpy, lambda: shm_py.DeviceTensor.empty((1,))):
        try:
            call()
        except RuntimeError:
            pass
        else:
            os._exit(3)
    # What needs no device works.
    if shm.count != 1 or shm_py.open(sys.argv[1]).read().sum() != 10:
        os._exit(4)
    del tensor, shm
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
shm.write(tensor)
assert shm.read().to_numpy().sum() == 10
print(shm.count)
shm.unlink()
""",
        shm_name,
    )
    assert said == "2\n"


def test_ctrl_c_ends_a_wait(sim: Simulator, shm_name: str) -> None:
    program = """
import sys, shm_py
shm = shm_py.create(sys.argv[1], shape=(4,), gpu_device=0)
print("ready", flush=True)
try:
    shm.read_new()
except KeyboardInterrupt:
    shm.write([1, 2, 3, 4])
    print(shm.count, shm.read().to_numpy().tolist())
shm.unlink()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, shm_name], stdout=subprocess.PIPE, text=True,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.stdout.read() == "1 [1.0, 2.0, 3.0, 4.0]\n"
    assert process.wait(30) == 0
    process.stdout.close()


def test_objects_that_are_left_at_the_end_do_no_harm(sim: Simulator, shm_name: str) -> None:
    said = run(
        """
import sys, shm_py
shm = shm_py.create(sys.argv[1], shape=(4,), gpu_device=0)
shm.write([1, 2, 3, 4])
tensor, view, capsule = shm.read(), shm.view(), shm.read().__dlpack__()
shm_py.unlink(sys.argv[1])
print("end")
""",
        shm_name,
    )
    assert said == "end\n"
