"""Errors of the share service: what the extension raises, under the names that users of it know.

A failure that a server reports is a SharedTensorRemoteError, and also of the class of its kind: one that
says that a task failed is a SharedTensorTaskError too. Catch whichever is at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Optional, TypeVar

from ._native import (
    ShareBusyError,
    ShareConnectionError,
    ShareError,
    ShareServerRunningError,
    ShareStaleError,
    ShareTaskError,
    ShareTimeoutError,
)

__all__ = [
    "ShareBusyError",
    "ShareConnectionError",
    "ShareError",
    "ShareServerRunningError",
    "ShareStaleError",
    "ShareTaskError",
    "ShareTimeoutError",
    "SharedTensorCapabilityError",
    "SharedTensorClientError",
    "SharedTensorConfigurationError",
    "SharedTensorConnectionError",
    "SharedTensorError",
    "SharedTensorProtocolError",
    "SharedTensorProviderError",
    "SharedTensorRemoteError",
    "SharedTensorSerializationError",
    "SharedTensorServerError",
    "SharedTensorStaleHandleError",
    "SharedTensorTaskError",
    "SharedTensorTimeoutError",
]

_Result = TypeVar("_Result")

#: Base of all errors of the service.
SharedTensorError = ShareError


class SharedTensorConfigurationError(ShareError):
    """Options that contradict each other, unknown values of them, key formats that name no argument."""


class SharedTensorProtocolError(ShareError):
    """The other side does not speak this protocol, or not as agreed."""


class SharedTensorSerializationError(ShareError):
    """A value that cannot travel, or that cannot be made of what arrived."""


class SharedTensorCapabilityError(ShareError):
    """Something that this server, client or machine cannot do."""


class SharedTensorProviderError(ShareError):
    """No endpoint of that name, or one too many."""


class SharedTensorServerError(ShareError):
    """A server that cannot begin or go on."""


class SharedTensorTaskError(ShareTaskError):
    """A task that failed, was cancelled, is not over in time or is not there."""


class SharedTensorClientError(ShareError):
    """No server there, a connection that is gone, no answer in time."""


class SharedTensorTimeoutError(SharedTensorClientError, ShareTimeoutError):
    """No answer in time; the server was told that nobody waits any more."""


class SharedTensorStaleHandleError(ShareStaleError):
    """A managed object that is gone.

    reason: "object_missing" (its server does not know it any more), "server_mismatch" (another server
    answers now) or "server_gone" (none does).
    """

    def __init__(
        self,
        message: str,
        *,
        object_id: Optional[str] = None,
        server_id: Optional[str] = None,
        reason: Optional[str] = None,
    ) -> None:
        super().__init__(message)
        self.object_id = object_id
        self.server_id = server_id
        self.reason = reason


class SharedTensorRemoteError(ShareError):
    """A failure that the server reports.

    code: 1 protocol, 2 endpoint, 3 value, 4 capability, 5 task, 6 configuration, 7 the endpoint's own
    code, 8 stale, 9 busy, 10 stopping, 11 cancelled, 12 permission. error_type: the class that the
    endpoint raised. data: more of it by name, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        code: Optional[int] = None,
        data: Any = None,
        error_type: Optional[str] = None,
    ) -> None:
        Exception.__init__(self, message)
        self.code = code  # type: ignore[assignment]
        self.data = data
        self.error_type = error_type  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (self.code, self.args, dict(vars(self)))


class SharedTensorConnectionError(SharedTensorClientError, ShareConnectionError):
    """No server there, one that is gone, or one of a user who is not trusted."""


class _RemoteProtocolError(SharedTensorRemoteError, SharedTensorProtocolError):
    pass


class _RemoteProviderError(SharedTensorRemoteError, SharedTensorProviderError):
    pass


class _RemoteSerializationError(SharedTensorRemoteError, SharedTensorSerializationError):
    pass


class _RemoteCapabilityError(SharedTensorRemoteError, SharedTensorCapabilityError):
    pass


class _RemoteTaskError(SharedTensorRemoteError, SharedTensorTaskError):
    pass


class _RemoteConfigurationError(SharedTensorRemoteError, SharedTensorConfigurationError):
    pass


class _RemoteStaleError(SharedTensorRemoteError, SharedTensorStaleHandleError):
    object_id = None
    server_id = None
    reason = "object_missing"


class _RemoteBusyError(SharedTensorRemoteError, ShareBusyError):
    pass


_BUILD = 7
_REMOTE: dict[int, type[SharedTensorRemoteError]] = {
    1: _RemoteProtocolError,
    2: _RemoteProviderError,
    3: _RemoteSerializationError,
    4: _RemoteCapabilityError,
    5: _RemoteTaskError,
    6: _RemoteConfigurationError,
    8: _RemoteStaleError,
    9: _RemoteBusyError,
}
#: Endpoints may raise these, and key functions do: the number says what they mean.
_OF_TYPE = {
    "SharedTensorProtocolError": 1,
    "SharedTensorProviderError": 2,
    "SharedTensorSerializationError": 3,
    "SharedTensorCapabilityError": 4,
    "SharedTensorTaskError": 5,
    "SharedTensorConfigurationError": 6,
    "SharedTensorStaleHandleError": 8,
}
for _kind in _REMOTE.values():
    # Shown as what they are to whoever reads a traceback.
    _kind.__name__ = _kind.__qualname__ = "SharedTensorRemoteError"
    _kind.__module__ = "shm_py.share"


def remote_error(
    message: str,
    code: int,
    *,
    error_type: Optional[str] = None,
    details: Optional[dict[str, str]] = None,
) -> SharedTensorRemoteError:
    """The error of a failure that a server reported, or would report."""
    if code == _BUILD and error_type is not None:
        code = _OF_TYPE.get(error_type, code)
    said = {"code": code, "data": details or None, "error_type": error_type, "details": details or {}}
    return _remade(code, (f"Remote error [{code}]: {message}",), said)


def _remade(code: Optional[int], arguments: tuple[Any, ...], said: dict[str, Any]) -> SharedTensorRemoteError:
    """An error of the class of its kind; pickled ones come back this way."""
    kind = SharedTensorRemoteError if code is None else _REMOTE.get(code, SharedTensorRemoteError)
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    vars(error).update(said)
    return error


def translated(error: BaseException) -> BaseException:
    """An error of the extension under the name that it has here; any other as it is."""
    if not isinstance(error, ShareError) or isinstance(error, _TRANSLATED):
        return error
    found: BaseException
    if isinstance(error, ShareTimeoutError):
        found = SharedTensorTimeoutError(str(error))
    elif isinstance(error, ShareConnectionError):
        found = SharedTensorConnectionError(str(error))
    else:
        code = getattr(error, "code", 0)
        if not code:
            return error
        found = remote_error(
            str(error),
            code,
            error_type=getattr(error, "error_type", None) or None,
            details=getattr(error, "details", None),
        )
    for name in ("kind", "details") if not isinstance(found, SharedTensorRemoteError) else ("kind",):
        if hasattr(error, name):
            setattr(found, name, getattr(error, name))
    return found


_TRANSLATED = (
    SharedTensorClientError,
    SharedTensorConfigurationError,
    SharedTensorProtocolError,
    SharedTensorProviderError,
    SharedTensorRemoteError,
    SharedTensorSerializationError,
    SharedTensorCapabilityError,
    SharedTensorServerError,
    SharedTensorStaleHandleError,
    SharedTensorTaskError,
    ShareServerRunningError,
)


def asked(operation: Callable[..., _Result], *arguments: Any) -> _Result:
    """Calls into the extension; its errors come out under the names that they have here."""
    try:
        return operation(*arguments)
    except ShareError as error:
        other = translated(error)
        if other is error:
            raise
        raise other from error
