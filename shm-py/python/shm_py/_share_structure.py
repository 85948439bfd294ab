"""The description of a received module, checked before anything is made of it: invariant 2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Optional

from ._share_errors import SharedTensorSerializationError

#: Of the structure, as it is written.
VERSION = 1
#: Levels of modules.
DEPTH = 128


class Node(NamedTuple):
    """One module: its class by name, what it has by its own names, and what could not be described."""

    kind: str
    training: bool
    parameters: dict[str, Optional[tuple[str, bool]]]
    buffers: dict[str, Optional[tuple[str, bool]]]
    children: dict[str, Optional[str]]
    attributes: dict[str, Any]
    missing: list[str]


class Parsed:
    """A structure that was checked: all that it refers to is there, and nothing contains itself."""

    def __init__(self, structure: Any, tensors: dict[str, Any]) -> None:
        self.tensors = tensors
        version = _member(structure, "version", int, "structure")
        if version != VERSION:
            raise SharedTensorSerializationError(
                f"the bundle's structure has version {version}; this package knows {VERSION}"
            )
        modules = _member(structure, "modules", dict, "structure")
        self.nodes = {path: self._node(path, raw) for path, raw in modules.items()}
        if "" not in self.nodes:
            raise malformed("modules", "one with the name ''", sorted(self.nodes)[:3])
        for path, node in self.nodes.items():
            for name, below in node.children.items():
                if below is not None and below not in self.nodes:
                    raise malformed(f"child {name!r} of module {path!r}", "a known module", below)
        self._refuse_loops()

    def _node(self, path: str, raw: Any) -> Node:
        where = f"module {path!r}"
        missing = _member(raw, "missing", list, where)
        children = _member(raw, "children", dict, where)
        for name, below in [*children.items(), *enumerate(missing)]:
            if not isinstance(below, str) and (below is not None or not isinstance(name, str)):
                raise malformed(f"{name!r} of {where}", "a name", below)
        return Node(
            kind=_member(raw, "class", str, where),
            training=_member(raw, "training", bool, where),
            parameters=self._slots(_member(raw, "parameters", dict, where), where),
            buffers=self._slots(_member(raw, "buffers", dict, where), where),
            children=children,
            attributes=_member(raw, "attributes", dict, where),
            missing=missing,
        )

    def _slots(self, raw: dict[str, Any], where: str) -> dict[str, Optional[tuple[str, bool]]]:
        found: dict[str, Optional[tuple[str, bool]]] = {}
        for name, slot in raw.items():
            if slot is None:
                found[name] = None
                continue
            if not isinstance(slot, list) or [type(part) for part in slot] != [str, bool]:
                raise malformed(f"{name!r} of {where}", "a tensor's name and a flag", slot)
            self.known(slot[0], f"{name!r} of {where}")
            found[name] = (slot[0], slot[1])
        return found

    def known(self, name: object, where: str) -> str:
        """A tensor's name."""
        if not isinstance(name, str) or name not in self.tensors:
            raise malformed(where, "the name of a tensor of the bundle", name)
        return name

    def _refuse_loops(self) -> None:
        done: set[str] = set()
        open_: list[tuple[str, Iterator[Optional[str]]]] = []
        above: set[str] = set()

        def enter(path: str) -> None:
            if path in above or len(open_) > DEPTH:
                raise malformed(f"module {path!r}", f"at most {DEPTH} levels and no loop", "more")
            above.add(path)
            open_.append((path, iter(self.nodes[path].children.values())))

        enter("")
        while open_:
            path, below = open_[-1]
            child = next((one for one in below if one is not None and one not in done), None)
            if child is None:
                open_.pop()
                above.discard(path)
                done.add(path)
            else:
                enter(child)


def _member(raw: Any, name: str, kind: type, where: str) -> Any:
    if not isinstance(raw, dict) or type(raw.get(name)) is not kind:
        found = type(raw).__name__ if not isinstance(raw, dict) else repr(raw.get(name))[:80]
        raise malformed(f"{name!r} of {where}", kind.__name__, found)
    return raw[name]


def malformed(what: str, expected: str, found: object) -> SharedTensorSerializationError:
    """The error for what no writer of this package writes."""
    return SharedTensorSerializationError(
        f"{what} of a received module: expected {expected}, found {found!r}; its sender is broken or hostile"
    )
