"""The blocks of docs/roles.md that benchmarks fill: drafts, a policy's opinion of its steps, and likeness."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.bench.adaptive_tables import interval
from tests.bench.curves import markdown, short, with_interval
from tests.bench.scaling import estimate, resamples
from tests.bench.stored import DATA

DRAFT_COLUMNS = (
    "judge",
    "accept",
    "accepted",
    "the base's share",
    "accuracy (95 %)",
    "minus the base",
    "cost",
    "sequential",
)
PRICES = (1.0, 21.0)
"""Of a token of the draft and of the base: the published pair has 1.5 B and 32 B parameters."""


def speculative(figures: Mapping[str, Any]) -> str:
    """Return accuracy against the base's share and against cost, from what bench_speculative wrote."""
    (alone,) = (row for row in figures["rows"] if row["accept"] > 1)
    rows = [_drafted(row, alone, figures["problems"]) for row in figures["rows"]]
    of = (
        f"{figures['problems']} problems (test), one path each, seed 0, commit {figures['commit']}; "
        "differences are paired by problem.\n"
        "Cost and sequential tokens are over those of the base alone; a judge's reading is not in them."
    )
    return f"{of}\n\n{markdown(DRAFT_COLUMNS, rows)}"


def _drafted(row: Mapping[str, Any], alone: Mapping[str, Any], problems: int) -> list[str]:
    shares = resamples(problems)
    right, reference = (np.array([int(c) for c in r["right"]], dtype=float) for r in (row, alone))
    accuracy, difference = estimate(shares @ right), estimate(shares @ (right - reference))
    draft, base = PRICES
    cost = draft * row["draft_tokens"] + base * row["base_tokens"]
    return [
        {"none": "base alone" if row is alone else "draft alone"}.get(row["judge"], row["judge"]),
        "" if row["judge"] == "none" else f"{row['accept']:g}",
        short(row["accepted"] / row["drafts"]) if row["drafts"] else "",
        short(1 - row["kept_tokens"] / row["answer_tokens"]),
        f"{short(accuracy.value)} ({short(accuracy.low)} to {short(accuracy.high)})",
        "" if row is alone else with_interval(difference),
        f"{cost / base / alone['base_tokens']:.2f}",
        f"{row['sequential_tokens'] / alone['sequential_tokens']:.2f}",
    ]


def self_evaluation(figures: Mapping[str, Any]) -> str:
    """Return what a policy's opinion of its own steps is worth, beside a verifier's and its certainty."""
    judges, own = figures["judges"], figures["behaviour"]
    steps = [
        [str(row["step"]), short(row["ends_right"]), *(_auc(judges[name], i) for name in judges)]
        for i, row in enumerate(judges["self_evaluation"]["by_step"])
    ]
    rules = [
        [rule, *(_ruled(judges[name]["rules"][rule]) for name in judges)]
        for rule in judges["self_evaluation"]["rules"]
    ]
    names = [f"`{name}`" for name in judges]
    greedy, sampled = (
        f"{short(own[f'{kind}_copy'])} (the policy {short(own[f'{kind}_policy'])})"
        for kind in ("greedy", "sampled")
    )
    kept = (
        f"What the copy has kept of `chain-policy`: greedy accuracy {greedy},\nof samples at T .8 {sampled}; "
        f"{own['same_greedy']:.0%} of the greedy solutions are the same text."
    )
    read = " and ".join(f"{judges[name]['read']:.0f} with `{name}`" for name in list(judges)[:2])
    return "\n\n".join(
        [
            f"{figures['of']}. AUC within a problem, of the answer to come and of the state:",
            markdown(["step", "right in the end", *names], steps),
            "Best of N by the last reward, with stopping and pruning: accuracy, and tokens a problem.",
            markdown(["rule", *names], rules),
            f"All 9 rewards of a sample read {read} tokens that were in no cache. {kept}",
        ]
    )


def _auc(judge: Mapping[str, Any], step: int) -> str:
    row = judge["by_step"][step]
    values = (row["auc_of_answer"], row["auc_of_state"])
    return ", ".join("-" if value is None else short(value) for value in values)


def _ruled(found: Mapping[str, float]) -> str:
    return f"{short(found['accuracy'])}, {found['tokens']:,.0f}"


def selection(figures: Mapping[str, Any]) -> str:
    """Return what likeness selects where no answer can be read, beside a vote over answers."""
    of = f"{figures['problems']} problems (test) x {figures['samples']} samples, seed {figures['seed']}, "
    rules = figures["rules"]
    first = next(iter(rules))
    rows = [
        [name, short(own["right"]), "" if name == first else interval(own["gain"], signed=True)]
        for name, own in rules.items()
    ]
    columns = ["selection", "right", "gain over the first sample (95 %)"]
    return f"{of}commit {figures['commit']}:\n\n{markdown(columns, rows)}"


def mixture(figures: Mapping[str, Any]) -> str:
    """Return mixture beside other searches with the same verifier and N."""
    of = f"{figures['problems']} problems (test), N = {figures['budget']}, seed {figures['seed']}"
    rows = [
        [f"`{name}`", interval(row["accuracy"]), f"{row['tokens']:,}", f"{row['sequential']:,}"]
        for name, row in figures["rows"].items()
    ]
    columns = ["strategy", "accuracy (95 %)", "generated tokens", "sequential tokens"]
    return f"{of}, commit {figures['commit']}; tokens are those of all problems:\n\n{markdown(columns, rows)}"


def roles_blocks(folder: Path = DATA) -> dict[str, str]:
    """Return the blocks of docs/roles.md."""
    made = {
        "speculative": speculative,
        "self_evaluation": self_evaluation,
        "selection": selection,
        "mixture": mixture,
    }
    paths = {name: folder / f"{name}.json" for name in made}
    return {name: made[name](json.loads(path.read_text())) for name, path in paths.items() if path.exists()}
