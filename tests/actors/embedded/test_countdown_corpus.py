"""Countdown's training material: marks against a second reading, solvers that get lost and lie."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.embedded.corpus import split_lines
from actors.embedded.countdown_corpus import annotate, are_right, is_right, stated_answer, wander
from actors.embedded.countdown_models import ALPHABET, VERIFIER, policy_examples, verifier_examples
from actors.embedded.trainer import Recipe
from orchestrator.tasks.countdown import Puzzle, draw_puzzle, parse_question
from orchestrator.tasks.countdown_steps import is_reachable, is_valid, read_step

PUZZLE = parse_question("1,5,9,12,13:24")


def marks(values: tuple[int, ...] | tuple[bool, ...]) -> str:
    return "".join(str(int(v)) for v in values)


def spaced(expected: tuple[str, ...]) -> str:
    return "".join(c or "." for c in expected)


def test_a_right_solution_is_right_everywhere() -> None:
    puzzle = draw_puzzle("train", 0)
    example = annotate(puzzle, puzzle.lines)
    assert example.prompt + example.response == puzzle.question + "\n" + "".join(puzzle.lines)
    assert set(example.is_right) == {1}
    assert all(example.is_local)


def test_a_move_is_judged_from_its_equals_sign_on() -> None:
    # 24 cannot be reached from 5, 99 (nor with 2 numbers that are worse); every line does what it says.
    puzzle = Puzzle((5, 9, 11), 25)
    example = annotate(puzzle, ["11*9=99 5,99\n", "99-5=94 94\n", "#94\n"])
    assert spaced(example.expected) == ".....99 5,99\n.....94 94\n#94\n"
    assert all(example.is_local)
    assert marks(example.is_right) == "1111" + "0" * (len(example.response) - 4)


def test_a_lie_is_marked_where_it_is_and_stays() -> None:
    example = annotate(PUZZLE, ["13+5=19 1,9,12,19\n", "19-9=10 1,12,10\n"])
    first = example.response.index("9")
    assert marks(example.is_right) == "1" * first + "0" * (len(example.response) - first)
    assert example.expected[first] == "8"
    second = example.response.index("\n") + 1
    # The rest of the line shares no more with the right one; the next line follows from what it states.
    assert marks(example.is_local) == "1" * first + "0" * (second - first) + "1" * len("19-9=10 1,12,10\n")


def test_a_wrong_number_left_is_a_lie() -> None:
    example = annotate(PUZZLE, ["13+5=18 1,9,13,18\n"])
    assert marks(example.is_right) == marks(example.is_local) == "1" * len("13+5=18 1,9,1") + "0" * 5


@pytest.mark.parametrize(
    ("line", "num_local"),
    [
        ("13+7=20 1,9,12,20\n", len("13+")),  # there is no 7
        ("3+7=10 1,9,12,20\n", 0),
        ("5+13=18 1,9,12,18\n", len("5+13=18 1,9,12,18\n")),  # either order will do
        ("5-13=8 1,9,12,8\n", len("5-1")),  # 5-1 can be done, 5-13 cannot
        ("#24\n", 0),  # not yet
        ("", 0),
    ],
)
def test_what_is_local_without_a_possible_move(line: str, num_local: int) -> None:
    example = annotate(PUZZLE, [line])
    assert marks(example.is_local) == "1" * num_local + "0" * (len(line) - num_local)


def test_nothing_is_expected_after_a_line_that_cannot_be_read() -> None:
    example = annotate(PUZZLE, ["nonsense\n", "13+5=18 1,9,12,18\n"])
    assert not any(example.is_right) and not any(example.is_local) and not any(example.expected)


@settings(max_examples=60, deadline=None)
@given(index=st.integers(0, 10**6), lost=st.floats(0, 1), slip=st.floats(0, 1), seed=st.integers(0, 2**32))
def test_labels_agree_with_the_rules(index: int, lost: float, slip: float, seed: int) -> None:
    puzzle = draw_puzzle("train", index)
    lines = wander(puzzle, np.random.default_rng(seed), lost, slip)
    example = annotate(puzzle, lines)
    ends = list(itertools.accumulate(len(line) for line in lines))
    truth, numbers, so_far = [], puzzle.numbers, True
    for line in lines[:-1]:
        step = read_step(line)
        assert step is not None
        so_far &= is_valid(numbers, step) and is_reachable(step.left, puzzle.target)
        numbers = step.left
        truth.append(so_far)
    truth.append(so_far and lines[-1] == f"#{puzzle.target}\n" and numbers == (puzzle.target,))
    assert [bool(example.is_right[e - 1]) for e in ends] == truth == are_right(puzzle, lines)
    assert is_right(puzzle, lines) == truth[-1]
    assert len(example.is_local) == len(example.expected) == len(example.response)
    if lost == slip == 0:
        assert truth[-2]


def test_a_solver_that_always_lies_is_never_right() -> None:
    rng = np.random.default_rng(0)
    for index in range(100):
        puzzle = draw_puzzle("train", index)
        assert not any(are_right(puzzle, wander(puzzle, rng, 0.0, 1.0)))


def test_stated_answers_are_counted_by_their_steps() -> None:
    one = split_lines("13+5=18 1,9,12,18\n12*1=12 9,18,12\n18/9=2 12,2\n12*2=24 24\n#24\n")
    two = split_lines("12*1=12 5,9,13,12\n13+5=18 9,12,18\n18/9=2 12,2\n12*2=24 24\n#24\n")
    assert stated_answer(one) == stated_answer(two) is not None
    assert stated_answer(one[:-1]) is None


def test_the_alphabet_writes_everything() -> None:
    recipe = Recipe(width=32, num_layers=1, num_tokens=1, batch_size=8)
    rollouts = [{"question": PUZZLE.question, "text": "13+5=18 1,9,12,18\n"}]
    examples = policy_examples(recipe, 0, 1.0) + verifier_examples(VERIFIER, 0, 0.9, rollouts)
    assert len(examples) == 8 + VERIFIER.batch_size
    assert {c for e in examples for c in e.prompt + e.response} <= set(ALPHABET)


def test_the_policy_begins_with_few_numbers() -> None:
    recipe = Recipe(width=32, num_layers=1, num_tokens=1, batch_size=4)
    assert {e.prompt.count(",") for e in policy_examples(recipe, 0, 0.0)} == {1}
    assert {e.prompt.count(",") for e in policy_examples(recipe, 0, 1.0)} == {3}
