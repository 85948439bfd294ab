"""`shm record` and `shm replay` with arrays of NumPy: what one side keeps, the other reads."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shm_py
from children import PATIENCE
from numpy.typing import NDArray

ROOT = Path(__file__).parents[2]
BUILD = "cargo build -p shm-pool --features cli --bin shm --message-format=json"

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="session")
def program() -> Path:
    """The program `shm`: the one that SHM_PROGRAM names, or one that is built now."""
    if named := os.environ.get("SHM_PROGRAM"):
        return Path(named)
    if shutil.which("cargo") is None:
        pytest.skip(
            "SHM_PROGRAM does not name the program `shm`, and there is no cargo to build it"
        )
    built = subprocess.run(BUILD.split(), cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    for message in map(json.loads, built.stdout.splitlines()):
        if message["reason"] == "compiler-artifact" and message["target"]["name"] == "shm":
            return Path(message["executable"])
    raise AssertionError("cargo built no program `shm`")


@pytest.fixture
def shm(program: Path) -> Iterator[Start]:
    """Starts the program; what still runs afterwards is ended."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [program, "--json", *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return started[-1]

    yield start
    for process in started:
        with process:
            process.kill()


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What a program said that did what it was asked for."""
    out, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, "")
    said: dict[str, Any] = json.loads(out)
    return said


def until_recorded(process: subprocess.Popen[str], file: Path) -> None:
    """Waits until the recorder takes every frame."""
    part = file.with_name(f"{file.name}.{process.pid}.part")
    deadline = time.monotonic() + PATIENCE
    while not part.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "the recorder did not begin"
        time.sleep(0.005)


def frames_of(dtype: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Seven frames that differ."""
    numbers = np.arange(7 * int(np.prod(shape))).reshape(7, *shape)
    return (numbers % 5 - 2).astype(dtype)


@pytest.mark.parametrize("ending", ["npy", "npz"])
@pytest.mark.parametrize(
    ("dtype", "shape"),
    [
        ("float32", (2, 3)),
        ("uint8", (4, 5, 3)),
        ("bool", (9,)),
        ("complex64", (2,)),
        ("int64", (1,)),
    ],
)
def test_numpy_loads_what_was_recorded(
    shm: Start, shm_name: str, tmp_path: Path, ending: str, dtype: str, shape: tuple[int, ...]
) -> None:
    frames = frames_of(dtype, shape)
    file = tmp_path / f"frames.{ending}"
    with shm_py.create(shm_name, shape=shape, dtype=dtype, cells=16, metadata=b"lens 3") as stream:
        recorder = shm("record", shm_name, file, "--frames", 7, "--timeout", "60s")
        until_recorded(recorder, file)
        for number, frame in enumerate(frames):
            stream.write(frame, frame_id=40 + number, acquired_ns=1_000 + number)
        assert ended(recorder)["missed"] == 0
    if ending == "npy":
        loaded = np.load(file, mmap_mode="r", allow_pickle=False)
        times = np.load(tmp_path / "frames.times.npy", allow_pickle=False)
        assert times.dtype.names == ("counts", "ids", "published_ns", "acquired_ns")
    else:
        times = np.load(file, allow_pickle=False)
        loaded = times["frames"]
        assert times["metadata"].tobytes() == b"lens 3"
        assert times["dtype"].item() == dtype.encode()
    assert loaded.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(loaded, frames)
    np.testing.assert_array_equal(times["counts"], np.arange(1, 8, dtype=np.uint64))
    np.testing.assert_array_equal(times["ids"], np.arange(40, 47))
    np.testing.assert_array_equal(times["acquired_ns"], np.arange(1_000, 1_007))
    assert np.all(np.diff(times["published_ns"].astype(np.int64)) >= 0)
    assert abs(int(times["published_ns"][0]) - time.time_ns()) < 3600 * 10**9


@pytest.mark.parametrize("save", ["npy", "npz", "compressed"])
@pytest.mark.parametrize(("dtype", "shape"), [("float64", (3, 2)), ("int16", (4,))])
def test_an_array_of_numpy_is_replayed(
    shm: Start, shm_name: str, tmp_path: Path, save: str, dtype: str, shape: tuple[int, ...]
) -> None:
    frames = frames_of(dtype, shape)
    file = tmp_path / ("array.npy" if save == "npy" else "array.npz")
    if save == "npy":
        np.save(file, frames)
    elif save == "npz":
        np.savez(file, frames)
    else:
        np.savez_compressed(file, other=np.zeros(3), frames=frames)
    with shm_py.create(shm_name, shape=shape, dtype=dtype, cells=16) as stream:
        replay = shm("replay", file, shm_name, "--existing", "--rate", 20)
        count = 0
        while count < len(frames):
            publication = stream.read_after_publication(count, timeout=PATIENCE)
            assert publication.count > count
            count = publication.count
            np.testing.assert_array_equal(publication.payload, frames[count - 1])
        said = ended(replay)
        assert (said["frames"], said["ended"]) == (7, "file")
        assert said["seconds"] >= 6 / 20
        np.testing.assert_array_equal(stream.read(), frames[-1])


def test_a_replayed_stream_is_found_by_its_name(shm: Start, shm_name: str, tmp_path: Path) -> None:
    frames = frames_of("uint16", (2, 2))
    np.save(tmp_path / "array.npy", frames)
    replay = shm("replay", tmp_path / "array.npy", shm_name, "--readers", 1, "--rate", 50)
    deadline = time.monotonic() + PATIENCE
    stream = None
    while stream is None:
        assert time.monotonic() < deadline, "no stream"
        with contextlib.suppress(FileNotFoundError):
            stream = shm_py.open(shm_name, readonly=True)
    with stream:
        assert (stream.shape, stream.dtype) == ((2, 2), np.dtype("uint16"))
        np.testing.assert_array_equal(stream.read_after(6, timeout=PATIENCE), frames[6])
    assert ended(replay)["frames"] == 7
    assert shm_name not in shm_py.list_streams(shm_name)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.asfortranarray(np.zeros((3, 4))), "fortran_order is True"),
        (np.zeros((3, 4), ">f8"), "big-endian"),
        (np.array([{}, None], dtype=object), "pickles, which are never loaded"),
        (np.zeros((3, 2), "U7"), "expected a dtype that streams have"),
        (np.zeros(3, [("x", "<f4")]), "structured, with fields x"),
        (np.float32(1.0), "at least one dimension"),
        (np.zeros((0, 4)), "at least one frame"),
    ],
)
def test_arrays_that_are_no_frames_are_refused(
    shm: Start, shm_name: str, tmp_path: Path, array: Any, words: str
) -> None:
    np.save(tmp_path / "array.npy", array, allow_pickle=True)
    replay = shm("replay", tmp_path / "array.npy", shm_name)
    out, errors = replay.communicate(timeout=PATIENCE)
    assert (replay.returncode, out) == (4, "")
    error = json.loads(errors)["error"]
    assert words in error["message"] + error["hint"]
    assert shm_py.list_streams(shm_name) == []
