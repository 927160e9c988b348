"""The laws of an engine, and ``check_engine``, which holds an engine to all of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from orchestrator.protocols import (
    Completion,
    Engine,
    Failure,
    GenerateRequest,
    Loglik,
    ModelInfo,
)
from orchestrator.testing.engine_case import SEEDS, EngineCase, text_of
from orchestrator.testing.laws import Law, hold_all, require
from orchestrator.testing.step_laws import STEP_LAWS
from orchestrator.types import Finish, Overhead, Step, Usage

_CLOSE_LIKELIHOOD = 1e-4


async def its_info_is_legal_and_never_changes(case: EngineCase) -> None:
    info = case.engine.info
    require(isinstance(info, ModelInfo), f"info is {info!r}, and must be a ModelInfo")
    require(info.sampler in ("step", "stream"), f"info.sampler is {info.sampler!r}")
    await case.complete(case.request(0))
    require(case.engine.info == info, f"info was {info!r}, and {case.engine.info!r} after a call")


async def every_request_has_one_reply(case: EngineCase) -> None:
    for num in (1, 2, len(SEEDS)):
        await case.complete(*case.requests()[:num])


async def replies_come_in_the_order_of_the_requests(case: EngineCase) -> None:
    """Requests of different lengths, in two orders."""
    bounds = [1 + seed % 3 for seed in SEEDS]
    requests = [
        case.request(seed, params=case.params(max_tokens=m)) for seed, m in zip(SEEDS, bounds, strict=True)
    ]
    together = await case.complete(*requests)
    for request, reply in zip(requests, together, strict=True):
        most, num = request.params.max_tokens, sum(len(s.token_ids) for s in reply.steps)
        require(num <= most, f"a request of at most {most} tokens got the {num} tokens of another")
    case.require_same((await case.complete(*reversed(requests)))[::-1], together, "in the reverse order")


async def a_reply_depends_on_its_request_alone(case: EngineCase) -> None:
    """Alone, in a batch, beside other calls, and with another ``home``: one reply."""
    requests = case.requests()
    together = await case.complete(*requests)
    alone = [(await case.complete(request))[0] for request in requests]
    case.require_same(alone, together, "alone")
    apart = [c[0] for c in await asyncio.gather(*(case.complete(r) for r in requests))]
    case.require_same(apart, together, "in a call beside other calls")
    moved = await case.complete(*(r.at("another home") for r in requests))
    case.require_same(moved, together, "with another home")


async def a_seed_decides_what_is_drawn(case: EngineCase) -> None:
    """Several seeds give several texts at temperature 1."""
    texts = {text_of(c) for c in await case.complete(*case.requests())}
    message = f"{len(SEEDS)} seeds at temperature 1 all gave {next(iter(texts))!r}"
    require(len(texts) > 1, f"{message} (take a question whose first step is not certain)")


async def temperature_0_does_not_depend_on_the_seed(case: EngineCase) -> None:
    greedy = await case.complete(*(case.request(s, params=case.params(0.0)) for s in range(4)))
    case.require_same(greedy[1:], greedy[:1] * 3, "with another seed")


async def a_step_says_how_it_ended(case: EngineCase) -> None:
    """STEP with the delimiter at its end, EOS or LENGTH without; the session alone marks ANSWER."""
    for (step,) in [_one(c) for c in await case.complete(*case.requests())]:
        shown = f"a step {step.text!r} ended with {step.finish.name}"
        require(step.finish in (Finish.STEP, Finish.EOS, Finish.LENGTH), shown)
        ends = step.text.endswith(case.delimiter)
        require(ends == (step.finish is Finish.STEP), f"{shown}; the delimiter is {case.delimiter!r}")
        num = step.text.count(case.delimiter)
        require(num <= 1, f"a step {step.text!r} holds the delimiter {case.delimiter!r} {num} times")
        require(step.reward is None, f"a step {step.text!r} has the reward {step.reward!r} from an engine")


async def a_token_limit_is_kept_and_reported(case: EngineCase) -> None:
    """A step that a limit cut ends with LENGTH."""
    for to_end in (False, True):
        (full,) = await case.complete(case.request(0, params=case.params(0.0)))
        num_tokens = len(_one(full)[0].token_ids)
        for limit in sorted({1, num_tokens - 1} & set(range(1, num_tokens))):
            short = case.request(0, params=case.params(0.0, limit), to_end=to_end)
            (step,) = _one((await case.complete(short))[0])
            shown = f"max_tokens={limit} gave {len(step.token_ids)} tokens that end with {step.finish.name}"
            require((len(step.token_ids), step.finish) == (limit, Finish.LENGTH), shown)


async def a_solution_ends_at_its_answer(case: EngineCase) -> None:
    """With ``to_end`` every step but the last ends with STEP and states no answer."""
    requests = case.solutions()
    for request, completion in zip(requests, await case.complete(*requests), strict=True):
        require(bool(completion.steps), "a completion without any step")
        *before, last = completion.steps
        for step in before:
            ended = step.finish is Finish.STEP and step.text.endswith(case.delimiter)
            require(ended, f"a step {step.text!r} that is not the last ended with {step.finish.name}")
            require(not request.answered_by(step.text), f"{step.text!r} states the answer, and is not last")
        ended = request.answered_by(last.text) or last.finish in (Finish.EOS, Finish.LENGTH)
        require(ended, f"the last step is {last.text!r}, which states no answer and ended with STEP")


async def a_solution_continues_from_its_tokens(case: EngineCase) -> None:
    """At temperature 0, step by step and in one request are the same text."""
    greedy = case.params(0.0, case.solution_tokens)
    (whole,) = await case.complete(case.request(0, params=greedy, to_end=True))
    await _same_step_by_step(case, whole, replace(case.request(1), params=greedy))


async def with_a_stream_a_solution_continues_under_its_seed(case: EngineCase) -> None:
    """With the sampler ``stream`` this holds at any temperature, under one seed."""
    if case.engine.info.sampler != "stream":
        return
    for request in case.solutions()[:4]:
        (whole,) = await case.complete(request)
        await _same_step_by_step(case, whole, replace(request, to_end=False))


async def likelihoods_agree_with_what_was_drawn(case: EngineCase) -> None:
    """``loglik`` at temperature 1 gives each step the log-probability that it was drawn with."""
    drawn = [completion.steps for completion in await case.complete(*case.solutions())]
    pairs = [((), steps) for steps in drawn] + [(steps[:1], steps[1:]) for steps in drawn if steps[1:]]
    requests = [case.likelihood_of(before, steps) for before, steps in pairs]
    replies = await case.engine.loglik(requests)
    require(len(replies) == len(requests), f"{len(requests)} loglik requests got {len(replies)} replies")
    for (_, steps), reply in zip(pairs, replies, strict=True):
        if not case.likelihoods:
            require(isinstance(reply, Failure), f"likelihoods=False, and loglik returned {reply!r}")
            continue
        if not isinstance(reply, Loglik):
            raise AssertionError(f"loglik returned {reply!r} (likelihoods=False for an engine without them)")
        _require_likelihoods(steps, reply)


async def usage_counts_what_was_generated(case: EngineCase) -> None:
    """Of one request: its tokens, no rewards, nothing below 0, and no more cached than read."""
    requests = [*case.requests(), *case.solutions()]
    for completion in await case.complete(*requests):
        usage, num = completion.usage, sum(len(s.token_ids) for s in completion.steps)
        require(usage.generated_tokens == num, f"{num} tokens are counted as {usage}")
        _require_plausible(usage)
    (first,) = await case.complete(case.request(0))
    if first.steps[-1].finish is Finish.STEP:
        prefix = first.steps[0].token_ids
        (after,) = await case.complete(case.request(1, token_ids=prefix))
        read = after.usage.prompt_tokens
        require(read >= len(prefix), f"a prefix of {len(prefix)} tokens is counted as {read} prompt tokens")


async def the_turns_before_a_question_are_read(case: EngineCase) -> None:
    """An engine that takes earlier turns counts more prompt tokens with them than without."""
    if not case.engine.info.takes_history:
        return
    alone, after = [c.usage.prompt_tokens for c in await case.complete(case.request(0), case.in_chat(0))]
    shown = f"a question is counted as {alone} prompt tokens, and after earlier turns as {after}"
    require(alone < after, f"{shown} (ModelInfo.takes_history=False for an engine that reads no turns)")


async def a_failure_is_a_value_in_its_place(case: EngineCase) -> None:
    """A request that cannot be answered fails itself and no other of its call."""
    if case.impossible is None:
        return
    good = case.request(3)
    alone = await case.complete(good)
    replies = await case.replies([good, replace(good, **case.impossible), good])
    kinds = [type(reply).__name__ for reply in replies]
    expected = ["Completion", "Failure", "Completion"]
    require(kinds == expected, f"a good, an impossible and a good request got {', '.join(kinds)}")
    failure = replies[1]
    shown = isinstance(failure, Failure) and bool(failure.type and failure.message)
    require(shown, f"a failure without a type or a message: {failure!r}")
    case.require_same([r for r in replies if isinstance(r, Completion)], alone * 2, "beside a failure")


async def a_problem_is_released_once_and_can_come_again(case: EngineCase) -> None:
    """``release`` returns the overhead and forgets it; a later request gets the same reply."""
    request = case.request(0, home="released")
    before = await case.complete(request)
    first, second = [await case.engine.release("released") for _ in range(2)]
    for overhead in (first, second):
        require(isinstance(overhead, Overhead), f"release returned {overhead!r}, and must return an Overhead")
    counts = (first.retried_tokens, first.speculated_tokens)
    require(min(counts) >= 0, f"release returned {first!r}")
    require(second == Overhead(), f"a second release returned {second!r} again")
    case.require_same(await case.complete(request), before, "after the problem was released")
    await case.engine.release("released")
    unknown = await case.engine.release("never seen")
    require(unknown == Overhead(), f"releasing an unknown problem returned {unknown!r}")


ENGINE_LAWS: tuple[Law[EngineCase], ...] = (
    its_info_is_legal_and_never_changes,
    every_request_has_one_reply,
    a_step_says_how_it_ended,
    a_token_limit_is_kept_and_reported,
    a_seed_decides_what_is_drawn,
    a_reply_depends_on_its_request_alone,
    replies_come_in_the_order_of_the_requests,
    temperature_0_does_not_depend_on_the_seed,
    a_solution_ends_at_its_answer,
    a_solution_continues_from_its_tokens,
    with_a_stream_a_solution_continues_under_its_seed,
    usage_counts_what_was_generated,
    the_turns_before_a_question_are_read,
    likelihoods_agree_with_what_was_drawn,
    a_failure_is_a_value_in_its_place,
    a_problem_is_released_once_and_can_come_again,
    *STEP_LAWS,
)
"""In the order in which ``check_engine`` checks them: what later ones rely on comes first."""


async def check_engine(
    engine: Engine,
    *,
    question: str,
    instruction: str = "",
    delimiter: str = "\n",
    answer_marker: str | None = None,
    step_tokens: int = 40,
    solution_tokens: int = 200,
    exact: bool = True,
    likelihoods: bool = True,
    impossible: Mapping[str, Any] | None = None,
    expressions: bool = True,
) -> None:
    """Check that an engine keeps what ``EngineBase`` promises, by asking it some 150 times.

    Take a ``question`` whose first step is not certain; ``delimiter``, ``answer_marker`` and ``instruction``
    are those of its task. A step may have ``step_tokens`` tokens, a solution ``solution_tokens``.
    ``exact=False`` is for an engine that is not batch-invariant, and whose tokens change with rounding: they
    are then not compared. ``likelihoods=False`` is for an engine whose ``loglik`` returns failures.
    ``impossible`` are fields of a request that the engine cannot answer, such as a question that is too
    long; None skips that law. ``expressions=False`` is for an engine that ends no step at a regular
    expression. The engine must decode with ``Sampling``; it is not closed.

    Raises AssertionError that names the first law that is broken, with the values.

    Example::

        async def test_my_engine():
            await check_engine(MyEngine(), question="1+2+3", impossible={"question": "1+" * 10_000})
    """
    case = EngineCase(
        engine, question, instruction, delimiter, answer_marker, step_tokens, solution_tokens, exact,
        likelihoods, impossible, expressions,
    )  # fmt: skip
    await hold_all(ENGINE_LAWS, case)


def _one(completion: Completion) -> tuple[Step]:
    require(len(completion.steps) == 1, f"a request for one step got {len(completion.steps)}")
    return (completion.steps[0],)


async def _same_step_by_step(case: EngineCase, whole: Completion, request: GenerateRequest) -> None:
    token_ids: tuple[int, ...] = ()
    for expected in whole.steps:
        if expected.finish is Finish.LENGTH or not case.compares:
            return
        (completion,) = await case.complete(replace(request, token_ids=token_ids))
        (step,) = _one(completion)
        found, wanted = (step.text, step.token_ids), (expected.text, expected.token_ids)
        message = f"after {len(token_ids)} tokens {step.text!r} follows, and in one request {expected.text!r}"
        require(found == wanted, f"{message}; tokens {step.token_ids} and {expected.token_ids}")
        token_ids += step.token_ids


def _require_likelihoods(steps: Sequence[Step], reply: Loglik) -> None:
    require(len(reply.logprobs) == len(steps), f"{len(steps)} steps got {len(reply.logprobs)} likelihoods")
    _require_plausible(reply.usage)
    for step, logprob in zip(steps, reply.logprobs, strict=True):
        require(logprob <= 0, f"the log-likelihood of {step.text!r} is {logprob}")
        close = step.logprob is None or math.isclose(
            logprob, step.logprob, rel_tol=1e-6, abs_tol=_CLOSE_LIKELIHOOD
        )
        require(close, f"{step.text!r} was drawn with logprob {step.logprob}, and loglik gives {logprob}")


def _require_plausible(usage: Usage) -> None:
    values = {f.name: getattr(usage, f.name) for f in fields(usage)}
    require(min(values.values()) >= 0, f"a usage below 0: {usage}")
    require(usage.cached_tokens <= usage.prompt_tokens, f"more tokens are cached than read: {usage}")
    rewards = usage.reward_calls + usage.reward_tokens + usage.cached_reward_tokens
    require(rewards == 0, f"an engine counts rewards: {usage}")
