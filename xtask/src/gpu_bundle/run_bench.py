"""Runs the suite `cuda`. Arguments that it does not know are the suite's own."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from bundle import FOLDER, RELEASES, SIMULATED, devices, environment, importable, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="run-bench", description=__doc__)
    parser.add_argument("--sim", action="store_true", help="on the simulated driver, not on a GPU")
    parser.add_argument("--quick", action="store_true", help="only show that everything works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to FILE")
    parser.add_argument("--seconds", type=float, default=1800.0, help="how long it may take")
    flags, others = parser.parse_known_args()
    env = environment(flags.sim)
    # The suite is no test: it measures whatever driver it finds.
    env.pop("SHM_CUDA_CONFORMANCE", None)
    if not devices(env):
        print("FAILED: no device to measure; --sim runs the suite on the simulated driver")
        return 1
    if flags.sim:
        print("on the simulated driver (sim): the figures say nothing of a GPU", flush=True)
    command: list[object] = [FOLDER / "bench" / "cuda", *others]
    if flags.sim:
        command += ["--sim", SIMULATED]
    quick = ["--quick"] if flags.quick else []
    command += quick
    with tempfile.TemporaryDirectory() as scratch:
        rows = Path(scratch) / "python.json"
        if not python(env, [*quick, "--json", str(rows)], flags):
            return 1
        if rows.exists():
            command += ["--python", rows]
        if flags.json is not None:
            flags.json = flags.json.absolute()
            flags.json.unlink(missing_ok=True)
            command += ["--json", flags.json]
        ended = run(command, env, flags.seconds)
    if ended.code != 0:
        print(f"FAILED: the suite {ended.words()}")
        return 1
    if flags.json is not None:
        found = json.loads(flags.json.read_text(encoding="utf-8")).get("rows", [])
        print(f"{len(found)} rows in {flags.json}")
        return 0 if found else 1
    return 0


def python(env: dict[str, str], options: list[str], flags: argparse.Namespace) -> bool:
    """Measures shm_py and pyshmem on the GPU, where PyTorch is; false if that failed."""
    script = FOLDER / "bench" / "py" / "cuda.py"
    why = "the simulated driver is none for PyTorch" if flags.sim else importable("numpy, torch", env)
    if why is None and not script.is_file():
        why = "the bundle has no bench/py/cuda.py"
    if why is not None:
        print(f"SKIPPED: pyshmem beside ours: {why}", flush=True)
        return True
    env = dict(env)
    for release in RELEASES:
        folder = FOLDER / "pyshmem" / release
        path = os.pathsep.join([str(folder), env["PYTHONPATH"]])
        why = importable("pyshmem", dict(env, PYTHONPATH=path))
        if why is None:
            env[f"SHM_BENCH_PYSHMEM_{release.replace('.', '_')}"] = str(folder)
        else:
            print(f"SKIPPED: pyshmem {release} beside ours: {why}", flush=True)
    ended = run([sys.executable, "-B", script, *options], env, flags.seconds)
    if ended.code != 0:
        print(f"FAILED: bench/py/cuda.py {ended.words()}")
    return ended.code == 0


if __name__ == "__main__":
    sys.exit(main())
