"""Labels and preferences of a small tree, whose shares are counted by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.exchange import nemo_skills, trl_preference, trl_prm
from orchestrator.exchange.rows import Options
from tests.orchestrator.exchange.made import question, sample

# a - b (right), a - c (wrong), a - c (wrong), d - e (wrong): rewards of a 0.8, b 0.9, c 0.3, d 0.4, e 0.6.
FOUND = question(
    "x",
    sample("a\nb\n", [0.8, 0.9], correct=True),
    sample("a\nc\n", [0.8, 0.3], correct=False),
    sample("a\nc\n", [0.8, 0.3], correct=False),
    sample("d\ne\n", [0.4, 0.6], correct=False),
)


def written(module: Any, folder: Path, **options: Any) -> list[dict[str, Any]]:
    (path,) = module.write([FOUND], folder / "a.jsonl", Options(**options))
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("options", "labels"),
    [
        ({}, [[True, True], [True, False], [True, False], [False, True]]),
        ({"threshold": 0.85}, [[False, True], [False, False], [False, False], [False, False]]),
        # A third of the samples that pass through a are right, all through b, none elsewhere.
        ({"labels": "descendants"}, [[True, True], [True, False], [True, False], [False, False]]),
        ({"labels": "descendants", "threshold": 0.5}, [[False, True], *[[False, False]] * 3]),
    ],
)
def test_labels(tmp_path: Path, options: dict[str, Any], labels: list[list[bool]]) -> None:
    rows = written(trl_prm, tmp_path, **options)
    assert [row["labels"] for row in rows] == labels
    assert rows[0] == {"prompt": "What is x?", "completions": ["a", "b"], "labels": labels[0]}


def test_siblings(tmp_path: Path) -> None:
    first, second = written(trl_preference, tmp_path)
    assert (first["prompt"], first["chosen"], first["rejected"]) == ("What is x?", "a\n", "d\n")
    assert (second["prompt"], second["chosen"], second["rejected"]) == ("What is x?\n\na\n", "b\n", "c\n")
    assert second["score_chosen"] == pytest.approx(0.9) and second["score_rejected"] == pytest.approx(0.3)


def test_siblings_by_descendants(tmp_path: Path) -> None:
    first, second = written(trl_preference, tmp_path, labels="descendants")
    assert (first["score_chosen"], first["score_rejected"]) == (pytest.approx(1 / 3), 0.0)
    assert (second["chosen"], second["score_chosen"]) == ("b\n", 1.0)


def test_whole_answers(tmp_path: Path) -> None:
    (pair,) = written(trl_preference, tmp_path, pairs="answers")
    assert (pair["chosen"], pair["rejected"]) == ("a\nb\n", "a\nc\n")


def test_without_rewards_there_are_no_labels_but_those_of_descendants(tmp_path: Path) -> None:
    plain = [question("x", sample("a\nb", correct=True), sample("a\nc", correct=False))]
    path = tmp_path / "a.jsonl"
    for module in (trl_prm, trl_preference):
        with pytest.raises(ConfigError, match="descendants"):
            module.write(plain, path, Options())
    with pytest.raises(ConfigError, match="has no samples"):
        nemo_skills.write([question("x")], tmp_path / "folder", Options())
    assert list(tmp_path.iterdir()) == []
    trl_prm.write(plain, path, Options(labels="descendants"))
    assert len(path.read_text().splitlines()) == 2
