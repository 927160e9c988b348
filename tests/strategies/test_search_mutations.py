"""The laws of A*, REBASE, DVTS and HEX see mistakes, as those of tests/test_mutations.py do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from strategies.parts.beams import LastRounds, without_copies
from strategies.parts.population import Population
from strategies.parts.search_tree import Rank
from strategies.parts.voting import argmax
from strategies.parts.weights import aggregate
from strategies.rebase import by_remainder, rounded_up
from tests.mutation import Mutation
from tests.strategies import test_astar, test_hex, test_tree_methods
from tests.toy import BRANCHING

REOPEN = "strategies.parts.search_tree:SearchTree.reopen"
SHARES = "strategies.rebase:_ROUNDINGS"
LAST_ROUNDS = "strategies.parts.beams:LastRounds"


def never_closed(**knobs: int) -> Callable[[], Any]:
    return partial(test_astar.test_no_state_is_closed_for_good_while_budget_is_left, knobs)


def ended_first(rank: Callable[..., Rank]) -> Callable[..., Any]:
    return lambda self, penalty=0.0: (
        -1.0 if self.trajectory.finished else self.total + penalty,
        *rank(self)[1:],
    )


def last_reward(_: Any) -> Callable[..., Any]:
    return lambda rewards, how: aggregate(rewards, "last")


def shared_by(mistake: Callable[[Sequence[float], float, int], list[int]]) -> Callable[[Any], Any]:
    return lambda roundings: {**roundings, "up": mistake}


def worst_first(values: Sequence[float], temperature: float, num_slots: int) -> list[int]:
    """The same weights, each share rounded up from the least reward on."""
    return rounded_up([1 - value for value in values], -temperature, num_slots)


def best_of_each_group(beams: Callable[..., Population]) -> Callable[..., Population]:
    def mistaken(self: LastRounds, population: Population) -> Population:
        offered = beams(self, population)
        best = [slots[argmax([offered.log_weights[i] for i in slots])] for slots in self.groups]
        return Population(
            tuple(offered.particles[i] for i in best), tuple(offered.log_weights[i] for i in best)
        )

    return mistaken


FIRST_GOAL = test_astar.test_with_waves_only_what_expanded_states_have_not_drawn_leads_to_a_better_goal
EVERY_BEAM = test_tree_methods.test_every_beam_of_a_subtrees_last_round_is_offered
AUTHORS = test_tree_methods.test_rebase_draws_what_the_authors_code_draws

ASTAR = [
    Mutation(
        "a state that was drawn returns at its f",
        REOPEN,
        lambda reopen: lambda self, node, penalty: reopen(self, node, 0.0),
        partial(test_astar.test_a_state_returns_at_f_plus_what_its_waves_cost, "decrease", 0.3),
    ),
    Mutation(
        "a state that was drawn is closed",
        REOPEN,
        lambda _: lambda self, node, penalty: None,
        never_closed(wave=2),
    ),
    Mutation(
        "a state is closed once it has drawn `branching` children",
        REOPEN,
        lambda reopen: lambda self, node, penalty: penalty < 0.075 and reopen(self, node, penalty),
        never_closed(wave=1, branching=2),
    ),
    Mutation(
        "a state is closed when a wave has no new child",
        REOPEN,
        lambda reopen: (
            lambda self, node, penalty: (
                len(self.children(node)) * 0.025 >= penalty and reopen(self, node, penalty)
            )
        ),
        never_closed(wave=2),
    ),
    Mutation(
        "the two costs of a step are swapped",
        "strategies.astar:_COSTS",
        lambda costs: {"increase": costs["decrease"], "decrease": costs["increase"]},
        test_astar.test_f_never_falls_along_a_path_with_a_consistent_cost,
    ),
    Mutation(
        "f without the cost so far",
        "strategies.parts.search_tree:Node.total",
        lambda _: property(lambda node: node.heuristic),
        partial(test_astar.test_nodes_are_closed_in_brute_force_order, "increase", BRANCHING, True),
    ),
    Mutation(
        "the last reward in place of the least",
        "strategies.astar:aggregate",
        last_reward,
        partial(FIRST_GOAL, "decrease", "min", 50, 46),
    ),
    Mutation(
        "the first goal drawn ends the search",
        "strategies.parts.search_tree:Node.rank",
        ended_first,
        partial(FIRST_GOAL, "decrease", "last", 50, 44),
    ),
]

REBASE = [
    Mutation("shares by largest remainder", SHARES, shared_by(by_remainder), AUTHORS),
    Mutation(
        "shares at a fifth of the temperature",
        SHARES,
        shared_by(lambda values, temperature, n: rounded_up(values, 0.2 * temperature, n)),
        AUTHORS,
    ),
    Mutation("the least reward is served first", SHARES, shared_by(worst_first), AUTHORS),
    Mutation(
        "shares by the log-odds of rewards",
        "strategies.rebase:Reward",
        lambda _: lambda log_odds: SimpleNamespace(value=log_odds),
        AUTHORS,
    ),
    Mutation(
        "an answer loses its slot",
        "strategies.rebase:pick",
        lambda pick: lambda p, chosen: pick(p, [i for i in chosen if p.particles[i].active] or chosen),
        AUTHORS,
    ),
    Mutation(
        "votes by the odds",
        "strategies.rebase:log_sigmoid",
        lambda _: lambda log_odds: log_odds,
        test_tree_methods.test_votes_of_rebase_weigh_by_the_reward_and_not_by_its_odds,
    ),
]

DVTS = [
    Mutation("a subtree offers its best beam alone", f"{LAST_ROUNDS}.beams", best_of_each_group, EVERY_BEAM),
    Mutation(
        "a subtree that has ended offers copies of its survivor",
        f"{LAST_ROUNDS}.note",
        lambda _: lambda *args: None,
        EVERY_BEAM,
    ),
    Mutation(
        "copies have one vote",
        f"{LAST_ROUNDS}.beams",
        lambda beams: lambda self, population: without_copies(beams(self, population)),
        EVERY_BEAM,
    ),
    Mutation(
        "subtrees compete",
        "strategies.parts.beam_base:split_slots",
        lambda split: lambda num_slots, num_groups: split(num_slots, 1),
        test_tree_methods.test_subtrees_do_not_compete,
    ),
]

HEX = [
    Mutation(
        "the smallest block takes what does not divide",
        "strategies.hex:spread",
        lambda spread: lambda *args: sorted(spread(*args), key=lambda path: path.block_length),
        test_hex.test_the_solution_says_what_each_path_was_denoised_with,
    ),
    Mutation(
        "more paths for smaller blocks",
        "tests.strategies.test_hex:spread",
        lambda spread: lambda n, *rest: [*spread(n - 1, *rest), spread(1, *rest)[0]],
        partial(test_hex.test_paths_are_spread_evenly, 25, {8: 5, 16: 5, 32: 5, 64: 5, 128: 5}),
    ),
    Mutation(
        "blocks up to the whole canvas",
        "strategies.hex:_PARTS",
        lambda _: (16, 8, 4, 2, 1),
        partial(test_hex.test_the_papers_block_lengths, 256, [8, 16, 32, 64, 128]),
    ),
    Mutation(
        "a tie goes to the greatest block",
        "strategies.hex:smallest_first",
        lambda preferences: lambda paths: [-x for x in preferences(paths)],
        test_hex.test_a_tie_goes_to_the_smallest_block,
    ),
    Mutation(
        "a path without an answer has a vote",
        "strategies.parts.voting:_by_key",
        lambda by_key: lambda keys: by_key(["" if key is None else key for key in keys]),
        test_hex.test_a_tie_goes_to_the_smallest_block,
    ),
    Mutation(
        "votes by the likelihood of the whole canvas",
        "strategies.parts.majority_vote:log_likelihood",
        lambda log_likelihood: lambda t: log_likelihood(t) * t.num_tokens,
        test_hex.test_votes_by_likelihood_a_token,
    ),
    Mutation(
        "votes of paths by the odds",
        "strategies.parts.majority_vote:log_sigmoid",
        lambda _: lambda log_odds: log_odds,
        partial(test_hex.test_votes_by_reward, 0.6, "1"),
    ),
    Mutation(
        "a vote counts as decided while it may still tie",
        "strategies.parts.majority_vote:lead",
        lambda lead: lambda *args: lead(*args) + 1,
        test_hex.test_waves_stop_once_nothing_can_change,
    ),
]


@pytest.mark.parametrize("mutation", [*ASTAR, *REBASE, *DVTS, *HEX], ids=lambda mutation: mutation.name)
def test_a_law_sees_it(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation.assert_seen(monkeypatch)
