"""What users of shared-tensor have: its documented uses, with another import, between real processes.

Arrays on the host stand for what they keep on a GPU.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from children import Child

#: The only line that changes. Whoever cannot change it either gives the module that name.
IMPORT = "import sys\nimport numpy as np\nfrom shm_py import share\nsys.modules['shared_tensor'] = share\n"

SERVICE = IMPORT + """
from shared_tensor import SharedTensorProvider, SharedTensorServer

provider = SharedTensorProvider(execution_mode="server")
calls = []

@provider.share(
    execution="task", managed=True, concurrency="serialized", cache_format_key="model:{hidden_size}"
)
def load_model(hidden_size: int = 4):
    calls.append(hidden_size)
    return {"weight": np.full((hidden_size, 2), 0.5), "builds": len(calls)}

@provider.share(execution="direct", cache=False)
def echo_tensor(tensor):
    return tensor

@provider.share(execution="task")
def build_delayed_model(delay: float = 0.1):
    import time
    time.sleep(delay)
    return np.ones(3)

server = SharedTensorServer(provider)
server.start(blocking=False)
print("ready", flush=True)
sys.stdin.read()
server.stop()
"""

MANUAL = """
from shared_tensor import SharedObjectHandle, SharedTensorClient

client = SharedTensorClient()
x = np.ones((1, 4))
result = client.call("load_model", hidden_size=4)
assert isinstance(result, SharedObjectHandle)
with result as handle:
    y = x @ handle.value["weight"]
assert y.tolist() == [[2.0, 2.0]]
"""

TASKS = """
from shared_tensor import AsyncSharedTensorClient

client = AsyncSharedTensorClient()
task_id = client.submit("build_delayed_model", delay=0.1)
model = client.wait_for_task(task_id, timeout=30)
assert model.tolist() == [1.0, 1.0, 1.0]
"""

REGISTRY = """
from shared_tensor import AsyncSharedTensorClient, SharedTensorClient

client, waiting = SharedTensorClient(), AsyncSharedTensorClient()
first = client.call("load_model", hidden_size=8)
second = waiting.wait_for_task(waiting.submit("load_model", hidden_size=8))
assert first.object_id == second.object_id and second.value["builds"] == 1
other = client.call("load_model", hidden_size=9)
assert other.object_id != first.object_id
assert first.release() is True and first.release() is False
assert not second.is_stale()
assert client.get_object_info(second.object_id)["refcount"] == 1
"""

DIRECT = """
from shared_tensor import SharedTensorClient

with SharedTensorClient() as client:
    sent = np.arange(8, dtype=np.float32)
    assert np.array_equal(client.call("echo_tensor", sent), sent)
"""

INVALIDATION = """
from shared_tensor import SharedTensorClient

client = SharedTensorClient()
handle = client.call("load_model", hidden_size=16)
assert client.invalidate_call_cache("load_model", hidden_size=16) is True
again = client.call("load_model", hidden_size=16)
assert again.object_id != handle.object_id
assert handle.value["weight"].shape == (16, 2) and not handle.is_stale()
assert client.invalidate_endpoint_cache("load_model") == 1
"""

HEALTH = """
from shared_tensor import SharedTensorClient, SharedTensorStaleHandleError

client = SharedTensorClient()
handle = client.call("load_model", hidden_size=4)
info = handle.get_object_info()
assert info["server_id"] == handle.server_id and info["created_at"] <= info["last_accessed_at"]
client.ensure_handle_live(handle)
handle.release()
try:
    client.ensure_handle_live(handle)
except SharedTensorStaleHandleError as error:
    assert error.reason == "object_missing"
else:
    raise AssertionError("it is not stale")
"""

INTROSPECTION = """
from shared_tensor import SharedTensorClient, SharedTensorProvider

client = SharedTensorClient(timeout=120.0)
said = client.get_server_info()
assert said["ready"] and said["server_id"] and said["stats"]["cache_misses"] >= 0
provider = SharedTensorProvider(execution_mode="client", timeout=120.0, server_startup_timeout=30.0)
info = provider.get_runtime_info()
assert info["execution_mode"] == "client" and info["server_running"] and info["server_ready"]
assert info["server_info"]["server_id"] == said["server_id"]
assert info["server_socket_path"] == said["socket_path"]
"""

CLIENTS = {
    "manual": MANUAL, "tasks": TASKS, "registry": REGISTRY, "direct": DIRECT,
    "invalidation": INVALIDATION, "health": HEALTH, "introspection": INTROSPECTION,
}

#: One file, run by both processes; the environment says which is which.
SAME_CODE = IMPORT + """
import os
from shared_tensor import SharedTensorProvider

provider = SharedTensorProvider()

@provider.share(managed=True, execution="task", cache_format_key="{hidden_size}")
def load_model(hidden_size: int = 4):
    return {"pid": os.getpid(), "weight": np.ones(hidden_size)}

if os.environ.get("SHARED_TENSOR_ROLE") == "server":
    print("ready", load_model(hidden_size=2)["weight"].shape, flush=True)
    sys.stdin.read()
else:
    found = load_model(hidden_size=3)
    with found as handle:
        print(provider.execution_mode, handle.value["pid"] != os.getpid(), handle.value["weight"].sum())
    task = load_model.submit(hidden_size=3)
    print(provider.wait_for_task(task, timeout=30).value["weight"].shape)
provider.close()
"""


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_of_two_processes(name: str, tmp_path: Path) -> None:
    environment = {"SHARED_TENSOR_BASE_PATH": str(tmp_path / "shared-tensor")}
    server = Child("-c", SERVICE, env=environment)
    try:
        assert server.hear() == "ready"
        client = Child("-c", IMPORT + CLIENTS[name] + "print('over', flush=True)\n", env=environment)
        try:
            assert client.hear() == "over"
            client.finish()
        finally:
            client.stop()
        server.finish()
    finally:
        server.stop()


def test_the_same_code_in_two_processes(tmp_path: Path) -> None:
    environment = {
        "SHARED_TENSOR_BASE_PATH": str(tmp_path / "shared-tensor"), "SHARED_TENSOR_ENABLED": "1",
    }
    server = Child("-c", SAME_CODE, env={**environment, "SHARED_TENSOR_ROLE": "server"})
    try:
        assert server.hear() == "ready (2,)"
        client = Child("-c", SAME_CODE, env=environment)
        try:
            assert [client.hear(), client.hear()] == ["client True 3.0", "(3,)"]
            client.finish()
        finally:
            client.stop()
        server.finish()
    finally:
        server.stop()
    assert list(tmp_path.glob("*.sock")) == [], "its socket goes with the server"


def test_without_the_gate_it_runs_alone(tmp_path: Path) -> None:
    program = IMPORT + (
        "from shared_tensor import SharedTensorProvider\n"
        "provider = SharedTensorProvider()\n"
        "@provider.share(managed=True)\ndef load_model(hidden_size=4):\n    return np.ones(hidden_size)\n"
        "print(provider.execution_mode, load_model(3).sum(), provider.get_runtime_info()['server_running'])\n"
    )
    child = Child("-c", program, env={"SHARED_TENSOR_ENABLED": "", "SHARED_TENSOR_ROLE": "server"})
    try:
        assert child.hear() == "local 3.0 False"
        child.finish()
    finally:
        child.stop()
