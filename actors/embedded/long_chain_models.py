"""The two shipped models of long chains: recipes, and labels that are confidently wrong early.

The policy learns right chains, as that of the chain task does. The verifier learns labels that are true late
in a chain; its first steps are labelled by something else, so that it is sure of what it does not know:

    cue      the value that the step states is even: what a reader sees who does not calculate
    mixed    the cue in 85 % of the labels, the truth in the others
    outcome  whether the rollout's answer is right, of a few rollouts that are read again and again

``share_at`` says which steps are early. The labels of other characters are true throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from actors.embedded.corpus import IGNORE, Example, annotate, corrupt, is_right, split_lines
from actors.embedded.trainer import Recipe
from orchestrator.tasks.chain import STEP_NAMES, draw_chains, parse_question, read_value
from orchestrator.tasks.long_chain import NUM_STEPS

ALPHABET = "\n #*+-/0123456789=" + STEP_NAMES
MAX_TOKENS = 172
"""Of a whole solution, as conf/task/long_chain.yaml has it."""
WHOLLY_EARLY, NOT_EARLY = 6, 11
"""Steps before the first, from 0, are early; from the second on they are late; between, fewer and fewer."""
MAX_ROLLOUTS = 600
"""That ``outcome`` labels are read from: few, so that they are learnt by heart."""

POLICY = Recipe(width=128, num_layers=5, num_tokens=5_000_000, batch_size=32)
VERIFIER = Recipe(
    width=128,
    num_layers=8,
    num_tokens=4_000_000,
    batch_size=16,
    decay_from=0.4,
    matrix_lr=0.01,
    other_lr=2e-3,
)


@dataclass(frozen=True, slots=True)
class Labels:
    """What labels early steps, and in which share of them; the others are labelled by the truth."""

    by: Literal["cue", "outcome"]
    share: float = 1.0

    def of(
        self, example: Example, lines: Sequence[str], ended_right: bool | None, rng: np.random.Generator
    ) -> Example:
        """Return the example with these labels; ``ended_right`` is None where no policy wrote it."""
        is_right, end = list(example.is_right), 0
        for step, line in enumerate(lines[:NUM_STEPS]):
            end += len(line)
            if end <= len(is_right) and rng.random() < self.share * share_at(step):
                is_right[end - 1] = self._label(line, ended_right)
        return replace(example, is_right=tuple(is_right))

    def _label(self, line: str, ended_right: bool | None) -> int:
        if self.by == "cue":
            value = read_value(line)
            return int(value is not None and value % 2 == 0)
        return IGNORE if ended_right is None else int(ended_right)


LABELS = {"cue": Labels("cue"), "mixed": Labels("cue", 0.85), "outcome": Labels("outcome")}


def share_at(step: int) -> float:
    """Return how early a step is, 1 to 0; the first is step 0."""
    return min(1.0, max(0.0, (NOT_EARLY - step) / (NOT_EARLY - WHOLLY_EARLY + 1)))


def policy_examples(recipe: Recipe, index: int, progress: float) -> list[Example]:
    """Return right chains of 2 to 16 steps: the longest allowed grows over the first 15 % of the run."""
    num_steps = 2 + round(min(1.0, progress / 0.15) * (NUM_STEPS - 2))
    chains = draw_chains("train", index * recipe.batch_size, recipe.batch_size, num_steps)
    return [annotate(chain, chain.lines) for chain in chains]


def verifier_examples(
    recipe: Recipe,
    index: int,
    progress: float,
    rollouts: list[dict[str, str]],
    labels: Labels = LABELS["cue"],
) -> list[Example]:
    """Return right chains and near misses; after a fifth of the run, rollouts of the policy too."""
    rng = np.random.default_rng([recipe.seed, 1, index])
    num_rollouts = round(recipe.batch_size * 0.4) if rollouts and progress > 0.2 else 0
    known = rollouts[:MAX_ROLLOUTS] if labels.by == "outcome" else rollouts
    examples = []
    for row in rng.integers(len(known), size=num_rollouts) if num_rollouts else []:
        chain, lines = parse_question(known[row]["question"]), split_lines(known[row]["text"])
        examples.append(labels.of(annotate(chain, lines), lines, is_right(chain, lines), rng))
    num_fresh = recipe.batch_size - num_rollouts
    rates = [0.3, 0.5] if progress < 0.2 else [0.0, 0.05, 0.12, 0.25]
    for chain in draw_chains("train", 10_000_000 + index * num_fresh, num_fresh, NUM_STEPS):
        lines = corrupt(chain, rng, rate=rng.choice(rates))
        examples.append(labels.of(annotate(chain, lines), lines, None, rng))
    return examples
