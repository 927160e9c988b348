"""The one impure object that a strategy touches: it asks the models and keeps the ledger of one problem."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar, cast

import numpy as np

from orchestrator.errors import EngineError, GradingError, ProblemError, StrategyError, VerifierError
from orchestrator.gate import Gate
from orchestrator.journal import Journal
from orchestrator.limits import Account, Limits
from orchestrator.protocols import (
    Completion,
    Engine,
    Failure,
    GenerateRequest,
    Loglik,
    LoglikRequest,
    RunsAhead,
    ScoreReply,
    ScoreRequest,
    Task,
    Verifier,
    sampler_of,
)
from orchestrator.seeds import derive_rng, derive_seeds
from orchestrator.types import Finish, Overhead, Params, Problem, Step, Trajectory, Usage

Request = TypeVar("Request", GenerateRequest, LoglikRequest, ScoreRequest)
Reply = TypeVar("Reply", Completion, ScoreReply, Loglik)
T = TypeVar("T")


class Session:
    """One problem as its strategy sees it. Results come in the order of the inputs.

    Every random number of a search derives from (run seed, problem id, scope, call number, row), never
    from the order in which replies arrive. ``fork`` gives a concurrent branch a scope of its own.
    What a ``journal`` holds is not asked again; its usage counts as if it had been.
    """

    def __init__(
        self,
        problem: Problem,
        *,
        engine: Engine,
        verifier: Verifier | None,
        task: Task,
        seed: int = 0,
        limits: Limits = Limits(),
        journal: Journal | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._problem = problem
        self._engine = engine
        self._verifier = verifier
        self._task = task
        self._seed = seed
        self._journal = journal or Journal()
        self._gate = gate or Gate()
        self._account = Account(limits, self._journal.elapsed)
        self._has_texts = sampler_of(engine) == "stream"
        self._asking: set[asyncio.Task[Any]] = set()
        self.overhead = Overhead()
        self._enter("")

    def _enter(self, scope: str) -> None:
        self._scope = scope
        self._branch = self._journal.branch(scope)
        self._num_calls: Counter[str] = Counter()
        self._texts: dict[tuple[int, ...], list[int]] = {}
        self.rng: np.random.Generator = derive_rng(self._seed, self._problem.id, scope, "rng")

    def fork(self, name: str) -> Session:
        """A session for a concurrent branch: own randomness under ``name``, the same ledger and limits."""
        branch = object.__new__(Session)
        branch.__dict__.update(self.__dict__)
        branch._enter(f"{self._scope}/{name}")
        return branch

    @property
    def usage(self) -> Usage:
        """What this problem has spent so far, forks included."""
        return self._account.usage

    @property
    def stopped_by(self) -> str | None:
        """The name of the limit that withheld something, or None."""
        return self._account.stopped_by

    @property
    def exhausted(self) -> bool:
        """A limit was reached: return the best there is."""
        return self._account.stopped_by is not None

    async def generate(
        self,
        trajectories: Sequence[Trajectory],
        params: Params | Sequence[Params],
        *,
        to_end: bool = False,
    ) -> list[Trajectory]:
        """Each active trajectory extended by one step, or with ``to_end`` to its end.

        One that is not active, or that a limit withholds, comes back as it is. ``params`` are one for
        all, or one a row. Raises EngineError when a request fails.
        """
        call = self._count("generate")
        per_row = _per_row(params, len(trajectories))
        pending = [i for i, t in enumerate(trajectories) if t.active]
        seeds = self._seeds(call, {i: trajectories[i] for i in pending})
        result, num_parts = list(trajectories), 0
        while pending:
            num_parts += 1
            name = await self._enter_call(f"generate {call}" + (f".{num_parts}" if num_parts > 1 else ""))
            admitted = await self._account.reserve_tokens([per_row[i] for i in pending])
            if not admitted:
                self._withhold("generated_tokens")
                break
            rows, pending = pending[: len(admitted)], pending[len(admitted) :]
            row_seeds = [seeds[i] for i in rows]
            requests = self._generate_requests([trajectories[i] for i in rows], admitted, row_seeds, to_end)
            try:
                replies = await self._ask(
                    name, self._engine.generate, requests, _check_completion, EngineError
                )
            finally:
                self._account.release_tokens(admitted)
            if replies is None:
                break
            self._account.spend([reply.usage for reply in replies])
            for i, p, request, reply in zip(rows, admitted, requests, replies, strict=True):
                result[i] = trajectories[i].extend(*_mark_answer(request, reply))
                if p.max_tokens < per_row[i].max_tokens and result[i].truncated:
                    self._account.stop("generated_tokens")
        self._leave_texts([(result[i], seed) for i, seed in seeds.items()])
        return result

    async def score(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """The same trajectories with the rewards of their new steps locked in.

        A step that has a reward is never scored again. Raises VerifierError when the number of rewards
        is not the number of new steps (read-out per_step) or one (whole), and when there is no verifier.
        """
        verifier = self._verifier
        if verifier is None:
            raise VerifierError("this strategy needs a verifier, and the run has none (verifier=none)")
        rows = [i for i, t in enumerate(trajectories) if t.steps and t.steps[-1].reward is None]
        result = list(trajectories)
        if not rows:
            return result
        name = await self._enter_call(f"score {self._count('score')}")
        num_admitted = self._account.reserve_calls(len(rows))
        if num_admitted == 0:
            self._withhold("reward_calls")
            return result
        if num_admitted < len(rows):
            self._account.stop("reward_calls")
            rows = rows[:num_admitted]
        requests = [self._score_request(trajectories[i]) for i in rows]
        try:
            check = partial(_check_rewards, verifier.readout)
            replies = await self._ask(name, verifier.score, requests, check, VerifierError)
        finally:
            self._account.release_calls(num_admitted)
        if replies is not None:
            self._account.spend([reply.usage for reply in replies], reward_calls=len(replies))
            for i, reply in zip(rows, replies, strict=True):
                result[i] = _lock(trajectories[i], reply)
        return result

    async def answers(self, trajectories: Sequence[Trajectory]) -> list[str | None]:
        """One key a trajectory: equivalent final answers have equal keys; None where there is none."""
        try:
            answers = [self._task.extract(t.text) if t.finished else None for t in trajectories]
            return await self._task.keys(answers)
        except Exception as failure:  # a task is a plug-in: its failure ends one problem
            raise GradingError(f"{type(failure).__name__}: {failure}") from failure

    async def loglik(self, prefix: Trajectory, steps: Sequence[Step]) -> list[float]:
        """Natural-log likelihood of each of ``steps`` as one continuation of ``prefix``."""
        request = LoglikRequest(
            home=self._problem.id,
            question=self._problem.question,
            instruction=self._task.instruction,
            token_ids=prefix.token_ids,
            steps=tuple(s.token_ids for s in steps),
        )
        name = await self._enter_call(f"loglik {self._count('loglik')}")
        replies = await self._ask(name, self._engine.loglik, [request], _check_logprobs, EngineError)
        if replies is None:
            return [math.nan] * len(steps)
        self._account.spend([replies[0].usage])
        return list(replies[0].logprobs)

    async def release(self) -> None:
        """Cancels what is still asked, and lets the engine forget the problem, whose overhead it returns."""
        try:
            await _end(self._asking)
        finally:
            if isinstance(self._engine, RunsAhead):
                self.overhead += await self._engine.release(self._problem.id)

    def _seeds(self, call: int, pending: Mapping[int, Trajectory]) -> dict[int, int]:
        """A seed for each row: a new one, or that of the text whose end the row's trajectory is.

        A text is one trajectory's alone, and of this scope's last call: an engine that samples by position
        has it go on as if it had never stopped, and gives copies and texts that were left numbers that
        nobody has seen.
        """
        seeds = derive_seeds((self._seed, self._problem.id, self._scope, call), pending)
        if not self._has_texts:
            return dict(zip(pending, seeds, strict=True))
        left = {i: self._texts.get(t.token_ids, []) for i, t in pending.items()}
        return {i: left[i].pop(0) if left[i] else seed for i, seed in zip(pending, seeds, strict=True)}

    def _leave_texts(self, ends: Sequence[tuple[Trajectory, int]]) -> None:
        """Notes where the texts of a call end, with their seeds, for the next one."""
        if not self._has_texts:
            return
        self._texts = {}
        for trajectory, seed in ends:
            self._texts.setdefault(trajectory.token_ids, []).append(seed)

    def _count(self, method: str) -> int:
        """The number of this call of ``method`` in this scope, from 1."""
        self._num_calls[method] += 1
        return self._num_calls[method]

    async def _enter_call(self, name: str) -> str:
        """The call's name in the journal, once it may reserve what it needs."""
        name = f"{self._branch} {name}".lstrip()
        await self._journal.enter(name)
        return name

    def _withhold(self, limit: str) -> None:
        self._account.stop(limit)
        self._journal.decide()

    def _generate_requests(
        self, trajectories: Sequence[Trajectory], params: Sequence[Params], seeds: Sequence[int], to_end: bool
    ) -> list[GenerateRequest]:
        # Resampled siblings are one value: its tokens are put together once.
        token_ids = {id(t): t.token_ids for t in {id(t): t for t in trajectories}.values()}
        problem, task = self._problem, self._task
        instruction, delimiter, answer_marker = task.instruction, task.delimiter, task.answer_marker
        return [
            GenerateRequest(
                home=problem.id,
                question=problem.question,
                instruction=instruction,
                token_ids=token_ids[id(t)],
                params=p,
                seed=seed,
                delimiter=delimiter,
                answer_marker=answer_marker,
                to_end=to_end,
            )
            for t, p, seed in zip(trajectories, params, seeds, strict=True)
        ]

    def _score_request(self, trajectory: Trajectory) -> ScoreRequest:
        steps = trajectory.steps
        return ScoreRequest(
            home=self._problem.id,
            question=self._problem.question,
            steps=tuple([s.text for s in steps]),
            num_locked=len(trajectory.rewards),
            logprobs=tuple([_finite(s.logprob) for s in steps]),
            num_tokens=tuple([len(s.token_ids) for s in steps]),
        )

    async def _ask(
        self,
        name: str,
        method: Callable[[Sequence[Request]], Awaitable[list[Reply | Failure]]],
        requests: Sequence[Request],
        check: Callable[[Request, Reply], None],
        error: type[ProblemError],
    ) -> list[Reply] | None:
        """The replies to one call, recorded or new, or None when the time limit cancelled it."""
        call = await self._journal.ask(name, requests)
        if call.record is not None:
            replies = cast("list[Reply] | None", call.record.replies)
        else:
            replies = await self._ask_models(method, requests, error)
            for request, reply in zip(requests, replies or (), strict=replies is not None):
                check(request, reply)
            self._journal.record(call, self._account.elapsed, replies)
        if replies is None:
            self._account.stop("seconds")
        return replies

    async def _ask_models(
        self,
        method: Callable[[Sequence[Request]], Awaitable[list[Reply | Failure]]],
        requests: Sequence[Request],
        error: type[ProblemError],
    ) -> list[Reply] | None:
        """The replies to one new call, or None when there is no time left for them."""
        try:
            replies = await self._in_time(partial(self._gate.ask, method), requests)
        except ProblemError:
            raise
        except Exception as failure:
            raise error(f"{type(failure).__name__}: {failure}") from failure
        if replies is None:
            return None
        if len(replies) != len(requests):
            raise error(f"{len(requests)} requests got {len(replies)} replies")
        for reply in replies:
            if isinstance(reply, Failure):
                raise error(f"{reply.type}: {reply.message}")
        return [reply for reply in replies if not isinstance(reply, Failure)]

    async def _in_time(
        self, method: Callable[[Sequence[Request]], Awaitable[list[T]]], requests: Sequence[Request]
    ) -> list[T] | None:
        """``method(requests)``, or None where the time limit is over before it has answered."""
        seconds_left = self._account.seconds_left
        if seconds_left == 0.0:
            return None
        clock = asyncio.timeout(seconds_left)
        with _noted(self._asking):
            try:
                async with clock:
                    return await method(requests)
            except TimeoutError:
                if clock.expired():
                    return None
                raise


@contextmanager
def _noted(tasks: set[asyncio.Task[Any]]) -> Iterator[None]:
    """Has the current task among ``tasks`` for as long as this takes."""
    task = asyncio.current_task()
    assert task is not None
    tasks.add(task)
    try:
        yield
    finally:
        tasks.discard(task)


async def _end(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancels what a search has left behind: what that costs belongs to its problem, not to a later one."""
    for task in (left := tuple(tasks)):
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _mark_answer(request: GenerateRequest, reply: Completion) -> tuple[Step, ...]:
    """The steps of a completion up to the one that states the answer, which is marked."""
    for i, step in enumerate(reply.steps):
        if step.finish is not Finish.LENGTH and request.answered_by(step.text):
            answer = Step(step.text, step.token_ids, step.logprob, step.reward, Finish.ANSWER)
            return (*reply.steps[:i], answer)
    return reply.steps


def _finite(logprob: float | None) -> float | None:
    """What a request may hold: an engine that tells no number tells nothing."""
    return logprob if logprob is not None and math.isfinite(logprob) else None


def _per_row(params: Params | Sequence[Params], num_rows: int) -> list[Params]:
    if not isinstance(params, Sequence):
        return [params] * num_rows
    if len(params) != num_rows:
        raise StrategyError(f"{num_rows} trajectories but {len(params)} params")
    return list(params)


def _check_completion(request: GenerateRequest, reply: Completion) -> None:
    num_tokens = sum([len(s.token_ids) for s in reply.steps])
    if not reply.steps or num_tokens > request.params.max_tokens:
        raise EngineError(
            f"{len(reply.steps)} steps of {num_tokens} tokens; allowed are {request.params.max_tokens}"
        )


def _check_rewards(readout: str, request: ScoreRequest, reply: ScoreReply) -> None:
    num_new = 1 if readout == "whole" else len(request.steps) - request.num_locked
    if len(reply.rewards) != num_new:
        raise VerifierError(f"{num_new} new steps got {len(reply.rewards)} rewards ({readout} read-out)")


def _check_logprobs(request: LoglikRequest, reply: Loglik) -> None:
    if len(reply.logprobs) != len(request.steps):
        raise EngineError(f"{len(request.steps)} steps got {len(reply.logprobs)} likelihoods")


def _lock(trajectory: Trajectory, reply: ScoreReply) -> Trajectory:
    """The trajectory with the rewards of its last steps; earlier ones stay as they are."""
    steps, first = trajectory.steps, len(trajectory.steps) - len(reply.rewards)
    scored = [
        Step(s.text, s.token_ids, s.logprob, r, s.finish)
        for s, r in zip(steps[first:], reply.rewards, strict=True)
    ]
    return Trajectory((*steps[:first], *scored))
