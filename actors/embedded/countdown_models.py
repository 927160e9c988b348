"""The two shipped models of the Countdown task: recipes and training examples."""

from __future__ import annotations

import numpy as np

from actors.embedded.corpus import Example, split_lines
from actors.embedded.countdown_corpus import annotate, wander
from actors.embedded.trainer import Recipe
from orchestrator.tasks.countdown import NUM_NUMBERS, draw_puzzles, parse_question

ALPHABET = "\n #*+,-/0123456789:="

POLICY = Recipe(width=128, num_layers=5, num_tokens=1_600_000, batch_size=32)
VERIFIER = Recipe(
    width=128,
    num_layers=8,
    num_tokens=1_600_000,
    batch_size=16,
    decay_from=0.4,
    matrix_lr=0.01,
    other_lr=2e-3,
)


def policy_examples(recipe: Recipe, index: int, progress: float) -> list[Example]:
    """Return solved puzzles of 2 to 4 numbers: the largest number grows over the first 5 % of the run."""
    num_numbers = 2 + round(min(1.0, progress / 0.05) * (NUM_NUMBERS - 2))
    puzzles = draw_puzzles("train", index * recipe.batch_size, recipe.batch_size, num_numbers)
    return [annotate(puzzle, puzzle.lines) for puzzle in puzzles]


def verifier_examples(
    recipe: Recipe, index: int, progress: float, rollouts: list[dict[str, str]]
) -> list[Example]:
    """Return solutions that get lost or slip; after a fifth of the run, rollouts of the policy too."""
    rng = np.random.default_rng([recipe.seed, 1, index])
    num_rollouts = round(recipe.batch_size * 0.5) if rollouts and progress > 0.2 else 0
    examples = []
    for row in rng.integers(len(rollouts), size=num_rollouts) if num_rollouts else []:
        chosen = rollouts[row]
        examples.append(annotate(parse_question(chosen["question"]), split_lines(chosen["text"])))
    num_fresh = recipe.batch_size - num_rollouts
    for puzzle in draw_puzzles("train", 10_000_000 + index * num_fresh, num_fresh):
        lost, slip = rng.choice([0.1, 0.3, 0.6]), rng.choice([0.0, 0.1, 0.3])
        examples.append(annotate(puzzle, wander(puzzle, rng, lost, slip)))
    return examples
