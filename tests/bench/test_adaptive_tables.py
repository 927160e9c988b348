"""docs/adaptive.md has the numbers of docs/data/adaptive.json, and the choice of a level is what it says."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from orchestrator.allocation.rounds import Rounds
from tests.bench.adaptive_arrays import Answered, Sample, at_once
from tests.bench.adaptive_rounds import Setting, rounds, uniform_at_tokens
from tests.bench.adaptive_rules import Rule, choose
from tests.bench.adaptive_samples import List
from tests.bench.adaptive_tables import PAGES, written
from tests.test_house import ROOT

DOCS = ROOT / "docs"


@pytest.mark.parametrize(("page", "regions"), PAGES.items())
def test_the_page_has_the_numbers_of_the_file(page: str, regions: Any) -> None:
    document = (DOCS / page).read_text(encoding="utf-8")
    data = json.loads((DOCS / "data" / "adaptive.json").read_text(encoding="utf-8"))
    assert written(document, data, regions) == document


def answered(right: list[int], tokens: float) -> Answered:
    values = np.asarray(right, dtype=float)
    return Answered(values, values, np.full(len(right), tokens), values, values)


class Given(Rule):
    """A rule whose outcome is known."""

    def on(self, samples: Any) -> list[Answered]:
        return [samples[self.level]]


def test_the_level_of_fewest_tokens_that_loses_nothing_is_chosen() -> None:
    dev: Any = {"a": answered([1, 0, 0], 10), "b": answered([1, 1, 0], 20), "c": answered([1, 1, 0], 30)}
    rules = [Given("threshold", level, at_once) for level in "cba"]
    assert [r.level for r in choose(rules, dev, {False: [answered([1, 1, 0], 40)]})] == ["b"]
    # None reaches all of N: the most accurate one, and of those the first.
    assert [r.level for r in choose(rules, dev, {False: [answered([1, 1, 1], 40)]})] == ["c"]


def sample(log_odds: float, right: bool, tokens: int) -> Sample:
    return Sample(True, right, str(right), (log_odds,), (tokens,))


def listed() -> List:
    """Three problems of four samples: solved at once, by the last sample alone, and never."""
    late = [*(sample(-x, False, 2) for x in (1.0, 2.0, 3.0)), sample(6.0, True, 3)]
    found = List(None, 4)  # type: ignore[arg-type]
    found.__dict__["problems"] = [[sample(5.0, True, 2)] * 4, late, [sample(-4.0, False, 1)] * 4]
    return found


def test_rounds_grant_where_the_greatest_reward_is_least() -> None:
    """Two each of 3 x 3: three more samples, one a round, to the third, the second and the third problem."""
    found = rounds(listed(), 3, Setting(first=2, most=4, share=0.1))
    assert found.samples.tolist() == [2, 3, 4]
    assert found.right.tolist() == [1, 0, 0]
    assert found.tokens.tolist() == [4, 6, 4]
    assert found.sequential.tolist() == [2, 4, 3]
    bounded = rounds(listed(), 3, Setting(first=2, most=3, share=0.1))
    assert bounded.samples.tolist() == [3, 3, 3]
    assert (Setting().first, Setting().share) == (Rounds().first, Rounds().share)


def test_uniform_is_mixed_at_equal_tokens() -> None:
    """N = 3 costs 5 tokens a problem and N = 4 costs 7; the second problem is solved by the fourth."""
    at = uniform_at_tokens(listed(), 5.5)
    assert np.allclose(at, [1, 0.25, 0])
