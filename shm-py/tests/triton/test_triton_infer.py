"""Arrays in, arrays out, through shared memory."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import shm_py
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def some(samples: int, *dims: int) -> Floats:
    """Values of which no two are alike."""
    return np.arange(samples * int(np.prod(dims)), dtype=np.float32).reshape(samples, *dims)


def test_what_goes_in_comes_out(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("identity")
    for samples in (1, 2, 8, 9, 100):
        given = some(samples, 16)
        found = model.infer({"INPUT0": given})
        assert list(found) == ["OUTPUT0"]
        assert found["OUTPUT0"].dtype == np.float32
        np.testing.assert_array_equal(found["OUTPUT0"], given)


def test_results_are_the_callers_own(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("normal")
    first, second = some(2, 3, 224, 224), -some(2, 3, 224, 224)
    found = model.infer({"INPUT0": first})["OUTPUT0"]
    later = model.infer({"INPUT0": second})["OUTPUT0"]
    np.testing.assert_array_equal(found, first)
    found += 1
    np.testing.assert_array_equal(later, second)
    assert not np.shares_memory(found, later)
    kept = [model.infer({"INPUT0": second + i})["OUTPUT0"] for i in range(6)]
    for i, array in enumerate(kept):
        np.testing.assert_array_equal(array, second + i)


@pytest.mark.parametrize(
    "cut",
    [
        lambda given: list(given),
        lambda given: [given[:3], given[3:6], given[6:9]],
        lambda given: [given[:1], given[1:6], given[6:6], given[6:9]],
        lambda given: (given[:2], given[2], given[3:9]),
        lambda given: [np.asfortranarray(given[:4]), given[4:9][::1]],
    ],
    ids=["samples", "equal", "unequal", "mixed", "orders"],
)
def test_lists_are_joined_on_the_way(triton: shm_py.TritonClient, cut: Any) -> None:
    model = triton.register_model("identity", batch=4)
    given = some(9, 16)
    np.testing.assert_array_equal(model.infer({"INPUT0": cut(given)})["OUTPUT0"], given)


def test_lists_for_a_model_without_batches(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("any")
    parts = [np.arange(n, dtype=np.int8) for n in (3, 6, 0, 9)]
    found = model.infer({"INPUT0": parts})["OUTPUT0"]
    np.testing.assert_array_equal(found, np.concatenate(parts))


def test_any_layout_of_an_array_will_do(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("identity")
    whole = some(12, 32)
    frozen = some(4, 16)
    frozen.flags.writeable = False
    buffer = np.zeros(4 * 16 * 4 + 1, np.uint8)
    crooked = buffer[1:].view(np.float32).reshape(4, 16)
    crooked[:] = frozen
    for given in (
        whole[::3, ::2],
        whole[:4, 16:],
        whole[3::-1, 31:15:-1],
        np.asfortranarray(some(4, 16)),
        some(16, 4).T,
        np.broadcast_to(some(1, 16), (4, 16)),
        frozen,
        crooked,
    ):
        np.testing.assert_array_equal(model.infer({"INPUT0": given})["OUTPUT0"], given)


def test_no_samples_at_all(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("multi_io")
    nothing: list[Any] = [np.empty((0, 3, 224, 224), np.float32), []]
    for first in nothing:
        found = model.infer({"INPUT0": first, "INPUT1": np.empty((0, 10), np.int32)})
        assert found["OUTPUT0"].shape == (0, 512) and found["OUTPUT1"].shape == (0, 5)
        assert found["OUTPUT1"].dtype == np.int32


def test_several_tensors_and_those_that_are_wanted(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("multi_io")
    images, numbers = some(11, 3, 224, 224), np.arange(110, dtype=np.int32).reshape(11, 10)
    found = model.infer({"INPUT1": numbers, "INPUT0": list(images)}, id="frame")
    np.testing.assert_array_equal(found["OUTPUT0"], images.reshape(11, -1)[:, :512] + 1)
    np.testing.assert_array_equal(found["OUTPUT1"], numbers[:, :5] * 2)
    one = model.infer({"INPUT0": images, "INPUT1": numbers}, outputs=["OUTPUT1"])
    assert list(one) == ["OUTPUT1"]
    np.testing.assert_array_equal(one["OUTPUT1"], found["OUTPUT1"])
    with pytest.raises(KeyError, match="OUTPUT7.*OUTPUT0, OUTPUT1"):
        model.infer({"INPUT0": images, "INPUT1": numbers}, outputs=["OUTPUT7"])


def test_every_dtype_is_exact(triton: shm_py.TritonClient) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    model = triton.register_model("half")
    bf16 = np.array([[1.5, -2, 3, 0, 1e30, -0.0, 7, 8]], np.float32).astype(ml_dtypes.bfloat16)
    given: dict[str, NDArray[Any]] = {
        "INPUT0": np.array([[1.5, -2, np.inf, 0, 6e4, -0.0, 7, 8]], np.float16),
        "INPUT1": bf16,
        "INPUT2": np.array([[True, False] * 4]),
        "INPUT3": np.array([[2**63 - 1, -(2**63), 0, 1, 2, 3, 4, 5]]),
        "INPUT4": np.array([[255, 0, 1, 2, 3, 4, 5, 6]], np.uint8),
        "INPUT5": np.array([[np.nextafter(1, 2), -0.0, 1e300, 0, 1, 2, 3, 4]]),
    }
    found = model.infer(given)
    for name, array in given.items():
        output = found[name.replace("IN", "OUT")]
        assert output.dtype == array.dtype
        assert output.tobytes() == array.tobytes()
    bits = model.infer({**given, "INPUT1": bf16.view(np.uint16)})["OUTPUT1"]
    assert bits.dtype == bf16.dtype and bits.tobytes() == bf16.tobytes()
    assert model.inputs["INPUT1"].datatype == "BF16"
    assert model.inputs["INPUT1"].dtype == bf16.dtype
    assert model.outputs["OUTPUT5"] == ("OUTPUT5", "FP64", np.dtype("float64"), (8,), False)


@pytest.mark.parametrize(
    "given",
    [
        np.zeros((1, 16)),
        np.zeros((1, 16), ">f4"),
        np.zeros((1, 16), np.complex64),
        np.zeros((1, 16), "M8[s]"),
        np.zeros((1, 16), np.uint32),
        np.zeros((1, 16), object),
        [np.zeros((1, 16), np.float32), np.zeros((1, 16))],
        [1.0, 2.0],
        "text",
        None,
        7,
    ],
    ids=lambda given: str(getattr(given, "dtype", type(given).__name__)),
)
def test_nothing_is_cast(triton: shm_py.TritonClient, given: Any) -> None:
    model = triton.register_model("identity")
    with pytest.raises(TypeError, match="input 'INPUT0': expected"):
        model.infer({"INPUT0": given})
    with model.slot() as slot, pytest.raises(TypeError, match="input 'INPUT0': expected"):
        slot.set("INPUT0", given)


def test_wrong_shapes_and_names(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("multi_io")
    images, numbers = some(2, 3, 224, 224), np.zeros((2, 10), np.int32)
    for inputs, error, text in (
        ({"INPUT0": images}, ValueError, "'INPUT1' is missing"),
        ({"INPUT0": images, "INPUT1": numbers, "X": numbers}, KeyError, "it has INPUT0, INPUT1"),
        ({"INPUT0": images, "INPUT1": numbers[:1]}, ValueError, "expected 2 samples, found 1"),
        ({"INPUT0": images[0], "INPUT1": numbers}, ValueError, "expected shape"),
        ({"INPUT0": images[:, :2], "INPUT1": numbers}, ValueError, "expected shape"),
        ({"INPUT0": [images, images[:, :, :1]], "INPUT1": numbers}, ValueError, "expected shape"),
        ({"INPUT0": images, "INPUT1": np.int32(3) * np.ones((), np.int32)}, ValueError, "shape"),
        ([("INPUT0", images)], TypeError, "expected a dict"),
        ({3: images}, TypeError, "str"),
    ):
        with pytest.raises(error, match=text):
            model.infer(inputs)  # type: ignore[arg-type]


def test_items_of_any_bytes(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("bytes")
    nested = [[b"", b"\0a\0", b"\xff" * 300], ["text", "\u00e4", b"z"]]
    expected = np.array([[b"", b"\0a\0", b"\xff" * 300], [b"text", b"\xc3\xa4", b"z"]], object)
    sources: list[Any] = [nested, np.array(nested, object), [bytearray(b"z"), memoryview(b"y")]]
    for given in sources:
        found = model.infer({"INPUT0": given})["OUTPUT0"]
        assert found.dtype == object
        if isinstance(given, list) and not isinstance(given[0], list):
            expected = np.array([[b"z"], [b"y"]], object)
        assert found.shape == expected.shape and (found == expected).all()
        assert all(type(item) is bytes for item in found.flat)
    # One list alone has one item for each sample, of which there are more than fit one request.
    many = [os.urandom(i * 37) for i in range(50)]
    found = model.infer({"INPUT0": many})["OUTPUT0"]
    assert found.shape == (50, 1) and found[:, 0].tolist() == many
    fixed = np.array([["ab", "c"]])
    assert model.infer({"INPUT0": fixed})["OUTPUT0"].tolist() == [[b"ab", b"c"]]
    assert model.infer({"INPUT0": fixed.astype("S")})["OUTPUT0"].tolist() == [[b"ab", b"c"]]
    wrongs: list[Any] = [[[b"a", b"b"], [b"c"]], [[b"a"], b"b"], [3], [None], b"text"]
    for wrong in wrongs:
        with pytest.raises(TypeError, match="input 'INPUT0'"):
            model.infer({"INPUT0": wrong})


def test_outputs_whose_size_the_model_knows(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("dynamic", slots=2)
    for n in (3, 0, 100_000, 5, 300_000):
        found = model.infer({"INPUT0": np.array([n], np.int32)})["OUTPUT0"]
        np.testing.assert_array_equal(found, np.arange(n, dtype=np.float32))
    assert triton.stats().retired == 2


def test_inputs_of_any_length(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("any", max_dims={"INPUT0": [1000], "OUTPUT0": [1000]})
    for n in (0, 1, 1000, 3_000_000, 7):
        given = np.random.default_rng(n).integers(-128, 128, n, np.int8)
        found = model.infer({"INPUT0": given})["OUTPUT0"]
        np.testing.assert_array_equal(found, given)


def test_sequences_keep_their_state(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("sum")
    one = {"INPUT0": np.array([[1]], np.int32)}

    def run(number: int, **flags: bool) -> int:
        return int(model.infer(one, sequence_id=number, **flags)["OUTPUT0"][0, 0])  # type: ignore[arg-type]

    first, second = os.getpid() * 2 + 1, os.getpid() * 2 + 2
    assert run(first, sequence_start=True) == 1
    assert run(second, sequence_start=True) == 1
    assert [run(first), run(first)] == [2, 3]
    assert run(second, sequence_end=True) == 2
    assert run(first, sequence_end=True) == 4
    # Samples of a sequence run one after the other.
    numbers = np.arange(1, 6, dtype=np.int32).reshape(5, 1)
    model.unregister()
    model = triton.register_model("sum", batch=1)
    found = model.infer(
        {"INPUT0": numbers}, sequence_id=first, sequence_start=True, sequence_end=True
    )
    assert found["OUTPUT0"].ravel().tolist() == [1, 3, 6, 10, 15]
    with pytest.raises(shm_py.TritonError):
        model.infer(one)
    with pytest.raises(ValueError, match="need a sequence_id"):
        model.infer(one, sequence_start=True)


def test_what_a_model_says_is_told(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("fail")
    given = {"INPUT0": some(1, 16)}
    np.testing.assert_array_equal(model.infer(given, parameters={"mode": "ok"})["OUTPUT0"], given["INPUT0"])
    with pytest.raises(shm_py.TritonError, match="asked to fail") as caught:
        model.infer(given, parameters={"mode": "error"})
    assert caught.value.code == "INTERNAL"
    assert caught.value.message is not None and "asked to fail" in caught.value.message
    for mode, text in (("missing", "OUTPUT0"), ("short", "shape"), ("type", "INT32")):
        with pytest.raises(shm_py.TritonError, match=text) as caught:
            model.infer(given, parameters={"mode": mode})
        assert caught.value.code is None
    with pytest.raises(shm_py.TritonError, match=r"chunk \d of 3.*asked to fail"):
        model.infer({"INPUT0": some(20, 16)}, parameters={"mode": "error"})
    np.testing.assert_array_equal(model.infer(given, parameters={"mode": "ok"})["OUTPUT0"], given["INPUT0"])


def test_parameters_are_checked(triton: shm_py.TritonClient) -> None:
    model = triton.register_model("identity")
    given = {"INPUT0": some(1, 16)}
    model.infer(given, parameters={"a": True, "b": 3, "c": 0.5, "d": "text"}, priority=1)
    with pytest.raises(TypeError, match="parameter 'x'"):
        model.infer(given, parameters={"x": [1]})  # type: ignore[dict-item]
    for timeout in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="timeout"):
            model.infer(given, timeout=timeout)
        with pytest.raises(ValueError, match="timeout"):
            model.infer(given, server_timeout=timeout)


def test_tensors_in_the_message(server_url: str) -> None:
    with shm_py.TritonClient(server_url, shared_memory="never") as client:
        model = client.register_model("identity")
        given = some(20, 16)
        np.testing.assert_array_equal(model.infer({"INPUT0": given})["OUTPUT0"], given)
        with model.slot() as slot:
            slot.input("INPUT0", (1, 16))[:] = 5
            found = slot.run()["OUTPUT0"]
            assert found.tolist() == [[5.0] * 16] and not found.flags.writeable
        assert client.stats().inline_calls == 4
        own = f"triton.{os.getpid()}."
        assert not any(own in region.name for region in client.regions())


def test_what_is_known_about_models(triton: shm_py.TritonClient) -> None:
    assert triton.is_live() and triton.is_ready() and triton.model_ready("identity")
    assert not triton.model_ready("no_such_model")
    server = triton.server_metadata()
    assert server.version and "system_shared_memory" in server.extensions
    metadata = triton.model_metadata("multi_io")
    assert metadata.name == "multi_io"
    assert metadata.inputs[0] == ("INPUT0", "FP32", (-1, 3, 224, 224))
    assert triton.model_config("sum").sequence
    assert triton.model_config("any") == ("any", 0, (), False, False)
    model = triton.register_model("identity", slots=3, batch=2)
    assert (model.name, model.slots, model.batch, model.max_batch_size) == ("identity", 3, 2, 8)
    assert triton.models() == ["identity"] and triton.model("identity").batch == 2
    before = triton.statistics("identity")[0]
    model.infer({"INPUT0": some(5, 16)})
    after = triton.statistics("identity")[0]
    assert after.inference_count - before.inference_count == 5
    assert after.success.times - before.success.times == 3 and after.success.ns > before.success.ns
    (region,) = [region for region in triton.regions() if f".{os.getpid()}." in region.name]
    assert region.offset == 0 and region.byte_size >= 3 * 2 * 2 * 64
    model.unregister()
    assert triton.models() == []
    with pytest.raises(KeyError, match="register_model"):
        triton.model("identity")


def test_a_specification_is_compared(triton: shm_py.TritonClient) -> None:
    inputs, outputs = [("INPUT0", (16,), np.float32)], [("OUTPUT0", (16,), "FP32")]
    model = triton.register_model(
        "identity", inputs=inputs, outputs=outputs, max_batch_size=4, slots=1
    )
    given = some(9, 16)
    np.testing.assert_array_equal(model.infer({"INPUT0": given})["OUTPUT0"], given)
    with pytest.raises(ValueError, match=r"registered already; get it with model\('identity'\)"):
        triton.register_model("identity")
    model.unregister()
    for wrong in (
        {"inputs": [("INPUT0", (17,), np.float32)]},
        {"inputs": [("INPUT0", (16,), np.float64)]},
        {"inputs": [("INPUT1", (16,), np.float32)]},
        {"outputs": [("OUTPUT0", (8,), np.float32)]},
        {"max_batch_size": 9},
    ):
        spec: dict[str, Any] = {"inputs": inputs, "outputs": outputs, "max_batch_size": 4, **wrong}
        with pytest.raises(ValueError, match="expected.*the server has"):
            triton.register_model("identity", **spec)
    with pytest.raises(ValueError, match="together"):
        triton.register_model("identity", inputs=inputs)
    with pytest.raises(ValueError, match="together"):
        triton.register_model("identity", max_batch_size=1)
    with pytest.raises(TypeError, match="name, shape, dtype"):
        triton.register_model("identity", inputs=[3], outputs=outputs, max_batch_size=1)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="no data type of the protocol"):
        triton.register_model(
            "identity", inputs=[("INPUT0", (16,), "c8")], outputs=outputs, max_batch_size=1
        )
    bads: tuple[dict[str, Any], ...] = ({"slots": 0}, {"batch": 9}, {"max_dims": {"X": [1]}})
    for bad in bads:
        with pytest.raises(ValueError, match="expected"):
            triton.register_model("identity", **bad)
    with pytest.raises(shm_py.TritonError) as caught:
        triton.register_model("no_such_model")
    assert caught.value.code in ("NOT_FOUND", "INVALID_ARGUMENT")
    assert triton.models() == []
