"""Functions and constants of formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from functools import reduce
from typing import Any

from orchestrator.tasks.grading.arithmetic import (
    CONTEXT,
    MAX_SIZE,
    TINY,
    Value,
    add,
    div,
    is_real,
    mul,
    negative,
    power,
    rational_near,
    root,
    settled,
    wide,
)
from orchestrator.tasks.grading.formula import Unreadable

MAX_FACTORIAL = 3000


def _logarithm(a: Value, base: Value | None = None) -> Value:
    result = CONTEXT.log(wide(a))
    if base is not None:
        result = result / CONTEXT.log(wide(base))
    return _zeroed(result)


def _zeroed(value: Any) -> Value:
    """Return the value, or zero where only rounding has missed it."""
    value = CONTEXT.mpc(value)
    return Fraction(0) if abs(value) < TINY else settled(value)


def _function(name: str) -> Callable[[Value], Value]:
    def apply(a: Value) -> Value:
        number = wide(a)
        if abs(number) > MAX_SIZE:
            raise Unreadable
        result = CONTEXT.mpc(getattr(CONTEXT, name)(number))
        if abs(result) > 1 / TINY:
            raise Unreadable  # a pole
        return _zeroed(result)

    return apply


def _absolute(a: Value) -> Value:
    return abs(a) if isinstance(a, Fraction) else settled(abs(a))


def _rounded(name: str) -> Callable[[Value], Value]:
    def apply(a: Value) -> Value:
        if isinstance(a, Fraction):
            return Fraction(getattr(math, name)(a))
        if not is_real(a) or abs(a) > 10**60:
            raise Unreadable
        return Fraction(int(getattr(CONTEXT, name)(a.real)))

    return apply


def _factorial(a: Value) -> Value:
    if isinstance(a, Fraction) and a.denominator == 1:
        if not 0 <= a <= MAX_FACTORIAL:
            raise Unreadable
        return Fraction(math.factorial(int(a)))
    return _gamma(add(a, Fraction(1)))


def _gamma(a: Value) -> Value:
    if abs(a) > 1000:
        raise Unreadable
    return settled(CONTEXT.gamma(wide(a)))


def _binomial(n: Value, k: Value) -> Value:
    if isinstance(n, Fraction) and isinstance(k, Fraction) and n.denominator == k.denominator == 1:
        if not (0 <= n <= MAX_FACTORIAL and k >= 0):
            raise Unreadable
        return Fraction(math.comb(int(n), int(k)))
    return div(_factorial(n), mul(_factorial(k), _factorial(add(n, -k))))


def _modulo(a: Value, b: Value) -> Value:
    if not (isinstance(a, Fraction) and isinstance(b, Fraction)):
        raise Unreadable
    return a % b


def _of_reals(choose: Callable[..., Value]) -> Callable[..., Value]:
    def apply(*args: Value) -> Value:
        if not all(is_real(a) for a in args):
            raise Unreadable
        return choose(args, key=lambda a: a if isinstance(a, Fraction) else rational_near(a))

    return apply


def _of_integers(combine: Callable[[int, int], int]) -> Callable[..., Value]:
    def apply(*args: Value) -> Value:
        if not all(isinstance(a, Fraction) and a.denominator == 1 for a in args):
            raise Unreadable
        return Fraction(reduce(combine, (int(a) for a in args)))

    return apply


def _sign(a: Value) -> Value:
    if not is_real(a):
        raise Unreadable
    number = rational_near(a)
    return Fraction((number > 0) - (number < 0)) if number is not None else settled(a / abs(a))


CONSTANTS: dict[str, Value] = {
    "pi": CONTEXT.mpc(CONTEXT.pi), "e": CONTEXT.mpc(CONTEXT.e), "i": CONTEXT.mpc(0, 1),
    "degree": CONTEXT.mpc(CONTEXT.pi / 180),
}  # fmt: skip
_NAMES = {"arcsin": "asin", "arccos": "acos", "arctan": "atan", "arccot": "acot", "arcsec": "asec",
          "arccsc": "acsc", "arcsinh": "asinh", "arccosh": "acosh", "arctanh": "atanh"}  # fmt: skip
_DIRECT = ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "coth")
OPERATIONS: dict[str, Callable[..., Value]] = {
    "add": add, "sub": lambda a, b: add(a, -b), "neg": negative, "mul": mul, "div": div, "mod": _modulo,
    "pow": power, "root": root, "log": _logarithm, "ln": _logarithm, "abs": _absolute, "sgn": _sign,
    "floor": _rounded("floor"), "ceil": _rounded("ceil"), "factorial": _factorial, "binom": _binomial,
    "max": _of_reals(max), "min": _of_reals(min), "gcd": _of_integers(math.gcd),
    "lcm": _of_integers(math.lcm),
    "re": lambda a: a if isinstance(a, Fraction) else settled(a.real),
    "im": lambda a: Fraction(0) if isinstance(a, Fraction) else settled(a.imag),
    **{name: _function(name) for name in _DIRECT},
    **{name: _function(own) for name, own in _NAMES.items()},
}  # fmt: skip
