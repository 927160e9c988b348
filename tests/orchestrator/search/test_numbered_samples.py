"""Numbered samples: what a sample becomes depends on its number, not on the call that requested it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import StrategyError
from orchestrator.protocols import Sampler
from orchestrator.search.session import Session
from orchestrator.seeds import derive_seed
from orchestrator.testing import FakeEngine
from orchestrator.types import Sampling, Trajectory
from strategies import BestOfN
from tests.toy import World

PARAMS = Sampling(temperature=1.0, max_tokens=64)
SAMPLERS: tuple[Sampler, ...] = ("step", "stream")


def session_of(sampler: Sampler = "step", seed: int = 0) -> tuple[Session, FakeEngine]:
    engine = FakeEngine(sampler=sampler)
    return World(engine=engine).session(seed), engine


async def drawn(session: Session, numbers: Sequence[int]) -> list[Trajectory]:
    return await session.generate([Trajectory()] * len(numbers), PARAMS, to_end=True, samples=numbers)


async def test_the_first_call_has_the_seeds_that_it_had_without_numbers() -> None:
    """Stored answers stay: the list is that of the rows of one call."""
    numbered, plain = session_of(), session_of()
    await drawn(numbered[0], range(4))
    await plain[0].generate([Trajectory()] * 4, PARAMS, to_end=True)
    seeds = [r.seed for r in numbered[1].requests]
    assert seeds == [r.seed for r in plain[1].requests] == [derive_seed(0, "toy", "", 1, i) for i in range(4)]


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.sampled_from(SAMPLERS))
async def test_waves_of_any_size_are_prefixes_of_one_list(sizes: list[int], sampler: Sampler) -> None:
    whole = await drawn(session_of(sampler)[0], range(sum(sizes)))
    session, waves = session_of(sampler)[0], list[Trajectory]()
    for size in sizes:
        waves += await drawn(session, range(len(waves), len(waves) + size))
    assert waves == whole


@given(st.permutations(range(6)))
async def test_the_order_of_numbers_changes_nothing(numbers: list[int]) -> None:
    whole = await drawn(session_of()[0], range(6))
    assert await drawn(session_of()[0], numbers) == [whole[i] for i in numbers]


@pytest.mark.parametrize("sampler", SAMPLERS)
async def test_steps_of_numbered_samples_do_not_depend_on_their_waves(sampler: Sampler) -> None:
    """Continued by any calls and beside any others, a number has the same text; by ``stream`` the whole's."""

    async def stepwise(numbers: Sequence[int], session: Session) -> list[Trajectory]:
        texts = [Trajectory()] * len(numbers)
        while any(t.active for t in texts):
            texts = await session.generate(texts, PARAMS, samples=numbers)
        return texts

    session, engine = session_of(sampler)
    whole = await stepwise(range(6), session)
    other = session_of(sampler)[0]
    assert [*await stepwise(range(2), other), *await stepwise([5, 4, 2, 3], other)] == [
        whole[i] for i in (0, 1, 5, 4, 2, 3)
    ]
    requests = [(r.seed, r.token_ids) for r in engine.requests]
    assert len(set(requests)) == len(requests)
    if sampler == "stream":
        assert whole == await drawn(session_of(sampler)[0], range(6))
    else:
        assert len({seed for seed, _ in requests}) == len(requests)  # noise of one request


async def test_a_list_that_follows_other_calls_shares_no_seed_with_them() -> None:
    session, engine = session_of()
    await session.generate([Trajectory()] * 4, PARAMS)
    await drawn(session, range(4))
    await session.generate([Trajectory()] * 4, PARAMS)
    await drawn(session.fork("a"), range(4))
    assert len({r.seed for r in engine.requests}) == 16


async def test_calls_without_numbers_share_no_seed_with_the_list() -> None:
    session, engine = session_of()
    await drawn(session, range(4))
    await session.generate([Trajectory()] * 8, PARAMS)
    assert len({r.seed for r in engine.requests}) == 12


@pytest.mark.parametrize("numbers", [range(2), [0, 1, 1], [0, 1, -1]])
async def test_every_row_has_a_number_of_its_own(numbers: Sequence[int]) -> None:
    with pytest.raises(StrategyError, match="3 trajectories need a sample number each"):
        await session_of()[0].generate([Trajectory()] * 3, PARAMS, samples=numbers)


async def test_fewer_samples_are_the_first_of_more() -> None:
    few, many = [await World().solve(BestOfN(n, PARAMS), seed=5) for n in (6, 20)]
    assert many.trajectories[:6] == few.trajectories
