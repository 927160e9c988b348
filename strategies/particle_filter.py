"""Propose steps with the policy, weigh them with the verifier, and resample (particle filtering).

Puri et al., "A Probabilistic Inference Approach to Inference-Time Scaling of LLMs using Particle-Based
Monte Carlo Methods", https://arxiv.org/abs/2502.01618. With r_t the reward of a whole partial answer, each
step weighs

    w_t = logit(r_t),    P(ancestor = i) = softmax(w_t / tempering)_i,

as published (*absolute* weighting, resampling at every step), or grows the log-weight by
log r_t - log r_{t-1} (*incremental*: unbiased for the target policy(x) r(x), with an optional ESS gate).
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.schema import Positive
from orchestrator.search.session import Session
from orchestrator.types import Solution
from strategies.parts.filter_base import FilterBase
from strategies.parts.tempering import Tempering, tempering_of


@dataclass(frozen=True)
class ParticleFilter(FilterBase):
    """N particles, weighed and resampled step by step.

    Budget N: ``num_particles`` = N, so at most N full-length samples of generation and one reward call per
    particle and step; ended particles cost nothing. ``Solution.log_weights``: absolute weighting gives
    the last reward's clipped log-odds; incremental weighting gives weights whose log-mean-exp is the
    log-evidence, log of the policy's mean of r(x).
    """

    tempering: Positive | Tempering = 1.0
    final_resample: bool = False

    def check_own(self) -> None:
        """Check nothing: no knob depends on another."""

    async def solve(self, session: Session) -> Solution:
        return await self.search(session, tempering_of(self.tempering), final_resample=self.final_resample)
