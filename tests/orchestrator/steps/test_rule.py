"""How steps end: what goes together, and one clear line for what does not."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator import ChainTask, ConfigError, DatasetTask, StepRule, TextTask
from orchestrator.steps.rule import StepEnds

DATASET: dict[str, Any] = {"name": "d", "path": "p", "prompt_field": "q", "answer_field": "a"}


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"mode": "tokns"}, "task.step.mode=tokns: must be one of .* did you mean 'tokens'"),
        ({"mode": "tokens"}, "task.step.tokens=null: must be given with task.step.mode=tokens"),
        ({"mode": "hybrid"}, "task.step.tokens=null: must be given with task.step.mode=hybrid"),
        ({"mode": "tokens", "tokens": 3}, "task.step.tokens=3: must be a whole number of 4 or more, or null"),
        ({"tokens": 64}, "task.step.tokens=64: goes with task.step.mode=tokens or hybrid; it is delimiter"),
        (
            {"mode": "tokens", "tokens": 8, "markers": ["Wait"]},
            r"task.step.markers=\['Wait'\]: goes with task.step.mode=markers or hybrid; it is tokens",
        ),
        ({"mode": "markers"}, "task.step.markers=null: must be given with task.step.mode=markers"),
        ({"mode": "markers", "markers": []}, r"task.step.markers=\[\]: must hold one text or more"),
        ({"mode": "markers", "markers": ["a", ""]}, "task.step.markers='': must be texts of 1 to 200"),
        ({"mode": "markers", "markers": "a*"}, r"task.step.markers='a\*': must not match an empty text"),
        ({"mode": "markers", "markers": "(a"}, r"task.step.markers='\(a': is not a regular expression"),
        ({"mode": "markers", "markers": "(a+)+b"}, r"task.step.markers='\(a\+\)\+b': must have at most 1000"),
        ({"mode": "markers", "markers": "a{300}"}, r"task.step.markers='a\{300\}': must match at most 200"),
        ({"mode": "markers", "markers": ["\\nWait"]}, "holds a backslash and an n"),
        ({"mode": "markers", "markers": ["so, Wait", "Wait", "o,"]}, "'so, Wait': holds the marker 'o,'"),
    ],
)
def test_what_does_not_go_together_is_one_line(knobs: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=f"^{line}" if line.startswith("task") else line):
        StepRule(**knobs)


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"markers": ["\n"]}, r"task.step.markers='\\n': begins task.delimiter='\\n\\n'"),
        ({"markers": ["\n\nWait"]}, r"task.step.markers='\\n\\nWait': holds task.delimiter='\\n\\n'"),
    ],
)
def test_a_marker_that_the_delimiter_spoils_is_refused(knobs: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        DatasetTask(**DATASET, step=StepRule("hybrid", 64, **knobs))
    DatasetTask(**DATASET, step=StepRule("markers", **knobs))


def test_a_marker_within_the_answer_marker_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"task.step.markers='box': is in task.answer_marker="):
        TextTask(answer_marker="\\boxed", step=StepRule("markers", markers=["box"]))


def test_every_task_takes_a_rule() -> None:
    rule = StepRule("hybrid", 8, "b+")
    assert ChainTask("test", rule).step.ends("\n") == StepEnds("\n", "b+", 8)
    assert TextTask(step=rule).step is rule
    assert StepRule("markers", markers=["b", "a", "b"]).ends("\n") == StepEnds(None, ("b", "a"), None)
    assert ChainTask().step.ends("\n") == StepEnds("\n")
