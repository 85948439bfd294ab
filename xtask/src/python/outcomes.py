"""A pytest plugin that writes one JSON line for each thing that happens to a test.

The lines come as the tests end, so a run that crashes or is killed still tells how far it came.
"""

import json
import os

_PATH = os.environ["XTASK_OUTCOMES"]


def _tell(test, event, why=""):
    with open(_PATH, "a", encoding="utf-8") as file:
        file.write(json.dumps({"test": test, "event": event, "why": why}) + "\n")


def pytest_collectreport(report):
    if report.failed:
        _tell(report.nodeid, "failed", _last_line(report.longreprtext))
    elif report.skipped:
        _tell(report.nodeid, "skipped", _reason(report))


def pytest_deselected(items):
    for item in items:
        _tell(item.nodeid, "deselected")


def pytest_collection_finish(session):
    for item in session.items:
        _tell(item.nodeid, "collected")


def pytest_runtest_logreport(report):
    if report.failed:
        crash = getattr(report.longrepr, "reprcrash", None)
        why = crash.message if crash is not None else _last_line(report.longreprtext)
        # Values may be as long as they like; what they are compared with comes first.
        _tell(report.nodeid, "failed", " ".join(why.split())[:500])
    elif report.skipped:
        _tell(report.nodeid, "skipped", _reason(report))
    elif report.when == "call":
        _tell(report.nodeid, "passed")


def _reason(report):
    expected = getattr(report, "wasxfail", None)
    if expected is not None:
        return f"expected to fail: {expected}"
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return _last_line(report.longreprtext)


def _last_line(text):
    lines = text.strip().split("\n")
    return lines[-1].removeprefix("E").strip()
