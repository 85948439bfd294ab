"""What is there, and how it is swept."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
import shm_py
from conftest import StartChild, segment_files


def test_streams_are_listed_by_prefix_and_sorted(shm_name: str) -> None:
    names = [shm_name + suffix for suffix in ("/c", "/a", "/b", "-d", "é")]
    for name in names:
        shm_py.create(name, shape=(1,)).close()
    assert shm_py.list_streams(shm_name) == sorted(names)
    assert shm_py.list_streams(shm_name + "/") == sorted(names[:3])
    everything = shm_py.list_streams()
    assert set(names) <= set(everything)
    assert everything == sorted(everything)
    shm_py.unlink(names[0])
    assert shm_py.list_streams(shm_name) == sorted(names[1:])
    assert shm_py.list_streams(shm_name + "/no-such") == []


def test_files_that_are_no_streams_are_neither_listed_nor_swept(shm_name: str) -> None:
    prefix = Path(f"/dev/shm/shm.{os.getuid()}.{shm_name}")
    empty, noise, short = (Path(f"{prefix}-{kind}") for kind in ("empty", "noise", "short"))
    shm_py.create(shm_name, shape=(1,)).close()
    empty.touch()
    noise.write_bytes(np.random.default_rng(2).bytes(100_000))
    short.write_bytes(prefix.read_bytes()[:100])
    try:
        assert shm_py.list_streams(shm_name) == [shm_name]
        for path in (empty, noise, short):
            name = path.name.split(".", 2)[2]
            for call in (shm_py.open, shm_py.stat):
                with pytest.raises((OSError, ValueError), match=name):
                    call(name)
        assert shm_py.gc(shm_name) == [shm_name]
        shm_py.create(shm_name, shape=(1,)).close()
        assert shm_py.purge(prefix=shm_name) == [shm_name]
        assert empty.exists() and noise.exists() and short.exists()
        # Not even by its name, if it was never one of ours.
        with pytest.raises(ValueError):
            shm_py.unlink(shm_name + "-noise")
        shm_py.unlink_quiet(shm_name + "-noise")
        assert noise.exists()
    finally:
        for path in (empty, noise, short):
            path.unlink(missing_ok=True)


def test_stat(shm_name: str, start: StartChild) -> None:
    before = time.time_ns()
    with shm_py.create(
        shm_name, shape=(3, 4), dtype="int16", cells=5, metadata=b"\1\2"
    ) as shm:
        stat = shm_py.stat(shm_name)
        assert (stat["count"], stat["write_time_ns"], stat["acquired_ns"]) == (0, 0, None)
        shm.write(np.zeros((3, 4), np.int16), frame_id=77, acquired_ns=1234)
        child = start("peer", shm_name)
        stat = shm_py.stat(shm_name)
        after = time.time_ns()
        assert stat["name"] == shm_name
        assert stat["shape"] == [3, 4] and type(stat["shape"]) is list
        assert stat["dtype"] == "int16"
        assert stat["size"] == 24
        assert stat["gpu_enabled"] is False and stat["gpu_device"] is None
        assert stat["cpu_mirror"] is True and stat["notify"] is True
        assert stat["instance_id"] == shm.instance_id
        assert len(uuid.UUID(hex=shm.instance_id).bytes) == 16
        assert stat["creator_pid"] == os.getpid()
        assert stat["creator_alive"] is True
        assert (stat["count"], stat["write_sequence"], stat["frame_id"]) == (1, 2, 77)
        assert before <= stat["write_time_ns"] <= after
        assert stat["write_time"] == pytest.approx(stat["write_time_ns"] / 1e9, abs=1e-5)
        assert stat["acquired_ns"] == 1234
        assert (stat["cells"], stat["metadata"]) == (5, b"\1\2")
        assert stat["path"] == f"/dev/shm/shm.{os.getuid()}.{shm_name}"
        assert stat["segment_bytes"] == os.stat(stat["path"]).st_size
        assert 5 * 24 <= stat["allocated_bytes"] <= stat["segment_bytes"]
        assert before <= stat["created_ns"] <= stat["write_time_ns"]
        assert stat["attached"] is True
        assert stat["writer_locked"] is False
        holders = {holder["pid"]: holder for holder in stat["holders"]}
        assert set(holders) == {os.getpid(), child.pid}
        for holder in holders.values():
            assert set(holder) == {"pid", "uid", "role", "since_ns"}
            assert holder["uid"] == os.getuid()
            assert isinstance(holder["role"], str) and holder["role"]
            assert isinstance(holder["since_ns"], int)
        with shm.locked():
            assert shm_py.stat(shm_name)["writer_locked"] is True
        child.kill()
        assert [holder["pid"] for holder in shm_py.stat(shm_name)["holders"]] == [os.getpid()]
    stat = shm_py.stat(shm_name)
    assert (stat["attached"], stat["creator_alive"], stat["holders"]) == (False, False, [])
    shm_py.unlink(shm_name)
    with pytest.raises(FileNotFoundError, match=shm_name):
        shm_py.stat(shm_name)


def test_stat_does_not_attach(shm_name: str) -> None:
    shm_py.create(shm_name, shape=(1,)).close()
    for _ in range(3):
        assert shm_py.stat(shm_name)["attached"] is False


def test_purge_removes_what_its_prefix_says(shm_name: str) -> None:
    doomed = [f"{shm_name}/{letter}" for letter in "ba"]
    spared = shm_name + "-other"
    handles = [shm_py.create(name, shape=(1,)) for name in [*doomed, spared]]
    assert shm_py.purge(prefix=shm_name + "/", dry_run=True) == sorted(doomed)
    assert shm_py.list_streams(shm_name) == sorted([*doomed, spared])
    assert shm_py.purge(prefix=shm_name + "/") == sorted(doomed)
    assert shm_py.list_streams(shm_name) == [spared]
    assert [handle.stale for handle in handles] == [True, True, False]
    assert shm_py.purge(prefix=shm_name + "/") == []
    assert shm_py.purge(prefix=shm_name, include_cuda_orphans=False) == [spared]
    for handle in handles:
        handle.close()


def test_gc_spares_what_anybody_is_attached_to(shm_name: str, start: StartChild) -> None:
    mine, theirs, nobodys = (f"{shm_name}-{letter}" for letter in "abc")
    handle = shm_py.create(mine, shape=(1,))
    for name in (theirs, nobodys):
        shm_py.create(name, shape=(1,)).close()
    child = start("peer", theirs)
    assert shm_py.gc(shm_name, dry_run=True) == [nobodys]
    assert shm_py.list_streams(shm_name) == [mine, theirs, nobodys]
    assert shm_py.gc(shm_name) == [nobodys]
    assert shm_py.gc(shm_name) == []
    child.kill()
    assert shm_py.gc(shm_name) == [theirs], "the dead are attached to nothing"
    handle.close()
    assert shm_py.gc(shm_name) == [mine]
    assert segment_files(shm_name) == []


def test_a_readonly_reader_keeps_a_stream(shm_name: str) -> None:
    shm_py.create(shm_name, shape=(1,)).close()
    with shm_py.open(shm_name, readonly=True):
        assert shm_py.gc(shm_name) == []
    assert shm_py.gc(shm_name) == [shm_name]


def test_producer_alive(shm_name: str, start: StartChild) -> None:
    creator = start("peer", shm_name, "create", "1")
    with shm_py.open(shm_name) as shm:
        assert shm.creator_pid == creator.pid
        assert shm.producer_alive() is True
        assert shm_py.stat(shm_name)["creator_alive"] is True
        creator.kill()
        assert shm.producer_alive() is False
        assert shm_py.stat(shm_name)["creator_alive"] is False
        assert shm.read().shape == (1,)
        # Whoever writes is a producer, whoever only looks is not.
        other = start("peer", shm_name)
        assert shm.producer_alive() is False
        assert other.ask("write 1") == "1"
        assert shm.producer_alive() is True
        other.kill()
        assert shm.producer_alive() is False
        shm.write(np.ones(1, np.uint64))
        assert shm.producer_alive() is True
