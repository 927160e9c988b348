"""The mathematics of a denoising pass: a token and a confidence for each masked position, and which are kept.

LLaDA (arXiv 2502.09992): y = argmax exp(l) / (-log u)^T with u uniform, all in float64, because coarser
Gumbel noise harms the text (arXiv 2409.02908). The confidence of a position is the probability of y under
softmax(l), without the noise.

Dream (arXiv 2508.15487): logits are divided by T, then those outside the nucleus of ``top_p`` become -inf; a
token is drawn from their softmax, and the confidence of its position is measured on that distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from actors.batching.kv import Ints
from actors.batching.sampling import Floats
from actors.diffusion_engine.noise import position_uniforms, token_uniforms


@dataclass(frozen=True, slots=True)
class Prediction:
    """The predictions of one pass for ``n`` masked positions, each an array ``[n]``.

    ``tokens`` are sampled at the path's temperature; ``logprobs`` are theirs at temperature 1; ``best`` and
    ``best_probability`` are those of the most probable token.
    """

    tokens: Ints
    logprobs: Floats
    confidence: Floats
    best: Ints
    best_probability: Floats

    @classmethod
    def joined(cls, parts: Sequence[Prediction]) -> Prediction:
        """Return several predictions as one, in order."""
        fields = ("tokens", "logprobs", "confidence", "best", "best_probability")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in fields))

    def rows(self, first: int, last: int) -> Prediction:
        """Return the prediction for positions ``first .. last``."""
        part = slice(first, last)
        return Prediction(
            self.tokens[part],
            self.logprobs[part],
            self.confidence[part],
            self.best[part],
            self.best_probability[part],
        )


def guided(logits: Tensor, unconditional: Tensor, scale: Tensor) -> Tensor:
    """Return logits with classifier-free guidance: l_u + (scale + 1)(l - l_u), with scales ``[n]``."""
    return unconditional + (scale[:, None].to(logits.dtype) + 1) * (logits - unconditional)


def in_nucleus(logits: Tensor, top_p: Tensor) -> Tensor:
    """Return which tokens are in the nucleus of ``softmax(logits)`` ``[n, vocab]``, with ``top_p`` ``[n]``.

    As in Dream's code it is the smallest set of most probable tokens whose probability *exceeds* ``top_p``
    (that of ``actors/batching/sampling.py`` reaches it), and never empty. Of equal tokens the lower id comes
    first.
    """
    ordered, order = torch.sort(logits, dim=-1, descending=True, stable=True)
    total = torch.cumsum(torch.softmax(ordered, dim=-1), dim=-1)
    kept = torch.ones_like(order, dtype=torch.bool)
    kept[:, 1:] = total[:, :-1] <= top_p[:, None]
    return torch.zeros_like(kept).scatter_(-1, order, kept)


def predict(
    logits: Tensor,
    temperature: Tensor,
    keys: Tensor,
    remasking: Sequence[str],
    *,
    top_p: Tensor | None = None,
    tempered: bool = False,
) -> Prediction:
    """Return the prediction for ``logits`` ``[n, vocab]``, where that of the mask token is already -inf.

    ``temperature`` and ``top_p`` ``[n]`` float64; ``keys`` ``[n]`` of the noise; ``remasking`` ``[n]`` names
    the measures of confidence; with ``tempered`` they measure the distribution after temperature and top-p
    (Dream). Each row is computed in float64 and depends on no other row.
    """
    exact = logits.double()
    log_p = torch.log_softmax(exact, dim=-1)
    probability = torch.softmax(exact, dim=-1)
    best_probability, best = probability.max(dim=-1)
    greedy = torch.argmax(exact, dim=-1)
    kept = exact if top_p is None else _filtered(exact, temperature, top_p)
    tokens = _drawn(kept, greedy, temperature, keys)
    measured = (probability, log_p)
    if tempered:
        cooled = _cooled(kept, temperature)
        measured = (torch.softmax(cooled, dim=-1), torch.log_softmax(cooled, dim=-1))
    return Prediction(
        tokens=tokens.cpu().numpy(),
        logprobs=log_p.gather(-1, tokens[:, None])[:, 0].cpu().numpy(),
        confidence=_confidence(*measured, tokens, keys, remasking).cpu().numpy(),
        best=best.cpu().numpy(),
        best_probability=best_probability.cpu().numpy(),
    )


def _cooled(exact: Tensor, temperature: Tensor) -> Tensor:
    """Logits at their temperature; at 0 as at 1, where Dream's code takes the greatest probability."""
    return exact / torch.where(temperature > 0, temperature, 1.0)[:, None]


def _filtered(exact: Tensor, temperature: Tensor, top_p: Tensor) -> Tensor:
    """Logits, -inf outside the nucleus of the tempered distribution."""
    rows = torch.nonzero(top_p < 1)[:, 0]
    if not len(rows):
        return exact
    inside = in_nucleus(_cooled(exact[rows], temperature[rows]), top_p[rows])
    return exact.index_copy(0, rows, exact[rows].masked_fill(~inside, -torch.inf))


def _drawn(exact: Tensor, greedy: Tensor, temperature: Tensor, keys: Tensor) -> Tensor:
    """``greedy`` where the temperature is 0, a draw elsewhere."""
    drawn = greedy
    warm = torch.nonzero(temperature > 0)[:, 0]
    if len(warm):
        # With logarithms: the last bits of pow depend on a number's position (batching/activations.py).
        exponential = -torch.log(token_uniforms(keys[warm], exact.shape[-1]))
        noise = torch.exp(temperature[warm, None] * torch.log(exponential))
        drawn = greedy.index_copy(0, warm, torch.argmax(exact[warm].exp() / noise, dim=-1))
    return drawn


def _confidence(
    probability: Tensor, log_p: Tensor, tokens: Tensor, keys: Tensor, remasking: Sequence[str]
) -> Tensor:
    """The confidence ``[n]``, each row by its measure."""
    names = np.asarray(remasking)
    confidence = torch.zeros(len(tokens), dtype=torch.float64, device=tokens.device)
    for name in dict.fromkeys(remasking):
        rows = torch.from_numpy(np.flatnonzero(names == name)).to(tokens.device)
        p = probability[rows]
        if name == "low_confidence":
            measured = p.gather(-1, tokens[rows, None])[:, 0]
        elif name == "topk_margin":
            first_two = p.topk(2, dim=-1).values
            measured = first_two[:, 0] - first_two[:, 1]
        elif name == "entropy":  # a token with p = 0 and log p = -inf adds 0
            measured = (p * log_p[rows].clamp_min(-1e9)).sum(dim=-1)
        elif name in ("random", "origin"):
            measured = position_uniforms(keys[rows])
        else:
            raise ValueError(f"no such remasking: {name}")
        confidence[rows] = measured
    return confidence


def committed(confidence: Floats, count: int, threshold: float | None) -> Ints:
    """Return the indices that a pass commits, most confident first; of equal ones the leftmost comes first.

    These are the ``count`` most confident, or with a ``threshold`` all that reach it, and at least the best.
    """
    order = np.argsort(-confidence, kind="stable")
    if threshold is not None:
        count = max(1, int((confidence >= threshold).sum()))
    return order[:count]
