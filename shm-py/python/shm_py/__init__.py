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

Work that must not be lost goes through a Pool: what is published stays until its consumers are done with
it. Arrays that several processes look up by key are in a Store. A TritonClient runs models on an inference
server of this machine, without copying tensors through a connection.
"""

from ._locking import locked_many
from ._native import (
    AlreadyOwned,
    Consumer,
    FrameOverwrittenError,
    FrameView,
    InconsistentStreamError,
    KeyExists,
    KeysMissing,
    Lease,
    Pool,
    PoolError,
    PoolFull,
    Publication,
    Queue,
    Recycler,
    Reservation,
    Retrieved,
    SharedMemory,
    Slot,
    StaleStreamError,
    StaleTicket,
    Store,
    Ticket,
    TritonClient,
    TritonError,
    TritonModel,
    TritonSlot,
    WriteView,
    __version__,
    create,
    gc,
    gpu_available,
    list_streams,
    open,
    pack,
    remove_pool,
    stat,
    unlink,
    unlink_quiet,
    unpack,
)
from ._purging import purge
from ._reports import (
    ConsumerInfo,
    Fsck,
    Overdue,
    PoolInfo,
    PoolStats,
    QueueInfo,
    Reaped,
    SlotHolder,
    SlotReport,
)
from ._scoped import stream
from ._triton import (
    TritonClientStats,
    TritonDuration,
    TritonModelConfig,
    TritonModelMetadata,
    TritonRegion,
    TritonServer,
    TritonSHMClient,
    TritonStatistics,
    TritonSwept,
    TritonTensor,
    TritonTensorMetadata,
)

__all__ = [
    "AlreadyOwned",
    "Consumer",
    "ConsumerInfo",
    "FrameOverwrittenError",
    "FrameView",
    "Fsck",
    "InconsistentStreamError",
    "KeyExists",
    "KeysMissing",
    "Lease",
    "Overdue",
    "Pool",
    "PoolError",
    "PoolFull",
    "PoolInfo",
    "PoolStats",
    "Publication",
    "Queue",
    "QueueInfo",
    "Reaped",
    "Recycler",
    "Reservation",
    "Retrieved",
    "SharedMemory",
    "Slot",
    "SlotHolder",
    "SlotReport",
    "StaleStreamError",
    "StaleTicket",
    "Store",
    "Ticket",
    "TritonClient",
    "TritonClientStats",
    "TritonDuration",
    "TritonError",
    "TritonModel",
    "TritonModelConfig",
    "TritonModelMetadata",
    "TritonRegion",
    "TritonSHMClient",
    "TritonServer",
    "TritonSlot",
    "TritonStatistics",
    "TritonSwept",
    "TritonTensor",
    "TritonTensorMetadata",
    "WriteView",
    "__version__",
    "create",
    "gc",
    "gpu_available",
    "list_streams",
    "locked_many",
    "open",
    "pack",
    "purge",
    "remove_pool",
    "stat",
    "stream",
    "unlink",
    "unlink_quiet",
    "unpack",
]
