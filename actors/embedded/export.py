"""Writing a shipped model: half-precision safetensors, its tokenizer and its card."""

from __future__ import annotations

from pathlib import Path

from torch import nn
from transformers import LlamaForTokenClassification, PreTrainedModel, PreTrainedTokenizerFast


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a folder that ``from_pretrained`` loads; weights are rounded to float16 to halve the download."""
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)


def as_token_classifier(backbone: PreTrainedModel, score: nn.Linear) -> LlamaForTokenClassification:
    """Return the backbone and its two-label head as a class of transformers; label 1 is a right state."""
    config = backbone.config
    config.id2label, config.label2id = {0: "wrong", 1: "right"}, {"wrong": 0, "right": 1}
    classifier = LlamaForTokenClassification(config)
    classifier.model.load_state_dict(backbone.state_dict())
    classifier.score.load_state_dict(score.state_dict())
    return classifier
