"""Processes that write and read at once: nothing is torn, nothing is lost, nobody starves."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import shm_py
from children import Child
from children.frames import Pattern
from conftest import StartChild

SPAN = 1.5


def end_of(writer: Child) -> int:
    """How many frames it published."""
    published = int(writer.ask("stop"))
    writer.finish()
    return published


def end_of_reader(reader: Child) -> tuple[int, int, int]:
    """Its reads, the frames it found, the newest of them. Frames must go on until it is over."""
    reads, distinct, newest = map(int, reader.ask("stop").split())
    reader.finish()
    return reads, distinct, newest


def test_three_writers_and_two_readers(shm_name: str, start: StartChild) -> None:
    words = 16_384  # 128 KiB
    with shm_py.create(shm_name, shape=(words,), dtype="uint64") as shm:
        readers = [start("reader", shm_name, way) for way in ("publication", "read_after")]
        writers = [start("writer", shm_name, way) for way in ("write", "write_locked", "write_view")]
        time.sleep(SPAN)
        reports = [end_of_reader(reader) for reader in readers]
        published = [end_of(writer) for writer in writers]
        print(f"published {published}, (reads, frames, newest) {reports}")
        assert all(published), "each of them got its turns"
        assert shm.count == sum(published), "every write counts, once"
        for reads, distinct, newest in reports:
            assert reads >= distinct > 10
            assert newest <= shm.count
        found = shm.read_publication()
        assert Pattern(words).number(found.payload) == found.frame_id
        assert shm_py.stat(shm_name)["writer_locked"] is False


@pytest.mark.parametrize("way", ["read", "publication", "out", "view", "history", "read_after",
                                 "read_new", "awaited"])
def test_every_way_of_reading_beside_writers(shm_name: str, start: StartChild, way: str) -> None:
    with shm_py.create(shm_name, shape=(3_000,), dtype="uint64", cells=4) as shm:
        reader = start("reader", shm_name, way)
        writers = [start("writer", shm_name, way) for way in ("write_swapped", "write_view")]
        time.sleep(0.8)
        reads, distinct, _ = end_of_reader(reader)
        published = [end_of(writer) for writer in writers]
        assert shm.count == sum(published)
        print(f"{way}: {reads} reads of {distinct} frames beside {published} published")
        assert all(published) and distinct > 10


def test_processes_with_other_directories_exclude_each_other(
    shm_name: str, start: StartChild, tmp_path: Path
) -> None:
    words = 32_768  # 256 KiB
    places = [tmp_path / "one", tmp_path / "two"]
    for place in places:
        place.mkdir()
    with shm_py.create(shm_name, shape=(words,), dtype="uint64") as shm:
        reader = start("reader", shm_name, "publication")
        writers = [
            start("writer", shm_name, "write_counted", env={"TMPDIR": str(place), "HOME": str(place)})
            for place in places
        ]
        time.sleep(SPAN)
        published = [end_of(writer) for writer in writers]
        reads, distinct, _ = end_of_reader(reader)
        print(f"published {published}, {reads} reads of {distinct} frames")
        assert all(published)
        assert shm.count == sum(published)
        assert distinct > 10
        # Every frame's number was its count: read and written in one hold of the lock.
        assert shm.read_publication().frame_id == shm.count
    assert [list(place.iterdir()) for place in places] == [[], []], "no lock file, no anything"


def test_a_reader_beside_a_writer_that_never_pauses(shm_name: str, start: StartChild) -> None:
    words = 524_288  # 4 MiB
    with shm_py.create(shm_name, shape=(words,), dtype="uint64") as shm:
        readers = [start("reader", shm_name, way) for way in ("publication", "view")]
        writer = start("writer", shm_name, "write")
        time.sleep(SPAN + 1)
        published = end_of(writer)
        reports = [end_of_reader(reader) for reader in readers]
        print(f"published {published} of 4 MiB, (reads, frames, newest) {reports}")
        assert shm.count == published > 10
        reads, distinct, _ = reports[0]
        assert distinct > 10, "the reader makes progress"


def test_a_given_number_of_frames(shm_name: str, start: StartChild) -> None:
    frames = 400
    ways = ["write", "write_locked", "write_view", "write_backwards"]
    with shm_py.create(shm_name, shape=(100,), dtype="uint64") as shm:
        writers = [start("writer", shm_name, way, frames) for way in ways]
        assert [int(writer.hear()) for writer in writers] == [frames] * len(ways)
        for writer in writers:
            writer.finish()
        assert shm.count == frames * len(ways)
        assert shm.write_sequence == 2 * shm.count
