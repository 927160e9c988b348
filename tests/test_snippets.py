"""Each block of Python in the documents is run by a test: here, or in the test that the table names."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from orchestrator.testing import World
from orchestrator.types import Sampling, Trajectory
from tests.named import PAGES
from tests.test_house import ROOT

RUN_BY = {
    "CONTRIBUTING.md": "tests/orchestrator/testing/test_guides.py",
    "README.md": "tests/test_library_page.py",
    "docs/library.md": "tests/test_library_page.py",
    "docs/serving.md": "tests/orchestrator/serving/test_documented_examples.py",
}
HERE = {"docs/adaptive.md", "docs/strategies.md"}
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


async def run(page: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run the one block of a page, which may await, with these names; return what it has named."""
    (block,) = _BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))
    value = eval(compile(block, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)
    if inspect.isawaitable(value):
        await value
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_is_run(page: Path) -> None:
    name = str(page.relative_to(ROOT))
    has_blocks = "```python" in page.read_text(encoding="utf-8")
    assert has_blocks == (name in RUN_BY or name in HERE)
    if name in RUN_BY:
        assert (ROOT / RUN_BY[name]).is_file()


async def test_a_strategy_takes_a_function_for_a_knob() -> None:
    names = await run("docs/strategies.md", {})
    solution = await World().solve(names["strategy"], seed=1)
    assert len(solution.trajectories) == 8
    assert len({t.text for t in solution.trajectories}) <= 4  # of the better half two copies each


async def test_samples_of_a_list_are_those_of_a_larger_one() -> None:
    starts, params = [Trajectory()] * 8, Sampling(max_tokens=14)
    names = {"session": World().session(seed=3), "starts": starts, "params": params}
    drawn = (await run("docs/adaptive.md", names))["drawn"]
    whole = await World().session(seed=3).generate([Trajectory()] * 16, params, to_end=True)
    assert [t.text for t in drawn] == [t.text for t in whole[8:]]
    assert len({t.text for t in whole}) > 1
