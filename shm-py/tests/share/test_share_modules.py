"""Bundles, and torch modules as bundles: what comes back, what stays a bundle, what is refused."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from children import Child
from shm_py import share
from shm_py._share_modules import KIND, Bundle, from_bundle, to_bundle

LINEAR = "torch.nn.modules.linear:Linear"
TORCH_REASON = "torch is not installed; these tests need it"


def module(kind: str = LINEAR, **changes: Any) -> dict[str, Any]:
    described: dict[str, Any] = {
        "class": kind,
        "training": False,
        "parameters": {"weight": ["weight", True], "bias": None},
        "buffers": {},
        "children": {},
        "attributes": {"in_features": 2, "out_features": 3},
        "missing": [],
    }
    return {**described, **changes}


def structure(**changes: Any) -> dict[str, Any]:
    return {"version": 1, "modules": {"": module(**changes)}}


TENSORS = {"weight": np.ones((3, 2), np.float32)}


def served(tmp_path: Path, value: Any) -> Any:
    """What a client gets of a value, through a socket."""
    provider = share.SharedTensorProvider(str(tmp_path / "s"), execution_mode="server")

    @provider.share(managed=True)
    def get() -> Any:
        return value

    with share.SharedTensorServer(provider), share.SharedTensorClient(provider.base_path) as client:
        with client.call("get") as handle:
            return handle.value


# Without torch.


def test_objects_may_say_what_they_are_made_of(tmp_path: Path) -> None:
    class Table:
        def __init__(self) -> None:
            self.rows = np.arange(6.0).reshape(2, 3)

        def __share_bundle__(self) -> tuple[str, Any, dict[str, Any]]:
            return "example.Table", {"names": ["a", "b"]}, {"rows": self.rows, "row": self.rows[1]}

    found = served(tmp_path, {"table": Table()})["table"]
    assert isinstance(found, Bundle)
    assert (found.kind, found.structure, found.reason) == ("example.Table", {"names": ["a", "b"]}, None)
    assert found.tensors["rows"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert np.shares_memory(found.tensors["rows"], found.tensors["row"]), "they stay on one storage"
    assert "example.Table" in repr(found) and "2 tensors" in repr(found)
    again = served(tmp_path, found)
    assert again.kind == found.kind and again.tensors["row"].tolist() == [3, 4, 5]
    with pytest.raises(TypeError, match="torch.nn.Module"):
        found.load_into(object())


def test_without_torch_a_module_is_a_bundle_that_says_so() -> None:
    program = (
        "import sys, numpy as np\nfrom shm_py._share_modules import from_bundle\n"
        f"found = from_bundle({KIND!r}, {structure()!r}, {{'weight': np.ones((3, 2))}})\n"
        "assert 'torch' not in sys.modules\nprint(found.reason)\n"
    )
    assert Child("-c", program).hear() == "torch is not imported in this process"


def loop(found: dict[str, Any]) -> None:
    found["modules"] = {"": module(children={"a": "a"}), "a": module(children={"b": ""})}


def deep(found: dict[str, Any]) -> None:
    found["modules"] = {
        "" if depth == 0 else str(depth): module(children={"a": str(depth + 1)}) for depth in range(300)
    }
    found["modules"]["300"] = module()


BROKEN: list[tuple[str, Callable[[dict[str, Any]], Any]]] = [
    ("version 7", lambda found: found.update(version=7)),
    ("'modules' of structure", lambda found: found.update(modules=[])),
    ("expected one with the name ''", lambda found: found["modules"].clear()),
    ("'class' of module ''", lambda found: found["modules"][""].pop("class")),
    ("'training' of module ''", lambda found: found["modules"][""].update(training=1)),
    ("name of a tensor", lambda found: found["modules"][""].update(parameters={"w": ["no", True]})),
    ("a tensor's name and a flag", lambda found: found["modules"][""].update(buffers={"w": ["weight"]})),
    ("a known module", lambda found: found["modules"][""].update(children={"a": "nowhere"})),
    ("expected a name", lambda found: found["modules"][""].update(children={"a": 1})),
    ("expected a name", lambda found: found["modules"][""].update(missing=[None])),
    ("no loop", loop),
    ("at most 128 levels", deep),
]


@pytest.mark.parametrize(("text", "change"), BROKEN, ids=[text for text, _ in BROKEN])
def test_structures_that_nobody_writes_are_refused(
    text: str, change: Callable[[dict[str, Any]], Any]
) -> None:
    found = copy.deepcopy(structure())
    change(found)
    with pytest.raises(share.SharedTensorSerializationError, match=text):
        from_bundle(KIND, found, dict(TENSORS))
    with pytest.raises(share.SharedTensorSerializationError):
        from_bundle(KIND, [1], {})


# With torch.


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason=TORCH_REASON)


def test_a_module_comes_back_with_its_ties_and_without_its_constructor(
    torch: Any, tmp_path: Path
) -> None:
    made: list[int] = []

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            made.append(1)
            self.embedding = torch.nn.Embedding(10, 4)
            self.head = torch.nn.Linear(4, 10, bias=False)
            self.head.weight = self.embedding.weight
            self.norm = torch.nn.BatchNorm1d(10)
            self.again = self.head
            self.register_buffer("mask", torch.tensor([True, False]), persistent=False)
            self.register_parameter("absent", None)
            self.config = {"sizes": (1, 2), 3: [1.5, None], "dtype": torch.float16}
            self.activation = torch.nn.functional.gelu

        def forward(self, ids: Any) -> Any:
            return self.norm(self.activation(self.again(self.embedding(ids))))

    Net.__qualname__ = "Net"
    sys.modules[__name__].Net = Net  # type: ignore[attr-defined]
    net = Net().eval()
    found = served(tmp_path, net)
    assert type(found) is Net and made == [1]
    ids = torch.tensor([1, 2])
    assert torch.equal(found(ids), net(ids))
    assert found.head.weight is found.embedding.weight and found.again is found.head
    assert found.config == net.config and found.absent is None and not found.training
    assert list(found.state_dict()) == list(net.state_dict()) and found.mask.tolist() == [True, False]
    assert all(parameter.requires_grad for parameter in found.parameters())
    del sys.modules[__name__].Net
    stays = served(tmp_path, net)
    assert isinstance(stays, Bundle) and "no module class" in str(stays.reason)


def test_common_modules_come_back(torch: Any, tmp_path: Path) -> None:
    nn = torch.nn
    modules = {
        "sequential": nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.LayerNorm(3)),
        "convolution": nn.Conv2d(3, 4, 3, padding="same"),
        "recurrent": nn.LSTM(3, 4, 2, bidirectional=True),
        "attention": nn.MultiheadAttention(8, 2),
        "transformer": nn.TransformerEncoderLayer(8, 2, 16),
        "named": nn.ModuleDict({"a": nn.Linear(1, 2)}),
        "frozen": nn.Linear(2, 2).requires_grad_(False),
        "empty": nn.Identity(),
    }
    for module in modules.values():
        module.eval()
    found = served(tmp_path, modules)
    for name, module in modules.items():
        assert type(found[name]) is type(module), f"{name}: {found[name]}"
        state = found[name].state_dict()
        assert list(state) == list(module.state_dict())
        for key, tensor in module.state_dict().items():
            assert state[key].dtype is tensor.dtype and torch.equal(state[key], tensor)
        for one, other in zip(found[name].parameters(), module.parameters()):
            assert one.requires_grad == other.requires_grad
    sequence = torch.ones(2, 1, 3)
    assert torch.equal(found["recurrent"](sequence)[0], modules["recurrent"](sequence)[0])
    pixels = torch.ones(1, 3, 5, 5)
    assert torch.equal(found["convolution"](pixels), modules["convolution"](pixels))


def test_tensors_keep_dtype_shape_and_overlap(torch: Any, tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    sent = [
        base, base[:, 1], base.t(), torch.tensor(2.5), torch.ones(0, 3), torch.tensor([True, False]),
        torch.ones(2, dtype=torch.float16), torch.ones(2, dtype=torch.int64), base.clone().requires_grad_(),
    ]
    found = served(tmp_path, sent)
    for array, tensor in zip(found, sent):
        assert isinstance(array, np.ndarray) and array.shape == tuple(tensor.shape)
        assert array.tolist() == tensor.tolist()
        assert array.dtype.name == str(tensor.dtype).split(".")[1]
    assert np.shares_memory(found[0], found[1]) and np.shares_memory(found[0], found[2])
    with pytest.raises(TypeError, match="make it dense"):
        to_bundle(torch.ones(2).to_sparse())
    with pytest.raises(TypeError, match="'meta'"):
        to_bundle(torch.empty(2, device="meta"))
    assert to_bundle(object()) is None and to_bundle([base]) is None


def test_training_a_received_module_changes_nobody_elses(torch: Any, tmp_path: Path) -> None:
    provider = share.SharedTensorProvider(str(tmp_path / "s"), execution_mode="server")

    @provider.share(managed=True)
    def norm() -> Any:
        return torch.nn.Sequential(torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 8))

    with share.SharedTensorServer(provider), share.SharedTensorClient(provider.base_path) as client:
        with client.call("norm") as first, client.call("norm") as second:
            trained, other = first.value, second.value
            before = [tensor.clone() for tensor in other.state_dict().values()]
            optimizer = torch.optim.SGD(trained.parameters(), lr=0.1)
            for _ in range(3):
                trained.train()(torch.ones(4, 8)).sum().backward()
                optimizer.step()
            assert not torch.equal(trained[1].weight, other[1].weight)
            assert not torch.equal(trained[0].running_mean, other[0].running_mean)
            for tensor, found in zip(before, other.state_dict().values()):
                assert torch.equal(tensor, found)

        # What was written here travels as what it is here.
        @provider.share(cache=False)
        def total(weight: Any) -> float:
            return float(np.asarray(weight).sum())

        assert client.call("total", trained[1].weight) == pytest.approx(float(trained[1].weight.sum()))


def test_what_is_no_plain_data_leaves_a_bundle_to_load(torch: Any, tmp_path: Path) -> None:
    class Odd(torch.nn.Module):  # type: ignore[misc, name-defined, unused-ignore]
        def __init__(self, tied: bool = True) -> None:
            super().__init__()
            self.function = lambda value: value
            self.rnn = torch.nn.GRU(3, 4)
            self.one = torch.nn.Linear(4, 4)
            self.two = torch.nn.Linear(4, 4)
            if tied:
                self.two.weight = self.one.weight
            self.register_buffer("scale", torch.ones(2))

    odd = Odd()
    bundle = served(tmp_path, odd)
    assert isinstance(bundle, Bundle) and "function" in str(bundle.reason)
    own = Odd(tied=False)
    assert bundle.load_into(own) is own
    sequence = torch.ones(2, 1, 3)
    assert torch.equal(own.rnn(sequence)[0], odd.rnn(sequence)[0])
    assert own.two.weight is own.one.weight
    assert own.one.weight.data_ptr() == bundle.tensors["one.weight"].ctypes.data, "without a copy"

    class Other(Odd):
        def __init__(self) -> None:
            super().__init__()
            self.one = torch.nn.Linear(4, 5)
            self.more = torch.nn.Linear(1, 1)

    other = Other()
    before = other.rnn.weight_ih_l0
    with pytest.raises(ValueError, match="'more.weight' is missing in the bundle") as wrong:
        bundle.load_into(other)
    assert "'one.weight' is torch.float32 (5, 4) in the module" in str(wrong.value)
    assert other.rnn.weight_ih_l0 is before, "nothing is bound"
    hooked = torch.nn.Linear(1, 1)
    hooked.register_forward_hook(lambda *_: None)
    assert "_forward_hooks" in served(tmp_path, hooked).reason
    scripted = torch.jit.script(torch.nn.Linear(1, 1))
    assert isinstance(served(tmp_path, scripted), Bundle)


def test_no_code_comes_from_the_wire(torch: Any) -> None:
    made = from_bundle(KIND, structure(), dict(TENSORS))
    assert type(made) is torch.nn.Linear and made(torch.ones(1, 2)).tolist() == [[2.0, 2.0, 2.0]]
    for kind in ("os:system", "builtins:eval", "antigravity:x", f"{LINEAR}.forward", "torch:Tensor", ":", ""):
        found = from_bundle(KIND, structure(kind=kind), dict(TENSORS))
        assert isinstance(found, Bundle) and "no module class" in str(found.reason)
    assert "antigravity" not in sys.modules
    script = from_bundle(KIND, structure(kind="torch.jit._script:ScriptModule"), dict(TENSORS))
    assert isinstance(script, Bundle)
    for attributes in (
        {"__class__": 1}, {"__dict__": 1}, {"_modules": 1}, {"_forward_hooks": 1}, {"a.b": 1}, {"": 1},
        {"x": ["function", "system"]}, {"x": ["dtype", "load"]}, {"x": ["device", "nonsense"]},
        {"x": ["tensor", "nowhere"]}, {"x": ["code", "1"]}, {"x": {"plain": 1}}, {"x": ["list", 1]},
        {"x": ["dict", [["a"]]]}, {"x": ["dict", [[["list", []], 1]]]}, {"x": ["size", ["a"]]},
    ):
        with pytest.raises(share.SharedTensorSerializationError):
            from_bundle(KIND, structure(attributes=attributes), dict(TENSORS))
    wrong = {"weight": np.ones((3, 2), "datetime64[s]")}
    found = from_bundle(KIND, structure(), wrong)
    assert isinstance(found, Bundle) and "datetime64" in str(found.reason)


def test_another_process_makes_the_same_module(torch: Any, tmp_path: Path) -> None:
    provider = share.SharedTensorProvider(str(tmp_path / "s"), execution_mode="server")

    @provider.share(managed=True, execution="task", cache_format_key="model:{hidden_size}")
    def load_model(hidden_size: int = 4) -> Any:
        return torch.nn.Linear(hidden_size, 2)

    program = (
        "import sys, torch\nfrom shm_py import share\nclient = share.SharedTensorClient(sys.argv[1])\n"
        "with client.call('load_model', hidden_size=3) as handle:\n"
        "    print(handle.value(torch.ones(1, 3)).tolist(), flush=True)\n"
    )
    with share.SharedTensorServer(provider), share.SharedTensorClient(provider.base_path) as client:
        child = Child("-W", "ignore", "-c", program, provider.base_path)
        with client.call("load_model", 3) as handle:
            expected = handle.value(torch.ones(1, 3)).tolist()
            assert child.hear(60.0) == str(expected)
        child.stop()
