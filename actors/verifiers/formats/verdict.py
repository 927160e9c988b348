"""Which outputs of a model are for a step and which against it, and the log-odds that they give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.errors import VerifierError


@dataclass(frozen=True, slots=True)
class Verdict:
    """``good`` and ``bad`` index a model's outputs at one position: labels, or token ids.

    The log-odds are log sum exp of the good outputs minus that of the bad ones: exactly logit(softmax), and
    no probability is rounded to 1. With an empty ``bad`` the only good output is the log-odds itself, as from
    a value head trained with a sigmoid.
    """

    good: tuple[int, ...]
    bad: tuple[int, ...]

    @property
    def outputs(self) -> tuple[int, ...]:
        """All outputs that are used, the good ones first."""
        return (*self.good, *self.bad)

    def narrowed(self) -> Verdict:
        """Return the verdict for a model that has only these outputs, in the order of ``outputs``."""
        num_good = len(self.good)
        return Verdict(tuple(range(num_good)), tuple(range(num_good, len(self.outputs))))

    def log_odds(self, outputs: Mapping[int, float] | Sequence[float]) -> float:
        """Return the reward as log-odds, from raw outputs (logits or log-probabilities) by their index.

        Raises VerifierError where a required output is missing or not finite.
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
