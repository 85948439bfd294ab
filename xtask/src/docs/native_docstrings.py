"""Gives the classes and functions of the extension module their docstrings in the reference.

Their signatures and types stand in `_native.pyi`, their docstrings in Rust, whence the built module has
them. This puts the two together while the reference is made, so nothing is written down twice. Private
names of types are written out, because the reference does not show what they stand for.
"""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import griffe

PACKAGE = "shm_py"
EXTENSION = "_native"


class NativeDocstrings(griffe.Extension):
    """Griffe calls this when it has read the package."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        if pkg.path != PACKAGE:
            return
        built = importlib.import_module(f"{PACKAGE}.{EXTENSION}")
        silent = _take_over(pkg.members[EXTENSION], built)
        if silent:
            raise SystemExit(f"without a docstring in the built module: {', '.join(silent)}")
        for module in pkg.modules.values():
            _write_out_types(module, module)


def _take_over(described: Any, built: Any) -> list[str]:
    """Copies the docstrings of what is public; the paths of what has none."""
    silent = []
    for name, member in described.members.items():
        if member.is_alias or (name.startswith("_") and name not in PUBLIC_ELSEWHERE):
            continue
        found = getattr(built, name, None)
        if not (isinstance(found, type) or callable(found) or inspect.isdatadescriptor(found)):
            # A value; what its type says is not about it.
            continue
        text = inspect.getdoc(found)
        if text is not None:
            member.docstring = griffe.Docstring(text, parent=member)
        elif member.is_function or member.is_class:
            silent.append(member.path)
        if member.is_class:
            silent += _take_over(member, found)
    return silent


#: `shm_py.share.empty` and `shm_py.share.socket_path`.
PUBLIC_ELSEWHERE = {"_share_empty", "_share_socket_path"}


def _write_out_types(described: Any, module: griffe.Module) -> None:
    for member in described.members.values():
        if member.is_alias:
            continue
        if member.is_class:
            _write_out_types(member, module)
        elif member.is_function:
            for parameter in member.parameters:
                parameter.annotation = _written_out(parameter.annotation, module)
            member.returns = _written_out(member.returns, module)
        elif member.is_attribute and described is not module:
            member.annotation = _written_out(member.annotation, module)


def _written_out(annotation: Any, module: griffe.Module) -> Any:
    if annotation is None:
        return None

    def meaning(found: re.Match[str]) -> str:
        alias = module.members.get(found[0])
        if alias is None or alias.is_alias or not alias.is_attribute or alias.value is None:
            return found[0]
        value = str(alias.value)
        # Variables of types stand for nothing else.
        return found[0] if "(" in value else NAME.sub(meaning, value)

    text = str(annotation)
    written = NAME.sub(meaning, text)
    return annotation if written == text else written


#: A private name that is no part of a longer one or of a text.
NAME = re.compile(r"(?<![\w.\"'])_[A-Za-z]\w*(?![\w\"'])")
