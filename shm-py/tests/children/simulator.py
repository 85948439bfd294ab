"""The simulated CUDA driver, as tests see it: what it has, what it is told, and plain calls of it."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

WORKSPACE = Path(__file__).resolve().parents[3]
LIBRARY = "libshm_cuda_sim.so"


def library() -> Path | None:
    """The simulated driver: the one that the environment names, or the workspace's, built if need be."""
    named = os.environ.get("SHM_CUDA_SIM_LIBRARY")
    if named:
        return Path(named)
    target = Path(os.environ.get("CARGO_TARGET_DIR", WORKSPACE / "target"))
    found = target / "debug" / LIBRARY
    cargo = shutil.which("cargo")
    if not found.is_file() and cargo and (WORKSPACE / "tests" / "cuda-sim").is_dir():
        build = [cargo, "build", "--quiet", "--package", "shm-cuda-sim"]
        subprocess.run(build, cwd=WORKSPACE, check=False)
    return found if found.is_file() else None


class Simulator:
    """The driver that this process uses. Its own calls are made as another library would make them."""

    OUT_OF_MEMORY, LAUNCH_FAILURE, LOST, OPEN_FAILS, REGISTER_FAILS, MEMOP_FAILS = 1, 2, 3, 4, 5, 6

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        self._contexts: dict[int, ctypes.c_void_p] = {}

    def report(self) -> dict[str, Any]:
        """What the driver has at this moment."""
        buffer = ctypes.create_string_buffer(1 << 16)
        tell = self._library.shm_cuda_sim_report
        tell.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
        tell.restype = ctypes.c_size_t
        tell(buffer, len(buffer))
        found: dict[str, Any] = json.loads(buffer.value.decode())
        assert found["sim"] is True
        return found

    def delay(self, low: int, high: int) -> None:
        """From now on every copy takes that many microseconds."""
        tell = self._library.shm_cuda_sim_set_delay_us
        tell.argtypes = [ctypes.c_uint64, ctypes.c_uint64]
        tell.restype = None
        tell(low, high)

    def inject(self, kind: int, after: int = 1) -> None:
        """The call of that kind fails which is the `after`-th from now."""
        tell = self._library.shm_cuda_sim_inject
        tell.argtypes = [ctypes.c_uint32, ctypes.c_uint64]
        tell.restype = None
        tell(kind, after)

    def call(self, name: str, *arguments: Any, ordinal: int = 0) -> None:
        """A call of the driver with the primary context of a device."""
        self._check("cuCtxSetCurrent", self._context(ordinal))
        self._check(name, *arguments)

    def _context(self, ordinal: int) -> ctypes.c_void_p:
        if ordinal not in self._contexts:
            self._check("cuInit", 0)
            context = ctypes.c_void_p()
            self._check("cuDevicePrimaryCtxRetain", ctypes.byref(context), ordinal)
            self._contexts[ordinal] = context
        return self._contexts[ordinal]

    def release(self) -> None:
        """Gives back the contexts that the calls have used."""
        self._check("cuCtxSetCurrent", None)
        for ordinal in self._contexts:
            self._check("cuDevicePrimaryCtxRelease_v2", ordinal)
        self._contexts.clear()

    def _check(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        assert code == 0, f"{name} returned {code}"

    def bytes_at(self, address: int, length: int) -> bytes:
        """What device memory holds."""
        buffer = ctypes.create_string_buffer(length)
        self.call("cuMemcpyDtoH_v2", buffer, ctypes.c_uint64(address), ctypes.c_size_t(length))
        return buffer.raw

    def stream(self, ordinal: int = 0) -> int:
        """A new stream of work that waits for no other."""
        handle = ctypes.c_void_p()
        self.call("cuStreamCreate", ctypes.byref(handle), ctypes.c_uint(1), ordinal=ordinal)
        assert handle.value is not None
        return handle.value

    def destroy(self, stream: int) -> None:
        self.call("cuStreamDestroy_v2", ctypes.c_void_p(stream))

    def is_busy(self, stream: int) -> bool:
        """Whether something that was queued on it is not done."""
        self._check("cuCtxSetCurrent", self._context(0))
        code: int = self._library.cuStreamQuery(ctypes.c_void_p(stream))
        assert code in (0, 600), f"cuStreamQuery returned {code}"
        return code == 600

    def synchronize(self, stream: int) -> None:
        self.call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def fill_later(self, address: int, value: int, length: int, stream: int) -> None:
        """Queues that bytes of device memory become `value`, after having been something else for
        longer than any one copy takes."""
        for byte in (*[value ^ 0xFF] * 4, value):
            arguments = (ctypes.c_uint64(address), ctypes.c_ubyte(byte), ctypes.c_size_t(length))
            self.call("cuMemsetD8Async", *arguments, ctypes.c_void_p(stream))

    def copy_later(self, target: int, source: int, length: int, stream: int) -> None:
        """Queues a copy of device memory."""
        arguments = (ctypes.c_uint64(target), ctypes.c_uint64(source), ctypes.c_size_t(length))
        self.call("cuMemcpyDtoDAsync_v2", *arguments, ctypes.c_void_p(stream))


class Memory:
    """Device memory that another library has allocated."""

    def __init__(self, simulator: Simulator, length: int, ordinal: int = 0) -> None:
        self._simulator, self._ordinal = simulator, ordinal
        address = ctypes.c_uint64()
        simulator.call(
            "cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(length), ordinal=ordinal
        )
        self.address, self.length = address.value, length

    def free(self) -> None:
        self._simulator.call("cuMemFree_v2", ctypes.c_uint64(self.address), ordinal=self._ordinal)


class Interface:
    """An array of a library that knows `__cuda_array_interface__` only."""

    def __init__(self, **fields: Any) -> None:
        self.__cuda_array_interface__ = {"version": 3, "strides": None, "stream": None, **fields}


class Producer:
    """A tensor of a library that knows DLPack, over one of ours; it notes how it was asked."""

    def __init__(self, tensor: Any, old: bool = False) -> None:
        self._tensor, self._old = tensor, old
        self.asked: dict[str, Any] = {}

    def __dlpack_device__(self) -> tuple[int, int]:
        device: tuple[int, int] = self._tensor.__dlpack_device__()
        return device

    def __dlpack__(self, **keywords: Any) -> Any:
        if self._old and "max_version" in keywords:
            raise TypeError("__dlpack__() got an unexpected keyword argument 'max_version'")
        self.asked = keywords
        return self._tensor.__dlpack__(**keywords)
