"""Programs that were written for the package triton-shm-client."""

from __future__ import annotations

import inspect
import os

import numpy as np
import pytest
import shm_py
from children.serving import Server

MULTI_IO_INPUTS = [("INPUT0", (3, 224, 224), np.float32), ("INPUT1", (10,), np.int32)]
MULTI_IO_OUTPUTS = [("OUTPUT0", (512,), np.float32), ("OUTPUT1", (5,), np.int32)]


@pytest.fixture(params=["embedded", "real"])
def url(request: pytest.FixtureRequest) -> str:
    """As that package takes it: host and port of gRPC."""
    server: Server = request.getfixturevalue(f"{request.param}_server")
    return server.grpc.removeprefix("grpc://")


def test_its_documented_program_runs(url: str) -> None:
    client = shm_py.TritonSHMClient(url=url)
    client.register_shm_model(
        model_name="multi_io",
        inputs=MULTI_IO_INPUTS,
        outputs=MULTI_IO_OUTPUTS,
        max_batch_size=8,
        pool_size=4,
    )
    images = np.random.randn(100, 3, 224, 224).astype(np.float32)
    numbers = np.random.randint(0, 100, size=(100, 10)).astype(np.int32)
    results = client.infer_shm(
        model_name="multi_io", inputs={"INPUT0": images, "INPUT1": numbers}
    )
    assert results["OUTPUT0"].shape == (100, 512)
    np.testing.assert_array_equal(results["OUTPUT0"], images.reshape(100, -1)[:, :512] + 1)
    np.testing.assert_array_equal(results["OUTPUT1"], numbers[:, :5] * 2)
    listed = client.infer_shm("multi_io", {"INPUT0": list(images[:9]), "INPUT1": list(numbers[:9])})
    np.testing.assert_array_equal(listed["OUTPUT0"], results["OUTPUT0"][:9])
    listed["OUTPUT0"][:] = 0
    assert not np.shares_memory(listed["OUTPUT0"], results["OUTPUT0"])
    client.unregister_shm_model("multi_io")
    client.unregister_shm_model("multi_io")
    assert client.registered_models == {}
    client.close()
    client.close()
    assert not [name for name in os.listdir("/dev/shm") if f".triton.{os.getpid()}." in name]


def test_smaller_batches_and_all_keywords(url: str) -> None:
    with shm_py.TritonSHMClient(url, False) as client:
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready("identity") and client.client.url.startswith("grpc://")
        io = [("INPUT0", (16,), np.float32)], [("OUTPUT0", (16,), np.float32)]
        client.register_shm_model("identity", *io, max_batch_size=2, pool_size=3)
        given = np.arange(7 * 16, dtype=np.float32).reshape(7, 16)
        found = client.infer_shm(
            "identity",
            {"INPUT0": given},
            model_version="1",
            request_id="r",
            priority=0,
            timeout=5_000_000,
            client_timeout=30.0,
            headers=None,
            compression_algorithm="gzip",
            parameters={"p": 1},
        )
        np.testing.assert_array_equal(found["OUTPUT0"], given)
        assert client.infer_shm("identity", {"INPUT0": given[:0]}) == {}
        with pytest.raises(ValueError, match="already registered"):
            client.register_shm_model("identity", *io, max_batch_size=2, pool_size=3)
        client.cleanup_all_shm()
        with pytest.raises(ValueError, match="not registered"):
            client.infer_shm("identity", {"INPUT0": given})
        for batch, slots in ((0, 1), (1, 0)):
            with pytest.raises(ValueError, match="greater than 0"):
                client.register_shm_model("identity", *io, batch, slots)
        with pytest.raises(ValueError, match="max_batch_size"):
            client.register_shm_model("identity", *io, max_batch_size=9, pool_size=1)


def test_what_goes_wrong_is_of_the_kinds_it_was(url: str) -> None:
    with shm_py.TritonSHMClient(url) as client:
        client.register_shm_model("multi_io", MULTI_IO_INPUTS, MULTI_IO_OUTPUTS, 8, 1)
        images, numbers = np.zeros((2, 3, 224, 224), np.float32), np.zeros((3, 10), np.int32)
        with pytest.raises(ValueError, match="INPUT1': 3"):
            client.infer_shm("multi_io", {"INPUT0": images, "INPUT1": numbers})
        with pytest.raises(ValueError, match="headers"):
            client.infer_shm(
                "multi_io", {"INPUT0": images, "INPUT1": numbers[:2]}, headers={"a": "b"}
            )
        io = [("INPUT0", (16,), np.float32)], [("OUTPUT0", (16,), np.float32)]
        client.register_shm_model("fail", *io, 8, 1)
        given = {"INPUT0": np.zeros((9, 16), np.float32)}
        with pytest.raises(RuntimeError, match="asked to fail"):
            client.infer_shm("fail", given, parameters={"mode": "error"})
        assert client.infer_shm("fail", given, parameters={"mode": "ok"})["OUTPUT0"].shape == (9, 16)


def test_sequences_and_models_without_batches(url: str) -> None:
    with shm_py.TritonSHMClient(url) as client:
        client.register_shm_model(
            "sum", [("INPUT0", (1,), np.int32)], [("OUTPUT0", (1,), np.int32)], 1, 2
        )
        one = {"INPUT0": np.ones((1, 1), np.int32)}
        number = os.getpid() * 3 + 7
        sums = [
            client.infer_shm(
                "sum", one, sequence_id=number, sequence_start=i == 0, sequence_end=i == 2
            )["OUTPUT0"][0, 0]
            for i in range(3)
        ]
        assert sums == [1, 2, 3]
        client.register_shm_model(
            "dynamic", [("INPUT0", (), np.int32)], [("OUTPUT0", (), np.float32)], 1, 2
        )
        found = client.infer_shm("dynamic", {"INPUT0": np.array([1, 1, 1], np.int32)})
        assert found["OUTPUT0"].tolist() == [0.0, 0.0, 0.0]
        client.unregister_shm_model("dynamic")
        with pytest.raises(ValueError, match="one sample at a time"):
            client.register_shm_model(
                "dynamic", [("INPUT0", (), np.int32)], [("OUTPUT0", (), np.float32)], 2, 2
            )


def test_its_signatures() -> None:
    def names(function: object) -> list[str]:
        return list(inspect.signature(function).parameters)  # type: ignore[arg-type]

    assert names(shm_py.TritonSHMClient) == [
        "url", "verbose", "ssl", "root_certificates", "private_key", "certificate_chain", "creds",
        "keepalive_options", "channel_args",
    ]
    assert names(shm_py.TritonSHMClient.register_shm_model) == [
        "self", "model_name", "inputs", "outputs", "max_batch_size", "pool_size",
    ]
    assert names(shm_py.TritonSHMClient.infer_shm) == [
        "self", "model_name", "inputs", "model_version", "request_id", "sequence_id",
        "sequence_start", "sequence_end", "priority", "timeout", "client_timeout", "headers",
        "compression_algorithm", "parameters",
    ]
    with pytest.raises(ValueError, match="encryption"):
        shm_py.TritonSHMClient("localhost:8001", ssl=True)
