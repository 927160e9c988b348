"""Several strategies as the arms of a bandit, each trial after the best draft so far (mixture of algorithms).

Parmar et al., "PlanGEN: A Multi-Agent Framework for Generating Planning and Reasoning Trajectories for
Complex Problem Solving", https://arxiv.org/abs/2502.16111.

    y = one sample, s = its score
    at most ``trials`` times, while s < threshold:
        a = argmax_a UCB(a)                                             strategies/parts/bandit.py
        y = a(question, the best draft, its reasons), s = its score;    R(a) += s,  C(a) += 1

A score is a verifier's reward in [0, 1]: 0.975 is 95 of -100..100. The prior in UCB is read from one call
that describes the arms. How a draft reaches an arm is ours: each text of a trial answers a prompt that shows
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from orchestrator.prompts.replies import read_shares
from orchestrator.prompts.template import Filled, Template
from orchestrator.schema import Count, CountOrZero, NotEmpty, Words, checked
from orchestrator.search.session import Session
from orchestrator.search.strategy import Prompting, Strategy, Whole
from orchestrator.types import (
    ENGINE,
    AttemptRecord,
    Prompt,
    Record,
    Reward,
    RoleRecord,
    Sampling,
    Solution,
    Trajectory,
    TrialRecord,
)
from strategies.parts import bandit, checks
from strategies.parts.prompted import prompted
from strategies.parts.roles import Fields, ask_role
from strategies.parts.weights import Aggregation, log_odds_of, readouts_for

_SHOWN = ("question", "answer", "notes", "score", "constraints")
_ASKED = ("question", "constraints", "methods")
_Weight = Annotated[float, Ge(0), Words("must be a number of 0 or more")]
_Policy = NotEmpty


@dataclass(frozen=True)
@checked("strategy.arms")
class MixtureArm:
    """A strategy that a mixture may run, and its description in the prompt for the prior."""

    strategy: Strategy
    description: NotEmpty = "A method."


Arms = Mapping[str, MixtureArm] | tuple[tuple[str, MixtureArm], ...]


@dataclass
class _Drafts:
    """What a search has so far: every candidate, and which of the offered answers is the best."""

    trajectories: list[Trajectory] = field(default_factory=list)
    history: list[Record] = field(default_factory=list)
    best: int | None = None
    score: float = 0.0

    def add(self, solution: Solution, answer: Trajectory | None, score: float) -> bool:
        """Add a run's candidates, its answer with its reward; return whether the answer is the best."""
        first, at = len(self.trajectories), solution.answer_index
        self.trajectories += solution.trajectories
        self.history += _moved(solution.history, first)
        if answer is None or at is None:
            return False
        self.trajectories[first + at] = answer
        if is_better := self.best is None or (answer.finished, score) > (self.draft.finished, self.score):
            self.best, self.score = first + at, score
        return is_better

    @property
    def draft(self) -> Trajectory:
        """The best answer so far; there must be one."""
        assert self.best is not None
        return self.trajectories[self.best]


@dataclass(frozen=True)
@checked("strategy")
class Mixture:
    """At most ``trials`` runs of the ``arms``, chosen one after another, until a draft is good enough.

    Budget N: ``num_samples`` = N answers in all, the first draft among them: a trial's own budget is cut to
    what is left, and the search ends when nothing is. The selection call, of the policy ``prior_policy``, is
    beside the N and counted under its role. ``prompt`` shows an arm the best draft; None: it answers the
    question alone. ``prior`` None: no call, and 0.5 for every arm. ``Solution.log_weights``: the aggregated
    reward's log-odds; -inf where a candidate is not rewarded. The history leaves out the arms' steps and
    nodes.
    """

    budget_knob: ClassVar[str] = "num_samples"
    independent_samples: ClassVar[bool] = False

    arms: Arms
    num_samples: Count = 16
    trials: CountOrZero = 5
    threshold: _Weight = 0.975
    sampling: Sampling = Sampling()
    prompt: Template | None = None
    prior: Template | None = None
    prior_policy: NotEmpty = ENGINE
    prior_sampling: Sampling = Sampling()
    prior_weight: _Weight = 1.0
    diversity_weight: _Weight = 0.1
    recovery_weight: _Weight = 0.1
    aggregation: Aggregation = "last"

    def __post_init__(self) -> None:
        arms = tuple(self.arms.items() if isinstance(self.arms, Mapping) else self.arms)
        object.__setattr__(self, "arms", arms)
        checks.require(bool(arms), "arms", {}, "must hold one arm or more: {name: {strategy: ...}}")
        if self.prompt is not None:
            self.prompt.check("strategy.prompt", _SHOWN, {"question", "answer"})
        if self.prior is not None:
            self.prior.check("strategy.prior", _ASKED, {"question", "methods"})

    @property
    def readouts(self) -> tuple[str, ...]:
        """Those that the mixture and every arm can use."""
        needed = [arm.strategy.readouts for _, arm in self._arms if arm.strategy.readouts]
        return tuple(n for n in readouts_for(self.aggregation) if all(n in each for each in needed))

    @property
    def whole_answers(self) -> bool:
        """Whether every arm requests whole answers alone, as the first draft is."""
        return all(isinstance(a.strategy, Whole) and a.strategy.whole_answers for _, a in self._arms)

    @property
    def prompts(self) -> bool:
        """Whether it, or an arm, asks anything else than the task's question."""
        asks = self.prompt is not None or self._asks_for_prior
        return asks or any(isinstance(a.strategy, Prompting) and a.strategy.prompts for _, a in self._arms)

    @property
    def _arms(self) -> Sequence[tuple[str, MixtureArm]]:
        return tuple(self.arms.items()) if isinstance(self.arms, Mapping) else self.arms

    @property
    def _asks_for_prior(self) -> bool:
        return self.prior is not None and len(self._arms) > 1

    async def solve(self, session: Session) -> Solution:
        drafts, left = _Drafts(), self.num_samples - 1
        begun = [t for t in await session.generate([Trajectory()], self.sampling, to_end=True) if t.steps]
        await self._offer(session, drafts, Solution(0 if begun else None, tuple(begun), (0.0,) * len(begun)))
        if self._continues(session, drafts, 1, left):
            arms = await self._priors(session, drafts)
        number = 0
        while self._continues(session, drafts, number := number + 1, left):
            chosen, bound = bandit.choose(arms, self._weights)
            name, arm = self._arms[chosen]
            strategy, cost = cut(arm.strategy, left)
            branch, shown, filled = session.fork(f"trial {number}"), drafts.best, None
            if self.prompt is not None:
                filled = await self._filled(session, self.prompt, drafts)
                prompt = Prompt(filled.text, self.prompt.instruction, role="revise")
                branch = prompted(branch, prompt)
            solution = await strategy.solve(branch)
            score, is_better = await self._offer(branch, drafts, solution)
            session.meet([session])  # the next trial begins after this one
            arms[chosen] = arms[chosen].played(score, is_better)
            drafts.history.append(_trial(number, name, score, bound, shown, filled))
            left -= cost
        return self._concluded(session, drafts)

    def _continues(self, session: Session, drafts: _Drafts, number: int, left: int) -> bool:
        """Return whether there is a ``number``-th trial."""
        is_good = drafts.best is not None and self._is_good(drafts.draft)
        return number <= self.trials and left > 0 and not is_good and not session.exhausted

    def _is_good(self, draft: Trajectory) -> bool:
        """Return whether a draft is finished and reaches the threshold, by log-odds: these are exact."""
        if not draft.finished or self.threshold > 1:
            return False
        return log_odds_of(draft, self.aggregation) >= Reward.from_value(self.threshold).log_odds

    async def _offer(self, session: Session, drafts: _Drafts, solution: Solution) -> tuple[float, bool]:
        """Add what a run has found; return its answer's score, and whether that answer is the best."""
        if solution.answer_index is None:
            return 0.0, drafts.add(solution, None, 0.0)
        (answer,) = await session.score([solution.trajectories[solution.answer_index]])
        value = Reward(log_odds_of(answer, self.aggregation)).value if answer.finished else 0.0
        return value, drafts.add(solution, answer, value)

    async def _priors(self, session: Session, drafts: _Drafts) -> list[bandit.Arm]:
        """Return the arms with their priors: from one selection call, or 0.5 each."""
        names = [name for name, _ in self._arms]
        shares = dict.fromkeys(names, 0.5)
        if self.prior is not None and self._asks_for_prior:
            methods = "\n".join(f"{name}: {arm.description}" for name, arm in self._arms)
            given = {"question": session.question, "methods": methods}
            fields = Fields(given, {"constraints": await self._listed(session, self.prior)})
            (reply,) = await ask_role(
                session,
                "select",
                self.prior,
                [fields],
                lambda text: read_shares(text, names),
                self.prior_sampling,
                policy=self.prior_policy,
            )
            if reply is not None:
                drafts.history.append(reply.record)
                shares = reply.value or shares
        return [bandit.Arm(shares[name]) for name in names]

    async def _filled(self, session: Session, prompt: Template, drafts: _Drafts) -> Filled:
        """Return the prompt that shows an arm the best draft, and what the verifier said of it."""
        reasons, score = session.reasons(drafts.draft), f"{drafts.score:.2f}"
        written = {
            "answer": drafts.draft.text.strip(),
            "notes": f"reward {score}" if reasons is None else reasons.text.strip(),
            "constraints": await self._listed(session, prompt),
        }
        return prompt.fill({"question": session.question, "score": score}, written, session.special)

    async def _listed(self, session: Session, template: Template) -> str:
        return (await session.constraints()).strip() if "constraints" in template.fields else ""

    @property
    def _weights(self) -> bandit.Weights:
        return bandit.Weights(self.prior_weight, self.diversity_weight, self.recovery_weight)

    def _concluded(self, session: Session, drafts: _Drafts) -> Solution:
        return Solution(
            answer_index=drafts.best,
            trajectories=tuple(drafts.trajectories),
            log_weights=tuple(log_odds_of(t, self.aggregation) for t in drafts.trajectories),
            history=tuple(drafts.history),
            usage=session.usage,
        )


def cut(strategy: Strategy, most: int) -> tuple[Strategy, int]:
    """Return a strategy with a budget of at most ``most`` answers, and that budget; 1 if it reads none."""
    knob = getattr(strategy, "budget_knob", None)
    if knob is None:
        return strategy, 1
    own: int = getattr(strategy, knob)
    if own <= most:
        return strategy, own
    changed: Any = replace(strategy, **{knob: most})  # type: ignore[type-var]
    return changed, most


def _trial(
    number: int, arm: str, score: float, bound: float, shown: int | None, filled: Filled | None
) -> TrialRecord:
    if filled is None:
        return TrialRecord(number, arm, score, bound)
    return TrialRecord(number, arm, score, bound, shown, filled.num_removed)


def _moved(history: Sequence[Record], first: int) -> list[Record]:
    """Return what roles have said, and the attempts under their numbers among all candidates."""
    said: list[Record] = [record for record in history if isinstance(record, RoleRecord)]
    return said + [
        replace(r, candidate=first + r.candidate, read=tuple(first + i for i in r.read))
        for r in history
        if isinstance(r, AttemptRecord)
    ]
