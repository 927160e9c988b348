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

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar

from annotated_types import Ge

from orchestrator.errors import ConfigError
from orchestrator.prompts.replies import read_shares
from orchestrator.prompts.template import Filled, Template
from orchestrator.schema import Count, CountOrZero, NotEmpty, Words, checked
from orchestrator.search.session import Session
from orchestrator.search.strategy import Budgeted, Strategy, most_answers
from orchestrator.types import ENGINE, Prompt, Sampling, Solution, Trajectory
from strategies.parts import bandit, checks
from strategies.parts.answering import Answering
from strategies.parts.drafts import Drafts, Trial
from strategies.parts.nested import Nested
from strategies.parts.prompted import Shown, reply_to
from strategies.parts.weights import Aggregation, log_odds_of, readouts_for, reward_of

_SHOWN = ("question", "answer", "notes", "score", "constraints")
_ASKED = ("question", "constraints", "methods")
_Weight = Annotated[float, Ge(0), Words("must be a number of 0 or more")]


@dataclass(frozen=True)
@checked("strategy.arms")
class MixtureArm:
    """A strategy that a mixture may run, and its description in the prompt for the prior."""

    strategy: Strategy
    description: NotEmpty = "A method."


Arms = Mapping[str, MixtureArm] | tuple[tuple[str, MixtureArm], ...]


@dataclass(frozen=True)
@checked("strategy")
class Mixture:
    """At most ``trials`` runs of the ``arms``, chosen one after another, until a draft is good enough.

    Budget N: ``num_samples`` = N answers in all, the first draft among them: a trial's own budget is cut to
    what is left, an arm that needs more is passed over, and the search ends when none fits. The selection
    call, to ``policy``, is beside the N and counted under its role. ``prompt`` shows an arm the best draft;
    None: it answers the question alone. ``prior`` None: no call, and 0.5 for every arm.
    ``Solution.log_weights``: the aggregated reward's log-odds; -inf where a candidate is not rewarded. The
    history leaves out the arms' steps and nodes.
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
    policy: NotEmpty = ENGINE
    prior_sampling: Sampling = Sampling()
    prior_weight: _Weight = 1.0
    diversity_weight: _Weight = 0.1
    recovery_weight: _Weight = 0.1
    aggregation: Aggregation = "last"

    def __post_init__(self) -> None:
        object.__setattr__(self, "arms", self._named)
        checks.require(bool(self.arms), "arms", {}, "must hold one arm or more: {name: {strategy: ...}}")
        for name, arm in self._named:
            self._check(f"arms.{name}.strategy", arm.strategy)
        if self.prompt is not None:
            self.prompt.check("strategy.prompt", _SHOWN, {"question", "answer"})
        if self.prior is not None:
            self.prior.check("strategy.prior", _ASKED, {"question", "methods"})

    def _check(self, key: str, strategy: Strategy) -> None:
        """Raise ConfigError for an arm that could exceed N, or that would never have a trial."""
        name, left = type(strategy).__name__, self.num_samples - 1
        allowed = (
            "must declare how many answers it draws: budget_knob and independent_samples, or num_answers"
        )
        checks.require(most_answers(strategy) is not None, key, name, allowed)
        fits = not left or not self.trials or cut(strategy, left) is not None
        reason = f"draws more answers than the {left} that num_samples={self.num_samples} leaves to a trial"
        checks.require(fits, key, name, f"{reason}: raise the budget, lower the arm's numbers, or remove it")

    @property
    def readouts(self) -> tuple[str, ...]:
        """Those that the mixture and every arm can use."""
        return self._nested.readouts(readouts_for(self.aggregation))

    @property
    def whole_answers(self) -> bool:
        """Whether every arm requests whole answers alone, as the first draft is."""
        return self._nested.whole_answers

    @property
    def prompts(self) -> bool:
        """Whether it, or an arm, asks anything else than the task's question."""
        return self.prompt is not None or self._asks_for_prior or self._nested.prompts

    @property
    def in_chat(self) -> bool:
        """Whether an arm shows earlier turns of a chat."""
        return self._nested.in_chat

    @property
    def knows_answers(self) -> bool:
        """Whether an arm uses the reference answers."""
        return self._nested.knows_answers

    @property
    def _named(self) -> tuple[tuple[str, MixtureArm], ...]:
        return tuple(self.arms.items()) if isinstance(self.arms, Mapping) else self.arms

    @property
    def _nested(self) -> Nested:
        return Nested([arm.strategy for _, arm in self._named])

    @property
    def _asks_for_prior(self) -> bool:
        return self.prior is not None and len(self._named) > 1

    async def solve(self, session: Session) -> Solution:
        drafts, left, number = Drafts(), self.num_samples - 1, 1
        begun = [t for t in await session.generate([Trajectory()], self.sampling, to_end=True) if t.steps]
        await self._offer(session, drafts, Solution(0 if begun else None, tuple(begun), (0.0,) * len(begun)))
        arms = await self._priors(session, drafts) if self._continues(session, drafts, 1, left) else []
        while self._continues(session, drafts, number, left) and (fitting := self._fitting(left)):
            weights = bandit.Weights(self.prior_weight, self.diversity_weight, self.recovery_weight)
            chosen, bound = bandit.choose(arms, weights, fitting)
            (name, _), (strategy, cost) = self._named[chosen], fitting[chosen]
            trial = await self._trial(session, strategy, drafts, number)
            arms[chosen] = arms[chosen].played(trial.score, trial.is_better)
            drafts.history.append(trial.record(name, bound))
            left, number = left - max(cost, trial.num_answers), number + 1
        return Solution(
            answer_index=drafts.best,
            trajectories=tuple(drafts.trajectories),
            log_weights=tuple(log_odds_of(t, self.aggregation) for t in drafts.trajectories),
            history=tuple(drafts.history),
            usage=session.usage,
        )

    def _continues(self, session: Session, drafts: Drafts, number: int, left: int) -> bool:
        """Return whether there is a ``number``-th trial."""
        is_good = drafts.best is not None and self._is_good(drafts.draft)
        return number <= self.trials and left > 0 and not is_good and not session.exhausted

    def _fitting(self, left: int) -> dict[int, tuple[Strategy, int]]:
        """Return the arms that draw at most ``left`` answers, by their places: each cut, and its cost."""
        arms = {i: cut(arm.strategy, left) for i, (_, arm) in enumerate(self._named)}
        return {i: fitted for i, fitted in arms.items() if fitted is not None}

    def _is_good(self, draft: Trajectory) -> bool:
        """Return whether a draft is finished and reaches the threshold."""
        return draft.finished and reward_of(draft, self.aggregation).reaches(self.threshold)

    async def _trial(self, session: Session, strategy: Strategy, drafts: Drafts, number: int) -> Trial:
        """Run a strategy in a branch, where with a prompt every text answers it."""
        branch, shown, answering, num_removed = session.fork(f"trial {number}"), None, None, 0
        if self.prompt is not None:
            filled, shown = await self._filled(session, self.prompt, drafts), drafts.best
            answering = Answering(Prompt(filled.text, self.prompt.instruction, role="revise"))
            num_removed = filled.num_removed
        solution = await strategy.solve(answering.within(branch) if answering else branch)
        score, is_better = await self._offer(branch, drafts, solution)
        session.meet([session])  # the next trial begins after this one
        num_dropped = answering.num_dropped if answering else 0
        return Trial(number, len(solution.trajectories), score, is_better, shown, num_removed, num_dropped)

    async def _offer(self, session: Session, drafts: Drafts, solution: Solution) -> tuple[float, bool]:
        """Add what a run has found; return its answer's score, and whether that answer is the best."""
        if solution.answer_index is None:
            return 0.0, drafts.add(solution, None, 0.0)
        (answer,) = await session.score([solution.trajectories[solution.answer_index]])
        value = reward_of(answer, self.aggregation).value
        return value, drafts.add(solution, answer, value)

    async def _priors(self, session: Session, drafts: Drafts) -> list[bandit.Arm]:
        """Return the arms with their priors: from one selection call, or 0.5 each."""
        names = [name for name, _ in self._named]
        if self.prior is None or not self._asks_for_prior:
            return [bandit.Arm() for _ in names]
        methods = "\n".join(f"{name}: {arm.description}" for name, arm in self._named)
        written = {"constraints": await _listed(session, self.prior)}
        filled = self.prior.fill({"question": session.question, "methods": methods}, written, session.special)
        prompt = Prompt(filled.text, self.prior.instruction, (), "", "", role="select")
        shown = Shown(prompt, filled.num_removed)
        replied = await reply_to(session, lambda _: shown, 1, self.prior_sampling, policy=self.policy)
        shares = read_shares(replied.replies[0].text, names) if replied.replies else None
        drafts.history.append(replied.record(0, shares is not None))
        return [bandit.Arm() if shares is None else bandit.Arm(shares[name]) for name in names]

    async def _filled(self, session: Session, prompt: Template, drafts: Drafts) -> Filled:
        """Return the prompt that shows an arm the best draft, and what the verifier said of it."""
        reasons, score = session.reasons(drafts.draft), f"{drafts.score:.2f}"
        written = {
            "answer": drafts.draft.text.strip(),
            "notes": f"reward {score}" if reasons is None else reasons.text.strip(),
            "constraints": await _listed(session, prompt),
        }
        return prompt.fill({"question": session.question, "score": score}, written, session.special)


def cut(strategy: Strategy, most: int) -> tuple[Strategy, int] | None:
    """Return a strategy with the greatest budget that draws at most ``most`` answers, and their number.

    None where there is none: a knob needs more answers, or fixes how many there are.
    """
    own = most_answers(strategy)
    if own is not None and own <= most:
        return strategy, own
    for changed in _smaller(strategy, most):
        num = most_answers(changed)
        if num is not None and num <= most:
            return changed, num
    return None


def _smaller(strategy: Any, most: int) -> Iterator[Strategy]:
    """Yield a strategy with each smaller budget that its other knobs allow, from ``most`` down to 1."""
    if not isinstance(strategy, Budgeted) or (knob := strategy.budget_knob) is None:
        return
    for budget in range(min(most, getattr(strategy, knob)), 0, -1):
        with suppress(ConfigError):
            changed: Any = replace(strategy, **{knob: budget})  # type: ignore[type-var]
            yield changed


async def _listed(session: Session, template: Template) -> str:
    """Return the verifier's constraints, where a template shows them."""
    return (await session.constraints()).strip() if "constraints" in template.fields else ""
