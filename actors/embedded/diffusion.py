"""Training a masked-diffusion model: canvases with some tokens masked, and LLaDA's loss on these."""

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

# With the weight 1/t, small t give mostly noise: a batch with t uniform on (0.001, 1] carries a third of the
# information of one with t from 0.1 on. What is learnt for a given set of masks is the same.
MIN_RATIO = 0.1


@dataclass(frozen=True, slots=True)
class Solved:
    """A prompt and a right response."""

    prompt: str
    response: str


@dataclass(frozen=True, slots=True)
class Canvases:
    """Prompts with their canvases, ``[rows, length]``: a canvas is the last ``gen_length`` tokens of a row.

    ``token_ids`` are partly masked; ``is_masked`` says where, ``targets`` are the tokens before masking.
    ``ratios`` ``[rows]`` are the probabilities with which a canvas token was masked.
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

    It is trained by one recipe after another, each from the end of the previous one, with new optimizers.
    ``solved(recipe, index, progress)`` gives the solutions of a batch, whose prompts have one length, and the
    length of their canvases. ``task(split)`` gives problems; ``kind`` is the key of their metadata by
    which figures are grouped. The model is evaluated with ``schedules`` and votes over them.
    """

    name: str
    alphabet: str
    recipes: tuple[Recipe, ...]
    solved: Callable[[Recipe, int, float], tuple[list[Solved], int]]
    task: Callable[[Split], Task]
    kind: str
    schedules: tuple[Denoising, ...]


def encode(tokenizer: PreTrainedTokenizerFast, solved: Solved, gen_length: int) -> list[int]:
    """Return ``<bos> prompt response``; end-of-text fills the canvas and is learnt too, as in LLaDA."""
    vocab = tokenizer.get_vocab()
    tail = [tokenizer.eos_token_id] * (gen_length - len(solved.response))
    return [tokenizer.bos_token_id, *(vocab[c] for c in solved.prompt + solved.response), *tail]


def mask_canvases(
    rows: Sequence[Sequence[int]], gen_length: int, mask_id: int, rng: np.random.Generator
) -> Canvases:
    """Mask each canvas token with its row's probability t, uniform on [MIN_RATIO, 1]. Rows have one length.

    t is stratified over the rows: the expectation is that of independent draws, with less noise.
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
    """Return the function that gives a run's batches: a family's solutions, masked."""

    def batch(index: int, progress: float) -> Canvases:
        solved, gen_length = family.solved(recipe, index, progress)
        rows = [encode(tokenizer, one, gen_length) for one in solved]
        mask_id = tokenizer.mask_token_id
        return mask_canvases(rows, gen_length, mask_id, np.random.default_rng([recipe.seed, 1, index]))

    return batch


def predict(model: LlamaForCausalLM, token_ids: Tensor) -> Tensor:
    """Return logits ``[rows, length, vocabulary]``; with a mask of zeros every token sees every other."""
    length = token_ids.size(1)
    everywhere = torch.zeros(1, 1, length, length, dtype=model.dtype)
    logits: Tensor = model(input_ids=token_ids, attention_mask=everywhere, use_cache=False).logits
    return logits


def diffusion_loss(model: LlamaForCausalLM, batch: Canvases) -> tuple[Tensor, dict[str, float]]:
    """Return the cross-entropy of masked tokens over their row's t, per canvas token (arXiv 2502.09992)."""
    logits, targets = predict(model, batch.token_ids)[batch.is_masked], batch.targets[batch.is_masked]
    weights = (1 / batch.ratios)[:, None].expand_as(batch.targets)[batch.is_masked]
    each = cross_entropy(logits, targets, reduction="none") * weights
    loss = each.sum() / (batch.gen_length * len(batch.ratios))
    return loss, {"loss": loss.item()}
