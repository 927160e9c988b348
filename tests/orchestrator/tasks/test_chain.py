"""Arithmetic chains: right, disjoint between splits, fixed by split and index alone."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.tasks.chain import (
    NUM_STEPS,
    ChainTask,
    draw_chain,
    draw_chains,
    parse_question,
    read_value,
)
from orchestrator.tasks.drawn import BUCKETS
from orchestrator.tasks.draws import bucket
from orchestrator.tasks.operations import MAX_VALUE


def test_a_problem_never_changes() -> None:
    first = next(ChainTask().problems(0, 1))
    assert first.question == "94 a/2 b-36 c*2 d-20 e-1 f+70 g+8 h+15"
    assert first.answer == "94"
    assert "".join(draw_chain("test", 0).lines) == (
        "a94/2=47\nb47-36=11\nc11*2=22\nd22-20=2\ne2-1=1\nf1+70=71\ng71+8=79\nh79+15=94\n#94\n"
    )


@settings(max_examples=50, deadline=None)
@given(split=st.sampled_from(["train", "dev", "test"]), index=st.integers(0, 10**9))
def test_every_value_is_in_range_and_every_division_exact(split: str, index: int) -> None:
    chain = draw_chain(split, index)  # type: ignore[arg-type]
    assert len(chain.operations) == NUM_STEPS
    value = chain.start
    for operation, result in zip(chain.operations, chain.values, strict=True):
        expected = eval(f"{value}{operation.symbol}{operation.operand}")  # the independent reading
        assert expected == result
        assert 1 <= result <= MAX_VALUE
        value = result
    assert parse_question(chain.question) == chain


@pytest.mark.heavy
def test_splits_are_disjoint() -> None:
    questions = {s: {c.question for c in draw_chains(s, 0, 1_500)} for s in ("train", "dev", "test")}  # type: ignore[arg-type]
    for a, b in itertools.combinations(questions.values(), 2):
        assert not a & b
    assert all(len(q) > 1_490 for q in questions.values())


@pytest.mark.heavy
def test_a_question_belongs_to_one_split_alone() -> None:
    """Disjoint by construction: the hash of a question decides, not the chance that two draws differ."""
    assert sorted(b for buckets in BUCKETS.values() for b in buckets) == list(range(20))
    for split in BUCKETS:
        for chain in draw_chains(split, 0, 300):
            assert [s for s in BUCKETS if bucket(chain.question) in BUCKETS[s]] == [split]


@pytest.mark.heavy
def test_training_draws_are_never_held_out_problems() -> None:
    held_out = {c.question for s in ("dev", "test") for c in draw_chains(s, 0, 300)}  # type: ignore[arg-type]
    for num_steps in range(2, NUM_STEPS + 1):
        assert not held_out & {c.question for c in draw_chains("train", 0, 300, num_steps)}


def test_task_range_and_reading() -> None:
    task = ChainTask()
    ids = [p.id for p in task.problems(9_998, 10)]
    assert ids == ["chain-test-9998", "chain-test-9999"]
    assert task.extract("a1+1=2\n#2\n") == "2"
    assert task.extract("a1+1=2\n#002\n") == "2"
    assert task.extract("a1+1=2\n") is None
    assert task.extract("#\n") is None
    assert task.extract("#2x\n") is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("#1\n#2\n", "2"), ("#2\n#\n", "2"), ("#2#\n", "2"), ("##2", "2"), (" # 2 \r\n", "2"), ("#2\nx", "2"),
        ("#-2\n", "-2"), ("#+02\n", "2"), ("#-0\n", "0"), ("#" + "7" * 5000, "7" * 5000), ("#000\n", "0"),
        ("#2 3\n", None), ("#\u0663\n", None), ("#2.5\n", None), ("#\u00b2", None), ("#--2", None),
    ],
)  # fmt: skip
def test_the_last_number_that_is_stated_counts(text: str, answer: str | None) -> None:
    assert ChainTask().extract(text) == answer


@pytest.mark.parametrize(
    ("line", "value"), [("a5+3=8\n", 8), ("#8\n", 8), ("a5+3", None), ("a5=-1\n", None), ("", None)]
)
def test_read_value(line: str, value: int | None) -> None:
    assert read_value(line) == value


async def test_grading() -> None:
    task = ChainTask()
    assert await task.grade("7", "7")
    assert not await task.grade("8", "7")
    assert not await task.grade(None, "7")
    assert await task.keys(["7", None]) == ["7", None]


@pytest.mark.parametrize("split", ["tset", "", 1])
def test_a_bad_split_names_the_key(split: object) -> None:
    with pytest.raises(ConfigError, match=rf"^task\.split={split}: must be one of train, dev, test"):
        ChainTask(split)  # type: ignore[arg-type]
