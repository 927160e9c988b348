"""What the number or the words of an answer are."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.grading_text import Exact, based_number, exact_number, read_integer, tidy, words


@pytest.mark.parametrize(
    ("answer", "tidied"),
    [
        (r"$\dfrac{1}{2}$", r"\frac{1}{2}"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"( 3, \frac{\pi}{2} )"),
        (r"11,\! 111,\! 111,\! 100", "11111111100"),
        (r"10{,}080", "10080"),
        (r"10\,080", "10080"),
        (r"\$32,\!348", "32348"),
        (r"10\%", "10"),
        (r"90^\circ", "90"),
        (r"90^{\circ}", "90"),
        (r"5.4 \text{ cents}", "5.4"),
        (r"864 \mbox{ inches}^2", "864"),
        (r"15\mbox{ cm}^{3}", "15"),
        (r"\frac{270}7\text{ degrees}", r"\frac{270}7"),
        (r"5 \text{ million}", r"5 \text{ million}"),
        (r"3 \text{ p.m.}", r"3 \text{ p.m.}"),
        (r"\text{Evelyn}", r"\text{Evelyn}"),
        (r"\( x = 5 \).", r"\( x = 5 \)"),
        ("\u22123.", "-3"),
    ],
)
def test_looks_do_not_matter(answer: str, tidied: str) -> None:
    assert tidy(answer) == tidied


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("25", 25), ("025", 25), ("-3", -3), ("+3", 3), ("1,234,567", 1234567), ("42.", 42), ("42.0", 42),
        (".5", Fraction(1, 2)), ("1.25", Fraction(5, 4)), ("6.72e-5", Fraction(42, 625000)),
        ("1/2", Fraction(1, 2)), ("-1 / 2", Fraction(-1, 2)), (r"\frac{1}{2}", Fraction(1, 2)),
        (r"\frac43", Fraction(4, 3)), (r"\frac 59", Fraction(5, 9)), (r"-\frac9{19}", Fraction(-9, 19)),
        (r"1\frac{4}{5}", Fraction(9, 5)), (r"-137 \frac{1}{2}", Fraction(-275, 2)),
        (r"\frac{-3}{8}", Fraction(-3, 8)),
    ],
)  # fmt: skip
def test_numbers_that_are_written_out(text: str, value: int | Fraction) -> None:
    number = exact_number(text)
    assert number is not None and number.value == value


@pytest.mark.parametrize(
    "text",
    ["", ".", "-", "1,23", "1,2345", "1 2", r"\frac{1}{0}", "1/0", "x", "2^3", r"\sqrt{4}", "1e999999999",
     "9" * 5000, "1..2", r"\pi"],
)  # fmt: skip
def test_what_is_no_number(text: str) -> None:
    assert exact_number(text) is None


@given(st.fractions(max_denominator=10**6))
def test_a_fraction_is_read_back(value: Fraction) -> None:
    sign = "-" if value < 0 else ""
    for text in (str(value), rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"):
        assert exact_number(text) == Exact(value)


@given(st.integers(-(10**12), 10**12))
def test_an_integer_is_read_back(value: int) -> None:
    for text in (f"{value:,}", f"{value}.00", rf"\${value}", f"{value} dollars", f"x = {value}"):
        assert read_integer(text) == str(value)


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        ("1/3", "0.333333", True), ("1/3", "0.333", False), ("0.5", "1/2", True), ("2", "2.0000001", False),
        ("1000000", "1000001", False), ("1000000.5", "1000000", False), (".0000672", "0.0000671", False),
        ("2/3", "0.666667", True), ("0", "0.0000001", False), ("-0.5", "0.5", False),
            ("0.33333", "1/3", False), ("0.333333", "0.3333329", True), ("6.66667e-1", "2/3", True),
    ],
)  # fmt: skip
def test_decimals_stand_for_what_they_round(a: str, b: str, equal: bool) -> None:
    first, second = exact_number(a), exact_number(b)
    assert first is not None and second is not None
    assert first.equals(second) is second.equals(first) is equal


@pytest.mark.parametrize(
    ("answer", "integer"),
    [
        ("025", "25"), (r"\$1,234.00", "1234"), ("25.", "25"), ("10%", "10"), ("x = 25", "25"),
        (r"25 \text{ eggs}", "25"), (r"15 \text{ cm}^2", "15"), ("about 25 eggs", "25"), ("-7", "-7"),
        ("5.5", "11/2"), ("1/2", "1/2"), ("27.0", "27"),
        ("5^2", None), ("25 or 26", None), ("2,5", None), ("twenty", None), (r"\sqrt{4}", None), ("", None),
    ],
)  # fmt: skip
def test_integers(answer: str, integer: str | None) -> None:
    assert read_integer(answer) == integer


@given(st.text(max_size=80))
def test_no_text_is_too_odd(text: str) -> None:
    """Whatever a model writes: readers return, and what is tidy stays as it is."""
    assert tidy(tidy(tidy(text))) == tidy(tidy(text))
    for reader in (read_integer, exact_number, based_number, words):
        reader(text)
