"""Device tensors: what they are, and how they go to and come from other libraries."""

from __future__ import annotations

import ctypes
import gc
import re
import weakref
from typing import Any

import numpy as np
import pytest
import shm_py
from children.simulator import Interface, Memory, Producer, Simulator
from shm_py import DeviceTensor

DTYPES = [
    "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16",
    "float32", "float64", "complex64", "complex128",
]


def _values(shape: tuple[int, ...], dtype: str) -> Any:
    count = int(np.prod(shape, dtype=int))
    return (np.arange(count) % 2 if dtype == "bool" else np.arange(count)).reshape(shape).astype(dtype)


def test_devices_are_listed(sim: Simulator) -> None:
    found = shm_py.devices()
    assert [device.ordinal for device in found] == list(range(len(found))) and len(found) == 2
    for device in found:
        assert isinstance(device, shm_py.DeviceInfo)
        assert device.simulated and device.name.startswith("sim")
        assert 0 < device.free <= device.total
        assert re.fullmatch("GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", device.uuid)
    assert found[0].uuid != found[1].uuid
    assert shm_py.gpu_available() is True


@pytest.mark.parametrize("dtype", DTYPES)
def test_host_arrays_go_there_and_back(sim: Simulator, dtype: str) -> None:
    array = _values((3, 5), dtype)
    tensor = DeviceTensor.from_numpy(array)
    assert (tensor.shape, tensor.dtype, tensor.device) == ((3, 5), np.dtype(dtype), "cuda:0")
    assert (tensor.strides, tensor.ndim, tensor.size) == (array.strides, 2, 15)
    assert (tensor.nbytes, tensor.readonly, tensor.simulated) == (array.nbytes, False, True)
    back = tensor.to_numpy()
    assert back.dtype == array.dtype and back.flags.c_contiguous and back.flags.writeable
    np.testing.assert_array_equal(back, array)
    assert sim.bytes_at(tensor.ptr, tensor.nbytes) == array.tobytes()


def test_bfloat16_goes_by_dlpack(sim: Simulator) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    array = np.arange(8).astype(ml_dtypes.bfloat16)
    tensor = DeviceTensor.from_numpy(array)
    assert tensor.dtype == array.dtype and tensor.to_numpy().tobytes() == array.tobytes()
    assert not hasattr(tensor, "__cuda_array_interface__")
    again = DeviceTensor.from_dlpack(Producer(tensor))
    assert (again.dtype, again.ptr) == (array.dtype, tensor.ptr)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24).reshape(4, 6)[::2, 1::2],
        np.arange(6.0).reshape(2, 3).T,
        np.arange(4, dtype=">i4"),
        np.float32(7),
        [[1, 2], [3, 4]],
    ],
    ids=["strided", "transposed", "swapped", "scalar", "lists"],
)
def test_any_host_layout_is_copied_right(sim: Simulator, array: Any) -> None:
    tensor = DeviceTensor.from_numpy(array, device="cuda:1")
    assert (tensor.device, tensor.shape) == ("cuda:1", np.shape(array))
    np.testing.assert_array_equal(tensor.to_numpy(), array)


def test_out_and_pinned_targets(sim: Simulator) -> None:
    tensor = DeviceTensor.from_numpy(np.arange(6, dtype="int16").reshape(2, 3))
    out = np.zeros((2, 3), "int16")
    assert tensor.to_numpy(out) is out and out.sum() == 15
    for wrong in (np.zeros((3, 2), "int16"), np.zeros((2, 3), "int32"), out.T):
        with pytest.raises(ValueError, match="out"):
            tensor.to_numpy(wrong)


@pytest.mark.parametrize(
    ("shape", "dtype", "device", "error"),
    [
        ((0,), "u1", 0, ValueError),
        ((-1,), "u1", 0, ValueError),
        (3, "u1", 0, TypeError),
        ((3,), "U4", 0, ValueError),
        ((3,), "u1", "cpu", ValueError),
        ((3,), "u1", False, ValueError),
        ((3,), "u1", 9, ValueError),
        ((3,), "u1", "cuda:x", ValueError),
        ((1 << 40,), "u1", 0, MemoryError),
    ],
)
def test_wrong_tensors(
    sim: Simulator, shape: Any, dtype: str, device: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        DeviceTensor.empty(shape, dtype, device)


def test_a_device_can_be_named_by_its_identity(sim: Simulator) -> None:
    uuid = shm_py.devices()[1].uuid
    assert DeviceTensor.empty((1,), device=uuid).device == "cuda:1"


def test_a_missing_device_is_named(sim: Simulator) -> None:
    with pytest.raises(ValueError, match="device 7 does not exist: this process sees 2"):
        DeviceTensor.empty((1,), device="cuda:7")


def test_repr_says_that_it_is_simulated(sim: Simulator) -> None:
    tensor = DeviceTensor.empty((2, 3), "uint8")
    assert repr(tensor) == "DeviceTensor(shape=(2, 3), dtype='uint8', device='cuda:0' (sim))"


def test_memory_is_freed_with_the_last_owner(sim: Simulator) -> None:
    begun = sim.report()["allocations"]
    tensor = DeviceTensor.from_numpy(np.arange(100))
    capsule = tensor.__dlpack__()
    borrowed = DeviceTensor.from_dlpack(tensor)
    assert sim.report()["allocations"] == begun + 1
    address, alive = tensor.ptr, weakref.ref(tensor)
    del tensor
    gc.collect()
    assert alive() is None
    assert sim.bytes_at(address, 800) == np.arange(100).tobytes()
    del capsule
    assert sim.report()["allocations"] == begun + 1
    del borrowed
    gc.collect()
    assert sim.report()["allocations"] == begun


def test_the_interface_is_version_3(sim: Simulator) -> None:
    array = np.arange(6, dtype="float32").reshape(2, 3)
    tensor = DeviceTensor.from_numpy(array)
    interface = tensor.__cuda_array_interface__
    assert interface == {
        "shape": (2, 3), "typestr": "<f4", "data": (tensor.ptr, False), "strides": None,
        "stream": None, "version": 3,
    }
    # As another library would use it, which does not wait: the data is there.
    assert sim.bytes_at(interface["data"][0], 24) == array.tobytes()


def test_memory_of_an_interface_is_borrowed(sim: Simulator) -> None:
    memory = Memory(sim, 64)
    owner = Interface(shape=(2, 4), typestr="<u8", data=(memory.address, False))
    alive = weakref.ref(owner)
    tensor = DeviceTensor.from_interface(owner)
    assert (tensor.ptr, tensor.shape, tensor.dtype) == (memory.address, (2, 4), np.dtype("u8"))
    array = np.arange(8, dtype="u8").reshape(2, 4)
    tensor.copy_from(array)
    assert sim.bytes_at(memory.address, 64) == array.tobytes()
    del owner
    gc.collect()
    assert alive() is not None, "the tensor keeps what its memory is from"
    del tensor
    gc.collect()
    assert alive() is None
    memory.free()


@pytest.mark.parametrize("asked", ["handle", "legacy", "unsaid"])
def test_an_interfaces_stream_is_waited_for(sim: Simulator, asked: str) -> None:
    sim.delay(20_000, 20_000)
    memory, own = Memory(sim, 32), sim.stream()
    stream = own if asked == "handle" else 1
    sim.fill_later(memory.address, 0x55, 32, stream)
    fields: dict[str, Any] = {"stream": stream}
    if asked == "unsaid":
        fields = {"version": 2}
    source = Interface(shape=(32,), typestr="|u1", data=(memory.address, False), **fields)
    target = DeviceTensor.empty((32,), "uint8")
    target.copy_from(source)
    assert target.to_numpy().tolist() == [0x55] * 32
    sim.delay(0, 0)
    sim.destroy(own)
    memory.free()


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"typestr": None}, "no typestr"),
        ({"shape": None}, "no shape"),
        ({"data": None}, "no data"),
        ({"version": None}, "no version"),
        ({"typestr": ">f4"}, "order"),
        ({"typestr": "<U4"}, "not supported"),
        ({"shape": (0,)}, "at least 1"),
        ({"shape": (-4,)}, "at least 1"),
        ({"shape": (1 << 40,)}, "bytes of memory at"),
        ({"shape": (1 << 62, 8)}, "more bytes than"),
        ({"data": (0, False)}, "bytes of memory at 0x0"),
        ({"strides": (3,)}, "no multiple"),
        ({"strides": (4, 4)}, "1 dimensions and 2 strides"),
        ({"strides": (1 << 62,)}, "farther|bytes of memory"),
        ({"strides": (-4,)}, "bytes of memory"),
        ({"mask": 1}, "masked"),
        ({"stream": 0}, "stream 0"),
    ],
)
def test_interfaces_that_say_nonsense(
    sim: Simulator, fields: dict[str, Any], error: str
) -> None:
    memory = Memory(sim, 16)
    whole: dict[str, Any] = {"shape": (4,), "typestr": "<f4", "data": (memory.address, False)}
    with pytest.raises(ValueError, match=error):
        DeviceTensor.from_interface(Interface(**{**whole, **fields}))
    memory.free()


def test_host_and_freed_memory_is_no_device_memory(sim: Simulator) -> None:
    array = np.zeros(4, "f4")
    memory = Memory(sim, 16)
    memory.free()
    for address in (array.ctypes.data, memory.address):
        with pytest.raises(ValueError, match="no device of this process"):
            DeviceTensor.from_interface(
                Interface(shape=(4,), typestr="<f4", data=(address, False))
            )


def test_a_strided_tensor_is_borrowed_but_not_copied(sim: Simulator) -> None:
    memory = Memory(sim, 64)
    fields: dict[str, Any] = {"typestr": "<f4", "data": (memory.address, False)}
    tensor = DeviceTensor.from_interface(Interface(shape=(2, 4), strides=(32, 4), **fields))
    assert tensor.strides == (32, 4)
    assert tensor.__cuda_array_interface__["strides"] == (32, 4)
    again = DeviceTensor.from_dlpack(Producer(tensor))
    assert again.strides == (32, 4)
    with pytest.raises(ValueError, match=re.escape(".contiguous()")):
        tensor.to_numpy()
    with pytest.raises(ValueError, match=re.escape(".contiguous()")):
        DeviceTensor.empty((2, 4)).copy_from(tensor)
    # The stride of a dimension of one element means nothing.
    one = DeviceTensor.from_interface(Interface(shape=(1, 4), strides=(400, 4), **fields))
    assert one.to_numpy().shape == (1, 4)
    del tensor, again, one
    memory.free()


def test_read_only_memory_stays_so(sim: Simulator) -> None:
    memory = Memory(sim, 16)
    tensor = DeviceTensor.from_interface(
        Interface(shape=(4,), typestr="<f4", data=(memory.address, True))
    )
    assert tensor.readonly and tensor.__cuda_array_interface__["data"] == (memory.address, True)
    with pytest.raises(ValueError, match="read-only"):
        tensor.copy_from(np.zeros(4, "f4"))
    with pytest.raises(BufferError):
        tensor.__dlpack__()
    assert DeviceTensor.from_dlpack(Producer(tensor)).readonly
    del tensor
    memory.free()


@pytest.mark.parametrize("old", [False, True])
def test_dlpack_is_borrowed(sim: Simulator, old: bool) -> None:
    tensor = DeviceTensor.from_numpy(np.arange(6.0).reshape(2, 3))
    producer = Producer(tensor, old)
    again = DeviceTensor.from_dlpack(producer)
    assert (again.ptr, again.shape, again.dtype) == (tensor.ptr, (2, 3), np.dtype("f8"))
    assert producer.asked["stream"] > 2, "the producer is told of a stream of ours"
    assert ("max_version" in producer.asked) is not old
    again.copy_from(np.ones((2, 3)))
    assert tensor.to_numpy().tolist() == [[1.0] * 3] * 2


class _Late:
    """A producer that makes the consumer's stream wait for work of its own."""

    def __init__(self, sim: Simulator, tensor: DeviceTensor) -> None:
        self._sim, self._tensor = sim, tensor

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._tensor.__dlpack_device__()

    def __dlpack__(self, *, stream: int, max_version: Any = None) -> Any:
        self._sim.fill_later(self._tensor.ptr, 0x77, self._tensor.nbytes, stream)
        return self._tensor.__dlpack__(stream=stream, max_version=max_version)


def test_a_producers_work_is_waited_for(sim: Simulator) -> None:
    tensor = DeviceTensor.from_numpy(np.zeros(64, "u1"))
    other = DeviceTensor.from_numpy(np.zeros(64, "u1"), device=1)
    sim.delay(20_000, 20_000)
    other.copy_from(_Late(sim, tensor))
    sim.delay(0, 0)
    assert other.to_numpy().tolist() == [0x77] * 64
    tensor.copy_from(np.zeros(64, "u1"))
    sim.delay(20_000, 20_000)
    borrowed = DeviceTensor.from_dlpack(_Late(sim, tensor))
    # Whoever is given it without waiting finds the data.
    assert sim.bytes_at(borrowed.__cuda_array_interface__["data"][0], 64) == b"\x77" * 64


def _capsule_name(capsule: Any) -> str:
    name = ctypes.pythonapi.PyCapsule_GetName
    name.argtypes, name.restype = [ctypes.py_object], ctypes.c_char_p
    found: bytes = name(capsule)
    return found.decode()


def test_capsules_are_of_the_kind_that_was_asked_for(sim: Simulator) -> None:
    tensor = DeviceTensor.from_numpy(np.arange(4, dtype="i8"), device=1)
    assert tensor.__dlpack_device__() == (2, 1)
    assert _capsule_name(tensor.__dlpack__()) == "dltensor"
    assert _capsule_name(tensor.__dlpack__(max_version=(0, 8))) == "dltensor"
    assert _capsule_name(tensor.__dlpack__(max_version=(1, 0))) == "dltensor_versioned"
    for stream in (None, -1, 1, 2, sim.stream(1)):
        tensor.__dlpack__(stream=stream)
        if stream is not None and stream > 2:
            sim.destroy(stream)
    for wrong in (0, -2):
        with pytest.raises(ValueError, match="stream"):
            tensor.__dlpack__(stream=wrong)
    with pytest.raises(BufferError):
        tensor.__dlpack__(dl_device=(2, 0))
    with pytest.raises(BufferError):
        tensor.__dlpack__(dl_device=(1, 0), copy=False)


class _Fields(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16), ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)), ("byte_offset", ctypes.c_uint64),
    ]


def test_a_consumer_finds_what_the_standard_says(sim: Simulator) -> None:
    array = np.arange(6, dtype="f4").reshape(2, 3)
    tensor = DeviceTensor.from_numpy(array)
    capsule = tensor.__dlpack__()
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.argtypes, pointer.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p
    found = _Fields.from_address(pointer(capsule, b"dltensor"))
    assert (found.device_type, found.device_id, found.ndim) == (2, 0, 2)
    assert (found.code, found.bits, found.lanes) == (2, 32, 1)
    assert (found.shape[:2], found.strides[:2]) == ([2, 3], [3, 1])
    assert sim.bytes_at(found.data + found.byte_offset, 24) == array.tobytes()


def test_copies_are_made_if_asked_for(sim: Simulator) -> None:
    tensor = DeviceTensor.from_numpy(np.arange(4.0))
    copy = DeviceTensor.from_dlpack(Producer(_Copying(tensor)))
    assert copy.ptr != tensor.ptr
    tensor.copy_from(np.zeros(4))
    assert copy.to_numpy().tolist() == [0, 1, 2, 3]
    if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
        host = np.from_dlpack(tensor, device="cpu")
        assert host.tolist() == [0.0] * 4


class _Copying:
    def __init__(self, tensor: DeviceTensor) -> None:
        self._tensor = tensor

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._tensor.__dlpack_device__()

    def __dlpack__(self, **keywords: Any) -> Any:
        return self._tensor.__dlpack__(**{**keywords, "copy": True})


def test_what_is_no_device_memory_is_refused(sim: Simulator) -> None:
    with pytest.raises(ValueError, match="from_numpy"):
        DeviceTensor.from_dlpack(np.zeros(3))
    with pytest.raises(TypeError, match="__dlpack__"):
        DeviceTensor.from_dlpack([1, 2])
    with pytest.raises(TypeError, match="__cuda_array_interface__"):
        DeviceTensor.from_interface(np.zeros(3))


@pytest.mark.parametrize("ordinal", [0, 1])
def test_copy_from_everything(sim: Simulator, ordinal: int) -> None:
    array = np.arange(8, dtype="i4")
    source = DeviceTensor.from_numpy(array, device=ordinal)
    kinds = [array, array.tolist(), source, Producer(source), Interface(**source.__cuda_array_interface__)]
    kinds[1] = np.array(kinds[1], "i4")
    for kind in kinds:
        target = DeviceTensor.from_numpy(np.zeros(8, "i4"))
        target.copy_from(kind)
        assert target.to_numpy().tolist() == array.tolist()
    with pytest.raises(ValueError, match="expected shape"):
        DeviceTensor.empty((2, 4), "i4").copy_from(source)
    with pytest.raises(TypeError, match="expected dtype float32, got int32"):
        DeviceTensor.empty((8,), "f4").copy_from(source)


class _Torch:
    def __init__(self, handle: int) -> None:
        self.cuda_stream = handle


class _CuPy:
    def __init__(self, handle: int) -> None:
        self.ptr = handle


class _Protocol:
    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __cuda_stream__(self) -> tuple[int, int]:
        return (0, self._handle)


@pytest.mark.parametrize("kind", [int, np.int64, _Torch, _CuPy, _Protocol])
def test_work_on_the_callers_stream_comes_first(sim: Simulator, kind: Any) -> None:
    stream = sim.stream()
    source = DeviceTensor.from_numpy(np.zeros(32, "u1"))
    target = DeviceTensor.empty((32,), "u1")
    sim.delay(20_000, 20_000)
    sim.fill_later(source.ptr, 0x31, 32, stream)
    target.copy_from(source, stream=kind(stream))
    assert target.to_numpy().tolist() == [0x31] * 32
    sim.fill_later(source.ptr, 0x32, 32, stream)
    assert source.to_numpy(stream=kind(stream)).tolist() == [0x32] * 32
    sim.delay(0, 0)
    sim.destroy(stream)


@pytest.mark.parametrize(("wrong", "error"), [(-1, ValueError), ("x", TypeError), (True, TypeError)])
def test_streams_that_are_none(sim: Simulator, wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="stream"):
        DeviceTensor.empty((1,)).to_numpy(stream=wrong)


def test_a_full_device_is_a_memory_error(sim: Simulator) -> None:
    DeviceTensor.empty((1,))
    sim.inject(Simulator.OUT_OF_MEMORY)
    with pytest.raises(MemoryError, match="no room"):
        DeviceTensor.empty((8,))
    assert DeviceTensor.empty((8,)).nbytes == 32
