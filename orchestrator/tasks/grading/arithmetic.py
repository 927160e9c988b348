"""Arithmetic with fractions where they are exact, and else with a hundred digits.

Nothing is computed that is longer than ``MAX_BITS``, so no formula takes unbounded time or memory.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

from mpmath import MPContext

from orchestrator.tasks.grading.formula import Unreadable
from orchestrator.tasks.grading.numbers import key_of_fraction

MAX_BITS = 40_000
MAX_SIZE = 1e6
MAX_DENOMINATOR = 10**9
DIGITS = 100
KEY_DIGITS = 60
CONTEXT = MPContext()
CONTEXT.dps = DIGITS
TINY = CONTEXT.mpf(10) ** -70

# A fraction, or a complex number of mpmath.
Value = Any


def is_real(value: Value) -> bool:
    return isinstance(value, Fraction) or value.imag == 0


def key_of(value: Value) -> str:
    """Return a text that equal values share, and different ones do not."""
    if isinstance(value, Fraction):
        return key_of_fraction(value)
    parts = [CONTEXT.nstr(part, KEY_DIGITS) if part else "0" for part in (value.real, value.imag)]
    return parts[0] if value.imag == 0 else f"{parts[0]},{parts[1]}i"


def key_at_place(value: Value) -> str:
    """Return a key like ``key_of`` for a value at a place of variables: a long fraction, or digits."""
    if isinstance(value, Fraction) and value.denominator > MAX_DENOMINATOR:
        return str(CONTEXT.nstr(wide(value).real, KEY_DIGITS))
    return key_of(value)


def rational_near(value: Value) -> Fraction | None:
    """Return a real value as a fraction, for comparing with decimals; None for others."""
    if isinstance(value, Fraction):
        return value
    if value.imag != 0:
        return None
    return _binary(value.real)


def _binary(value: Any) -> Fraction | None:
    """Return a number of mpmath as the fraction that it is; None for one that is too long."""
    sign, mantissa, exponent, _ = value._mpf_
    if abs(exponent) > MAX_BITS:
        return None
    size: Fraction = Fraction(int(mantissa)) * Fraction(2) ** exponent
    return -size if sign else size


def bounded(value: Fraction) -> Fraction:
    if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
        raise Unreadable
    return value


def wide(value: Value) -> Any:
    """Return the value as a number of mpmath."""
    if isinstance(value, Fraction):
        return CONTEXT.mpc(CONTEXT.mpf(value.numerator) / value.denominator)
    return value


def settled(value: Any) -> Value:
    """Remove parts that only rounding has made; return a fraction where it is one."""
    value = CONTEXT.mpc(value)
    if not (CONTEXT.isfinite(value.real) and CONTEXT.isfinite(value.imag)):
        raise Unreadable
    size = abs(value)
    real = value.real if abs(value.real) > TINY * size else CONTEXT.zero
    imag = value.imag if abs(value.imag) > TINY * size else CONTEXT.zero
    if imag == 0 and (fraction := _fraction(real)) is not None:
        return fraction
    return CONTEXT.mpc(real, imag)


def _fraction(value: Any) -> Fraction | None:
    """Return the short fraction that a real number is to seventy digits."""
    if value == 0:
        return Fraction(0)
    if not 1e-25 < abs(value) < 1e25:
        return None
    exact = _binary(value) or Fraction(0)
    short = exact.limit_denominator(MAX_DENOMINATOR)
    return short if abs(short - exact) <= abs(exact) / 10**70 else None


def add(a: Value, b: Value) -> Value:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return bounded(a + b)
    first, second = wide(a), wide(b)
    total = first + second
    scale = max(abs(first), abs(second))
    real = total.real if abs(total.real) > TINY * scale else CONTEXT.zero
    imag = total.imag if abs(total.imag) > TINY * scale else CONTEXT.zero
    return settled(CONTEXT.mpc(real, imag))


def negative(a: Value) -> Value:
    return -a


def mul(a: Value, b: Value) -> Value:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return bounded(a * b)
    return settled(wide(a) * wide(b))


def div(a: Value, b: Value) -> Value:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return bounded(a / b)
    return settled(wide(a) / wide(b))


def power(a: Value, b: Value) -> Value:
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        if b.denominator == 1:
            return _whole_power(a, b.numerator)
        if b.denominator <= 1000:
            return _whole_power(root(a, Fraction(b.denominator)), b.numerator)
    if a == 0:
        return Fraction(0)
    exponent = wide(b) * CONTEXT.log(wide(a))
    return _exponential(exponent)


def _exponential(exponent: Any) -> Value:
    if abs(exponent) > MAX_SIZE:
        raise Unreadable
    return settled(CONTEXT.exp(exponent))


def _whole_power(base: Value, exponent: int) -> Value:
    if isinstance(base, Fraction):
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if base not in (0, 1, -1) and bits > 1 and (bits - 1) * abs(exponent) > MAX_BITS:
            raise Unreadable
        return base ** (exponent if base not in (1, -1) else exponent % 2)
    if abs(exponent) > MAX_SIZE:
        raise Unreadable
    return settled(base**exponent)


def root(a: Value, index: Value) -> Value:
    """Return a real root where there is one: the cube root of -8 is -2."""
    if not isinstance(index, Fraction) or index.denominator != 1 or index == 0:
        return power(a, div(Fraction(1), index))
    degree = int(index)
    if degree < 0:
        return div(Fraction(1), root(a, -index))
    if isinstance(a, Fraction) and degree <= 1000:
        if a < 0 and degree % 2:
            return -root(-a, index)
        above, below = (_whole_root(n, degree) for n in (a.numerator, a.denominator))
        if a >= 0 and above is not None and below is not None:
            return Fraction(above, below)
    elif is_real(a) and degree % 2 and a.real < 0:
        return -root(-a, index)
    return settled(CONTEXT.root(wide(a), degree)) if degree <= 1000 else power(a, 1 / index)


def _whole_root(n: int, degree: int) -> int | None:
    if n < 2:
        return n if n >= 0 else None
    if degree == 2:
        found = math.isqrt(n)
    elif n.bit_length() > 300:
        return None
    else:
        found = int(CONTEXT.nint(CONTEXT.root(n, degree)))
    return found if found**degree == n else None
