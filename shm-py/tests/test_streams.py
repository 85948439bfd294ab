"""Streams begin, are found, and end."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

import numpy as np
import pytest
import shm_py
from conftest import segment_files


def test_create_then_open_shows_the_same_stream(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(4, 3), dtype=np.int16) as writer:
        writer.write(np.arange(12, dtype=np.int16).reshape(4, 3))
        with shm_py.open(shm_name) as reader:
            assert isinstance(reader, shm_py.SharedMemory)
            for handle in (writer, reader):
                assert handle.name == shm_name
                assert handle.shape == (4, 3)
                assert handle.dtype == np.dtype(np.int16)
                assert isinstance(handle.dtype, np.dtype)
                assert handle.size == 24
                assert handle.gpu_device is None
                assert handle.gpu_enabled is False
                assert handle.cpu_mirror is True
                assert handle.closed is False
                assert handle.readonly is False
                assert handle.notify is True
                assert handle.casting == "same_kind"
                assert handle.cells == 3
                assert handle.metadata == b""
                assert handle.creator_pid == os.getpid()
                assert handle.count == 1
                assert handle.write_sequence == 2
            assert (writer.owner, reader.owner) == (True, False)
            assert writer.instance_id == reader.instance_id
            np.testing.assert_array_equal(reader.read(), np.arange(12).reshape(4, 3))


def test_the_default_dtype_is_float32_and_the_stream_begins_at_zero(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(5,)) as shm:
        assert shm.dtype == np.float32
        assert (shm.count, shm.frame_id, shm.write_sequence) == (0, 0, 0)
        assert (shm.write_time, shm.write_time_ns, shm.acquired_ns) == (0.0, 0, None)
        np.testing.assert_array_equal(shm.read(), np.zeros(5, np.float32))


def test_repr(shm_name: str) -> None:
    expected = f"SharedMemory(name={shm_name!r}, shape=(2, 3), dtype='uint8', gpu_device=None)"
    with shm_py.create(shm_name, shape=(2, 3), dtype="uint8") as shm:
        assert repr(shm) == expected
    assert repr(shm) == expected, "closed"
    with shm_py.open(shm_name) as shm:
        assert repr(shm) == expected


def test_a_stream_outlives_its_handles(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(3,)) as shm:
        shm.write(np.array([1, 2, 3], np.float32), frame_id=9)
        instance = shm.instance_id
    with shm_py.open(shm_name) as shm:
        assert (shm.count, shm.frame_id, shm.instance_id) == (1, 9, instance)
        np.testing.assert_array_equal(shm.read(), [1, 2, 3])


def test_a_missing_stream_says_how_to_create_it(shm_name: str) -> None:
    with pytest.raises(FileNotFoundError) as error:
        shm_py.open(shm_name)
    assert str(error.value).startswith(
        f"shared memory '{shm_name}' does not exist; create it with shm_py.create('{shm_name}', ...)"
    )


def test_a_duplicate_says_how_to_open_it(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(3,)) as shm:
        shm.write(np.ones(3, np.float32))
        with pytest.raises(FileExistsError) as error:
            shm_py.create(shm_name, shape=(4,))
        assert str(error.value).startswith(
            f"shared memory '{shm_name}' already exists; use shm_py.open('{shm_name}')"
        )
        assert (shm.stale, shm.count) == (False, 1), "the first is as it was"
        np.testing.assert_array_equal(shm.read(), np.ones(3))


def test_messages_name_the_module_that_the_user_imported(
    shm_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyshmem", shm_py)
    with pytest.raises(FileNotFoundError, match=r"pyshmem\.create\("):
        shm_py.open(shm_name)
    with shm_py.create(shm_name, shape=(1,)) as shm:
        with pytest.raises(FileExistsError, match=r"pyshmem\.open\("):
            shm_py.create(shm_name, shape=(1,))
    with pytest.raises(RuntimeError, match=r"pyshmem\.open\("):
        shm.read()


def test_open_waits_for_the_stream_to_appear(shm_name: str) -> None:
    created: list[shm_py.SharedMemory] = []
    timer = threading.Timer(
        0.15, lambda: created.append(shm_py.create(shm_name, shape=(2,), dtype="int8"))
    )
    timer.start()
    try:
        with shm_py.open(shm_name, timeout=20.0) as shm:
            assert shm.shape == (2,)
    finally:
        timer.join()
    created[0].close()
    shm_py.unlink(shm_name)
    with pytest.raises(FileNotFoundError):
        shm_py.open(shm_name, timeout=0.05)
    for timeout in (-1.0, float("nan")):
        with pytest.raises(ValueError):
            shm_py.open(shm_name, timeout=timeout)


def test_unlink_by_name(shm_name: str) -> None:
    shm_py.create(shm_name, shape=(1,)).close()
    assert segment_files(shm_name) == [f"shm.{os.getuid()}.{shm_name}"]
    shm_py.unlink(shm_name)
    assert segment_files(shm_name) == []
    shm_py.unlink(shm_name)  # silent
    with pytest.raises(FileNotFoundError):
        shm_py.open(shm_name)


@pytest.mark.parametrize("method", ["unlink", "delete"])
def test_unlink_by_handle(shm_name: str, method: str) -> None:
    shm = shm_py.create(shm_name, shape=(1,))
    getattr(shm, method)()
    assert shm.closed
    assert segment_files(shm_name) == []


def test_unlink_quiet_never_raises(shm_name: str) -> None:
    shm_py.create(shm_name, shape=(1,)).close()
    shm_py.unlink_quiet(shm_name)
    assert segment_files(shm_name) == []
    shm_py.unlink_quiet(shm_name)
    bad: list[Any] = ["", "a\0b", "x" * 40_000, None, 3, "\ud800"]
    for name in bad:
        shm_py.unlink_quiet(name)


def test_a_with_block_closes_and_keeps_the_name(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm:
        assert not shm.closed
    assert shm.closed
    assert shm_name in shm_py.list_streams()


def test_auto_unlink_ends_with_the_block(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,), auto_unlink=True) as shm:
        assert shm_name in shm_py.list_streams()
    assert shm.closed
    assert segment_files(shm_name) == []
    with pytest.raises(KeyError):
        with shm_py.create(shm_name, shape=(1,), auto_unlink=True):
            raise KeyError
    assert segment_files(shm_name) == []


def test_auto_unlink_spares_a_successor(shm_name: str) -> None:
    successor: shm_py.SharedMemory | None = None
    with pytest.raises((shm_py.StaleStreamError, ZeroDivisionError)):
        with shm_py.create(shm_name, shape=(1,), auto_unlink=True):
            successor = shm_py.create(shm_name, shape=(2,), replace_existing=True)
            raise ZeroDivisionError
    assert successor is not None
    with shm_py.open(shm_name) as found, successor:
        assert found.instance_id == successor.instance_id


def test_stream_ends_with_its_block(shm_name: str) -> None:
    with shm_py.stream(shm_name, shape=(2,), dtype="int32", cells=4, metadata=b"m") as shm:
        shm.write(np.array([1, 2], np.int32))
        assert (shm.cells, shm.metadata, shm.owner) == (4, b"m", True)
        with shm_py.open(shm_name) as other:
            np.testing.assert_array_equal(other.read(), [1, 2])
    assert shm.closed
    assert segment_files(shm_name) == []
    with pytest.raises(KeyError, match="mine"):
        with shm_py.stream(shm_name, shape=(2,)):
            raise KeyError("mine")
    assert segment_files(shm_name) == []


def test_replace_existing(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(2,), replace_existing=True) as old:
        old.write(np.ones(2, np.float32))
        with shm_py.create(shm_name, shape=(3,), dtype="int8", replace_existing=True) as new:
            assert old.stale and not new.stale
            assert old.instance_id != new.instance_id
            with shm_py.open(shm_name) as found:
                assert (found.shape, found.count) == ((3,), 0)
                assert found.instance_id == new.instance_id


def test_close_is_idempotent(shm_name: str) -> None:
    shm = shm_py.create(shm_name, shape=(1,))
    shm.close()
    shm.close(timeout=1.0)
    assert shm.closed


CLOSED_CALLS: dict[str, Any] = {
    "read": lambda shm: shm.read(),
    "read_new": lambda shm: shm.read_new(timeout=0),
    "read_after": lambda shm: shm.read_after(0, timeout=0),
    "wait_for_count": lambda shm: shm.wait_for_count(after=0, timeout=0),
    "read_publication": lambda shm: shm.read_publication(),
    "read_new_publication": lambda shm: shm.read_new_publication(timeout=0),
    "read_after_publication": lambda shm: shm.read_after_publication(0, timeout=0),
    "history": lambda shm: shm.history(),
    "view": lambda shm: shm.view(),
    "write": lambda shm: shm.write(np.zeros(1, np.float32)),
    "write_locked": lambda shm: shm.write_locked(np.zeros(1, np.float32)),
    "write_view": lambda shm: shm.write_view().__enter__(),
    "write_view_locked": lambda shm: shm.write_view_locked().__enter__(),
    "clear": lambda shm: shm.clear(),
    "acquire": lambda shm: shm.acquire(timeout=0),
    "locked": lambda shm: shm.locked(timeout=0).__enter__(),
    "describe": lambda shm: shm.describe(),
    "to_dlpack": lambda shm: shm.__dlpack__(),
    "count": lambda shm: shm.count,
    "frame_id": lambda shm: shm.frame_id,
    "write_time": lambda shm: shm.write_time,
    "write_time_ns": lambda shm: shm.write_time_ns,
    "write_sequence": lambda shm: shm.write_sequence,
    "acquired_ns": lambda shm: shm.acquired_ns,
    "last_read_count": lambda shm: shm.last_read_count,
    "missed_writes": lambda shm: shm.missed_writes,
    "total_missed_writes": lambda shm: shm.total_missed_writes,
    "age": lambda shm: shm.age,
    "is_stale": lambda shm: shm.is_stale(1.0),
    "producer_alive": lambda shm: shm.producer_alive(),
}


@pytest.mark.parametrize("call", CLOSED_CALLS)
def test_a_closed_handle_says_how_to_reopen(shm_name: str, call: str) -> None:
    shm = shm_py.create(shm_name, shape=(1,))
    shm.close()
    with pytest.raises(RuntimeError, match="closed shared memory") as error:
        CLOSED_CALLS[call](shm)
    message = str(error.value)
    assert message.startswith("cannot ")
    assert f"closed shared memory '{shm_name}'; reopen it with shm_py.open('{shm_name}')" in message


def test_a_closed_handle_still_says_what_it_was(shm_name: str) -> None:
    shm = shm_py.create(shm_name, shape=(2, 2), dtype="uint16", casting="unsafe")
    shm.close()
    assert (shm.name, shm.shape, shm.size) == (shm_name, (2, 2), 8)
    assert shm.dtype == np.uint16
    assert (shm.gpu_device, shm.gpu_enabled, shm.cpu_mirror) == (None, False, True)
    assert (shm.owner, shm.readonly, shm.casting, shm.closed) == (True, False, "unsafe", True)


READONLY_CALLS: dict[str, Any] = {
    "write": lambda shm: shm.write(np.zeros(2, np.float32)),
    "write_view": lambda shm: shm.write_view().__enter__(),
    "clear": lambda shm: shm.clear(),
    "acquire": lambda shm: shm.acquire(timeout=0),
    "locked": lambda shm: shm.locked(timeout=0).__enter__(),
    "safe=False": lambda shm: shm.read(safe=False),
    "unlink": lambda shm: shm.unlink(),
    "delete": lambda shm: shm.delete(),
}


@pytest.mark.parametrize("call", READONLY_CALLS)
def test_a_readonly_handle_refuses_to_change_anything(shm_name: str, call: str) -> None:
    with shm_py.create(shm_name, shape=(2,)) as writer:
        writer.write(np.ones(2, np.float32))
        with shm_py.open(shm_name, readonly=True) as reader:
            assert reader.readonly
            with pytest.raises(PermissionError, match="read-only"):
                READONLY_CALLS[call](reader)
            np.testing.assert_array_equal(reader.read(), np.ones(2))
            np.testing.assert_array_equal(np.from_dlpack(reader), np.ones(2))
            assert (reader.count, reader.stale) == (1, False)
            writer.acquire(timeout=0)  # nothing has taken the lock
            writer.release()


def test_instances_do_not_pretend_to_be_the_module(shm_name: str) -> None:
    with shm_py.create(shm_name, shape=(1,)) as shm:
        assert not hasattr(shm, "create") and not hasattr(shm, "open")
    with pytest.raises(TypeError):
        shm_py.SharedMemory()
    unwritable: Any = shm
    for attribute in ("name", "shape", "count", "closed", "no_such_attribute"):
        with pytest.raises(AttributeError):
            setattr(unwritable, attribute, 1)


@pytest.mark.parametrize("device", ["cpu", "cpu:0", "xpu", "", "cuda:x", "cuda:-1", -1])
def test_devices_that_are_not_cuda(shm_name: str, device: str | int) -> None:
    with pytest.raises(ValueError):
        shm_py.create(shm_name, shape=(1,), gpu_device=device)
    assert segment_files(shm_name) == []


def test_gpu_facts_of_a_host_stream(shm_name: str) -> None:
    assert isinstance(shm_py.gpu_available(), bool)
    with shm_py.create(shm_name, shape=(1,), cpu_mirror=True) as shm:
        with pytest.raises(RuntimeError, match="GPU"):
            shm.pinned_buffer()
    for device in (None, False, "cuda", "cuda:0", 0):
        with shm_py.open(shm_name, gpu_device=device) as shm:
            assert shm.gpu_device is None and shm.gpu_enabled is False
            assert shm.__dlpack_device__() == (1, 0)
    for wrong in ("cpu", "cuda:x", -1):
        with pytest.raises(ValueError, match="gpu_device"):
            shm_py.open(shm_name, gpu_device=wrong)
