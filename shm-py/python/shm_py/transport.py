"""Nested data with tensors in it, from one process to others.

Each tensor on a CUDA device is replaced by a TensorProxy of a few hundred bytes; what comes out travels by
anything that pickles, and is made whole again on the other side:

    from shm_py.transport import Receiver, Sender

    sender = Sender("cuda_ipc_pool", pool=pool)
    queue.put(sender.wrap({"pixels": pixels, "ids": [1, 2]}))

    receiver = Receiver("cuda:0")                              # in another process
    request = receiver.unwrap(queue.get())

mode             a tensor on a device
"default"        is copied to host memory: a slot of `host_pool`, or into the proxy
"cuda_ipc"       is lent as it is, until every consumer has said that it is done
"cuda_ipc_pool"  is copied to a slot of `pool`, a DevicePool, on the device

No library of tensors is imported: tensors are known by `__dlpack__` and `__cuda_array_interface__`.
"""

from ._native import TensorProxy
from ._transport import (
    CudaIpcTensorTransportProxy,
    Receiver,
    ReceiverStats,
    Sender,
    SenderStats,
    TensorQueue,
    TensorTransportMode,
    unwrap_mm_inputs_from_ipc,
    wrap_mm_inputs_for_ipc,
)

__all__ = [
    "CudaIpcTensorTransportProxy",
    "Receiver",
    "ReceiverStats",
    "Sender",
    "SenderStats",
    "TensorProxy",
    "TensorQueue",
    "TensorTransportMode",
    "unwrap_mm_inputs_from_ipc",
    "wrap_mm_inputs_for_ipc",
]
