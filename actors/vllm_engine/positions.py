"""Sampling by position inside vLLM, whose seeds restart with each request.

vLLM's worker imports this module by the name of ``PositionSampler``. Such a request uses greedy decoding in
vLLM, and the largest logit is chosen here, by one number a token that (seed, position) determines: a text is
the same whether it is generated at once, in steps, or again from anywhere in its middle. vLLM takes its
log-probabilities before that.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from vllm.v1.sample.logits_processor import LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from actors.batching.sampling import sample, uniforms

_ARGUMENT = "murmuration_draw"


@dataclass(frozen=True, slots=True)
class Draw:
    """How a request samples: ``position`` is that of its first token, counted within the problem."""

    seed: int
    position: int
    temperature: float
    top_p: float

    def extra_args(self) -> dict[str, Any]:
        """Return what vLLM passes to its worker with the request's sampling parameters."""
        return {_ARGUMENT: asdict(self)}


class PositionSampler(LogitsProcessor):  # type: ignore[misc]  # vLLM is Any to mypy
    """Allows only the token drawn, for requests with a ``Draw``."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        self._draws: dict[int, tuple[Draw, list[int]]] = {}  # row of the batch: how, and its tokens so far

    def is_argmax_invariant(self) -> bool:
        return False

    def update_state(self, batch_update: Any) -> None:
        process_dict_updates(self._draws, batch_update, _state)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Change ``logits`` ``[batch, vocab_size]`` in place."""
        if not self._draws:
            return logits
        draws = list(self._draws.values())
        rows = torch.tensor(list(self._draws), device=logits.device)
        drawn = uniforms(
            np.array([d.seed for d, _ in draws], np.uint64),
            np.array([d.position + len(output) for d, output in draws], np.int64),
        )
        temperatures = np.array([d.temperature for d, _ in draws])
        tokens, _ = sample(logits[rows], temperatures, np.array([d.top_p for d, _ in draws]), drawn)
        logits[rows, torch.from_numpy(tokens).to(logits.device)] = torch.inf
        return logits


def _state(params: Any, prompt_ids: list[int] | None, output_ids: list[int]) -> Any:
    """Return the state of a new request; ``output_ids`` is vLLM's list, which grows."""
    draw = (params.extra_args or {}).get(_ARGUMENT)
    return None if draw is None else (Draw(**draw), output_ids)
