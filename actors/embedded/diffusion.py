"""Training a masked-diffusion model: canvases with some of their tokens masked, and LLaDA's loss on those."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from actors.embedded.trainer import Recipe
from orchestrator.protocols import Task
from orchestrator.tasks.draws import Split
from orchestrator.types import Denoising

# The weight 1/t makes small t noise above all: of t uniform on (0.001, 1], a batch tells a third of what it
# does of t from 0.1 on. What is learnt for a given set of masks is the same.
MIN_RATIO = 0.1


@dataclass(frozen=True, slots=True)
class Solved:
    """A prompt and a right response."""

    prompt: str
    response: str


@dataclass(frozen=True, slots=True)
class Canvases:
    """Prompts with their canvases, ``[rows, length]``, the last ``gen_length`` tokens of a row being canvas.

    ``token_ids`` are partly masked; ``is_masked`` says where, ``targets`` what stood there. ``ratios``
    ``[rows]`` are the chances with which a canvas token was masked.
    """

    token_ids: Tensor
    targets: Tensor
    is_masked: Tensor
    ratios: Tensor
    gen_length: int

    @property
    def num_tokens(self) -> int:
        return self.token_ids.numel()


@dataclass(frozen=True, slots=True)
class DiffusionFamily:
    """A task's masked-diffusion model, ``NAME-diffusion`` among the shipped weights.

    It is trained by one recipe after another, each from where the one before ended, with fresh optimizers.
    ``solved(recipe, index, progress)`` gives the solutions of a batch, whose prompts are of one length, and
    the length of their canvases. ``task(split)`` poses problems; ``kind`` is the key of their metadata by
    which figures are told apart. It is judged with ``schedules`` and votes over them.
    """

    name: str
    alphabet: str
    recipes: tuple[Recipe, ...]
    solved: Callable[[Recipe, int, float], tuple[list[Solved], int]]
    task: Callable[[Split], Task]
    kind: str
    schedules: tuple[Denoising, ...]


def encode(tokenizer: PreTrainedTokenizerFast, solved: Solved, gen_length: int) -> list[int]:
    """``<bos> prompt response``; end-of-text fills the canvas and is learnt as well, as in LLaDA."""
    vocab = tokenizer.get_vocab()
    tail = [tokenizer.eos_token_id] * (gen_length - len(solved.response))
    return [tokenizer.bos_token_id, *(vocab[c] for c in solved.prompt + solved.response), *tail]


def mask_canvases(
    rows: Sequence[Sequence[int]], gen_length: int, mask_id: int, rng: np.random.Generator
) -> Canvases:
    """Mask each canvas token with its row's chance t, uniform on [MIN_RATIO, 1]. Rows are of one length.

    t is stratified over the rows: the same expectation as of independent draws, with less noise.
    """
    token_ids = np.array(rows)
    strata = (rng.random() + np.arange(len(rows)) / len(rows)) % 1.0
    ratios = MIN_RATIO + (1 - MIN_RATIO) * strata
    is_masked = rng.random(token_ids.shape) < ratios[:, None]
    is_masked[:, :-gen_length] = False
    return Canvases(
        torch.from_numpy(np.where(is_masked, mask_id, token_ids)),
        torch.from_numpy(token_ids),
        torch.from_numpy(is_masked),
        torch.from_numpy(ratios).float(),
        gen_length,
    )


def masking(
    family: DiffusionFamily, recipe: Recipe, tokenizer: PreTrainedTokenizerFast
) -> Callable[[int, float], Canvases]:
    """The batches of a run: a family's solutions, masked."""

    def batch(index: int, progress: float) -> Canvases:
        solved, gen_length = family.solved(recipe, index, progress)
        rows = [encode(tokenizer, one, gen_length) for one in solved]
        mask_id = tokenizer.mask_token_id
        return mask_canvases(rows, gen_length, mask_id, np.random.default_rng([recipe.seed, 1, index]))

    return batch


def predict(model: LlamaForCausalLM, token_ids: Tensor) -> Tensor:
    """Logits ``[rows, length, vocabulary]``; an explicit mask of zeros lets every token see every other."""
    length = token_ids.size(1)
    everywhere = torch.zeros(1, 1, length, length, dtype=model.dtype)
    logits: Tensor = model(input_ids=token_ids, attention_mask=everywhere, use_cache=False).logits
    return logits


def diffusion_loss(model: LlamaForCausalLM, batch: Canvases) -> tuple[Tensor, dict[str, float]]:
    """Cross-entropy of the masked tokens, each over its row's t, per canvas token (arXiv 2502.09992)."""
    logits, targets = predict(model, batch.token_ids)[batch.is_masked], batch.targets[batch.is_masked]
    weights = (1 / batch.ratios)[:, None].expand_as(batch.targets)[batch.is_masked]
    each = cross_entropy(logits, targets, reduction="none") * weights
    loss = each.sum() / (batch.gen_length * len(batch.ratios))
    return loss, {"loss": loss.item()}
