"""What a creator decides beside the shape: cells, metadata, lifetime; and how it is carried on."""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np
import pytest
import shm_py
from conftest import segment_files


@pytest.mark.parametrize("cells", [2, 3, 4, 17])
def test_cells(shm_name: str, cells: int) -> None:
    with shm_py.create(shm_name, shape=(1,), dtype="int64", cells=cells) as shm:
        assert shm.cells == cells
        for number in range(1, 2 * cells + 1):
            shm.write(np.array([number]))
        assert shm.read()[0] == 2 * cells
    with shm_py.open(shm_name) as shm:
        assert shm.cells == cells


@pytest.mark.parametrize("cells", [1, 0, -1, 2**40, 2**70])
def test_impossible_numbers_of_cells(shm_name: str, cells: int) -> None:
    with pytest.raises(ValueError, match="cells"):
        shm_py.create(shm_name, shape=(1,), cells=cells)
    assert segment_files(shm_name) == []


@pytest.mark.parametrize("metadata", [b"", b"x", bytes(range(256)), b"\0" * 1000, b"m" * 65536])
def test_metadata(shm_name: str, metadata: bytes) -> None:
    with shm_py.create(shm_name, shape=(1,), metadata=metadata) as shm:
        assert shm.metadata == metadata
        shm.write(np.ones(1, np.float32))
    with shm_py.open(shm_name, readonly=True) as shm:
        assert shm.metadata == metadata
        assert type(shm.metadata) is bytes


def test_metadata_has_bounds_and_a_type(shm_name: str) -> None:
    with pytest.raises(ValueError, match="metadata"):
        shm_py.create(shm_name, shape=(1,), metadata=b"m" * 65537)
    for bad in ("text", 3, None):
        wrong: Any = bad
        with pytest.raises(TypeError):
            shm_py.create(shm_name, shape=(1,), metadata=wrong)
    assert segment_files(shm_name) == []


def test_casting_is_a_word_of_five(shm_name: str) -> None:
    wrong: Any = "sometimes"
    with pytest.raises(ValueError, match="casting"):
        shm_py.create(shm_name, shape=(1,), casting=wrong)
    with shm_py.create(shm_name, shape=(1,)) as shm:
        with pytest.raises(ValueError, match="casting"):
            shm_py.open(shm_name, casting=wrong)
        with pytest.raises(ValueError, match="casting"):
            shm.write(np.zeros(1, np.float32), casting=wrong)
        assert shm.count == 0


def test_arguments_are_by_keyword(shm_name: str) -> None:
    create: Any = shm_py.create
    open_: Any = shm_py.open
    with pytest.raises(TypeError):
        create(shm_name, (1,))
    with pytest.raises(TypeError):
        create(shm_name)
    with pytest.raises(TypeError):
        create(shm_name, shape=(1,), no_such=1)
    with pytest.raises(TypeError):
        open_(shm_name, None)
    assert segment_files(shm_name) == []


def test_a_config_makes_the_same_stream_again(shm_name: str) -> None:
    created = shm_py.create(
        shm_name, shape=(2, 5), dtype="complex64", cells=6, metadata=b"\xff\0", temporary=True
    )
    with created as shm:
        config = shm.to_config()
        shm.unlink()
    assert dict(config) == {
        "name": shm_name,
        "shape": [2, 5],
        "dtype": "complex64",
        "gpu_device": None,
        "cpu_mirror": True,
        "notify": True,
        "cells": 6,
        "metadata": b"\xff\0",
        "temporary": True,
    }
    with shm_py.SharedMemory.create_from_config(config) as shm:
        assert dict(shm.to_config()) == dict(config)
        assert (shm.owner, shm.count) == (True, 0)
    with shm_py.open(shm_name) as shm:
        assert dict(shm.to_config()) == dict(config), "an opener says the same"


def test_a_config_needs_name_and_shape_only(shm_name: str) -> None:
    config = json.loads(json.dumps({"name": shm_name, "shape": [3]}))
    with shm_py.SharedMemory.create_from_config(config) as shm:
        assert (str(shm.dtype), shm.shape, shm.cells) == ("float32", (3,), 3)
    for missing in ("name", "shape"):
        partial = {key: value for key, value in config.items() if key != missing}
        with pytest.raises((KeyError, ValueError, TypeError), match=missing):
            shm_py.SharedMemory.create_from_config(partial)
    with pytest.raises(FileExistsError):
        shm_py.SharedMemory.create_from_config(config)


def test_describe_tells_everything(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(2, 3), dtype="uint8") as shm:
        shm.write(np.zeros((2, 3), np.uint8))
        text = shm.describe()
        lines = dict(line.split(":", 1) for line in text.splitlines())
        facts = {key.strip(): value.strip() for key, value in lines.items()}
        assert facts["name"] == shm_name
        assert facts["shape"] == "(2, 3)"
        assert facts["dtype"] == "uint8"
        assert facts["size"].startswith("6")
        assert facts["count"] == "1"
        assert facts["owner"] == "True"
        assert facts["readonly"] == "False"
        assert facts["creator_pid"] == str(os.getpid())
        assert facts["producer"] == "alive"
        assert float(facts["age"].split()[0]) >= 0.0


def test_a_temporary_stream_is_garbage_once_nobody_has_it(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,), temporary=True) as shm:
        assert shm_py.gc(shm_name) == []
        shm.write(np.ones(1, np.float32))
        with shm_py.open(shm_name) as other:
            assert other.read()[0] == 1
    # Whether it was swept on the way or only now, it is gone after a sweep.
    shm_py.gc(shm_name)
    assert segment_files(shm_name) == []
