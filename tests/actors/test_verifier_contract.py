"""What every verifier promises, whatever it reads; a new one joins by one more entry in CASES."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
from actors.verifiers.config import (
    GenerativeVerifierConfig,
    LikelihoodVerifierConfig,
)
from orchestrator.backend import DirectBackend
from orchestrator.protocols import Failure, ScoreReply, ScoreRequest, Verifier
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from orchestrator.verifiers.oracle import OracleConfig
from orchestrator.verifiers.self_certainty import SelfCertaintyVerifierConfig
from tests.actors.small_reward_models import QUESTION, REWARD_MODELS, STEPS, save_rlhflow

NO_VERIFIER = DirectBackend(FakeEngine())

FORMATS = Path(__file__).parents[2] / "conf" / "verifier" / "format"


@dataclass(frozen=True)
class Case:
    """A verifier in a folder with its model, and steps that it knows. ``reads`` says that it has a model.

    ``most_computed`` bounds what it computes step by step, in lengths of the whole trajectory: what stands
    after a step, and not before the next one, is read for each (steps here are short).
    """

    build: Callable[[Path], Verifier]
    steps: tuple[str, ...] = STEPS
    question: str = QUESTION
    reads: bool = True
    most_computed: float = 1.3
    takes_empty_steps: bool = True

    def request(self, num_steps: int, num_locked: int = 0, **changes: Any) -> ScoreRequest:
        steps = self.steps[:num_steps]
        request = ScoreRequest(
            home="p",
            question=self.question,
            steps=steps,
            num_locked=num_locked,
            logprobs=tuple(-1.5 * (i + 1) for i in range(len(steps))),
            num_tokens=tuple(5 + i for i in range(len(steps))),
        )
        return replace(request, **changes)


def by_format(name: str, readout: str | None = None) -> Case:
    """A small model of the architecture that the file ``name`` of conf/verifier/format is for."""
    model = REWARD_MODELS[name]

    def build(folder: Path) -> Verifier:
        model.save(folder)
        file = "token_classification" if name == "trl" else name
        node = yaml.safe_load((FORMATS / f"{file}.yaml").read_text())
        assert node["format"] == model.format
        settings = {"format": node["format"], "options": node["options"], "readout": readout or model.readout}
        verifier: Verifier = TransformersVerifierConfig(str(folder), **settings).build()
        return verifier

    return Case(build, most_computed=1.3 if readout is None else 1.6)


def by_engine(kind: Callable[..., Any], **knobs: Any) -> Callable[[Path], Verifier]:
    def build(folder: Path) -> Verifier:
        save_rlhflow(folder)
        engine = TransformersEngineConfig(str(folder), template="{question}", chat=True)
        verifier: Verifier = kind(engine=engine, **knobs).build()
        return verifier

    return build


ASKING = {"template": "{question}\n{steps}Is step {number} right?", "step_template": "{number}: {step}"}
CASES = {
    "fake": Case(lambda _: FakeVerifier(), ("a\n", "c\n", "c\n", "=acc\n"), "abca"),
    **{name: by_format(name) for name in REWARD_MODELS},
    "math_shepherd whole": by_format("math_shepherd", "whole"),
    "rlhflow whole": by_format("rlhflow", "whole"),
    "likelihood": Case(by_engine(LikelihoodVerifierConfig)),
    "likelihood whole": Case(by_engine(LikelihoodVerifierConfig, readout="whole")),
    "generative": Case(by_engine(GenerativeVerifierConfig, **ASKING), most_computed=2.5),
    "generative whole": Case(
        by_engine(GenerativeVerifierConfig, readout="whole", **ASKING), most_computed=2.5
    ),
    "self_certainty": Case(
        lambda _: SelfCertaintyVerifierConfig().open(NO_VERIFIER, FakeTask(), {}),
        reads=False,
        takes_empty_steps=False,
    ),
    "oracle": Case(
        lambda _: OracleConfig().open(NO_VERIFIER, FakeTask(), {"p": "abc"}),
        ("a\n", "b\n", "c\n", "=abc\n"),
        "abca",
        reads=False,
    ),
}


@dataclass(frozen=True)
class Held:
    """A verifier that is held to the contract."""

    case: Case
    verifier: Verifier

    async def score(self, *requests: ScoreRequest) -> list[ScoreReply]:
        replies = await self.verifier.score(requests)
        assert len(replies) == len(requests)
        assert all(isinstance(r, ScoreReply) for r in replies), replies
        return replies  # type: ignore[return-value]

    def num_rewards(self, request: ScoreRequest) -> int:
        return 1 if self.verifier.info.readout == "whole" else len(request.steps) - request.num_locked


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=CASES)
async def held(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Held]:
    case = CASES[request.param]
    verifier = case.build(tmp_path_factory.mktemp("model"))
    yield Held(case, verifier)
    await verifier.close()


pytestmark = pytest.mark.asyncio(loop_scope="module")


def rewards(replies: Sequence[ScoreReply]) -> list[tuple[float, ...]]:
    return [tuple(r.log_odds for r in reply.rewards) for reply in replies]


def all_requests(case: Case) -> list[ScoreRequest]:
    return [case.request(n, locked) for n in range(1, len(case.steps) + 1) for locked in range(n)]


async def test_a_reward_for_each_new_step(held: Held) -> None:
    for request in all_requests(held.case):
        (reply,) = await held.score(request)
        assert len(reply.rewards) == held.num_rewards(request)
        assert all(0.0 <= r.value <= 1.0 for r in reply.rewards)
        assert (reply.usage.reward_tokens > 0) == held.case.reads
        assert reply.usage.generated_tokens == reply.usage.prompt_tokens == 0, "a policy's figures"


async def test_steps_are_told_apart(held: Held) -> None:
    """No reward is a constant: a trajectory's rewards differ, and so do those of two trajectories."""
    seen = {r for reply in rewards(await held.score(*all_requests(held.case))) for r in reply}
    assert len(seen) > 1


async def test_step_by_step_gives_the_rewards_of_one_go(held: Held) -> None:
    last = len(held.case.steps)
    (in_one,) = rewards(await held.score(held.case.request(last)))
    by_step = [rewards(await held.score(held.case.request(n, n - 1)))[0][-1] for n in range(1, last + 1)]
    assert held.verifier.info.batch_invariant
    assert (by_step[-1:] if held.verifier.info.readout == "whole" else by_step) == list(in_one)


async def test_a_reward_depends_on_its_request_alone(held: Held) -> None:
    requests = all_requests(held.case)
    together = rewards(await held.score(*requests))
    assert rewards(await held.score(*reversed(requests))) == together[::-1]
    apart = await asyncio.gather(*(held.score(r) for r in requests))
    assert [rewards(replies)[0] for replies in apart] == together


async def test_a_reward_does_not_depend_on_later_steps(held: Held) -> None:
    if held.verifier.info.readout == "whole":
        pytest.skip("one reward for all the steps depends on all of them")
    whole, part = rewards(await held.score(held.case.request(3), held.case.request(2)))
    assert whole[:2] == part


async def test_an_empty_step_has_a_reward_too(held: Held) -> None:
    if not held.case.takes_empty_steps:
        pytest.skip("a step without tokens has no certainty: tested with its verifier")
    steps = (*held.case.steps[:1], "")
    (reply,) = await held.score(held.case.request(2, 1, steps=steps))
    assert len(reply.rewards) == 1


async def test_no_requests_and_no_new_steps(held: Held) -> None:
    assert await held.verifier.score([]) == []
    if held.verifier.info.readout == "per_step":
        assert rewards(await held.score(held.case.request(2, 2))) == [()]


async def test_a_step_is_encoded_once(tmp_path: Path, held: Held) -> None:
    """Step by step a model computes little more than one pass over the trajectory."""
    if not held.case.reads or held.verifier.progress is None:
        pytest.skip("there is no model")
    fresh = held.case.build(tmp_path)
    computed, length = 0, 0
    for n in range(1, len(held.case.steps) + 1):
        (reply,) = await fresh.score([held.case.request(n, n - 1)])
        assert isinstance(reply, ScoreReply)
        computed += reply.usage.reward_tokens
        length = reply.usage.reward_tokens + reply.usage.cached_reward_tokens
    assert computed <= held.case.most_computed * length
    assert fresh.progress == computed
    await fresh.close()


async def test_what_cannot_be_read_fails_alone(held: Held) -> None:
    if not held.case.reads or held.verifier.progress is None:
        pytest.skip("there is no model, and so no context to overflow")
    good = held.case.request(2)
    alone = rewards(await held.score(good))
    replies = await held.verifier.score([good, held.case.request(1, steps=("word " * 2000,)), good])
    assert isinstance(replies[1], Failure)
    assert replies[1].type == "ContextOverflow"
    assert rewards([r for r in replies if isinstance(r, ScoreReply)]) == alone * 2
