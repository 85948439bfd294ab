"""Handles: leases, what ends them, and what becomes of them when their server ends."""

from __future__ import annotations

import gc

import pytest
from children import Child
from share.share_services import Service, until
from shm_py import share
from shm_py.share import (
    SharedTensorClientError,
    SharedTensorRemoteError,
    SharedTensorStaleHandleError,
)


def test_handles_are_leases(remote: Service) -> None:
    with remote.client() as client, remote.client() as other:
        first = client.call("weights", rows=2)
        second = other.call("weights", rows=2)
        assert first.object_id == second.object_id and first.server_id == second.server_id
        assert first.value["w"].tolist() == [[2.0] * 3] * 2
        info = client.get_object_info(first.object_id)
        assert info is not None
        assert (info["endpoint"], info["refcount"]) == ("weights", 2)
        assert info["server_id"] == first.server_id and len(info["cache_key"]) == 64
        assert info["created_at"] <= info["last_accessed_at"]
        assert client.ensure_handle_live(first)["refcount"] == 2
        assert first.get_object_info() == first.get_object_info(refresh=True)

        assert first.release() is True and first.released
        assert first.release() is False and first.is_stale() and first.get_object_info() is None
        assert client.release(second.object_id) is False, "another client's"
        assert not second.is_stale() and other.get_object_info(second.object_id)
        assert second.get_object_info(refresh=True)["refcount"] == 1
        third = other.acquire(second.object_id)
        assert other.release_many([second.object_id, "else"]) == {second.object_id: True, "else": False}
        with third as entered:
            assert entered is third and entered.health == "live" and entered.survives_server
        assert third.health == "released"
        assert other.get_object_info(second.object_id) is None
        assert first.value["w"][0, 0] == 2.0, "what was mapped stays readable"
        with pytest.raises(SharedTensorStaleHandleError) as stale:
            client.ensure_handle_live(first)
        assert stale.value.reason == "object_missing" and stale.value.object_id == first.object_id
        with pytest.raises(SharedTensorRemoteError):
            client.acquire(second.object_id)
        assert client.call("weights", rows=2).object_id != first.object_id


def test_a_dropped_handle_gives_its_lease_back(remote: Service) -> None:
    with remote.client() as client:
        handle = client.call("weights", rows=2)
        identity, value = handle.object_id, handle.value
        del handle
        gc.collect()
        until(lambda: client.get_object_info(identity) is None)
        assert value["w"][1, 1] == 2.0


def test_what_is_kept_unleased_is_not_built_again(remote: Service) -> None:
    with remote.client() as client:
        with client.call("kept") as first:
            pass
        with client.call("kept") as second:
            assert second.object_id == first.object_id
        assert client.call("built", "kept") == 1


def test_leases_end_with_their_client(remote: Service) -> None:
    program = (
        "import sys, time\nfrom shm_py import share\n"
        "client = share.SharedTensorClient(sys.argv[1])\n"
        "handle = client.call('weights', rows=3)\nprint(handle.object_id, flush=True)\n"
        "time.sleep(600)\n"
    )
    holder = Child("-c", program, remote.base_path)
    with remote.client() as client:
        identity = holder.hear()
        assert client.get_object_info(identity)
        holder.kill()
        until(lambda: client.get_object_info(identity) is None)


def test_closing_leaves_held_handles_alone(remote: Service) -> None:
    with remote.client() as client:
        handle = client.call("weights", rows=2)
    with remote.client() as other:
        assert other.get_object_info(handle.object_id)
        assert handle.release() is True
        assert other.get_object_info(handle.object_id) is None


def test_the_end_of_a_server_is_seen_at_once(remote: Service) -> None:
    client = remote.client(connect_timeout=0.0)
    handle = client.call("weights", rows=2)
    value = handle.value["w"]
    remote.child.kill()
    until(lambda: handle.health == "server gone")
    assert handle.is_stale() and handle.get_object_info() is None
    assert handle.release() is False
    assert value.sum() == 12.0
    assert client.ping() is False
    with pytest.raises(SharedTensorStaleHandleError) as stale:
        client.ensure_handle_live(handle)
    assert stale.value.reason == "server_gone"
    with pytest.raises(SharedTensorClientError) as gone:
        client.call("add", 1)
    assert isinstance(gone.value, ConnectionError)

    again = Service(remote.base_path)
    try:
        assert client.call("add", 1) == 3, "another server is found"
        with pytest.raises(SharedTensorStaleHandleError) as mismatch:
            client.ensure_handle_live(handle)
        assert mismatch.value.reason == "server_mismatch"
        assert client.get_object_info(handle.object_id) is None
        with pytest.raises(share.SharedTensorTaskError):
            client.get_task_status(f"{handle.server_id}-1")
    finally:
        again.child.stop()
