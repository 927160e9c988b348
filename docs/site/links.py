"""Hooks of `make docs`: pages that lie outside of docs/, and the links between them and the pages in it."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "LICENSE.txt",
}
PUBLIC = ("orchestrator", "strategies", "actors")
_LINK = re.compile(r"(\]\()([^)\s#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the repository's top level, and the reference of the public names."""
    for name, uri in OUTSIDE.items():
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, uri, content=_LINK.sub(_from_the_top, text)))
    files.append(File.generated(config, "reference.md", content=reference()))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Lead the links that leave docs/ to the pages that were added."""
    return _LINK.sub(lambda link: link[1] + OUTSIDE.get(link[2].removeprefix("../"), link[2]), markdown)


def reference() -> str:
    """Return a page that names each public name once; mkdocstrings fills in signatures and docstrings."""
    parts = ["# Reference\n\nThe public names. What is not listed here may change without notice.\n"]
    for package in PUBLIC:
        parts.append(f"## `{package}`\n")
        parts += [f"::: {path_of(package, name)}\n" for name in importlib.import_module(package).__all__]
    return "\n".join(parts)


def path_of(package: str, name: str) -> str:
    """Return where a public name is defined, which a reader of the lazy packages' source cannot see."""
    value = getattr(importlib.import_module(package), name)
    return f"{getattr(value, '__module__', package)}.{getattr(value, '__qualname__', name)}"


def _from_the_top(link: re.Match[str]) -> str:
    path = link[2]
    return link[1] + OUTSIDE.get(path, path.removeprefix("docs/"))
