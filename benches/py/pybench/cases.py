"""What a worker can be told to set up, by name."""

from __future__ import annotations

from typing import Any, Callable

from . import handover, idle, mvm, ops, pingpong, roundtrip, wake

CASES: dict[str, Callable[..., Any]] = {}
for _concept in (handover, idle, mvm, ops, pingpong, roundtrip, wake):
    CASES.update(_concept.CASES)
