"""Puts the files that pages link to, outside of docs/, into the site.

A page links to a test as `[name](../tests/it/crash.rs#name_of_the_test)`, which works in the repository.
Here each such file becomes a page below `source/` with a heading before each function that is linked, and
the links lead there. A link to what does not exist ends the build.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

#: `](path)` or `](path#function)` where the path leaves the folder of the pages.
LINK = re.compile(r"\]\((\.\./[^)#\s]+)(?:#(\w+))?\)")
LANGUAGES = {".rs": "rust", ".py": "python", ".toml": "toml"}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    wanted: dict[str, set[str]] = {}
    for file in files.documentation_pages():
        for path, function in _links(file.content_string, file.src_uri):
            wanted.setdefault(path, set()).update([function] if function else [])
    for path, functions in sorted(wanted.items()):
        text = _page(_root(config) / path, path, functions)
        # Reached by links, not by the menu.
        page = File.generated(
            config, _place(path), content=text, inclusion=InclusionLevel.NOT_IN_NAV
        )
        files.append(page)
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    here = page.file.src_uri
    if here.startswith("source/"):
        return markdown

    def inside(found: re.Match[str]) -> str:
        path = _resolve(found[1], here)
        if path is None:
            return found[0]
        target = posixpath.relpath(_place(path), posixpath.dirname(here) or ".")
        return f"]({target}#{found[2]})" if found[2] else f"]({target})"

    return LINK.sub(inside, markdown)


def _links(text: str, here: str) -> list[tuple[str, str | None]]:
    found = [(_resolve(link[1], here), link[2]) for link in LINK.finditer(text)]
    return [(path, function) for path, function in found if path is not None]


def _resolve(link: str, here: str) -> str | None:
    """Where in the repository a link of a page leads; None for one that stays among the pages."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(here), link))
    return None if path.startswith("docs/") else path


def _place(path: str) -> str:
    return f"source/{path if path.endswith('.md') else path + '.md'}"


def _root(config: MkDocsConfig) -> Path:
    return Path(config.config_file_path).parent


def _page(file: Path, path: str, functions: set[str]) -> str:
    if not file.is_file():
        raise PluginError(f"a page links to {path}, and there is no such file")
    text = file.read_text()
    # Who searches looks for what is written about the code.
    head = f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n"
    if path.endswith(".md"):
        # Its own links are for the repository; what it says is quoted as it stands.
        return f"{head}\n{_fenced(text, 'markdown')}\n"
    language = LANGUAGES.get(file.suffix, "text")
    parts = [head]
    done = 0
    for line, function in sorted((_line_of(text, name, path), name) for name in functions):
        parts.append(_fenced(_lines(text, done, line), language))
        parts.append(f"## `{function}` {{#{function}}}\n")
        done = line
    parts.append(_fenced(_lines(text, done, None), language))
    return "\n".join(part for part in parts if part)


def _line_of(text: str, function: str, path: str) -> int:
    """The number, from 0, of the first line that belongs to a function: of its attributes and comments."""
    lines = text.splitlines()
    begins = re.compile(rf"\s*(?:pub )?(?:async )?(?:fn|def) {function}\b")
    try:
        line = next(number for number, text in enumerate(lines) if begins.match(text))
    except StopIteration:
        raise PluginError(f"a page links to {function} in {path}, which has no such function") from None
    while line > 0 and re.match(r"\s*(#\[|///|@)", lines[line - 1]):
        line -= 1
    return line


def _lines(text: str, first: int, last: int | None) -> str:
    return "\n".join(text.splitlines()[first:last]).strip("\n")


def _fenced(text: str, language: str) -> str:
    return f"``````{language}\n{text}\n``````\n" if text else ""
