"""Countdown: rules against an independent reading, disjoint splits, answers graded by carrying them out."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import ConfigError
from orchestrator.tasks.countdown import (
    MAX_NUMBER,
    MAX_TARGET,
    NUM_NUMBERS,
    CountdownTask,
    draw_puzzle,
    draw_puzzles,
    parse_question,
)
from orchestrator.tasks.countdown_steps import (
    CountdownStep,
    Move,
    Numbers,
    is_reachable,
    is_valid,
    moves,
    read_answer,
    read_step,
    take,
)
from orchestrator.tasks.operations import MAX_VALUE, Operation

QUESTION = "1,5,9,12,13:24"
SOLUTION = "13+5=18 1,9,12,18\n12*1=12 9,18,12\n18/9=2 12,2\n12*2=24 24\n#24\n"


def ends(numbers: Numbers) -> set[int]:
    """Every end by trying every order of steps: the independent reading of the rules."""
    if len(numbers) == 1:
        return set(numbers)
    found: set[int] = set()
    for i, j in itertools.permutations(range(len(numbers)), 2):
        a, b = numbers[i], numbers[j]
        rest = tuple(n for k, n in enumerate(numbers) if k not in (i, j))
        results = {a + b, a - b, a * b} | ({a // b} if a % b == 0 else set())
        for result in results & set(range(1, MAX_VALUE + 1)):
            found |= ends((*rest, result))
    return found


def test_a_problem_never_changes() -> None:
    first = next(CountdownTask(split="dev").problems(0, 1))
    assert (first.id, first.question, first.answer) == ("countdown-dev-0", "2,9,22,27:2", "2,9,22,27:2")
    assert "".join(draw_puzzle("dev", 0).lines) == "27+2=29 9,22,29\n29-9=20 22,20\n22-20=2 2\n#2\n"


@settings(max_examples=50, deadline=None)
@given(split=st.sampled_from(["train", "dev", "test"]), index=st.integers(0, 10**9))
def test_a_drawn_puzzle_has_the_solution_it_names(split: str, index: int) -> None:
    puzzle = draw_puzzle(split, index)  # type: ignore[arg-type]
    assert len(puzzle.numbers) == NUM_NUMBERS
    assert all(1 <= n <= MAX_NUMBER for n in puzzle.numbers)
    assert 1 <= puzzle.target <= MAX_TARGET
    assert parse_question(puzzle.question) == puzzle
    numbers = puzzle.numbers
    for line in puzzle.lines[:-1]:
        step = read_step(line)
        assert step is not None and is_valid(numbers, step)
        assert is_reachable(step.left, puzzle.target)
        numbers = step.left
    assert numbers == (puzzle.target,) and read_answer(puzzle.lines[-1]) == puzzle.target


@pytest.mark.heavy
def test_splits_are_disjoint_and_hold_out_their_problems_from_training() -> None:
    questions = {s: {p.question for p in draw_puzzles(s, 0, 1_000)} for s in ("train", "dev", "test")}  # type: ignore[arg-type]
    for a, b in itertools.combinations(questions.values(), 2):
        assert not a & b
    assert all(len(q) > 950 for q in questions.values())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=4))
def test_reach_agrees_with_trying_every_order(numbers: list[int]) -> None:
    found = ends(tuple(numbers))
    assert [t for t in range(1, MAX_VALUE + 1) if is_reachable(tuple(numbers), t)] == sorted(found)


@given(st.lists(st.integers(1, MAX_VALUE), min_size=2, max_size=5))
def test_moves_are_different_and_can_be_taken(numbers: list[int]) -> None:
    found = moves(tuple(numbers))
    assert len(set(found)) == len(found)
    for move in found:
        step = take(tuple(numbers), move)
        assert step is not None and read_step(step.line) == step
        assert sorted((*step.left[:-1], move.value, move.operation.operand)) == sorted(numbers)
        assert step.result == step.left[-1] == eval(move.text)  # the independent reading


@pytest.mark.parametrize(
    "move",
    [
        Move(3, Operation("+", 3)),  # there is only one 3
        Move(3, Operation("-", 8)),  # below 1
        Move(8, Operation("/", 3)),  # no whole number
        Move(8, Operation("/", 0)),
        Move(40, Operation("*", 3)),  # above MAX_VALUE
        Move(8, Operation("+", 7)),  # no 7
    ],
)
def test_impossible_moves(move: Move) -> None:
    assert take((3, 8, 40), move) is None


@pytest.mark.parametrize(
    ("line", "step"),
    [
        ("8-3=5 40,5\n", CountdownStep(Move(8, Operation("-", 3)), 5, (40, 5))),
        ("8-3=5 5", CountdownStep(Move(8, Operation("-", 3)), 5, (5,))),
        ("8-3=5\n", None),
        ("8-3=5 \n", None),
        ("8-3=5 40,\n", None),
        ("8-3=-5 40\n", None),
        ("8-3=5 40\n\n", None),
        ("88888-3=5 40\n", None),
        ("²-3=5 40\n", None),
        ("#5\n", None),
    ],
)
def test_read_step(line: str, step: CountdownStep | None) -> None:
    assert read_step(line) == step


@pytest.mark.parametrize(
    "text",
    [
        SOLUTION,
        SOLUTION.removesuffix("\n"),
        SOLUTION + "#\n\n",  # nothing more is stated
        "#\n" + SOLUTION,
        SOLUTION.replace("13+5=18 1,9,12,18", "5+13=18 18,12,9,1"),  # written otherwise
        "13-9=4 1,5,12,4\n5-4=1 1,12,1\n1+1=2 12,2\n12*2=24 24\n#24\n",  # another way
    ],
)
async def test_grading_carries_the_solution_out(text: str) -> None:
    task = CountdownTask()
    assert await task.grade(task.extract(text), QUESTION)


@pytest.mark.parametrize(
    "text",
    [
        SOLUTION.replace("18/9=2 12,2", "18/9=3 12,3").replace("12*2", "12*3"),  # lies
        SOLUTION.replace("1,9,12,18", "1,9,12,12,18"),  # keeps a number that it used
        SOLUTION.replace("9,18,12\n", "9,18,13\n", 1),  # a wrong number left
        SOLUTION.replace("#24", "#25"),
        SOLUTION.replace("#24", "#" + "2" * 4000),
        SOLUTION.replace("12*2=24 24\n", ""),  # two numbers are left
        "#24\n",
        "13+5=18 18\n18+6=24 24\n#24\n",  # numbers from nowhere
    ],
)
async def test_what_is_no_solution_is_wrong(text: str) -> None:
    task = CountdownTask()
    answer = task.extract(text)
    assert answer is not None  # the task does not do the verifier's work
    assert not await task.grade(answer, QUESTION)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#",
        "#24x\n",
        "no step\n#24\n",
        SOLUTION.removesuffix("#24\n"),
        SOLUTION + "#24\n",
        "#\u0662\u0664",
        "#" + "2" * 5000,
    ],
)
async def test_what_is_no_answer(text: str) -> None:
    task = CountdownTask()
    assert task.extract(text) is None
    assert await task.keys([None]) == [None]
    assert not await task.grade(None, QUESTION)


async def test_a_right_solution_is_right_for_its_own_puzzle_only() -> None:
    task = CountdownTask()
    assert not await task.grade(task.extract(SOLUTION), "1,5,9,12,13:25")
    assert not await task.grade(task.extract(SOLUTION), "1,5,9,12,14:24")


async def test_the_order_of_independent_steps_makes_no_other_answer() -> None:
    other_order = "12*1=12 5,9,13,12\n13+5=18 9,12,18\n18/9=2 12,2\n12*2=24 24\n#24\n"
    other_way = "13-9=4 1,5,12,4\n5-4=1 1,12,1\n1+1=2 12,2\n12*2=24 24\n#24\n"
    task = CountdownTask()
    keys = await task.keys([task.extract(t) for t in (SOLUTION, other_order, other_way)])
    assert keys[0] == keys[1] != keys[2]


async def test_a_lie_never_shares_a_key_with_a_right_solution() -> None:
    lie = SOLUTION.replace("9,18,12\n", "9,18,13\n", 1)  # the same operations, a wrong number noted
    task = CountdownTask()
    right, wrong = await task.keys([task.extract(SOLUTION), task.extract(lie)])
    assert right != wrong


def test_range() -> None:
    assert [p.id for p in CountdownTask().problems(11_999, 10)] == ["countdown-test-11999"]
    longest = max(len(line) for puzzle in draw_puzzles("test", 0, 200) for line in puzzle.lines)
    assert longest <= 20, "max_step_tokens of conf/task/countdown.yaml"


@pytest.mark.parametrize("split", ["tset", "", 1])
def test_a_bad_split_names_the_key(split: object) -> None:
    with pytest.raises(ConfigError, match=rf"^task\.split={split}: must be one of train, dev, test"):
        CountdownTask(split)  # type: ignore[arg-type]
