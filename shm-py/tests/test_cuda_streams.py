"""Streams whose frames are on a device: what is written and read, and when it is there."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import numpy as np
import pytest
import shm_py
from children import run
from children.device_frames import SHAPE, frame, value
from children.simulator import Interface, Memory, Producer, Simulator
from shm_py import DeviceTensor


def test_a_new_stream_is_zero(device_shm: Any, shm_name: str) -> None:
    assert (device_shm.count, device_shm.frame_id, device_shm.shape, device_shm.owner) == (0, 0, SHAPE, True)
    assert (device_shm.gpu_device, device_shm.gpu_enabled) == ("cuda:0", True)
    assert repr(device_shm) == (
        f"SharedMemory(name={shm_name!r}, shape=(4, 8), dtype='float32', gpu_device='cuda:0')"
    )
    assert value(device_shm.read()) == 0
    assert device_shm.read_publication().count == 0
    assert device_shm.history() == []
    with pytest.raises(RuntimeError, match="no frame yet"):
        device_shm.view()


def test_the_mirror_is_off_unless_asked_for(plain_shm: Any, shm_name: str) -> None:
    assert plain_shm.cpu_mirror is False
    # No byte of host memory for frames: only the header and the control page.
    assert shm_py.stat(shm_name)["segment_bytes"] < 16384 + plain_shm.size
    big = shm_py.create(shm_name + "-big", shape=(1 << 20,), gpu_device=0)
    assert shm_py.stat(big.name)["segment_bytes"] < 65536
    big.unlink()


def test_what_is_written_is_read(device_shm: Any) -> None:
    device_shm.write(frame(1), frame_id=7, acquired_ns=5)
    tensor = device_shm.read()
    assert (tensor.shape, tensor.dtype, tensor.device) == (SHAPE, np.float32, "cuda:0")
    assert value(tensor) == 1 and not tensor.readonly
    assert (device_shm.count, device_shm.frame_id, device_shm.acquired_ns) == (1, 7, 5)
    device_shm.write(frame(2))
    assert device_shm.frame_id == 7, "a frame without an id keeps the one before"
    assert value(tensor) == 1, "a read is a snapshot"
    assert device_shm.age < 60 and device_shm.write_time > 1e9


@pytest.mark.parametrize("kind", ["tensor", "dlpack", "old dlpack", "interface", "other device"])
def test_device_sources(device_shm: Any, kind: str) -> None:
    device = 1 if kind == "other device" else 0
    tensor = DeviceTensor.from_numpy(frame(3), device=device)
    source: Any = {
        "dlpack": Producer(tensor),
        "old dlpack": Producer(tensor, old=True),
        "interface": Interface(**tensor.__cuda_array_interface__),
    }.get(kind, tensor)
    # Devices of the simulator reach each other.
    device_shm.write(source)
    assert value(device_shm.read()) == 3


def test_a_producer_is_told_of_the_callers_stream(plain_shm: Any, sim: Simulator) -> None:
    producer, stream = Producer(DeviceTensor.from_numpy(frame(4))), sim.stream()
    plain_shm.write(producer, stream=stream)
    assert producer.asked["stream"] == stream
    plain_shm.write(producer, stream=0)
    assert producer.asked["stream"] == 1, "the legacy default stream, in the words of DLPack"
    assert plain_shm.count == 2
    sim.destroy(stream)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(64, dtype="f4").reshape(8, 8)[::2],
        np.arange(32, dtype="f4").reshape(8, 4).T,
        np.arange(32, dtype=">f4").reshape(SHAPE),
        np.arange(32, dtype="f8").reshape(SHAPE),
        [[1] * 8] * 4,
    ],
    ids=["strided", "transposed", "swapped", "float64", "lists"],
)
def test_host_sources_are_converted_as_on_the_host(device_shm: Any, array: Any) -> None:
    device_shm.write(array)
    np.testing.assert_array_equal(device_shm.read().to_numpy(), np.asarray(array, "f4"))


def test_wrong_sources_change_nothing(device_shm: Any, sim: Simulator) -> None:
    device_shm.write(frame(1))
    memory = Memory(sim, 1024)
    strided = Interface(
        shape=SHAPE, strides=(64, 4), typestr="<f4", data=(memory.address, False)
    )
    for source, error, text in [
        (np.zeros((8, 4), "f4"), ValueError, "expected shape"),
        (np.zeros(SHAPE, "c8"), TypeError, "cannot cast"),
        (DeviceTensor.empty((8, 4)), ValueError, "expected shape"),
        (DeviceTensor.empty(SHAPE, "f8"), TypeError, "expected dtype float32, got float64"),
        (strided, ValueError, r"\.contiguous\(\)"),
        (Interface(shape=SHAPE, typestr="<f4", data=(1, False)), ValueError, "no device"),
    ]:
        with pytest.raises(error, match=text):
            device_shm.write(source)
    with pytest.raises(TypeError, match="stream is"):
        device_shm.write(frame(2), stream="main")
    with pytest.raises(ValueError, match="stream is -3"):
        device_shm.write(frame(2), stream=-3)
    assert device_shm.count == 1 and value(device_shm.read()) == 1
    memory.free()


def test_data_on_the_callers_stream_is_waited_for(device_shm: Any, sim: Simulator) -> None:
    stream = sim.stream()
    source = DeviceTensor.from_numpy(frame(0))
    sim.delay(20_000, 20_000)
    sim.fill_later(source.ptr, 0x11, source.nbytes, stream)
    device_shm.write(source, stream=stream)
    found = device_shm.read()
    sim.delay(0, 0)
    assert found.to_numpy().tobytes() == b"\x11" * source.nbytes
    sim.destroy(stream)


def test_an_announced_stream_is_waited_for(device_shm: Any, sim: Simulator) -> None:
    stream, memory = sim.stream(), Memory(sim, 128)
    sim.delay(20_000, 20_000)
    sim.fill_later(memory.address, 0x22, 128, stream)
    device_shm.write(
        Interface(shape=SHAPE, typestr="<f4", data=(memory.address, False), stream=stream)
    )
    found = device_shm.read()
    sim.delay(0, 0)
    assert found.to_numpy().tobytes() == b"\x22" * 128
    sim.destroy(stream)
    memory.free()


def test_queued_writes_are_there_when_the_lock_is_free(device_shm: Any, sim: Simulator) -> None:
    stream = sim.stream()
    source = DeviceTensor.from_numpy(frame(0))
    sim.delay(50_000, 50_000)
    with device_shm.locked():
        for number in range(1, 4):
            sim.fill_later(source.ptr, number, source.nbytes, stream)
            device_shm.write_locked(source, frame_id=number * 10, stream=stream)
        device_shm.write_locked(source, stream=stream)
        assert device_shm.count < 4, "queued, not waited for"
        del source
        gc.collect()
    assert (device_shm.count, device_shm.frame_id) == (4, 30)
    found = [publication.payload.to_numpy().tobytes()[0] for publication in device_shm.history()]
    assert found == [1, 2, 3, 3][-len(found):]
    sim.delay(0, 0)
    sim.destroy(stream)


def test_out_is_filled(device_shm: Any) -> None:
    device_shm.write(frame(6))
    out = DeviceTensor.empty(SHAPE)
    address = out.ptr
    assert device_shm.read(out=out) is out and out.ptr == address and value(out) == 6
    assert device_shm.read_publication(out=out).payload is out
    for wrong, error in [
        (np.empty(SHAPE, "f4"), TypeError),
        (DeviceTensor.empty((8, 4)), ValueError),
        (DeviceTensor.empty(SHAPE, "f8"), ValueError),
    ]:
        with pytest.raises(error, match="out"):
            device_shm.read(out=wrong)
        with pytest.raises(error, match="out"):
            device_shm.read_after(0, out=wrong, timeout=1.0)
    with pytest.raises(ValueError, match="safe"):
        device_shm.read(safe=False, out=out)


def test_out_is_used_after_the_callers_work(device_shm: Any, sim: Simulator) -> None:
    device_shm.write(frame(6))
    stream, out = sim.stream(), DeviceTensor.empty(SHAPE)
    sim.delay(20_000, 20_000)
    sim.fill_later(out.ptr, 0xEE, out.nbytes, stream)
    device_shm.read(out=out, stream=stream)
    sim.delay(0, 0)
    assert value(out) == 6, "what was queued before came before"
    sim.destroy(stream)


def test_waits(device_shm: Any) -> None:
    with pytest.raises(TimeoutError):
        device_shm.read_new(timeout=0.05)
    writer = threading.Timer(0.05, lambda: device_shm.write(frame(8), frame_id=3))
    writer.start()
    found = device_shm.read_new_publication(timeout=30.0)
    writer.join()
    assert (found.count, found.frame_id, value(found.payload)) == (1, 3, 8)
    assert device_shm.wait_for_count(after=0, timeout=1.0) == 1
    assert value(device_shm.read_after(0, timeout=1.0)) == 8
    device_shm.write(frame(9))
    device_shm.write(frame(10))
    assert device_shm.read_publication().missed_publications == 1 and device_shm.total_missed_writes == 1


def test_awaiting(device_shm: Any) -> None:
    async def work() -> Any:
        wait = asyncio.ensure_future(device_shm.read_new_async(timeout=30.0))
        await asyncio.sleep(0.02)
        await asyncio.get_running_loop().run_in_executor(None, device_shm.write, frame(5))
        return await wait

    assert value(asyncio.run(work())) == 5


def test_history_and_views(device_shm: Any) -> None:
    for number in range(1, 6):
        device_shm.write(frame(number), frame_id=number)
    history = device_shm.history()
    assert [found.count for found in history] == [3, 4, 5]
    assert [value(found.payload) for found in history] == [3, 4, 5]
    assert [found.count for found in device_shm.history(1)] == [5]
    with device_shm.view() as view:
        assert (view.count, view.frame_id, view.valid) == (5, 5, True)
        assert view.array.readonly and value(view.array) == 5
    device_shm.write(frame(6))
    view.validate()
    for number in range(7, 9):
        device_shm.write(frame(number))
    assert not view.valid
    with pytest.raises(shm_py.FrameOverwrittenError):
        view.validate()
    with pytest.raises(ValueError, match="read-only"):
        view.array.copy_from(frame(0))


def test_a_view_waits_for_the_work_that_reads_it(plain_shm: Any, sim: Simulator) -> None:
    plain_shm.write(frame(1))
    view, stream, copy = plain_shm.view(), sim.stream(), DeviceTensor.empty(SHAPE)
    sim.delay(20_000, 20_000)
    sim.copy_later(copy.ptr, view.array.ptr, copy.nbytes, stream)
    view.validate(stream=stream)
    sim.delay(0, 0)
    assert sim.bytes_at(copy.ptr, copy.nbytes) == frame(1).tobytes()
    sim.destroy(stream)


def test_unsafe_reads_need_the_lock(device_shm: Any) -> None:
    device_shm.write(frame(1))
    with pytest.raises(RuntimeError, match="safe=False requires"):
        device_shm.read(safe=False)
    with device_shm.locked():
        tensor = device_shm.read(safe=False)
        assert tensor.readonly and value(tensor) == 1


@pytest.mark.parametrize("own_stream", [False, True])
def test_frames_are_filled_in_place(device_shm: Any, sim: Simulator, own_stream: bool) -> None:
    device_shm.write(frame(1), frame_id=1)
    stream = sim.stream()
    sim.delay(20_000, 20_000)
    options = {"stream": stream} if own_stream else {}
    with device_shm.write_view(frame_id=2, **options) as tensor:
        assert value(device_shm.read()) == 1 and device_shm.count == 1
        with pytest.raises(RuntimeError, match="write_view"):
            device_shm.write(frame(9))
        # Work of another library, of which nobody here knows more than its stream, if that.
        sim.fill_later(tensor.ptr, 0x41, tensor.nbytes, stream)
    found = device_shm.read()
    sim.delay(0, 0)
    assert found.to_numpy().tobytes() == b"\x41" * 128
    assert (device_shm.count, device_shm.frame_id, device_shm.lock_depth) == (2, 2, 0)
    assert tensor.readonly
    with device_shm.locked(), device_shm.write_view_locked(frame_id=3) as tensor:
        tensor.copy_from(frame(3))
    assert (value(device_shm.read()), device_shm.frame_id, device_shm.lock_depth) == (3, 3, 0)
    sim.destroy(stream)


def test_an_abandoned_frame_is_never_seen(device_shm: Any) -> None:
    device_shm.write(frame(1))
    with pytest.raises(KeyError), device_shm.write_view() as tensor:
        tensor.copy_from(frame(2))
        raise KeyError
    assert device_shm.count == 1 and value(device_shm.read()) == 1
    view = device_shm.write_view()
    view.__enter__().copy_from(frame(3))
    del view, tensor
    gc.collect()
    assert device_shm.count == 1 and device_shm.lock_depth == 0
    device_shm.write(frame(4))
    assert (device_shm.count, value(device_shm.read())) == (2, 4)


def test_clear(device_shm: Any) -> None:
    device_shm.write(frame(1), frame_id=4)
    device_shm.clear()
    assert (value(device_shm.read()), device_shm.count, device_shm.frame_id) == (0, 2, 4)


def test_threads_read_while_one_writes(device_shm: Any) -> None:
    device_shm.write(frame(0), frame_id=0)
    over, wrong = threading.Event(), []

    def read() -> None:
        out = DeviceTensor.empty(SHAPE)
        while not over.is_set():
            found = device_shm.read_publication(out=out)
            if value(found.payload) != found.frame_id:
                wrong.append(found)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(1, 60):
        device_shm.write(frame(number), frame_id=number)
    over.set()
    for reader in readers:
        reader.join(60)
    assert wrong == [] and device_shm.count == 60
