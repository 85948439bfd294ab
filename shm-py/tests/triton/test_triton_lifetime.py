"""What is left behind: nothing, whoever dies; and waits that end."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import shm_py
from children import PATIENCE, Child, run
from children.serving import Server, free_port, start_embedded

ONE = {"INPUT0": np.ones((1, 1024), np.float32)}


def files_of(pid: int) -> list[str]:
    return [name for name in os.listdir("/dev/shm") if f".triton.{pid}." in name]


def test_everything_is_taken_away(server_url: str) -> None:
    with shm_py.TritonClient(server_url) as client:
        client.register_model("identity")
        client.register_model("normal").unregister()
        assert len(files_of(os.getpid())) == 1
    assert client.closed and "closed" in repr(client) and files_of(os.getpid()) == []
    client.close()
    for use in (client.is_live, client.models, client.stats, lambda: client.register_model("any")):
        with pytest.raises(shm_py.TritonError, match="closed"):
            use()
    with shm_py.TritonClient(server_url) as other:
        assert not any(f".{os.getpid()}." in region.name for region in other.regions())


def test_the_end_of_the_interpreter_closes(server_url: str) -> None:
    said = run(
        """
import os, sys
import numpy as np, shm_py
client = shm_py.TritonClient(sys.argv[1])
model = client.register_model("identity")
slot = model.slot()
array = slot.input("INPUT0", (1, 16))
array[:] = 3
print(os.getpid(), slot.run()["OUTPUT0"][0, 0])
slot.close()
""",
        server_url,
    )
    pid, value = said.split()
    assert value == "3.0" and files_of(int(pid)) == []
    with shm_py.TritonClient(server_url) as client:
        assert not any(f".{pid}." in region.name for region in client.regions())


def test_what_a_killed_client_leaves_is_swept(server_url: str) -> None:
    child = Child(
        "-c",
        f"""
import sys, time
import shm_py
client = shm_py.TritonClient({server_url!r}, sweep=False)
model = client.register_model("identity")
print("ready", flush=True)
sys.stdin.read()
""",
    )
    assert child.hear() == "ready"
    assert len(files_of(child.pid)) == 1
    child.kill()
    with shm_py.TritonClient(server_url, sweep=False) as client:
        client.register_model("identity")
        assert len(files_of(child.pid)) == 1
        swept = client.sweep()
        assert any(f".{child.pid}." in name for name in swept.unregistered)
        assert any(f".{child.pid}." in name for name in swept.unlinked)
        assert files_of(child.pid) == []
        assert not any(f".{child.pid}." in region.name for region in client.regions())


def test_a_server_that_was_restarted_is_used_again() -> None:
    port = free_port()
    url = f"127.0.0.1:{port}"
    given = np.arange(32, dtype=np.float32).reshape(2, 16)
    client = shm_py.TritonClient(url)
    for use in (client.is_live, client.server_metadata, lambda: client.register_model("identity")):
        with pytest.raises(ConnectionRefusedError, match="cannot be reached"):
            use()
    with pytest.raises((ConnectionRefusedError, TimeoutError)):
        client.wait_ready(0.2)
    _needs_embedded()
    late = threading.Timer(0.3, lambda: servers.append(start_embedded(http_port=port)))
    servers: list[Server] = []
    late.start()
    client.wait_ready(PATIENCE)
    late.join()
    try:
        model = client.register_model("identity")
        model.infer({"INPUT0": given})
        servers[0].kill()
        with pytest.raises(ConnectionError):
            model.infer({"INPUT0": given})
        servers.append(start_embedded(http_port=port))
        np.testing.assert_array_equal(model.infer({"INPUT0": given})["OUTPUT0"], given)
        with model.slot() as slot:
            slot.set("INPUT0", given)
            np.testing.assert_array_equal(slot.run()["OUTPUT0"], given)
        assert client.stats().registered_again + client.stats().retired >= 1
        client.close()
    finally:
        for server in servers:
            server.stop()
    assert files_of(os.getpid()) == []


def _needs_embedded() -> None:
    if "SHM_ZOO_SERVE" not in os.environ:
        pytest.skip("SHM_ZOO_SERVE does not name the embedded server")


def test_a_connection_that_ends_is_told(own_server: Server) -> None:
    client = shm_py.TritonClient(own_server.http)
    model = client.register_model("slow")
    killer = threading.Timer(0.2, own_server.process.kill)
    killer.start()
    with model.slot() as slot:
        array = slot.input("INPUT0", (1, 1024))
        with pytest.raises(ConnectionResetError, match="may have run"):
            slot.run(parameters={"delay_ms": 20000})
        assert slot.closed and not array.flags.writeable
    killer.join()
    with pytest.raises(ConnectionRefusedError, match="nothing was sent"):
        model.infer(ONE)
    assert client.stats().lost == 1
    with pytest.raises(shm_py.TritonError, match="still has 1 registered"):
        client.close(timeout=0.3)


def test_a_stopped_server_costs_the_timeout_only(own_server: Server) -> None:
    client = shm_py.TritonClient(own_server.http, timeout=0.3)
    model = client.register_model("slow")
    own_server.pause()
    for use in (client.is_ready, client.regions, lambda: model.infer(ONE), client.wait_ready):
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            use()
        assert 0.25 < time.monotonic() - began < 3.0
    own_server.go_on()
    client.wait_ready(PATIENCE)
    client.close(timeout=PATIENCE)
    assert files_of(os.getpid()) == []


@pytest.mark.parametrize("where", ["infer", "chunks", "run", "slot", "ready", "close"])
def test_ctrl_c_ends_every_wait(own_server: Server, where: str) -> None:
    client = shm_py.TritonClient(own_server.http)
    model = client.register_model("slow", slots=2, batch=1)
    slow = {"delay_ms": 4000}
    lent = [model.slot(), model.slot()] if where in ("slot", "close") else []
    many = {"INPUT0": np.ones((6, 1024), np.float32)}

    def run_slot() -> object:
        with model.slot() as slot:
            slot.set("INPUT0", ONE["INPUT0"])
            return slot.run(parameters=slow)

    if where == "ready":
        own_server.pause()
    waits: dict[str, Callable[[], object]] = {
        "infer": lambda: model.infer(ONE, parameters=slow),
        "chunks": lambda: model.infer(many, parameters=slow),
        "run": run_slot,
        "slot": model.slot,
        "ready": client.wait_ready,
        "close": lambda: client.close(timeout=5.0),
    }
    signaller = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    signaller.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        waits[where]()
    assert 0.2 < time.monotonic() - began < 2.0
    signaller.join()
    if where == "ready":
        own_server.go_on()
    for slot in lent:
        slot.close()
    if where != "close":
        client.close(timeout=PATIENCE)


def test_a_handler_that_raises_nothing_ends_no_wait(own_server: Server) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    signaller = threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGUSR1))
    signaller.start()
    try:
        with shm_py.TritonClient(own_server.http) as client:
            model = client.register_model("slow")
            found = model.infer(ONE, parameters={"delay_ms": 400})
            assert (found["OUTPUT0"] == 1).all() and heard == [signal.SIGUSR1]
    finally:
        signaller.join()
        signal.signal(signal.SIGUSR1, before)


def test_other_threads_go_on_meanwhile(own_server: Server) -> None:
    with shm_py.TritonClient(own_server.http) as client:
        model = client.register_model("slow")
        turns = 0
        ended = threading.Event()

        def work() -> None:
            model.infer(ONE, parameters={"delay_ms": 400})
            ended.set()

        other = threading.Thread(target=work)
        other.start()
        while not ended.wait(0.001):
            turns += 1
        other.join()
        assert turns > 50


def test_bad_arguments_are_named() -> None:
    for url in ("nowhere", "ftp://localhost:1", "https://localhost:8000", "grpc+unix://x", "h:99999"):
        with pytest.raises(ValueError, match="give host:port"):
            shm_py.TritonClient(url)
    with pytest.raises(ValueError, match="'required', 'preferred' or 'never'"):
        shm_py.TritonClient("localhost:1", shared_memory="maybe")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="timeout"):
        shm_py.TritonClient("localhost:1", timeout=-1)
    with pytest.raises(TypeError):
        shm_py.TritonClient()  # type: ignore[call-arg]
    client = shm_py.TritonClient("grpc://localhost:1", timeout=None)
    assert client.timeout is None and client.url == "grpc://localhost:1"
    with pytest.raises(ConnectionRefusedError):
        client.is_live()
    client.close()


def test_the_servers_errors_can_be_pickled(own_server: Server) -> None:
    with shm_py.TritonClient(own_server.http) as client:
        with pytest.raises(shm_py.TritonError) as caught:
            client.model_metadata("no_such_model")
    error = caught.value
    assert isinstance(error, RuntimeError) and error.code in ("NOT_FOUND", "INVALID_ARGUMENT")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.code) == (shm_py.TritonError, str(error), error.code)
    assert again.message == error.message
