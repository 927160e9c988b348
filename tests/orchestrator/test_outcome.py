"""A result as a person sees it: one line, and HTML with a drawing of the search."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from orchestrator import (
    Finish,
    NodeRecord,
    ProblemResult,
    Step,
    StepRecord,
    TextEngine,
    TextTask,
    TextVerifier,
    solve,
)
from orchestrator.drawing import MAX_CANDIDATES, MAX_NODES, drawing_of
from orchestrator.errors import EngineError
from orchestrator.types import Trajectory
from strategies import AStar, ParticleFilter, SelfConsistency

SVG = "{http://www.w3.org/2000/svg}"


def propose(question: str, written: str, *, seed: int, params: Any) -> str:
    return f"#{seed % 3}" if written.count("\n") >= 3 else f"<b>{seed % 5}&"


def reward(question: str, steps: Sequence[str]) -> float:
    return (1 + len(steps)) / 7


async def solved(strategy: Any) -> ProblemResult:
    engine, verifier = TextEngine(propose, by_steps=True), TextVerifier(reward)
    task = TextTask(answer_marker="#")
    return await solve("1 < 2?", strategy=strategy, engine=engine, verifier=verifier, task=task)


async def test_one_line_says_the_answer_and_the_cost() -> None:
    result = replace(await solved(SelfConsistency(3)), seconds=1.25)
    shown = f"<ProblemResult answer={result.answer!r}; 3 candidates, "
    assert repr(result).startswith(shown)
    assert repr(result).endswith(" tokens, 0 reward calls, 1.2 s>")
    failed = replace(result, error=EngineError("two\nlines"), has_answer=False, candidates=())
    assert repr(failed).startswith("<ProblemResult error='EngineError: two lines'; 0 candidates")
    assert "stopped by limits.seconds" in repr(replace(result, stopped_by="seconds"))
    assert (failed.text, failed.answer) == ("", None)
    long = replace(failed, error=EngineError("x" * 10_000))
    assert len(repr(long)) < 400
    assert "…; 0 candidates" in repr(long)


async def test_html_is_well_formed_and_escapes_what_a_model_wrote() -> None:
    for strategy in (ParticleFilter(4), AStar(2, max_steps=5, branching=2), SelfConsistency(30)):
        result = await solved(strategy)
        page = ET.fromstring(result._repr_html_().replace("&middot;", "-").replace("<br>", "<br/>"))
        text = "".join(page.itertext())
        assert "1 < 2?" in text
        assert "<b>" in text
        assert [element.tag for element in page.iter() if element.tag in ("b", "script", "img")] == ["b"]
        assert len(page.findall("details")) == min(len(result.candidates), MAX_CANDIDATES)
        assert (page.find(f"{SVG}svg") is None) == isinstance(strategy, SelfConsistency)
    assert "and 10 more candidates" in text


def test_a_population_is_a_column_a_step() -> None:
    records = [StepRecord(i, 1.0, 0.0, 1.0, 3, (0, 0, 2), (0.5, 0.3, 0.2)) for i in range(4)]
    drawing = ET.fromstring(drawing_of(records, None))
    assert len(drawing.findall(f"{SVG}line")) == 4 * 3
    assert len(drawing.findall(f"{SVG}circle")) == 5 * 3
    joined = [(line.get("y1"), line.get("y2")) for line in drawing.findall(f"{SVG}line")[:3]]
    assert joined[0][0] == joined[1][0] != joined[2][0]


def node(number: int, parent: int | None, text: str, closed: int | None = 0) -> NodeRecord:
    return NodeRecord(number, parent, text, 0.5, 1.0, 2.0, closed)


def test_the_path_of_the_answer_is_bold() -> None:
    nodes = [node(0, None, ""), node(1, 0, "a"), node(2, 0, "b"), node(3, 1, "c"), node(4, 1, "d", None)]
    chosen = Trajectory((Step("a", (1,)), Step("d", (1,), finish=Finish.EOS)))
    drawing = ET.fromstring(drawing_of(nodes, chosen))
    widths = [line.get("stroke-width") for line in drawing.findall(f"{SVG}line")]
    assert widths == ["2.5", "0.8", "0.8", "2.5"]
    assert len(drawing.findall(f"{SVG}circle")) == 5


def test_a_tree_may_be_deep_and_large() -> None:
    nodes = [node(i, i - 1 if i else None, "x") for i in range(3000)]
    drawing = drawing_of(nodes, None)
    assert drawing.count("<circle") == MAX_NODES
    assert f"and {3000 - MAX_NODES} more nodes" in drawing
    assert drawing_of([], None) == ""
