r"""Equations and inequalities: ``x = 5``, ``2x + 3y = 6``, ``1 < x \le 5``, ``x \in [1, 5]``."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.tasks.grading.arithmetic import div
from orchestrator.tasks.grading.forms import Form, Named, Read, Relation, Scalar, Several, several
from orchestrator.tasks.grading.formula import Formula, Unreadable
from orchestrator.tasks.grading.names import name_of, names_of
from orchestrator.tasks.grading.parser import formula_of
from orchestrator.tasks.grading.scalars import (
    equation_of,
    form_of,
    inequality_of,
    is_positive,
    linear,
    scalar_of,
)
from orchestrator.tasks.grading.spans import (
    INFINITY,
    MINUS_INFINITY,
    Span,
    complement,
    intersection,
    is_end,
    spans_of,
    union,
)
from orchestrator.tasks.grading.tokens import Token, Tokens, split_at
from orchestrator.tasks.grading.units import with_magnitudes, without_units

Part = tuple[Tokens, Token | None]
_COMPARED = {"<": "<", ">": ">", "le": "<=", "ge": ">=", "ne": "!=", "=": "=", "in": "in", "approx": "=",
             "equiv": "?", "notin": "?", "subset": "?", "subseteq": "?", "to": "?"}  # fmt: skip
_TRIGONOMETRIC = ("sin", "cos", "tan", "cot", "sec", "csc")
_TURNED = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}


def relation(tokens: Tokens, read: Read) -> Form | None:
    """Return the relation that the tokens state; None where they state none. Raises Unreadable."""
    stated = split_at(tokens, _is_relation)
    if len(stated) == 1:
        return None
    parts = _without_rounding(stated)
    if len(parts) == 1:
        return read(parts[0][0])
    sides = [side for side, _ in parts]
    signs = [_COMPARED[joint.text] for _, joint in parts if joint is not None]
    if not all(sides):
        raise Unreadable
    if set(signs) == {"="}:
        return _equation(sides, read)
    if signs == ["in"] and (name := name_of(sides[0])):
        return Named(name, read(sides[1]))
    if len(signs) == 1:
        return _comparison(_formula(sides[0]), _formula(sides[1]), signs[0])
    return _chain(sides, signs)


def _without_rounding(parts: Sequence[Part]) -> Sequence[Part]:
    r"""Remove the rounded value of ``\sqrt{2} \approx 1.414``; ``x \approx 5`` is 5."""
    for index, (side, joint) in enumerate(parts):
        if joint is not None and joint.is_command("approx") and (index or name_of(side) is None):
            return [*parts[:index], (side, None)]
    return parts


def _is_relation(token: Token) -> bool:
    return (
        token.kind in ("sign", "command")
        and token.text in _COMPARED
        and (token.kind == "command" or token.text in "<>=")
    )


def _formula(tokens: Tokens) -> Formula:
    return formula_of(without_units(with_magnitudes(tokens)))


def _equation(sides: Sequence[Tokens], read: Read) -> Form:
    """Read a value with its name, the result of a calculation, or an equation of variables."""
    first, last = sides[0], sides[-1]
    if (names := names_of(first)) is not None:
        return _point(names, read(last))
    name = name_of(first)
    if name is None and len(sides) == 2 and (name := name_of(last)) is not None:
        first, last = last, first
    if name is not None:
        return Named(name, read(last), _whole(first, last)) if name else read(last)
    left = _formula(first)
    if left.letters and _is_asked_for(left) and (right := _formula_or_none(last)) and not right.letters:
        return Named("".join(t.text for t in first), read(last), _whole(first, last))
    if not left.letters and not (len(sides) == 2 and (right := _formula_or_none(last)) and right.letters):
        return read(last)
    return Relation(equation_of(left, _formula(last)))


def _is_asked_for(node: Formula) -> bool:
    r"""Return whether an equation gives this value, not those of its variables: ``\tan A``, ``a : b``."""
    return node.op in _TRIGONOMETRIC or (node.op == "div" and all(arg.op == "letter" for arg in node.args))


def _formula_or_none(tokens: Tokens) -> Formula | None:
    try:
        return _formula(tokens)
    except Unreadable:
        return None


def _whole(left: Tokens, right: Tokens) -> str | None:
    """Return what an equation says as a whole; None where its sides are not formulas."""
    try:
        return equation_of(formula_of(left), _formula(right))
    except Unreadable:
        return None


def _point(names: Sequence[str], value: Form) -> Form:
    """Read ``(x, y) = (1, 2)``, with its variables in one order."""
    if (
        not isinstance(value, Several)
        or value.kind not in ("()", "list", "vector")
        or len(value.items) != len(names)
    ):
        return Named(",".join(names), value)
    pairs = sorted(zip(names, value.items, strict=True), key=lambda pair: pair[0])
    return Named(",".join(name for name, _ in pairs), Several("()", tuple(item for _, item in pairs)))


def _comparison(left: Formula, right: Formula, sign: str) -> Form:
    """Read ``left < right``: an interval where it is one, else an inequality of variables."""
    if sign in (">", ">="):
        left, right, sign = right, left, _TURNED[sign]
    if sign not in ("<", "<=", "!="):
        raise Unreadable
    if sign == "!=":
        return _other_than(left, right)
    if (around := _around(left, right, sign)) is not None:
        return around
    found = linear(Formula("sub", (left, right)))
    if found is None:
        return inequality_of(left, right, strict=sign == "<")
    variable, slope, constant = found
    return Named(
        variable, _half_line(scalar_of(div(-constant, slope)), is_below=is_positive(slope), sign=sign).form
    )


def _half_line(end: Scalar, *, is_below: bool, sign: str) -> Span:
    closed = sign == "<="
    if not is_end(end):
        raise Unreadable
    if is_below:
        return Span(MINUS_INFINITY, end, has_low=False, has_high=closed)
    return Span(end, INFINITY, has_low=closed, has_high=False)


def _other_than(left: Formula, right: Formula) -> Form:
    r"""Read ``x \ne 2``, ``x \ne \pm 2``."""
    if left.op != "letter":
        left, right = right, left
    spans = spans_of(several("set", _items(form_of(right))))
    if left.op != "letter" or spans is None:
        raise Unreadable
    return Named(left.name, union(complement(spans)))


def _items(form: Form) -> tuple[Form, ...]:
    return form.items if isinstance(form, Several) else (form,)


def _around(left: Formula, right: Formula, sign: str) -> Form | None:
    """Read ``|x - 2| < 3`` and ``|x - 2| > 3``; None for other inequalities."""
    inner, bound = (left, right) if left.op == "abs" else (right, left)
    if inner.op != "abs" or bound.letters or linear(inner.args[0]) is None:
        return None
    sides = [
        _comparison(*pair, sign)
        for pair in (
            ((inner.args[0], bound), (Formula("neg", (bound,)), inner.args[0]))
            if inner is left
            else ((bound, inner.args[0]), (inner.args[0], Formula("neg", (bound,))))
        )
    ]
    spans = [spans_of(side) or [] for side in sides]
    found = intersection(*spans) if inner is left else [*spans[0], *spans[1]]
    variable = next(iter(inner.letters))
    return Named(variable, union(found))


def _chain(sides: Sequence[Tokens], signs: Sequence[str]) -> Form:
    r"""Read ``1 < x \le 5``."""
    if len(sides) != 3 or not (set(signs) <= {"<", "<="} or set(signs) <= {">", ">="}):
        raise Unreadable
    low, middle, high = map(_formula, sides)
    if set(signs) <= {">", ">="}:
        low, high, signs = high, low, [_TURNED[sign] for sign in reversed(signs)]
    if high.op == "infty":
        return _comparison(low, middle, signs[0])
    if low.op == "neg" and low.args[0].op == "infty":
        return _comparison(middle, high, signs[1])
    first, second = _comparison(low, middle, signs[0]), _comparison(middle, high, signs[1])
    match first, second:
        case Named(), Named() if first.variable == second.variable:
            common = intersection(spans_of(first) or [], spans_of(second) or [])
            if common:
                return Named(first.variable, union(common))
    raise Unreadable
