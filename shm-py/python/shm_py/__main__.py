"""The program `shm`: `python -m shm_py ls`, or `shm ls` where the scripts of the package are installed."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Sequence

from ._native import _shm


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line, that of this process if none is given, and returns its exit code.

    It prints to the descriptors of standard output and standard error. Meant for a process that does
    nothing else: Ctrl-C ends the process where a command does not listen for it.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    handler = signal.getsignal(signal.SIGINT)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if handler is not signal.default_int_handler or not in_main_thread:
        return _shm(given)
    # Python's handler only makes a note, for when the call has come back: the program would never hear it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        return _shm(given)
    finally:
        signal.signal(signal.SIGINT, handler)


if __name__ == "__main__":
    sys.exit(main())
