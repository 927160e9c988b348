"""What every verifier promises, whatever it reads; a new one joins by one more entry in CASES."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml
from transformers import AutoTokenizer

from actors.text.tokens import InnerTokenizer
from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
from actors.transformers_engine.engine import TransformersEngine
from actors.verifiers.config import (
    GenerativeVerifierConfig,
    LikelihoodVerifierConfig,
)
from orchestrator.backend import DirectBackend
from orchestrator.prompts.question import PrefixQuestion
from orchestrator.protocols import (
    Failure,
    ModelInfo,
    PolicyPrefix,
    Readout,
    ScoreReply,
    ScoreRequest,
    Verifier,
    VerifierBase,
)
from orchestrator.testing import (
    VERIFIER_LAWS,
    FakeEngine,
    FakeTask,
    FakeVerifier,
    Law,
    VerifierCase,
    hold,
    name_of,
)
from orchestrator.verifiers.oracle import OracleConfig
from orchestrator.verifiers.self_certainty import SelfCertaintyVerifierConfig
from orchestrator.verifiers.self_evaluation import SelfEvaluation
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


@dataclass(frozen=True, slots=True)
class Reading(VerifierBase):
    """A verifier that reads a policy, with the token ids that a search would give it, from the texts."""

    inner: SelfEvaluation
    engine: TransformersEngine
    ids: Callable[[str], tuple[int, ...]]

    @property
    def info(self) -> ModelInfo:
        return self.inner.info

    @property
    def progress(self) -> int | None:
        return self.engine.progress

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        return await self.inner.score([replace(r, prefix=self._prefix(r)) for r in requests])

    def _prefix(self, request: ScoreRequest) -> PolicyPrefix:
        return PolicyPrefix(request.question, "", (), tuple(map(self.ids, request.steps)))

    async def close(self) -> None:
        await self.engine.close()


def by_policy(readout: Readout = "per_step") -> Callable[[Path], Verifier]:
    def build(folder: Path) -> Verifier:
        save_rlhflow(folder)
        engine = TransformersEngineConfig(str(folder), template="{question}", chat=True).build()
        question = PrefixQuestion("Right so far? + or -", ["-", "+"])
        ids = InnerTokenizer(AutoTokenizer.from_pretrained(folder)).ids
        return Reading(SelfEvaluation(engine, question, readout), engine, ids)

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
    "self_evaluation": Case(by_policy(), most_computed=2.0),
    "self_evaluation whole": Case(by_policy("whole"), most_computed=2.0),
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

    @property
    def has_model(self) -> bool:
        return self.case.reads and self.verifier.progress is not None

    @property
    def laws(self) -> VerifierCase:
        """What the shipped check takes."""
        return VerifierCase(
            self.verifier,
            self.case.question,
            self.case.steps,
            reads=self.case.reads,
            empty_steps=self.case.takes_empty_steps,
            impossible=("word " * 2000,) if self.has_model else None,
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=CASES)
async def held(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Held]:
    case = CASES[request.param]
    verifier = case.build(tmp_path_factory.mktemp("model"))
    yield Held(case, verifier)
    await verifier.close()


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("law", VERIFIER_LAWS, ids=name_of)
async def test_it_keeps_the_laws(held: Held, law: Law[VerifierCase]) -> None:
    await hold(law, held.laws)


async def test_equal_requests_get_equal_rewards_to_the_bit(held: Held) -> None:
    """So the laws compare bit by bit."""
    assert held.verifier.info.batch_invariant


async def test_a_step_is_encoded_once(tmp_path: Path, held: Held) -> None:
    """Step by step a model computes little more than one pass over the trajectory."""
    if not held.has_model:
        pytest.skip("there is no model")
    fresh = held.case.build(tmp_path)
    computed, length = 0, 0
    for n in range(1, len(held.case.steps) + 1):
        (reply,) = await fresh.score([held.laws.request(n, n - 1)])
        assert isinstance(reply, ScoreReply)
        computed += reply.usage.reward_tokens
        length = reply.usage.reward_tokens + reply.usage.cached_reward_tokens
    assert computed <= held.case.most_computed * length
    assert fresh.progress == computed
    await fresh.close()


async def test_what_cannot_be_read_says_that_it_is_too_long(held: Held) -> None:
    if not held.has_model:
        pytest.skip("there is no model, and so no context to overflow")
    (reply,) = await held.verifier.score([held.laws.of(("word " * 2000,))])
    assert isinstance(reply, Failure)
    assert reply.type == "ContextOverflow"
