"""Modules as bundles: named tensors with a description, and modules again made of them.

What arrives is data. No class is imported or called for it: a module is made of classes that this process
has imported, without their `__init__`, and its attributes are plain data. What cannot be made so stays a
Bundle, which says why. PyTorch is used if the program has imported it, and never imported.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Optional

import numpy as np

from ._native import _share_own_writes
from ._share_structure import DEPTH, VERSION, Node, Parsed, malformed

#: The kind of a bundle that is a module of PyTorch.
KIND = "torch.nn.Module"
#: Activations that modules keep as attributes; known by their names on both sides.
_FUNCTIONS = ("relu", "gelu", "silu", "mish", "elu", "selu", "leaky_relu", "hardswish", "softplus")


class Bundle:
    """Named tensors and what they belong to, for which nothing better could be made here.

    kind: who can make something of it. structure: plain data. tensors: by name, NumPy arrays and
    DeviceTensors. reason: why it is not a module, if it is one of PyTorch's; else None.
    """

    def __init__(
        self, kind: str, structure: Any, tensors: dict[str, Any], reason: Optional[str] = None
    ) -> None:
        self.kind = kind
        self.structure = structure
        self.tensors = tensors
        self.reason = reason

    def load_into(self, module: Any) -> Any:
        """Binds the tensors to the parameters and buffers of a torch module, without copying, and gives it.

        Their names, shapes and dtypes have to be the module's; its own may be on the device "meta". Tied
        parameters are tied. Raises ValueError that says what differs, with nothing bound.
        """
        torch = sys.modules.get("torch")
        if self.kind != KIND or torch is None or not isinstance(module, torch.nn.Module):
            raise TypeError(
                f"a bundle of kind {self.kind!r} cannot be loaded into {type(module).__qualname__}; it takes "
                f"kind {KIND!r} and a torch.nn.Module"
            )
        parsed = Parsed(self.structure, self.tensors)
        return _Builder(torch, parsed).load(module)

    def __share_bundle__(self) -> tuple[str, Any, dict[str, Any]]:
        return self.kind, self.structure, self.tensors

    def __repr__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"<Bundle of kind {self.kind!r}, {len(self.tensors)} tensors{why}>"


def to_bundle(obj: object) -> Any:
    """What stands for an object of PyTorch's when it travels; None for any other.

    A module becomes (kind, structure, tensors), a tensor one that DLPack exports.
    """
    torch = sys.modules.get("torch")
    if not hasattr(torch, "nn"):
        return None  # being imported
    if isinstance(obj, torch.Tensor):  # type: ignore[union-attr]
        return _exported(torch, obj, "tensor")
    if isinstance(obj, torch.nn.Module):  # type: ignore[union-attr]
        return _Writer(torch).bundle(obj)
    return None


def from_bundle(kind: str, structure: Any, tensors: dict[str, Any]) -> Any:
    """A module if this process can make it, else a Bundle."""
    if kind != KIND:
        return Bundle(kind, structure, tensors)
    parsed = Parsed(structure, tensors)
    torch = sys.modules.get("torch")
    if not hasattr(torch, "nn"):
        return Bundle(kind, structure, tensors, "torch is not imported in this process")
    try:
        return _Builder(torch, parsed).module("")
    except _NotHere as reason:
        return Bundle(kind, structure, tensors, str(reason))


class _NotHere(Exception):
    """This process cannot make the module."""


def _internal(torch: Any) -> frozenset[str]:
    """Attributes that every module has."""
    return frozenset(vars(torch.nn.Module()))


def _exported(torch: Any, tensor: Any, where: str) -> Any:
    """The same memory as something that travels."""
    if tensor.layout is not torch.strided or tensor.is_quantized:
        raise TypeError(f"{where} has layout {tensor.layout}; make it dense")
    if tensor.device.type not in ("cpu", "cuda"):
        raise TypeError(f"{where} is on device {str(tensor.device)!r}; tensors travel from cpu and cuda")
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.dtype is torch.bool and tensor.device.type == "cpu":
        # Older releases do not export this dtype.
        return np.from_dlpack(tensor.view(torch.uint8)).view(np.bool_)
    return tensor


class _Writer:
    """Describes a module."""

    def __init__(self, torch: Any) -> None:
        self._torch = torch
        self._internal = _internal(torch)
        self._paths: dict[int, str] = {}
        self._names: dict[int, str] = {}
        self._tensors: dict[str, Any] = {}
        self._modules: dict[str, Any] = {}
        self._kept: list[Any] = []

    def bundle(self, module: Any) -> tuple[str, Any, dict[str, Any]]:
        self._visit(module, "")
        # Attributes come last: they may refer to any parameter.
        for one in list(self._kept):
            self._attributes(one, self._paths[id(one)])
        return KIND, {"version": VERSION, "modules": self._modules}, self._tensors

    def _visit(self, module: Any, path: str) -> str:
        if id(module) in self._paths:
            return self._paths[id(module)]
        if path.count(".") >= DEPTH:
            raise TypeError(f"module {path!r} is nested deeper than {DEPTH} levels")
        self._paths[id(module)] = path
        self._kept.append(module)
        kind = type(module)
        transient = getattr(module, "_non_persistent_buffers_set", ())
        described: dict[str, Any] = {
            "class": f"{kind.__module__}:{kind.__qualname__}",
            "training": bool(module.training),
            "parameters": {
                name: None if one is None else [self._tensor(one, path, name), bool(one.requires_grad)]
                for name, one in module._parameters.items()
            },
            "buffers": {
                name: None if one is None else [self._tensor(one, path, name), name not in transient]
                for name, one in module._buffers.items()
            },
            "children": {},
        }
        self._modules[path] = described
        for name, child in module._modules.items():
            below = f"{path}.{name}" if path else name
            described["children"][name] = None if child is None else self._visit(child, below)
        return path

    def _attributes(self, module: Any, path: str) -> None:
        attributes: dict[str, Any] = {}
        missing: list[str] = []
        for name, value in vars(module).items():
            if name in self._internal:
                # Of these only hooks are the module's own, and they are code.
                if name.endswith("hooks") and value:
                    missing.append(name)
                continue
            try:
                attributes[name] = self._plain(value, path, name, 0)
            except _NotHere:
                missing.append(name)
        described = self._modules[path]
        described["attributes"] = attributes
        described["missing"] = missing

    def _tensor(self, tensor: Any, path: str, name: str) -> str:
        known = self._names.get(id(tensor))
        if known is not None:
            return known
        full = f"{path}.{name}" if path else name
        self._tensors[full] = _exported(self._torch, tensor, f"{full!r}")
        self._names[id(tensor)] = full
        return full

    def _plain(self, value: Any, path: str, name: str, depth: int) -> Any:
        torch = self._torch
        if value is None or type(value) in (bool, int, float, str, bytes):
            return value
        if depth > 16:
            raise _NotHere
        if isinstance(value, weakref.ref):
            found = value()
            if not isinstance(found, torch.Tensor):
                raise _NotHere
            return ["reference", self._tensor(found, path, name)]
        if isinstance(value, torch.Tensor):
            return ["tensor", self._tensor(value, path, name)]
        if isinstance(value, torch.dtype):
            return ["dtype", str(value).rpartition(".")[2]]
        if isinstance(value, torch.device):
            return ["device", str(value)]
        sequence = {list: "list", tuple: "tuple", torch.Size: "size"}.get(type(value))
        if sequence is not None:
            items = enumerate(value)
            return [sequence, [self._plain(one, path, f"{name}.{at}", depth + 1) for at, one in items]]
        if type(value) is dict:
            keys = [self._plain(key, path, name, depth + 1) for key in value]
            items = enumerate(value.values())
            values = [self._plain(one, path, f"{name}.{at}", depth + 1) for at, one in items]
            return ["dict", [[key, one] for key, one in zip(keys, values)]]
        for function in _FUNCTIONS:
            if value is getattr(torch.nn.functional, function, None):
                return ["function", function]
        raise _NotHere


class _Builder:
    """Makes modules of what was parsed."""

    def __init__(self, torch: Any, parsed: Parsed) -> None:
        self._torch = torch
        self._parsed = parsed
        self._internal = _internal(torch)
        self._modules: dict[str, Any] = {}
        self._made: dict[str, Any] = {}
        slots = [slot for node in parsed.nodes.values() for slot in node.parameters.values()]
        self._grads = {slot[0]: slot[1] for slot in slots if slot is not None}

    def module(self, path: str) -> Any:
        """The module at a path."""
        if path in self._modules:
            return self._modules[path]
        node = self._parsed.nodes[path]
        if node.missing:
            raise _NotHere(
                f"{node.kind} {path!r} has attributes that are not plain data: {', '.join(node.missing)}; "
                "make the module yourself and call load_into(module)"
            )
        torch = self._torch
        kind = _class_of(torch, node.kind)
        module = torch.nn.Module.__new__(kind)
        torch.nn.Module.__init__(module)
        self._modules[path] = module
        for name, slot in node.parameters.items():
            self._check(name, node)
            module._parameters[name] = None if slot is None else self._tensor(slot[0])
        for name, slot in node.buffers.items():
            self._check(name, node)
            module._buffers[name] = None if slot is None else self._tensor(slot[0])
            if slot is not None and not slot[1]:
                module._non_persistent_buffers_set.add(name)
        for name, below in node.children.items():
            self._check(name, node)
            module._modules[name] = None if below is None else self.module(below)
        for name, value in node.attributes.items():
            self._check(name, node)
            module.__dict__[name] = self._plain(value, name, 0)
        module.training = node.training
        return module

    def _check(self, name: str, node: Node) -> None:
        if name in self._internal or name.startswith("__") or "." in name or not name:
            raise malformed(f"a name in {node.kind}", "one of the module's own", name)

    def _tensor(self, name: str) -> Any:
        if name not in self._made:
            tensor = _torch_tensor(self._torch, self._parsed.tensors[name], name)
            if name in self._grads:
                grad = self._grads[name] and (tensor.is_floating_point() or tensor.is_complex())
                tensor = self._torch.nn.Parameter(tensor, requires_grad=grad)
            self._made[name] = tensor
        return self._made[name]

    def _plain(self, raw: Any, name: str, depth: int) -> Any:
        if raw is None or type(raw) in (bool, int, float, str, bytes):
            return raw
        if type(raw) is not list or len(raw) != 2 or type(raw[0]) is not str or depth > 16:
            raise malformed(f"attribute {name!r}", "plain data", type(raw).__name__)
        kind, inner = raw
        torch = self._torch
        if kind in ("tensor", "reference"):
            tensor = self._tensor(self._parsed.known(inner, f"attribute {name!r}"))
            return tensor if kind == "tensor" else weakref.ref(tensor)
        if kind in ("list", "tuple", "size") and type(inner) is list:
            items = [self._plain(item, name, depth + 1) for item in inner]
            make: Callable[[list[Any]], Any] = {"list": list, "tuple": tuple, "size": torch.Size}[kind]
            if kind == "size" and not all(type(item) is int for item in items):
                raise malformed(f"attribute {name!r}", "dimensions", items)
            return make(items)
        if kind == "dict" and type(inner) is list:
            pairs: dict[Any, Any] = {}
            for pair in inner:
                if type(pair) is not list or len(pair) != 2:
                    raise malformed(f"attribute {name!r}", "a key and a value", pair)
                key = self._plain(pair[0], name, depth + 1)
                value = self._plain(pair[1], name, depth + 1)
                try:
                    pairs[key] = value
                except TypeError:
                    raise malformed(f"attribute {name!r}", "a plain key", key) from None
            return pairs
        if kind == "dtype" and type(inner) is str:
            found = vars(torch).get(inner)
            if isinstance(found, torch.dtype):
                return found
        if kind == "device" and type(inner) is str:
            try:
                return torch.device(inner)
            except RuntimeError:
                pass
        if kind == "function" and inner in _FUNCTIONS:
            return getattr(torch.nn.functional, inner)
        raise malformed(f"attribute {name!r}", "plain data", kind)

    def load(self, module: Any) -> Any:
        """Binds the tensors to a module's own names."""
        wanted: dict[str, str] = {}
        for path, node in self._parsed.nodes.items():
            for name, slot in itertools.chain(node.parameters.items(), node.buffers.items()):
                if slot is not None:
                    wanted[f"{path}.{name}" if path else name] = slot[0]
        there = {full: (owner, name, one) for owner, full, name, one in _tensors_of(module)}
        wrong = [f"{name!r} is missing in the module" for name in wanted if name not in there]
        wrong += [f"{name!r} is missing in the bundle" for name in there if name not in wanted]
        bound = {name: self._tensor(wanted[name]) for name in wanted if name in there}
        for name, tensor in bound.items():
            own = there[name][2]
            if (own.shape, own.dtype) != (tensor.shape, tensor.dtype):
                wrong.append(
                    f"{name!r} is {own.dtype} {tuple(own.shape)} in the module, "
                    f"{tensor.dtype} {tuple(tensor.shape)} in the bundle"
                )
        if wrong:
            more = f", and {len(wrong) - 5} more" if len(wrong) > 5 else ""
            raise ValueError(f"the bundle does not fit the module: {'; '.join(wrong[:5])}{more}")
        for name, tensor in bound.items():
            owner, local, own = there[name]
            if local in owner._parameters and not isinstance(tensor, self._torch.nn.Parameter):
                tensor = self._torch.nn.Parameter(tensor, requires_grad=False)
            # The class may keep more that depends on it.
            setattr(owner, local, tensor)
        return module


def _tensors_of(module: Any) -> Iterator[tuple[Any, str, str, Any]]:
    """Parameters and buffers with the module that has them, their full and their own names."""
    seen: set[int] = set()
    waiting = [(module, "")]
    while waiting:
        owner, path = waiting.pop()
        if id(owner) in seen:
            continue
        seen.add(id(owner))
        for name, one in itertools.chain(owner._parameters.items(), owner._buffers.items()):
            if one is not None:
                yield owner, f"{path}.{name}" if path else name, name, one
        below = [(child, f"{path}.{name}" if path else name) for name, child in owner._modules.items()]
        # The same order as that of a writer: of two paths to one module the first counts.
        waiting.extend((child, name) for child, name in reversed(below) if child is not None)


def _class_of(torch: Any, name: str) -> Any:
    """A module's class, if this process has it already."""
    module, _, qualified = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualified.split("."):
        # What is there, and nothing that is made by asking for it.
        found = None if found is None else vars(found).get(part) if hasattr(found, "__dict__") else None
    if not isinstance(found, type) or not issubclass(found, torch.nn.Module):
        raise _NotHere(
            f"no module class {name!r} in this process; import it before the call, or make the module "
            "yourself and call load_into(module)"
        )
    if issubclass(found, torch.jit.ScriptModule):
        raise _NotHere(f"{name} is compiled; make the module yourself and call load_into(module)")
    return found


def _torch_tensor(torch: Any, array: Any, name: str) -> Any:
    """A torch tensor over the same memory."""
    if not isinstance(array, np.ndarray):
        return torch.from_dlpack(array)
    dtype = getattr(torch, array.dtype.name, None)
    if not isinstance(dtype, torch.dtype):
        raise _NotHere(f"{name!r} has dtype {array.dtype}, which torch {torch.__version__} does not have")
    if array.size == 0:
        return torch.empty(array.shape, dtype=dtype)
    size = array.itemsize
    if any(stride < 0 or stride % size for stride in array.strides):
        raise _NotHere(f"{name!r} has strides {array.strides}, which torch does not have")
    reach = sum((dim - 1) * stride for dim, stride in zip(array.shape, array.strides)) + size
    if not array.flags.writeable:
        # PyTorch has no read-only tensors: what is written here stays here.
        _share_own_writes(array.ctypes.data, reach)
    memory = (ctypes.c_ubyte * reach).from_address(array.ctypes.data)
    memory.owner = array
    flat = torch.frombuffer(memory, dtype=dtype)
    return flat.as_strided(array.shape, [stride // size for stride in array.strides])
