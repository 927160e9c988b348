"""The laws of an engine whose steps end otherwise than at the delimiter (``ModelInfo.step_modes``)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from msgspec import UNSET

from orchestrator.protocols import LOOK_BACK, Completion, GenerateRequest
from orchestrator.steps.rule import StepRule
from orchestrator.testing.engine_case import EngineCase, shown_of, text_of
from orchestrator.testing.laws import Law, require
from orchestrator.types import Carried, Finish, Step

_TOKENS = 5
_MOST_OF_A_CHARACTER = 3  # tokens of one that may begin the next step


async def steps_end_as_the_task_says(case: EngineCase) -> None:
    """Steps make the text, none is empty, none has more tokens than it may; the answer's limit alone cuts."""
    for rule in await _rules(case):
        requests = [replace(r, step=rule) for r in case.solutions()[:4]]
        for request, completion in zip(requests, await case.complete(*requests), strict=True):
            _require_steps(case, request, rule, completion)


async def a_rule_splits_alike_in_one_go_and_by_steps(case: EngineCase) -> None:
    """At temperature 0, and under one seed with the sampler ``stream``."""
    is_stream = case.engine.info.sampler == "stream"
    for rule in await _rules(case):
        params = case.params(float(is_stream), case.solution_tokens)
        request = case.request(3, params=params, to_end=True, step=rule)
        (whole,) = await case.complete(request)
        steps = await _by_steps(case, replace(request, to_end=False), len(whole.steps))
        if not case.compares:
            continue
        found, expected = ([(s.text, s.token_ids, s.finish) for s in each] for each in (steps, whole.steps))
        message = f"{rule}: by steps {found}, in one request {expected}"
        require(found == expected, message)


async def a_full_step_goes_on(case: EngineCase) -> None:
    """A step with all the tokens that it may have ends with STEP; one that the limit cuts does not."""
    if "tokens" not in case.engine.info.step_modes:
        return
    rule = StepRule("tokens", _TOKENS)
    for limit, finish in ((_TOKENS + 1, Finish.STEP), (_TOKENS, Finish.STEP), (_TOKENS - 1, Finish.LENGTH)):
        (reply,) = await case.complete(case.request(0, params=case.params(0.0, limit), step=rule))
        (step,) = reply.steps
        shown = f"max_tokens={limit}, {_TOKENS} a step: {shown_of(reply)}"
        is_short = len(step.token_ids) < min(limit, _TOKENS) - _MOST_OF_A_CHARACTER
        require(step.finish is Finish.EOS or (step.finish is finish and not is_short), shown)


STEP_LAWS: tuple[Law[EngineCase], ...] = (
    a_full_step_goes_on,
    steps_end_as_the_task_says,
    a_rule_splits_alike_in_one_go_and_by_steps,
)


async def _rules(case: EngineCase) -> Sequence[StepRule]:
    """Return rules that bear on this engine's texts: its own words are the markers."""
    if case.engine.info.step_modes == ("delimiter",):
        return ()
    texts = [text_of(completion) for completion in await case.complete(*case.solutions()[:4])]
    counts = Counter(char for text in texts for char in text if char.isalnum()).most_common()
    often, rare = counts[0][0], counts[-1][0]
    rules = [
        StepRule("tokens", _TOKENS),
        StepRule("hybrid", _TOKENS, [often]),
        StepRule("hybrid", 2 * _TOKENS),
    ]
    rules += [StepRule("markers", markers=[rare]), StepRule("markers", markers=[often])]
    if case.expressions:
        rules.append(StepRule("hybrid", 2 * _TOKENS, f"[{re.escape(often)}{re.escape(rare)}]"))
    return [rule for rule in rules if rule.mode in case.engine.info.step_modes]


def _require_steps(
    case: EngineCase, request: GenerateRequest, rule: StepRule, completion: Completion
) -> None:
    shown, steps, limit = f"{rule}: {shown_of(completion)}", completion.steps, request.params.max_tokens
    most = rule.tokens or limit
    num = sum(len(step.token_ids) for step in steps)
    require(all(step.token_ids for step in steps), f"a step without tokens; {shown}")
    require(all(step.text for step in steps[:-1]), f"an empty step; {shown}")
    require(all(len(step.token_ids) <= most for step in steps), f"a step of more than {most} tokens; {shown}")
    require(all(step.finish is Finish.STEP for step in steps[:-1]), f"a step that is not last ended; {shown}")
    is_cut = steps[-1].finish is Finish.LENGTH
    require(not is_cut or num == limit, f"cut after {num} tokens, {limit} were allowed; {shown}")
    if rule.mode == "tokens":
        least = _TOKENS - _MOST_OF_A_CHARACTER
        require(all(len(s.token_ids) >= least for s in steps[:-1]), f"a step of less than {least}; {shown}")
    carried = steps[-1].carried
    made = num + (len(carried.token_ids) if carried else 0)
    used = completion.usage.generated_tokens
    require(used == made, f"{made} tokens were generated, and {used} counted; {shown}")


async def _by_steps(case: EngineCase, request: GenerateRequest, num_steps: int) -> list[Step]:
    steps: list[Step] = []
    for _ in range(num_steps):
        text, left = "".join(s.text for s in steps), request.params.max_tokens - sum(map(_size, steps))
        carried = steps[-1].carried if steps else None
        asked = replace(
            request,
            params=request.params.clip(left),
            token_ids=tuple(_ids(steps)),
            carried=carried or UNSET,
            before=text[-LOOK_BACK:] or UNSET,
        )
        (reply,) = await case.complete(asked)
        require(len(reply.steps) == 1, f"a request for one step got {shown_of(reply)}")
        _require_carried(carried, reply)
        steps += reply.steps
        if steps[-1].finish is not Finish.STEP:
            break
    if steps and steps[-1].finish is Finish.STEP and sum(map(_size, steps)) == request.params.max_tokens:
        steps[-1] = replace(steps[-1], finish=Finish.LENGTH)  # in one request nothing could follow
    return [replace(step, carried=None) for step in steps]


def _require_carried(carried: Carried | None, reply: Completion) -> None:
    """A step begins with what the one before it has carried on.

    The last token may have become another: an engine of texts fills it up.
    """
    begun = () if carried is None else carried.token_ids
    (step,) = reply.steps
    size = min(len(begun), len(step.token_ids)) - 1
    require(
        size < 1 or step.token_ids[:size] == begun[:size],
        f"{begun} were carried on, and lost: {shown_of(reply)}",
    )


def _ids(steps: Sequence[Step]) -> Iterator[int]:
    return (token for step in steps for token in step.token_ids)


def _size(step: Step) -> int:
    return len(step.token_ids)
