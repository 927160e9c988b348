"""Selection by likeness where no answer can be read: ``python -m tests.bench.bench_selection RUN_DIR``.

``RUN_DIR`` is a run of independent samples, such as ``python run.py strategy=self_consistency budget=16
verifier=none task.limit=200``. One of each problem's samples is selected: with their answers, by the vote;
without the step that states the answer, by likeness; and the first.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean

from orchestrator.intervals import paired_interval
from orchestrator.storage.result_lines import in_recorded_order
from orchestrator.storage.results import stream_results
from orchestrator.stored.samples import StoredProblem, read_stored
from strategies.parts.mbr import most_alike
from strategies.parts.similarity import TextUtility, similarities
from strategies.parts.voting import vote

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


RULES: dict[str, Rule] = {
    "the first": lambda _: 0,
    "likeness by words (f1), answers hidden": by_likeness("f1"),
    "likeness by characters (chrf), answers hidden": by_likeness("chrf"),
    "vote, answers read": by_vote,
}


def main() -> None:
    """Print a table: the share of problems whose chosen sample is right, and the gain over the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    folder = parser.parse_args().run_dir
    stored = read_stored(str(folder), "run_dir").problems
    right = [[bool(c["correct"]) for c in in_recorded_order(line)] for line in stream_results(folder)]
    chosen = {name: [rule(each) for each in stored] for name, rule in RULES.items()}
    scores = {name: [float(r[i]) for r, i in zip(right, own, strict=True)] for name, own in chosen.items()}
    print("| selection | right | gain over the first (95 %) |\n|---|---|---|")
    for name, own in scores.items():
        print(f"| {name} | {fmean(own):.3f} | {_gain(own, scores['the first'])} |")


def _gain(own: Sequence[float], first: Sequence[float]) -> str:
    gain, low, high = paired_interval([[x] for x in own], [[x] for x in first])
    return f"{gain:+.3f} ({low:+.3f} to {high:+.3f})"


if __name__ == "__main__":
    main()
