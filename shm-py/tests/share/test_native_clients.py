"""Clients as the extension has them: connections, handles, and what is left when one side ends."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from share.sharing import TIMEOUT, Service, call, connect, copying
from shm_py import _native


def test_nobody_there(folder: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(_native.ShareConnectionError) as caught:
        connect(folder / "none.sock", connect_timeout=0.2)
    assert 0.1 < time.monotonic() - begun < 3.0
    assert caught.value.kind == "Unreachable" and isinstance(caught.value, ConnectionError)


def test_a_client_waits_for_its_server(folder: Path) -> None:
    services: list[Service] = []
    later = threading.Timer(0.3, lambda: services.append(Service(folder / "late.sock")))
    later.start()
    client = connect(folder / "late.sock", connect_timeout=10.0)
    later.join()
    client.ping(TIMEOUT)
    assert client.server_id == services[0].native.server_id
    assert client.server_pid == os.getpid()
    assert client.path == services[0].native.path == str(folder / "late.sock")
    services[0].native.stop(False, 5.0)


def test_handles_lease_their_object(service: Service) -> None:
    service.offer(lambda: {"weights": np.arange(10.0)}, "model", managed=True, cache=True)
    client = service.connect()
    handle = call(client, "model")
    assert isinstance(handle, _native._ShareHandle)
    assert handle.value is handle.value
    assert handle.value["weights"][9] == 9.0
    assert (handle.health, handle.released, handle.survives_server) == ("live", False, True)
    assert handle.server_id == client.server_id
    info = handle.info(TIMEOUT)
    assert info is not None and (info["object_id"], info["leases"]) == (handle.object_id, 1)
    assert info["endpoint"] == "model" and info["nbytes"] >= 80 and info["survives_server"]

    other = client.acquire(handle.object_id, TIMEOUT)
    assert other.lease != handle.lease and other.object_id == handle.object_id
    assert np.array_equal(other.value["weights"], handle.value["weights"])
    assert client.object_info(handle.object_id, TIMEOUT)["leases"] == 2  # type: ignore[index]
    assert handle.release(TIMEOUT) is True and handle.release(TIMEOUT) is False
    assert (handle.health, handle.released) == ("released", True)
    assert client.release([other.lease, other.lease, handle.lease], TIMEOUT) == [True, False, False]
    assert handle.value["weights"][1] == 1.0
    assert client.object_info(2**40, TIMEOUT) is None
    with pytest.raises(_native.ShareStaleError):
        client.acquire(2**40, TIMEOUT)


def test_a_dropped_handle_and_a_closed_client_release(service: Service) -> None:
    service.offer(lambda: np.zeros(8), "model", managed=True, cache=True)
    client = service.connect()

    def has_leases(expected: int) -> bool:
        until = time.monotonic() + 5.0
        while service.native.counters()["leases"] != expected:
            if time.monotonic() > until:
                return False
            time.sleep(0.01)
        return True

    handle = call(client, "model")
    assert has_leases(1)
    del handle
    gc.collect()
    assert has_leases(0)
    kept = [call(client, "model") for _ in range(3)]
    assert has_leases(3)
    client.close()
    assert has_leases(0)
    assert not client.alive
    assert all(one.value[0] == 0.0 for one in kept)
    with pytest.raises(_native.ShareConnectionError):
        client.ping(TIMEOUT)


def test_arrays_that_may_be_written(service: Service) -> None:
    board = _native._share_empty((4,), "int32")
    board[:] = 0
    service.offer(lambda: board, "board")
    client = service.connect(writable=True)
    with copying(0):
        mine = call(client, "board")
    mine[2] = 7
    assert board.tolist() == [0, 0, 7, 0]
    assert not call(service.connect(), "board").flags.writeable


def test_a_writable_client_reads_what_is_sealed(service: Service) -> None:
    service.offer(lambda: np.arange(4), "make")
    array = call(service.connect(writable=True), "make")
    assert array.tolist() == [0, 1, 2, 3] and not array.flags.writeable


SERVER = """
    import sys, time
    import numpy as np
    sys.path[:0] = {path!r}
    from pathlib import Path
    from share.sharing import Service
    service = Service(Path({socket!r}))
    service.offer(lambda n: np.arange(n), "make", managed=True, cache=True)
    service.offer(lambda: time.sleep(60), "hang")
    print("ready", flush=True)
    service.native.wait(None)
"""


@pytest.fixture
def elsewhere(folder: Path) -> Any:
    """A server in a process of its own."""
    path = [str(Path(__file__).parent.parent), *sys.path]
    program = textwrap.dedent(SERVER.format(path=path, socket=str(folder / "e.sock")))
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "ready\n"
    yield child, folder / "e.sock"
    child.kill()
    child.wait()
    child.stdout.close()


def test_a_server_that_is_killed_is_noticed_at_once(elsewhere: Any) -> None:
    child, path = elsewhere
    client = connect(path)
    gone = threading.Event()
    client.on_gone(gone.set)
    handle = call(client, "make", 100_000)
    array = handle.value
    failed: list[float] = []

    def hang() -> None:
        try:
            call(client, "hang")
        except _native.ShareConnectionError:
            failed.append(time.monotonic())

    thread = threading.Thread(target=hang)
    thread.start()
    pending = client.start("call", "hang", (), {})
    time.sleep(0.3)
    begun = time.monotonic()
    child.kill()
    assert gone.wait(5.0)
    assert time.monotonic() - begun < 1.0
    thread.join(5.0)
    assert failed and failed[0] - begun < 1.0
    assert not client.alive and handle.health == "server gone"
    with pytest.raises(_native.ShareConnectionError) as caught:
        pending.result()
    assert caught.value.kind == "Gone"
    assert array[99_999] == 99_999 and handle.value is array
    late = threading.Event()
    client.on_gone(late.set)
    assert late.wait(5.0)
    with pytest.raises(_native.ShareConnectionError):
        handle.info(TIMEOUT)


def test_a_forked_child_leaves_the_parents_connection_alone(elsewhere: Any) -> None:
    _, path = elsewhere
    client = connect(path)
    handle = call(client, "make", 10)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            said = b"used it"
            try:
                client.ping(1.0)
            except _native.ShareConnectionError:
                said = b"refused"
            values = handle.value.tolist()
            del handle, client
            gc.collect()
            os.write(write, said + str(values).encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"refused" + str(list(range(10))).encode()
    os.close(read)
    assert handle.health == "live" and handle.info(TIMEOUT)["leases"] == 1
    assert call(client, "make", 5).value.tolist() == [0, 1, 2, 3, 4]
