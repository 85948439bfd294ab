"""What is written about the package is true: examples run, and docstrings say what is raised."""

from __future__ import annotations

import ast
import fcntl
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import shm_py
from children import environment
from children.serving import Server
from conftest import segment_files

ROOT = Path(__file__).parent.parent
SITE = ROOT.parent / "docs"
PAGES = [ROOT / "README.md", *sorted(SITE.rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
STUB = ast.parse((ROOT / "python" / "shm_py" / "_native.pyi").read_text())
#: What is not in the extension module.
PYTHON = ast.parse(
    '''
def locked_many(streams, *, timeout=None, poll_interval=0.001): ...
def purge(*, include_cuda_orphans=False, prefix="", dry_run=False): ...
def stream(
    name, *, shape, dtype=..., size=None, gpu_device=None, cpu_mirror=None, notify=False, cells=3,
    metadata=b"", replace_existing=False, temporary=False, casting="same_kind",
): ...
'''
)
CLASSES = [
    "SharedMemory", "Publication", "FrameView", "WriteView", "Pool", "Slot", "Ticket", "Consumer",
    "Lease", "Recycler", "Queue", "Store", "Reservation", "Retrieved", "TritonClient", "TritonModel",
    "TritonSlot", "DeviceTensor", "DevicePool", "DeviceSlot", "DeviceTicket", "DeviceConsumer",
    "DeviceLease", "TensorProxy",
]
#: Written in Python, where they are their own stubs.
REPORTS = [
    "ConsumerInfo", "DeviceInfo", "DevicePoolStats", "Fsck", "Overdue", "PoolInfo", "PoolStats", "QueueInfo", "Reaped", "SlotHolder",
    "SlotReport", "TritonClientStats", "TritonDuration", "TritonModelConfig", "TritonModelMetadata",
    "TritonRegion", "TritonServer", "TritonStatistics", "TritonSwept", "TritonTensor",
    "TritonTensorMetadata",
]
WRITTEN_IN_PYTHON = ["TritonSHMClient"]
#: What their names do not say.
EXCEPTIONS = [
    "AlreadyOwned", "KeyExists", "KeysMissing", "NotReady", "OwnerGone", "PoolFull", "ProducerGone",
    "StaleTicket",
]


def _blocks() -> Iterator[Any]:
    for page in PAGES:
        text = page.read_text()
        for found in re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, found.start(1)) + 1
            yield pytest.param(found[1], id=f"{page.relative_to(ROOT.parent)}:{line}")


def _runs(arguments: list[str], tmp_path: Path) -> None:
    # Their streams have fixed names: one run of them at a time on one machine.
    with (ROOT / "README.md").open() as page:
        fcntl.flock(page, fcntl.LOCK_EX)
        _runs_alone(arguments, tmp_path)


def _runs_alone(arguments: list[str], tmp_path: Path) -> None:
    before = set(shm_py.list_streams())
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=tmp_path,
    )
    try:
        _, errors = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    source = Path(arguments[0]).read_text()
    pools = [name for name in re.findall(r'"((?:doc|readme)-[\w-]+)"', source) if segment_files(name)]
    left = [name for name in set(shm_py.list_streams()) - before if _is_of(process.pid, name)]
    for name in left:
        shm_py.unlink_quiet(name)
    assert process.returncode == 0, errors
    assert errors == ""
    assert left == [], "it leaves streams behind"
    assert pools == [], "it leaves pools behind"


def _is_of(pid: int, name: str) -> bool:
    try:
        return bool(shm_py.stat(name)["creator_pid"] == pid)
    except FileNotFoundError:
        return False  # somebody else's, who has just removed it


@pytest.mark.parametrize("source", list(_blocks()))
def test_blocks_of_the_pages_run(
    source: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    program = tmp_path / "block.py"
    if "Triton" in source:
        server: Server = request.getfixturevalue("embedded_server")
        source = source.replace("localhost:8000", server.http)
        source = source.replace("localhost:8001", server.grpc.removeprefix("grpc://"))
    program.write_text(source)
    _runs([str(program)], tmp_path)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples_run(example: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    arguments = []
    if "Triton" in example.read_text():
        server: Server = request.getfixturevalue("embedded_server")
        arguments.append(server.http)
    _runs([str(example), *arguments], tmp_path)


def test_there_are_blocks_and_examples() -> None:
    assert len(list(_blocks())) >= 1, "README.md shows no Python"
    for page in SITE.glob("from-*.md"):
        assert "\n```python\n" in page.read_text(), f"{page.name} shows no program that runs"
    assert len(EXAMPLES) >= 1, "there are no examples"


def _members(kind: str) -> list[str]:
    """What the stub says that a class has."""
    found = next(node for node in STUB.body if isinstance(node, ast.ClassDef) and node.name == kind)
    return [node.name for node in found.body if isinstance(node, ast.FunctionDef)]


def _public(kind: str) -> list[str]:
    return [name for name in _members(kind) if not name.startswith("_")]


def _functions() -> list[str]:
    nodes = [*STUB.body, *PYTHON.body]
    names = [node.name for node in nodes if isinstance(node, ast.FunctionDef)]
    return [name for name in names if not name.startswith("_")]


def test_the_stub_lists_what_there_is() -> None:
    listed = next(
        ast.literal_eval(node.value)
        for node in STUB.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    )
    native = [name for name in listed if not name.startswith("_") or name == "__version__"]
    python = [node.name for node in PYTHON.body if isinstance(node, ast.FunctionDef)]
    assert sorted(shm_py.__all__) == sorted([*native, *python, *REPORTS, *WRITTEN_IN_PYTHON])
    assert sorted([*_functions(), *CLASSES, *REPORTS, *EXCEPTIONS, *WRITTEN_IN_PYTHON]) == sorted(
        name for name in shm_py.__all__ if not name.endswith("Error") and name != "__version__"
    )


@pytest.mark.parametrize("kind", CLASSES)
def test_classes_have_what_the_stub_says_and_no_more(kind: str) -> None:
    there = {name for name in dir(getattr(shm_py, kind)) if not name.startswith("_")}
    assert there == set(_public(kind))
    for name in _members(kind):
        assert hasattr(getattr(shm_py, kind), name)


DOCUMENTED = [*shm_py.__all__, *(f"{kind}.{name}" for kind in CLASSES for name in _public(kind))]
DOCUMENTED.remove("__version__")


def _resolve(path: str) -> Any:
    found: Any = shm_py
    for name in path.split("."):
        found = getattr(found, name)
    return found


@pytest.mark.parametrize("path", DOCUMENTED)
def test_everything_public_is_explained(path: str) -> None:
    text = inspect.getdoc(_resolve(path))
    assert text is not None and len(text.split()) >= 3, f"{path}: {text!r}"


def test_the_module_is_explained() -> None:
    assert shm_py.__doc__ is not None and len(shm_py.__doc__.split()) >= 5


READ = ["RuntimeError", "StaleStreamError", "ValueError"]
WAIT = [*READ, "TimeoutError"]
LOCK = ["TimeoutError", "PermissionError", "StaleStreamError"]
WRITE = ["ValueError", "TypeError", "OverflowError", "RuntimeError", "PermissionError",
         "StaleStreamError"]
RAISES: dict[str, list[str]] = {
    "create": ["FileExistsError", "ValueError", "TypeError", "OSError", "RuntimeError", "MemoryError"],
    "open": ["FileNotFoundError", "ValueError", "RuntimeError"],
    "stream": ["FileExistsError", "ValueError"],
    "unlink": ["ValueError"],
    "stat": ["FileNotFoundError", "ValueError"],
    "locked_many": ["TimeoutError", "ValueError"],
    "SharedMemory.acquire": LOCK,
    "SharedMemory.locked": LOCK,
    "SharedMemory.release": ["RuntimeError"],
    "SharedMemory.write": [*WRITE, "TimeoutError"],
    "SharedMemory.write_locked": WRITE,
    "SharedMemory.write_view": ["RuntimeError", "TimeoutError", "PermissionError"],
    "SharedMemory.write_view_locked": ["RuntimeError"],
    "SharedMemory.clear": ["TimeoutError", "PermissionError", "StaleStreamError"],
    "SharedMemory.read": READ,
    "SharedMemory.read_publication": READ,
    "SharedMemory.read_new": WAIT,
    "SharedMemory.read_after": WAIT,
    "SharedMemory.wait_for_count": ["TimeoutError", "StaleStreamError", "ValueError"],
    "SharedMemory.read_new_publication": WAIT,
    "SharedMemory.read_after_publication": WAIT,
    "SharedMemory.read_new_async": ["TimeoutError"],
    "SharedMemory.read_after_async": ["TimeoutError"],
    "SharedMemory.read_after_publication_async": ["TimeoutError"],
    "SharedMemory.wait_for_count_async": ["TimeoutError"],
    "SharedMemory.history": ["ValueError"],
    "SharedMemory.view": ["RuntimeError"],
    "SharedMemory.is_stale": ["ValueError"],
    "SharedMemory.create_from_config": ["FileExistsError", "ValueError"],
    "SharedMemory.pinned_buffer": ["RuntimeError"],
    "SharedMemory.close": ["RuntimeError"],
    "SharedMemory.unlink": ["PermissionError", "StaleStreamError"],
    "FrameView.validate": ["FrameOverwrittenError", "RuntimeError"],
    "devices": ["RuntimeError"],
    "DeviceTensor.empty": ["MemoryError", "ValueError", "TypeError", "RuntimeError"],
    "DeviceTensor.from_numpy": ["MemoryError", "RuntimeError"],
    "DeviceTensor.from_dlpack": ["TypeError", "ValueError", "BufferError"],
    "DeviceTensor.from_interface": ["TypeError", "ValueError"],
    "DeviceTensor.to_numpy": ["ValueError", "RuntimeError"],
    "DeviceTensor.copy_from": ["ValueError", "TypeError", "RuntimeError"],
    "DevicePool.create": [
        "AlreadyOwned", "FileExistsError", "MemoryError", "OSError", "ValueError", "TypeError",
        "RuntimeError",
    ],
    "DevicePool.open": ["FileNotFoundError", "PoolError", "OwnerGone", "ValueError", "RuntimeError"],
    "DevicePool.lend": ["PoolFull", "TimeoutError", "ValueError", "PoolError"],
    "DevicePool.put": ["PoolFull", "ValueError", "TypeError"],
    "DevicePool.consumer": ["PoolError", "ValueError"],
    "DevicePool.revoke": ["StaleTicket", "ValueError"],
    "DeviceSlot.write": ["ValueError", "TypeError", "RuntimeError"],
    "DeviceSlot.publish": ["PoolError", "ValueError"],
    "DeviceTicket.from_bytes": ["ValueError"],
    "DeviceConsumer.redeem": [
        "NotReady", "TimeoutError", "ProducerGone", "OwnerGone", "StaleTicket", "ValueError",
        "PoolError",
    ],
    "DeviceLease.copy_to": ["ValueError", "TypeError", "ProducerGone", "NotReady", "OwnerGone"],
    "DeviceLease.check": ["ProducerGone", "NotReady", "PoolError"],
    "TensorProxy.from_bytes": ["ValueError"],
    "Pool.create": ["AlreadyOwned", "FileExistsError", "OSError", "ValueError", "TypeError"],
    "Pool.create_chunks": ["AlreadyOwned", "ValueError"],
    "Pool.open": ["FileNotFoundError", "ValueError"],
    "Pool.lend": ["PoolFull", "TimeoutError", "ValueError", "PoolError"],
    "Pool.lend_async": ["PoolFull", "ValueError"],
    "Pool.publish": ["TypeError", "ValueError", "PoolFull"],
    "Pool.consumer": ["PoolError", "ValueError"],
    "Pool.unlink": ["PermissionError", "PoolError"],
    "Pool.revoke": ["StaleTicket", "ValueError"],
    "Pool.recycler": ["OSError"],
    "Slot.array": ["ValueError", "TypeError", "PoolError"],
    "Slot.publish": ["PoolError", "ValueError"],
    "Ticket.from_bytes": ["ValueError"],
    "Consumer.open": ["FileNotFoundError", "PoolError"],
    "Consumer.redeem": ["StaleTicket", "ValueError", "PoolError"],
    "Consumer.unpack": ["StaleTicket", "ValueError", "PoolError"],
    "Lease.array": ["ValueError", "TypeError", "PoolError"],
    "Lease.release": ["PoolError"],
    "Queue.create": ["FileExistsError", "ValueError", "PoolError"],
    "Queue.open": ["FileNotFoundError"],
    "Queue.put": ["queue.Full", "StaleTicket", "ValueError", "PoolError"],
    "Queue.get": ["queue.Empty", "TypeError", "ValueError", "PoolError"],
    "Queue.get_nowait": ["queue.Empty"],
    "Store.create": ["AlreadyOwned", "ValueError"],
    "Store.open": ["FileNotFoundError", "PoolError"],
    "Store.prepare_store": ["KeyExists", "FileExistsError", "PoolFull", "ValueError", "PoolError"],
    "Store.prepare_retrieve": ["KeysMissing", "KeyError", "ValueError", "PoolError"],
    "Store.get": ["KeysMissing"],
    "Store.put": ["KeyExists", "PoolFull"],
    "Store.remove": ["PoolError"],
    "Store.unlink": ["PermissionError"],
    "Reservation.commit": ["ValueError", "PoolError"],
    "remove_pool": ["PermissionError", "FileNotFoundError"],
    "pack": ["TypeError", "ValueError", "PoolFull"],
    "unpack": ["ValueError"],
    "TritonClient": ["ValueError"],
    "TritonClient.register_model": ["ValueError", "TritonError", "TimeoutError", "ConnectionError"],
    "TritonClient.model": ["KeyError", "TritonError"],
    "TritonClient.is_live": ["ConnectionError", "TimeoutError", "TritonError"],
    "TritonClient.wait_ready": ["ConnectionError", "TimeoutError"],
    "TritonClient.statistics": ["ConnectionError"],
    "TritonClient.close": ["TimeoutError", "TritonError"],
    "TritonModel.infer": [
        "TimeoutError", "ConnectionRefusedError", "ConnectionResetError", "TritonError", "KeyError",
        "TypeError", "ValueError",
    ],
    "TritonModel.infer_async": ["TimeoutError", "TritonError"],
    "TritonModel.slot": ["TimeoutError", "TritonError"],
    "TritonModel.unregister": ["TimeoutError", "TritonError"],
    "TritonSlot.input": ["KeyError", "ValueError", "TypeError", "TritonError"],
    "TritonSlot.set": ["KeyError", "TypeError", "ValueError", "TritonError"],
    "TritonSlot.run": ["TimeoutError", "ConnectionResetError", "TritonError"],
    "TritonSHMClient": ["ValueError"],
    "TritonSHMClient.register_shm_model": ["ValueError"],
    "TritonSHMClient.infer_shm": ["ValueError", "RuntimeError", "TimeoutError"],
}


@pytest.mark.parametrize("path", RAISES)
def test_errors_are_named(path: str) -> None:
    text = _what_is_raised(path, set())
    missing = [error for error in RAISES[path] if error not in text]
    assert missing == [], f"the docstring of {path} does not mention {missing}: {text}"


def _what_is_raised(path: str, seen: set[str]) -> str:
    """The paragraphs of a docstring, and of those that its last ones refer to: 'as read() does'."""
    seen.add(path)
    text = inspect.getdoc(_resolve(path)) or ""
    refers = [part for part in text.split("\n\n") if re.search(r"Raises|[Ee]rrors", part)]
    for name in re.findall(r"([\w.]+)\(\)", " ".join(refers)):
        own = path.split(".")[0]
        for other in (f"{own}.{name}", f"SharedMemory.{name}", name):
            if other in DOCUMENTED and other not in seen:
                text += "\n" + _what_is_raised(other, seen)
                break
    return text


def _stub_parameters(node: ast.FunctionDef) -> list[tuple[str, str]]:
    positional = [(argument.arg, "positional") for argument in node.args.args]
    return positional + [(argument.arg, "keyword") for argument in node.args.kwonlyargs]


def _stub_functions() -> Iterator[Any]:
    for node in [*STUB.body, *PYTHON.body]:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield pytest.param(node.name, node, id=node.name)
        elif isinstance(node, ast.ClassDef) and node.name in CLASSES:
            for member in node.body:
                if isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
                    if not any(ast.unparse(mark) == "property" for mark in member.decorator_list):
                        path = f"{node.name}.{member.name}"
                        yield pytest.param(path, member, id=path)


@pytest.mark.parametrize(("path", "node"), list(_stub_functions()))
def test_help_shows_the_signature_of_the_stub(path: str, node: ast.FunctionDef) -> None:
    found: Any = shm_py
    for name in path.split("."):
        found = getattr(found, name)
    signature = inspect.signature(found)
    expected = _stub_parameters(node)
    if expected and expected[0][0] == "cls":
        expected = expected[1:]
    shown = [
        (parameter.name, "keyword" if parameter.kind is parameter.KEYWORD_ONLY else "positional")
        for parameter in signature.parameters.values()
    ]
    assert shown == expected
    defaults = [*[None] * (len(node.args.args) - len(node.args.defaults)), *node.args.defaults]
    pairs = zip([*node.args.args, *node.args.kwonlyargs], [*defaults, *node.args.kw_defaults])
    for argument, default in pairs:
        if argument.arg in ("self", "cls"):
            continue
        parameter = signature.parameters[argument.arg]
        if default is None:
            assert parameter.default is inspect.Parameter.empty, argument.arg
        elif ast.unparse(default) != "...":
            assert parameter.default == ast.literal_eval(default), argument.arg
        else:
            assert parameter.default is not inspect.Parameter.empty, argument.arg
