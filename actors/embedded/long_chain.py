"""Train the models of long chains, and choose among their verifiers by gates that were set before any search.

``python -m actors.embedded.long_chain --work DIR`` trains the policy, takes the snapshot whose pass@1 is
nearest .25, samples rollouts, trains a verifier for each kind of labels (long_chain_models.py)
in processes side by side, evaluates their gates, and writes the folders of the weights, with the first
verifier of ``PREFERENCE`` that passes, or the one that fails the fewest.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
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
    SNAPSHOT_EVERY,
    export,
    sampler,
    scaled,
    snapshot,
    train_policy,
    train_verifier,
    write_rollouts,
)
from actors.embedded.trainer import console

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
EVALUATION_SECONDS = 25.0
PREFERENCE = ("outcome", "mixed", "cue")
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
    low, high, found = 1, family.policy.num_tokens // SNAPSHOT_EVERY, {}
    while low < high:
        middle = (low + high) // 2
        found[middle] = asyncio.run(pass_at_1(snapshot(work, middle), num_problems))
        console.print(f"snapshot {middle}: pass@1 {found[middle]:.3f}")
        low, high = (middle + 1, high) if found[middle] < AIM else (low, middle)
    (work / "snapshots.json").write_text(json.dumps(found, indent=1) + "\n")
    return min(found, key=lambda index: abs(found[index] - AIM), default=low)


def with_snapshot(family: Family, index: int) -> Family:
    """Return the family that ships a snapshot; the rollouts are its own and its neighbours'."""
    last = family.policy.num_tokens // SNAPSHOT_EVERY
    before, after = max(1, index - 2), min(last, index + 2)
    rollouts = ((before, 0.8), (index, 0.8), (after, 0.8), (after, 1.0))
    return replace(family, shipped_snapshot=index, rollouts=rollouts)


def candidate(family: Family, work: Path, labels: str, index: int, num_problems: int) -> None:
    """Train the verifier of one kind of labels, and write its figures on development problems."""
    own = work / labels
    own.mkdir(exist_ok=True)
    for name in ("policy", "rollouts.jsonl"):
        (own / name).exists() or (own / name).symlink_to((work / name).resolve())
    examples = partial(verifier_examples, labels=LABELS[labels])
    train_verifier(replace(family, verifier_examples=examples), own, DEVICE)
    models = (str(snapshot(work, index)), str(own / "verifier" / "last"))
    figures = asyncio.run(evaluate(family, *models, num_problems, 16))
    figures["failed_gates"] = failed_gates(figures)
    (own / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")


def affordable(family: Family, tokens_per_second: float, seconds: float) -> int:
    """Return how many tokens a verifier may learn: its recipe's, or what ``seconds`` allow beside two others.

    It takes about three times as long for a token as the policy, in smaller batches and with more heads.
    """
    return round(max(0.0, min(family.verifier.num_tokens, tokens_per_second / 3 * seconds)))


def train(
    family: Family, work: Path, weights: Path, num_problems: int, seconds: float, arguments: list[str]
) -> None:
    """Train and choose everything; the verifiers in processes of their own, which end within ``seconds``."""
    begun = time.monotonic()
    train_policy(family, work, DEVICE)
    speed = family.policy.num_tokens / (time.monotonic() - begun)
    index = chosen_snapshot(family, work, num_problems)
    family = with_snapshot(family, index)
    asyncio.run(write_rollouts(family, work))
    tokens = affordable(family, speed, seconds - (time.monotonic() - begun) - EVALUATION_SECONDS)
    console.print(f"{speed:,.0f} tokens of the policy a second; {tokens:,} tokens for each verifier")
    words = [sys.executable, "-m", "actors.embedded.long_chain", *arguments, "--snapshot", str(index)]
    words += ["--tokens", str(tokens)]
    running = [subprocess.Popen([*words, "--labels", name]) for name in LABELS]
    for process in running:
        process.wait()
    written = [name for name in PREFERENCE if (work / name / "figures.json").exists()]
    figures = {name: json.loads((work / name / "figures.json").read_text()) for name in written}
    failed = {name: figures[name].pop("failed_gates") for name in written}
    for name in written:
        console.print(f"{name} fails: {', '.join(failed[name]) or 'none'}")
    best = min(written, key=lambda name: len(failed[name]))
    export(family, work / best, weights)
    of = {"labels": best, "snapshot": index, "verifier_tokens": tokens, "candidates": failed}
    (work / "gates.json").write_text(json.dumps(of | figures[best], indent=1) + "\n")
    console.print(f"exported snapshot {index} and the verifier of {best} labels")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="checkpoints, snapshots and rollouts")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="where the models are written")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the recipes' tokens, for a trial")
    parser.add_argument("--problems", type=int, default=100)
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="fewer tokens where it takes longer"
    )
    parser.add_argument("--labels", choices=LABELS, help="train this verifier alone, after the policy")
    parser.add_argument("--snapshot", type=int, default=LONG_CHAIN.shipped_snapshot, help="with --labels")
    parser.add_argument("--tokens", type=int, help="of the verifier, with --labels")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    family = scaled(LONG_CHAIN, args.scale)
    family = replace(family, num_rollout_problems=max(2, round(family.num_rollout_problems * args.scale)))
    if args.labels:
        num_tokens = args.tokens or family.verifier.num_tokens
        family = replace(family, verifier=replace(family.verifier, num_tokens=num_tokens))
        candidate(family, args.work, args.labels, args.snapshot, args.problems)
    else:
        train(family, args.work, args.weights, args.problems, args.seconds, sys.argv[1:])


if __name__ == "__main__":
    main()
