"""A word that the kernel lets a process sleep on, called directly."""

from __future__ import annotations

import ctypes
import errno
import os
import platform

_NUMBERS = {"x86_64": 202, "aarch64": 98, "riscv64": 98}
_WAIT, _WAKE = 0, 1


class _Timespec(ctypes.Structure):
    _fields_ = [("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long)]


class Futex:
    """The first four bytes of a buffer that several processes map."""

    def __init__(self, buffer: memoryview) -> None:
        self._number = _NUMBERS[platform.machine()]
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._word = ctypes.c_uint32.from_buffer(buffer)
        self._address = ctypes.c_void_p(ctypes.addressof(self._word))

    @property
    def value(self) -> int:
        """The word."""
        return self._word.value

    def add_and_wake(self) -> None:
        """Adds one and wakes one sleeper."""
        self._word.value += 1
        self._syscall(self._number, self._address, _WAKE, 1, None, None, 0)

    def wait_while(self, seen: int, seconds: int) -> None:
        """Returns when the word is not `seen`; sleeps until then."""
        patience = _Timespec(seconds, 0)
        while self._word.value == seen:
            found = self._syscall(
                self._number, self._address, _WAIT, seen, ctypes.byref(patience), None, 0
            )
            if found == -1 and ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def close(self) -> None:
        """Lets go of the buffer."""
        del self._word
