"""Two-way walks: reversible moves, solutions that hold, disjoint splits, answers read from one marker."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from orchestrator.config.files import CONF
from orchestrator.errors import ConfigError
from orchestrator.tasks.twoway import (
    MOVES,
    NUM_MOVES,
    STATES,
    TwoWayTask,
    Walk,
    draw_walk,
    draw_walks,
    permutation,
)


def test_a_problem_never_changes() -> None:
    last, first = draw_walk("dev", 0), draw_walk("dev", 1)
    assert (last.question, last.answer, last.solution()) == ("Ncieak?", "B", "NcHiGeOaDkB#B")
    assert (first.question, first.answer, first.solution()) == ("?kalghN", "K", "#KkLaIlOgEhN")


def test_moves_are_different_permutations() -> None:
    tables = {permutation(move) for move in MOVES}
    assert len(tables) == len(MOVES)
    assert all(sorted(table) == list(STATES) for table in tables)


@settings(max_examples=50, deadline=None)
@given(split=st.sampled_from(["train", "dev", "test"]), index=st.integers(0, 10**9))
def test_a_solution_states_every_move_and_the_answer(split: str, index: int) -> None:
    walk = draw_walk(split, index)  # type: ignore[arg-type]
    written = walk.solution().replace("#" + walk.answer if not walk.asks_first else "#", "")
    assert written[1::2] == walk.moves
    steps = zip(itertools.pairwise(written[::2]), walk.moves, strict=True)
    assert all(permutation(move)[STATES.index(state)] == after for (state, after), move in steps)
    assert (written[0], written[-1]) == (walk.first, walk.states[-1])
    assert TwoWayTask().extract(walk.solution()) == walk.answer
    asked, known = (0, -1) if walk.asks_first else (-1, 0)
    assert walk.question[asked] == "?" and walk.question[known] == written[known]
    assert walk.question[1:-1] == walk.moves


def test_a_writer_may_break_off() -> None:
    walk = Walk("F", "cabd", asks_first=False)
    g, b, a, k = walk.states
    assert [walk.solution(n) for n in (0, 1, 4)] == [f"#{k}", f"Fc{g}#{k}", f"Fc{g}a{b}b{a}d{k}#{k}"]
    assert Walk("F", "cabd", asks_first=True).solution(1) == f"#Fc{g}a{b}b{a}d{k}"


def test_splits_are_disjoint_and_test_is_large() -> None:
    questions = {s: {w.question for w in draw_walks(s, 0, 2_000)} for s in ("train", "dev", "test")}  # type: ignore[arg-type]
    for a, b in itertools.combinations(questions.values(), 2):
        assert not a & b
    assert all(len(q) > 1_850 for q in questions.values())
    assert TwoWayTask().num_problems >= 10_000


def test_both_ends_are_asked_for_alike() -> None:
    asked = [problem.metadata["asks"] for problem in TwoWayTask().problems(0, 1_000)]
    assert 430 < asked.count("first") < 570 and set(asked) == {"first", "last"}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("FcGaBbAdK#K", "K"),
        ("#FcGaBbAdK", "F"),
        ("#K", "K"),
        ("FcGaBbAdK", None),
        ("FcG#", None),
        ("FcG#a", None),
        ("#FK", None),
        ("#F#F", None),
        ("##F", None),
        ("#q", None),
        ("", None),
    ],
)
async def test_the_answer_is_the_state_after_the_one_marker(text: str, answer: str | None) -> None:
    task = TwoWayTask()
    assert task.extract(text) == answer
    assert await task.keys([answer, None]) == [answer, None]
    assert await task.grade(answer, "K") == (answer == "K")


def test_a_canvas_holds_every_solution() -> None:
    longest = max(len(walk.solution()) for walk in draw_walks("test", 0, 50))
    node = OmegaConf.load(CONF / "task" / "twoway.yaml")
    assert longest == 2 * NUM_MOVES + 3 < node.max_tokens


def test_range() -> None:
    assert [p.id for p in TwoWayTask().problems(9_999, 10)] == ["twoway-test-9999"]


@pytest.mark.parametrize("split", ["tset", "", 1])
def test_a_bad_split_names_the_key(split: object) -> None:
    with pytest.raises(ConfigError, match=rf"^task\.split={split}: must be one of train, dev, test"):
        TwoWayTask(split)  # type: ignore[arg-type]
