"""What an import costs beyond that of numpy: the row `import`."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from .figures import Figures
from .rows import Row
from .run import OURS, Run

BUDGET_MS = 40.0
PROGRAM = """
import time
import numpy
begun = time.perf_counter_ns()
import {module}
print(time.perf_counter_ns() - begun)
"""


def rows(run: Run) -> Iterator[Row]:
    """Fresh interpreters in turn, the first of each not counted: it fills the page cache."""
    rounds = 2 if run.quick else 15
    figures = {system: Figures() for system in run.installed}
    for number in range(rounds + 1):
        for system, found in figures.items():
            spent = _import(run, system)
            if number:
                found.add_singles([spent])
    how = "import in a fresh interpreter that has imported numpy"
    readings = [found.by_round(system, how, "ms") for system, found in figures.items()]
    row = Row(
        "import",
        "ms",
        "lower",
        next(one for one in readings if one.name == OURS),
        peers=[one for one in readings if one.name != OURS],
        notes=[f"median of {rounds} interpreters; the time that numpy takes is not part of it"],
    )
    row.below(BUDGET_MS)
    yield row


def _import(run: Run, system: str) -> int:
    installed = run.installed[system]
    program = PROGRAM.format(module=installed.module)
    done = subprocess.run(
        [installed.python, "-c", program],
        env=run.environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    return int(done.stdout)
