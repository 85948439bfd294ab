"""Runs every test of the bundle and counts. Exits with 0 only if tests ran and none failed."""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from bundle import FOLDER, devices, environment, importable, run

RESULT = re.compile(r"test result: \S+ (\d+) passed; (\d+) failed; (\d+) ignored;")

OUTPUT = re.compile(r"---- (\S+) stdout ----$")


class Row:
    """What came of one program."""

    def __init__(self, name: str, passed: int = 0, failed: int = 0, skipped: int = 0, word: str = ""):
        self.name = name
        self.passed = passed
        self.failed = failed
        self.skipped = skipped
        self.word = word


def main() -> int:
    parser = argparse.ArgumentParser(prog="run-tests", description=__doc__)
    parser.add_argument("--sim", action="store_true", help="on the simulated driver, not on a GPU")
    parser.add_argument("--seconds", type=float, default=900.0, help="how long one program may take")
    flags = parser.parse_args()
    env = environment(flags.sim)
    found = devices(env)
    if not found:
        print("FAILED: no device to test on; --sim runs the tests on the simulated driver")
        return 1
    rows = [rust(program, env, flags.seconds) for program in programs()]
    rows.append(python(env, flags.seconds))
    return summary(rows, found, flags.sim)


def programs() -> list[Path]:
    """The test programs."""
    return sorted(path for path in (FOLDER / "tests").iterdir() if path.suffix != ".so")


def rust(program: Path, env: dict[str, str], seconds: float) -> Row:
    """Runs one test program."""
    print(f"\n=== {program.name}", flush=True)
    ended = run([program, "--show-output"], env, seconds)
    results = [match for match in map(RESULT.match, ended.lines) if match]
    if len(results) != 1:
        return Row(program.name, failed=1, word=f"{ended.words()} without a result")
    passed, failed, ignored = (int(number) for number in results[0].groups())
    # A test that could not run here says so, and its program counts it as passed.
    told = skipped_tests(ended.lines)
    passed, ignored = passed - len(told), ignored + len(told)
    word = "; ".join(sorted(set(told.values())))
    if failed == 0 and ended.code != 0:
        failed, word = 1, ended.words()
    return Row(program.name, passed, failed, ignored, word)


def skipped_tests(lines: list[str]) -> dict[str, str]:
    """The tests among the passed ones that say that they could not run, and why."""
    told: dict[str, str] = {}
    test = ""
    for line in lines:
        begun = OUTPUT.match(line)
        if begun:
            test = begun.group(1)
        elif line.startswith("SKIPPED") and test:
            told.setdefault(test, line)
        elif line.startswith(("successes:", "failures:")):
            test = ""
    return told


def python(env: dict[str, str], seconds: float) -> Row:
    """Runs the Python tests of CUDA, with the interpreter's own pytest if it has one."""
    name = "python"
    print(f"\n=== {name}", flush=True)
    tests = sorted((FOLDER / "python-tests").glob("test_cuda*.py"))
    if not tests:
        return Row(name, skipped=1, word="SKIPPED: there are no Python tests of CUDA")
    why = importable("numpy", env)
    if why is not None:
        return Row(name, skipped=1, word=f"SKIPPED: {why}")
    env = dict(env)
    if importable("pytest, pytest_timeout", env) is not None:
        env["PYTHONPATH"] += os.pathsep + str(FOLDER / "pytest")
        why = importable("pytest, pytest_timeout", env)
        if why is not None:
            return Row(name, skipped=1, word=f"SKIPPED: pytest does not start: {why}")
    env["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        options = ["-p", "pytest_timeout", "-p", "no:cacheprovider", "-q", "-rs", f"--rootdir={FOLDER}"]
        ended = run(
            [sys.executable, "-B", "-m", "pytest", *options, f"--junitxml={report}", *tests], env, seconds
        )
        counts = counted(report)
    if counts is None:
        return Row(name, failed=1, word=f"pytest {ended.words()} without a result")
    passed, failed, skipped = counts
    word = ""
    if failed == 0 and ended.code != 0:
        failed, word = 1, f"pytest {ended.words()}"
    return Row(name, passed, failed, skipped, word)


def counted(report: Path) -> tuple[int, int, int] | None:
    """Passed, failed and skipped tests by pytest's report."""
    if not report.is_file():
        return None
    suites = list(ElementTree.parse(report).getroot().iter("testsuite"))

    def total(what: str) -> int:
        return sum(int(suite.get(what, "0")) for suite in suites)

    failed = total("failures") + total("errors")
    skipped = total("skipped")
    return max(total("tests") - failed - skipped, 0), failed, skipped


def summary(rows: list[Row], found: list[str], simulated: bool) -> int:
    """Prints the table; the last line counts."""
    print(f"\n{'program':<32} {'passed':>7} {'failed':>7} {'skipped':>8}")
    for row in rows:
        print(f"{row.name:<32} {row.passed:>7} {row.failed:>7} {row.skipped:>8}  {row.word}".rstrip())
    passed = sum(row.passed for row in rows)
    failed = sum(row.failed for row in rows)
    skipped = sum(row.skipped for row in rows)
    driver = "simulated driver (sim), no GPU" if simulated else "installed driver"
    print(f"{driver}: {'; '.join(found)}")
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 0 if passed > 0 and failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
