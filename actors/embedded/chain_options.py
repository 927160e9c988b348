"""A copy of the chain policy with two option tokens, trained to say whether a fresh attempt would do better.

The copy has further layers on top that change nothing at first. Labels are the chain verifier's ranking of
attempts at the same problem: at each character of an attempt, its reward is compared with the mean reward of
the other attempts after the same step. Where it is higher by a margin the label is ``[enough]``, where it is
lower ``[better]``; between them there is none. A joint loss keeps the policy's own behaviour: the
divergence of the copy from the policy, on the policy's rollouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from actors.embedded.corpus import IGNORE, Batch, Example, annotate, collate, corrupt, split_lines
from actors.embedded.models import build_tokenizer, llama_config
from actors.embedded.trainer import Recipe
from orchestrator.tasks.chain import draw_chains, parse_question

OPTIONS = ("[better]", "[enough]")
"""From the worst answer to the best: a fresh attempt would do better; this one will do."""

RECIPE = Recipe(
    width=128,
    num_layers=8,
    num_tokens=9_250_000,
    batch_size=96,
    decay_from=0.3,
    matrix_lr=0.01,
    other_lr=2e-3,
)
GROUP = 4
"""How many attempts at one problem are ranked against each other."""
MARGIN = 0.1
SHARE_OF_ROLLOUTS = 0.5
KEPT = 5.0
"""The weight of the divergence from the policy among the losses."""
FIRST_PROBLEM = 40_000_000
"""Of those that the copy learns from: the other shipped models have not seen them."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A batch on a device, in groups of ``GROUP`` rows; ``num_rollouts`` rows are the policy's own."""

    batch: Batch
    tensors: dict[str, Tensor]
    num_rollouts: int

    @property
    def num_tokens(self) -> int:
        return self.batch.num_tokens


class Optioned(nn.Module):
    """The copy, with the two heads that the verifier's training has, too (``chain_models.Verifier``)."""

    def __init__(self, recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        config = llama_config(tokenizer, width=recipe.width, num_layers=recipe.num_layers)
        self.policy = LlamaForCausalLM(config)
        self.local = nn.Linear(recipe.width, 2)
        self.expected = nn.Linear(recipe.width, config.vocab_size)

    def forward(self, token_ids: Tensor) -> Tensor:
        """Return the last hidden states, ``[rows, length, width]``."""
        hidden: Tensor = self.policy.model(input_ids=token_ids, use_cache=False).last_hidden_state
        return hidden


def option_tokenizer(alphabet: str) -> PreTrainedTokenizerFast:
    """Return the policy's tokenizer with the two options after its own tokens."""
    tokenizer = build_tokenizer(alphabet)
    tokenizer.add_tokens(list(OPTIONS), special_tokens=True)
    return tokenizer


def start_from(copy: Optioned, policy: LlamaForCausalLM) -> None:
    """Copy the policy's weights; the further layers change nothing at first, the options' rows are 0."""
    own, given = copy.policy.state_dict(), policy.state_dict()
    num_known = len(policy.model.layers)
    for name, tensor in given.items():
        own[name][: len(tensor)] = tensor
    own["lm_head.weight"][policy.config.vocab_size :] = 0.0
    copy.policy.load_state_dict(own)
    for layer in list(copy.policy.model.layers)[num_known:]:
        nn.init.zeros_(layer.self_attn.o_proj.weight)
        nn.init.zeros_(layer.mlp.down_proj.weight)


def attempts(
    recipe: Recipe, index: int, progress: float, rollouts: Sequence[Sequence[str]], questions: Sequence[str]
) -> tuple[list[Example], int]:
    """Return the rows of a step in groups of attempts at one problem, and how many are the policy's own.

    The others are near misses, as in the verifier's training. ``rollouts[i]`` answer ``questions[i]``.
    """
    rng = np.random.default_rng([recipe.seed, 2, index])
    num_groups = recipe.batch_size // GROUP
    num_own = round(num_groups * SHARE_OF_ROLLOUTS) if progress > 0.05 else num_groups // 4
    examples = []
    for i in rng.integers(len(rollouts), size=num_own):
        chain = parse_question(questions[i])
        picked = rng.permutation(len(rollouts[i]))[:GROUP]
        examples += [annotate(chain, split_lines(rollouts[i][j])) for j in picked]
    num_fresh = num_groups - num_own
    for chain in draw_chains("train", FIRST_PROBLEM + 1_000_000 + index * num_fresh, num_fresh):
        rates = rng.choice([0.0, 0.08, 0.2, 0.3], size=GROUP)
        examples += [annotate(chain, corrupt(chain, rng, rate=rate)) for rate in rates]
    return examples, num_own * GROUP


def ranked(
    examples: list[Example], num_rollouts: int, tokenizer: PreTrainedTokenizerFast, device: str
) -> Ranked:
    """Collate the rows of a step, and put what the loss reads on the device."""
    specials = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    batch = collate(examples, tokenizer.get_vocab(), specials)
    names = ("token_ids", "labels", "local_labels", "expected", "is_step_end")
    tensors = {name: torch.from_numpy(getattr(batch, name)).to(device) for name in names}
    return Ranked(batch, tensors, num_rollouts)


def option_labels(log_odds: Tensor, is_text: Tensor, is_step_end: Tensor) -> Tensor:
    """Return at each character 1 for ``[enough]``, 0 for ``[better]``, and IGNORE where neither is clear.

    ``log_odds`` ``[rows, length]`` are the verifier's. An attempt's reward at a character is compared with
    the mean reward of its group's other attempts at the end of the same step.
    """
    rewards = torch.sigmoid(log_odds)
    step = is_step_end.long().cumsum(-1) - is_step_end.long()  # of each character; a newline is its step's
    num_steps = int(step.max()) + 1
    sums = torch.zeros(len(rewards), num_steps, device=rewards.device)
    sums.scatter_add_(1, step, rewards * is_step_end)
    has = torch.zeros_like(sums).scatter_add_(1, step, is_step_end.float())
    grouped, counted = sums.view(-1, GROUP, num_steps), has.view(-1, GROUP, num_steps)
    others = (grouped.sum(1, keepdim=True) - grouped).view_as(sums)
    num_others = (counted.sum(1, keepdim=True) - counted).view_as(sums)
    mean = (others / num_others.clamp(min=1)).gather(1, step)
    known = num_others.gather(1, step) > 0
    margin = rewards - mean
    labels = torch.where(margin > MARGIN, 1, torch.where(margin < -MARGIN, 0, IGNORE))
    return torch.where(is_text & known, labels, IGNORE)


class OptionLoss:
    """The sum of the losses of a step: of the options, of the divergence from the policy, of the heads."""

    def __init__(self, policy: LlamaForCausalLM, verifier: Any) -> None:
        self._policy, self._verifier = policy, verifier

    def __call__(self, model: Optioned, ranked: Ranked) -> tuple[Tensor, dict[str, float]]:
        given = ranked.tensors
        token_ids, labels = given["token_ids"], given["labels"]
        is_text, ends = labels != IGNORE, given["is_step_end"]
        with torch.no_grad():
            judged = self._verifier(input_ids=token_ids, use_cache=False).logits
            own = self._policy(input_ids=token_ids, use_cache=False).logits
        options = option_labels(judged[..., 1] - judged[..., 0], is_text, ends)
        hidden = model(token_ids)
        logits = model.policy.lm_head(hidden)
        margin = logits[..., -1] - logits[..., -2]
        losses = {
            "option": _option_loss(margin, options, torch.ones_like(ends)),
            "step": _option_loss(margin, options, ends),
            "policy": KEPT * _divergence(own, logits, _predicts(is_text), ranked.num_rollouts),
            **_heads(model, hidden, given, ends),
        }
        return torch.stack(list(losses.values())).sum(), {k: v.item() for k, v in losses.items()}


def _option_loss(margin: Tensor, labels: Tensor, at: Tensor) -> Tensor:
    chosen = at & (labels != IGNORE)
    if not chosen.any():
        return margin.sum() * 0
    return binary_cross_entropy_with_logits(margin[chosen], labels[chosen].float())


def _predicts(is_text: Tensor) -> Tensor:
    """Where the policy predicts its text: from the last character of the question on."""
    return is_text | torch.roll(is_text, -1, dims=-1)


def _divergence(own: Tensor, logits: Tensor, at: Tensor, num_rollouts: int) -> Tensor:
    """Return KL(policy || copy) in nats a character of the policy's rollouts; the policy has no options."""
    chosen = at[:num_rollouts]
    before = torch.log_softmax(own[:num_rollouts][chosen], -1)
    after = torch.log_softmax(logits[:num_rollouts][chosen], -1)[:, : before.shape[-1]]
    return (before.exp() * (before - after)).sum(-1).mean()


def _heads(model: Optioned, hidden: Tensor, given: dict[str, Tensor], ends: Tensor) -> dict[str, Tensor]:
    token_ids, expected = given["token_ids"], given["expected"]

    def mean_loss(head: nn.Module, targets: Tensor, at: Tensor) -> Tensor:
        chosen = at & (targets != IGNORE)
        return cross_entropy(head(hidden[chosen]), targets[chosen])

    # As in the verifier's training: characters that are not the expected ones get the same total weight.
    return {
        "local": mean_loss(model.local, given["local_labels"], torch.ones_like(ends)),
        "copy": 0.5 * mean_loss(model.expected, expected, token_ids == expected),
        "expected": 0.5 * mean_loss(model.expected, expected, token_ids != expected),
    }
