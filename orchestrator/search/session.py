"""The one impure object that a strategy touches: it calls the models for one problem."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from msgspec import UNSET, UnsetType

from orchestrator.allocation.bids import Bid
from orchestrator.allocation.rounds import Rounds
from orchestrator.errors import EngineError, GradingError, VerifierError
from orchestrator.protocols import Completion, GenerateRequest, PolicyPrefix, Reasons
from orchestrator.search import labels
from orchestrator.search.asking import Ledger
from orchestrator.search.clock import Clock
from orchestrator.search.overflow import fitting, sparing
from orchestrator.search.requests import (
    check_completion,
    check_history,
    check_logprobs,
    check_numbers,
    check_rewards,
    lock,
    loglik_request,
    per_row,
    policy_prefix,
    sample_seeds,
    score_request,
)
from orchestrator.search.rows import Rows
from orchestrator.seeds import derive_rng, derive_seed, derive_seeds
from orchestrator.types import ENGINE, NodeRecord, Params, Prompt, Step, StepRecord, Trajectory, Usage


class Session:
    """One problem as its strategy sees it, within one scope. Results come in the order of the inputs.

    Every random number of a search derives from (run seed, problem id, scope, call number, row), or for
    numbered samples from (run seed, problem id, scope, number), never from the order in which replies
    arrive. ``fork`` gives a concurrent branch its own scope on the same ledger.
    """

    def __init__(self, ledger: Ledger, scope: str = "", clock: Clock | None = None) -> None:
        self._ledger = ledger
        self._scope = scope
        self._clock = clock or Clock(ledger.account.reach)
        self._lists: dict[str, int | str] = {}
        self._begun: dict[int, int] = {}
        self._branch = ledger.journal.branch(scope)
        self._num_calls: Counter[str] = Counter()
        self._texts: dict[str, dict[tuple[Prompt | None, tuple[int, ...]], list[int]]] = {}
        self.rng: np.random.Generator = derive_rng(ledger.seed, ledger.problem.id, scope, "rng")

    def fork(self, name: str, *, after: Session | None = None) -> Session:
        """Return a session for a concurrent branch; its randomness is under ``name``, the ledger shared.

        Its calls follow those of this session, or of ``after``, a branch that led to it: sequential tokens
        are counted from there.
        """
        clock = (after or self)._clock.fork(self._clock)
        return Session(self._ledger, f"{self._scope}/{name}", clock)

    def meet(self, branches: Sequence[Session]) -> None:
        """Note that each of these branches waits here for all others; it matters to sequential tokens."""
        Clock.meet([branch._clock for branch in branches])

    @property
    def question(self) -> str:
        """The task's question, for prompts that quote it."""
        return self._ledger.problem.question

    @property
    def special(self) -> tuple[str, ...]:
        """The special strings of the policies' tokenizers: a prompt quotes no text of a model with them."""
        policies = self._ledger.policies.values()
        return tuple(dict.fromkeys(mark for policy in policies for mark in policy.info.special))

    @property
    def usage(self) -> Usage:
        """What this problem has spent so far, forks included."""
        return self._ledger.account.usage

    @property
    def stopped_by(self) -> str | None:
        """The name of the limit that withheld something, or None."""
        return self._ledger.account.stopped_by

    @property
    def exhausted(self) -> bool:
        """Whether a limit was reached: return the best candidates so far."""
        return self._ledger.account.stopped_by is not None

    async def generate(
        self,
        trajectories: Sequence[Trajectory],
        params: Params | Sequence[Params],
        *,
        to_end: bool = False,
        samples: Sequence[int] | None = None,
        policy: str = ENGINE,
        room: int | None = None,
    ) -> list[Trajectory]:
        """Extend each active trajectory by one step, or with ``to_end`` to its end.

        A trajectory that is not active, or whose call a limit withholds, is returned unchanged. ``params``
        are one for all rows, or one per row. ``samples`` number the rows: what a row becomes depends on its
        number and its text so far, not on the call, so that any calls for the samples 0 to n give the first
        ones of the same list. ``policy`` names the engine that writes; calls of all policies are counted
        together, so that no two of them have the same seeds. A row whose prompt leaves less than ``room``
        tokens of the policy's context is returned unchanged; without ``room`` one that leaves none is an
        error. Raises EngineError when a request fails, and StrategyError unless each row has a number of its
        own, and where the run has no such policy.
        """
        self._ledger.policy(policy)
        call, requested = self._count("generate"), per_row(params, len(trajectories))
        if samples is not None:
            check_numbers(samples, len(trajectories))
        active = {i: t for i, t in enumerate(trajectories) if t.active}
        if samples is None:
            seeds = self._seeds(call, active, policy)
        else:
            seeds = self._numbered(call, active, samples, policy)
        read = dict(zip(active, await self._ledger.read_by(policy, [*active.values()]), strict=True))
        rows, begun = Rows(list(trajectories), requested, seeds, to_end, policy, read, room), self._clock.now
        while rows.pending:
            ended = await self._generate_part(call, rows, begun)
            if ended is None:
                break
            begun = ended
        self._leave_texts(rows.ends, policy)
        if self._ledger.watch is not None:
            self._ledger.watch.reached(rows.result)
        return rows.result

    async def _generate_part(self, call: int, rows: Rows, begun: int) -> int | None:
        """Generate the pending rows that the limits admit; return the sequential tokens since then.

        Returns None where a limit withheld them all. ``begun`` are the sequential tokens before this part.
        """
        ledger, account = self._ledger, self._ledger.account
        name = await self._enter_call(rows.name(call))
        reserved = await account.reserve(rows.requested, ledger.billing.of(rows.policy, rows.starts))
        if not reserved.rows:
            ledger.withhold(reserved.limit)
            return None
        taken = rows.take(len(reserved.rows))
        requests = rows.requests(ledger.problem, ledger.task, taken, reserved.rows)
        try:
            check_history(rows.policy, ledger.policy(rows.policy).info, requests)
            method = fitting(ledger.generate(rows.policy))
            replies = await ledger.ask(name, method, requests, check_completion, EngineError, rows.policy)
        finally:
            account.release(reserved)
        if replies is None:
            return None
        ledger.spend(rows.policy, [reply.usage for reply in replies])
        prompts = [rows.result[i].prompt for i in taken]
        account.note_roles(zip(prompts, (reply.usage for reply in replies), strict=True))
        ledger.billing.learn(rows.policy, prompts, requests, replies)
        ended = self._advance(requests, replies, begun)
        if rows.extend(taken, requests, replies):
            account.stop(reserved.limit)
        if ledger.granting is not None:
            pairs = zip(requests, replies, strict=True)
            ledger.granting.num_drawn += sum(not q.token_ids and r.steps != () for q, r in pairs)
        return ended

    def _advance(self, requests: Sequence[GenerateRequest], replies: Sequence[Completion], begun: int) -> int:
        """Advance the clock to the end of the longest reply, and return it; some began before the call."""
        pairs = zip(requests, replies, strict=True)
        ends = [self._begun.get(q.seed, begun) + r.usage.generated_tokens for q, r in pairs]
        self._clock.reach(ended := max(begun, *ends))
        return ended

    @property
    def rounds(self) -> Rounds | None:
        """How samples are granted across problems; None where every problem has the budget."""
        return None if self._ledger.granting is None else self._ledger.granting.rounds

    @property
    def num_first(self) -> int:
        """How many samples the problem has before its first bid."""
        return 0 if self._ledger.granting is None else self._ledger.granting.num_first

    @property
    def most(self) -> int:
        """How many samples the problem may have where they are granted; 0 elsewhere."""
        return 0 if self._ledger.granting is None else self._ledger.granting.block.most

    @property
    def num_left(self) -> int:
        """How many more samples the problem may be granted at most."""
        return 0 if self._ledger.granting is None else self._ledger.granting.num_left

    async def prior(self, rewards: Sequence[float]) -> tuple[float, ...]:
        """Return the rewards of the first samples of the whole block, once all of its problems have theirs.

        ``rewards`` are those of this problem. Called before the first bid, where bids depend on it.
        """
        ledger = self._ledger
        return () if ledger.granting is None else await ledger.granting.pool(rewards, ledger.account)

    async def grant(self, bid: Bid) -> int:
        """Return how many more parcels this problem may spend, once its block has decided; 0: no more."""
        ledger = self._ledger
        if ledger.granting is None:
            return 0
        name = f"{self._branch} {self._count('grant')}".lstrip()
        return await ledger.granting.ask(name, bid, ledger.journal, ledger.account)

    def expect(self, params: Sequence[Params], *, samples: Sequence[int]) -> None:
        """Have the engine generate numbered samples, from beginning to end, that may be requested.

        ``generate`` with the same numbers and parameters then waits less, and returns what it would have
        returned. What is not requested before the search ends is cancelled, and stands in the overhead.
        Nothing runs ahead where ``limits.generated_tokens`` or ``limits.cost`` is set.
        """
        check_numbers(samples, len(params))
        starts = {i: Trajectory() for i in range(len(params))}
        call = self._num_calls["generate"] + 1
        seeds = list(self._numbered(call, starts, samples, ENGINE).values())
        if self._ledger.expect(params, seeds):
            self._begun |= {seed: self._begun.get(seed, self._clock.now) for seed in seeds}

    async def score(self, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Return the trajectories with the rewards of their new steps locked in.

        A step that has a reward is never scored again; one that the verifier's context has no room for has
        the reward 0. Raises VerifierError where the question has none, when the number of rewards
        is not the number of new steps (read-out per_step) or one (whole), and when there is no verifier.
        """
        ledger, account, verifier = self._ledger, self._ledger.account, self._ledger.verifier
        if verifier is None:
            raise VerifierError("this strategy needs a verifier, and the run has none (verifier=none)")
        rows = [i for i, t in enumerate(trajectories) if t.steps and t.steps[-1].reward is None]
        result = list(trajectories)
        if not rows:
            return result
        number = self._count("score")
        listed = await ledger.constraints() if verifier.info.lists_constraints else UNSET
        name = await self._enter_call(f"score {number}")
        num_admitted = account.reserve_calls(len(rows))
        if num_admitted == 0:
            ledger.withhold("reward_calls")
            return result
        if num_admitted < len(rows):
            account.stop("reward_calls")
            rows = rows[:num_admitted]
        seed = ledger.seed if verifier.info.sampling else UNSET
        requests = [
            score_request(ledger.problem, trajectories[i], seed, listed, prefix)
            for i, prefix in zip(rows, await self._prefixes([trajectories[i] for i in rows]), strict=True)
        ]
        try:
            readout = verifier.info.readout
            method = sparing(verifier.score, [trajectories[i] for i in rows], readout)
            check = partial(check_rewards, readout)
            replies = await ledger.ask(name, method, requests, check, VerifierError)
        finally:
            account.release_calls(num_admitted)
        if replies is not None:
            account.spend([reply.usage for reply in replies], reward_calls=len(replies))
            for i, reply in zip(rows, replies, strict=True):
                result[i] = lock(trajectories[i], reply)
                if reply.reasons:
                    ledger.reasons[result[i].prompt, result[i].token_ids] = reply.reasons[-1]
                    account.note_role("score", reply.usage)
        if ledger.watch is not None:
            ledger.watch.reached(result)
        return result

    async def _prefixes(self, trajectories: Sequence[Trajectory]) -> Sequence[PolicyPrefix | UnsetType]:
        """Return what the policy that the verifier reads has written; UNSET where it reads texts alone."""
        ledger = self._ledger
        policy = None if ledger.verifier is None else ledger.verifier.info.reads
        if policy is None:
            return [UNSET] * len(trajectories)
        read = await ledger.read_by(policy, trajectories)
        prefixes = [policy_prefix(ledger.problem, ledger.task, t) for t in read]
        check_history(policy, ledger.policy(policy).info, prefixes)
        return prefixes

    async def constraints(self) -> str:
        """Return the constraints that the verifier lists for the problem, once; empty where it lists none."""
        return await self._ledger.constraints()

    def reasons(self, trajectory: Trajectory) -> Reasons | None:
        """Return what the verifier said of a trajectory's last reward; None where it gives no reasons."""
        return self._ledger.reasons.get((trajectory.prompt, trajectory.token_ids))

    async def answers(self, trajectories: Sequence[Trajectory]) -> list[str | None]:
        """Return one key per trajectory: equivalent final answers have equal keys; None without an answer."""
        try:
            answers = [self._ledger.task.extract(t.text) if t.finished else None for t in trajectories]
            return await self._ledger.task.keys(answers)
        except GradingError:
            raise
        except Exception as failure:  # a task is a plug-in: its failure ends one problem
            raise GradingError(f"{type(failure).__name__}: {failure}") from failure

    async def is_right(self, trajectory: Trajectory) -> bool:
        """Return whether a trajectory's answer is right, for a strategy that ``knows_answers``."""
        return await labels.is_right(self._ledger.task, self._ledger.problem, trajectory)

    async def reveals(self, text: str) -> bool:
        """Return whether a text holds the reference answer, for a strategy that ``knows_answers``."""
        return await labels.reveals(self._ledger.task, self._ledger.problem, text)

    async def loglik(self, prefix: Trajectory, steps: Sequence[Step], *, policy: str = ENGINE) -> list[float]:
        """Return the natural-log likelihood of each of ``steps`` as one continuation of ``prefix``.

        NaN each where a limit withholds the call. ``policy`` names the engine that reads them. Raises
        EngineError when the request fails, and StrategyError where the run has no such policy.
        """
        ledger, num_before = self._ledger, len(prefix.steps)
        engine = ledger.policy(policy)
        (whole,) = await ledger.read_by(policy, [prefix.with_steps((*prefix.steps, *steps))])
        prefix, steps = prefix.with_steps(whole.steps[:num_before]), whole.steps[num_before:]
        requests = [loglik_request(ledger.problem, ledger.task, prefix, steps)]
        check_history(policy, engine.info, requests)
        name = await self._enter_call(f"loglik {self._count('loglik')}")
        reserved = await ledger.account.reserve_cost(ledger.billing.of_reading(policy, prefix, steps))
        if reserved is None:
            ledger.withhold("cost")
            return [math.nan] * len(steps)
        try:
            replies = await ledger.ask(name, engine.loglik, requests, check_logprobs, EngineError, policy)
        finally:
            ledger.account.release(reserved)
        if replies is None:
            return [math.nan] * len(steps)
        ledger.spend(policy, [replies[0].usage])
        return list(replies[0].logprobs)

    def note(self, history: Callable[[], Sequence[StepRecord | NodeRecord]], *, begins: bool = False) -> None:
        """Show this scope's history so far to what watches the search; called only if anything does.

        One that ``begins`` is another history of the scope, such as that of the next sweep.
        """
        if self._ledger.watch is not None:
            self._ledger.watch.noted(self._scope, history(), begins=begins)

    def _has_texts(self, policy: str) -> bool:
        return self._ledger.policy(policy).info.sampler == "stream"

    def _seeds(self, call: int, pending: Mapping[int, Trajectory], policy: str) -> dict[int, int]:
        """Return a seed for each row: that of the text which the row's trajectory ends, else a new one.

        A text belongs to one trajectory and to this scope's last call to the policy. An engine that samples
        by position continues it as if it had never stopped; copies, and texts of earlier calls, get random
        numbers that were not used before.
        """
        seeds = derive_seeds((self._ledger.seed, self._ledger.problem.id, self._scope, call), pending)
        if not self._has_texts(policy):
            return dict(zip(pending, seeds, strict=True))
        texts = self._texts.get(policy, {})
        left = {i: texts.get((t.prompt, t.token_ids), []) for i, t in pending.items()}
        return {i: left[i].pop(0) if left[i] else seed for i, seed in zip(pending, seeds, strict=True)}

    def _numbered(
        self, call: int, pending: Mapping[int, Trajectory], samples: Sequence[int], policy: str
    ) -> dict[int, int]:
        """Return the seed of each row by its number in the scope's list of samples of a policy.

        The list is that of the rows of the first call, where that call is numbered, and has its own name
        otherwise: no seed is used twice. An engine that samples by position continues a text under its seed;
        for any other the next step has one that depends on the number and the place.
        """
        numbers = {i: samples[i] for i in pending}
        own_name = "sample" if policy == ENGINE else f"sample of {policy}"
        name = self._lists.setdefault(policy, call if call == 1 else own_name)
        ledger, scope = self._ledger, self._scope
        drawn = sample_seeds(ledger.seed, ledger.problem.id, numbers.values(), scope, name)
        seeds = dict(zip(pending, drawn, strict=True))
        if self._has_texts(policy):
            return seeds
        begun = {i: len(t.steps) for i, t in pending.items() if t.steps}
        names = (ledger.seed, ledger.problem.id, scope, name)
        return seeds | {i: derive_seed(*names, numbers[i], "step", n) for i, n in begun.items()}

    def _leave_texts(self, ends: Sequence[tuple[Trajectory, int]], policy: str) -> None:
        """Note where the texts of a call end, with their seeds, for the next call to the policy."""
        if not self._has_texts(policy):
            return
        self._texts[policy] = {}
        for trajectory, seed in ends:
            self._texts[policy].setdefault((trajectory.prompt, trajectory.token_ids), []).append(seed)

    def _count(self, method: str) -> int:
        """Return the number of this call of ``method`` in this scope, from 1."""
        self._num_calls[method] += 1
        return self._num_calls[method]

    async def _enter_call(self, name: str) -> str:
        """Return the call's name in the journal, once the call may reserve what it needs."""
        name = f"{self._branch} {name}".lstrip()
        await self._ledger.journal.enter(name)
        return name
