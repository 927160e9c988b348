"""What the number of an answer is, and what of an answer only concerns its looks."""

# ruff: noqa: RUF001 - characters that look like others are what models write

from __future__ import annotations

import time
from contextlib import suppress
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.tasks.grading.forms import same
from orchestrator.tasks.grading.formula import Unreadable
from orchestrator.tasks.grading.graders import make_grader
from orchestrator.tasks.grading.integers import read_integer
from orchestrator.tasks.grading.numbers import Exact, based_number, exact_number
from orchestrator.tasks.grading.pool import GradingPool
from orchestrator.tasks.grading.reader import form_of_tokens, read_form
from orchestrator.tasks.grading.scanning import tokens_of
from orchestrator.tasks.grading.tidy import tidy
from orchestrator.tasks.grading.words import plain_words
from tests.orchestrator.hostile_texts import HOSTILE

READERS = (tidy, exact_number, based_number, plain_words, read_integer, read_form)


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
        (r"90^\circ", r"90\degree"),
        (r"90^{\circ}C", r"90\degree C"),
        (r"5.4 \text{ cents}", r"5.4 \text{ cents}"),
        (r"\boxed{\textbf{5}}", "5"),
        (r"{\color{red}5}", "5"),
        (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
        (r"1\\[4pt]2", r"1\\2"),
        (r"0.33\dots", r"0.33\ldots"),
        ("7×10⁻⁵", r"7\times 10^{-5}"),
        ("2½", r"2\frac{1}{2}"),
        ("√5", r"\sqrt 5"),
        ("１２ ٣", "12 3"),
        ("$$\\mathbf{5}$$", "5"),
        (r"\text{Evelyn}", r"\text{Evelyn}"),
        (r"\( x = 5 \).", "x = 5"),
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
        (r"\frac{-3}{8}", Fraction(-3, 8)), ("2 1/4", Fraction(9, 4)), ("-2 3/4", Fraction(-11, 4)),
        ("0.1(6)", Fraction(1, 6)), (".(3)", Fraction(1, 3)), (r"6.6\times10^{-34}", Fraction(66, 10**35)),
        ("7*10^3", 7000), ("1 000 000", 10**6), ("1.000.000", 10**6), ("1.000,5", Fraction(2001, 2)),
        ("1,00,000", 10**5),
    ],
)  # fmt: skip
def test_numbers_that_are_written_out(text: str, value: int | Fraction) -> None:
    number = exact_number(text)
    assert number is not None and number.value == value


@pytest.mark.parametrize(
    "text",
    ["", ".", "-", "1,23", "1,2345", "1 2", r"\frac{1}{0}", "1/0", "x", "2^3", r"\sqrt{4}", "1e999999999",
     "1..2", r"\pi", "0,123", "1,234,56", "2 1/0", "()", "(5)"],
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


INTEGERS = {
    "25": [
        "25", "025", "25.", "25.0", "25.00", "+25", r"\$25", r"\$25.00", "25%", r"25\%", "x = 25", "25 = x",
        "about 25 eggs",
        r"25 \text{ eggs}", r"25 \text{ cm}^2", "25 km/h", "25 m^2", "25m", r"\$25/day",
        r"25\frac{\text{km}}{\text{h}}",
        "20+5=25", r"5 \times 5 = 25", r"\approx 25", "≈25", r"25^{\text{th}}", "25th", "25^{th}", "25 kg",
        "25°", r"25^\circ",
        r"\textbf{25}", r"\mathbf{25}", r"\text{25}", r"\mathrm{25}", r"\boxed{25}", r"\underline{25}",
        r"{\color{red}25}",
        r"\text{The answer is 25}", "the answer is 25", "Answer: 25", r"\text{Area} = 25\text{ cm}^2",
        "50/2", r"\frac{50}{2}",
        r"$25$", r"\(25\)", "**25**", "25 dollars per day", r"25\,\text{m/s}^2", "25 square feet", "(25)",
        "n=25", r"x = 5^2 = 25", "25 apples", "２５", "25 USD", r"25\ \text{units}", r"\text{25 cm}", "€25",
        "25 of them", "#25", r"25 \pmod{1000}", "25 (mod 26)", r"25 \mod 100", "(B) 25",
        r"\textbf{(B)}\ 25", r"25 \text{ (mod } 100)",
        "twenty-five", r"\text{Twenty-five}",
        r"m\angle A = 25^\circ", "25 sq. ft.", "25 minutes", r"25 \mathrm{~cm}",
    ],
    "-7": ["-7", "−7", "-7.0", r"-\$7", r"x = -7", "-7 degrees", r"\mathbf{-7}", "-7 m"],
    "1234": ["1,234", "1234", r"\$1,234.00", "1 234", r"1{,}234", r"1,\!234", r"1\,234", "1,234 eggs",
    "x = 1,234"],
    "4000000": ["4 million", r"4\text{ million}", "4 million dollars", r"\$4 million", r"4 \times 10^6",
    "4e6", "4,000,000"],
    "36": ["3 dozen", r"3\text{ dozen eggs}"],
    "11/2": ["5.5", "11/2", "5 1/2", r"5\frac{1}{2}", r"5\tfrac12 \text{ cm}", "5½"],
    "9" * 5000: ["9" * 5000, "0" + "9" * 5000, r"\$" + "9" * 5000, "x = " + "9" * 5000, "9" * 5000 + " cm"],
    "7" * 60000: ["7" * 60000, "000" + "7" * 60000, "7" * 60000 + ".00"],
}  # fmt: skip


@pytest.mark.parametrize("integer", INTEGERS, ids=lambda integer: integer[:12])
def test_integers(integer: str) -> None:
    assert [answer[:80] for answer in INTEGERS[integer] if read_integer(answer) != integer] == []


@pytest.mark.parametrize(
    "answer",
    ["5^2", "25 or 26", "25 and 26", "2,5", "twenty or so", r"\sqrt{4}", "", "2x", "x", "x=5, y=6", "3:30",
    r"25 \pm 1",
     r"6 \times 4", "5!", "2 + 3", "(2,3)", "25 - 1", "25(2)", "1/0", "x^2 = y", "25i", "{25, 26}",
     "7 mod 3", r"3 \pmod 3", "seven eight", r"3 \pmod{}",
     "9" * 5000 + r" \pmod{7}", "-1 (mod 5)"],
)  # fmt: skip
def test_what_is_no_integer(answer: str) -> None:
    assert read_integer(answer) is None


WRITTEN = st.text(
    alphabet=st.sampled_from(list("0123456789xyi+-*/^(){}[]\\,.=<|!& $πsqrt½²₂√\u0305\ud800\0\n~")),
    max_size=60,
)
LATEX = st.lists(
    st.sampled_from(
        [r"\frac", r"\sqrt", "{", "}", "(", ")", "[", "]", "1", "2", "x", "i", "^", "_", "+", "-", ",", "=",
        "<", r"\pm", r"\text{",
         r"\begin{pmatrix}", r"\end{pmatrix}", r"\\", "&", r"\cup", "|", "!", r"\sin", r"\log", r"\infty",
         " and ", " or ", r"\{",
         r"\}", ":", "0.3", "...", r"\overline", r"\in", r"\ne", r"\le", " cm", " million", "pm",
         r"\mathbb{R}", r"\setminus", "/",
         r"\degree", "'", r"\binom", r"\lfloor", r"\rfloor", r"\int", r"\cdot", "e", r"\langle",
         r"\rangle", r"\left", r"\mathbf{"]
    ),
    max_size=14,
).map("".join)  # fmt: skip


@given(WRITTEN | LATEX | st.text(max_size=80))
def test_no_text_is_too_odd(text: str) -> None:
    """Whatever a model writes: readers return, and what is tidy stays as it is."""
    assert tidy(tidy(tidy(text))) == tidy(tidy(text))
    for reader in READERS:
        reader(text)
    form = read_form(text)
    assert same(form, form)


@given(LATEX)
def test_what_is_no_answer_is_found_to_be_none(text: str) -> None:
    """Reading ends with a form or with its own error, so no mistake of ours hides behind a text."""
    with suppress(Unreadable):
        form_of_tokens(tokens_of(tidy(text)))


@pytest.mark.heavy
@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_takes_long(name: str) -> None:
    """100 kB of anything, and 10 kB, which is still looked into: a fraction of a second of the event loop."""
    for length in (1_000, 9_999, 100_000):
        text = HOSTILE[name](length)
        for reader in READERS:
            begun = time.process_time()
            reader(text)
            assert time.process_time() - begun < 0.7, (reader, length)


BOMBS = (
    "9^{9^{9^{9}}}", "e^{e^{e^{e^9}}}", "10^{10^{10^{10}}}", "2**2**2**2**2**2", "(10^9)!", "99999999!",
    "9!!!!!", r"\sin(10^{10^5})", r"\binom{10^9}{10^8}", "x^{9^{9^9}}", r"\sqrt[10^9]{2}", "1.5^{10^7}",
    "(1+i)^{10^8}",
    r"\ln(9^{9^9})", r"(\sqrt2)^{10^9}", r"\lfloor e^{10^5} \rfloor", "10^{-10^{10}}",
    r"\gcd(10^{9999}, 9^{9999})", "((((9^99)^99)^99)^99)^99", r"\cosh(10^9)",
    "(10^{9999}+1)(10^{9999}+3)^3", "0.1^{99999}", "1/9^{99999}",
)  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_would_take_for_ever_is_not_carried_out(bomb: str) -> None:
    begun = time.process_time()
    form = read_form(bomb)
    assert time.process_time() - begun < 0.7
    assert same(form, read_form(f" {bomb} ")) and not same(form, read_form("2"))


@pytest.mark.heavy
async def test_hostile_texts_in_one_vote() -> None:
    pool = GradingPool(num_workers=1, seconds=2.0)
    grader = make_grader("math", pool)
    texts = [make(length) for make in HOSTILE.values() for length in (3_000, 20_000)]
    keys = await grader.keys(texts)
    assert all([await grader.grade(text, text) for text in texts])
    assert None not in keys and len(set(keys)) > len(texts) / 2
    assert pool._num_running == 0
    pool.close()


LONG = (
    ("9" * 5000, "9" * 5000 + ".0", True),
    ("9" * 5000, "9" * 4999 + "8", False),
    ("9" * 50000, "9" * 49999 + "8", False),
    ("9" * 50000, "0" + "9" * 50000, True),
    ("1" + "0" * 5000, "10^{5000}", True),
    ("1" + ",000" * 20000, "1" + "0" * 60000, True),
    ("0." + "3" * 5000, "0." + "3" * 4999 + "4", False),
    ("1/" + "3" * 5000, "1/" + "3" * 4999, False),
    ("x = " + "8" * 6000, "8" * 6000, True),
    ("word " * 5000, "word " * 5000 + " ", True),
    ("word " * 5000, "word " * 4999, False),
    ("1,2," * 3000 + "1", "1,2," * 3000 + "2", False),
)


def test_numbers_of_any_length_are_answers() -> None:
    for a, b, is_same in LONG:
        assert same(read_form(a), read_form(b)) is same(read_form(b), read_form(a)) is is_same, (a[:9], b[:9])
