"""Verifiers that ask a language model, or no model: against an enumerable language, and where they fail."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from msgspec import UNSET

from actors.openai_engine.config import OpenAIEngineConfig
from actors.transformers_engine.config import TransformersEngineConfig
from actors.verifiers.config import GenerativeVerifierConfig as GenerativeConfig
from actors.verifiers.config import LikelihoodVerifierConfig as LikelihoodConfig
from actors.verifiers.generative import GenerativeVerifier, prompt_of
from actors.verifiers.likelihood import LikelihoodVerifier
from orchestrator.errors import ConfigError
from orchestrator.protocols import Failure, Loglik, ModelInfo, ScoreReply, ScoreRequest
from orchestrator.testing import FakeEngine, FakeVerifier, World
from orchestrator.types import Sampling, Trajectory, Usage
from orchestrator.verifiers.self_certainty import SelfCertainty

ENGINE = TransformersEngineConfig("embedded:chain-policy")


class Characters:
    """A tokenizer of the fakes' language: a character is a token, its id the code point; 0 ends a text."""

    eos_token_id = 0

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [ord(c) for c in text]}


def request(*steps: str, num_locked: int = 0, question: str = "abca", **more: Any) -> ScoreRequest:
    return ScoreRequest("p", question, steps, num_locked, **more)


def scored(reply: ScoreReply | Failure) -> list[float]:
    assert isinstance(reply, ScoreReply), reply
    return [r.value for r in reply.rewards]


# The default language: the right letter has probability .6, the next .4 * 2/3; with .03 the text ends.
RIGHT, NEXT = 0.97 * 0.6, 0.97 * 0.4 * 2 / 3


async def test_likelihood_of_steps_of_a_language_that_is_known() -> None:
    """A step is two characters: normalised by token, its reward is the square root of its probability."""
    per_step = LikelihoodVerifier(LikelihoodConfig(ENGINE), FakeEngine(), Characters())
    (reply,) = await per_step.score([request("a\n", "c\n")])
    assert scored(reply) == pytest.approx([math.sqrt(RIGHT), math.sqrt(NEXT)])
    plain = LikelihoodVerifier(LikelihoodConfig(ENGINE, normalise="none"), FakeEngine(), Characters())
    (reply,) = await plain.score([request("a\n", "c\n", num_locked=1)])
    assert scored(reply) == pytest.approx([NEXT])


async def test_likelihood_of_all_steps_as_one() -> None:
    engine = FakeEngine()
    whole = LikelihoodVerifier(LikelihoodConfig(ENGINE, readout="whole"), engine, Characters())
    expected = (RIGHT * NEXT) ** (1 / 4)
    (first,) = await whole.score([request("a\n")])
    (both,) = await whole.score([request("a\n", "c\n")])
    assert scored(first) == pytest.approx([math.sqrt(RIGHT)])
    assert scored(both) == pytest.approx([expected])
    assert engine.usage.prompt_tokens == 2 + 4, "the first step was read once, and stood before the second"
    (afresh,) = await LikelihoodVerifier(
        LikelihoodConfig(ENGINE, readout="whole"), FakeEngine(), Characters()
    ).score([request("a\n", "c\n")])
    assert isinstance(both, ScoreReply) and isinstance(afresh, ScoreReply)
    assert both.rewards == afresh.rewards


async def test_an_empty_step_is_as_likely_as_the_end_of_the_text() -> None:
    (reply,) = await LikelihoodVerifier(LikelihoodConfig(ENGINE), FakeEngine(), Characters()).score(
        [request("a\n", "")]
    )
    assert scored(reply) == pytest.approx([math.sqrt(RIGHT), 0.03])


async def test_an_impossible_step_has_no_chance_and_a_nan_is_an_error() -> None:
    (reply,) = await LikelihoodVerifier(LikelihoodConfig(ENGINE), FakeEngine(), Characters()).score(
        [request("z\n")]
    )
    assert scored(reply) == [0.0]

    class Broken(FakeEngine):
        async def loglik(self, requests: Any) -> list[Loglik | Failure]:
            return [Loglik((math.nan,) * len(r.steps), Usage()) for r in requests]

    (failure,) = await LikelihoodVerifier(LikelihoodConfig(ENGINE), Broken(), Characters()).score(
        [request("a\n")]
    )
    assert failure == Failure("VerifierError", "the log-likelihood of a step of 2 tokens is nan")

    class Short(FakeEngine):
        async def loglik(self, requests: Any) -> list[Loglik | Failure]:
            return [Loglik((-1.0,), Usage()) for _ in requests]

    (failure,) = await LikelihoodVerifier(LikelihoodConfig(ENGINE), Short(), Characters()).score(
        [request("a\n", "b\n")]
    )
    assert failure == Failure("VerifierError", "2 steps got 1 likelihoods")


def says(answers: dict[str, float]) -> FakeEngine:
    """A model that answers any prompt with one of ``answers``."""
    return FakeEngine(language=lambda _question, prefix: {} if prefix else answers)


async def test_generative_log_odds_are_those_of_yes_against_no() -> None:
    judging = GenerativeConfig(
        ENGINE, "{question}|{steps}|{number}:{step}", step_template="({number} {step})"
    )
    engine = says({"Yes": 0.6, "No": 0.2, "Hm": 0.2})
    verifier = GenerativeVerifier(judging, engine, Characters())
    (reply,) = await verifier.score([request("a", "b")])
    assert scored(reply) == pytest.approx([0.75, 0.75]), "what is neither does not count"
    assert prompt_of(judging, "q{step}", ["a", "b"]) == "q{step}|(1 a)(2 b)|2:b"


CRITICISING = GenerativeConfig(ENGINE, "{steps}", critique_tokens=20, verdict="so:")


def criticises(critique: str, right: float = 0.8) -> FakeEngine:
    def language(_question: str, prefix: str) -> dict[str, float]:
        return {"Yes": right, "No": 1 - right} if prefix else {critique: 1.0}

    return FakeEngine(language=language)


async def test_a_verdict_is_read_after_the_critique() -> None:
    engine = criticises("fine so:")
    (reply,) = await GenerativeVerifier(CRITICISING, engine, Characters()).score([request("a", "b")])
    assert scored(reply) == pytest.approx([0.8, 0.8])
    assert isinstance(reply, ScoreReply)
    assert reply.usage.generated_tokens == 0, "a critique is a verifier's tokens, not the policy's"
    assert reply.usage.reward_tokens > 2 * len("fine so:")
    assert [r.delimiter for r in engine.requests] == ["so:", "so:"]


@pytest.mark.parametrize(
    ("critique", "words"),
    [
        (
            "I do not know",
            "a critique of 14 tokens (at most 20) ended without 'so:': the model ended its text",
        ),
        ("on and on and on and on so:", "of 20 tokens (at most 20) ended without 'so:': the token limit"),
    ],
)
async def test_a_critique_without_a_verdict_is_an_error_and_not_even_odds(critique: str, words: str) -> None:
    verifier = GenerativeVerifier(CRITICISING, criticises(critique), Characters())
    (failure,) = await verifier.score([request("a")])
    assert isinstance(failure, Failure)
    assert failure.type == "VerifierError"
    assert words in failure.message


async def test_a_verdict_that_cannot_be_is_an_error() -> None:
    verifier = GenerativeVerifier(GenerativeConfig(ENGINE, "{steps}"), says({"Yes": 1.0}), Characters())
    (failure,) = await verifier.score([request("a")])
    assert failure == Failure("VerifierError", "the log-probabilities of 'Yes' and 'No' are [0.0, -inf]")


async def test_several_critiques_are_averaged_and_each_has_its_seed() -> None:
    def language(_question: str, prefix: str) -> dict[str, float]:
        if not prefix:
            return {"good so:": 0.5, "bad so:": 0.5}
        return {"Yes": 0.9, "No": 0.1} if prefix.startswith("good") else {"Yes": 0.2, "No": 0.8}

    judging = GenerativeConfig(
        ENGINE, "{steps}", critique_tokens=20, verdict="so:", num_critiques=40, temperature=1.0
    )
    engine = FakeEngine(language=language)
    (reply,) = await GenerativeVerifier(judging, engine, Characters()).score([request("a")])
    assert len({r.seed for r in engine.requests}) == 40
    assert scored(reply)[0] == pytest.approx(0.55, abs=0.2)
    assert 0.25 < scored(reply)[0] < 0.85, "neither verdict alone"
    (again,) = await GenerativeVerifier(judging, FakeEngine(language=language), Characters()).score(
        [request("a")]
    )
    assert again == reply


async def test_critiques_are_seeded_by_the_run() -> None:
    """Another seed of the run is another critique; equal texts of one run have equal ones."""
    judging = GenerativeConfig(ENGINE, "{steps}", critique_tokens=20, verdict="so:", temperature=1.0)
    seeds = []
    for seed in (1, 1, 2):
        engine = criticises("fine so:")
        verifier = GenerativeVerifier(judging, engine, Characters())
        assert verifier.info.sampling
        await verifier.score([request("a", seed=seed)])
        seeds.append(engine.requests[0].seed)
    assert seeds[0] == seeds[1] != seeds[2]


async def test_critiques_do_not_depend_on_the_home() -> None:
    """They are requested at it, for the problem."""
    judging = GenerativeConfig(ENGINE, "{steps}", critique_tokens=20, verdict="so:", temperature=1.0)
    engine = criticises("fine so:")
    verifier = GenerativeVerifier(judging, engine, Characters())
    asked = request("a", seed=1)
    await verifier.score([asked, asked.at("another home")])
    await verifier.score([asked.at("another home")])
    first, other = engine.requests
    assert (first.seed, first.home, first.problem_id) == (other.seed, asked.home, asked.home)
    assert (other.home, other.problem_id) == ("another home", asked.home)
    assert not GenerativeVerifier(CRITICISING, criticises("so:"), Characters()).info.sampling


async def test_the_run_seed_reaches_a_verifier_that_samples_and_no_other() -> None:
    class Drawing(FakeVerifier):
        @property
        def info(self) -> ModelInfo:
            return replace(super().info, sampling=True)

    for verifier, expected in ((Drawing(), 7), (FakeVerifier(), UNSET)):
        world = World(verifier=verifier)
        session = world.session(7)
        await session.score(await session.generate([Trajectory()], Sampling(max_tokens=8)))
        assert [r.seed for r in verifier.requests] == [expected]


async def test_equal_critiques_are_generated_once_and_paid_for_once() -> None:
    engine = criticises("fine so:")
    verifier = GenerativeVerifier(CRITICISING, engine, Characters())
    first, other, again = await verifier.score([request("a"), request("b"), request("a")])
    assert len(engine.requests) == 2
    assert scored(again) == scored(first)
    assert isinstance(first, ScoreReply) and isinstance(other, ScoreReply) and isinstance(again, ScoreReply)
    assert again.usage == Usage()
    assert first.usage.reward_tokens == other.usage.reward_tokens > 0


def test_verdicts_that_begin_alike_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^verifier\.bad='Nope': must begin with another token"):
        GenerativeVerifier(
            GenerativeConfig(ENGINE, "{steps}", good="No", bad="Nope"), FakeEngine(), Characters()
        )


async def test_self_certainty_is_the_geometric_mean_of_the_policys_own_probabilities() -> None:
    asked = request("ab", "c", logprobs=(-2.0, -0.5), num_tokens=(4, 1))
    (each,) = await SelfCertainty().score([asked])
    assert scored(each) == pytest.approx([math.exp(-0.5), math.exp(-0.5)])
    (whole,) = await SelfCertainty("whole").score([asked])
    assert scored(whole) == pytest.approx([math.exp(-0.5)])
    (last,) = await SelfCertainty().score(
        [request("ab", "c", num_locked=1, logprobs=(-9.0, 0.0), num_tokens=(4, 1))]
    )
    assert scored(last) == [1.0]


@pytest.mark.parametrize(
    ("logprobs", "num_tokens", "words"),
    [
        ((-1.0, None), (1, 1), "reported no log-probability"),
        ((), (), "2 steps came with 0 log-probabilities and 0 lengths"),
        ((-1.0, -1.0), (1, 0), "a step of 0 tokens"),
    ],
)
async def test_self_certainty_without_figures_is_an_error(logprobs: Any, num_tokens: Any, words: str) -> None:
    (failure,) = await SelfCertainty().score([request("a", "b", logprobs=logprobs, num_tokens=num_tokens)])
    assert isinstance(failure, Failure)
    assert words in failure.message


@pytest.mark.parametrize(
    ("kind", "knobs", "line"),
    [
        (LikelihoodConfig, {"engine": "vllm"}, "verifier.engine=vllm: must be an engine's configuration"),
        (GenerativeConfig, {"template": "x"}, "verifier.template='x': must hold {steps} or {step}"),
        (GenerativeConfig, {"num_critiques": 2}, "verifier.num_critiques=2: needs critique_tokens"),
        (GenerativeConfig, {"critique_tokens": -1}, "verifier.critique_tokens=-1: must be 0"),
        (GenerativeConfig, {"verdict": ""}, "verifier.verdict='': must be the text"),
    ],
)
def test_bad_configuration_names_its_key(kind: Any, knobs: dict[str, Any], line: str) -> None:
    defaults = {"engine": ENGINE, "template": "{steps}"} if kind is GenerativeConfig else {"engine": ENGINE}
    with pytest.raises(ConfigError) as caught:
        kind(**{**defaults, **knobs})
    assert str(caught.value).startswith(line)


def test_a_tokenizer_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"^verifier\.tokenizer=\./nowhere: no such tokenizer"):
        LikelihoodConfig(ENGINE, tokenizer="./nowhere").build()


def test_a_server_of_texts_alone_judges_nothing() -> None:
    engine = OpenAIEngineConfig("m", "http://127.0.0.1:9/v1", prompts="text")
    for build in (partial(GenerativeConfig, template="{step}"), LikelihoodConfig):
        with pytest.raises(ConfigError, match=r"^verifier\.engine\.prompts=text: must be tokens here"):
            build(engine)
