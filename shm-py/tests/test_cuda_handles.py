"""Handles on device streams: with a device and without, what they say, and what ends when."""

from __future__ import annotations

import contextlib
import gc
import pickle
import threading
import time
from typing import Any

import numpy as np
import pytest
import shm_py
from children import run
from children.device_frames import SHAPE, frame, value
from children.simulator import Producer, Simulator
from shm_py import DeviceTensor


def test_closing_inside_of_a_block(sim: Simulator, shm_name: str) -> None:
    shm = shm_py.create(shm_name, shape=SHAPE, gpu_device=0)
    other = shm_py.open(shm_name, gpu_device=0)
    with pytest.raises(RuntimeError, match="closed shared memory"), shm.write_view() as tensor:
        tensor.copy_from(frame(1))
        shm.close()
    assert other.count == 0
    other.write(frame(2))
    assert value(other.read()) == 2
    del tensor
    other.unlink()


@pytest.mark.parametrize("given", [None, False])
def test_a_handle_without_a_device(device_shm: Any, shm_name: str, given: Any) -> None:
    device_shm.write(frame(2), frame_id=9)
    with shm_py.open(shm_name, gpu_device=given) as host:
        assert (host.gpu_device, host.gpu_enabled) == ("cuda:0", True)
        assert (host.count, host.frame_id, host.cpu_mirror) == (1, 9, device_shm.cpu_mirror)
        assert host.wait_for_count(after=0, timeout=1.0) == 1
        if device_shm.cpu_mirror:
            array = host.read()
            assert isinstance(array, np.ndarray) and array.mean() == 2
            with host.view() as view:
                assert isinstance(view.array, np.ndarray)
            assert [found.payload.mean() for found in host.history()] == [2]
            assert np.from_dlpack(host).mean() == 2
        else:
            reads: list[Any] = [host.read, host.view, host.history]
            for read in reads:
                with pytest.raises(RuntimeError, match="cpu_mirror=True"):
                    read()
        writes: list[Any] = [lambda: host.write(frame(1)), host.clear]
        for write in writes:
            with pytest.raises(RuntimeError, match="gpu_device='cuda'"):
                write()
        with pytest.raises(RuntimeError, match="gpu_device='cuda'"), host.write_view():
            pass
        with pytest.raises(RuntimeError, match="gpu_device="):
            host.read(stream=0)
        with pytest.raises(RuntimeError, match="GPU-attached"):
            host.pinned_buffer()
        with host.locked():
            assert host.lock_depth == device_shm.lock_depth == 1
            # The lock is the process's, and the other handle has a device.
            device_shm.write_locked(frame(3))
        assert (device_shm.count, device_shm.lock_depth) == (2, 0)


def test_a_lock_that_was_taken_before_there_was_a_device(device_shm: Any, shm_name: str) -> None:
    said = run(
        """
import sys
import numpy as np, shm_py
host = shm_py.open(sys.argv[1])
with host.locked():
    with shm_py.open(sys.argv[1], gpu_device="cuda") as device:
        try:
            device.write_locked(np.ones((4, 8), "f4"))
        except RuntimeError as error:
            print(error)
with shm_py.open(sys.argv[1], gpu_device="cuda") as device, device.locked():
    device.write_locked(np.ones((4, 8), "f4"))
""",
        shm_name,
    )
    assert "without this device" in said and device_shm.count == 1


def test_opening_on_the_wrong_device(plain_shm: Any, shm_name: str) -> None:
    first, second = (device.uuid for device in shm_py.devices())
    with pytest.raises(ValueError) as caught:
        shm_py.open(shm_name, gpu_device="cuda:1")
    assert first in str(caught.value) and second in str(caught.value)
    with pytest.raises(ValueError, match="does not exist"):
        shm_py.open(shm_name, gpu_device=5)
    for given in ("cuda", "cuda:0", 0, first):
        with shm_py.open(shm_name, gpu_device=given) as handle:
            assert handle.gpu_device == "cuda:0"


def test_a_host_stream_has_no_device(sim: Simulator, shm_name: str) -> None:
    with shm_py.stream(shm_name, shape=(2,)) as shm, shm_py.open(shm_name, gpu_device="cuda") as other:
        assert other.gpu_device is None and isinstance(other.read(), np.ndarray)
        with pytest.raises(RuntimeError, match="gpu_device="):
            shm.write([1, 2], stream=0)


def test_what_is_known_of_a_stream(device_shm: Any, shm_name: str) -> None:
    device_shm.write(frame(1))
    stat = shm_py.stat(shm_name)
    assert (stat["gpu_enabled"], stat["gpu_device"]) == (True, "cuda:0")
    assert stat["cpu_mirror"] is device_shm.cpu_mirror and stat["count"] == 1
    text = device_shm.describe()
    assert "gpu_device:   cuda:0 (sim)" in text and f"cpu_mirror:   {device_shm.cpu_mirror}" in text
    config = device_shm.to_config()
    assert (config["gpu_device"], config["cpu_mirror"]) == ("cuda:0", device_shm.cpu_mirror)
    config["name"] = shm_name + "-again"
    again = shm_py.SharedMemory.create_from_config(config)
    assert (again.gpu_device, again.cpu_mirror) == ("cuda:0", device_shm.cpu_mirror)
    again.unlink()
    assert shm_name in shm_py.list_streams()


def test_pickling_keeps_the_device(device_shm: Any, shm_name: str) -> None:
    device_shm.write(frame(4))
    again = pickle.loads(pickle.dumps(device_shm))
    assert value(again.read()) == 4
    again.close()
    with shm_py.open(shm_name) as host:
        assert pickle.loads(pickle.dumps(host)).gpu_device == "cuda:0"


def test_dlpack_of_a_handle(device_shm: Any) -> None:
    device_shm.write(frame(7))
    assert device_shm.__dlpack_device__() == (2, 0)
    snapshot = DeviceTensor.from_dlpack(Producer(device_shm))
    device_shm.write(frame(8))
    assert value(snapshot) == 7


def test_a_read_only_handle(device_shm: Any, shm_name: str) -> None:
    device_shm.write(frame(1))
    with shm_py.open(shm_name, gpu_device="cuda", readonly=True) as reader:
        assert value(reader.read()) == 1
        calls: list[Any] = [lambda: reader.write(frame(2)), reader.clear, reader.acquire]
        for call in calls:
            with pytest.raises(PermissionError):
                call()


def test_pinned_memory_is_reused(device_shm: Any) -> None:
    staging = device_shm.pinned_buffer()
    assert (staging.shape, staging.dtype, staging.sum()) == (SHAPE, np.float32, 0)
    assert device_shm.pinned_buffer() is staging
    for number in range(1, 5):
        staging[:] = number
        device_shm.write(staging)
        staging[:] = -1
        assert value(device_shm.read()) == number
    device_shm.read().to_numpy(staging)
    assert staging.mean() == 4


def test_after_close(sim: Simulator, shm_name: str) -> None:
    shm = shm_py.create(shm_name, shape=SHAPE, gpu_device=0)
    shm.write(frame(1))
    tensor, view = shm.read(), shm.view()
    shm.close()
    shm.close()
    assert (shm.gpu_device, shm.gpu_enabled, shm.cpu_mirror) == ("cuda:0", True, False)
    for call in (
        shm.read, shm.view, shm.history, shm.clear, shm.pinned_buffer, shm.__dlpack__,
        shm.__dlpack_device__, lambda: shm.write(frame(2)), lambda: shm.read_new(timeout=0.1),
    ):
        with pytest.raises(RuntimeError, match="closed shared memory"):
            call()
    assert value(tensor) == 1
    # A view keeps the frame's memory.
    assert value(view.array) == 1
    del view
    shm.unlink()


def test_closing_ends_waits(plain_shm: Any) -> None:
    outcome: list[Exception] = []

    def wait() -> None:
        try:
            plain_shm.read_new(timeout=30.0)
        except RuntimeError as error:
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    plain_shm.close()
    thread.join(30)
    assert len(outcome) == 1 and "closed while a read was waiting" in str(outcome[0])


def test_a_replaced_stream(sim: Simulator, shm_name: str) -> None:
    old = shm_py.create(shm_name, shape=SHAPE, gpu_device=0)
    with pytest.raises(FileExistsError):
        shm_py.create(shm_name, shape=SHAPE, gpu_device=0)
    reader = shm_py.open(shm_name, gpu_device=0)
    old.write(frame(1))
    assert value(reader.read()) == 1
    new = shm_py.create(shm_name, shape=(2,), dtype="u1", gpu_device=0, replace_existing=True)
    calls: list[Any] = [
        reader.read, lambda: reader.write(frame(2)), lambda: reader.read_new(timeout=5.0)
    ]
    for call in calls:
        with pytest.raises(shm_py.StaleStreamError):
            call()
    with shm_py.open(shm_name, gpu_device=0) as again:
        assert again.shape == (2,)
        new.write([1, 2])
        assert again.read().to_numpy().tolist() == [1, 2]
    for handle in (reader, old, new):
        with contextlib.suppress(shm_py.StaleStreamError):
            handle.unlink()


def test_a_full_device_leaves_nothing_behind(sim: Simulator, shm_name: str) -> None:
    with pytest.raises(MemoryError, match="bytes"):
        shm_py.create(shm_name, shape=(1 << 32,), gpu_device=0)
    assert shm_py.list_streams(shm_name) == []


def test_memory_is_flat_over_attach_cycles(plain_shm: Any, sim: Simulator, shm_name: str) -> None:
    plain_shm.write(frame(1))
    for _ in range(3):
        with shm_py.open(shm_name, gpu_device="cuda") as other:
            other.read()
    before = sim.report()
    for _ in range(50):
        with shm_py.open(shm_name, gpu_device="cuda") as other:
            assert value(other.read()) == 1
    gc.collect()
    after = sim.report()
    for kind in ("allocations", "imports", "streams", "events", "registered", "contexts"):
        assert after[kind] == before[kind], kind


def test_a_failed_device_is_an_error_and_not_a_frame(sim: Simulator, shm_name: str) -> None:
    said = run(
        """
import os, sys
import numpy as np, shm_py
from children.simulator import Simulator
sim = Simulator(os.environ["SHM_CUDA_DRIVER"])
shm = shm_py.create(sys.argv[1], shape=(4,), gpu_device=0, cpu_mirror=True)
shm.write([1, 2, 3, 4])
sim.inject(Simulator.LOST)
for call in (lambda: shm.write([5, 6, 7, 8]), shm.read, lambda: shm_py.DeviceTensor.empty((3,))):
    try:
        call()
    except RuntimeError as error:
        assert "lost" in str(error), error
    else:
        raise AssertionError
host = shm_py.open(sys.argv[1], gpu_device=False)
print(host.count, host.read().tolist())
shm.unlink()
""",
        shm_name,
    )
    assert said == "1 [1.0, 2.0, 3.0, 4.0]\n"
