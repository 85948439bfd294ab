"""Measures shm_py beside installed versions of pyshmem; see README.md.

Exits with 0 if everything could be measured, whether or not goals are met: machines differ.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Callable

from pybench import (
    handover,
    header,
    idle,
    import_time,
    mvm,
    ops,
    pingpong,
    plot,
    roundtrip,
    size_tables,
    text_table,
    wake,
)
from pybench.rows import Row
from pybench.run import OURS, Installed, Run
from pybench.worker_process import WorkerError

Group = Callable[[Run], Iterator[Row]]


def main(arguments: Sequence[str]) -> int:
    flags = parse(arguments)
    signal.signal(signal.SIGTERM, _end)
    installed = {OURS: Installed(sys.executable, "shm_py")}
    for version, python in flags.peer:
        installed[f"pyshmem {version}"] = Installed(python, "pyshmem")
    with Run(installed, flags.quick) as run:
        try:
            described = header.described(run, arguments)
            _check_versions(described["systems"])
        except (ValueError, WorkerError) as error:
            print(f"bench: {error}", file=sys.stderr)
            return 1
        rows, failures = measure(run, groups(flags))
        peers = run.peers
    if not rows:
        print("bench: no row was measured", file=sys.stderr)
        return 1
    tables = size_tables.tables(rows, list(installed))
    print(text_table.text(described, rows, tables, peers))
    if flags.json is not None:
        report = {
            "header": described,
            "rows": [row.as_json() for row in rows],
            "tables": [table.as_json() for table in tables],
            "skipped": run.skipped,
            "failures": failures,
        }
        flags.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if flags.svg is not None and tables:
        plot.write(flags.svg, described, tables)
    for name, why in failures.items():
        print(f"bench: {name} could not be measured: {why}", file=sys.stderr)
    return 1 if failures else 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench.py", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only show that everything works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows to FILE")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the size tables into FILE")
    parser.add_argument(
        "--peer",
        type=_peer,
        action="append",
        default=[],
        metavar="VERSION=PYTHON",
        help="the interpreter of an environment with this version of pyshmem",
    )
    parser.add_argument(
        "--wake-rust", type=Path, metavar="JSON", help="a run of `cargo xtask bench stream`"
    )
    parser.add_argument("--only", action="append", metavar="GROUP", choices=sorted(_GROUPS))
    return parser.parse_args(arguments)


def groups(flags: argparse.Namespace) -> dict[str, Group]:
    """The groups of rows that were asked for."""
    chosen = flags.only or list(_GROUPS)
    found = {name: group for name, group in _GROUPS.items() if name in chosen}
    if "wake" in found:
        found["wake"] = lambda run: wake.rows(run, flags.wake_rust)
    return found


def measure(run: Run, chosen: dict[str, Group]) -> tuple[list[Row], dict[str, str]]:
    """All rows, and why a group has fewer than it should."""
    rows: list[Row] = []
    failures: dict[str, str] = {}
    for name, group in chosen.items():
        begun = time.monotonic()
        try:
            found = list(group(run))
            rows += found
            told = f"{len(found)} rows"
        except Exception as error:  # The other groups are worth having all the same.
            traceback.print_exc()
            failures[name] = told = f"{type(error).__name__}: {error}"
        print(f"  {name}: {told}, {time.monotonic() - begun:.1f} s", file=sys.stderr, flush=True)
    return rows, failures


def _peer(text: str) -> tuple[str, str]:
    version, equals, python = text.partition("=")
    if not (version and equals and Path(python).exists()):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not VERSION=PYTHON with the path of an interpreter that exists"
        )
    return version, python


def _check_versions(systems: dict[str, Any]) -> None:
    for label, found in systems.items():
        _, _, asked = label.partition(" ")
        if asked and found != asked:
            raise ValueError(f"the interpreter for {label} has pyshmem {found}; install {asked}")


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


_GROUPS: dict[str, Group] = {
    "import": import_time.rows,
    "ops": ops.rows,
    "io": roundtrip.rows,
    "handover": handover.rows,
    "mvm": mvm.rows,
    "pingpong": pingpong.rows,
    "wake": lambda run: wake.rows(run, None),
    "idle": idle.rows,
}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
