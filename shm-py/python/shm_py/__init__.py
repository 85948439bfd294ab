"""Tensors between processes, through shared memory, without torn frames and without hangs.

One process creates a stream and writes numpy arrays; any number of processes read the newest complete
one. A process may be killed at any moment: nobody else hangs, and no complete frame is lost.

    import numpy as np
    import shm_py

    camera = shm_py.create("camera", shape=(480, 640), dtype=np.uint8)
    camera.write(np.zeros((480, 640), np.uint8))

    display = shm_py.open("camera")          # in any other process
    image = display.read()                   # the newest frame, at once
    image = display.read_new(timeout=1.0)    # the next one
"""

from ._locking import locked_many
from ._native import (
    FrameOverwrittenError,
    FrameView,
    InconsistentStreamError,
    Publication,
    SharedMemory,
    StaleStreamError,
    WriteView,
    __version__,
    create,
    gc,
    gpu_available,
    list_streams,
    open,
    stat,
    unlink,
    unlink_quiet,
)
from ._purging import purge
from ._scoped import stream

__all__ = [
    "FrameOverwrittenError",
    "FrameView",
    "InconsistentStreamError",
    "Publication",
    "SharedMemory",
    "StaleStreamError",
    "WriteView",
    "__version__",
    "create",
    "gc",
    "gpu_available",
    "list_streams",
    "locked_many",
    "open",
    "purge",
    "stat",
    "stream",
    "unlink",
    "unlink_quiet",
]
