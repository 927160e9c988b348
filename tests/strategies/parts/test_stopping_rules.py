"""The rules that stop: their confidence against an enumeration of coin tosses."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb

import pytest

from orchestrator.errors import ConfigError
from strategies import BestOfN, Stop
from strategies.parts.stopping import confidence_of, lead_confidence
from tests.toy import sampling


def test_the_confidence_is_that_of_coin_tosses() -> None:
    """P(X > 1/2) of X ~ Beta(a + 1, b + 1), by the integral of its polynomial, for all a + b <= 40."""
    for a, b in product(range(41), repeat=2):
        if a + b > 40:
            continue
        # x^a (1 - x)^b by its binomial expansion, integrated term by term.
        terms = [(comb(b, k) * (-1) ** k, a + k + 1) for k in range(b + 1)]
        whole = sum((Fraction(c, n) for c, n in terms), Fraction(0))
        below = sum((Fraction(c, n * 2**n) for c, n in terms), Fraction(0))
        assert lead_confidence(a, b) == pytest.approx(float(1 - below / whole), abs=1e-12)


def test_the_confidence_of_coin_tosses_by_hand() -> None:
    """Of a + b + 1 = 2 tosses at most one is a head in three of four cases."""
    outcomes = list(product((0, 1), repeat=2))
    assert lead_confidence(1, 0) == sum(sum(o) <= 1 for o in outcomes) / len(outcomes)
    assert lead_confidence(0, 0) == 0.5
    assert lead_confidence(4, 0) > 0.95 > lead_confidence(3, 0)


def test_answers_that_cannot_be_read_do_not_vote() -> None:
    assert confidence_of([None, None]) == 0.5
    assert confidence_of(["a", None, "a", "b", "a", "c"]) == lead_confidence(3, 1)


def test_default_levels() -> None:
    assert (Stop("threshold").level, Stop("beta").level, Stop("threshold", 0.0).level) == (0.9, 0.95, 0.0)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"rule": "sometimes"}, "strategy.stop.rule=sometimes"),
        ({"rule": "threshold", "at": -0.1}, "strategy.stop.at=-0.1: must be a number of 0 or more"),
        ({"rule": "decided", "at": 0.5}, "strategy.stop.at=0.5: needs strategy.stop.rule=threshold or beta"),
        ({"ahead": -1}, "strategy.stop.ahead=-1"),
    ],
)
def test_bad_settings(knobs: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        BestOfN(1, sampling(), stop=Stop(**knobs))  # type: ignore[arg-type]
    assert str(caught.value).startswith(message)
