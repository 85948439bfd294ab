"""What shared-tensor documents of calls, tasks, handles and caches, through a server in another process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from share.parity_service import DEVICE, Service

if TYPE_CHECKING:
    import shm_py.share as shared_tensor
else:
    import shared_tensor


def new_place(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder for sockets."""
    folder: Path = tmp_path_factory.mktemp("parity")
    folder.chmod(0o700)
    return str(folder / "s")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server that lasts."""
    service = Service(new_place(tmp_path_factory))
    yield service
    service.end()


@pytest.fixture
def client(service: Service) -> Iterator[shared_tensor.SharedTensorClient]:
    """A client of it, whose leases end with the test, and nothing is cached."""
    client = service.client()
    for endpoint in client.list_endpoints():
        client.invalidate_endpoint_cache(endpoint)
    yield client
    client.close()


@pytest.fixture
def tasks(service: Service) -> Iterator[shared_tensor.AsyncSharedTensorClient]:
    """A client that submits."""
    client = shared_tensor.AsyncSharedTensorClient(
        service.base_path, device_index=DEVICE, timeout=20.0
    )
    yield client
    client.close()


def test_the_server_answers(client: shared_tensor.SharedTensorClient) -> None:
    """With what it is and what it has."""
    assert client.ping() is True
    info = client.get_server_info()
    names = {"server", "version", "server_id", "socket_path", "uptime", "running", "ready", "pid"}
    names |= {"ppid", "device_index", "process_start_method", "endpoints", "capabilities", "stats"}
    assert names <= set(info)
    assert (info["running"], info["ready"], info["device_index"]) == (True, True, 0)
    assert info["socket_path"] == client.socket_path
    assert {"load_model", "echo"} <= set(info["endpoints"])
    assert {"torch_available", "cuda_available", "transport"} <= set(info["capabilities"])


def test_the_server_counts(client: shared_tensor.SharedTensorClient) -> None:
    """Requests, errors, hits, misses, tasks, invalidations, what is cached and managed."""
    before = client.get_server_info()["stats"]
    client.call("number", 11)
    client.call("number", 11)
    with pytest.raises(shared_tensor.SharedTensorRemoteError):
        client.call("absent")
    client.submit("slow", 0.0)
    with client.call("held", 3):
        client.invalidate_call_cache("number", 11)
        after = client.get_server_info()["stats"]
    grown = {name: after[name] - before[name] for name in after if name in before}
    assert grown["requests_processed"] >= 6 and grown["errors_encountered"] == 1
    assert grown["cache_hits"] == 1 and grown["cache_misses"] >= 2
    assert grown["task_submissions"] == 1 and grown["cache_invalidations"] == 1
    assert grown["objects"] == 1 and after["task_count"] >= 1
    assert {"cache_entries", "inflight_calls"} <= set(after)


def test_endpoints_are_listed_to_clients(client: shared_tensor.SharedTensorClient) -> None:
    """With their options."""
    listed = client.list_endpoints()
    model = listed["load_model"]
    assert (model["execution"], model["managed"], model["concurrency"]) == ("task", True, "serialized")
    assert model["cache_format_key"] == "model:{hidden_size}"
    assert listed["echo"]["cache"] is False


def test_the_example_of_the_readme(client: shared_tensor.SharedTensorClient) -> None:
    """A managed model, by a task, in a `with` block."""
    result = client.call("load_model", hidden_size=8)
    assert isinstance(result, shared_tensor.SharedObjectHandle)
    with result as handle:
        assert handle.value["weight"].shape == (8, 8)
        assert np.all(handle.value["weight"] == 8)
    assert handle.released


def test_a_provider_in_client_mode_calls_the_server(
    service: Service, client: shared_tensor.SharedTensorClient
) -> None:
    """The function's body here is never run."""
    provider = shared_tensor.SharedTensorProvider(
        service.base_path, enabled=True, device_index=DEVICE
    )

    @provider.share
    def number(value: int, scale: int = 1) -> int:
        raise AssertionError("it runs in the server")

    assert (number(3), number(3, scale=2)) == (3, 6)
    info = provider.get_runtime_info()
    assert (info["execution_mode"], info["server_running"], info["server_ready"]) == (
        "client", True, True,
    )
    assert info["server_info"]["server_id"] == client.get_server_info()["server_id"]
    assert info["endpoint_count"] == 1
    assert provider.invalidate_call_cache("number", 3) is True
    assert provider.invalidate_endpoint_cache("number") == 1
    provider.close()


def test_a_provider_in_client_mode_submits(service: Service) -> None:
    """And waits, or not; its helpers are those of the client."""
    provider = shared_tensor.SharedTensorProvider(
        service.base_path, execution_mode="client", device_index=DEVICE
    )

    @provider.share(execution="task")
    def slow(seconds: float) -> float:
        raise AssertionError("it runs in the server")

    assert provider.execute("slow", 0.01) == 0.01
    task = provider.execute("slow", 0.02, wait=False)
    assert provider.wait_for_task(task, timeout=20) == 0.02
    assert provider.get_task_status(task).status is shared_tensor.TaskStatus.COMPLETED
    assert provider.get_task_result(task) == 0.02
    assert task in provider.list_tasks(status="completed")
    assert provider.cancel_task(task) is False
    assert provider.wait_for_task(slow.submit(0.03), timeout=20) == 0.03
    provider.close()


def test_values_come_back_as_they_went(client: shared_tensor.SharedTensorClient) -> None:
    """Tensors, scalars and containers of them, as arguments and as results."""
    value: dict[str, Any] = {
        "tensor": np.arange(12, dtype=np.float32).reshape(3, 4),
        "list": [1, 2.5, "three", None, True, b"bytes"],
        "tuple": (np.ones(2, np.int64), "x"),
    }
    back = client.call("echo", value)
    assert np.array_equal(back["tensor"], value["tensor"])
    assert back["tensor"].dtype == np.float32
    assert back["list"] == value["list"]
    assert isinstance(back["tuple"], tuple) and back["tuple"][0].tolist() == [1, 1]
    assert client.call("echo", value=7) == 7


def test_keys_of_dicts_are_text(client: shared_tensor.SharedTensorClient) -> None:
    """Others are refused before anything is sent."""
    with pytest.raises((TypeError, shared_tensor.SharedTensorError)):
        client.call("echo", {1: "one"})


def test_a_call_without_arguments_and_result(client: shared_tensor.SharedTensorClient) -> None:
    """None is a result, and it is cached like any other."""
    before = client.call("built", "nothing")
    assert client.call("nothing") is None
    assert client.call("nothing") is None
    assert client.call("built", "nothing") == before + 1
    assert client.invalidate_call_cache("nothing") is True


def test_a_result_is_cached(client: shared_tensor.SharedTensorClient) -> None:
    """By what the arguments mean, not by how they are given."""
    before = client.call("built", "number")
    assert client.call("number", 5) == client.call("number", value=5) == 5
    assert client.call("number", 5, 1) == client.call("number", 5, scale=1) == 5
    assert client.call("built", "number") == before + 1


def test_a_format_names_the_call(client: shared_tensor.SharedTensorClient) -> None:
    """Calls of one name are one call; a format that names no argument fails with code 6."""
    assert (client.call("same_key", 1), client.call("same_key", 2)) == (1, 1)
    with pytest.raises(shared_tensor.SharedTensorRemoteError) as caught:
        client.call("badly_keyed", 1)
    assert caught.value.code == 6


def test_an_unknown_endpoint_has_code_2(client: shared_tensor.SharedTensorClient) -> None:
    """And is named."""
    with pytest.raises(shared_tensor.SharedTensorRemoteError, match="absent") as caught:
        client.call("absent")
    assert caught.value.code == 2


def test_an_error_of_the_endpoint_has_code_7(client: shared_tensor.SharedTensorClient) -> None:
    """With its message and the name of its class; nothing of it is cached."""
    before = client.call("built", "fails")
    for _ in range(2):
        with pytest.raises(shared_tensor.SharedTensorRemoteError, match="too bad") as caught:
            client.call("fails", "too bad")
        assert (caught.value.code, caught.value.error_type) == (7, "ValueError")
        assert str(caught.value).startswith("Remote error [7]: ")
    assert client.call("built", "fails") == before + 2


def test_managed_results_share_one_object(client: shared_tensor.SharedTensorClient) -> None:
    """A handle each, counted; the object goes with the last."""
    before = client.call("built", "held")
    first, second = client.call("held", 4), client.call("held", 4)
    assert first.object_id == second.object_id
    info = first.get_object_info()
    assert info is not None and info["refcount"] == 2
    assert client.call("built", "held") == before + 1
    assert (first.release(), first.release()) == (True, False)
    info = second.get_object_info(refresh=True)
    assert info is not None and info["refcount"] == 1
    assert second.release() is True
    assert client.get_object_info(second.object_id) is None
    with client.call("held", 4) as third:
        assert third.object_id != first.object_id
    assert client.call("built", "held") == before + 2


def test_an_object_says_what_it_is(client: shared_tensor.SharedTensorClient) -> None:
    """Its endpoint, key, times and server; the key is that of the call."""
    with client.call("held", 5) as handle, client.call("held", size=5) as again:
        info = handle.get_object_info()
        assert info is not None
        names = {"object_id", "endpoint", "cache_key", "refcount", "created_at"}
        assert names | {"last_accessed_at", "server_id"} <= set(info)
        assert (info["object_id"], info["endpoint"]) == (handle.object_id, "held")
        assert len(info["cache_key"]) == 64
        assert info["server_id"] == handle.server_id == client.get_server_info()["server_id"]
        assert info["created_at"] <= info["last_accessed_at"] <= time.time() + 1
        other = again.get_object_info()
        assert other is not None and other["cache_key"] == info["cache_key"]


def test_what_an_object_says_is_remembered(client: shared_tensor.SharedTensorClient) -> None:
    """Until somebody asks anew."""
    first = client.call("held", 6)
    assert first.get_object_info()["refcount"] == 1
    with client.call("held", 6):
        assert first.get_object_info()["refcount"] == 1
        assert first.get_object_info(refresh=True)["refcount"] == 2
    first.release()
    assert first.get_object_info() is None


def test_uncached_objects_are_apart(client: shared_tensor.SharedTensorClient) -> None:
    """And are released together."""
    handles = [client.call("fresh", 3) for _ in range(3)]
    names = [handle.object_id for handle in handles]
    assert len(set(names)) == 3
    released = client.release_many([*names[:2], "unknown"])
    assert released == {names[0]: True, names[1]: True, "unknown": False}
    assert client.get_object_info(names[0]) is None
    assert client.release(names[2]) is True
    assert client.release(names[2]) is False


def test_invalidation_leaves_handles_alone(client: shared_tensor.SharedTensorClient) -> None:
    """The next call builds anew."""
    with client.call("held", 7) as old:
        assert client.invalidate_call_cache("held", 7) is True
        assert client.invalidate_call_cache("held", 7) is False
        with client.call("held", 7) as new:
            assert new.object_id != old.object_id
            assert old.value.tolist() == list(range(7))
            assert not old.is_stale()
            assert client.invalidate_endpoint_cache("held") == 1


def test_a_stale_handle_is_told(client: shared_tensor.SharedTensorClient) -> None:
    """By its object and the reason."""
    handle = client.call("held", 8)
    assert client.ensure_handle_live(handle)["object_id"] == handle.object_id
    assert not handle.is_stale()
    handle.release()
    assert handle.is_stale()
    with pytest.raises(shared_tensor.SharedTensorStaleHandleError) as caught:
        client.ensure_handle_live(handle)
    assert (caught.value.object_id, caught.value.reason) == (handle.object_id, "object_missing")


def test_many_threads_count_right(service: Service, client: shared_tensor.SharedTensorClient) -> None:
    """Handles that are taken and released at once leave one object with one handle."""
    kept = client.call("held", 9)

    def take(_: int) -> bool:
        handle = client.call("held", 9)
        return handle.object_id == kept.object_id and bool(handle.release())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(take, range(200)))
    assert kept.get_object_info(refresh=True)["refcount"] == 1
    kept.release()


def test_callers_of_one_key_join(client: shared_tensor.SharedTensorClient) -> None:
    """One build for all of them."""
    before = client.call("built", "joined")
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: client.call("joined", 3), range(4))) == [3] * 4
    assert client.call("built", "joined") == before + 1


@pytest.mark.parametrize(("endpoint", "at_once"), [("one_at_a_time", 1), ("apart", 2)])
def test_serialized_builds_do_not_overlap(
    endpoint: str, at_once: int, client: shared_tensor.SharedTensorClient
) -> None:
    """Parallel ones do."""
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda value: client.call(endpoint, value), range(4)))
    assert max(found) == 1 if at_once == 1 else max(found) >= 2


def test_a_task_is_submitted_and_waited_for(tasks: shared_tensor.AsyncSharedTensorClient) -> None:
    """The callback hears of its end; its result stays."""
    heard: list[Any] = []
    task = tasks.submit("slow", 0.05)
    assert tasks.wait_for_task(task, timeout=20, callback=heard.append) == 0.05
    assert heard[-1].status is shared_tensor.TaskStatus.COMPLETED
    info = tasks.get_task_status(task)
    assert (info.task_id, info.endpoint) == (task, "slow")
    assert info.started_at is not None and info.completed_at is not None
    assert info.created_at <= info.started_at <= info.completed_at
    assert tasks.result(task) == tasks.get_task_result(task) == 0.05


def test_a_task_gives_a_handle(
    tasks: shared_tensor.AsyncSharedTensorClient, client: shared_tensor.SharedTensorClient
) -> None:
    """Submitted twice, it is one object; each handle counts."""
    first = tasks.wait(tasks.submit("load_model", hidden_size=3), timeout=20)
    second = tasks.wait(tasks.submit("load_model", hidden_size=3), timeout=20)
    assert first.object_id == second.object_id
    assert first.server_id == client.get_server_info()["server_id"]
    assert first.value["weight"].shape == (3, 3)
    info = tasks.get_object_info(first.object_id)
    assert info is not None and info["refcount"] == 2
    assert (first.release(), second.release()) == (True, True)
    assert tasks.get_object_info(first.object_id) is None


def test_a_task_may_have_no_result(tasks: shared_tensor.AsyncSharedTensorClient) -> None:
    """None is what it gives."""
    assert tasks.wait(tasks.submit("no_result"), timeout=20) is None


def test_a_failed_task_says_why(tasks: shared_tensor.AsyncSharedTensorClient) -> None:
    """To whoever waits, and in its record."""
    task = tasks.submit("fails_later", "no luck")
    with pytest.raises(shared_tensor.SharedTensorTaskError, match="no luck"):
        tasks.wait(task, timeout=20)
    info = tasks.status(task)
    assert info.status is shared_tensor.TaskStatus.FAILED
    assert info.error_type == "ValueError" and "no luck" in str(info.error_message)


def test_a_task_that_is_not_over(tasks: shared_tensor.AsyncSharedTensorClient) -> None:
    """Has no result yet, says so, and is not waited for longer than asked."""
    task = tasks.submit("slow", 0.6)
    with pytest.raises(shared_tensor.SharedTensorError) as caught:
        tasks.get_task_result(task)
    assert getattr(caught.value, "code", None) == 5
    with pytest.raises(shared_tensor.SharedTensorTaskError, match="did not complete within 0.1"):
        tasks.wait(task, timeout=0.1)
    assert tasks.wait(task, timeout=20) == 0.6


def test_a_pending_task_is_cancelled(tasks: shared_tensor.AsyncSharedTensorClient) -> None:
    """One that waits for a worker; one that is over is not, and one that is unknown has code 5."""
    busy = [tasks.submit("slow", 0.5) for _ in range(4)]
    waiting = tasks.submit("slow", 0.0)
    assert tasks.cancel_task(waiting) is True
    assert tasks.status(waiting).status is shared_tensor.TaskStatus.CANCELLED
    with pytest.raises(shared_tensor.SharedTensorTaskError):
        tasks.wait(waiting, timeout=20)
    for task in busy:
        tasks.wait(task, timeout=20)
    assert tasks.cancel(busy[0]) is False
    for ask in (tasks.cancel, tasks.status, tasks.result):
        with pytest.raises(shared_tensor.SharedTensorError) as caught:
            ask("unknown")
        assert getattr(caught.value, "code", None) == 5


def test_tasks_are_listed(tasks: shared_tensor.AsyncSharedTensorClient) -> None:
    """All, or those of a status."""
    done = tasks.submit("slow", 0.0)
    tasks.wait(done, timeout=20)
    failed = tasks.submit("fails_later", "x")
    with pytest.raises(shared_tensor.SharedTensorTaskError):
        tasks.wait(failed, timeout=20)
    everything = tasks.list_tasks()
    assert {done, failed} <= set(everything)
    assert isinstance(everything[done], shared_tensor.TaskInfo)
    completed = tasks.list_tasks(status="completed")
    assert done in completed and failed not in completed


def test_the_task_client_has_the_helpers_of_the_other(
    tasks: shared_tensor.AsyncSharedTensorClient, client: shared_tensor.SharedTensorClient
) -> None:
    """With the same answers."""
    assert tasks.ping() is True
    assert tasks.get_server_info()["server_id"] == client.get_server_info()["server_id"]
    assert tasks.list_endpoints() == client.list_endpoints()
    handle = tasks.wait(tasks.submit("load_model", hidden_size=2), timeout=20)
    assert tasks.ensure_handle_live(handle)["object_id"] == handle.object_id
    assert tasks.release(handle.object_id) is True
    assert tasks.release_many(["unknown"]) == {"unknown": False}
    client.call("number", 77)
    assert tasks.invalidate_call_cache("number", 77) is True
    assert tasks.invalidate_endpoint_cache("number") == 0
    with pytest.raises(shared_tensor.SharedTensorStaleHandleError):
        tasks.ensure_handle_live(handle)


def test_a_client_gives_up_in_time(service: Service) -> None:
    """A call that takes longer than its client waits."""
    with service.client(timeout=0.1) as client:
        with pytest.raises(shared_tensor.SharedTensorClientError):
            client.call("slow", 1.0)


def test_a_client_waits_for_its_server(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One that is started a little later."""
    base_path = new_place(tmp_path_factory)
    client = shared_tensor.SharedTensorClient(base_path, device_index=DEVICE)
    assert client.ping() is False
    found: list[int] = []
    caller = threading.Thread(target=lambda: found.append(client.call("number", 4)))
    caller.start()
    time.sleep(0.3)
    service = Service(base_path)
    caller.join(20)
    assert found == [4]
    client.close()
    service.end()


def test_handles_know_another_start_of_the_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Nothing waits for the server that was killed, and a new one is told from it."""
    base_path = new_place(tmp_path_factory)
    first = Service(base_path)
    client = first.client()
    handle = client.call("held", 3)
    first.kill()
    begun = time.monotonic()
    assert client.ping() is False
    assert handle.is_stale()
    assert time.monotonic() - begun < 5.0
    second = Service(base_path)
    with pytest.raises(shared_tensor.SharedTensorStaleHandleError) as caught:
        client.ensure_handle_live(handle)
    assert caught.value.reason == "server_mismatch"
    assert client.call("number", 2) == 2
    client.close()
    second.end()
