"""Slots: inputs filled and outputs read where they lie, and never when they may not be."""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import shm_py
from children import PATIENCE
from children.serving import Server


def address(array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> int:
    start: int = array.__array_interface__["data"][0]
    return start


def is_in_shared_memory(start: int) -> bool:
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, _, rest = line.partition(" ")
        first, last = (int(edge, 16) for edge in span.split("-"))
        if first <= start < last:
            return f"/dev/shm/shm.{os.getuid()}.triton.{os.getpid()}." in rest
    return False


def test_nothing_is_copied(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("normal", slots=1)
    with model.slot() as slot:
        images = slot.input("INPUT0", (8, 3, 224, 224))
        assert images.flags.writeable and images.dtype == np.float32
        assert address(images) % 64 == 0 and is_in_shared_memory(address(images))
        assert address(slot.input("INPUT0", (8, 3, 224, 224))) == address(images)
        for frame in range(3):
            images[:] = frame
            outputs = slot.run()
            found = outputs["OUTPUT0"]
            assert is_in_shared_memory(address(found)) and address(found) % 64 == 0
            assert not found.flags.writeable and images.flags.writeable
            assert (found == frame).all()
            with pytest.raises(ValueError, match="read-only"):
                found[0] = 1
            with pytest.raises(ValueError):
                found.flags.writeable = True
        # The next run shows through what the last one gave.
        images[:] = 9
        again = slot.run()["OUTPUT0"]
        assert np.shares_memory(again, found) and (found == 9).all()
        fewer = slot.input("INPUT0", (2, 3, 224, 224))
        assert np.shares_memory(fewer, images)
        assert slot.run()["OUTPUT0"].shape == (2, 3, 224, 224)


def test_values_can_be_set(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("multi_io")
    images = np.random.default_rng(1).random((3, 3, 224, 224), np.float32)
    with model.slot() as slot:
        slot.set("INPUT0", list(images))
        slot.input("INPUT1", (3, 10))[:] = np.arange(30).reshape(3, 10)
        found = slot.run(outputs=["OUTPUT1", "OUTPUT0"])
        np.testing.assert_array_equal(found["OUTPUT0"], images.reshape(3, -1)[:, :512] + 1)
        assert found["OUTPUT1"][2].tolist() == [40, 42, 44, 46, 48]
        slot.clear()
        with pytest.raises(ValueError, match="'INPUT0' is missing"):
            slot.run()
        with pytest.raises(KeyError, match="it has INPUT0, INPUT1"):
            slot.input("INPUT2", (3, 10))
        for shape in ((9, 10), (3, 11), (3,), (3, 10, 1)):
            with pytest.raises(ValueError, match="INPUT1"):
                slot.input("INPUT1", shape)
        with pytest.raises(ValueError, match="shape"):
            slot.input("INPUT1", (-1, 10))
        with pytest.raises(ValueError, match="at most 8"):
            slot.set("INPUT1", np.zeros((9, 10), np.int32))
    bytes_of = triton.register_model("bytes")
    with bytes_of.slot() as slot:
        with pytest.raises(TypeError, match="use set"):
            slot.input("INPUT0", (1, 1))
        slot.set("INPUT0", [[b"a", "b"]])
        assert slot.run()["OUTPUT0"].tolist() == [[b"a", b"b"]]


def test_a_slot_is_given_back(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("identity", slots=1)
    slot = model.slot()
    array = slot.input("INPUT0", (1, 16))
    with pytest.raises(TimeoutError, match="no slot.*1 of 1 are in use"):
        model.slot(0.05)
    with pytest.raises(TimeoutError, match="no slot"):
        model.infer({"INPUT0": np.zeros((1, 16), np.float32)}, timeout=0.05)
    slot.close()
    slot.close()
    assert slot.closed and not array.flags.writeable and "given back" in repr(slot)
    for use in (slot.run, slot.clear, lambda: slot.input("INPUT0", (1, 16))):
        with pytest.raises(shm_py.TritonError, match="given back"):
            use()
    # Without close() it is back when the handle and every array over it are gone.
    slot = model.slot(1.0)
    array = slot.input("INPUT0", (1, 16))
    array[:] = 3
    outputs = slot.run()
    del slot, array
    gc.collect()
    with pytest.raises(TimeoutError):
        model.slot(0.05)
    assert outputs["OUTPUT0"][0, 0] == 3
    del outputs
    gc.collect()
    model.slot(1.0).close()


def test_arrays_outlive_everything(server_url: str) -> None:
    client = shm_py.TritonClient(server_url)
    model = client.register_model("normal", slots=1)
    slot = model.slot()
    images = slot.input("INPUT0", (4, 3, 224, 224))
    images[:] = 7
    found = slot.run()["OUTPUT0"]
    part = found[1:3, 1]
    with pytest.raises(TimeoutError, match="still lent"):
        client.close(timeout=0.1)
    with pytest.raises(shm_py.TritonError, match="closed"):
        slot.run()
    slot.close()
    del slot, model, client
    gc.collect()
    assert (found == 7).all() and (images == 7).all() and part.sum() == 7 * part.size
    own = f"shm.{os.getuid()}.triton.{os.getpid()}."
    assert not [name for name in os.listdir("/dev/shm") if name.startswith(own)]
    with shm_py.TritonClient(server_url) as other:
        assert not any(f".{os.getpid()}." in region.name for region in other.regions())


def test_a_slot_that_grows_leaves_no_array_to_write_to(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("any")
    with model.slot() as slot:
        small = slot.input("INPUT0", (10,))
        small[:] = 1
        large = slot.input("INPUT0", (1_000_000,))
        assert not small.flags.writeable and large.flags.writeable
        assert not np.shares_memory(small, large)
        large[:] = np.arange(1_000_000, dtype=np.int64).astype(np.int8)
        found = slot.run()["OUTPUT0"]
        np.testing.assert_array_equal(found, large)
        # The output had to grow too, and the slot has moved with it.
        assert slot.input("INPUT0", (1_000_000,)).flags.writeable
        assert (small == 1).all()


def test_inputs_cannot_be_written_while_they_are_read(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("slow", slots=1)
    with model.slot() as slot:
        array = slot.input("INPUT0", (1, 1024))
        kept = slot.input("INPUT0", (1, 1024))
        kept.flags.writeable = False
        array[:] = 5
        errors: list[BaseException] = []

        def look() -> None:
            try:
                deadline = time.monotonic() + PATIENCE
                while array.flags.writeable and time.monotonic() < deadline:
                    time.sleep(0.005)
                with pytest.raises(ValueError, match="read-only"):
                    array[:] = 6
                for use in (slot.run, slot.close, lambda: slot.input("INPUT0", (1, 1024))):
                    with pytest.raises(shm_py.TritonError, match="being run"):
                        use()
            except BaseException as error:
                errors.append(error)

        other = threading.Thread(target=look)
        other.start()
        found = slot.run(parameters={"delay_ms": 400})["OUTPUT0"]
        other.join()
        assert errors == [] and (found == 5).all()
        assert array.flags.writeable and not kept.flags.writeable


def test_after_a_timeout_the_slot_is_gone(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("slow", slots=1)
    slot = model.slot()
    array = slot.input("INPUT0", (1, 1024))
    array[:] = 5
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="the request stays open"):
        slot.run(timeout=0.1, parameters={"delay_ms": 800})
    assert 0.09 < time.monotonic() - began < 0.6
    assert slot.closed and "gone" in repr(slot)
    for use in (slot.run, slot.clear, lambda: slot.input("INPUT0", (1, 1024))):
        with pytest.raises(shm_py.TritonError, match="gone"):
            use()
    with pytest.raises(ValueError, match="read-only"):
        array[:] = 6
    assert triton.stats().late == 1 and triton.stats().in_flight == 1
    with pytest.raises(TimeoutError, match="no slot"):
        model.slot(0.1)
    # It comes back with the answer.
    with model.slot(PATIENCE) as later:
        assert later.run.__name__ == "run" and time.monotonic() - began > 0.7
        later.set("INPUT0", np.full((1, 1024), 8, np.float32))
        assert (later.run(parameters={"delay_ms": 1})["OUTPUT0"] == 8).all()
    assert (array != 6).all()


def test_many_threads_share_few_slots(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("identity", slots=2)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(20):
                value = np.float32(number * 100 + turn)
                with model.slot(PATIENCE) as slot:
                    slot.input("INPUT0", (2, 16))[:] = value
                    assert (slot.run()["OUTPUT0"] == value).all()
                found = model.infer({"INPUT0": np.full((20, 16), value, np.float32)})
                assert (found["OUTPUT0"] == value).all()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_forked_child_has_no_part_in_it(own_server: Server) -> None:
    with shm_py.TritonClient(own_server.http) as client:
        model = client.register_model("identity")
        slot = model.slot()
        array = slot.input("INPUT0", (1, 16))
        array[:] = 3
        child = os.fork()
        if child == 0:
            code = 1
            try:
                given = {"INPUT0": np.zeros((1, 16), np.float32)}
                for use in (slot.run, lambda: model.infer(given), client.is_live, model.slot):
                    try:
                        use()
                    except shm_py.TritonError:
                        continue
                    os._exit(2)
                assert client.closed and array[0, 0] == 3
                client.close()
                del slot, model, client, use, array
                gc.collect()
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert (slot.run()["OUTPUT0"] == 3).all()
        slot.close()
        assert len(client.regions()) == 1
