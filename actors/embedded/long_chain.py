"""Train the models of long chains, and choose among verifiers by gates that were set before any search.

``python -m actors.embedded.long_chain --work DIR`` trains the policy, takes the snapshot whose pass@1 is
nearest .25, trains a verifier for each of ``--labels`` (long_chain_models.py), evaluates their gates, and
writes the folders of the weights, with the first verifier that passes, or the one that fails the fewest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from actors.checkpoints import WEIGHTS
from actors.embedded.evaluate import evaluate, judge
from actors.embedded.families import LONG_CHAIN
from actors.embedded.family import Family
from actors.embedded.long_chain_models import LABELS, verifier_examples
from actors.embedded.solutions import sample_solutions
from actors.embedded.train import (
    export,
    sampler,
    scaled,
    snapshot,
    train_policy,
    train_verifier,
    write_rollouts,
)
from actors.embedded.trainer import console

EARLY, LATE = range(1, 7), range(12, 18)
AIM, LEAST, MOST = 0.25, 0.1, 0.4
MIN_SLIPS = 0.02
MAX_EARLY_AUC, MIN_CONFIDENCE, MIN_EXCESS = 0.6, 0.85, 0.2
MIN_LATE_AUC, MAX_LATE_ERROR = 0.85, 0.1


def failed_gates(figures: Mapping[str, Any]) -> list[str]:
    """Return which gates are failed; early and late steps are rows of ``by_step``."""
    rows = figures["by_step"]

    def mean(name: str, steps: Sequence[int]) -> float:
        return fmean(row[name] for row in rows if row["step"] in steps and row[name] is not None)

    excess = mean("confidence", EARLY) - mean("judged_right", EARLY)
    gates = {
        "pass@1 is in [.1, .4]": LEAST <= figures["pass_at"][1] <= MOST,
        "sixteen steps are uncertain": all((row["slips"] or 0) >= MIN_SLIPS for row in rows[:16]),
        "early steps hardly rank states": mean("auc_of_state", EARLY) <= MAX_EARLY_AUC,
        "early rewards are confident": mean("confidence", EARLY) >= MIN_CONFIDENCE,
        "early rewards are too confident": excess >= MIN_EXCESS,
        "late steps rank states": mean("auc_of_state", LATE) >= MIN_LATE_AUC,
        "late rewards are calibrated": mean("calibration_error", LATE) <= MAX_LATE_ERROR,
    }
    return [gate for gate, passed in gates.items() if not passed]


async def pass_at_1(folder: Path, num_problems: int) -> float:
    """Return a snapshot's share of right samples on development problems."""
    engine, problems = sampler(folder), list(LONG_CHAIN.draw("dev", 0, num_problems))
    samples = await sample_solutions(engine, problems, 4, 0.8, max_tokens=LONG_CHAIN.max_tokens)
    await engine.close()
    return fmean(right for group in judge(LONG_CHAIN, problems, samples) for right in group.is_right)


def chosen_snapshot(family: Family, work: Path, num_problems: int) -> int:
    """Return the snapshot whose pass@1 is nearest the aim, by bisection: it rises with training."""
    low, high, found = 1, family.policy.num_tokens // family.snapshot_every, {}
    while low < high:
        middle = (low + high) // 2
        found[middle] = asyncio.run(pass_at_1(snapshot(work, middle), num_problems))
        console.print(f"snapshot {middle}: pass@1 {found[middle]:.3f}")
        low, high = (middle + 1, high) if found[middle] < AIM else (low, middle)
    return min(found, key=lambda index: abs(found[index] - AIM), default=low)


def candidate(family: Family, work: Path, labels: str, num_problems: int, device: str) -> dict[str, Any]:
    """Train the verifier of one kind of labels, and return its figures on development problems."""
    own = work / labels
    own.mkdir(exist_ok=True)
    for name in ("policy", "rollouts.jsonl"):
        if not (own / name).exists():
            (own / name).symlink_to((work / name).resolve())
    examples = partial(verifier_examples, labels=LABELS[labels])
    train_verifier(replace(family, verifier_examples=examples), own, device)
    models = (str(snapshot(work, family.shipped_snapshot)), str(own / "verifier" / "last"))
    return asyncio.run(evaluate(family, *models, num_problems, 8))


def train(
    family: Family, work: Path, weights: Path, labels: Sequence[str], num_problems: int, device: str
) -> None:
    """Train and choose everything."""
    train_policy(family, work, device)
    family = replace(family, shipped_snapshot=chosen_snapshot(family, work, num_problems))
    asyncio.run(write_rollouts(family, work))
    figures = {name: candidate(family, work, name, num_problems, device) for name in labels}
    failed = {name: failed_gates(of) for name, of in figures.items()}
    best = min(labels, key=lambda name: len(failed[name]))
    of = {"labels": best, "snapshot": family.shipped_snapshot, "candidates": failed}
    (work / "gates.json").write_text(json.dumps(of | figures[best], indent=1) + "\n")
    export(family, work / best, weights)
    console.print(f"exported the verifier of {best} labels; it fails: {', '.join(failed[best]) or 'none'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="checkpoints and snapshots")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the models are written")
    parser.add_argument("--labels", nargs="+", choices=LABELS, default=["cue"], help="the first is preferred")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu, cuda")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the recipes' tokens, for a trial")
    parser.add_argument("--problems", type=int, default=60)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    family = scaled(LONG_CHAIN, args.scale)
    train(family, args.work, args.weights, args.labels, args.problems, args.device)


if __name__ == "__main__":
    main()
