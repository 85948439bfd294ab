"""The frames of a device stream after the handle that created it was closed."""

from __future__ import annotations

import gc

import numpy as np
import pytest
import shm_py
from children.simulator import Simulator
from conftest import StartChild

FRAME = np.full(1024, 7, dtype="u8")


def _created(name: str) -> shm_py.SharedMemory:
    shm = shm_py.create(name, shape=FRAME.shape, dtype="u8", gpu_device=0)
    shm.write(FRAME)
    return shm


def test_a_closed_creator_can_be_opened_again(
    sim: Simulator, shm_name: str, start: StartChild
) -> None:
    creator = _created(shm_name)
    creator.close()
    creator.close()
    with shm_py.open(shm_name, gpu_device="cuda") as again:
        assert again.count == 1
        np.testing.assert_array_equal(again.read().to_numpy(), FRAME)
        again.write(FRAME + 1)
    other = start("device_peer", shm_name, "cuda")
    assert other.ask("read") == "8"
    other.finish()
    creator.unlink()


@pytest.mark.parametrize("end", ["unlink", "del"])
def test_the_frames_end_with_the_name_or_the_handle(
    sim: Simulator, shm_name: str, end: str
) -> None:
    before = sim.report()["allocations"]
    creator = _created(shm_name)
    creator.close()
    assert sim.report()["allocations"] == before + 1
    if end == "unlink":
        creator.unlink()
        assert sim.report()["allocations"] == before
        return
    del creator
    gc.collect()
    assert sim.report()["allocations"] == before
    with pytest.raises(RuntimeError, match="has ended or closed it"):
        shm_py.open(shm_name, gpu_device="cuda")


def test_only_the_creating_handle_keeps_frames(sim: Simulator, shm_name: str) -> None:
    creator = _created(shm_name)
    opened = shm_py.open(shm_name, gpu_device="cuda")
    opened.close()
    creator.close()
    before = sim.report()["allocations"]
    del creator
    gc.collect()
    assert sim.report()["allocations"] == before - 1
    opened.close()
