"""Which answers are the same: graded against a reference, and in a vote; and bombs that must harm nobody."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import permutations

import pytest

from orchestrator.errors import GradingError
from orchestrator.tasks.grading.graders import ChoiceGrader, IntegerGrader, MathGrader
from orchestrator.tasks.grading.pool import ROOT, GradingPool

BOMB = "9^{9^{9^{9}}}"
BOMB_OF_SUMS = r"\prod_{k=1}^{99} k^{k!}"


@pytest.fixture(scope="module")
def pool() -> Iterator[GradingPool]:
    pool = GradingPool(num_workers=2, seconds=1.0)
    yield pool
    pool.close()
    assert pool._num_running == 0


@pytest.fixture(scope="module")
def math(pool: GradingPool) -> MathGrader:
    return MathGrader(pool)


def classes(keys: Sequence[str | None]) -> list[int | None]:
    """Keys by the order of their first occurrence."""
    order = list(dict.fromkeys(k for k in keys if k is not None))
    return [None if k is None else order.index(k) for k in keys]


async def test_nothing_runs_before_it_is_needed() -> None:
    pool = GradingPool(num_workers=2, seconds=2.0)
    grader = MathGrader(pool)
    assert await grader.grade(r"\frac{2}{4}", "0.5")
    assert await grader.grade(r"\sqrt{8}", r"2\sqrt{2}")
    assert not await grader.grade(BOMB, "2")
    assert await grader.keys(["1", "2", "1.0", None]) == ["1", "2", "1", None]
    assert not await grader.grade("odd", r"\text{even}")
    assert pool._num_running == 0
    pool.close()


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        (r"\sqrt{4}", "2"),
        ("5", "x=5"),
        ("x=5", "5"),
        ("-(q-p)", "p - q"),
        ("(1, 2)", "(1,2)"),
        ("-2,1", "1,-2"),
        (r"-2, 1+\sqrt5, 1-\sqrt5", r"\{1\pm\sqrt{5},-2\}"),
        ("[-2,7]", r"x \in [-2,7]"),
        (r"(9,36)\cup(0,9)", r"(0,9) \cup (9,36)"),
        (r"\begin{pmatrix} 0.2 \\ -3.6 \end{pmatrix}", r"\begin{pmatrix} 1/5 \\ -18/5 \end{pmatrix}"),
        ("(C)", r"\text{(C)}"),
        (r"\text{evelyn}", r"\text{Evelyn}"),
        ("52_{8}", "52_8"),
        ("52", "52_8"),
        ("1,-16,-4,43", "(1,-16,-4,43)"),
        ("2x+3", "y = 2x + 3"),
    ],
)
async def test_right(math: MathGrader, answer: str, reference: str) -> None:
    assert await math.grade(answer, reference)


@pytest.mark.parametrize(
    ("answer", "reference"),
    [
        (r"10\%", "0.1"),
        ("0.333", "1/3"),
        ("(2,1)", "(1,2)"),
        ("(1,2)", "[1,2]"),
        ("52_7", "52_8"),
        ("1,-2", "(-2,1)"),
        ("(-2,1)", "1,-2"),
        ("(D)", r"\text{(C)}"),
        (r"\text{nyleve}", r"\text{Evelyn}"),
        ("2k+3", "2k+2"),
        (r"1 + \sqrt{19}", r"1 \pm \sqrt{19}"),
        (r"\frac{1", "1"),
        ("x=6", "x=5"),
        ("5x - 7y + 4 = 0", "0"),
    ],
)
async def test_wrong(math: MathGrader, answer: str, reference: str) -> None:
    assert not await math.grade(answer, reference)


async def test_no_answer_is_wrong(math: MathGrader) -> None:
    assert not await math.grade(None, "1")
    assert not await IntegerGrader().grade(None, "1")
    assert not await ChoiceGrader().grade(None, "A")


@pytest.mark.heavy
async def test_a_bomb_goes_off_alone(math: MathGrader, pool: GradingPool) -> None:
    """It ends its process and nothing else: neighbours are graded, and the pool goes on."""
    graded = await asyncio.gather(
        math.grade(BOMB_OF_SUMS, "2"),
        math.grade(r"\sum_{k=1}^{10} k", "55"),
        math.grade(r"\int_0^1 x^2\,dx", r"\frac{1}{3}"),
        math.grade(r"\lim_{x\to 0} \frac{\sin x}{x}", "2"),
    )
    assert graded == [False, True, True, False]
    assert await pool.ask({"read": BOMB_OF_SUMS}) is None, "it was judged, so this test is about no bomb"
    assert await math.grade(r"\sum_{k=0}^n k", r"\frac{n(n+1)}{2}")
    assert pool._num_running <= 2


@pytest.mark.heavy
async def test_a_bomb_votes_for_itself(math: MathGrader) -> None:
    for bomb in (BOMB, BOMB_OF_SUMS):
        assert classes(await math.keys([bomb, r"\sqrt{9}", "3", bomb, None])) == [0, 1, 1, 0, None]


@pytest.mark.heavy
async def test_a_bomb_is_tried_once(
    math: MathGrader, pool: GradingPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not await math.grade(BOMB_OF_SUMS, "3")
    monkeypatch.setattr(GradingPool, "ask", None)
    assert not await math.grade(BOMB_OF_SUMS, "4")


@pytest.mark.parametrize(
    "answer", [r"\sum_{k=1}^{9^{9^{9}}} k", r"\int_0^{12345678} x", r"\sum " + 200 * "k"]
)
async def test_what_no_process_is_asked(answer: str) -> None:
    """Numbers of seven digits, towers of powers and long answers: a vote of such would wait for minutes."""
    pool = GradingPool(num_workers=1, seconds=2.0)
    assert not await MathGrader(pool).grade(answer, "1")
    assert await MathGrader(pool).grade(answer, answer)
    assert pool._num_running == 0
    pool.close()


async def test_classes_of_a_vote(math: MathGrader) -> None:
    answers = [
        "0.5",
        r"\frac{1}{2}",
        None,
        r"\sqrt{2}",
        r"\frac{2}{\sqrt2}",
        "x=5",
        "5",
        "( 1, 2 )",
        "(1,2)",
        "a+b",
    ]
    assert classes(await math.keys(answers)) == [0, 0, None, 1, 1, 2, 2, 3, 3, 4]


async def test_order_and_repetition_change_no_class(math: MathGrader) -> None:
    """1/3 and 0.3333329 both pass for 0.333333, and not for each other: no order may decide."""
    answers = ["1/3", "0.333333", "0.3333329", r"\sqrt{2}", r"2^{1/2}"]
    expected = dict(zip(answers, await math.keys(answers), strict=True))
    for order in permutations(answers):
        assert await math.keys([*order, order[0]]) == [expected[a] for a in (*order, order[0])]


async def test_a_key_is_the_same_in_another_vote(math: MathGrader) -> None:
    assert len(set(await math.keys(["1,-2", "(-2,1)", "(1,-2)"]))) == 2
    alone = [(await math.keys([a]))[0] for a in ("0.5", r"\frac{2}{4}", r"\sqrt{8}", r"2\sqrt{2}")]
    assert alone[0] == alone[1] and alone[2] == alone[3] != alone[0]


@pytest.mark.heavy
def test_a_pool_serves_one_loop_after_another(math: MathGrader) -> None:
    for value in (2, 3):
        assert asyncio.run(math.grade(rf"\sum_{{k=1}}^{value} 1", str(value)))


@pytest.mark.heavy
async def test_a_killed_process_is_replaced(pool: GradingPool) -> None:
    assert await pool.ask({"read": "x+1+x"}) == {"normal": "2*x + 1"}
    for worker in list(pool._workers):
        os.kill(worker._process.pid, signal.SIGKILL)
        worker._process.wait()
    replies = [await pool.ask({"read": "x+1+x"}) for _ in range(4)]
    assert replies[-1] == {"normal": "2*x + 1"}, "at most one question is lost with each process"


@pytest.mark.heavy
async def test_a_closed_pool_says_so() -> None:
    pool = GradingPool(num_workers=1, seconds=2.0)
    pool.close()
    with pytest.raises((GradingError, RuntimeError), match=r"closed|shutdown"):
        await pool.ask({"read": "x"})


@pytest.mark.heavy
def test_no_process_outlives_the_run() -> None:
    """The pool of a program that ends without a word is gone with it, and nothing is complained of."""
    program = (
        "import asyncio\n"
        "from orchestrator.tasks.grading.graders import MathGrader\n"
        "from orchestrator.tasks.grading.pool import shared_pool\n"
        "pool = shared_pool(1, 2.0)\n"
        "assert asyncio.run(MathGrader(pool).grade(r'\\int_0^1 x\\,dx', '1/2'))\n"
        "print(*(w._process.pid for w in pool._workers))\n"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT, capture_output=True, text=True, timeout=110, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    with pytest.raises(ProcessLookupError):
        os.kill(int(ran.stdout), 0)
