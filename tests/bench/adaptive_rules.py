"""Every rule on test problems, at levels of which one was chosen on development problems."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.intervals import paired_interval, sign_test
from tests.bench.adaptive_arrays import (
    Answered,
    Floats,
    Outcome,
    Problem,
    answered,
    at_once,
    beta,
    decided,
    one_by_one,
    pruned,
    threshold,
)
from tests.bench.adaptive_rounds import Setting, Value, rounds, uniform_at_tokens
from tests.bench.adaptive_samples import List

N, MEAN = 16, 6
SLACK = 0.03  # accuracy that the interval of a choice on development problems may lose
LEVELS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
CONFIDENCES = (0.8, 0.9, 0.95, 0.99)
PRUNES: Mapping[str, Sequence[tuple[int, int]]] = {
    "chain": ((1, 8), (2, 8), (3, 8), (4, 8), (4, 4), (6, 4)),
    "countdown": ((1, 8), (2, 8), (3, 8), (3, 4), (3, 2)),
}
SETTINGS = tuple(Setting(first, most) for first in (1, 2, 3) for most in (9, 12, 16))
Row = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """A way to spend less than all of N; ``votes`` answers by the vote, and is compared with it."""

    family: str
    level: str
    outcome: Callable[[Problem], Outcome]
    votes: bool = False

    def on(self, samples: Sequence[List]) -> list[Answered]:
        return [answered(each.problems, self.outcome) for each in samples]


def rules_of(task: str) -> list[Rule]:
    """Return every rule at each of its levels."""
    return [
        *(Rule("fewer samples", f"N = {n}", _first(n)) for n in (1, 2, 4, 6, 8)),
        *(Rule("threshold", f"at {at:g}", _until(threshold(at))) for at in LEVELS),
        *(Rule("beta", f"at {at:g}", _until(beta(at))) for at in CONFIDENCES),
        *(Rule("prune", _points(p), _pruned(p)) for p in PRUNES[task]),
        *(Rule("vote, beta", f"at {at:g}", _until(beta(at), True), True) for at in CONFIDENCES),
        Rule("vote, decided", "", _until(decided, True), True),
    ]


def _first(num: int, votes: bool = False) -> Callable[[Problem], Outcome]:
    return lambda samples: at_once(samples[:num], votes)


def _until(stops: Callable[[Problem, int], bool], votes: bool = False) -> Callable[[Problem], Outcome]:
    return lambda samples: one_by_one(samples, stops, votes)


def _pruned(prune: tuple[int, int]) -> Callable[[Problem], Outcome]:
    return lambda samples: pruned(samples, *prune)


def _points(prune: tuple[int, int]) -> str:
    return f"after step {prune[0]} keep {prune[1]}"


def estimate(values: Sequence[Floats]) -> list[float]:
    """Return a mean with its 95 % interval over problems, from one array of problems a list."""
    rows = np.stack(values, axis=1)
    return [round(x, 4) for x in paired_interval(rows.tolist(), [[0.0]] * len(rows))]


def row(family: str, level: str, own: Sequence[Answered], reference: Sequence[Floats]) -> Row:
    """Return the figures of a setting, paired with a reference by problem and seed."""
    gains = [a.right - b for a, b in zip(own, reference, strict=True)]
    mean = np.mean(gains, axis=0)
    better, worse = int((mean > 0).sum()), int((mean < 0).sum())
    costs = {name: round(float(np.mean([getattr(a, name) for a in own])), 2) for name in COSTS}
    return {
        "family": family, "level": level, "accuracy": estimate([a.right for a in own]), **costs,
        "difference": estimate(gains), "better": better, "worse": worse,
        "p": round(sign_test(better, worse), 4),
    }  # fmt: skip


COSTS = ("samples", "tokens", "sequential", "calls")


def measured_rules(task: str, dev: Sequence[List], test: Sequence[List], hedged: Sequence[List]) -> list[Row]:
    """Return a row for each rule and level; ``chosen`` are the levels that development problems chose."""
    whole = Rule("all", f"N = {N}", _first(N))
    votes = Rule("vote, all", f"N = {N}", _first(N, True), True)
    every = {rule.votes: rule.on(test) for rule in (whole, votes)}
    plain = {key: [a.right for a in own] for key, own in every.items()}
    rows = [row(rule.family, rule.level, every[rule.votes], plain[rule.votes]) for rule in (whole, votes)]
    rules = rules_of(task)
    chosen = choose(rules, dev, {False: whole.on(dev), True: votes.on(dev)})
    for rule in rules:
        found = row(rule.family, rule.level, rule.on(test), plain[rule.votes])
        rows.append({**found, "chosen": rule in chosen})
    stops = [rule for rule in chosen if rule.family == "threshold"]
    greedy = [("hedged", f"N = {N}", whole), *(("hedged, threshold", rule.level, rule) for rule in stops)]
    rows += [row(family, level, rule.on(hedged), plain[False]) for family, level, rule in greedy]
    return rows


def choose(
    rules: Sequence[Rule], dev: Sequence[List], whole: Mapping[bool, Sequence[Answered]]
) -> list[Rule]:
    """Return of each family the level of fewest tokens that loses less than SLACK on development problems.

    By the lower end of the paired difference's interval. Where no level does, it is the most accurate one.
    """
    chosen = []
    for family in dict.fromkeys(r.family for r in rules if r.family != "fewer samples"):
        found = [(r, r.on(dev)) for r in rules if r.family == family]
        enough = [(r, own) for r, own in found if _lowest(own, whole[r.votes]) >= -SLACK]
        best = min(enough, key=_tokens) if enough else max(found, key=_accuracy)
        chosen.append(best[0])
    return chosen


def _lowest(own: Sequence[Answered], whole: Sequence[Answered]) -> float:
    """Return the lower end of the interval of what is gained."""
    gains = np.stack([a.right - b.right for a, b in zip(own, whole, strict=True)], axis=1)
    return paired_interval(gains.tolist(), [[0.0]] * len(gains))[1]


def _tokens(measured: tuple[Rule, Sequence[Answered]]) -> float:
    return float(np.mean([a.tokens for a in measured[1]]))


def _accuracy(measured: tuple[Rule, Sequence[Answered]]) -> float:
    return float(np.mean([a.right for a in measured[1]]))


def measured_rounds(dev: Sequence[List], test: Sequence[List], maps: Mapping[str, Value]) -> list[Row]:
    """Return a mean of six samples by rounds, against uniform at the same samples and the same tokens."""
    variants = {(name, s): value for name, value in maps.items() for s in SETTINGS}

    def on(samples: Sequence[List], key: tuple[str, Setting]) -> list[Answered]:
        return [rounds(each, MEAN, key[1], variants[key]) for each in samples]

    best = max(variants, key=lambda key: float(np.mean([a.right for a in on(dev, key)])))
    default = ("rewards as they are", Setting())
    rows = [
        {**_against(test, on(test, key), f"{key[0]}; {key[1].name}"), "chosen": key == best}
        for key in dict.fromkeys((default, best))
    ]
    uniform = [each.first(MEAN) for each in test]
    return [row("uniform", f"N = {MEAN}", uniform, [a.right for a in uniform]), *rows]


def _against(test: Sequence[List], own: Sequence[Answered], level: str) -> Row:
    same = [each.first(MEAN).right for each in test]
    paid = [uniform_at_tokens(each, float(a.tokens.mean())) for each, a in zip(test, own, strict=True)]
    found = row("rounds", level, own, paid)
    gains = [a.right - b for a, b in zip(own, same, strict=True)]
    return {**found, "at equal samples": estimate(gains)}
