"""Where a call goes: stable homes, few moves, whole groups spill, nobody is overfull."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.pool.routing import ranking, route

NAMES = tuple(f"engine-{i}" for i in range(8))
HOMES = [f"problem {i}" for i in range(2000)]

names = st.lists(st.text(min_size=1), min_size=1, max_size=8, unique=True).map(tuple)
loads = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 100), min_size=1)
limits = {
    "num_rows": st.integers(1, 64),
    "spill_margin": st.integers(0, 64),
    "max_in_flight": st.integers(1, 128),
}


@given(st.text(), names, st.randoms())
def test_a_ranking_holds_every_name_and_heeds_no_order(
    home: str, names: tuple[str, ...], random: object
) -> None:
    assert sorted(ranking(home, names)) == sorted(names)
    assert ranking(home, tuple(reversed(names))) == ranking(home, names)


@given(st.text(), names)
def test_a_replica_that_leaves_moves_only_its_own_problems(home: str, names: tuple[str, ...]) -> None:
    order = ranking(home, names)
    for gone in names:
        assert ranking(home, tuple(n for n in names if n != gone)) == tuple(n for n in order if n != gone)


def test_homes_are_shared_evenly() -> None:
    counts = Counter(ranking(home, NAMES)[0] for home in HOMES)
    assert set(counts) == set(NAMES)
    # Binomial: mean 250, standard deviation 15; five of them either way.
    assert all(175 < count < 325 for count in counts.values())


def test_a_replica_that_joins_takes_its_share_and_no_more() -> None:
    before = [ranking(home, NAMES[:7])[0] for home in HOMES]
    after = [ranking(home, NAMES)[0] for home in HOMES]
    moved = [b for a, b in zip(before, after, strict=True) if a != b]
    assert set(moved) == {NAMES[7]}
    assert 175 < len(moved) < 325


@pytest.mark.heavy
def test_homes_do_not_depend_on_the_hash_seed_of_the_process() -> None:
    program = "from actors.pool.routing import ranking; print(*ranking('problem', tuple('abcdef')))"
    for seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert tuple(ran.stdout.split()) == ranking("problem", tuple("abcdef"))


@given(home=st.text(), loads=loads, **limits)
def test_the_laws_of_a_route(
    home: str, loads: dict[str, int], num_rows: int, spill_margin: int, max_in_flight: int
) -> None:
    chosen = route(home, loads, num_rows, spill_margin=spill_margin, max_in_flight=max_in_flight)
    roomy = {n for n, load in loads.items() if load == 0 or load + num_rows <= max_in_flight}
    if chosen is None:
        assert not roomy
        return
    first, least = ranking(home, tuple(loads))[0], min(loads[n] for n in roomy)
    assert chosen in roomy
    if chosen == first:
        assert loads[first] - least <= spill_margin
    else:
        assert loads[chosen] == least
        assert first not in roomy or loads[first] - least > spill_margin


@pytest.mark.parametrize(
    ("load_of_home", "load_of_other", "stays"),
    [
        (0, 0, True),
        (32, 0, True),  # within the margin
        (33, 0, False),  # beyond it
        (60, 40, True),
        (64, 40, False),  # within the margin, but full: 64 + 4 > 64
        (64, 64, None),  # everybody is full
    ],
)
def test_when_siblings_spill(load_of_home: int, load_of_other: int, stays: bool | None) -> None:
    home, other = ranking("p", NAMES[:2])
    loads = {home: load_of_home, other: load_of_other}
    chosen = route("p", loads, 4, spill_margin=32, max_in_flight=64)
    assert chosen == (None if stays is None else home if stays else other)


def test_a_call_larger_than_a_replica_goes_to_an_idle_one() -> None:
    home, other = ranking("p", NAMES[:2])
    assert route("p", {home: 1, other: 0}, 100, spill_margin=32, max_in_flight=64) == other
    assert route("p", {home: 1, other: 1}, 100, spill_margin=32, max_in_flight=64) is None
