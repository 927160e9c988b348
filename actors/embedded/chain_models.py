"""The two shipped models of the chain task: training examples, losses and recipes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM, LlamaModel

from actors.embedded.corpus import IGNORE, Batch, Example, annotate, corrupt, split_lines
from actors.embedded.models import build_tokenizer, llama_config
from actors.embedded.trainer import Recipe, on_its_device
from orchestrator.tasks.chain import NUM_STEPS, draw_chains, parse_question

ALPHABET = "\n #*+-/0123456789=abcdefgh"

POLICY = Recipe(width=128, num_layers=5, num_tokens=4_000_000)
VERIFIER = Recipe(
    width=128,
    num_layers=8,
    num_tokens=6_000_000,
    batch_size=16,
    decay_from=0.4,
    matrix_lr=0.01,
    other_lr=2e-3,
)


class Verifier(nn.Module):
    """A backbone with a right-or-wrong head at every token, and three heads that are used only in training.

    ``local`` says whether the line alone is right so far; ``expected`` names the character that should be
    here. Without them the model needs tens of millions of tokens to learn to compare a character with its
    prediction: the label alone says too little about where an error is.
    """

    def __init__(self, recipe: Recipe, alphabet: str = ALPHABET) -> None:
        super().__init__()
        config = llama_config(
            build_tokenizer(alphabet),
            width=recipe.width,
            num_layers=recipe.num_layers,
            stretch=recipe.stretch,
        )
        self.model = LlamaModel(config)
        self.lm_head = nn.Linear(recipe.width, config.vocab_size, bias=False)
        self.score = nn.Linear(recipe.width, 2)
        self.local = nn.Linear(recipe.width, 2)
        self.expected = nn.Linear(recipe.width, config.vocab_size)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Return the last hidden states, ``[rows, length, width]``."""
        hidden: Tensor = self.model(input_ids=token_ids, use_cache=False).last_hidden_state
        return hidden


def start_from_policy(verifier: Verifier, policy: LlamaForCausalLM) -> None:
    """Copy the policy's longest-trained layers; new layers on top change nothing at first.

    A character can only be compared with its prediction above the layer that predicts it.
    """
    num_known = len(policy.model.layers)
    verifier.model.load_state_dict(policy.model.state_dict(), strict=False)
    verifier.lm_head.load_state_dict(policy.lm_head.state_dict())
    for layer in list(verifier.model.layers)[num_known:]:
        for name, parameter in layer.named_parameters():
            if name in ("self_attn.o_proj.weight", "mlp.down_proj.weight"):
                nn.init.zeros_(parameter)


def policy_loss(model: LlamaForCausalLM, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    token_ids, targets = on_its_device(model, batch.token_ids, batch.targets)
    logits = model(input_ids=token_ids, use_cache=False).logits
    loss = cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
    return loss, {"loss": loss.item()}


def verifier_loss(model: Verifier, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Return the sum of the losses of all heads; at the ends of steps the label counts twice."""
    token_ids, labels, expected = on_its_device(model, batch.token_ids, batch.labels, batch.expected)
    following, local_labels, is_step_end = on_its_device(
        model, batch.targets, batch.local_labels, batch.is_step_end
    )
    hidden = model(token_ids)

    def mean_loss(head: nn.Module, targets: Tensor, at: Tensor) -> Tensor:
        chosen = at & (targets != IGNORE)
        return cross_entropy(head(hidden[chosen]), targets[chosen]) if chosen.any() else hidden.sum() * 0

    everywhere = torch.ones_like(labels, dtype=torch.bool)
    losses = {
        "lm": mean_loss(model.lm_head, following, everywhere),
        "dense": mean_loss(model.score, labels, everywhere),
        "step": mean_loss(model.score, labels, is_step_end),
        "local": mean_loss(model.local, local_labels, everywhere),
        # Most characters are the expected ones, which says little: the others get the same total weight.
        "copy": 0.5 * mean_loss(model.expected, expected, token_ids == expected),
        "expected": 0.5 * mean_loss(model.expected, expected, token_ids != expected),
    }
    return torch.stack(list(losses.values())).sum(), {k: v.item() for k, v in losses.items()}


def policy_examples(recipe: Recipe, index: int, progress: float) -> list[Example]:
    """Return right chains of 2 to 8 steps: the longest allowed grows over the first 15 % of the run."""
    num_steps = 2 + round(min(1.0, progress / 0.15) * (NUM_STEPS - 2))
    chains = draw_chains("train", index * recipe.batch_size, recipe.batch_size, num_steps)
    return [annotate(chain, chain.lines) for chain in chains]


def verifier_examples(
    recipe: Recipe, index: int, progress: float, rollouts: list[dict[str, str]]
) -> list[Example]:
    """Return right chains and near misses; after a fifth of the run, rollouts of the policy too."""
    rng = np.random.default_rng([recipe.seed, 1, index])
    num_rollouts = round(recipe.batch_size * 0.4) if rollouts and progress > 0.2 else 0
    examples = []
    for row in rng.integers(len(rollouts), size=num_rollouts) if num_rollouts else []:
        chosen = rollouts[row]
        examples.append(annotate(parse_question(chosen["question"]), split_lines(chosen["text"])))
    num_fresh = recipe.batch_size - num_rollouts
    rates = [0.3, 0.5] if progress < 0.2 else [0.0, 0.08, 0.2, 0.3]
    for chain in draw_chains("train", 10_000_000 + index * num_fresh, num_fresh):
        examples.append(annotate(chain, corrupt(chain, rng, rate=rng.choice(rates))))
    return examples
