"""Does to one device stream what it is told, line by line: `device_peer NAME DEVICE [create WORDS [mirror]]`.

DEVICE is what open() is given, `None` for no device. Answers every line with the result, or with the
type of the exception and its text.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import shm_py


class DevicePeer:
    def __init__(self, name: str, device: str, create: str, words: int, mirror: str) -> None:
        where = None if device == "None" else device
        if create:
            self._shm = shm_py.create(
                name, shape=(words,), dtype="uint64", gpu_device=where, cpu_mirror=mirror == "mirror"
            )
        else:
            self._shm = shm_py.open(name, gpu_device=where)
        self._open = ExitStack()

    def _host(self, frame: Any) -> Any:
        return frame.to_numpy() if isinstance(frame, shm_py.DeviceTensor) else frame

    def _number(self, frame: Any) -> int:
        """The number that all of a frame consists of."""
        values = set(self._host(frame).tolist())
        assert len(values) == 1, f"torn: {sorted(values)[:5]}"
        return int(values.pop())

    def write(self, number: str) -> int:
        self._shm.write(np.full(self._shm.shape, int(number), "u8"), frame_id=int(number))
        return self._shm.count

    def write_device(self, number: str) -> int:
        value = np.full(self._shm.shape, int(number), "u8")
        tensor = shm_py.DeviceTensor.from_numpy(value, device=self._shm.gpu_device or "cuda")
        self._shm.write(tensor, frame_id=int(number))
        return self._shm.count

    def read(self) -> int:
        return self._number(self._shm.read())

    def follow(self, after: str) -> int:
        found = self._shm.read_after_publication(int(after), timeout=30.0)
        number = self._number(found.payload)
        assert number == found.frame_id
        return number

    def watch(self, seconds: str) -> int:
        """Reads again and again; every frame has to be whole and the one that its id says."""
        reads, last, end = 0, 0, os.times().elapsed + float(seconds)
        while os.times().elapsed < end:
            found = self._shm.read_publication()
            if found.count:
                assert self._number(found.payload) == found.frame_id
                assert found.count >= last
                last, reads = found.count, reads + 1
        return reads

    def flood(self, seconds: str) -> int:
        """Writes back to back."""
        number, end = 0, os.times().elapsed + float(seconds)
        tensor = shm_py.DeviceTensor.empty(self._shm.shape, "u8", self._shm.gpu_device or "cuda")
        while os.times().elapsed < end:
            number += 1
            tensor.copy_from(np.full(self._shm.shape, number, "u8"))
            self._shm.write(tensor, frame_id=number)
        return number

    def acquire(self) -> str:
        self._shm.acquire(timeout=30.0)
        return "acquired"

    def release(self) -> str:
        self._shm.release()
        return "released"

    def half(self) -> str:
        """Half of a frame in place, and the lock held."""
        tensor = self._open.enter_context(self._shm.write_view(frame_id=2**63))
        tensor.copy_from(np.full(self._shm.shape, 0xDEAD, "u8"))
        return "half"

    def device(self) -> str:
        return f"{self._shm.gpu_device} {self._shm.gpu_enabled} {self._shm.cpu_mirror}"

    def close(self) -> str:
        self._shm.close()
        return "closed"


def main(
    name: str, device: str, create: str = "", words: str = "1", mirror: str = ""
) -> None:
    peer = DevicePeer(name, device, create, int(words), mirror)
    print("ready")
    for line in sys.stdin:
        command, *arguments = line.split()
        call: Callable[..., object] = getattr(peer, command)
        try:
            print(call(*arguments))
        except Exception as error:
            print(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
