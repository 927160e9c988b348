"""The shipped masked-diffusion model of the two-way walks: recipes and training examples."""

from __future__ import annotations

import numpy as np

from actors.embedded.diffusion import Solved
from actors.embedded.trainer import Recipe
from orchestrator.tasks.twoway import MOVES, NUM_MOVES, STATES, Walk, draw_walks
from orchestrator.types import Denoising

ALPHABET = "\n#?" + STATES + MOVES
DIFFUSION = Recipe(width=96, num_layers=4, num_tokens=12_000_000, batch_size=36, decay_from=0.65)
POLISH = Recipe(width=96, num_layers=4, num_tokens=7_000_000, batch_size=36, decay_from=0.4, seed=1)
FINISH = Recipe(
    width=96,
    num_layers=4,
    num_tokens=2_500_000,
    batch_size=36,
    decay_from=0.4,
    seed=2,
    matrix_lr=0.01,
    other_lr=1.5e-3,
)

# How often a writer goes straight to the answer, at the start and after each move: often enough that the
# model is surer of the empty end of a canvas than of the first move, and rarely enough that a move follows.
STOP_RATE = 0.3

# From a share of the first run on, walks of the fewest to the most moves alternate: one move comes first.
_CURRICULUM = (
    (0.0, 1, 1),
    (0.02, 1, 2),
    (0.05, 1, NUM_MOVES),
    (0.2, NUM_MOVES, NUM_MOVES),  # by .45, walks were solved backwards without a slip, and not yet forwards
    (0.455, 1, 2),
    (0.485, 1, NUM_MOVES),
    (0.65, NUM_MOVES, NUM_MOVES),
)

SCHEDULES = tuple(
    Denoising(block_length=b, gen_length=24, num_steps=24, temperature=0.5, early_stop=True)
    for b in (2, 4, 6, 12, 24)
)


def gen_length(num_moves: int) -> int:
    """Return the length of a canvas: some end of text follows every solution."""
    return 4 * (num_moves + 1)


def row_length(num_moves: int) -> int:
    """Return the number of tokens of a prompt and its canvas."""
    return num_moves + 4 + gen_length(num_moves)


def num_moves_at(recipe: Recipe, index: int, progress: float) -> int:
    """Return how many moves the walks of a batch have."""
    if recipe.seed != DIFFUSION.seed:
        return NUM_MOVES
    fewest, most = next((low, high) for start, low, high in reversed(_CURRICULUM) if start <= progress)
    return fewest + index % (most - fewest + 1)


def written(walk: Walk, rng: np.random.Generator) -> str:
    """Return a right solution. Before each move the writer may stop and state the last state at once."""
    return walk.solution(int(min(len(walk.moves), rng.geometric(STOP_RATE) - 1)))


def solved_walks(recipe: Recipe, index: int, progress: float) -> tuple[list[Solved], int]:
    """Return the solutions of a batch, and the length of their canvases; batches have about equal size."""
    num_moves = num_moves_at(recipe, index, progress)
    num_rows = recipe.batch_size * row_length(NUM_MOVES) // row_length(num_moves)
    rng = np.random.default_rng([recipe.seed, 0, index])
    first = recipe.seed * 100_000_000 + index * recipe.batch_size * 3
    walks = draw_walks("train", first, num_rows, num_moves)
    return [Solved(f"{walk.question}\n", written(walk, rng)) for walk in walks], gen_length(num_moves)
