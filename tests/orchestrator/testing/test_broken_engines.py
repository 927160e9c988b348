"""``check_engine`` finds engines that break a law: for each law there is one that breaks it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from msgspec import UNSET

from orchestrator.protocols import Completion, Failure, GenerateRequest, Loglik, LoglikRequest, ModelInfo
from orchestrator.testing import (
    ENGINE_LAWS,
    EngineCase,
    FakeEngine,
    Law,
    check_engine,
    engines,
    hold,
    name_of,
    step_laws,
)
from orchestrator.types import Finish, Overhead, Step

Replies = list[Completion | Failure]
CASE: dict[str, Any] = {"question": "abca", "answer_marker": "=", "impossible": {"question": "bbbb"}}


def cut_off(step: Step) -> Step:
    """A full step, as one that its limit has cut off."""
    return replace(step, finish=Finish.LENGTH) if len(step.token_ids) == 5 else step


def without_carried(i: int, request: GenerateRequest) -> GenerateRequest:
    """What a step carries on is read, and missing in the next."""
    return replace(request, token_ids=request.token_ids + request.begun.token_ids, carried=UNSET)


class Broken(FakeEngine):
    """A fake whose requests or replies are changed on their way."""

    def __init__(
        self,
        ask: Callable[[int, GenerateRequest], GenerateRequest] = lambda i, r: r,
        answer: Callable[[Sequence[GenerateRequest], Replies], Replies] = lambda asked, replies: replies,
        **knobs: Any,
    ) -> None:
        super().__init__(**{"fail_on": "bbbb", **knobs})
        self.ask, self.answer = ask, answer

    async def generate(self, requests: Sequence[GenerateRequest]) -> Replies:
        replies = await super().generate([self.ask(i, r) for i, r in enumerate(requests)])
        return self.answer(requests, replies)


def each(change: Callable[[GenerateRequest, Completion], Completion]) -> Any:
    """Replies of which each completion is changed."""

    def answer(requests: Sequence[GenerateRequest], replies: Replies) -> Replies:
        pairs = zip(requests, replies, strict=True)
        return [change(r, c) if isinstance(c, Completion) else c for r, c in pairs]

    return answer


def each_step(change: Callable[[Step], Step]) -> Any:
    return each(lambda r, c: replace(c, steps=tuple(map(change, c.steps))))


def times_said(completion: Completion, factor: int) -> Completion:
    generated = completion.usage.generated_tokens * factor
    return replace(completion, usage=replace(completion.usage, generated_tokens=generated))


def by_text(requests: Sequence[GenerateRequest], replies: Replies) -> Replies:
    return sorted(replies, key=lambda r: r.steps[0].token_ids if isinstance(r, Completion) else ())


class Unsteady(Broken):
    """Its description changes once it has been asked."""

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=not self.requests)


class Streamless(Broken):
    """It says ``stream`` and draws by requests."""

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True, sampler="stream")


class Unlike(Broken):
    """Its likelihoods are not those of what it draws."""

    def __init__(self, change: Callable[[LoglikRequest], LoglikRequest], factor: float = 1.0) -> None:
        super().__init__()
        self.change, self.factor = change, factor

    async def loglik(self, requests: Sequence[LoglikRequest]) -> list[Loglik | Failure]:
        replies = await super().loglik([self.change(r) for r in requests])
        return [
            replace(r, logprobs=tuple(self.factor * p for p in r.logprobs)) if isinstance(r, Loglik) else r
            for r in replies
        ]


class Forgetful(Broken):
    """It reports a problem's overhead each time."""

    async def release(self, home: str) -> Overhead:
        return Overhead(speculated_tokens=3)


class Raising(Broken):
    async def generate(self, requests: Sequence[GenerateRequest]) -> Replies:
        if any(r.question == "bbbb" for r in requests):
            raise RuntimeError("too long")
        return await super().generate(requests)


class AllOrNothing(Broken):
    async def generate(self, requests: Sequence[GenerateRequest]) -> Replies:
        failed = any(r.question == "bbbb" for r in requests)
        return [Failure("E", "m")] * len(requests) if failed else await super().generate(requests)


BROKEN: list[tuple[Law[EngineCase], Callable[[], FakeEngine], str]] = [
    (engines.its_info_is_legal_and_never_changes, Unsteady, "info was ModelInfo"),
    (
        engines.every_request_has_one_reply,
        lambda: Broken(answer=lambda asked, replies: replies[:-1]),
        "1 requests got 0 replies",
    ),
    (
        engines.a_step_says_how_it_ended,
        lambda: Broken(answer=each_step(lambda s: replace(s, finish=Finish.ANSWER))),
        "ended with ANSWER",
    ),
    (
        engines.a_step_says_how_it_ended,
        lambda: Broken(answer=each_step(lambda s: replace(s, text=s.text.rstrip("\n")))),
        "ended with STEP; the delimiter is",
    ),
    (
        engines.a_token_limit_is_kept_and_reported,
        lambda: Broken(
            answer=each_step(lambda s: replace(s, finish=Finish.EOS) if s.finish is Finish.LENGTH else s)
        ),
        "max_tokens=1 gave 1 tokens that end with EOS",
    ),
    (
        engines.a_token_limit_is_kept_and_reported,
        lambda: Broken(ask=lambda i, r: replace(r, params=replace(r.params, max_tokens=40))),
        "max_tokens=1 gave 2 tokens",
    ),
    (
        engines.a_seed_decides_what_is_drawn,
        lambda: Broken(ask=lambda i, r: replace(r, seed=7)),
        "12 seeds at temperature 1 all gave",
    ),
    (
        engines.a_reply_depends_on_its_request_alone,
        lambda: Broken(ask=lambda i, r: replace(r, seed=r.seed + i)),
        "together with the others",
    ),
    (
        engines.a_reply_depends_on_its_request_alone,
        lambda: Broken(
            answer=lambda asked, replies: each_step(
                lambda s: replace(s, logprob=(s.logprob or 0) - 1e-9 * len(asked))
            )(asked, replies)
        ),
        "logprobs differ",
    ),
    (
        engines.a_reply_depends_on_its_request_alone,
        lambda: Broken(ask=lambda i, r: replace(r, seed=r.seed + len(r.home))),
        "with another home",
    ),
    (engines.replies_come_in_the_order_of_the_requests, lambda: Broken(answer=by_text), "another"),
    (
        engines.replies_come_in_the_order_of_the_requests,
        lambda: Broken(answer=lambda asked, replies: replies[::-1]),
        "of another",
    ),
    (
        engines.temperature_0_does_not_depend_on_the_seed,
        lambda: Broken(ask=lambda i, r: replace(r, params=replace(r.params, temperature=1.0))),
        "with another seed",
    ),
    (
        engines.a_solution_ends_at_its_answer,
        lambda: Broken(ask=lambda i, r: replace(r, to_end=False)),
        "states no answer and ended with STEP",
    ),
    (
        engines.a_solution_ends_at_its_answer,
        lambda: Broken(
            ask=lambda i, r: replace(r, answer_marker=None), language=lambda q, prefix: {"=\n": 0.5, "": 0.5}
        ),
        "states the answer, and is not last",
    ),
    (
        engines.a_solution_continues_from_its_tokens,
        lambda: Broken(ask=lambda i, r: replace(r, token_ids=())),
        "follows, and in one request",
    ),
    (
        engines.with_a_stream_a_solution_continues_under_its_seed,
        Streamless,
        "follows, and in one request",
    ),
    (
        engines.usage_counts_what_was_generated,
        lambda: Broken(answer=each(lambda r, c: times_said(c, 2))),
        "tokens are counted as Usage",
    ),
    (
        engines.usage_counts_what_was_generated,
        lambda: Broken(answer=each(lambda r, c: replace(c, usage=replace(c.usage, cached_tokens=99)))),
        "more tokens are cached than read",
    ),
    (
        engines.usage_counts_what_was_generated,
        lambda: Broken(
            ask=lambda i, r: replace(r, question="", token_ids=()), language=lambda q, p: {"a\n": 1.0}
        ),
        "is counted as 0 prompt tokens",
    ),
    (
        engines.the_turns_before_a_question_are_read,
        lambda: Broken(ask=lambda i, r: replace(r, history=()) if r.history else r),
        "is counted as 4 prompt tokens, and after earlier turns as 4",
    ),
    (
        engines.likelihoods_agree_with_what_was_drawn,
        lambda: Unlike(lambda r: r, 1.01),
        "was drawn with logprob",
    ),
    (
        engines.likelihoods_agree_with_what_was_drawn,
        lambda: Unlike(lambda r: replace(r, token_ids=())),
        "was drawn with logprob",
    ),
    (engines.a_failure_is_a_value_in_its_place, Raising, "generate raised RuntimeError: too long"),
    (engines.a_failure_is_a_value_in_its_place, AllOrNothing, "Failure, Failure, Failure"),
    (engines.a_problem_is_released_once_and_can_come_again, Forgetful, "a second release returned"),
    (step_laws.a_full_step_goes_on, lambda: Broken(answer=each_step(cut_off)), "5 a step: .*LENGTH"),
    (
        step_laws.steps_end_as_the_task_says,
        lambda: Broken(ask=lambda i, r: replace(r, step=UNSET)),
        "a step of more than|a step of less than",
    ),
    (
        step_laws.steps_end_as_the_task_says,
        lambda: Broken(answer=each(lambda r, c: times_said(c, 2) if r.step is not UNSET else c)),
        "tokens were generated, and",
    ),
    (
        step_laws.a_rule_splits_alike_in_one_go_and_by_steps,
        lambda: Broken(ask=without_carried),
        "were carried on, and lost|in one request",
    ),
]  # fmt: skip


IDS = [f"{i} {name_of(law)}" for i, (law, _, _) in enumerate(BROKEN)]


@pytest.mark.parametrize(("law", "make", "shown"), BROKEN, ids=IDS)
async def test_it_is_found(law: Law[EngineCase], make: Callable[[], FakeEngine], shown: str) -> None:
    with pytest.raises(AssertionError, match=rf"^{name_of(law)}: .*{shown}"):
        await hold(law, EngineCase(make(), **CASE))
    with pytest.raises(AssertionError):
        await check_engine(make(), **CASE)


def test_every_law_is_broken_by_one() -> None:
    assert {law for law, _, _ in BROKEN} == set(ENGINE_LAWS)


@pytest.mark.parametrize("sampler", ["step", "stream"])
async def test_a_sound_engine_passes(sampler: Any) -> None:
    await check_engine(FakeEngine(fail_on="bbbb", sampler=sampler), **CASE)


async def test_an_engine_that_promises_no_equal_tokens_is_held_to_the_rest() -> None:
    unsteady = Broken(ask=lambda i, r: replace(r, seed=r.seed + i), batch_invariant=False)
    await check_engine(unsteady, **CASE, exact=False)
    with pytest.raises(AssertionError, match="a reply depends on its request alone"):
        await check_engine(unsteady, **CASE)


async def test_an_engine_without_likelihoods_says_so_by_failures() -> None:
    with pytest.raises(AssertionError, match="likelihoods=False, and loglik returned"):
        await check_engine(FakeEngine(), question="abca", answer_marker="=", likelihoods=False)
