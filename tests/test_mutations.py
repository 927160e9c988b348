"""The laws see mistakes: each of these changes to one function turns the law beside it red.

A list of what each law holds; those of A*, REBASE, DVTS and HEX are in strategies/test_search_mutations.py.
Every change is a mistake that somebody could make, or has made, in that function; the law runs with it and
must fail.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from strategies.parts import resampling
from strategies.parts.weighting import Absolute, Incremental
from strategies.parts.weights import aggregate, log_sum_exp
from tests.bench import test_times_fewer
from tests.mutation import Mutation
from tests.orchestrator import test_intervals
from tests.strategies import (
    test_entropic_particle_filter,
    test_parallel_tempering,
    test_particle_cascade,
    test_particle_filter,
    test_particle_gibbs,
)
from tests.strategies.parts import test_resampling
from tests.toy import EVEN

pytestmark = [pytest.mark.heavy, pytest.mark.slow]


def evidence(scheme: str = "systematic", gate: float = 1.0) -> Callable[[], None]:
    return partial(test_particle_filter.test_evidence_is_unbiased, scheme, gate)


def copies(scheme: str) -> Callable[[], None]:
    return lambda: test_resampling.test_mean_copies_are_unbiased(resampling.RESAMPLERS[scheme])  # type: ignore[index]


def zeros(scheme: str) -> Callable[[], None]:
    law = test_entropic_particle_filter.test_a_look_ahead_to_a_reward_of_zero_leaves_the_evidence_unbiased
    return partial(law, scheme, 1.0)


def posterior(*, ancestor_sampling: bool) -> Callable[[], None]:
    return partial(test_particle_gibbs.test_a_sweep_leaves_the_posterior_as_it_is, ancestor_sampling)


def before_markers() -> None:
    test_particle_gibbs.test_a_sweep_leaves_the_posterior_before_markers_as_it_is(ancestor_sampling=True)


def targets(weighting: str) -> Callable[[], None]:
    law = test_particle_filter.test_weighted_particles_match_the_enumerated_target
    return partial(law, EVEN, 3, weighting)


WEIGHTING = "strategies.parts.weighting:"
CARRY = f"{WEIGHTING}Incremental.carry"
SCHEMES = "strategies.parts.resampling:RESAMPLERS"


def in_place_of(name: str, mistake: Callable[..., Any]) -> Callable[[Any], Any]:
    """The table of schemes with another function under a name."""
    return lambda schemes: {**schemes, name: mistake}


def at_the_middle(rng: np.random.Generator, weights: Any, n: int) -> Any:
    return resampling._invert(weights, (np.arange(n) + 0.5) / n)


def flattened(rng: np.random.Generator, weights: Any, n: int) -> Any:
    return resampling.multinomial(rng, weights**0.9 / (weights**0.9).sum(), n)


def rest_by_weight(rng: np.random.Generator, weights: Any, n: int) -> Any:
    whole, _ = resampling._split(weights, n)
    sure = np.repeat(np.arange(len(weights)), whole)
    return np.concatenate([sure, resampling.multinomial(rng, weights, n - len(sure))])


def fair_meeting(meet: Any) -> Any:
    class Fair:
        def __init__(self, rng: np.random.Generator) -> None:
            self._rng = rng

        def random(self) -> float:
            return float(self._rng.random() ** 1.15)

    return lambda rng, remainders, i, j: meet(Fair(rng), remainders, i, j)


def flattened_odds(loglik: Any) -> Any:
    async def mistaken(self: Any, prefix: Any, steps: Any) -> list[float]:
        return [0.7 * x for x in await loglik(self, prefix, steps)]

    return mistaken


def own_weight(branch: Any) -> Any:
    def mistaken(self: Any, rng: np.random.Generator, most: int) -> tuple[int, float]:
        arrived = self.log_weights[-1]
        num_copies, log_weight = branch(self, rng, most)
        return num_copies, min(arrived, log_weight)

    return mistaken


MUTATIONS = [
    Mutation(
        "resampling forgets what a copy was drawn with",
        CARRY,
        lambda _: lambda self, lw, q, ancestors: tuple(lw[i] for i in ancestors),
        evidence(),
    ),
    Mutation(
        "resampling forgets the mean weight",
        CARRY,
        lambda _: lambda self, lw, q, ancestors: (0.0,) * len(ancestors),
        evidence(),
    ),
    Mutation(
        "resampling takes the draws for one more than they are",
        CARRY,
        lambda carry: lambda self, *a: tuple(x - math.log(1 + 1 / len(a[0])) for x in carry(self, *a)),
        evidence(),
    ),
    Mutation(
        "a gate that is closed divides by N all the same",
        "strategies.parts.choosing:keep",
        lambda keep: lambda p: keep(type(p)(p.particles, tuple(x - 0.02 for x in p.log_weights))),
        evidence(gate=0.8),
    ),
    Mutation(
        "weights grow by the whole reward, not by its quotient",
        f"{WEIGHTING}Incremental._grow",
        lambda _: staticmethod(lambda lw, before, now: lw + now),
        evidence(),
    ),
    Mutation(
        "the reward before the first step is not 1",
        f"{WEIGHTING}Incremental.potential",
        lambda potential: lambda self, t: potential(self, t) if t.steps else math.log(0.97),
        evidence(),
    ),
    Mutation(
        "the evidence is the sum of the weights over N - 1",
        "tests.strategies.test_particle_filter:log_mean_exp",
        lambda _: lambda lw: log_sum_exp(lw) - math.log(len(lw) - 1),
        evidence(),
    ),
    Mutation(
        "systematic positions without a draw",
        SCHEMES,
        in_place_of("systematic", at_the_middle),
        copies("systematic"),
    ),
    Mutation("flattened weights", SCHEMES, in_place_of("multinomial", flattened), evidence("multinomial")),
    Mutation(
        "the rest is drawn by weight, not by remainder",
        SCHEMES,
        in_place_of("residual", rest_by_weight),
        copies("residual"),
    ),
    Mutation(
        "a coin of ssp that is not fair", "strategies.parts.resampling:_meet", fair_meeting, copies("ssp")
    ),
    Mutation(
        "a look-ahead without its floor",
        "strategies.entropic_particle_filter:_LOG_FLOOR",
        lambda _: -math.inf,
        zeros("multinomial"),
    ),
    Mutation(
        "absolute weights by the reward, not by its odds",
        f"{WEIGHTING}Absolute.log_weight",
        lambda _: lambda self, t: math.log(aggregate(t.rewards, "last").value),
        targets("absolute"),
    ),
    Mutation(
        "the reference's weight is that of its end",
        "strategies.parts.sweeps:_Reference.up_to",
        lambda _: lambda self, num_steps: self.trajectory,
        posterior(ancestor_sampling=False),
    ),
    Mutation(
        "a sweep under absolute weighting, which has no target where lengths differ",
        "tests.strategies.test_particle_gibbs:Incremental",
        lambda _: Absolute,
        posterior(ancestor_sampling=False),
    ),
    Mutation(
        "ancestor sampling with odds that are not the policy's",
        "tests.quick_session:QuickSession.loglik",
        flattened_odds,
        posterior(ancestor_sampling=True),
    ),
    Mutation(
        "ancestor sampling that counts what a particle carries twice",
        "strategies.parts.sweeps:_log_carried",
        lambda _: lambda particle, rest: 0.0,
        before_markers,
    ),
    Mutation(
        "ancestor sampling that joins what another marker begins",
        "strategies.parts.sweeps:_may_continue",
        lambda _: lambda particle, step, rest: particle.active and len(particle.steps) == step,
        before_markers,
    ),
    Mutation(
        "a swap with its sign turned",
        "tests.strategies.test_parallel_tempering:swap_log_odds",
        lambda odds: lambda *args: -odds(*args),
        test_parallel_tempering.test_swaps_obey_detailed_balance,
    ),
    Mutation(
        "a hot chain at the cold power",
        "tests.strategies.test_parallel_tempering:Incremental",
        lambda _: lambda aggregation, power: Incremental(aggregation),
        test_parallel_tempering.test_a_hot_chain_aims_at_the_tempered_target,
    ),
    Mutation(
        "a swap by the colder chain's power alone",
        "strategies.parallel_tempering:swap_log_odds",
        lambda odds: lambda colder, hotter, *rewards: odds(colder, math.inf, *rewards),
        test_parallel_tempering.test_a_round_leaves_the_joint_tempered_target_as_it_is,
    ),
    Mutation(
        "a round of chains without their references",
        "strategies.parallel_tempering:sweep",
        lambda sweep: lambda session, n, references, **knobs: sweep(session, n, [], **knobs),
        test_parallel_tempering.test_a_round_leaves_the_joint_tempered_target_as_it_is,
    ),
    Mutation(
        "references that are never exchanged",
        "strategies.parallel_tempering:swapped",
        lambda _: lambda rng, log_rewards, *rest: list(range(len(log_rewards))),
        test_parallel_tempering.test_a_sweep_follows_the_reference_that_the_exchange_gave_its_chain,
    ),
    Mutation(
        "a particle of the cascade that continues by chance keeps its own weight",
        "strategies.particle_cascade:Barrier.branch",
        own_weight,
        test_particle_cascade.test_evidence_is_unbiased_in_any_order_of_arrival,
    ),
    Mutation(
        "resampling after the last step",
        "strategies.parts.filter_base:propagate",
        lambda propagate: lambda *a, **k: propagate(*a, **{**k, "final_choice": True}),
        partial(test_particle_filter.test_the_best_finished_particle_is_never_lost, 200),
    ),
    Mutation(
        "annealing that never ends",
        "tests.strategies.test_entropic_particle_filter:ess_tempering",
        lambda tempering: lambda weights, progress: tempering(weights, 0.0),
        test_entropic_particle_filter.test_closed_forms,
    ),
    Mutation(
        "corrected p-values that are not",
        "tests.orchestrator.test_intervals:holm",
        lambda _: list,
        test_intervals.test_holm,
    ),
    Mutation(
        "a curve that may fall",
        "tests.bench.test_times_fewer:isotonic",
        lambda _: lambda values: np.asarray(values, dtype=float),
        partial(test_times_fewer.test_the_closest_curve_that_never_falls, [0.4, 0.2], [0.3, 0.3]),
    ),
    Mutation(
        "a curve that is straight in the cost, not in its logarithm",
        "tests.bench.test_times_fewer:needed",
        lambda needed: lambda costs, *rest: np.log(needed(np.exp(costs), *rest)),
        test_times_fewer.test_between_two_budgets_a_curve_is_straight_in_the_logarithm,
    ),
]


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_law_sees_it(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.assert_seen(monkeypatch)
