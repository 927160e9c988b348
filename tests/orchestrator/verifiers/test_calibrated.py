"""A calibrated verifier: what it changes, and what a rising map leaves as it is."""

from __future__ import annotations

import math

import pytest

from orchestrator.allocation.calibration import Calibration, Map
from orchestrator.protocols import ScoreRequest
from orchestrator.search.asking import Ledger
from orchestrator.search.session import Session
from orchestrator.search.strategy import Strategy
from orchestrator.testing import PROBLEM, FakeEngine, FakeTask, FakeVerifier, check_verifier
from orchestrator.types import Solution
from orchestrator.verifiers.calibrated import CalibratedVerifier, calibrated
from tests.toy import EVEN, Steps, load, uneven

HALVED = Map((-50.0, 50.0), (-26.0, 24.0))  # log-odds / 2 - 1
DOUBLED = Map((-50.0, 50.0), (-100.0, 100.0))


def shorter_is_better(_: str, steps: Steps) -> float:
    return float(0.9 * 0.8 ** len(steps) * (0.5 if "z\n" in steps else 1.0))


def verifier(calibration: Calibration | None = None) -> object:
    return calibrated(FakeVerifier(reward=uneven), calibration)


async def solved(strategy: Strategy, calibration: Calibration | None, seed: int) -> Solution:
    ledger = Ledger(PROBLEM, FakeEngine(language=EVEN), verifier(calibration), FakeTask(), seed)  # type: ignore[arg-type]
    return await strategy.solve(Session(ledger))


async def test_each_step_has_its_own_map() -> None:
    wrapped = CalibratedVerifier(FakeVerifier(reward=uneven), Calibration((HALVED, DOUBLED)))
    plain = FakeVerifier(reward=uneven)
    for steps, locked in ((("a\n", "b\n", "=1\n"), 0), (("a\n", "b\n", "=1\n"), 1)):
        request = ScoreRequest("toy", "abca", steps, locked)
        (before,), (after,) = await plain.score([request]), await wrapped.score([request])
        maps = [HALVED, DOUBLED, DOUBLED][locked:]
        expected = [float(m(r.log_odds)) for m, r in zip(maps, before.rewards, strict=True)]  # type: ignore[union-attr]
        assert [r.log_odds for r in after.rewards] == pytest.approx(expected)  # type: ignore[union-attr]
        assert after.usage == before.usage  # type: ignore[union-attr]


async def test_a_reward_of_0_or_1_stays_finite() -> None:
    wrapped = CalibratedVerifier(FakeVerifier(reward=lambda *_: 1.0), Calibration((HALVED,)))
    (reply,) = await wrapped.score([ScoreRequest("toy", "abca", ("a\n",), 0)])
    assert reply.rewards[0].log_odds == 24.0  # type: ignore[union-attr]


async def test_it_keeps_the_laws_of_a_verifier() -> None:
    wrapped = CalibratedVerifier(FakeVerifier(reward=shorter_is_better), Calibration((HALVED,)))
    steps, wrong = ("a\n", "b\n", "c\n"), ("a\n", "b\n", "z\n")
    await check_verifier(wrapped, question="abca", steps=steps, wrong=wrong)


@pytest.mark.parametrize("name", ["best_of_n", "beam_search", "dvts"])
@pytest.mark.parametrize("seed", range(4))
async def test_a_rising_map_leaves_what_ranks_alone(name: str, seed: int) -> None:
    strategy = load(name, 8)
    before = await solved(strategy, None, seed)
    after = await solved(strategy, Calibration((HALVED,)), seed)
    assert after.answer_index == before.answer_index
    assert [t.text for t in after.trajectories] == [t.text for t in before.trajectories]


@pytest.mark.parametrize(
    ("name", "knobs"), [("self_consistency", {"weight": "reward"}), ("particle_filter", {})]
)
async def test_it_changes_what_weighs(name: str, knobs: dict[str, str]) -> None:
    """Votes by reward, and the weights of particles."""
    strategy, changed = load(name, 8, **knobs), 0
    for seed in range(8):
        before = await solved(strategy, None, seed)
        after = await solved(strategy, Calibration((DOUBLED,)), seed)
        changed += [round(w, 9) for w in before.log_weights] != [round(w, 9) for w in after.log_weights]
    assert changed == 8


def test_without_a_calibration_it_is_the_verifier_itself() -> None:
    plain = FakeVerifier()
    assert calibrated(plain, None) is plain
    assert calibrated(None, Calibration((HALVED,))) is None
    assert math.isfinite(float(HALVED(math.inf)))
