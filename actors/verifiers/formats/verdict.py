"""Which of a model's outputs speak for a step and which against it, and the log-odds that they give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.errors import VerifierError


@dataclass(frozen=True, slots=True)
class Verdict:
    """``good`` and ``bad`` index a model's outputs at one position: labels, or token ids.

    The log-odds are log sum exp of the good ones minus that of the bad ones: exactly logit(softmax), and
    no probability is ever rounded to 1. An empty ``bad`` means that the only good output is the log-odds
    itself, as a value head trained with a sigmoid gives it.
    """

    good: tuple[int, ...]
    bad: tuple[int, ...]

    @property
    def outputs(self) -> tuple[int, ...]:
        """All outputs that are looked at, the good ones first."""
        return (*self.good, *self.bad)

    def narrowed(self) -> Verdict:
        """The same over a model that has these outputs alone, in the order of ``outputs``."""
        num_good = len(self.good)
        return Verdict(tuple(range(num_good)), tuple(range(num_good, len(self.outputs))))

    def log_odds(self, outputs: Mapping[int, float] | Sequence[float]) -> float:
        """The reward as log-odds from raw outputs (logits or log-probabilities) by their index.

        Raises VerifierError where one that is needed is missing or is no number.
        """
        if not self.bad:
            return _taken(outputs, self.good)[0]
        return _log_sum_exp(_taken(outputs, self.good)) - _log_sum_exp(_taken(outputs, self.bad))


def _taken(outputs: Mapping[int, float] | Sequence[float], indices: Sequence[int]) -> list[float]:
    present = outputs if isinstance(outputs, Mapping) else range(len(outputs))
    missing = [i for i in indices if i not in present]
    if missing:
        raise VerifierError(f"outputs {missing} are absent from the {len(outputs)} that the model returned")
    taken = [float(outputs[i]) for i in indices]
    if not all(map(math.isfinite, taken)):
        raise VerifierError(f"the model's outputs {list(indices)} are {taken}, which are not finite numbers")
    return taken


def _log_sum_exp(values: Sequence[float]) -> float:
    top = max(values)
    return top + math.log(math.fsum(math.exp(v - top) for v in values))
