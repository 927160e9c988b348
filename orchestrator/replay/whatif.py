"""What a run would have answered with another selection: recomputed from its stored candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Protocol

from orchestrator.config.build import build_node, build_task
from orchestrator.config.files import TARGET, replay_selector
from orchestrator.errors import ConfigError, ProblemError
from orchestrator.outcome import Candidate
from orchestrator.protocols import READOUTS, Readout, Task
from orchestrator.search.asking import Ledger
from orchestrator.search.budgets import grants, independent_knob, prunes, stops
from orchestrator.search.grants import Granting
from orchestrator.search.requests import sample_seeds
from orchestrator.search.session import Session
from orchestrator.search.strategy import Strategy
from orchestrator.storage.quoted import GROUP
from orchestrator.storage.result_lines import (
    candidate_line,
    finite,
    in_recorded_order,
    knows_steps,
    log_weight_of,
    trajectory_of,
)
from orchestrator.storage.silence import SEARCH
from orchestrator.storage.totals import Totals
from orchestrator.stored.repeating import NEEDED, StoredEngine, StoredVerifier
from orchestrator.types import Overhead, Problem, Trajectory, Usage

CHOICES = ("selection", "aggregation", "weight", "tie_break")
DRAWN = ("strategy.stop.rule", "strategy.stop.at", "strategy.wave_size", "strategy.prune")
"""Which of its samples a search would have drawn: knobs of strategies whose samples are independent."""


class Selector(Protocol):
    """Selects among finished candidates."""

    async def choose(
        self, session: Session, trajectories: Sequence[Trajectory], log_weights: tuple[float, ...]
    ) -> int | None:
        """Return the index of the answer; None without one."""
        ...


@dataclass(frozen=True, slots=True)
class WhatIf:
    """Other knobs of the selection; None keeps the run's value."""

    selection: str | None = None
    aggregation: str | None = None
    weight: str | None = None
    tie_break: str | None = None
    budget: int | None = None
    drawn: tuple[tuple[str, Any], ...] = ()
    granted: tuple[tuple[str, Any], ...] = ()

    @property
    def changes(self) -> dict[str, str]:
        """The knobs that are given, without the budget."""
        given = {key: getattr(self, key) for key in CHOICES}
        return {key: value for key, value in given.items() if value is not None}

    @property
    def name(self) -> str:
        """The what-if as on a command line."""
        budget = {} if self.budget is None else {"budget": self.budget}
        given = {**self.changes, **dict(self.drawn), **dict(self.granted), **budget}
        return " ".join(f"{key}={value}" for key, value in given.items())

    def node(self, own: Mapping[str, Any], knob: str | None = None) -> dict[str, Any]:
        """Return a strategy's node with these knobs, and the budget as its ``knob``.

        ``strategy.stop.at`` is below its key ``stop``.
        """
        budget = {} if knob is None or self.budget is None else {knob: self.budget}
        node = {**own, **self.changes, **budget}
        for key, value in self.drawn:
            first, _, rest = key.removeprefix("strategy.").partition(".")
            node[first] = {**(node.get(first) or {}), rest: value} if rest else value
        return node


@dataclass(frozen=True)
class Replayer:
    """Selects again, for one problem after another.

    A strategy whose candidates are independent samples runs again unchanged, on the stored samples; for any
    other strategy only the last selection is repeated, among its candidates. ``own_rule`` is that by which
    the run itself may have stopped before N samples.
    """

    task: Task
    seed: int
    readout: Readout | None
    budget: int
    is_smaller: bool
    strategy: Strategy | None
    selector: Selector | None
    knob: str | None = None
    own_rule: str | None = None

    async def replay(self, line: Mapping[str, Any], granting: Granting | None = None) -> dict[str, Any]:
        """Return the result line with the new answer; one with an error or without candidates is kept.

        If some samples are left out, ``usage`` counts the tokens and reward calls of the others, and what
        stored samples do not say of their cost is left out. With ``granting`` as many are drawn as it
        grants; raises ConfigError where the run has fewer.
        """
        if line["error"] is not None or not line["candidates"]:
            return dict(line)
        stored = in_recorded_order(line)[: None if granting else self.budget]
        samples = [trajectory_of(c) for c in stored]
        verifier = StoredVerifier(samples, self.readout) if self.readout else None
        problem = Problem(line["problem_id"], line["question"], line["reference"])
        seeds = sample_seeds(self.seed, problem.id, range(len(samples)))
        engine = StoredEngine(dict(zip(seeds, samples, strict=True)))
        session = Session(Ledger(problem, engine, verifier, self.task, self.seed, granting=granting))
        log_weights = tuple(log_weight_of(c) for c in stored)
        if self.strategy is not None:
            solution = await self._fitting(self.strategy, len(samples)).solve(session)
            index, log_weights = solution.answer_index, solution.log_weights
            stored = [_cut(c, t) for c, t in zip(stored, solution.trajectories, strict=False)]
            if granting or prunes(self.strategy) or stops(self.strategy):
                stored = [{k: v for k, v in c.items() if k != GROUP} for c in stored]
        else:
            assert self.selector is not None
            index = await self.selector.choose(session, samples, log_weights)
        answered = _answered(stored, index, log_weights)
        if not self.is_smaller:
            return {**line, **answered}
        usage = session.usage if self.strategy else _usage(stored)
        known = {key: value for key, value in line.items() if key not in _OF_ALL_SAMPLES}
        return {**known, **answered, **_NOT_KNOWN, "usage": asdict(usage)}

    def _fitting(self, strategy: Strategy, num_samples: int) -> Strategy:
        """Return the strategy for a problem with fewer samples than N, where that is all there were.

        An import may have such problems; in a run that stopped, they are those that its rule stopped.
        """
        comes_in_waves = bool(getattr(strategy, "wave_size", False))
        is_whole = self.own_rule is not None or not 0 < num_samples < self.budget
        if self.knob is None or is_whole or comes_in_waves:
            return strategy
        fitted: Any = replace(strategy, **{self.knob: num_samples})  # type: ignore[type-var]
        return fitted  # type: ignore[no-any-return]


_OF_ALL_SAMPLES = ("cost", "usage_by_policy", "usage_by_role")
_NOT_KNOWN = {"overhead": asdict(Overhead()), "seconds": 0.0}
"""What the samples that are left have cost is not stored by sample."""


def _usage(stored: Sequence[Mapping[str, Any]]) -> Usage:
    calls = sum(any(x is not None for x in c["step_log_odds"]) for c in stored)
    return Usage(generated_tokens=sum(c["num_tokens"] for c in stored), reward_calls=calls)


def _cut(candidate: Mapping[str, Any], sample: Trajectory) -> Mapping[str, Any]:
    """Return a stored candidate, or what is left of it where the search gave it up."""
    if not sample.pruned:
        return candidate
    return {**candidate, **candidate_line(Candidate(sample, 0.0, None, False), SEARCH)}


def _answered(
    stored: Sequence[Mapping[str, Any]], index: int | None, log_weights: Sequence[float]
) -> dict[str, Any]:
    weighed = [{**c, "log_weight": finite(w)} for c, w in zip(stored, log_weights, strict=True)]
    order = sorted(range(len(weighed)), key=lambda i: i != index)
    chosen = None if index is None else weighed[index]
    return {
        "answer": chosen["answer"] if chosen else None,
        "correct": bool(chosen and chosen["correct"]),
        "candidates": [weighed[i] for i in order],
        "answer_index": index,
    }


@dataclass(frozen=True)
class Recorded:
    """A run on disk: its configuration, its summary and its result lines; ``is_own`` if the user wrote it."""

    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    lines: Sequence[Mapping[str, Any]]
    is_own: bool = False

    @property
    def name(self) -> str:
        return str(self.summary["strategy"])

    @property
    def target(self) -> str:
        return str(self.config["strategy"].get(TARGET))

    @property
    def budget(self) -> int:
        return int(self.config["budget"])

    @property
    def knob(self) -> str | None:
        """The knob that is N, where candidates are the first of N samples: none is pruned, none granted."""
        is_list = not prunes(self.config["strategy"]) and not grants(self.config)
        return independent_knob(self.target) if is_list else None

    @property
    def own_rule(self) -> str | None:
        """The rule by which the run may have stopped before N samples, if there is one."""
        strategy = self.config["strategy"]
        return str((strategy.get("stop") or {}).get("rule", "decided")) if stops(strategy) else None

    @cached_property
    def labels(self) -> Mapping[str, Any]:
        """The entries of the summary that do not come from the results."""
        totals = Totals()
        for line in self.lines:
            totals.add(line)
        figures = totals.summary()
        return {key: value for key, value in self.summary.items() if key not in figures}

    @property
    def has_rewards(self) -> bool:
        return any(c["reward"] is not None for line in self.lines for c in line["candidates"])

    @property
    def num_unrewarded(self) -> int:
        """How many finished candidates have no reward for their last step, though no limit withheld it."""
        whole = (line for line in self.lines if line["stopped_by"] is None)
        finished = (c for line in whole for c in line["candidates"] if c["finished"])
        return sum(c["step_log_odds"][-1] is None for c in finished)


def check_format(run: Recorded) -> None:
    """Raise ConfigError if the lines were written by a version that did not store steps."""
    for line in run.lines:
        if "answer_index" not in line or any(key not in c for c in line["candidates"] for key in NEEDED):
            allowed = "was written by an older version, without what each step was rewarded: run it again"
            raise ConfigError("results.jsonl", line["problem_id"], allowed)


def make_replayer(run: Recorded, what: WhatIf) -> Replayer:
    """Return what recomputes ``what`` for this run. Raises ConfigError if that would require a model."""
    readout = run.config["verifier"].get("readout")
    if readout not in (*READOUTS, None):
        raise ConfigError("verifier.readout", readout, "must be the name of a read-out, or null")
    if what.aggregation == "model" and readout != "whole":
        raise ConfigError(
            "aggregation", "model", f"needs a verifier with read-out whole; the run's is {readout}"
        )
    knob = run.knob
    _check_drawn(run, what, knob, readout)
    budget = _checked_budget(run, what, knob)
    strategy = _strategy(run, what, knob, budget) if knob else None
    base = Replayer(
        task=build_task(run.config["task"]),
        seed=int(run.config["seed"]),
        readout=readout if run.has_rewards else None,
        budget=budget if knob else max((len(line["candidates"]) for line in run.lines), default=1),
        is_smaller=budget < run.budget or bool(what.drawn or what.granted),
        strategy=strategy,
        selector=None,
        knob=knob,
        own_rule=run.own_rule,
    )
    return base if strategy else replace(base, selector=_selector(run, what, replay_selector(), bool(knob)))


def _check_drawn(run: Recorded, what: WhatIf, knob: str | None, readout: str | None) -> None:
    """Raise ConfigError where the run does not hold the samples that these knobs would have drawn."""
    for key, value in what.drawn:
        if knob is None:
            allowed = f"strategy={run.name} draws no independent samples of which some could be left out"
            raise ConfigError(key, value, allowed)
        if _is_stopped(run):
            allowed = "a limit stopped some problems: what they would have drawn is not known"
            raise ConfigError(key, value, allowed)
        if key == "strategy.prune":
            _check_prune(run, value, readout)


def _check_prune(run: Recorded, prune: Any, readout: str | None) -> None:
    if readout == "whole":
        allowed = "needs a reward of each step; the read-out of this run's verifier is whole"
        raise ConfigError("strategy.prune", prune, allowed)
    if not all(knows_steps(c) for line in run.lines for c in line["candidates"]):
        allowed = "needs the tokens of each step, which an older version did not store: run it again"
        raise ConfigError("strategy.prune", prune, allowed)


def _checked_budget(run: Recorded, what: WhatIf, knob: str | None) -> int:
    most = max((len(line["candidates"]) for line in run.lines), default=run.budget)
    if knob is not None and what.budget is None and most < run.budget and not _may_be_fewer(run):
        raise ConfigError("budget", run.budget, f"no problem of the run has more than {most} candidates")
    if what.budget is None or what.budget == run.budget:
        return run.budget
    if not 1 <= what.budget <= run.budget:
        raise ConfigError("budget", what.budget, f"must be 1..{run.budget}: the run has no more candidates")
    if knob is None:
        allowed = f"the candidates of strategy={run.name} come from a search with N={run.budget}: "
        raise ConfigError(
            "budget", what.budget, allowed + "a smaller N would have searched differently; run it"
        )
    num_stopped = sum(line["stopped_by"] is not None for line in run.lines)
    if num_stopped:
        allowed = f"a limit stopped {num_stopped} problems: what a smaller N would have drawn is not known"
        raise ConfigError("budget", what.budget, allowed)
    return what.budget


def _is_stopped(run: Recorded) -> bool:
    return any(line["stopped_by"] is not None for line in run.lines)


def _may_be_fewer(run: Recorded) -> bool:
    """Return whether problems may rightly have fewer samples than the budget."""
    return _is_stopped(run) or run.own_rule is not None


def _strategy(run: Recorded, what: WhatIf, knob: str, budget: int) -> Strategy | None:
    """Return the run's strategy with other knobs; None if it does not have these knobs."""
    node = run.config["strategy"]
    if _is_stopped(run):
        return None  # a limit has withheld samples, which it would request
    if not all(key in node for key in what.changes):
        return None
    try:
        strategy: Strategy = build_node({**what.node(node), knob: budget}, "strategy")
    except ConfigError as mistake:
        if what.selection is not None and "selection" in mistake.key:
            return None  # a selection that this strategy does not offer
        raise
    needs_rewards = bool(strategy.readouts) and not run.has_rewards
    if needs_rewards:
        key, value = ("weight", what.weight) if not what.drawn else what.drawn[0]
        raise ConfigError(key, value, f"strategy={run.name} was run without rewards")
    return strategy


def _selector(run: Recorded, what: WhatIf, node: Mapping[str, Any], is_independent: bool) -> Selector:
    own = run.config["strategy"]
    for key in ("weight", "tie_break"):
        if getattr(what, key) is not None:
            raise ConfigError(key, getattr(what, key), f"strategy={run.name} does not vote by it here")
    selection = what.selection or own.get("selection")
    num_stopped = sum(line["stopped_by"] is not None for line in run.lines)
    if selection is None and num_stopped:
        allowed = f"a limit stopped {num_stopped} problems, whose vote cannot be repeated; give one"
        raise ConfigError("selection", None, allowed)
    if selection is None:
        raise ConfigError("selection", None, f"strategy={run.name} has no selection to repeat; give one")
    if not run.has_rewards and (selection == "argmax" or what.aggregation):
        key = "aggregation" if what.aggregation else "selection"
        raise ConfigError(key, what.aggregation or selection, f"strategy={run.name} was run without rewards")
    if what.selection not in (None, "majority") and run.has_rewards and run.num_unrewarded:
        allowed = f"strategy={run.name} was run without the rewards of {run.num_unrewarded} candidates"
        raise ConfigError("selection", what.selection, allowed)
    reweigh = is_independent and what.aggregation is not None
    knobs = {
        "selection": selection,
        "aggregation": what.aggregation or own.get("aggregation", "last"),
        "weights": "rewards" if reweigh else "stored",
        "selection_temperature": own.get("selection_temperature", 1.0) if reweigh else 1.0,
    }
    selector: Selector = build_node({**node, **knobs}, "replay")
    return selector


async def replay_all(run: Recorded, what: WhatIf) -> list[dict[str, Any]]:
    """Return every result line, recomputed. Raises ConfigError for what would require a model."""
    replayer = make_replayer(run, what)
    return [await replay_line(replayer, line, what) for line in run.lines]


async def replay_line(
    replayer: Replayer, line: Mapping[str, Any], what: WhatIf, granting: Granting | None = None
) -> dict[str, Any]:
    """Return one result line, recomputed. Raises ConfigError for one that cannot be."""
    try:
        return await replayer.replay(line, granting)
    except ProblemError as failure:
        if replayer.own_rule is not None and len(line["candidates"]) < replayer.budget:
            num, wish = len(line["candidates"]), what.name or "the same again"
            allowed = f"stopped {line['problem_id']} after {num} of {replayer.budget} samples, and "
            allowed += f"{wish} needs more: give a run without a rule"
            raise ConfigError("strategy.stop.rule", replayer.own_rule, allowed) from failure
        raise ConfigError("replay", what.name, f"{type(failure).__name__}: {failure}") from failure
    except (
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
    ) as failure:  # of a line that was made by hand
        allowed = f"cannot be replayed: {type(failure).__name__}: {failure}"
        raise ConfigError("problem_id", line["problem_id"], allowed) from failure
