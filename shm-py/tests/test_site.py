"""The pages of docs/ name every public name, and every guarantee leads to tests that exist."""

from __future__ import annotations

import builtins
import re
from pathlib import Path
from typing import Any

import pytest
import shm_py
from shm_py import share, transport

REPOSITORY = Path(__file__).parents[2]
SITE = REPOSITORY / "docs"
REFERENCE = "\n".join(page.read_text() for page in (SITE / "reference").glob("*.md"))
LISTED = re.findall(r"^::: ([\w.]+)$", REFERENCE, re.MULTILINE)
PUBLIC: list[tuple[Any, str]] = [
    (module, name)
    for module in (shm_py, share, transport)
    for name in module.__all__
    if name != "__version__"
]


@pytest.mark.parametrize(
    ("module", "name"), PUBLIC, ids=[f"{module.__name__}.{name}" for module, name in PUBLIC]
)
def test_the_reference_has_every_public_name(module: Any, name: str) -> None:
    # What two modules have in common stands there once.
    there = [f"{module.__name__}.{name}", f"shm_py.{name}"]
    if getattr(shm_py, name, None) is not getattr(module, name):
        there.pop()
    assert any(path in LISTED for path in there), f"no page of docs/reference has {there[0]}"


def test_the_reference_has_nothing_else_and_nothing_twice() -> None:
    public = {f"{module.__name__}.{name}" for module, name in PUBLIC}
    assert sorted(set(LISTED)) == sorted(LISTED)
    assert set(LISTED) <= public


GUARANTEES = (SITE / "guarantees.md").read_text()
SECTIONS = re.split(r"^## ", GUARANTEES, flags=re.MULTILINE)[1:]
LINKS = sorted(set(re.findall(r"\]\((\.\./[^)#\s]+)#(\w+)\)", GUARANTEES)))


@pytest.mark.parametrize(("path", "test"), LINKS, ids=[f"{path}#{test}" for path, test in LINKS])
def test_a_guarantee_leads_to_a_test_that_exists(path: str, test: str) -> None:
    file = (SITE / path).resolve()
    assert file.is_file(), f"guarantees.md links to {path}, and there is no such file"
    assert _is_a_test(file, test), f"{path} has no test {test}; link to one that it has"


def _is_a_test(file: Path, name: str) -> bool:
    text = file.read_text()
    if file.suffix == ".py":
        return name.startswith("test_") and f"\ndef {name}(" in text
    # Between the attribute and the function may be other attributes and comments.
    marked = rf"#\[test\]\n(?:\s*(?:#\[|//).*\n)*\s*fn {name}\("
    return re.search(marked, text) is not None


@pytest.mark.parametrize("section", SECTIONS, ids=[text.split("\n", 1)[0] for text in SECTIONS])
def test_every_guarantee_has_a_test(section: str) -> None:
    assert re.search(r"\]\(\.\./[^)#\s]+#\w+\)", section), "it links to no test"


def test_every_invariant_is_there() -> None:
    named = set(map(int, re.findall(r"\binvariants?\s+(\d+)", GUARANTEES)))
    named |= set(map(int, re.findall(r"\binvariants \d+ and\s+(\d+)", GUARANTEES)))
    architecture = (REPOSITORY / "ARCHITECTURE.md").read_text()
    chapter = architecture.split("## Invariants", 1)[1].split("\n## ", 1)[0]
    assert named == set(map(int, re.findall(r"^(\d+)\. ", chapter, re.MULTILINE)))


def test_errors_that_are_explained_exist() -> None:
    page = (SITE / "troubleshooting.md").read_text()
    symptoms = [line.split(" | ")[0] for line in page.splitlines() if line.startswith("| `")]
    named = {name for text in symptoms for name in re.findall(r"`([A-Z]\w+)[:`]", text)}
    assert len(named) > 15, "the table is not read right"
    known = [builtins, shm_py, share]
    missing = [name for name in named if not any(hasattr(module, name) for module in known)]
    assert missing == [], "no such exceptions"
