"""How a model writes: decoding parameters of autoregressive and of masked-diffusion models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, Self, TypeVar, get_args, runtime_checkable

from annotated_types import Ge, Gt, Le

from orchestrator.schema import Count


@runtime_checkable
class Params(Protocol):
    """Decoding parameters of one kind of engine; ``max_tokens`` bounds what one call may generate."""

    @property
    def max_tokens(self) -> int: ...

    def clip(self, max_tokens: int) -> Self:
        """Return the same parameters with a bound of at most ``max_tokens``."""
        ...


P = TypeVar("P", bound=Params)


@dataclass(frozen=True, slots=True)
class Sampling:
    """Autoregressive decoding: temperature 0 is greedy; ``max_tokens`` bounds one call's tokens."""

    temperature: Annotated[float, Ge(0)] = 0.8
    top_p: Annotated[float, Gt(0), Le(1)] = 1.0
    max_tokens: Count = 2048

    def clip(self, max_tokens: int) -> Sampling:
        return Sampling(self.temperature, self.top_p, min(self.max_tokens, max_tokens))


Remasking = Literal["low_confidence", "topk_margin", "entropy", "random", "origin"]
REMASKINGS: tuple[str, ...] = get_args(Remasking)
"""The measures of confidence by which a denoising pass chooses what it commits."""


@dataclass(frozen=True, slots=True)
class Denoising:
    """Masked-diffusion decoding of a canvas of ``gen_length`` positions, block after block.

    ``block_length`` None is the whole canvas at once. ``num_steps`` passes are spread over the canvas, at
    least one a block. ``remasking`` says what a position's confidence is: ``low_confidence``,
    ``topk_margin``, ``entropy`` or ``random``; with ``origin`` a coin decides each position by itself, so
    that the number a pass is random too. ``cfg_scale`` above 0 is classifier-free guidance, at twice
    the passes. With a ``threshold`` each pass commits every position whose confidence reaches it, and at
    least the best one, in place of a share of ``num_steps``. With a ``delimiter_threshold`` a block ends
    at a delimiter predicted with that confidence (AdaBlock). ``early_stop`` leaves what follows the end of
    the text undecided: the text is the same. ``top_p`` draws only from the smallest set of most probable
    tokens whose probability exceeds it; None is every token, and leaves no trace in a request's digest.
    """

    block_length: int | None = None
    gen_length: Count = 256
    num_steps: Count = 128
    temperature: Annotated[float, Ge(0)] = 0.0
    remasking: Remasking = "low_confidence"
    cfg_scale: Annotated[float, Ge(0)] = 0.0
    threshold: Annotated[float | None, Ge(0), Le(1)] = None
    delimiter_threshold: Annotated[float | None, Ge(0), Le(1)] = None
    early_stop: bool = False
    top_p: Annotated[float | None, Gt(0), Le(1)] = None

    @property
    def max_tokens(self) -> int:
        """The length of the canvas, which is always filled whole."""
        return self.gen_length

    def clip(self, max_tokens: int) -> Denoising:
        """Return it unchanged: a canvas cannot be cut (a session withholds a path that does not fit)."""
        return self


@dataclass(frozen=True, slots=True)
class EstimatedDenoising(Denoising):
    """Denoising, and an estimate of the canvas's NLL (``Step.one_step_nll``) for one pass more.

    The estimate is over all positions, so ``early_stop`` must be False. A class of its own: the digests of
    other requests stay the same.
    """

    one_step_nll: bool = True
