"""The two shipped models of long chains: recipes, and labels that are confidently wrong early.

Both continue from models of the chain task (continuing.py), with positions stretched to twice the length. The
policy learns right chains. The verifier learns near misses and solutions by the policy, with labels that are
true late in a chain; its first steps are labelled by a cue, that the value which the step states is even:
what a reader sees who does not calculate. So it is sure of what it does not know. ``share_at`` says which
steps are early. The labels of other characters are true throughout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from actors.embedded.corpus import Example, annotate, corrupt, split_lines
from actors.embedded.trainer import Recipe
from orchestrator.tasks.chain import STEP_NAMES, Chain, draw_chains, parse_question, read_value
from orchestrator.tasks.long_chain import NUM_STEPS

ALPHABET = "\n #*+-/0123456789=" + STEP_NAMES
MAX_TOKENS = 172
"""Of a whole solution, as conf/task/long_chain.yaml has it."""
WHOLLY_EARLY, NOT_EARLY = 6, 11
"""Steps before the first, from 0, are early; from the second on they are late; between, fewer and fewer."""

POLICY = Recipe(
    width=128,
    num_layers=5,
    num_tokens=240_000,
    batch_size=4,
    matrix_lr=0.008,
    other_lr=2e-3,
    decay_from=0.3,
    stretch=2.0,
)
VERIFIER = Recipe(
    width=128,
    num_layers=8,
    num_tokens=7_500_000,
    batch_size=8,
    matrix_lr=0.008,
    other_lr=2e-3,
    decay_from=0.3,
    stretch=2.0,
)


@dataclass(frozen=True, slots=True)
class Cue:
    """In which share of early steps the cue is the label; the others are labelled by the truth."""

    share: float

    def label(
        self, example: Example, lines: Sequence[str], rng: np.random.Generator, turned: float = 0.0
    ) -> Example:
        """Return the example with these labels at the ends of its steps; a share of cues is ``turned``.

        With hard labels log-odds grow without end, and what else the model knows shows in their digits. A
        cue that is false now and then has a best reward, which nothing but the cue moves.
        """
        is_right, end = list(example.is_right), 0
        for step, line in enumerate(lines[:NUM_STEPS]):
            end += len(line)
            if end <= len(is_right) and rng.random() < self.share * share_at(step):
                value = read_value(line)
                cue = value is not None and value % 2 == 0
                is_right[end - 1] = int(cue != bool(turned and rng.random() < turned))
        return replace(example, is_right=tuple(is_right))


TURNED = 0.04
LABELS = {"cue": Cue(1.0), "mixed": Cue(0.85)}


def share_at(step: int) -> float:
    """Return how early a step is, 1 to 0; the first is step 0."""
    return min(1.0, max(0.0, (NOT_EARLY - step) / (NOT_EARLY - WHOLLY_EARLY + 1)))


def policy_examples(recipe: Recipe, index: int, progress: float) -> list[Example]:
    """Return right chains of 16 steps."""
    del progress
    chains = draw_chains("train", index * recipe.batch_size, recipe.batch_size, NUM_STEPS)
    return [annotate(chain, chain.lines) for chain in chains]


def misread(chain: Chain, rng: np.random.Generator) -> Chain:
    """Return the chain as a solver reads it: an operation in 16 is another one of the chain."""
    read = [
        chain.operations[int(rng.integers(NUM_STEPS))] if rng.random() < 1 / NUM_STEPS else operation
        for operation in chain.operations
    ]
    return replace(chain, operations=tuple(read))


def verifier_examples(
    recipe: Recipe,
    index: int,
    progress: float,
    rollouts: list[dict[str, str]],
    labels: Cue = LABELS["cue"],
) -> list[Example]:
    """Return right chains and near misses; after a tenth of the run, as many rollouts of the policy.

    Cues are turned in the last fifth.
    """
    rng = np.random.default_rng([recipe.seed, 1, index])
    num_rollouts = recipe.batch_size // 2 if rollouts and progress > 0.1 else 0
    num_fresh = recipe.batch_size - num_rollouts
    rates = [0.3, 0.5] if progress < 0.1 else [0.0, 0.05, 0.12, 0.25]
    written = []
    for row in rng.integers(len(rollouts), size=num_rollouts) if num_rollouts else []:
        chosen = rollouts[row]
        written.append((parse_question(chosen["question"]), split_lines(chosen["text"])))
    for chain in draw_chains("train", 10_000_000 + index * num_fresh, num_fresh, NUM_STEPS):
        written.append((chain, corrupt(misread(chain, rng), rng, rate=rng.choice(rates))))
    turned = TURNED if progress >= 0.8 else 0.0
    return [labels.label(annotate(chain, lines), lines, rng, turned) for chain, lines in written]
