"""Anybody's bytes in the segment: a documented exception or some data, never a signal or a hang."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import shm_py
from conftest import StartChild, segment_files


@pytest.mark.parametrize("place", ["header", "first pages", "anywhere"])
def test_random_bytes_while_others_use_the_stream(
    shm_name: str, start: StartChild, place: str, stress: bool
) -> None:
    span = 60.0 if stress else 2.0
    rng = np.random.default_rng(len(place))
    with shm_py.create(shm_name, shape=(4_000,), dtype="uint64", metadata=b"m" * 100) as shm:
        shm.write(np.zeros(4_000, np.uint64))
        path = Path(shm_py.stat(shm_name)["path"])
    pristine = path.read_bytes()
    children = [start("victim", shm_name, role) for role in ("opener", "holder", "holder")]
    written = 0
    end = time.monotonic() + span
    with path.open("r+b", buffering=0) as file:
        while time.monotonic() < end:
            for _ in range(int(rng.integers(1, 20))):
                limit = {"header": 512, "first pages": 8192, "anywhere": len(pristine)}[place]
                offset = int(rng.integers(limit))
                noise = rng.bytes(int(rng.choice([1, 2, 4, 8, 64])))[: len(pristine) - offset]
                if rng.random() < 0.3:
                    noise = rng.choice([b"\0", b"\xff", b"\x7f", b"\x01"]) * len(noise)
                os.pwrite(file.fileno(), noise, offset)
                written += 1
            time.sleep(0.001)
            if rng.random() < 0.1:
                # Well again, so that what comes next is new.
                os.pwrite(file.fileno(), pristine, 0)
    for child in children:
        through, refused = map(int, child.ask("stop", 60).split()[:2])
        child.finish()
        assert through + refused > 50
        print(f"{place}: {written} writes; {through} calls went through, {refused} were refused")
    assert written > 500
    path.unlink()
    assert segment_files(shm_name) == []


@pytest.mark.parametrize("keep", [0, 1, 63, 512, 4095, 4096, 5000])
def test_a_segment_that_is_too_short_is_not_opened(shm_name: str, keep: int) -> None:
    with shm_py.create(shm_name, shape=(4_000,)) as shm:
        path = Path(shm_py.stat(shm_name)["path"])
        assert path.stat().st_size > 5000
    os.truncate(path, keep)
    for _ in range(2):
        with pytest.raises((OSError, ValueError, shm_py.InconsistentStreamError)):
            shm_py.open(shm_name)
        with pytest.raises((OSError, ValueError, shm_py.InconsistentStreamError)):
            shm_py.stat(shm_name)
        assert shm_name not in shm_py.list_streams(shm_name)
    path.unlink()


@pytest.mark.parametrize("offset", range(0, 256, 4))
def test_every_word_of_the_header(shm_name: str, offset: int) -> None:
    """With any word of it spoiled the stream opens and reads, or is refused as what it is."""
    with shm_py.create(shm_name, shape=(16,), dtype="uint64") as shm:
        shm.write(np.arange(16, dtype=np.uint64))
        path = Path(shm_py.stat(shm_name)["path"])
    pristine = path.read_bytes()
    outcomes = set()
    for noise in (b"\xff" * 4, b"\x00" * 4, b"\x01\x00\x00\x80", b"\x10\x27\x00\x00"):
        with path.open("r+b", buffering=0) as file:
            os.pwrite(file.fileno(), pristine, 0)
            os.pwrite(file.fileno(), noise, offset)
        try:
            with shm_py.open(shm_name) as shm:
                assert shm.size <= 2**40
                shm.read(timeout=1)
            outcomes.add("read")
        except (OSError, ValueError, RuntimeError) as error:
            assert str(error)
            outcomes.add(type(error).__name__)
    path.write_bytes(pristine)
    with shm_py.open(shm_name) as shm:
        np.testing.assert_array_equal(shm.read(), np.arange(16))
    assert outcomes
