"""Any text names a stream; what cannot is refused before anything is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import shm_py
from conftest import segment_files

SUFFIXES = [
    "/b",
    "/../../x",
    "//",
    " with spaces ",
    "\nnewline\ttab",
    "~tilde%41%",
    "é",
    "カメラ/前",
    "🎥" * 20,
    "'quotes\"",
    "\\back\\slash",
    "x" * 300,
    "é" * 500,
    ".",
    "*?[a]",
]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_any_text_names_a_stream(shm_name: str, suffix: str) -> None:
    name = shm_name + suffix
    with shm_py.create(name, shape=(2,)) as writer:
        assert writer.name == name
        writer.write(np.array([1, 2], np.float32))
        assert shm_py.list_streams(shm_name) == [name]
        assert shm_py.stat(name)["name"] == name
        files = segment_files(shm_name)
        assert len(files) == 1 and len(files[0]) <= 255
        with shm_py.open(name) as reader:
            assert reader.name == name
            np.testing.assert_array_equal(reader.read(), [1, 2])
        writer.unlink()
    assert segment_files(shm_name) == []


def test_similar_names_are_different_streams(shm_name: str) -> None:
    suffixes = ["/b", "%2Fb", "_b", "\\b", "B", "b", "b ", " b", "x" * 400 + "1", "x" * 400 + "2"]
    for number, suffix in enumerate(suffixes):
        with shm_py.create(shm_name + suffix, shape=(1,), dtype="int64") as shm:
            shm.write(np.array([number]))
    for number, suffix in enumerate(suffixes):
        with shm_py.open(shm_name + suffix) as shm:
            assert shm.read()[0] == number
    assert shm_py.list_streams(shm_name) == sorted(shm_name + suffix for suffix in suffixes)
    assert len(segment_files(shm_name)) == len(suffixes)


CALLS: dict[str, Callable[[Any], object]] = {
    "create": lambda name: shm_py.create(name, shape=(1,)),
    "open": lambda name: shm_py.open(name),
    "unlink": lambda name: shm_py.unlink(name),
    "stat": lambda name: shm_py.stat(name),
    "stream": lambda name: shm_py.stream(name, shape=(1,)).__enter__(),
}

BAD_NAMES: list[Any] = [
    "",
    " ",
    "\t\n",
    "{}\0nul",
    "\0",
    "{}\ud800surrogate",
    "{}" + "x" * 32_768,
    "{}" + "é" * 16_384,
    None,
    3,
    2.5,
    b"{}-bytes",
    ["{}-list"],
]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: ascii(name)[:20])
def test_bad_names_are_refused_alike(shm_name: str, call: str, name: Any) -> None:
    if isinstance(name, str):
        name = name.format(shm_name)
    with pytest.raises(ValueError) as error:
        CALLS[call](name)
    assert "name" in str(error.value) or isinstance(error.value, UnicodeEncodeError)
    assert segment_files(shm_name) == []


def test_a_str_subclass_is_a_name(shm_name: str) -> None:
    class Name(str):
        pass

    with shm_py.create(Name(shm_name), shape=(1,)):
        assert shm_py.list_streams(shm_name) == [shm_name]
