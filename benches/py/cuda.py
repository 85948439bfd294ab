"""Streams on a GPU, from Python: shm_py beside pyshmem, with PyTorch's tensors.

    python cuda.py --json FILE [--quick]

Needs PyTorch and a GPU; without them FILE says `skipped` and why. shm_py is imported as it is; a release
of pyshmem is measured where SHM_BENCH_PYSHMEM_1_0_1 or SHM_BENCH_PYSHMEM_1_4_0 names the folder that holds
it. Each system runs in an interpreter of its own, one after the other, in rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable

RELEASES = ("1.0.1", "1.4.0")
SIDES = (100, 1000, 10_000)
MVM_SIDES = (100, 1000, 10_000)
ROUNDS, ROUNDS_QUICK = 5, 1
SECONDS, SECONDS_QUICK = 0.5, 0.05
TOLERANCE = 1e-3
NO_TORCH = "PyTorch is not importable: {}"
NO_GPU = "PyTorch finds no GPU"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to FILE")
    parser.add_argument("--quick", action="store_true", help="only show that everything works")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.worker is not None:
        print(json.dumps(work(flags.worker, flags.quick)))
        return 0
    told = measure(flags.quick)
    text = json.dumps(told, indent=2) + "\n"
    if flags.json is not None:
        flags.json.write_text(text, encoding="utf-8")
    print(f"SKIPPED: {told['skipped']}" if "skipped" in told else table(told))
    return 1 if told.get("failed") else 0


def measure(quick: bool) -> dict[str, Any]:
    """All systems in turns; a row has the median of each one's rounds."""
    why = missing()
    if why is not None:
        return {"skipped": why}
    systems, absent = {"shm_py": None}, {}
    for release in RELEASES:
        folder = os.environ.get(f"SHM_BENCH_PYSHMEM_{release.replace('.', '_')}")
        if folder:
            systems[f"pyshmem {release}"] = folder
        else:
            absent[f"pyshmem {release}"] = "no folder of it was named"
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in systems}
    failed = {}
    for turn in range(ROUNDS_QUICK if quick else ROUNDS):
        for name in list(systems) if turn % 2 == 0 else list(systems)[::-1]:
            if name in failed:
                continue
            try:
                found[name].append(in_an_interpreter(name, systems[name], quick))
            except RuntimeError as error:
                failed[name] = str(error)
    names = list(dict.fromkeys(row for rounds in found.values() for each in rounds for row in each["rows"]))
    rows = [row_of(name, found) for name in names]
    about = next((each["about"] for rounds in found.values() for each in rounds), {})
    return {"about": about, "absent": absent, "failed": failed, "rows": rows, "quick": quick}


def row_of(name: str, found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Microseconds of one operation by system, and of the bare work of PyTorch beside it."""
    figures: dict[str, Any] = {}
    for system, rounds in found.items():
        told = [each["rows"][name] for each in rounds if name in each["rows"]]
        errors = [row["error"] for row in told if "error" in row]
        told = [row for row in told if "error" not in row]
        if told:
            keys = ("us", "p99_us", "max_us", "bare_us")
            figures[system] = {key: statistics.median(row[key] for row in told) for key in keys}
        elif errors:
            figures[system] = {"error": errors[0]}
    return {"name": name, "unit": "us", "systems": figures}


def table(told: dict[str, Any]) -> str:
    """One line for each row and system."""
    lines = [str(told["about"])]
    for row in told["rows"]:
        for system, figures in row["systems"].items():
            if "error" in figures:
                lines.append(f"{row['name']:28} {system:15} could not be measured: {figures['error']}")
            else:
                lines.append(
                    f"{row['name']:28} {system:15} {figures['us']:12.2f} us  p99 {figures['p99_us']:10.2f}"
                    f"  bare {figures['bare_us']:10.2f}  of bare {figures['us'] / figures['bare_us']:6.2f}"
                )
    lines += [f"{system}: SKIPPED: {why}" for system, why in told["absent"].items()]
    lines += [f"{system}: FAILED: {why}" for system, why in told["failed"].items()]
    return "\n".join(lines)


def missing() -> str | None:
    try:
        import torch
    except ImportError as error:
        return NO_TORCH.format(error)
    return None if torch.cuda.is_available() else NO_GPU


def in_an_interpreter(system: str, folder: str | None, quick: bool) -> dict[str, Any]:
    env = dict(os.environ)
    if folder is not None:
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [folder, env.get("PYTHONPATH")]))
    command = [sys.executable, "-B", __file__, "--worker", system.split()[0]]
    command += ["--quick"] if quick else []
    try:
        ended = subprocess.run(command, env=env, capture_output=True, text=True, timeout=600)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"took longer than {error.timeout:.0f} s") from error
    if ended.returncode != 0:
        last = ended.stderr.strip().splitlines()[-1:]
        raise RuntimeError(*last or [f"ended with {ended.returncode}"])
    result: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return result


def work(module: str, quick: bool) -> dict[str, Any]:
    """In the interpreter of one system."""
    import importlib

    import torch

    bench = Bench(importlib.import_module(module), torch, SECONDS_QUICK if quick else SECONDS)
    rows: dict[str, Any] = {}
    for side in SIDES:
        shape = f"{side}x{side}"
        for group in ("write", "read", "roundtrip"):
            rows[f"{group}/{shape}"] = attempt(getattr(bench, group), side)
    for side in MVM_SIDES:
        shape = f"{side}x{side}"
        rows[f"mvm/host-upload/{shape}"] = attempt(bench.mvm, side, False)
        rows[f"mvm/device-resident/{shape}"] = attempt(bench.mvm, side, True)
    about = {"device": torch.cuda.get_device_name(0), "torch": torch.__version__}
    return {"about": about, "rows": rows}


def attempt(case: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """A case that fails takes no other with it."""
    try:
        return case(*arguments)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


class Bench:
    """One system on the first GPU. Every figure is of an operation whose work was waited for."""

    def __init__(self, module: Any, torch: Any, seconds: float) -> None:
        self._module, self._torch, self._seconds = module, torch, seconds

    def write(self, side: int) -> dict[str, Any]:
        source, target = self._source(side), self._source(side)
        with self._pair((side, side)) as (writer, reader):
            figures = self._timed(lambda: writer.write(source), lambda: target.copy_(source))
            self._check(self._tensor(reader.read()), source)
        return figures

    def read(self, side: int) -> dict[str, Any]:
        source = self._source(side)
        with self._pair((side, side)) as (writer, reader):
            writer.write(source)
            figures = self._timed(reader.read, source.clone)
            self._check(self._tensor(reader.read()), source)
        return figures

    def roundtrip(self, side: int) -> dict[str, Any]:
        source, target = self._source(side), self._source(side)

        def bare() -> None:
            target.copy_(source)
            target.clone()

        with self._pair((side, side)) as (writer, reader):

            def ours() -> None:
                writer.write(source)
                reader.read()

            figures = self._timed(ours, bare)
            self._check(self._tensor(reader.read()), source)
        return figures

    def mvm(self, side: int, resident: bool) -> dict[str, Any]:
        """A fresh vector is written, matrix and vector are read and multiplied."""
        torch = self._torch
        import numpy

        matrix = torch.arange(side * side, device="cuda", dtype=torch.float32).reshape(side, side) / side
        turn = 0

        def vector() -> Any:
            start = turn % 7
            if resident:
                return torch.linspace(start, start + 1, side, device="cuda", dtype=torch.float32)
            return numpy.linspace(start, start + 1, side, dtype=numpy.float32)

        product = None
        with self._pair((side, side)) as (writes, reads), self._pair((side,)) as (sends, receives):
            writes.write(matrix)

            def ours() -> None:
                nonlocal turn, product
                turn += 1
                sends.write(vector())
                product = self._tensor(reads.read()) @ self._tensor(receives.read())

            def bare() -> None:
                nonlocal turn
                turn += 1
                fresh = vector()
                fresh = fresh.clone() if resident else torch.from_numpy(fresh).cuda()
                matrix.clone() @ fresh.clone()

            figures = self._timed(ours, bare)
            ours()
            last = torch.as_tensor(vector(), device="cuda")
            expected = matrix.double() @ last.double()
            if not torch.allclose(product.double(), expected, rtol=TOLERANCE):
                raise ValueError("the product is wrong")
        return figures

    def _source(self, side: int) -> Any:
        torch = self._torch
        return torch.arange(side * side, device="cuda", dtype=torch.float32).reshape(side, side)

    def _tensor(self, read: Any) -> Any:
        """What was read, as PyTorch's, without a copy."""
        return read if isinstance(read, self._torch.Tensor) else self._torch.from_dlpack(read)

    def _check(self, found: Any, source: Any) -> None:
        if not self._torch.equal(found, source):
            raise ValueError("what was read is not what was written")

    def _pair(self, shape: tuple[int, ...]) -> Pair:
        return Pair(self._module, shape)

    def _timed(self, ours: Callable[[], Any], bare: Callable[[], Any]) -> dict[str, Any]:
        figures = self._times(ours)
        bare_us = statistics.median(self._times(bare))
        figures.sort()
        worst = figures[min(len(figures) - 1, len(figures) * 99 // 100)]
        return {
            "us": statistics.median(figures),
            "p99_us": worst,
            "max_us": figures[-1],
            "bare_us": bare_us,
        }

    def _times(self, operation: Callable[[], Any]) -> list[float]:
        wait, clock = self._torch.cuda.synchronize, time.perf_counter
        for _ in range(3):
            operation()
        wait()
        figures: list[float] = []
        end = clock() + self._seconds
        while len(figures) < 3 or clock() < end:
            before = clock()
            operation()
            wait()
            figures.append((clock() - before) * 1e6)
        return figures


class Pair:
    """A new stream on the first GPU, with a handle that writes and one that reads."""

    _made = 0

    def __init__(self, module: Any, shape: tuple[int, ...]) -> None:
        import numpy

        Pair._made += 1
        self._module = module
        self._name = f"bench-{os.getpid()}-shm{Pair._made}-cuda"
        self._writer = module.create(self._name, shape=shape, dtype=numpy.float32, gpu_device="cuda:0")
        try:
            self._reader = module.open(self._name, gpu_device="cuda:0")
        except BaseException:
            self._writer.close()
            module.unlink(self._name)
            raise

    def __enter__(self) -> tuple[Any, Any]:
        return self._writer, self._reader

    def __exit__(self, *exception: object) -> None:
        try:
            self._reader.close()
            self._writer.close()
        finally:
            self._module.unlink(self._name)


if __name__ == "__main__":
    sys.exit(main())
