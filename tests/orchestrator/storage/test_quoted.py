"""The figures that papers quote, against every draw of k samples and against votes counted by hand."""

from __future__ import annotations

import itertools
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.storage.quoted import Quoted, powers_of_two


def sample(answer: str | None, group: int, *, right: bool = False, **fields: Any) -> dict[str, Any]:
    return {"answer": answer, "group": group, "correct": right, "reward": 0.5, "finished": True, **fields}


def line(*samples: dict[str, Any], answer_index: int | None = 0) -> dict[str, Any]:
    """A result line: the samples in the search's order, the answer's first."""
    order = sorted(range(len(samples)), key=lambda i: i != answer_index)
    return {"candidates": [samples[i] for i in order], "answer_index": answer_index}


def quoted(*lines: dict[str, Any]) -> dict[str, float]:
    figures = Quoted()
    for each in lines:
        figures.add(each)
    return figures.summary().get("quoted", {})


@given(st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=4))
def test_pass_at_k_is_the_mean_over_every_draw(problems: list[list[bool]]) -> None:
    lines = [line(*(sample(str(i), i, right=right) for i, right in enumerate(row))) for row in problems]
    figures = quoted(*lines)
    for k in (1, 2, 4, 6):
        drawn = [fmean(any(draw) for draw in itertools.combinations(row, k)) for row in problems]
        assert figures[f"pass@{k}"] == pytest.approx(fmean(drawn))
    assert figures["pass@1[avg-of-6]"] == pytest.approx(fmean(map(fmean, problems)))


@pytest.mark.parametrize(("most", "ks"), [(1, [1]), (4, [1, 2, 4]), (6, [1, 2, 4, 6])])
def test_k_is_every_power_of_two_and_all(most: int, ks: list[int]) -> None:
    assert list(powers_of_two(most)) == ks


def votes(*samples: dict[str, Any], **fields: Any) -> tuple[float, ...]:
    figures = quoted(line(*samples, **fields))
    return tuple(figures[f"{name}@{len(samples)}"] for name in ("majority", "weighted", "naive"))


def test_each_rule_has_its_own_answer() -> None:
    groups, rewards = (0, 0, 0, 3, 4, 4), (0.1, 0.1, 0.0, 0.55, 0.3, 0.4)
    for group, right in ((0, (1.0, 0.0, 0.0)), (4, (0.0, 1.0, 0.0)), (3, (0.0, 0.0, 1.0))):
        samples = [
            sample(str(g), g, reward=r, right=g == group) for g, r in zip(groups, rewards, strict=True)
        ]
        assert votes(*samples, answer_index=4) == right


def test_samples_without_an_answer_do_not_vote_and_the_first_wins_a_tie() -> None:
    silent = [sample(None, i, reward=0.0) for i in range(2)]
    assert votes(*silent, sample("1", 2, right=True), sample("2", 3))[0] == 1.0
    assert votes(*silent, sample("1", 2), sample("2", 3, right=True))[0] == 0.0
    assert votes(*silent) == (0.0, 0.0, 0.0)


def test_an_unfinished_sample_is_the_best_only_where_none_finished() -> None:
    cut_off = sample(None, 0, reward=0.9, finished=False)
    assert votes(cut_off, sample("1", 1, right=True, reward=0.2))[2] == 1.0


def test_a_problem_without_samples_counts_as_wrong() -> None:
    solved = line(*[sample("1", 0, right=True)] * 4)
    failed = {"candidates": [], "answer_index": None}
    assert set(quoted(solved, failed).values()) == {0.5}


def test_without_rewards_only_the_majority_votes() -> None:
    figures = quoted(line(sample("1", 0, right=True, reward=None), sample("2", 1, reward=None)))
    assert set(figures) == {"pass@1", "pass@2", "pass@1[avg-of-2]", "majority@2"}


def test_a_search_is_not_quoted() -> None:
    found = sample("1", 0, right=True)
    del found["group"]
    assert quoted(line(found)) == {}
    assert quoted(line(sample("1", 0)), line(found)) == {}
