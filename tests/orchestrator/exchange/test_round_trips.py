"""What a format holds survives writing and reading, for any questions, samples and rewards."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.exchange.formats import FORMATS
from orchestrator.exchange.records import Question, Sample, fitted, split, value_of
from orchestrator.exchange.rows import Options
from orchestrator.types import Reward
from tests.orchestrator.exchange.made import question, sample

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
FINITE = st.floats(-30, 30)
# What the command line hands over, too.
OPTIONS = Options(delimiter="\n")
NAMES = {"search_and_learn": "a.jsonl", "nemo_skills": "a", "lm_eval": "a.jsonl", "inspect": "a.json"}


@st.composite
def samples(draw: st.DrawFn, is_scored: bool) -> Sample:
    steps = tuple(split(draw(TEXT) + draw(st.sampled_from(["", "\n"])) + draw(TEXT), "\n"))
    rewards = tuple(Reward(draw(FINITE)) if is_scored else None for _ in steps)
    answer = draw(st.none() | TEXT.filter(lambda text: text != "[invalid]"))
    fields: dict[str, Any] = {"num_tokens": draw(st.integers(0, 99)), "finished": draw(st.booleans())}
    return Sample(steps, rewards, answer=answer, has_answer=True, correct=draw(st.booleans()), **fields)


@st.composite
def questions(draw: st.DrawFn) -> list[Question]:
    is_scored = draw(st.booleans())
    own_id = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,8}", fullmatch=True)
    ids = draw(st.lists(own_id, min_size=1, max_size=3, unique=True))
    one_or_more = st.lists(samples(is_scored), min_size=1, max_size=4)
    return [
        Question(own_id, f"{index} {draw(TEXT)}", draw(TEXT).strip(), tuple(draw(one_or_more)))
        for index, own_id in enumerate(ids)
    ]


def round_trip(
    found: list[Question], name: str, file: str = "", options: Options = OPTIONS
) -> list[Question]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / (file or NAMES[name])
        FORMATS[name].write(found, path, options)
        return FORMATS[name].read(path, options)


HELD = {
    "search_and_learn": ("text", "values", "num_tokens"),
    "nemo_skills": ("text", "num_tokens", "answer", "correct"),
    "lm_eval": ("text", "answer"),
    "inspect": ("text", "values", "num_tokens", "answer", "correct", "finished"),
}


@pytest.mark.parametrize("name", HELD)
@settings(max_examples=15)
@given(found=questions())
def test_nothing_is_lost_that_the_format_holds(name: str, found: list[Question]) -> None:
    again = round_trip(found, name)
    assert list(map(asked, again)) == list(map(asked, found))
    for before, after in zip(found, again, strict=True):
        assert len(after.samples) == len(before.samples)
        for old, new in zip(before.samples, after.samples, strict=True):
            for field in HELD[name]:
                assert_same(getattr(old, field), getattr(new, field))
            if "values" in HELD[name] and len(old.values) > 1:  # a single one may be of the whole text
                assert new.steps == old.steps


def asked(found: Question) -> tuple[str, str, str]:
    return found.id, found.question, found.reference


def assert_same(old: Any, new: Any) -> None:
    if isinstance(old, list):
        # A value in [0, 1] keeps its last digits, but not its log-odds beyond them.
        assert new == pytest.approx(old, rel=1e-9, abs=1e-300)
    else:
        assert new == old


@settings(max_examples=15)
@given(found=questions())
def test_an_archive_holds_what_the_log_holds(found: list[Question]) -> None:
    in_json, in_archive = round_trip(found, "inspect"), round_trip(found, "inspect", "a.eval")
    assert [(asked(q), q.samples) for q in in_archive] == [(asked(q), q.samples) for q in in_json]


def test_labels_are_rewards_and_steps_keep_their_ends() -> None:
    scored = sample("a\nb\nc", [0.9, 0.2, 0.5], correct=True)
    (again,) = round_trip([question("x", scored)], "trl_prm", "a.jsonl")
    (read,) = again.samples
    assert (again.question, read.steps) == ("What is x?", ("a\n", "b\n", "c"))
    assert read.values == [1.0, 0.0, 0.0]


def test_a_pair_is_two_samples_with_their_rewards() -> None:
    found = question("x", sample("good", [0.75]), sample("bad", [0.25]), sample("so-so", [0.5]))
    options = Options(delimiter="\n", pairs="answers")
    (again,) = round_trip([found], "trl_preference", "a.jsonl", options)
    assert [(s.text, s.values) for s in again.samples] == [
        ("good", pytest.approx([0.75])),
        ("bad", pytest.approx([0.25])),
    ]


@given(st.integers(0, 10**12).map(lambda digits: digits / 10**12))
def test_a_value_keeps_twelve_digits(value: float) -> None:
    assert value_of(Reward.from_value(value)) == value


@given(TEXT, st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_a_text_is_fitted_to_its_rewards(text: str, values: list[float]) -> None:
    steps, rewards = fitted(text, values, "\n", whole=False)
    assert "".join(steps) == text
    given = [reward.value for reward in rewards if reward is not None]
    assert given == pytest.approx(values, abs=1e-12)
