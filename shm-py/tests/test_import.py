"""What an import costs and shows."""

from __future__ import annotations

import importlib.metadata
import pickle
from pathlib import Path

import pytest
import shm_py
from children import run

CLASSES = [
    "SharedMemory", "Publication", "FrameView", "WriteView", "Pool", "Slot", "Ticket", "Consumer",
    "Lease", "Recycler", "Queue", "Store", "Reservation", "Retrieved", "PoolStats", "SlotReport",
    "TritonClient", "TritonModel", "TritonSlot", "TritonSHMClient", "TritonTensor", "TritonError",
    "DeviceTensor", "DeviceInfo",
]


def test_an_import_brings_nothing_that_is_not_needed() -> None:
    imported = set(run("import sys\nimport shm_py\nprint(*sorted(sys.modules))").split())
    assert {"shm_py", "shm_py._native"} <= imported
    for heavy in (
        "torch",
        "asyncio",
        "multiprocessing",
        "multiprocessing.resource_tracker",
        "multiprocessing.shared_memory",
        "ml_dtypes",
        "concurrent.futures",
        "queue",
        "typing_extensions",
        "pyshmem",
        "subprocess",
        "socket",
    ):
        assert heavy not in imported, heavy


def test_an_import_starts_no_thread_and_touches_no_stream(shm_name: str) -> None:
    shm_py.create(shm_name, shape=(1,), temporary=True).close()
    before = shm_py.stat(shm_name)
    said = run(
        """
import os
import numpy
def things():
    return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
before = things()
import shm_py
assert things() == before, (before, things())
print(shm_py.list_streams(os.sys.argv[1]))
""",
        shm_name,
    )
    assert said == f"['{shm_name}']\n"
    assert shm_py.stat(shm_name) == before


def test_cpu_work_never_imports_torch(shm_name: str) -> None:
    said = run(
        """
import sys
import numpy as np, shm_py
with shm_py.stream(sys.argv[1], shape=(2,)) as shm:
    shm.write([1, 2])
    shm.read(), shm.view(), shm.history(), np.from_dlpack(shm), shm.describe()
    shm_py.gpu_available()
    try:
        shm.pinned_buffer()
    except RuntimeError:
        pass
print(*(name for name in ("torch", "asyncio", "multiprocessing") if name in sys.modules))
""",
        shm_name,
    )
    assert said == "\n"


def test_the_version_is_the_distributions() -> None:
    assert shm_py.__version__ == importlib.metadata.version("shm-py")


def test_the_package_is_typed() -> None:
    assert shm_py.__file__ is not None
    folder = Path(shm_py.__file__).parent
    assert (folder / "py.typed").is_file() and (folder / "_native.pyi").is_file()


def test_star_import_gives_what_all_says() -> None:
    names: dict[str, object] = {}
    exec("from shm_py import *", names)
    names.pop("__builtins__")
    assert sorted(names) == sorted(shm_py.__all__)
    with pytest.raises(ImportError):
        exec("from shm_py import no_such_name", {})


def test_the_exceptions_are_kinds_of_what_callers_catch() -> None:
    assert issubclass(shm_py.InconsistentStreamError, RuntimeError)
    assert issubclass(shm_py.FrameOverwrittenError, shm_py.InconsistentStreamError)
    assert issubclass(shm_py.StaleStreamError, RuntimeError)
    assert not issubclass(shm_py.StaleStreamError, shm_py.InconsistentStreamError)
    for name in ("InconsistentStreamError", "FrameOverwrittenError", "StaleStreamError"):
        error = getattr(shm_py, name)
        assert (error.__module__, error.__name__) == ("shm_py", name)
    assert issubclass(shm_py.PoolError, RuntimeError)
    for error, kind in [
        (shm_py.PoolFull, TimeoutError),
        (shm_py.AlreadyOwned, FileExistsError),
        (shm_py.KeyExists, FileExistsError),
        (shm_py.KeysMissing, KeyError),
        (shm_py.StaleTicket, RuntimeError),
    ]:
        assert issubclass(error, kind) and issubclass(error, shm_py.PoolError)
        again = pickle.loads(pickle.dumps(error("why")))
        assert type(again) is error and str(again) == "why" and error.__module__ == "shm_py"
    for name in CLASSES:
        found = getattr(shm_py, name)
        assert (found.__module__, found.__name__) == ("shm_py", name)


def test_an_import_again_is_the_same_module() -> None:
    said = run(
        """
import importlib, sys
import shm_py
first = shm_py.SharedMemory
importlib.reload(shm_py)
assert shm_py.SharedMemory is first
print(shm_py.create.__name__, shm_py.open.__name__)
"""
    )
    assert said == "create open\n"
