"""Particle filtering over reasoning steps: propose with the policy, weigh with the verifier, resample.

Puri et al., "A Probabilistic Inference Approach to Inference-Time Scaling of LLMs using Particle-Based
Monte Carlo Methods", arXiv 2502.01618. With r_t the reward of a whole partial answer, each step weighs

    w_t = logit(r_t),    P(ancestor = i) = softmax(w_t / tempering)_i,

as published (*absolute* weighting, resampling at every step), or grows the log-weight by
log r_t - log r_{t-1} (*incremental*: unbiased for the target policy(x) r(x), with an ESS gate if wanted).
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.session import Session
from orchestrator.types import Sampling, Solution
from strategies.parts import checks
from strategies.parts.choosing import LookAhead, now_only, resample_by
from strategies.parts.population import by_one_step, fresh, propagate
from strategies.parts.resampling import RESAMPLERS, Scheme
from strategies.parts.selection import SELECTIONS, Selection, conclude
from strategies.parts.tempering import Tempering, constant
from strategies.parts.weighting import WeightingName, weighting
from strategies.parts.weights import AGGREGATIONS, Aggregation, readouts_for


@dataclass(frozen=True)
class ParticleFilter:
    """N particles, weighed and resampled step by step.

    Budget N: ``num_particles`` = N, so at most N full-length samples of generation and one reward call a
    particle and step; ended particles cost nothing. ``Solution.log_weights``: absolute weighting gives
    the last reward's clipped log-odds; incremental weighting gives weights whose log-mean-exp is the
    log-evidence, log of the policy's mean of r(x).
    """

    num_particles: int
    max_steps: int
    sampling: Sampling
    weighting: WeightingName = "absolute"
    aggregation: Aggregation = "last"
    resampling: Scheme = "multinomial"
    ess_threshold: float = 1.0
    tempering: float = 1.0
    epsilon: float = 1e-7
    selection: Selection = "argmax"
    final_resample: bool = False

    def __post_init__(self) -> None:
        checks.at_least(1, num_particles=self.num_particles, max_steps=self.max_steps)
        checks.sampling(self.sampling)
        check_weighting(self.weighting, self.aggregation, self.epsilon)
        checks.one_of(RESAMPLERS, resampling=self.resampling)
        checks.fraction(ess_threshold=self.ess_threshold)
        gated = self.weighting == "absolute" and self.ess_threshold < 1
        allowed = "must be 1.0 with absolute weighting, which forgets what a skipped resampling would do"
        checks.require(not gated, "ess_threshold", self.ess_threshold, allowed)
        checks.positive(tempering=self.tempering)
        checks.one_of(SELECTIONS, selection=self.selection)

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation)

    async def solve(self, session: Session) -> Solution:
        return await self.search(session, constant(self.tempering))

    async def search(
        self, session: Session, tempering: Tempering, look_ahead: LookAhead = now_only
    ) -> Solution:
        """The filter with another tempering or look-ahead; ``solve`` uses neither beyond its knobs."""
        weighed_by = weighting(self.weighting, self.aggregation, self.epsilon)
        population, history = await propagate(
            session,
            fresh(self.num_particles),
            max_steps=self.max_steps,
            extend=by_one_step(session, self.sampling),
            weigh=weighed_by.weigh,
            choose=resample_by(
                session.rng,
                weighed_by,
                RESAMPLERS[self.resampling],
                tempering=tempering,
                ess_threshold=self.ess_threshold,
                look_ahead=look_ahead,
            ),
            final_choice=self.final_resample,
        )
        return await conclude(session, population, history, self.selection, self.aggregation)


def check_weighting(name: WeightingName, aggregation: Aggregation, epsilon: float) -> None:
    """Known names, and an epsilon in [0, 0.5)."""
    checks.one_of(("absolute", "incremental"), weighting=name)
    checks.one_of(AGGREGATIONS, aggregation=aggregation)
    checks.require(0 <= epsilon < 0.5, "epsilon", epsilon, "must be in [0, 0.5)")
