"""The policy's own opinion as a reward: what strategies see of it, and what comes of hostile answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from orchestrator.backend import DirectBackend, asked_policies
from orchestrator.errors import ConfigError
from orchestrator.prompts.question import PrefixQuestion
from orchestrator.protocols import (
    EngineBase,
    Failure,
    Loglik,
    OptionsRequest,
    PolicyPrefix,
    ScoreReply,
    ScoreRequest,
    WholeOnly,
)
from orchestrator.search.asking import Ledger
from orchestrator.search.requests import policy_prefix
from orchestrator.search.session import Session
from orchestrator.storage.appending import OpenFiles
from orchestrator.storage.journal import Journal
from orchestrator.testing import PROBLEM, FakeEngine, FakeTask, World
from orchestrator.types import Problem, Prompt, Sampling, Solution, Step, Trajectory, Turn, Usage
from orchestrator.verifiers.self_evaluation import (
    SelfEvaluation,
    SelfEvaluationVerifierConfig,
    expected_place,
)
from strategies.best_of_n import BestOfN
from strategies.particle_filter import ParticleFilter
from strategies.parts.stopping import Stop
from strategies.tree_of_thoughts import TreeOfThoughts

QUESTION = PrefixQuestion("Right so far?", ["No", "Yes"])
DIGIT = PrefixQuestion("How good?", tuple("0123456789"))
CONFIG = SelfEvaluationVerifierConfig(restart=QUESTION, correct=QUESTION, digit=DIGIT)
PATHS = Sampling(temperature=1.0, max_tokens=16)
STRATEGIES = {
    "particle_filter": ParticleFilter(4, max_steps=7, sampling=PATHS),
    "best_of_n": BestOfN(4, replace(PATHS, max_tokens=64)),
    "prune": BestOfN(4, replace(PATHS, max_tokens=64), prune={1: 2}),
    "stop": BestOfN(6, replace(PATHS, max_tokens=64), stop=Stop("threshold", 0.8)),
    "tree": TreeOfThoughts(),
}


def asked(*ids: int, steps: Sequence[str] = ("a\n",), **more: Any) -> ScoreRequest:
    prefix = PolicyPrefix("abca", "", (), tuple((i,) for i in ids))
    return ScoreRequest("p", "abca", tuple(steps), 0, prefix=prefix, **more)


@pytest.mark.parametrize("name", STRATEGIES)
async def test_strategies_accept_it_unchanged(name: str) -> None:
    """An opinion that is a verifier's reward leads every search to the same trajectories and rewards."""
    world, own = World(), World(verifier=None)
    ledger = Ledger(PROBLEM, own.engine, SelfEvaluation(own.engine, QUESTION), own.task)
    expected, found = await world.solve(STRATEGIES[name]), await STRATEGIES[name].solve(Session(ledger))
    assert found.trajectories == expected.trajectories
    assert found.log_weights == expected.log_weights
    assert any(t.rewards for t in found.trajectories)
    assert found.usage.reward_calls == expected.usage.reward_calls
    assert found.usage.cached_reward_tokens > 0, "what the engine reports as cached is counted"


async def test_a_killed_search_resumes_to_the_same_end(tmp_path: Path) -> None:
    async def solve() -> tuple[Solution, FakeEngine]:
        engine, files = FakeEngine(), OpenFiles()
        journal = Journal(tmp_path / "toy.jsonl", files)
        ledger = Ledger(PROBLEM, engine, SelfEvaluation(engine, QUESTION), FakeTask(), journal=journal)
        try:
            return await STRATEGIES["particle_filter"].solve(Session(ledger)), engine
        finally:
            files.close_all()

    whole, _ = await solve()
    lines = (tmp_path / "toy.jsonl").read_bytes().splitlines(keepends=True)
    for num_kept in (0, 3, len(lines)):
        (tmp_path / "toy.jsonl").write_bytes(b"".join(lines[:num_kept]))
        again, engine = await solve()
        assert again == whole
        assert (engine.usage == Usage()) == (num_kept == len(lines))


@pytest.mark.parametrize(
    ("logs", "value"),
    [
        pytest.param([math.log(0.2), math.log(0.6)], 0.75, id="two options are normalised"),
        pytest.param([math.log(0.1)] * 3, 0.5, id="the middle"),
        pytest.param([-math.inf, -math.inf, 0.0], 1.0, id="the best alone"),
        pytest.param([0.0, -math.inf], 0.0, id="the worst alone"),
        pytest.param([-math.inf] * 7 + [-800.0] + [-math.inf] * 2, 7 / 9, id="one digit, hardly likely"),
        pytest.param([math.log(i + 1) - 900 for i in range(10)], 6 / 9, id="all digits, hardly likely"),
    ],
)
def test_the_reward_is_the_expected_place(logs: list[float], value: float) -> None:
    assert expected_place(logs, len(logs)).value == pytest.approx(value)
    shifted = [x - 3 for x in logs]
    assert expected_place(shifted, len(logs)).value == pytest.approx(value), "a common factor is no opinion"


def test_two_options_have_the_difference_of_their_logs_as_log_odds() -> None:
    assert expected_place([-3.25, -1.5], 2).log_odds == 1.75


@dataclass(frozen=True)
class Answering(EngineBase):
    """An engine with one answer to every question."""

    answer: Loglik | Failure

    async def generate(self, requests: Any) -> Any:
        raise NotImplementedError

    async def loglik(self, requests: Sequence[Any]) -> list[Loglik | Failure]:
        return [self.answer for _ in requests]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(Loglik((math.nan, -1.0), Usage()), "2 options got", id="not a number"),
        pytest.param(Loglik((-1.0,), Usage()), "2 options got", id="too few"),
        pytest.param(Loglik((), Usage()), "2 options got", id="an engine that ignores options"),
        pytest.param(Loglik((-math.inf, -math.inf), Usage()), "probability 0", id="no opinion"),
        pytest.param(Failure("ContextOverflow", "no room"), "no room", id="no room for the question"),
    ],
)
async def test_hostile_answers_fail_their_request(answer: Loglik | Failure, words: str) -> None:
    (reply,) = await SelfEvaluation(Answering(answer), QUESTION).score([asked(1)])
    assert isinstance(reply, Failure) and words in reply.message


@pytest.mark.parametrize("request_", [asked(1, 2), replace(asked(1), prefix=UNSET)], ids=["others", "none"])
async def test_a_step_without_the_policys_ids_fails(request_: ScoreRequest) -> None:
    (reply,) = await SelfEvaluation(FakeEngine(), QUESTION).score([request_])
    assert isinstance(reply, Failure) and "without the token ids of policy=engine" in reply.message


async def test_a_question_is_asked_after_each_new_step_or_after_the_last() -> None:
    engine = FakeEngine()
    questions: list[OptionsRequest] = []
    engine.opinion = lambda _, steps: questions.append(steps) or 0.5  # type: ignore[func-returns-value,arg-type]
    request = asked(
        97,
        98,
        99,
        steps=("a", "b", "c"),
    )
    await SelfEvaluation(engine, QUESTION).score([replace(request, num_locked=1)])
    await SelfEvaluation(engine, QUESTION, "whole").score([request])
    assert questions == [("ab",), ("abc",), ("abc",)]


def test_a_revision_is_asked_about_as_an_answer_to_the_problem() -> None:
    problem = Problem("p", "abca", "abca", history=(Turn("user", "hello"),))
    steps = (Step("a\n", (97, 10)), Step("b\n", (98, 10)))
    prefix = policy_prefix(
        problem, FakeTask(instruction="Copy."), Trajectory(steps, Prompt("Write it anew."))
    )
    assert prefix == PolicyPrefix("abca", "Copy.", problem.history, ((97, 10), (98, 10)))


class _Whole:
    whole_because = WholeOnly("engine.api", "chat")


@pytest.mark.parametrize(
    ("config", "engine", "words"),
    [
        (replace(CONFIG, policy="judge"), _Whole(), "verifier.policy=judge: must be engine"),
        (CONFIG, _Whole(), "engine.api=chat: gives no likelihoods"),
    ],
)
def test_a_policy_that_cannot_answer_is_one_line(config: Any, engine: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        asked_policies({"engine": engine}, config)
    assert words in str(caught.value)


@dataclass(frozen=True)
class _Fakes:
    engine: EngineBase
    num_stages: int = 2
    takes: type = Sampling

    def build(self) -> EngineBase:
        return self.engine


def test_the_policys_replicas_check_the_question_when_they_are_loaded() -> None:
    wrapped = asked_policies({"engine": _Fakes(FakeEngine())}, CONFIG)["engine"]
    assert isinstance(wrapped.build(), FakeEngine)
    assert (wrapped.takes, wrapped.num_stages) == (Sampling, 2)  # type: ignore[attr-defined]
    lacking = _Fakes(Answering(Failure("", "")))
    with pytest.raises(ConfigError, match=r"verifier\.correct.*needs likelihoods of options"):
        asked_policies({"engine": lacking}, replace(CONFIG, question="correct"))["engine"].build()


def test_the_named_question_is_asked_of_the_runs_engine() -> None:
    engine = FakeEngine()
    config = replace(CONFIG, question="digit", readout="whole")
    assert config.open(DirectBackend(engine), FakeTask(), {}) == SelfEvaluation(engine, DIGIT, "whole")
    assert config.of_replicas is None


def test_options_differ() -> None:
    with pytest.raises(ConfigError, match="must be different from each other"):
        PrefixQuestion("Well?", ["Yes", "Yes"])


async def test_ten_digits_are_one_question() -> None:
    (reply,) = await SelfEvaluation(FakeEngine(), DIGIT).score([asked(97)])
    assert isinstance(reply, ScoreReply) and 0 < reply.rewards[0].value < 1
