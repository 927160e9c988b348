"""Small LoRA adapters with random weights, saved by peft for a saved model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import torch
import transformers

ALL_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def save_adapter(
    folder: Path,
    base: Path,
    *,
    auto_class: str = "AutoModelForCausalLM",
    rank: int = 4,
    alpha: float = 16.0,
    targets: Sequence[str] = ALL_LINEAR,
    seed: int = 7,
    **options: Any,
) -> Path:
    """An adapter that changes the model at ``base`` visibly: both of its matrices are random."""
    model = getattr(transformers, auto_class).from_pretrained(base)
    torch.manual_seed(seed)
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=list(targets), init_lora_weights=False, **options
    )
    peft.get_peft_model(model, config).save_pretrained(folder, save_embedding_layers=False)
    return folder
