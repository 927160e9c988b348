"""Names of a value on one side of an equation: variables, ``f(x)``, words."""

from __future__ import annotations

import re

from orchestrator.tasks.grading.tokens import Token, Tokens, split
from orchestrator.tasks.grading.vocabulary import GREEK
from orchestrator.tasks.grading.words import is_product

_SUBSCRIPT = re.compile(r"_(?:[A-Za-z\d]{1,4}|\{[A-Za-z\d,]{1,8}\})'*|'+")
_LENGTH = re.compile(r"\|[A-Z]{2}\|")
_CALL = re.compile(r"'{0,3}(?:_\{?[A-Za-z\d]{1,4}\}?)?(?:\^\{?-1\}?)?\([^()+*/=-]{1,20}\)")


def names_of(tokens: Tokens) -> list[str] | None:
    """Return the variables of ``(x, y)``, or of a vector; None for another text."""
    if len(tokens) < 5:
        return None
    if tokens[0].text.startswith("begin "):
        end = next((i for i, t in enumerate(tokens) if t.is_command("end")), 0)
        names = [name_of(part) for part in split(tokens[1:end], "\\")]
    elif tokens[0].is_sign("(") and tokens[-1].is_sign(")"):
        names = [name_of(part) for part in split(tokens[1:-1], ",")]
    else:
        return None
    return [n for n in names if n] if len(names) > 1 and all(names) else None


def name_of(tokens: Tokens) -> str | None:
    """Return the variable that one side is; empty for another name (``f(x)``, words); None for a formula."""
    if not tokens:
        return None
    first, *rest = tokens
    texts = "".join(t.text for t in rest)
    if _is_variable(first) and (not rest or _SUBSCRIPT.fullmatch(texts)):
        return first.text + texts.replace("{", "").replace("}", "")
    if _LENGTH.fullmatch("".join(t.text for t in tokens)):
        return ""
    if first.kind == "words" or (first.kind == "letters" and not is_product(first.text)):
        return "" if not any(_calculates(t) for t in tokens) else None
    if any(
        t.is_command("angle", "triangle", "overline", "widehat", "vec", "overrightarrow", "hat")
        for t in tokens[:2]
    ):
        return "" if not any(_calculates(t) for t in tokens) else None
    return "" if first.kind == "letters" and len(first.text) == 1 and _CALL.fullmatch(texts) else None


def _is_variable(token: Token) -> bool:
    is_letter = token.kind in ("letters", "words") and len(token.text) == 1 and token.text not in ("e", "i")
    return is_letter or (token.kind == "command" and token.text in GREEK)


def _calculates(token: Token) -> bool:
    return token.is_sign("+", "-", "/", "^", "|", "\\{") or token.is_command("frac", "sqrt", "cdot", "times")
