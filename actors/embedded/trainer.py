"""A training run that can be interrupted, and resumes from its last checkpoint."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from actors.embedded.muon import Muon

console = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that determines the result of a training run."""

    width: int
    num_layers: int
    num_tokens: int
    batch_size: int = 64
    matrix_lr: float = 0.02
    other_lr: float = 3e-3
    decay_from: float = 0.3
    seed: int = 0
    stretch: float = 1.0


def learning_rate(recipe: Recipe, progress: float) -> float:
    """Return the factor of both rates: constant, then linear down to 2 %."""
    if progress < recipe.decay_from:
        return 1.0
    return max(0.02, 1 - (progress - recipe.decay_from) / (1 - recipe.decay_from))


def on_its_device(model: nn.Module, *arrays: np.ndarray) -> tuple[Tensor, ...]:
    """Return arrays as tensors on the device that the model is on."""
    device = next(model.parameters()).device
    return tuple(torch.from_numpy(array).to(device) for array in arrays)


class Counted(Protocol):
    """The part of a batch that a trainer reads."""

    @property
    def num_tokens(self) -> int: ...


@dataclass
class Trainer:
    """One training run that can be interrupted, and resumes from its last checkpoint.

    ``batches(index, progress)`` gives the batch of a step, always the same one.
    """

    model: nn.Module
    recipe: Recipe
    folder: Path
    batches: Callable[[int, float], Counted]
    loss: Callable[..., tuple[Tensor, dict[str, float]]]
    snapshot_every: int = 0
    tokens: int = 0
    index: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        matrices = [p for n, p in self.model.named_parameters() if p.ndim == 2 and ".layers." in n]
        chosen = {id(p) for p in matrices}
        others = [p for p in self.model.parameters() if id(p) not in chosen]
        self.optimizers = (
            Muon(matrices, lr=self.recipe.matrix_lr),
            torch.optim.AdamW(others, lr=self.recipe.other_lr, betas=(0.9, 0.95), weight_decay=0.0),
        )
        self.base_lr = [o.param_groups[0]["lr"] for o in self.optimizers]

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.pt"

    def save(self) -> None:
        """Write the whole state; a cut while writing leaves the one before."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "tokens": self.tokens,
            "index": self.index,
            "seconds": self.seconds,
        }
        torch.save(state, self.checkpoint.with_suffix(".tmp"))
        os.replace(self.checkpoint.with_suffix(".tmp"), self.checkpoint)

    def load(self) -> None:
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, weights_only=True, map_location="cpu")
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.tokens, self.index, self.seconds = state["tokens"], state["index"], state["seconds"]
        console.print(f"resumed at {self.tokens:,} tokens")

    def step(self) -> dict[str, float]:
        progress = self.tokens / self.recipe.num_tokens
        for optimizer, base in zip(self.optimizers, self.base_lr, strict=True):
            optimizer.param_groups[0]["lr"] = base * learning_rate(self.recipe, progress)
        batch = self.batches(self.index, progress)
        loss, figures = self.loss(self.model, batch)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.tokens += batch.num_tokens
        self.index += 1
        return figures

    def run(self) -> Iterator[int]:
        """Train to the end, and yield the token count at each snapshot."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "recipe.json").write_text(json.dumps(asdict(self.recipe), indent=1) + "\n")
        self.load()
        last_saved = last_said = time.monotonic()
        next_snapshot = (
            (self.tokens // self.snapshot_every + 1) * self.snapshot_every if self.snapshot_every else 0
        )
        while self.tokens < self.recipe.num_tokens:
            begun = time.monotonic()
            figures = self.step()
            now = time.monotonic()
            self.seconds += now - begun
            if now - last_said > 10:
                shown = " ".join(f"{k} {v:.4f}" for k, v in figures.items())
                left = self.seconds / self.tokens * (self.recipe.num_tokens - self.tokens)
                console.print(f"{self.tokens:,} tokens, {self.seconds:.0f} s, {left:.0f} s left: {shown}")
                last_said = now
            if now - last_saved > 60:
                self.save()
                last_saved = now
            if self.snapshot_every and self.tokens >= next_snapshot:
                next_snapshot += self.snapshot_every
                yield self.tokens
        self.save()
