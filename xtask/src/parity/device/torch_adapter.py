"""Stands in for PyTorch in the GPU tests of pyshmem, on a driver that has no GPU behind it.

A tensor on a device is a shm_py.DeviceTensor, which the package made or was given the memory of. What
PyTorch does by copying or by looking at other parts of the same memory is done with it. What PyTorch
would run a kernel on the device for raises NeedsKernel. A tensor on the host is a NumPy array, and is
there for the tests to compare with.
"""

import types

import numpy as np

import shm_py


class NeedsKernel(RuntimeError):
    """What a test asks for is computed on a device, by PyTorch."""

    def __init__(self, what):
        super().__init__(f"needs a PyTorch kernel: {what}")


class Tensor:
    """What reads of a device stream return, and what tests compare it with."""

    def __init__(self, storage):
        self._storage = storage

    @property
    def device(self):
        if self._on_device:
            kind, index = self._storage.device.split(":")
            return types.SimpleNamespace(type=kind, index=int(index))
        return types.SimpleNamespace(type="cpu", index=None)

    @property
    def dtype(self):
        return self._storage.dtype

    @property
    def shape(self):
        return self._storage.shape

    def detach(self):
        return Tensor(self._storage)

    def cpu(self):
        return Tensor(self._storage.to_numpy()) if self._on_device else self

    def numpy(self):
        if self._on_device:
            raise TypeError(f"can't convert a tensor on {self._storage.device} to numpy; use .cpu()")
        return self._storage

    def tolist(self):
        return self.cpu().numpy().tolist()

    def item(self):
        return self.cpu().numpy().item()

    def __getitem__(self, index):
        if self._on_device:
            return Tensor(shm_py.DeviceTensor.from_interface(_Part(self._storage, index)))
        return Tensor(np.asarray(self._storage[index]))

    def __eq__(self, other):
        return Tensor(np.asarray(self._computed("==") == other._computed("==")))

    __hash__ = object.__hash__

    def __matmul__(self, other):
        raise NeedsKernel("Tensor.__matmul__")

    def __bool__(self):
        return bool(self.item())

    def __repr__(self):
        return f"Tensor({self._storage!r})"

    @property
    def _on_device(self):
        return isinstance(self._storage, shm_py.DeviceTensor)

    def _computed(self, what):
        """The elements, for a computation that happens on the host."""
        if self._on_device:
            raise NeedsKernel(f"{what} of tensors on {self._storage.device}")
        return self._storage


class _Part:
    """The part of a device tensor's memory that an index of integers and slices selects."""

    def __init__(self, whole, index):
        # Where an array of the same form has that part; its elements are not looked at.
        form = np.empty(whole.shape, whole.dtype)
        part = form[(*index, ...) if isinstance(index, tuple) else (index, ...)]
        if not np.may_share_memory(part, form):
            raise NeedsKernel("indexing with arrays")
        address, readonly = whole.__cuda_array_interface__["data"]
        offset = part.__array_interface__["data"][0] - form.__array_interface__["data"][0]
        self.__cuda_array_interface__ = {
            **whole.__cuda_array_interface__,
            "shape": part.shape,
            "strides": part.strides,
            "data": (address + offset, readonly),
        }


def from_package(value):
    """What a call of shm_py returned, as a program that uses PyTorch has it."""
    return Tensor(value) if isinstance(value, shm_py.DeviceTensor) else value


def from_numpy(array):
    return Tensor(array)


def tensor(data):
    array = np.array(data)
    # Python's floats are of PyTorch's default type.
    is_python_float = array.dtype == np.float64 and not isinstance(data, (np.ndarray, np.generic))
    return Tensor(array.astype(np.float32) if is_python_float else array)


def zeros(shape, *, dtype=np.dtype(np.float32)):
    return Tensor(np.zeros(shape, dtype))


def ones(shape, *, dtype=np.dtype(np.float32)):
    return Tensor(np.ones(shape, dtype))


def equal(one, other):
    """As PyTorch, which compares no elements of different types."""
    left, right = one._computed("equal"), other._computed("equal")
    if left.dtype != right.dtype:
        raise RuntimeError(f"expected elements of type {left.dtype}, got {right.dtype}")
    return np.array_equal(left, right)


def all(of):
    return Tensor(np.asarray(np.all(of._computed("all"))))


def _kernel(name):
    def call(*_args, **_keywords):
        raise NeedsKernel(f"torch.{name}")

    return call


arange, linspace, matmul = (_kernel(name) for name in ("arange", "linspace", "matmul"))

float32 = np.dtype(np.float32)

cuda = types.SimpleNamespace(
    is_available=shm_py.gpu_available,
    # There is nothing to wait for: what shm_py queues is done when its calls return, and nobody else
    # queues anything.
    synchronize=lambda: None,
)
