"""Names that leave nothing behind, and children that end with their test."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from children.simulator import Simulator
from children.simulator import library as simulated_driver

# A run in the background of a shell ignores Ctrl-C, and so would the children of the tests, some of which
# are interrupted by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What is found as the driver is settled by the first call that asks for CUDA, which is made while the
# tests are collected.
if os.environ.get("SHM_CUDA_CONFORMANCE") != "real" and "SHM_CUDA_DRIVER" not in os.environ:
    if (_driver := simulated_driver()) is not None:
        os.environ["SHM_CUDA_DRIVER"] = str(_driver)

import shm_py
from children import Child
from children.device_frames import SHAPE
from children.serving import Server, embedded_binary, real_folder, start_embedded, start_real

SHARED_MEMORY = Path("/dev/shm")
STRESS = os.environ.get("SHM_PY_STRESS") == "1"
_numbers = itertools.count()

StartChild = Callable[..., Child]


def segment_files(name: str) -> list[str]:
    """The files of streams whose names begin with `name`, a name that needs no escaping."""
    return sorted(path.name for path in SHARED_MEMORY.glob(f"shm.{os.getuid()}.{name}*"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A hang is a failure, not an endless run. A thread ends it even where signals are ignored."""
    limit = 1800.0 if STRESS else config.getoption("timeout") or 180.0
    for item in items:
        # One that is added stands before that of a module.
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(limit, method="thread"))


@pytest.fixture
def shm_name(request: pytest.FixtureRequest) -> Iterator[str]:
    """A name of this test's own. Streams, and pools whose owner is dead, are removed afterwards."""
    label = re.sub("[^a-z0-9]+", "-", request.node.name.lower())[:50].strip("-")
    name = f"pytest-{os.getpid()}-{next(_numbers)}-{label}"
    yield name
    for found in shm_py.list_streams(name):
        shm_py.unlink_quiet(found)
    gc.collect()
    for file in segment_files(name):
        with contextlib.suppress(FileNotFoundError, ValueError, shm_py.PoolError):
            shm_py.remove_pool(file.split(".", 2)[2])
    assert segment_files(name) == []


@pytest.fixture
def start(shm_name: str) -> Iterator[StartChild]:
    """Starts programs of the folder `children`; those that still run afterwards are ended."""
    started: list[Child] = []

    def begin(program: str, *arguments: object, **options: Any) -> Child:
        child = Child.program(program, *arguments, **options)
        started.append(child)
        return child

    yield begin
    for child in started:
        child.stop()


@pytest.fixture(scope="session")
def stress() -> bool:
    """Whether each test may take minutes."""
    return STRESS


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """The simulated driver, with which nothing is left behind and nothing was done that a real one
    would not forgive."""
    driver = os.environ.get("SHM_CUDA_DRIVER")
    if driver is None or not shm_py.gpu_available() or not shm_py.devices()[0].simulated:
        pytest.skip("no simulated CUDA driver: `cargo build -p shm-cuda-sim` makes it")
    simulator = Simulator(Path(driver))
    gc.collect()
    before = simulator.report()
    yield simulator
    simulator.inject(0, 0)
    simulator.delay(0, 200)
    gc.collect()
    # Memory of closed streams that children had open.
    shm_py.gc("pytest-")
    simulator.release()
    after = simulator.report()
    assert after["violations"] == before["violations"] == []
    for kind in ("allocations", "imports", "streams", "events", "registered"):
        assert after[kind] == before[kind], f"{kind} were left behind"


@pytest.fixture(params=[False, True], ids=["device", "mirrored"])
def device_shm(
    request: pytest.FixtureRequest, sim: Simulator, shm_name: str
) -> Iterator[shm_py.SharedMemory]:
    """A stream on device 0, with and without a mirror."""
    with shm_py.stream(
        shm_name, shape=SHAPE, gpu_device="cuda:0", cpu_mirror=request.param
    ) as handle:
        yield handle
        handle.close()


@pytest.fixture
def plain_shm(sim: Simulator, shm_name: str) -> Iterator[shm_py.SharedMemory]:
    """A stream on device 0 without a mirror."""
    with shm_py.stream(shm_name, shape=SHAPE, gpu_device=0) as handle:
        yield handle
        handle.close()


def _embedded_or_skip() -> None:
    if embedded_binary() is None:
        pytest.skip("SHM_ZOO_SERVE does not name the embedded server; `cargo xtask py` builds it")


def _serve(kind: str) -> Iterator[Server]:
    if kind == "embedded":
        _embedded_or_skip()
        server = start_embedded()
    else:
        if real_folder() is None:
            pytest.skip("Triton was not fetched; `cargo xtask triton fetch` does")
        server = start_real()
    yield server
    assert server.process.poll() is None, "the server has ended"
    server.stop()


@pytest.fixture(scope="session")
def embedded_server() -> Iterator[Server]:
    yield from _serve("embedded")


@pytest.fixture(scope="session")
def real_server() -> Iterator[Server]:
    yield from _serve("real")


@pytest.fixture(params=["embedded-http", "embedded-grpc", "real-http", "real-grpc"])
def server_url(request: pytest.FixtureRequest) -> str:
    """A server of the test models: both kinds, by both protocols."""
    kind, protocol = request.param.split("-")
    server: Server = request.getfixturevalue(f"{kind}_server")
    return server.url(protocol)


@pytest.fixture
def triton(server_url: str) -> Iterator[shm_py.TritonClient]:
    """A client, whose end leaves nothing behind."""
    with shm_py.TritonClient(server_url, timeout=30.0) as client:
        yield client
        gc.collect()
        client.close()
    own = f"triton.{os.getpid()}."
    assert list(SHARED_MEMORY.glob(f"shm.{os.getuid()}.{own}*")) == []


@pytest.fixture
def own_server() -> Iterator[Server]:
    """An embedded server that the test may kill."""
    _embedded_or_skip()
    server = start_embedded()
    yield server
    server.stop()
