"""CONTRIBUTING.md as code: its blocks, and the tests that they hold."""

from __future__ import annotations

import asyncio
import inspect
import re
import textwrap
from pathlib import Path
from types import ModuleType
from typing import Any

GUIDE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()


def blocks(language: str, title: str) -> list[str]:
    """The blocks of code of one language in a section."""
    (section,) = re.findall(rf"^## {title}$(.*?)(?=^## )", GUIDE, flags=re.MULTILINE | re.DOTALL)
    return re.findall(rf"^```{language}\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)


def example_of(point: type[Any]) -> str:
    """The code after ``Example::`` in a docstring."""
    _, found, code = inspect.cleandoc(point.__doc__ or "").partition("Example::\n")
    assert found, f"{point.__name__} has no example"
    return textwrap.dedent(code)


def run_in(module: ModuleType, code: str) -> None:
    exec(compile(code, module.__name__, "exec"), vars(module))


def run_tests(code: str) -> None:
    """Run the tests that a block of code holds."""
    module = ModuleType("tests_of_the_guide")
    run_in(module, code)
    tests = [f for name, f in vars(module).items() if name.startswith("test_")]
    assert tests
    for test in tests:
        asyncio.run(test())
