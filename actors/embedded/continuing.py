"""Continue from another task's shipped models, whose alphabet lacks some letters."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import AutoModelForTokenClassification, AutoTokenizer, LlamaForCausalLM

from actors.checkpoints import resolve_model
from actors.embedded.chain_models import Verifier
from actors.embedded.models import build_tokenizer


def widened(rows: Tensor, known: dict[str, int], alphabet: str, before: int = 8) -> Tensor:
    """Return an embedding of a wider alphabet: a new letter is the mirror image of the one 8 before it.

    It is mirrored at the mean of the letters that are known: a bilinear form by which a letter attends to
    itself alone then does the same for its image.
    """
    vocab = build_tokenizer(alphabet).get_vocab()
    tokens = sorted(vocab, key=lambda token: vocab[token])
    mean = rows[[row for token, row in known.items() if len(token) == 1 and token.isalpha()]].mean(dim=0)
    return torch.stack(
        [
            rows[known[token]] if token in known else 2 * mean - rows[known[chr(ord(token) - before)]]
            for token in tokens
        ]
    )


def continue_policy(model: LlamaForCausalLM, alphabet: str, start: str) -> None:
    """Copy the weights of the policy ``start``."""
    folder = resolve_model(start)
    state = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).state_dict()
    known = AutoTokenizer.from_pretrained(folder).get_vocab()
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        state[name] = widened(state[name], known, alphabet)
    model.load_state_dict(state)


def continue_verifier(model: Verifier, alphabet: str, start: str) -> None:
    """Copy the backbone and the head of the verifier ``start``; the other heads are new."""
    folder = resolve_model(start)
    known = AutoModelForTokenClassification.from_pretrained(folder, dtype=torch.float32)
    state = known.model.state_dict()
    vocab = AutoTokenizer.from_pretrained(folder).get_vocab()
    state["embed_tokens.weight"] = widened(state["embed_tokens.weight"], vocab, alphabet)
    model.model.load_state_dict(state)
    model.score.load_state_dict(known.score.state_dict())
