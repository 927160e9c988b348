"""Units and words around a value: which of them change nothing, and which multiply it."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.tasks.grading.tokens import Token, Tokens
from orchestrator.tasks.grading.vocabulary import (
    FUNCTIONS,
    INNER_FUNCTION,
    INTRODUCTIONS,
    MAGNITUDES,
    NO_UNITS,
    UNITS,
    is_word,
)

# Words before a verb.
MAX_SENTENCE = 12
_VOWELS = frozenset("aeiouAEIOU")


def without_units(tokens: Tokens) -> Tokens:
    r"""Return the tokens of a value without its unit: ``10 cm^2``, ``24 km/h``, ``3 \text{ eggs}``."""
    start = next((i for i in range(1, len(tokens)) if _is_unit_from(tokens, i)), len(tokens))
    return tokens[:start]


def _is_unit_from(tokens: Tokens, start: int) -> bool:
    """Return whether all that begins here is one unit."""
    first = tokens[start]
    if not _ends_value(tokens[start - 1]):
        return False
    if is_degrees(first) and any(t.text in FUNCTIONS for t in tokens[:start]):
        return False
    if first.is_sign("^"):
        return "".join(t.text for t in tokens[start + 1 :]).strip("{}") in ("th", "st", "nd", "rd")
    if first.is_sign("/") or first.is_command("per"):
        rest = tokens[start + 1 :]
        return bool(rest) and _begins_unit(rest, spaced=True, divided=True) and is_all_unit(rest)
    return _begins_unit(tokens[start:], spaced=first.spaced, divided=False) and is_all_unit(tokens[start:])


def _ends_value(token: Token) -> bool:
    if token.kind in ("number", "letters"):
        return token.text not in FUNCTIONS
    return (
        token.text.startswith("magnitude ")
        or token.is_sign(")", "}", "]", "|", "\\}", "!")
        or token.is_command("pi", "degree", "infty", "theta")
    )


def _begins_unit(tokens: Tokens, *, spaced: bool, divided: bool) -> bool:
    first = tokens[0]
    if first.kind == "words":
        return is_unit_words(first.text)
    if first.kind == "letters":
        return is_unit_word(first.text, spaced=spaced) or _is_speed(tokens, spaced=spaced and not divided)
    if first.is_command("frac"):
        inside = [t for t in tokens[1:] if not t.is_sign("{", "}")]
        if not inside or inside[0].kind not in ("words", "letters"):
            return False
        return _has_words(inside) or (spaced and [t.text for t in inside[:2]] == ["m", "s"])
    if first.is_sign("(") and spaced:
        return len(tokens) > 2 and _begins_unit(tokens[1:], spaced=True, divided=False)
    return first.is_command("degree") and len(tokens) == 2 and tokens[1].text in ("C", "F", "K")


def is_degrees(token: Token) -> bool:
    """Return whether a word says that the number before it is an angle in degrees."""
    return token.kind in ("words", "letters") and token.text.lower() in ("degrees", "degree", "deg")


def _has_words(tokens: Tokens) -> bool:
    return any(t.kind == "words" or t.text in UNITS for t in tokens)


def _is_speed(tokens: Tokens, *, spaced: bool) -> bool:
    """Return whether it is ``m/s`` or ``m/s^2``, after a space."""
    texts = [t.text for t in tokens[:3]]
    return (
        spaced
        and len(texts) == 3
        and texts[1] == "/"
        and texts[0] in "mkgJNWCLV"
        and (texts[2] in ("s", "h", "g", "L") or texts[2] in UNITS or "".join(texts) in ("W/m", "N/m", "V/m"))
    )


def is_all_unit(tokens: Tokens) -> bool:
    """Return whether all are units, and what joins them: powers, slashes, dots."""
    depth = 0
    for index, token in enumerate(tokens):
        depth += token.is_sign("(", "{") - token.is_sign(")", "}")
        if token.kind == "words":
            fits = is_unit_words(token.text)
        elif token.kind == "letters":
            fits = is_unit_word(token.text, spaced=True) or len(token.text) <= 2
        elif token.kind == "number":
            fits = len(token.text) == 1 and _is_raised(tokens[:index])
        else:
            fits = token.is_sign("/", "^", "{", "}", "-", ".", "(", ")") or token.is_command(
                "frac", "cdot", "times", "per", "degree"
            )
        if not fits:
            return False
    return depth == 0


def _is_raised(before: Tokens) -> bool:
    """Return whether what follows is an exponent."""
    return next((t.is_sign("^") for t in reversed(before) if not t.is_sign("{", "-")), False)


def is_unit_words(text: str) -> bool:
    """Return whether words after a number are a unit; those that change the number are not."""
    words = text.lower().replace(".", "").split()
    if "".join(words) in ("am", "pm") or any(w in MAGNITUDES for w in words):
        return False
    if len(words) == 1:
        return words[0] not in NO_UNITS
    return words[0] not in NO_UNITS - {"for", "to"} and not {"or", "if", "except"} & set(words)


def is_unit_word(run: str, *, spaced: bool) -> bool:
    """Return whether letters that follow a number are a word, and not a product of variables."""
    if run in UNITS or run == "per":
        return run != "min" or spaced
    if run.lower() in NO_UNITS or run.lower() in MAGNITUDES or INNER_FUNCTION.search(run) is not None:
        return False
    if run[1:] != run[1:].lower() or set(run) <= set("abcdxyz"):
        return False
    if is_word(run) and len(run) > 2 + (not spaced):
        return True
    return spaced and len(run) > 3 and bool(_VOWELS & set(run))


def without_introduction(tokens: Tokens) -> Tokens:
    r"""Return the tokens without what only leads up to a value: ``about``, ``\approx``."""
    tokens = _after_verb(tokens)
    while len(tokens) > 1 and _leads(tokens[0], tokens[1]):
        tokens = tokens[1 + (len(tokens) > 2 and tokens[1].is_sign(".", ":", ",")) :]
    return tokens


def _after_verb(tokens: Tokens) -> Tokens:
    """Return what follows ``The area is``."""
    for index, token in enumerate(tokens[: min(MAX_SENTENCE, len(tokens) - 1)]):
        if token.kind not in ("words", "letters"):
            break
        if token.text.lower().split()[-1:] in (["is"], ["are"], ["equals"]):
            return tokens[index + 1 :]
    return tokens


def _leads(first: Token, second: Token) -> bool:
    if first.kind not in ("words", "letters") or not _is_introduction(first.text):
        return first.is_sign("=") or first.is_command("approx", "therefore", "implies", "to")
    return second.kind != "sign" or second.is_sign("(", "-", "\\{", "[", ".", ":", ",")


def _is_introduction(text: str) -> bool:
    words = text.lower().replace(".", "").replace(":", "").split()
    return len(text) > 1 and all(word in INTRODUCTIONS for word in words)


def with_magnitudes(tokens: Sequence[Token]) -> list[Token]:
    """Replace ``million`` after a number by a command that multiplies it; the rest of the text is a unit."""
    found: list[Token] = []
    for token in tokens:
        if token.kind not in ("words", "letters") or not found or not _is_counted(found[-1]):
            found.append(token)
            continue
        rest = token.text.split()
        while rest and rest[0].lower() in MAGNITUDES:
            found.append(Token("command", f"magnitude {MAGNITUDES[rest.pop(0).lower()]}"))
        if len(rest) == len(token.text.split()):
            found.append(token)
        elif rest:
            found.append(Token(token.kind, " ".join(rest), spaced=True))
    return found


def _is_counted(token: Token) -> bool:
    return token.kind == "number" or token.is_sign("}", ")") or token.text.startswith("magnitude ")
