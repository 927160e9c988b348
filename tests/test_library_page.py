"""docs/library.md and the Python of the README: each block runs, and prints what the page says."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import re
from pathlib import Path
from typing import Any

import pytest

from tests.test_house import ROOT

pytestmark = pytest.mark.heavy  # the shipped models are run with torch

_BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str | None]]:
    """Each block of Python of a page, with the output that is shown below it."""
    return [
        (code, shown or None) for code, shown in _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    ]


async def run(code: str, names: dict[str, Any]) -> str:
    """Run a block as a cell of a notebook; return what it printed."""
    printed = io.StringIO()
    compiled = compile(code, "<page>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    with contextlib.redirect_stdout(printed):
        value = eval(compiled, names)
        if inspect.isawaitable(value):
            await value
    return printed.getvalue()


@pytest.mark.parametrize("page", ["docs/library.md", "README.md"])
def test_each_block_prints_what_the_page_says(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    found = blocks(page)

    async def run_all() -> list[str]:
        return [await run(code, names) for code, _ in found]

    printed = asyncio.run(run_all())
    assert found
    assert [
        (out, shown) for out, (_, shown) in zip(printed, found, strict=True) if shown not in (None, out)
    ] == []
    assert any(shown is not None for _, shown in found)
