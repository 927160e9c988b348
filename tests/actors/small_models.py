"""Small models with random weights, saved as any checkpoint is, and requests to them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaForCausalLM, LlamaForTokenClassification, PreTrainedTokenizerFast

from actors.embedded.models import llama_config
from orchestrator.protocols import Completion, Failure, GenerateRequest
from orchestrator.types import Sampling

ALPHABET = "\n #*+-/0123456789=abcdefgh"
BPE_TEXT = [
    *["the step is done.\n\nthen the next one.\n\n", "so x = 3,\n\nas the café said: naïve.\n\n"] * 20,
    # Merges across the delimiter, with a whole character and with the first byte of one.
    *[
        f"{c}\n\n{d}"
        for c in "abcdefghijklmnopqrstuvwxyz"
        for d in ("so", "so", "é", "è", "à", "ï", "ô", "ç")
    ],
]


def save_policy(
    folder: Path,
    tokenizer: Any,
    *,
    num_kv_heads: int = 2,
    num_layers: int = 2,
    context: int = 256,
    tied: bool = False,
) -> Path:
    """A policy whose next-token distributions are neither flat nor certain."""
    torch.manual_seed(0)
    config = llama_config(tokenizer, width=64, num_layers=num_layers)
    config.num_key_value_heads = num_kv_heads
    config.max_position_embeddings = context
    config.initializer_range = 0.15
    config.tie_word_embeddings = tied
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.model_max_length = context
    tokenizer.save_pretrained(folder)
    return folder


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE that has merged ``.`` and newlines with their neighbours."""
    tokenizer = Tokenizer(models.BPE())
    # No splits, so that merges may cross words.
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<pad>", "<bos>", "<eos>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        max_token_length=6,
    )
    tokenizer.train_from_iterator(BPE_TEXT, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>"
    )


def save_reward_model(folder: Path, tokenizer: Any) -> Path:
    """A classifier of two labels at each token."""
    torch.manual_seed(1)
    config = llama_config(tokenizer, width=64, num_layers=2)
    config.initializer_range = 0.15
    LlamaForTokenClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def ask(
    question: str = "5 a+1",
    *,
    token_ids: tuple[int, ...] = (),
    seed: int = 0,
    to_end: bool = False,
    temperature: float = 0.8,
    top_p: float = 1.0,
    max_tokens: int = 40,
    delimiter: str = "\n",
    marker: str | None = "#",
) -> GenerateRequest:
    """A request with defaults."""
    params = Sampling(temperature, top_p, max_tokens)
    return GenerateRequest("home", question, "", token_ids, params, seed, delimiter, marker, to_end)


def completed(replies: list[Completion | Failure]) -> list[Completion]:
    """The replies, none of which is a failure."""
    assert not [r for r in replies if isinstance(r, Failure)]
    return [r for r in replies if isinstance(r, Completion)]
