"""What makes two calls the same call: key formats, and the keys of a provider's own cache."""

from __future__ import annotations

import hashlib
import inspect
import string
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Optional

import numpy as np

from ._share_errors import SharedTensorConfigurationError

if TYPE_CHECKING:
    from ._share_provider import EndpointDefinition


def is_plain_format(text: str, names: set[str]) -> bool:
    """True if nothing but parameters by name are in the braces: the extension does that itself."""
    if "{{" in text or "}}" in text:
        return False
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        return False
    return all(
        name is None or (name in names and not spec and conversion is None)
        for _, name, spec, conversion in parts
    )


def format_key(
    func: Callable[..., Any], text: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> str:
    """A key by `str.format` over the arguments by name, defaults filled in."""
    called = getattr(func, "__qualname__", repr(func))
    try:
        bound = inspect.signature(func).bind(*args, **kwargs)
    except TypeError as error:
        raise SharedTensorConfigurationError(
            f"arguments for cache_format_key of {called} do not fit: {error}"
        ) from error
    bound.apply_defaults()
    try:
        return text.format(**bound.arguments)
    except (LookupError, AttributeError, ValueError) as error:
        raise SharedTensorConfigurationError(
            f"cache_format_key {text!r} of {called} cannot be filled in: {type(error).__name__}: {error}; "
            f"it may name {', '.join(bound.arguments) or 'nothing'}"
        ) from error


def call_key(
    definition: EndpointDefinition, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Optional[str]:
    """What names a call in a provider's own cache; None if it is not to be cached, or cannot."""
    if not definition.cache:
        return None
    if definition.cache_format_key is not None:
        said = format_key(definition.func, definition.cache_format_key, args, kwargs)
        return f"{definition.name}\0{said}"
    try:
        bound = inspect.signature(definition.func).bind(*args, **kwargs)
    except (TypeError, ValueError):
        return None  # the call itself says what is wrong
    bound.apply_defaults()
    digest = hashlib.sha256()
    if not _hashed(digest.update, bound.arguments):
        return None
    return f"{definition.name}\0{digest.hexdigest()}"


def _hashed(update: Callable[[bytes], object], value: Any) -> bool:
    """Hashes plain data and host tensors; False for anything else, of which nothing is assumed."""
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        update(f"{type(value).__name__}:{value!r};".encode())
        return True
    if isinstance(value, (list, tuple)):
        update(f"{type(value).__name__}[{len(value)}]".encode())
        return all(_hashed(update, item) for item in value)
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            return False
        update(f"dict[{len(value)}]".encode())
        return all(_hashed(update, key) and _hashed(update, value[key]) for key in sorted(value))
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, torch.Tensor):
        if value.device.type != "cpu" or value.layout is not torch.strided:
            return False
        update(f"tensor:{value.dtype}:{tuple(value.shape)}:".encode())
        flat = value.detach().contiguous().reshape(-1).view(torch.uint8)
        update(np.from_dlpack(flat).tobytes())
        return True
    if isinstance(value, np.ndarray) and not value.dtype.hasobject:
        update(f"array:{value.dtype.str}:{value.shape}:".encode())
        update(np.ascontiguousarray(value).tobytes())
        return True
    return False
