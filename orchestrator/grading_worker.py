"""A process that compares mathematical answers with math-verify, one JSON line a question.

A question is ``{"read": text}`` or ``{"gold": text, "answer": text}``, with ``"either": true`` where neither
of the two is the reference. The reply is ``{"normal": text or null, "value": [re, im] or null}`` or
``{"same": bool}``.
"""

from __future__ import annotations

import json
import logging
import math
import os
import resource
import signal
import sys
from functools import lru_cache
from typing import Any

from orchestrator.seeds import derive_seed

MAX_BYTES = 4 * 2**30
READY = "ready"


@lru_cache(maxsize=1024)
def parsed(text: str) -> list[Any]:
    """math-verify's readings of a tidied answer: an expression and a text, or the text alone."""
    from math_verify import parse

    return list(parse(f"\\boxed{{{text}}}", parsing_timeout=None))


def read(text: str) -> tuple[str | None, list[float] | None]:
    """The same expression carried out, as text, and its value; None where the answer is no expression."""
    from sympy import Basic, MatrixBase

    expression = parsed(text)[0] if parsed(text) else None
    if not isinstance(expression, Basic | MatrixBase):
        return None, None
    carried_out = expression.doit()
    return str(carried_out), value_of(carried_out)


def value_of(expression: Any) -> list[float] | None:
    """Its number, with a fixed number for each variable; None for what is no formula.

    Formulas with different values are different, which simplification would need long to find out. Letters
    alone may be a word, and words are compared as such.
    """
    from sympy import Expr

    if not isinstance(expression, Expr) or all(a.is_Symbol for a in (expression.args or (expression,))):
        return None
    number = expression.evalf(15, subs={s: _number_of(s.name) for s in expression.free_symbols})
    if not number.is_number:
        return None
    pair = [float(part) for part in number.as_real_imag()]
    return pair if all(map(math.isfinite, pair)) else None


def _number_of(name: str) -> float:
    """In 1..2, the same in every process."""
    return 1 + derive_seed(name) / 2**63


def same(gold: str, answer: str) -> bool:
    """Whether ``answer`` is right where ``gold`` is the reference; the two are not exchangeable."""
    from math_verify import verify

    if is_bare_equation(answer) and not is_equation(gold):
        return False  # math-verify would take the right side of 5x - 7y = 0 for an answer of 0
    return bool(verify(parsed(gold), parsed(answer), timeout_seconds=None))


def is_equation(text: str) -> bool:
    """Whether both sides of an equals sign are stated."""
    from sympy import Eq

    return bool(parsed(text)) and isinstance(parsed(text)[0], Eq)


def is_bare_equation(text: str) -> bool:
    """An equation that names nothing: its left side is a formula with variables."""
    from sympy import Add, Mul, Pow

    left = parsed(text)[0].lhs if is_equation(text) else None
    return isinstance(left, Add | Mul | Pow) and bool(left.free_symbols)


def reply(question: dict[str, Any]) -> dict[str, Any]:
    """A mistake in a text that a model wrote is no mistake of ours: such texts equal nothing."""
    try:
        if "read" in question:
            normal, value = read(question["read"])
            return {"normal": normal, "value": value}
        gold, answer = question["gold"], question["answer"]
        return {"same": same(gold, answer) or (bool(question.get("either")) and same(answer, gold))}
    except Exception:  # noqa: BLE001 - sympy raises anything
        return {"normal": None, "value": None} if "read" in question else {"same": False}


def main(seconds: float) -> None:
    """Answer until the input ends. A question that takes more than ``seconds`` of CPU time ends the process.

    The kernel ends it: Python would not look at a signal while it multiplies two long integers. CPU time,
    so that an answer is judged alike on a busy machine; and a process that was left behind ends too.
    """
    logging.disable(logging.WARNING)  # math-verify reminds of timeouts, which we keep
    resource.setrlimit(resource.RLIMIT_AS, (MAX_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    output = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no reply
    import math_verify  # noqa: F401 - its second of loading counts for no question

    print(READY, file=output, flush=True)
    for line in iter(sys.stdin.readline, ""):
        signal.setitimer(signal.ITIMER_PROF, seconds)
        answer = reply(json.loads(line))
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(answer), file=output, flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))
