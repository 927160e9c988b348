"""The requests of a search, and what it takes from the replies: pure functions of values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

from msgspec import UNSET, UnsetType

from orchestrator.errors import EngineError, StrategyError, VerifierError
from orchestrator.protocols import (
    LOOK_BACK,
    Completion,
    GenerateInChat,
    GenerateRequest,
    Loglik,
    LoglikInChat,
    LoglikRequest,
    ModelInfo,
    PolicyPrefix,
    Readout,
    ScoreReply,
    ScoreRequest,
    Task,
    step_rule_of,
)
from orchestrator.search.overflow import NO_ROOM
from orchestrator.seeds import derive_seeds
from orchestrator.steps.rule import StepRule
from orchestrator.types import Finish, Params, Problem, Prompt, Step, Trajectory, Turn


def generate_requests(
    problem: Problem,
    task: Task,
    trajectories: Sequence[Trajectory],
    params: Sequence[Params],
    seeds: Sequence[int],
    to_end: bool,
    room: int | None = None,
) -> list[GenerateRequest]:
    """Return one request per trajectory, with its parameters, its seed and the ``room`` that it needs."""
    # Resampled siblings are one value: its tokens are joined once. So are the prompts.
    token_ids = {id(t): t.token_ids for t in {id(t): t for t in trajectories}.values()}
    step = step_rule_of(task)
    made = {t.prompt: _answering(problem, task, t.prompt, to_end, step) for t in trajectories}
    return [
        made[t.prompt](
            token_ids=token_ids[id(t)],
            params=p,
            seed=seed,
            carried=t.carried or UNSET,
            before=t.text[-LOOK_BACK:] if step is not UNSET and t.steps else UNSET,
            room=UNSET if room is None else room,
        )
        for t, p, seed in zip(trajectories, params, seeds, strict=True)
    ]


def _answering(
    problem: Problem, task: Task, prompt: Prompt | None, to_end: bool, step: StepRule | UnsetType
) -> Callable[..., GenerateRequest]:
    """Return what makes the requests that answer a prompt, or without one the task's question."""
    question, instruction, history = conversation(problem, task, prompt)
    delimiter, marker = (prompt.delimiter, prompt.answer_marker) if prompt is not None else (None, None)
    return partial(
        partial(GenerateInChat, history=history) if history else GenerateRequest,
        home=problem.id,
        question=question,
        instruction=instruction,
        delimiter=delimiter or task.delimiter,
        answer_marker=task.answer_marker if marker is None else marker or None,
        to_end=to_end or delimiter == "",
        step=step,
        quotes=prompt is not None or UNSET,
    )


def conversation(problem: Problem, task: Task, prompt: Prompt | None) -> tuple[str, str, tuple[Turn, ...]]:
    """Return the question, the instruction and the turns before, of a prompt or of the task's question."""
    if prompt is None:
        return problem.question, task.instruction, problem.history
    instruction = task.instruction if prompt.instruction is None else prompt.instruction
    return prompt.question, instruction, (*problem.history, *prompt.history)


def score_request(
    problem: Problem,
    trajectory: Trajectory,
    seed: int | UnsetType = UNSET,
    constraints: str | UnsetType = UNSET,
    prefix: PolicyPrefix | UnsetType = UNSET,
) -> ScoreRequest:
    """Return the request for the rewards of a trajectory's new steps; ``seed`` is for one that samples.

    ``constraints`` are for a verifier that lists them; a trajectory without steps requests the list.
    ``prefix`` is for a verifier that reads a policy's token ids.
    """
    steps = trajectory.steps
    return ScoreRequest(
        home=problem.id,
        question=problem.transcript,
        steps=tuple([s.text for s in steps]),
        num_locked=len(trajectory.rewards),
        logprobs=tuple([_finite(s.logprob) for s in steps]),
        num_tokens=tuple([len(s.token_ids) for s in steps]),
        seed=seed,
        constraints=constraints,
        prefix=prefix,
    )


def policy_prefix(problem: Problem, task: Task, trajectory: Trajectory) -> PolicyPrefix:
    """Return what a policy has read and written, as an answer to the task's question, whatever the prompt.

    Rewards are about the problem: all candidates are judged after the same question.
    """
    question, instruction, history = conversation(problem, task, None)
    return PolicyPrefix(question, instruction, history, tuple([s.token_ids for s in trajectory.steps]))


def loglik_request(problem: Problem, task: Task, prefix: Trajectory, steps: Sequence[Step]) -> LoglikRequest:
    """Return the request for the likelihood of steps after a prefix."""
    question, instruction, history = conversation(problem, task, prefix.prompt)
    make = partial(LoglikInChat, history=history) if history else LoglikRequest
    return make(
        home=problem.id,
        question=question,
        instruction=instruction,
        token_ids=prefix.token_ids,
        steps=tuple(s.token_ids for s in steps),
    )


def check_history(
    policy: str, info: ModelInfo, asked: Iterable[GenerateRequest | LoglikRequest | PolicyPrefix]
) -> None:
    """Raise EngineError if a policy is to read earlier turns, and its prompt can hold none."""
    if not info.takes_history and any(each.history for each in asked):
        reason = "its prompt holds no earlier turns (ModelInfo.takes_history), and this question has some"
        raise EngineError(f"policy={policy}: {reason}; choose a policy with a chat template")


def per_row(params: Params | Sequence[Params], num_rows: int) -> list[Params]:
    """Return the parameters of each row. Raises StrategyError if their number is not the number of rows."""
    if not isinstance(params, Sequence):
        return [params] * num_rows
    if len(params) != num_rows:
        raise StrategyError(f"{num_rows} trajectories but {len(params)} params")
    return list(params)


def sample_seeds(
    run_seed: int, problem_id: str, numbers: Iterable[int], scope: str = "", name: object = 1
) -> list[int]:
    """Return the seeds of numbered samples in a list, which is named 1 after the first call of its scope."""
    return derive_seeds((run_seed, problem_id, scope, name), numbers)


def check_numbers(samples: Sequence[int], num_rows: int) -> None:
    """Raise StrategyError unless each of ``num_rows`` rows has one sample number of its own, 0 or more."""
    if len(samples) != num_rows or len(set(samples)) != num_rows or min(samples, default=0) < 0:
        raise StrategyError(f"{num_rows} trajectories need a sample number each, 0 or more: {samples}")


def check_completion(request: GenerateRequest, reply: Completion) -> None:
    """Raise EngineError if a completion is too long, or empty without ``room`` as the reason."""
    if reply == NO_ROOM and request.room is not UNSET:
        return
    num_tokens = sum([len(s.token_ids) for s in reply.steps])
    if not reply.steps or num_tokens > request.params.max_tokens:
        raise EngineError(
            f"{len(reply.steps)} steps of {num_tokens} tokens; allowed are {request.params.max_tokens}"
        )


def check_rewards(readout: Readout, request: ScoreRequest, reply: ScoreReply) -> None:
    """Raise VerifierError if the number of rewards is not the number of new steps."""
    num_new = 1 if readout == "whole" else len(request.steps) - request.num_locked
    if len(reply.rewards) != num_new:
        raise VerifierError(f"{num_new} new steps got {len(reply.rewards)} rewards ({readout} read-out)")


def check_constraints(request: ScoreRequest, reply: ScoreReply) -> None:
    """Raise VerifierError if a reply is not a list of constraints alone."""
    if reply.rewards or len(reply.reasons) != 1:
        num = f"{len(reply.rewards)} rewards and {len(reply.reasons)} lists"
        raise VerifierError(f"a request for the constraints of {request.problem_id} got {num}")


def check_logprobs(request: LoglikRequest, reply: Loglik) -> None:
    """Raise EngineError if the number of likelihoods is not the number of steps."""
    if len(reply.logprobs) != len(request.steps):
        raise EngineError(f"{len(request.steps)} steps got {len(reply.logprobs)} likelihoods")


def mark_answer(request: GenerateRequest, reply: Completion) -> tuple[Step, ...]:
    """Return the steps of a completion up to the one that states the answer, which is marked."""
    after = ""
    for i, step in enumerate(reply.steps):
        if step.finish is not Finish.LENGTH and request.answered_by(step.text, after):
            answer = Step(step.text, step.token_ids, step.logprob, step.reward, Finish.ANSWER)
            if (nll := reply.steps[-1].one_step_nll) is not None:  # of the canvas, what follows included
                answer = replace(answer, one_step_nll=nll)
            return (*reply.steps[:i], answer)
        after = (after + step.text)[-LOOK_BACK:]
    return reply.steps


def lock(trajectory: Trajectory, reply: ScoreReply) -> Trajectory:
    """Return the trajectory with the rewards of its last steps; earlier rewards are unchanged."""
    steps, first = trajectory.steps, len(trajectory.steps) - len(reply.rewards)
    scored = [
        Step(s.text, s.token_ids, s.logprob, r, s.finish, s.carried, s.policy, s.one_step_nll)
        for s, r in zip(steps[first:], reply.rewards, strict=True)
    ]
    return trajectory.with_steps((*steps[:first], *scored))


def _finite(logprob: float | None) -> float | None:
    """Return the log-probability; None if the engine reported none, or one that is not finite."""
    return logprob if logprob is not None and math.isfinite(logprob) else None
