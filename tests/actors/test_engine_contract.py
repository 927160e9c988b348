"""What every engine and every verifier promises; a new one joins by one more entry in CASES.

The laws are those that ``check_engine`` and ``check_verifier`` ship.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from functools import partial

import pytest
import pytest_asyncio

from actors.pool.inprocess import InProcessCluster
from actors.pool.placement import ClusterConfig
from actors.pool.pool import Pool
from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
from orchestrator.protocols import Engine, Verifier
from orchestrator.testing import (
    ENGINE_LAWS,
    VERIFIER_LAWS,
    EngineCase,
    FakeEngine,
    FakeVerifier,
    Law,
    VerifierCase,
    hold,
    name_of,
)
from tests.actors.shared_vllm import Elsewhere
from tests.actors.small_models import ask, completed
from tests.fake_plans import FakeEngineConfig, FakeVerifierConfig


@dataclass(frozen=True)
class Case:
    """An engine and a verifier with a question that they know, and the first steps of a solution.

    The last of the ``wrong`` steps is wrong. The engine cannot answer the ``impossible`` question.
    """

    engine: Callable[[], Engine]
    verifier: Callable[[], Verifier]
    question: str
    steps: tuple[str, ...]
    wrong: tuple[str, ...]
    marker: str
    impossible: str
    unreadable: tuple[str, ...] | None = None
    pooled: bool = False
    threads: bool = False  # of this process, two for the engine
    shared: tuple[str, str] | None = None  # the fixtures that hold both, where all tests share them
    beside: str = ""  # the fixture of another case that may start meanwhile
    expressions: bool = True  # a step may end at one


FAKE = Case(
    partial(FakeEngine, fail_on="bbbb"),
    FakeVerifier,
    "abca",
    ("a\n", "b\n", "c\n"),
    ("a\n", "b\n", "a\n"),
    "=",
    "bbbb",
)
CHAIN = Case(
    TransformersEngineConfig("embedded:chain-policy", template="{question}\n").build,
    TransformersVerifierConfig("embedded:chain-verifier").build,
    "94 a/2 b-36 c*2 d-20 e-1 f+70 g+8 h+15",
    ("a94/2=47\n", "b47-36=11\n", "c11*2=22\n"),
    ("a94/2=47\n", "b47-36=11\n", "c11*2=23\n"),
    "#",
    "9" * 20_000,
    ("9" * 20_000,),
)
CASES = {
    "fake": FAKE,
    "transformers": CHAIN,
    "pooled": replace(FAKE, pooled=True),
    "threads": replace(FAKE, threads=True),
    "transformers in threads": replace(CHAIN, threads=True),
    "vllm": replace(CHAIN, shared=("vllm_policy", "vllm_verifier"), beside="openai_server"),
    "openai": replace(CHAIN, shared=("openai_policy", "vllm_verifier"), expressions=False),
    "http": replace(CHAIN, shared=("openai_policy", "http_verifier"), expressions=False),
}


@dataclass(frozen=True)
class Parts:
    """An engine and a verifier as their checks take them."""

    case: Case
    engine: EngineCase
    verifier: VerifierCase


def parts_of(case: Case, engine: Engine, verifier: Verifier) -> Parts:
    impossible = {"question": case.impossible}
    return Parts(
        case,
        EngineCase(
            engine,
            case.question,
            answer_marker=case.marker,
            impossible=impossible,
            expressions=case.expressions,
        ),
        VerifierCase(verifier, case.question, case.steps, case.wrong, impossible=case.unreadable),
    )


QUICK = ("fake", "threads")  # the others start a Ray or load torch


SLOW = ("transformers in threads", "http")  # as "transformers", by seconds a law; one more server to start


def with_marks(name: str) -> object:
    marks = [pytest.mark.heavy] * (name not in QUICK) + [pytest.mark.slow] * (name in SLOW)
    return pytest.param(name, marks=marks)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=map(with_marks, CASES))
async def parts(request: pytest.FixtureRequest) -> AsyncIterator[Parts]:
    case = CASES[request.param]
    if case.pooled:
        request.getfixturevalue("local_ray")
        config = ClusterConfig(engine_replicas=2)
        async with await Pool.start(config, case.engine, case.verifier) as pool:
            assert pool.verifier is not None
            yield parts_of(case, pool.engine, pool.verifier)
        return
    if case.threads:
        policies = {"engine": FakeEngineConfig(case.engine)}
        backend = await InProcessCluster(engine_replicas=2).start(policies, FakeVerifierConfig(case.verifier))
        assert backend.verifier is not None
        yield parts_of(case, backend.engine, backend.verifier)
        await backend.close()
        return
    if case.beside:
        request.getfixturevalue(case.beside)
    if case.shared:
        yield parts_of(case, *(request.getfixturevalue(name) for name in case.shared))
        return
    engine, verifier = case.engine(), case.verifier()
    yield parts_of(case, engine, verifier)
    await engine.close()
    await verifier.close()


# The first test of a case waits for its engines to start.
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]


async def test_replies_are_exact_where_an_engine_promises_it(parts: Parts) -> None:
    """vLLM and a server promise no more than rounding; their tokens agree (float32, a small model)."""
    assert parts.engine.engine.info.batch_invariant == (parts.case.shared is None)


@pytest.mark.parametrize("law", ENGINE_LAWS, ids=name_of)
async def test_the_engine_keeps_the_laws(parts: Parts, law: Law[EngineCase]) -> None:
    await hold(law, parts.engine)


@pytest.mark.parametrize("law", VERIFIER_LAWS, ids=name_of)
async def test_the_verifier_keeps_the_laws(parts: Parts, law: Law[VerifierCase]) -> None:
    await hold(law, parts.verifier)


async def test_right_and_wrong_steps_are_far_apart(parts: Parts) -> None:
    case = parts.verifier
    assert case.wrong is not None
    good, bad = await case.scored(case.of(case.steps), case.of(case.wrong))
    assert good.rewards[2].value > 0.8 > 0.5 > bad.rewards[2].value


@pytest.mark.heavy
async def test_a_real_server_honours_seeds(openai_policy: Elsewhere, openai_chat: Elsewhere) -> None:
    assert openai_policy.info.seeds_honoured is True
    assert openai_chat.info.seeds_honoured is True


@pytest.mark.heavy
async def test_a_real_server_gives_the_same_answers_as_a_chat(
    openai_policy: Elsewhere, openai_chat: Elsewhere
) -> None:
    """Greedily: under a seed it draws other numbers for each interface's request."""
    greedy = ask(CHAIN.question, to_end=True, temperature=0.0, max_tokens=128)
    (whole,) = completed(await openai_policy.generate([greedy]))
    (chat,) = completed(await openai_chat.generate([greedy]))
    assert [(s.text, s.finish) for s in chat.steps] == [(s.text, s.finish) for s in whole.steps]
    assert [len(s.token_ids) for s in chat.steps] == [len(s.token_ids) for s in whole.steps]
    assert [s.logprob for s in chat.steps] == pytest.approx([s.logprob for s in whole.steps], abs=1e-3)


@pytest.mark.heavy
async def test_a_real_server_gives_several_answers_to_one_request(openai_chat: Elsewhere) -> None:
    rows = [ask(CHAIN.question, to_end=True, temperature=1.5, max_tokens=128, seed=s) for s in range(4)]
    four, again, two = [completed(await openai_chat.generate(rows[:n])) for n in (4, 4, 2)]
    assert [reply.steps for reply in four] == [reply.steps for reply in again]
    assert len({"".join(s.text for s in reply.steps) for reply in four}) > 1
    assert [reply.steps for reply in two] == [reply.steps for reply in four[:2]]
    assert [reply.usage.prompt_tokens > 0 for reply in four] == [True, False, False, False]
