"""Sample whole answers, let the verifier score them, and take the best (best of N).

Cobbe et al., "Training Verifiers to Solve Math Word Problems", https://arxiv.org/abs/2110.14168. With R_i the
aggregated step rewards of answer i, the answer is

    argmax_i R_i,    or drawn from softmax(logit(R) / selection_temperature).

From "Adaptive Inference-Time Compute" (https://arxiv.org/abs/2410.02725): a rule may stop before N samples
(``strategies/parts/stopping.py``), and texts that score badly may be given up on the way
(``strategies/parts/pruning.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from orchestrator.schema import Count, CountOrZero, Positive, checked
from orchestrator.search.session import Session
from orchestrator.types import Sampling, Solution
from strategies.parts.chooser import Chooser
from strategies.parts.drawing import Drawing, Drawn
from strategies.parts.population import Population
from strategies.parts.pruning import Prune, check_alone, points_of
from strategies.parts.selection import AnswerRule, conclude
from strategies.parts.stopping import NEVER, Stop
from strategies.parts.temperatures import Temperatures, sampling_of
from strategies.parts.weights import Aggregation, log_odds_of, readouts_for


@dataclass(frozen=True)
@checked("strategy")
class BestOfN:
    """N independent samples in one call, with one reward call per sample.

    With a rule in ``stop`` they are drawn in waves of ``wave_size`` (0: one by one) until it holds; with
    ``prune`` only the best are continued after some steps, for a reward call more a sample at each of these.
    Budget N: ``num_samples`` = N. ``Solution.log_weights``: the aggregated reward's log-odds over the
    selection temperature; -inf where a limit left a sample unscored.
    """

    budget_knob: ClassVar[str] = "num_samples"
    independent_samples: ClassVar[bool] = True
    whole_answers: ClassVar[bool] = True

    num_samples: Count = 8
    sampling: Sampling = Sampling()
    aggregation: Aggregation = "last"
    selection: Literal["argmax", "sample", "mbr"] | AnswerRule | Chooser = "argmax"
    selection_temperature: Positive = 1.0
    stop: Stop = NEVER
    wave_size: CountOrZero = 0
    prune: Prune = None
    temperatures: Temperatures = "constant"

    def __post_init__(self) -> None:
        check_alone(self.prune, self.stop, self.wave_size)
        object.__setattr__(self, "prune", None if self.prune is None else points_of(self.prune))

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation)

    async def solve(self, session: Session) -> Solution:
        num = max(self.num_samples, session.most)
        paths = [sampling_of(self.sampling, i, self.temperatures) for i in range(num)]
        points = None if self.prune is None else points_of(self.prune)
        drawing = Drawing(paths, True, self.aggregation, self.stop, self.wave_size, points)
        drawn = await drawing.draw(session, self._decided)
        log_odds = (log_odds_of(t, self.aggregation) for t in drawn.values())
        log_weights = tuple(x / self.selection_temperature for x in log_odds)
        population = Population(tuple(drawn.values()), log_weights)
        solution = await conclude(session, population, (), self.selection, self.aggregation)
        is_constant = self.temperatures == "constant"
        params = () if is_constant else tuple(paths[i] for i in drawn)
        return replace(solution, params=params)

    async def _decided(self, _: Session, drawn: Drawn, __: int) -> bool:
        """Return whether a finished sample has the greatest reward there is: a later one can only tie."""
        best = max((log_odds_of(t, self.aggregation) for t in drawn.values() if t.finished), default=0.0)
        return self.selection == "argmax" and best == math.inf
