"""HEX: how paths are spread over schedules, whose answer wins, and when the vote stops."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from orchestrator.errors import ConfigError
from orchestrator.protocols import Completion, GenerateRequest
from orchestrator.testing import FakeEngine
from orchestrator.types import Denoising, EstimatedDenoising, Finish, Solution, Step, Trajectory, Usage
from strategies.hex import Hex, schedules, spread
from tests.toy import World, load

CANVAS = Denoising(gen_length=16, num_steps=16, temperature=0.9)


@dataclass
class Scripted(FakeEngine):
    """Each block length answers as it is told: path after path, an answer (or none) and its logprob."""

    script: Mapping[int, Sequence[tuple[str | None, float]]] = field(default_factory=dict)
    told: Counter[int] = field(default_factory=Counter)

    def _complete(self, request: GenerateRequest) -> Completion:
        assert isinstance(request.params, Denoising) and request.params.block_length is not None
        block = request.params.block_length
        answer, logprob = self.script[block][self.told[block]]
        self.told[block] += 1
        text = f"block {block}\n" if answer is None else f"={answer}\n"
        step = Step(text, tuple(map(ord, text)), logprob, finish=Finish.EOS)
        return Completion((step,), Usage(16, denoising_passes=16))


async def solve(
    strategy: Any, script: Mapping[int, Sequence[tuple[str | None, float] | str | None]]
) -> Solution:
    told = {b: [a if isinstance(a, tuple) else (a, -1.0) for a in answers] for b, answers in script.items()}
    solution: Solution = await World(engine=Scripted(script=told)).solve(strategy)
    return solution


def answer(solution: Solution) -> str:
    assert solution.answer_index is not None
    return solution.trajectories[solution.answer_index].text.strip("=\n")


def vote(num_paths: int, *blocks: int, **knobs: Any) -> Hex:
    return Hex(num_paths, CANVAS, blocks, **knobs)


@pytest.mark.parametrize(
    ("gen_length", "blocks"),
    [
        (256, [8, 16, 32, 64, 128]),
        (512, [16, 32, 64, 128, 256]),
        (128, [4, 8, 16, 32, 64]),
        (16, [1, 2, 4, 8]),
    ],
)
def test_the_papers_block_lengths(gen_length: int, blocks: list[int]) -> None:
    made = schedules(replace(CANVAS, gen_length=gen_length), None)
    assert [s.block_length for s in made] == blocks


@pytest.mark.parametrize(
    ("num_paths", "counts"),
    [
        (25, {8: 5, 16: 5, 32: 5, 64: 5, 128: 5}),
        (7, {8: 2, 16: 2, 32: 1, 64: 1, 128: 1}),
        (3, {8: 1, 16: 1, 32: 1}),  # fewer paths than schedules: the smallest blocks
        (1, {8: 1}),
    ],
)
def test_paths_are_spread_evenly(num_paths: int, counts: dict[int, int]) -> None:
    paths = spread(num_paths, replace(CANVAS, gen_length=256), [128, 64, 8, 16, 32, 8])
    assert Counter(p.block_length for p in paths) == counts


async def test_the_most_frequent_answer_wins_and_no_answer_has_no_vote() -> None:
    solution = await solve(vote(6, 2, 4, 8), {2: ["1", None], 4: ["2", None], 8: ["2", None]})
    assert answer(solution) == "2"
    assert [t.text for t in solution.trajectories].count("block 2\n") == 1


async def test_equivalent_answers_vote_together() -> None:
    """The fake task compares without case and spaces."""
    solution = await solve(vote(5, 2, 4, 8), {2: ["a", "a"], 4: ["B", "b "], 8: [" b"]})
    assert answer(solution).strip().lower() == "b"


async def test_a_tie_goes_to_the_smallest_block() -> None:
    script: Any = {2: [None, "3"], 4: ["1", "1"], 8: ["2", "2"]}
    assert answer(await solve(vote(6, 2, 4, 8), script)) == "1"
    script = {2: [None, "2"], 4: ["1", "1"], 8: ["2", None]}  # block 2 answers last, and counts as smallest
    assert answer(await solve(vote(6, 2, 4, 8), script)) == "2"


async def test_a_tie_by_lowest_nll() -> None:
    script: Any = {2: [("1", -3.0)], 4: [("2", -2.0)]}
    assert answer(await solve(vote(2, 2, 4), script)) == "1"
    assert answer(await solve(vote(2, 2, 4, tie_break="likelihood"), script)) == "2"


@dataclass
class Estimating(Scripted):
    """Reports an estimate of each canvas where it is asked for: the likelihood of the script."""

    def _complete(self, request: GenerateRequest) -> Completion:
        (step,) = (reply := super()._complete(request)).steps
        if not isinstance(request.params, EstimatedDenoising):
            return reply
        return replace(reply, steps=(replace(step, logprob=-1.0, one_step_nll=-(step.logprob or 0.0)),))


async def test_a_tie_by_lowest_one_step_nll() -> None:
    """Under its own name; the engine is asked for it by this rule alone."""
    script: Any = {2: [("1", -3.0)], 4: [("2", -2.0)]}
    for rule, elected in (("one_step_nll", "2"), ("smallest_block", "1")):
        solution = await World(engine=Estimating(script=script)).solve(vote(2, 2, 4, tie_break=rule))
        assert answer(solution) == elected
        assert {isinstance(p, EstimatedDenoising) for p in solution.params} == {rule == "one_step_nll"}
        assert [t.one_step_nll for t in solution.trajectories] == (
            [3.0, 2.0] if rule == "one_step_nll" else [None, None]
        )
    assert answer(await solve(vote(2, 2, 4, tie_break="one_step_nll"), script)) == "1"  # not reported


@pytest.mark.parametrize("early_stop", [True, False])
async def test_the_one_step_nll_needs_the_whole_canvas(early_stop: bool) -> None:
    """It implies ``early_stop=False``; other rules leave that as it is."""
    canvas, script = replace(CANVAS, early_stop=early_stop), {2: ["1"], 4: ["2"]}
    for rule, stops in (("one_step_nll", False), ("smallest_block", early_stop), ("likelihood", early_stop)):
        solution = await solve(Hex(2, canvas, [2, 4], tie_break=rule), script)
        assert {p.early_stop for p in solution.params if isinstance(p, Denoising)} == {stops}


async def test_no_answer_at_all() -> None:
    solution = await solve(vote(2, 2, 4), {2: [None], 4: [None]})
    assert answer(solution) == "block 2"


async def test_one_schedule_is_one_sample() -> None:
    world = World()
    solution = await world.solve(Hex(1, CANVAS, [4]), seed=3)
    (sampled,) = (
        await World().session(3).generate([Trajectory()], replace(CANVAS, block_length=4), to_end=True)
    )
    assert solution.trajectories == (sampled,)
    assert solution.params == (replace(CANVAS, block_length=4),)


async def test_the_solution_says_what_each_path_was_denoised_with() -> None:
    """A path that a limit withholds is left out, with its schedule."""
    solution = await World().solve(vote(5, 2, 4, 8), generated_tokens=3 * 16 + 15)
    assert [p.block_length for p in solution.params if isinstance(p, Denoising)] == [2, 4, 8]
    assert len(solution.trajectories) == 3


async def test_waves_stop_once_nothing_can_change() -> None:
    script = {2: ["1"] * 4, 4: ["1"] * 4, 8: ["2"] * 4}
    assert len((await solve(vote(12, 2, 4, 8, wave_size=3), script)).trajectories) == 12  # 3 is not above 3
    agreed = await solve(vote(12, 2, 4, 8, wave_size=3), {b: ["1"] * 4 for b in (2, 4, 8)})
    assert len(agreed.trajectories) == 9  # 9 above 3 still to come; 6 were not above 6
    assert answer(agreed) == "1"


async def test_votes_by_likelihood_a_token() -> None:
    """Two unsure paths (two tokens and a half of a nat each) against a sure one."""
    script: Any = {2: [("1", -6.0)], 4: [("1", -6.0)], 8: [("2", -0.3)]}
    assert answer(await solve(vote(3, 2, 4, 8, weight="likelihood"), script)) == "2"
    assert answer(await solve(vote(3, 2, 4, 8), script)) == "1"
    solution = await solve(vote(3, 2, 4, 8, weight="likelihood"), script)
    assert solution.log_weights == pytest.approx([-2.0, -2.0, -0.1])  # "=1\n" is three tokens


@pytest.mark.parametrize(("of_two", "elected"), [(0.3, "2"), (0.6, "1")])
async def test_votes_by_reward(of_two: float, elected: str) -> None:
    """Two paths against one of .9, whose odds are six times those of .6."""
    world = World(engine=Scripted(script={2: [("1", -1.0)], 4: [("1", -1.0)], 8: [("2", -1.0)]}))
    assert world.verifier is not None
    world.verifier.reward = lambda question, steps: 0.9 if "2" in steps[-1] else of_two
    strategy = vote(3, 2, 4, 8, weight="reward")
    assert strategy.readouts == ("per_step", "whole")
    solution = await world.solve(strategy)
    assert answer(solution) == elected
    assert solution.usage.reward_calls == 3


@pytest.mark.parametrize("name", ["hex", "hex_weighted"])
def test_the_budget_is_paths(name: str) -> None:
    strategy: Any = load(name, 6)
    assert strategy.num_paths == 6
    assert strategy.denoising.gen_length == strategy.denoising.num_steps == 64
    assert strategy.readouts == ()


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Hex(0, CANVAS), "strategy.num_paths"),
        (lambda: Hex(1, CANVAS, []), "strategy.block_lengths"),
        (lambda: Hex(1, CANVAS, [17]), "strategy.block_lengths"),
        (lambda: Hex(1, CANVAS, [0]), "strategy.block_lengths"),
        (lambda: Hex(1, replace(CANVAS, block_length=4)), "strategy.denoising.block_length"),
        (lambda: Hex(1, CANVAS, tie_break="dice"), "strategy.tie_break"),  # type: ignore[arg-type]
        (lambda: Hex(1, CANVAS, wave_size=-1), "strategy.wave_size"),
        (lambda: Hex(1, replace(CANVAS, gen_length=0)), "strategy.denoising.gen_length"),
        (lambda: Hex(1, replace(CANVAS, num_steps=0)), "strategy.denoising.num_steps"),
        (lambda: Hex(1, replace(CANVAS, temperature=-0.1)), "strategy.denoising.temperature"),
        (lambda: Hex(1, replace(CANVAS, remasking="low")), "strategy.denoising.remasking"),
        (lambda: Hex(1, replace(CANVAS, top_p=0.0)), "strategy.denoising.top_p"),
        (lambda: Hex(1, replace(CANVAS, top_p=1.1)), "strategy.denoising.top_p"),
        (lambda: Hex(1, replace(CANVAS, threshold=1.1)), "strategy.denoising.threshold"),
        (lambda: Hex(1, replace(CANVAS, threshold=0.9, remasking="random")), "strategy.denoising.threshold"),
        (lambda: Hex(1, CANVAS, weight="length"), "strategy.weight"),  # type: ignore[arg-type]
    ],
    ids=range(16),
)
def test_a_bad_knob_is_named(make: Any, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert error.value.key == key
