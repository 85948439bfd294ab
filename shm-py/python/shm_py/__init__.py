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
server of this machine, without copying tensors through a connection. `shm_py.share` serves tensors and
modules that one process makes to others that call for them.
"""

import typing as _typing

from ._device_reports import DevicePoolStats
from ._devices import DeviceInfo
from ._locking import locked_many
from ._native import (
    AlreadyOwned,
    Consumer,
    DeviceConsumer,
    DeviceLease,
    DevicePool,
    DeviceSlot,
    DeviceTensor,
    DeviceTicket,
    FrameOverwrittenError,
    FrameView,
    InconsistentStreamError,
    KeyExists,
    KeysMissing,
    Lease,
    NotReady,
    OwnerGone,
    Pool,
    PoolError,
    PoolFull,
    ProducerGone,
    Publication,
    Queue,
    Recycler,
    Reservation,
    Retrieved,
    ShareBusyError,
    ShareConnectionError,
    ShareError,
    ShareServerRunningError,
    ShareStaleError,
    ShareTaskError,
    ShareTimeoutError,
    SharedMemory,
    Slot,
    StaleStreamError,
    StaleTicket,
    Store,
    TensorProxy,
    Ticket,
    TritonClient,
    TritonError,
    TritonModel,
    TritonSlot,
    WriteView,
    __version__,
    create,
    devices,
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

if _typing.TYPE_CHECKING:
    from . import share as share
else:

    def __getattr__(name: str) -> _typing.Any:
        if name == "share":
            # Asked for by few, and a dozen modules.
            import importlib

            return importlib.import_module(".share", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AlreadyOwned",
    "Consumer",
    "ConsumerInfo",
    "DeviceConsumer",
    "DeviceInfo",
    "DeviceLease",
    "DevicePool",
    "DevicePoolStats",
    "DeviceSlot",
    "DeviceTensor",
    "DeviceTicket",
    "FrameOverwrittenError",
    "FrameView",
    "Fsck",
    "InconsistentStreamError",
    "KeyExists",
    "KeysMissing",
    "Lease",
    "NotReady",
    "Overdue",
    "OwnerGone",
    "Pool",
    "PoolError",
    "PoolFull",
    "PoolInfo",
    "PoolStats",
    "ProducerGone",
    "Publication",
    "Queue",
    "QueueInfo",
    "Reaped",
    "Recycler",
    "Reservation",
    "Retrieved",
    "ShareBusyError",
    "ShareConnectionError",
    "ShareError",
    "ShareServerRunningError",
    "ShareStaleError",
    "ShareTaskError",
    "ShareTimeoutError",
    "SharedMemory",
    "Slot",
    "SlotHolder",
    "SlotReport",
    "StaleStreamError",
    "StaleTicket",
    "Store",
    "TensorProxy",
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
    "devices",
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
