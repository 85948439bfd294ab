"""Device tensors through a service: on the simulated driver, or a real one."""

from __future__ import annotations

import gc
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shm_py
from children.simulator import Simulator
from share.sharing import TIMEOUT, Service, call, connect, copying
from shm_py import _native

SERVER = """
    import os, sys
    sys.path[:0] = {path!r}
    from pathlib import Path
    import numpy as np
    import shm_py
    from share.sharing import Service
    service = Service(Path({socket!r}))
    one = shm_py.DeviceTensor.from_numpy(np.arange(12, dtype=np.float32).reshape(3, 4))
    service.offer(lambda: one, "one", managed=True, cache=True)
    service.offer(lambda: {{"a": one, "again": one, "host": np.arange(3)}}, "several")
    service.offer(lambda x: [x, x.to_numpy()], "echo")
    service.offer(lambda x: float(x.to_numpy().sum()), "sum")
    service.offer(lambda x: 1 / 0, "fail")
    print("ready", flush=True)
    service.native.wait(None)
"""


@pytest.fixture
def elsewhere(sim: Simulator, folder: Path) -> Iterator[tuple[Any, Path]]:
    """A server in a process of its own, with a tensor on the device."""
    path = [str(Path(__file__).parent.parent), *sys.path]
    program = textwrap.dedent(SERVER.format(path=path, socket=str(folder / "d.sock")))
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    yield child, folder / "d.sock"
    child.kill()
    child.wait()
    child.stdout.close()


EXPECTED = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_device_tensors_come_without_a_copy(elsewhere: Any) -> None:
    client = connect(elsewhere[1])
    with copying(0):
        handle = call(client, "one")
        value = handle.value
    assert isinstance(value, shm_py.DeviceTensor)
    assert (value.shape, value.device) == ((3, 4), "cuda:0")
    assert np.array_equal(value.to_numpy(), EXPECTED)
    assert value.readonly
    assert handle.release(TIMEOUT)


def test_values_of_host_and_device(elsewhere: Any) -> None:
    client = connect(elsewhere[1])
    found = call(client, "several")
    assert np.array_equal(found["a"].to_numpy(), EXPECTED)
    assert found["a"].ptr == found["again"].ptr
    assert found["host"].tolist() == [0, 1, 2]


def test_device_tensors_as_arguments(elsewhere: Any) -> None:
    client = connect(elsewhere[1])
    mine = shm_py.DeviceTensor.from_numpy(EXPECTED + 1)
    with copying(0):
        back, seen = call(client, "echo", mine)
    assert np.array_equal(seen, EXPECTED + 1)
    assert back.ptr == mine.ptr
    assert np.array_equal(back.to_numpy(), EXPECTED + 1)
    del back
    assert call(client, "sum", mine) == float((EXPECTED + 1).sum())


def test_arguments_stay_until_their_task_is_over(sim: Simulator, elsewhere: Any) -> None:
    client = connect(elsewhere[1])
    before = sim.report()["allocations"]
    tasks = [
        client.submit("sum", (shm_py.DeviceTensor.from_numpy(EXPECTED + n),), {}, TIMEOUT)
        for n in range(10)
    ]
    assert [client.wait_task(one, TIMEOUT) for one in tasks] == [66.0 + 12 * n for n in range(10)]
    pending = client.start("submit", "sum", (shm_py.DeviceTensor.from_numpy(EXPECTED),), {})
    while not pending.done():
        client.ping(TIMEOUT)
    assert client.wait_task(pending.result(), TIMEOUT) == 66.0
    bad = client.submit("fail", (shm_py.DeviceTensor.from_numpy(EXPECTED),), {}, TIMEOUT)
    with pytest.raises(_native.ShareTaskError):
        client.wait_task(bad, TIMEOUT)
    del pending
    gc.collect()
    for _ in range(100):
        sim.release()
        shm_py.gc("pytest-")
        if sim.report()["allocations"] == before:
            break
        time.sleep(0.02)
    assert sim.report()["allocations"] == before


def test_received_tensors_are_passed_on(elsewhere: Any) -> None:
    client = connect(elsewhere[1])
    handle = call(client, "one")
    with copying(0):
        assert call(client, "sum", handle.value) == float(EXPECTED.sum())


def test_tensors_stay_readable_as_long_as_they_say(elsewhere: Any) -> None:
    child, path = elsewhere
    client = connect(path)
    handle = call(client, "one")
    value = handle.value
    child.kill()
    child.wait()
    assert handle.health == ("server gone" if handle.survives_server else "lost")
    if handle.survives_server:
        assert np.array_equal(value.to_numpy(), EXPECTED)


class Interface:
    """A tensor of another library."""

    def __init__(self, tensor: shm_py.DeviceTensor, **changes: Any) -> None:
        self.tensor = tensor
        self.__cuda_array_interface__ = {**tensor.__cuda_array_interface__, **changes}


def test_views_of_other_libraries_stay_on_one_memory(sim: Simulator, service: Service) -> None:
    service.offer(lambda value: value, "echo")
    client = service.connect()
    base = shm_py.DeviceTensor.from_numpy(np.arange(24, dtype=np.int32).reshape(4, 6))
    part = Interface(base, shape=(2, 6), data=(base.ptr + 24, False))
    column = Interface(base, shape=(4,), strides=(24,), data=(base.ptr + 8, False))
    with copying(0):
        back = call(client, "echo", [Interface(base), part, column])
    assert back[1].ptr - back[0].ptr == 24 and back[2].ptr - back[0].ptr == 8
    assert np.array_equal(back[1].to_numpy(), np.arange(6, 18).reshape(2, 6))
    assert back[2].strides == (24,)
    del back, part, column, base
    client.close()
    service.native.stop(True, 5.0)
    gc.collect()


def test_a_device_tensor_outlives_its_service(sim: Simulator, folder: Path) -> None:
    service = Service(folder / "o.sock")
    service.offer(lambda: shm_py.DeviceTensor.from_numpy(EXPECTED), "make")
    value = service.native.invoke("make", (), {}, TIMEOUT)
    service.native.stop(True, 5.0)
    del service
    gc.collect()
    assert np.array_equal(value.to_numpy(), EXPECTED)


def test_what_no_device_of_this_process_has_is_refused(sim: Simulator, service: Service) -> None:
    service.offer(lambda value: value, "echo")
    client = service.connect()
    tensor = shm_py.DeviceTensor.from_numpy(EXPECTED)
    for changes in ({"data": (64, False)}, {"shape": (1 << 40,)}, {"shape": (0,)}):
        with pytest.raises(ValueError, match=r"args\[0\] cannot travel"):
            call(client, "echo", Interface(tensor, **changes))
    with pytest.raises(_native.ShareError):
        call(client, "none", tensor)
