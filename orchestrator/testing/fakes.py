"""Shipped fakes: an engine, a verifier and a task whose trajectories can all be enumerated.

They answer through the same interface as real models, so a strategy is tested as it runs, and exactly: the
language states the probability of each step, so results can be compared with an enumeration.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from orchestrator.protocols import (
    Completion,
    EngineBase,
    Failure,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    ModelInfo,
    OptionsRequest,
    Readout,
    Sampler,
    ScoreReply,
    ScoreRequest,
    VerifierBase,
)
from orchestrator.seeds import derive_rng
from orchestrator.stated.answer import states_answer
from orchestrator.steps.rule import BY_DELIMITER, MODES, StepEnds, StepRule
from orchestrator.testing.fake_tokens import EOS, TokenLanguage, generated
from orchestrator.types import Denoising, Finish, Overhead, Params, Problem, Reward, Sampling, Step, Usage

Language = Callable[[str, str], Mapping[str, float]]
"""From a question and the text so far to the probability of each next step's text, which sum to 1.

A text that ends with the delimiter is a step; any other ends the trajectory (end of text).
"""

RewardFunction = Callable[[str, tuple[str, ...]], float]
"""From a question and the steps so far to a reward in [0, 1]."""

LETTERS = "abc"


@dataclass(frozen=True, slots=True)
class Copying:
    """The default language: copy the question's letters, one per step, then answer ``=<letters>``.

    Of a prompt of several lines it copies the first one of these letters alone. The right letter has
    probability ``right``, the next in the alphabet two thirds of what remains, and with ``stop`` the text
    ends early, without an answer. (Not symmetric, so that a sign error shows.)
    """

    right: float = 0.6
    stop: float = 0.03

    def __call__(self, question: str, prefix: str) -> Mapping[str, float]:
        written = prefix.split("\n")[:-1]
        lines = (line for line in question.splitlines() if line and not line.strip(LETTERS))
        question = next(lines, question)
        if len(written) >= len(question):
            return {f"={''.join(written)}\n" if len(written) == len(question) else "": 1.0}
        first = LETTERS.index(question[len(written)])
        shares = (self.right, (1 - self.right) * 2 / 3, (1 - self.right) / 3)
        letters = (LETTERS[(first + i) % len(LETTERS)] for i in range(len(LETTERS)))
        steps = {f"{c}\n": (1 - self.stop) * p for c, p in zip(letters, shares, strict=True)}
        return steps | ({"": self.stop} if self.stop else {})


def letters_right(question: str, steps: tuple[str, ...]) -> float:
    """The default reward: .9 while every letter is right, and less with each wrong one."""
    written = "".join(s.strip("\n") for s in steps if not s.startswith("="))
    wrong = sum(a != b for a, b in zip(written, question, strict=False)) + (steps[-1] == "")
    return float(0.9 * 0.4**wrong)


def _conversation(request: GenerateRequest | LoglikRequest) -> str:
    """Return what a language sees: the question, and after it the turns before, where there are any."""
    return "\n".join((request.question, *(turn.text for turn in request.history)))


@dataclass
class FakeEngine(EngineBase):
    """Sample a language with the seed of each request and nothing else.

    ``requests`` and ``usage`` record the requests and what the replies cost, for comparison with a
    ledger. ``raise_once`` makes the first call raise; a question equal to ``raise_on`` makes every call
    that holds it raise (as a crash does); one equal to ``fail_on`` gets a Failure, and no other request does.
    ``latency`` gives the seconds that a reply takes. With the ``sampler`` stream a step depends on the seed
    and where it begins; ``drawn`` records both, and ``released`` the problems that have ended. ``in_vain`` is
    what ``release`` returns for a problem, and ``encoded`` the texts of each call for token ids. ``opinion``
    is what it says of its own steps when asked.
    """

    language: Language = field(default_factory=Copying)
    raise_once: bool = False
    raise_on: str | None = None
    fail_on: str | None = None
    latency: Callable[[GenerateRequest, Completion], float] | None = None
    batch_invariant: bool = True
    sampler: Sampler = "step"
    takes_history: bool = True
    opinion: RewardFunction = letters_right
    tokenizer: str | None = "characters"
    drawn: list[tuple[int, int]] = field(default_factory=list, init=False)
    released: list[str] = field(default_factory=list, init=False)
    in_vain: dict[str, Overhead] = field(default_factory=dict)
    requests: list[GenerateRequest] = field(default_factory=list, init=False)
    encoded: list[list[str]] = field(default_factory=list, init=False)
    usage: Usage = field(default_factory=Usage, init=False)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            self.batch_invariant,
            self.sampler,
            takes_history=self.takes_history,
            step_modes=MODES,
            tokenizer=self.tokenizer,
        )

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        self.requests.extend(requests)
        if self.raise_once:
            self.raise_once = False
            raise RuntimeError("this fake engine raises once")
        if any(r.question == self.raise_on for r in requests):
            raise RuntimeError(f"this fake engine raises on {self.raise_on!r}")
        return list(await asyncio.gather(*(self._reply(r) for r in requests)))

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        replies: list[Loglik | Failure] = []
        for r in requests:
            if isinstance(r, OptionsRequest):
                replies.append(self._judge(r))
                continue
            prefix, logprobs = _text(r.token_ids), []
            for token_ids in r.steps:
                logprobs.append(self._likelihood(_conversation(r), prefix, token_ids))
                prefix += _text(token_ids)
            usage = Usage(prompt_tokens=len(r.token_ids) + sum(map(len, r.steps)))
            self.usage += usage
            replies.append(Loglik(tuple(logprobs), usage))
        return replies

    async def encode(self, texts: Sequence[str]) -> list[tuple[int, ...] | Failure]:
        self.encoded.append(list(texts))
        return [tuple(map(ord, text)) for text in texts]

    def check_options(self, key: str, asked: str, options: Sequence[str]) -> None:
        """Any options will do."""

    def _judge(self, request: OptionsRequest) -> Loglik:
        """The opinion of the steps so far is the probability of the last option; the first has the rest."""
        text = _text(request.token_ids)
        ended = request.token_ids[-1:] == (EOS,) and text[-1:] in ("", "\n")
        steps = (*text.splitlines(keepends=True), *([""] if ended else []))
        value = self.opinion(request.question, steps)
        between = [-math.inf] * (len(request.options) - 2)
        usage = Usage(prompt_tokens=len(request.token_ids) + len(request.asked), cached_tokens=len(steps))
        self.usage += usage
        return Loglik((math.log1p(-value), *between, math.log(value)), usage)

    async def release(self, home: str) -> Overhead:
        self.released.append(home)
        return self.in_vain.pop(home, Overhead())

    async def _reply(self, request: GenerateRequest) -> Completion | Failure:
        if request.question == self.fail_on:
            return Failure("RuntimeError", f"this fake engine fails on {self.fail_on!r}")
        completion = self._complete(request)
        if self.latency is not None:
            await asyncio.sleep(self.latency(request, completion))
        self.usage += completion.usage
        return completion

    def _complete(self, request: GenerateRequest) -> Completion:
        if request.ends != StepEnds(request.delimiter):
            return self._by_tokens(request)
        rng = derive_rng(request.seed)
        prefix, steps, room = _text(request.token_ids), list[Step](), request.params.max_tokens
        position = len(request.token_ids)
        while not steps or (request.to_end and room and not _ends(steps[-1], request)):
            if self.sampler == "stream":
                self.drawn.append((request.seed, position))
                rng = derive_rng(request.seed, position)
            steps.append(self._draw_step(request, rng, prefix, room))
            prefix += steps[-1].text
            room -= len(steps[-1].token_ids)
            position += len(steps[-1].token_ids)
        if request.to_end and not _ends(steps[-1], request):
            steps[-1] = replace(steps[-1], finish=Finish.LENGTH)
        return Completion(tuple(steps), _usage(request, steps))

    def _by_tokens(self, request: GenerateRequest) -> Completion:
        """Return a request's steps where they do not end at the delimiter alone."""
        rng, one_stream = derive_rng(request.seed), self.sampler == "stream"

        def rng_of(place: int) -> np.random.Generator:
            return derive_rng(request.seed, place) if one_stream else rng

        language = TokenLanguage(
            partial(self.language, _conversation(request)),
            request.delimiter,
            lambda line: states_answer(line, request.answer_marker),
        )
        splitter, tokens = generated(request, language, rng_of, lambda p: _reshape(p, request.params))
        num_begun = len(request.begun.token_ids)
        num_read = len(_conversation(request)) + len(request.token_ids) + num_begun
        return Completion(tuple(splitter.steps), Usage(len(tokens) - num_begun, num_read))

    def _draw_step(self, request: GenerateRequest, rng: np.random.Generator, prefix: str, room: int) -> Step:
        question = _conversation(request)
        options = self.language(question, prefix)
        text = list(options)[rng.choice(len(options), p=_reshape(list(options.values()), request.params))]
        token_ids = _tokens(text, request.delimiter)
        finish = Finish.EOS if token_ids[-1] == EOS else Finish.STEP
        if len(token_ids) > room:
            token_ids, finish = token_ids[:room], Finish.LENGTH
        logprob = self._logprob(question, prefix, token_ids)
        return Step(_text(token_ids), token_ids, logprob, None, finish)

    def _likelihood(self, question: str, prefix: str, token_ids: tuple[int, ...]) -> float:
        """Return the log-probability of tokens that need not be a line."""
        if prefix[-1:] in ("", "\n") and "\n" not in _text(token_ids[:-1]):
            return self._logprob(question, prefix, token_ids)
        language = TokenLanguage(partial(self.language, question), "\n", lambda line: line.startswith("="))
        logprob = language.logprob(prefix, token_ids)
        # A language may have a step that ends otherwise than with a line.
        return logprob if logprob > -math.inf else self._logprob(question, prefix, token_ids)

    def _logprob(self, question: str, prefix: str, token_ids: tuple[int, ...]) -> float:
        """Return that of a step, or of the start of a cut one: the sum over all steps with that start."""
        options = self.language(question, prefix)
        same = (p for text, p in options.items() if _tokens(text)[: len(token_ids)] == token_ids)
        probability = math.fsum(same)
        return math.log(probability) if probability else -math.inf


@dataclass
class FakeVerifier(VerifierBase):
    """Reward by a function of the steps; ``readout`` is per_step or whole. Records as FakeEngine does."""

    reward: RewardFunction = letters_right
    readout: Readout = "per_step"
    latency: Callable[[ScoreRequest], float] | None = None
    batch_invariant: bool = True
    requests: list[ScoreRequest] = field(default_factory=list, init=False)
    usage: Usage = field(default_factory=Usage, init=False)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(self.batch_invariant, readout=self.readout)

    async def score(self, requests: Sequence[ScoreRequest]) -> list[ScoreReply | Failure]:
        self.requests.extend(requests)
        return list(await asyncio.gather(*(self._reply(r) for r in requests)))

    async def _reply(self, request: ScoreRequest) -> ScoreReply:
        steps = request.steps
        first = len(steps) - 1 if self.readout == "whole" else request.num_locked
        rewards = (
            Reward.from_value(self.reward(request.question, steps[: i + 1])) for i in range(first, len(steps))
        )
        reply = ScoreReply(tuple(rewards), Usage(reward_calls=1, reward_tokens=sum(map(len, steps[first:]))))
        if self.latency is not None:
            await asyncio.sleep(self.latency(request))
        self.usage += reply.usage
        return reply


@dataclass(frozen=True, slots=True)
class FakeTask:
    """A task to copy a word: ``num_problems`` words of ``length`` letters.

    Answers compare without case or spaces.
    """

    length: int = 4
    num_problems: int = 100
    delimiter: str = "\n"
    answer_marker: str | None = "="
    instruction: str = ""
    step: StepRule = BY_DELIMITER

    def problems(self, offset: int, limit: int | None) -> Iterator[Problem]:
        stop = self.num_problems if limit is None else min(self.num_problems, offset + limit)
        for i in range(offset, stop):
            word = "".join(derive_rng("fake", i).choice(list(LETTERS), self.length))
            yield Problem(id=f"fake-{i}", question=word, answer=word)

    def extract(self, text: str) -> str | None:
        _, found, answer = text.rpartition("=")
        return answer.strip() if found else None

    async def keys(self, answers: Sequence[str | None]) -> list[str | None]:
        return [None if a is None else a.replace(" ", "").lower() for a in answers]

    async def grade(self, answer: str | None, reference: str) -> bool:
        return answer is not None and await self.keys([answer]) == await self.keys([reference])


@dataclass(frozen=True, slots=True)
class RandomLatency:
    """Up to ``most`` seconds per request; another ``seed`` is another order of arrival."""

    seed: int
    most: float

    def __call__(self, request: GenerateRequest, completion: Completion) -> float:
        return self.most * float(derive_rng("latency", self.seed, request.seed).random())


@dataclass(frozen=True, slots=True)
class TokenLatency:
    """A fixed time per generated token, as a real engine takes."""

    seconds: float

    def __call__(self, request: GenerateRequest, completion: Completion) -> float:
        return self.seconds * completion.usage.generated_tokens


def _tokens(text: str, delimiter: str = "\n") -> tuple[int, ...]:
    ids = tuple(map(ord, text))
    return ids if text.endswith(delimiter) else (*ids, EOS)


def _text(token_ids: Sequence[int]) -> str:
    return "".join(chr(t) for t in token_ids if t != EOS)


def _ends(step: Step, request: GenerateRequest) -> bool:
    return request.answered_by(step.text) or step.finish is not Finish.STEP


def _usage(request: GenerateRequest, steps: Sequence[Step]) -> Usage:
    prompt_tokens = len(_conversation(request)) + len(request.token_ids)
    if isinstance(request.params, Denoising):
        num_steps = request.params.num_steps
        return Usage(request.params.gen_length, prompt_tokens, denoising_passes=num_steps)
    return Usage(sum(len(s.token_ids) for s in steps), prompt_tokens)


def _reshape(probabilities: Sequence[float], params: Params) -> list[float]:
    """Return the distribution at the temperature and within the nucleus of the parameters."""
    if not isinstance(params, Sampling | Denoising):
        raise TypeError(f"a fake engine decodes with Sampling or Denoising, not {type(params).__name__}")
    p = np.asarray(probabilities)
    if params.temperature == 0:
        return [float(i == p.argmax()) for i in range(len(p))]
    p = np.power(p, 1 / params.temperature)
    p /= p.sum()
    if isinstance(params, Sampling) and params.top_p < 1:
        order = np.argsort(-p, kind="stable")
        outside = order[np.cumsum(p[order]) - p[order] >= params.top_p]
        p[outside] = 0
    return list((p / p.sum()).tolist())
