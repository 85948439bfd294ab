"""Tensors and modules that one process makes and others use, without copies.

A server process owns the endpoints; clients call them over a Unix socket and get the results as shared
memory, on the host or on a CUDA device. What is managed is leased: a lease ends by release, with its
handle, or with its client, and a server that is gone is known at once.

    # One process.
    from shm_py import share

    provider = share.SharedTensorProvider(execution_mode="server")

    @provider.share(managed=True, cache_format_key="model:{hidden_size}")
    def load_model(hidden_size: int = 4):
        return torch.nn.Linear(hidden_size, 2)

    share.SharedTensorServer(provider).start()

    # Any other of this user.
    client = share.SharedTensorClient()
    with client.call("load_model", hidden_size=4) as handle:
        y = handle.value(x)

Arguments and results are None, bool, int, float, str, bytes, lists, tuples, dicts with str keys, NumPy
arrays, anything with `__dlpack__` or `__cuda_array_interface__`, torch modules, and objects with
`__share_bundle__()`. Nothing is pickled. The guide is docs/share.md.
"""

from ._native import _share_empty as empty
from ._native import _share_socket_path as socket_path
from ._share_async import AsyncSharedTensorClient
from ._share_client import SharedObjectHandle, SharedTensorClient
from ._share_errors import (
    ShareBusyError,
    ShareConnectionError,
    SharedTensorCapabilityError,
    SharedTensorClientError,
    SharedTensorConfigurationError,
    SharedTensorConnectionError,
    SharedTensorError,
    SharedTensorProtocolError,
    SharedTensorProviderError,
    SharedTensorRemoteError,
    SharedTensorSerializationError,
    SharedTensorServerError,
    SharedTensorStaleHandleError,
    SharedTensorTaskError,
    SharedTensorTimeoutError,
    ShareError,
    ShareServerRunningError,
    ShareStaleError,
    ShareTaskError,
    ShareTimeoutError,
)
from ._share_modules import Bundle
from ._share_provider import EndpointDefinition, SharedTensorProvider
from ._share_records import TaskInfo, TaskStatus
from ._share_runtime import cancellation_requested
from ._share_server import SharedTensorServer

__all__ = [
    "AsyncSharedTensorClient",
    "Bundle",
    "EndpointDefinition",
    "ShareBusyError",
    "ShareConnectionError",
    "ShareError",
    "ShareServerRunningError",
    "ShareStaleError",
    "ShareTaskError",
    "ShareTimeoutError",
    "SharedObjectHandle",
    "SharedTensorCapabilityError",
    "SharedTensorClient",
    "SharedTensorClientError",
    "SharedTensorConfigurationError",
    "SharedTensorConnectionError",
    "SharedTensorError",
    "SharedTensorProtocolError",
    "SharedTensorProvider",
    "SharedTensorProviderError",
    "SharedTensorRemoteError",
    "SharedTensorSerializationError",
    "SharedTensorServer",
    "SharedTensorServerError",
    "SharedTensorStaleHandleError",
    "SharedTensorTaskError",
    "SharedTensorTimeoutError",
    "TaskInfo",
    "TaskStatus",
    "cancellation_requested",
    "empty",
    "socket_path",
]

for _public in [globals()[_name] for _name in __all__]:
    # Where people import it from.
    if isinstance(_public, type) and _public.__module__.startswith("shm_py._share_"):
        _public.__module__ = __name__
