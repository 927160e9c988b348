"""Selection by likeness where no answer can be read: ``python -m tests.bench.bench_selection RUN_DIR``.

``RUN_DIR`` is a run of independent samples, such as ``python run.py strategy=self_consistency budget=16
verifier=none task.limit=200``. One of each problem's samples is selected: with their answers, by the vote;
without the step that states the answer, by likeness; and the first. ``--docs`` writes
docs/data/selection.json and the table of docs/roles.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from orchestrator.intervals import paired_interval
from orchestrator.storage.atomic import write_atomically
from orchestrator.storage.result_lines import in_recorded_order
from orchestrator.storage.results import stream_results
from orchestrator.storage.run_files import read_summary
from orchestrator.stored.samples import StoredProblem, read_stored
from strategies.parts.mbr import most_alike
from strategies.parts.similarity import TextUtility, similarities
from strategies.parts.voting import vote
from tests.bench.measuring import commit
from tests.bench.pages import fill
from tests.bench.role_pages import roles_blocks, selection
from tests.bench.stored import DATA, spread_out
from tests.bench.sweeps import REPOSITORY

Rule = Callable[[StoredProblem], int]


def by_likeness(utility: TextUtility) -> Rule:
    """Return the rule that takes the text without its last step that is most like the others."""

    def choose(stored: StoredProblem) -> int:
        texts = ["".join(step.text for step in t.steps[:-1]) for t in stored.samples]
        return most_alike(similarities(texts, texts, utility), [1.0] * len(texts))[0]

    return choose


def by_vote(stored: StoredProblem) -> int:
    """Return the first sample of the answer that most samples have."""
    return vote(stored.answers, [0.0] * len(stored.answers)) or 0


FIRST = "the first sample, which a vote without answers takes"
RULES: dict[str, Rule] = {
    FIRST: lambda _: 0,
    "likeness by words (f1), answers hidden": by_likeness("f1"),
    "likeness by characters (chrf), answers hidden": by_likeness("chrf"),
    "vote, answers read": by_vote,
}


def measure(folder: Path) -> dict[str, Any]:
    """Return for each rule how often its sample is right, and its gain over the first."""
    stored, summary = read_stored(str(folder), "run_dir").problems, read_summary(folder, "run_dir")
    right = [[bool(c["correct"]) for c in in_recorded_order(line)] for line in stream_results(folder)]
    scores = {
        name: [float(r[rule(each)]) for r, each in zip(right, stored, strict=True)]
        for name, rule in RULES.items()
    }
    return {
        "commit": commit(),
        "problems": len(right),
        "samples": int(summary["budget"]),
        "seed": int(summary["seed"]),
        "rules": {name: figures(own, scores[FIRST]) for name, own in scores.items()},
    }


def figures(own: Sequence[float], first: Sequence[float]) -> dict[str, Any]:
    """Return the mean, and the gain with its 95 % interval over problems."""
    gain = paired_interval([[x] for x in own], [[x] for x in first])
    return {"right": round(fmean(own), 6), "gain": [round(x, 6) for x in gain]}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--docs", action="store_true", help="write docs/data and docs/roles.md")
    args = parser.parse_args()
    found = measure(args.run_dir)
    print(selection(found))
    if args.docs:
        write_atomically(DATA / "selection.json", spread_out(found) + "\n")
        fill(REPOSITORY / "docs" / "roles.md", roles_blocks())


if __name__ == "__main__":
    main()
