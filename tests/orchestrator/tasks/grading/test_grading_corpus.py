"""Which answers are the same, over a corpus that was made by hand, and over the rows of the benchmarks."""

from __future__ import annotations

from collections import Counter
from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.tasks.grading.forms import same
from orchestrator.tasks.grading.graders import MathGrader
from orchestrator.tasks.grading.pool import GradingPool
from orchestrator.tasks.grading.reader import read_form
from tests.orchestrator.grading_corpus import ANSWERS, CLASSES, RELATED, pairs, written_pairs


def test_the_corpus_is_wide() -> None:
    """At least 600 pairs of answers that were written by hand, and pairs of all kinds that are different."""
    together = Counter(is_same for *_, is_same in pairs())
    assert together[True] > 2000 and together[False] > 20000
    assert len(set(ANSWERS)) > 1000 and len(CLASSES) > 20


@pytest.mark.parametrize("kind", CLASSES)
def test_answers_of_a_kind(kind: str) -> None:
    wrong = [
        (a, b, expected)
        for a, b, expected in pairs(kind)
        if not same(read_form(a), read_form(b)) is same(read_form(b), read_form(a)) is expected
    ]
    assert wrong == []


@pytest.mark.parametrize("is_same", [True, False])
def test_written_pairs(is_same: bool) -> None:
    chosen = [(a, b) for a, b, expected in written_pairs() if expected is is_same]
    assert len(chosen) > 400
    wrong = [(a, b) for a, b in chosen if same(read_form(a), read_form(b)) is not is_same]
    exchanged = [(a, b) for a, b in chosen if same(read_form(b), read_form(a)) is not is_same]
    assert wrong == exchanged == []


@pytest.mark.parametrize(("a", "b", "is_same"), RELATED)
def test_answers_that_others_do_not_follow(a: str, b: str, is_same: bool) -> None:
    assert same(read_form(a), read_form(b)) is same(read_form(b), read_form(a)) is is_same


@pytest.mark.heavy
async def test_a_grade_is_what_a_vote_of_two_says() -> None:
    """Over all pairs of the corpus: no grade needs a pool, and none disagrees with a vote."""
    pool = GradingPool(num_workers=1, seconds=2.0)
    grader = MathGrader(pool)
    answers = sorted(set(ANSWERS))
    for i, a in enumerate(answers):
        for b in (answers[(i + shift) % len(answers)] for shift in (1, 3, 9, 27, 81, 243)):
            keys = await grader.keys([a, b])
            assert await grader.grade(a, b) is await grader.grade(b, a) is (keys[0] == keys[1]), (a, b)
    close = [(a, b) for texts in chain(*CLASSES.values()) for a, b in combinations(texts[:6], 2)]
    for a, b in (*close, *((a, b) for a, b, _ in (*RELATED, *written_pairs()))):
        keys = await grader.keys([a, b])
        assert await grader.grade(a, b) is await grader.grade(b, a) is (keys[0] == keys[1]), (a, b)
    assert pool._num_running == 0
    pool.close()


async def test_all_of_a_kind_in_one_vote() -> None:
    """Each class of answers gets one key, in whatever company it is."""
    pool = GradingPool(num_workers=1, seconds=2.0)
    for classes in CLASSES.values():
        answers = [text for texts in classes for text in texts]
        keys = dict(zip(answers, await MathGrader(pool).keys(answers), strict=True))
        assert [len({keys[text] for text in texts}) for texts in classes] == [1] * len(classes)
        assert len(set(keys.values())) == len(classes)
    pool.close()


def test_same_name_same_answer() -> None:
    """A vote counts by names, so no two answers that differ may share one."""
    forms = {read_form(text) for text in ANSWERS}
    by_name = Counter(form.name for form in forms)
    shared = {name for name, count in by_name.items() if count > 1}
    for a, b in combinations([form for form in forms if form.name in shared], 2):
        assert same(a, b) or a.name != b.name
    for a, b in combinations(sorted(forms, key=lambda form: form.vote_key), 2):
        assert a.vote_key != b.vote_key or same(a, b)


WRITTEN = st.sampled_from(sorted(set(ANSWERS)))


@given(
    WRITTEN | st.text(alphabet=st.sampled_from(list("0123456789xyi+-*/^(){}[]\\,.=<|! πsqrt½")), max_size=30)
)
def test_every_answer_is_the_same_as_itself(answer: str) -> None:
    form = read_form(answer)
    assert same(form, form)
    for changed in (f" {answer} ", f"${answer}$", f"{answer}."):
        if not answer.strip().startswith(("$", ".")) and not answer.rstrip().endswith(("\\", "$", ".")):
            assert same(read_form(changed), form)


@given(WRITTEN, WRITTEN)
def test_either_may_be_the_reference(a: str, b: str) -> None:
    assert same(read_form(a), read_form(b)) is same(read_form(b), read_form(a))
