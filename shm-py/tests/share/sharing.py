"""Servers and clients of the native classes, with what tests need of their options."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from shm_py import _native

_KINDS = {
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "either",
    inspect.Parameter.POSITIONAL_ONLY: "positional",
    inspect.Parameter.KEYWORD_ONLY: "named",
    inspect.Parameter.VAR_POSITIONAL: "rest",
    inspect.Parameter.VAR_KEYWORD: "others",
}
TIMEOUT = 20.0


class Service:
    """A server that plain functions are added to."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.native = _native._ShareServer(
            str(path),
            **{
                "workers": 4,
                "connections": 64,
                "allow_users": [],
                "cache_entries": 100,
                "cache_bytes": 1 << 30,
                "cache_age": None,
                "max_tasks": 100,
                "result_age": 60.0,
                "queue": 1000,
                "max_body": 1 << 20,
                "max_storage": 1 << 40,
                "opaque": False,
                **options,
            },
        )
        self.path = path

    def offer(self, function: Callable[..., Any], name: str | None = None, **options: Any) -> None:
        """An endpoint that calls `function(*args, **kwargs)`."""

        def build(args: tuple[Any, ...], kwargs: dict[str, Any], cancelled: Callable[[], bool]) -> Any:
            return function(*args, **kwargs)

        parameters = [
            (one.name, _KINDS[one.kind], one.default is not one.empty, one.default)
            for one in inspect.signature(function).parameters.values()
        ]
        self.offer_native(build, name or function.__name__, **{"parameters": parameters, **options})

    def offer_native(self, build: Callable[..., Any], name: str, **options: Any) -> None:
        """An endpoint that is called as the extension calls it."""
        self.native.register(
            name,
            build,
            **{
                "execution": "direct",
                "managed": False,
                "cache": False,
                "key": None,
                "singleflight": True,
                "concurrency": "parallel",
                "keep_unleased": True,
                "parameters": None,
                **options,
            },
        )

    def connect(self, **options: Any) -> _native._ShareClient:
        """A client of it."""
        return connect(self.path, **options)


def connect(path: Path, **options: Any) -> _native._ShareClient:
    """A client of the server at `path`."""
    return _native._ShareClient(
        str(path),
        **{
            "connect_timeout": 5.0,
            "name": "test",
            "trust_users": [],
            "writable": False,
            "opaque": False,
            "max_storage": 1 << 40,
            **options,
        },
    )


def call(client: _native._ShareClient, name: str, /, *args: Any, **kwargs: Any) -> Any:
    """What an endpoint gives."""
    return client.call(name, args, kwargs, TIMEOUT)


@contextlib.contextmanager
def copying(count: int | None = None) -> Iterator[list[int]]:
    """Counts the copies of the block, and checks how many there were."""
    seen = [0, 0]
    before = _native._share_copies()
    yield seen
    after = _native._share_copies()
    seen[:] = [after[0] - before[0], after[1] - before[1]]
    if count is not None:
        assert seen[0] == count, seen
