"""From a tidied answer to its tokens: numbers, runs of letters, words, commands and signs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

from orchestrator.tasks.grading.numbers import joined_groups, repeated
from orchestrator.tasks.grading.tidy import closing
from orchestrator.tasks.grading.tokens import Token
from orchestrator.tasks.grading.vocabulary import ALIASES, SKIPPED_COMMANDS, TEXT_COMMANDS, TEXT_FUNCTIONS

_SIGNS = frozenset("|{}[]()/:<>")
# Answers of more tokens are compared as texts.
MAX_TOKENS = 1000
MAX_STYLED = 400
# Commands whose backslash a string has swallowed.
_BARE_COMMANDS = ("frac", "dfrac", "tfrac", "rac")
_CONNECTIVES = {"and": "and", "or": "or", "&": "and"}

_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>\d+(?:[ ,]\d+)*(?:\.\d+(?:,\d+(?![\d.,]))?|\.(?![\d.]))?|\.\d+"
    r"|\.(?=\\(?:overline|bar|dot)))"
    r"|(?P<command>\\(?:[A-Za-z]+\*?|.))"
    r"|(?P<letters>[A-Za-z]+)"
    r"|(?P<stars>\*\*)"
    r"|(?P<compared>[<>!]=|=[<>]|==)"
    r"|(?P<sign>.)",
    re.DOTALL,
)
_EXPONENT = re.compile(r"[eE][-+]?\d+(?![A-Za-z\d.])")
_REPEATING = re.compile(r"\s?\\(?:overline|bar)\s?(?:\{\s?(\d{1,400})\s?\}|(\d))|\((\d{1,400})\)(?![\d(])")
_DOTTED = re.compile(r"\s?\\dot\s?\{?(\d)\}?(\d{0,400})(?:\s?\\dot\s?\{?(\d)\}?)?")
_ELLIPSIS = re.compile(r"\s?\\ldots ?")
# A unit with a power, after a number.
_UNIT = re.compile(
    r"(?:(?:[mshgLNJWVK]|[A-Za-z]{2,6}) ?(?:\\cdot )?){0,3}(?:[A-Za-z.]{2,20}|[mshgLK])\s?\^\s?\{?-?\d\}?"
)
_UPRIGHT = frozenset(("text", "textrm", "mbox", "mathrm", "rm"))
_ENDS = frozenset("0123456789)}")
_HALF_DAY = re.compile(r"([ap])\.?\s?m\.?(?![A-Za-z])", re.IGNORECASE)


def tokens_of(tidied: str, nesting: int = 0) -> list[Token]:
    r"""Return the tokens, at most ``MAX_TOKENS`` and one; those in ``\text{...}`` are among the others."""
    return [*islice(_scan(tidied, nesting), MAX_TOKENS + 1)]


def _scan(text: str, nesting: int) -> Iterator[Token]:
    position, spaced, brackets = 0, False, 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        assert match is not None
        position, kind = match.end(), match.lastgroup
        if kind == "space":
            spaced = True
            continue
        found: list[Token]
        if kind == "number":
            found, position = _numbers(match[0], text, position, bracketed=brackets > 0)
        elif kind == "command":
            found, position = _command(match[0][1:], text, position, nesting)
        elif kind == "letters":
            found, position = _letters(match, text)
        else:
            found = [_sign(match[0])]
        for token in found:
            brackets += token.is_sign("(", "[", "\\{") - token.is_sign(")", "]", "\\}")
            yield replace(token, spaced=spaced)
            spaced = False
        spaced = False


def _sign(text: str) -> Token:
    match text:
        case "**":
            return Token("sign", "^")
        case "*":
            return Token("command", "times")
        case "<=" | "=<":
            return Token("command", "le")
        case ">=" | "=>":
            return Token("command", "ge")
        case "!=":
            return Token("command", "ne")
        case "==":
            return Token("sign", "=")
        case ";":
            return Token("sign", ",")
        case "&":
            return Token("sign", "&")
    return Token("sign", text)


def _numbers(run: str, text: str, end: int, *, bracketed: bool) -> tuple[list[Token], int]:
    """Return the numbers of ``1,234.5`` (one) or ``3,5`` (two), the last with what makes it repeat."""
    joined = None
    has_zero = any(group[0] == "0" for group in re.split("[ ,]", run)[1:])
    if has_zero or not (bracketed or text[end : end + 1] == "/"):
        joined = joined_groups(run)
    parts = re.findall(r"[^ ,]+|,", run) if joined is None else [joined]
    parts[-1], end = _tail(parts[-1], text, end)
    return [Token("sign", ",") if part == "," else Token("number", part) for part in parts], end


def _tail(number: str, text: str, end: int) -> tuple[str, int]:
    if match := _EXPONENT.match(text, end):
        return number + match[0], match.end()
    if "." not in number:
        return number, end
    if match := _REPEATING.match(text, end):
        return f"{number}({match[1] or match[2] or match[3]})", match.end()
    if match := _DOTTED.match(text, end):
        return f"{number}({match[1]}{match[2] + match[3] if match[3] else ''})", match.end()
    if match := _ELLIPSIS.match(text, end):
        whole, _, decimals = number.partition(".")
        period = repeated(decimals)
        return (number if period is None else f"{whole}.{period}"), match.end()
    return number, end


def _letters(match: re.Match[str], text: str) -> tuple[list[Token], int]:
    run = match[0]
    if half := _HALF_DAY.match(text, match.start()):
        before = text[: match.start()].rstrip()[-1:]
        if before.isdigit() and (half[0].lower() not in ("am", "pm") or half.end() == len(text.rstrip())):
            return [Token("words", f"{half[1].lower()}m")], half.end()
    if run == "U" and text[: match.start()].rstrip()[-1:] in (")", "]"):
        return [Token("command", "cup")], match.end()
    if run in _BARE_COMMANDS and text[match.end() : match.end() + 1] == "{":
        return [Token("command", "frac")], match.end()
    if run.lower() in (*_CONNECTIVES, "to"):
        return [Token("command", run.lower())], match.end()
    return [Token("letters", run)], match.end()


def _command(name: str, text: str, end: int, nesting: int) -> tuple[list[Token], int]:
    name = name.rstrip("*")
    if name in TEXT_COMMANDS:
        return _styled(name, text, end, nesting)
    if name in SKIPPED_COMMANDS:
        return [], end
    name = ALIASES.get(name, name)
    if name in ("{", "}"):
        return [Token("sign", f"\\{name}")], end
    if name == "begin":
        return _environment(text, end)
    if name == "mathbb":
        return _number_set(text, end)
    if name in _SIGNS:
        return [Token("sign", name)], end
    return [Token("command", name)], end


def _environment(text: str, end: int) -> tuple[list[Token], int]:
    """Return ``begin`` with the name of the environment; columns of an array are left out."""
    match = re.compile(r"\s?\{([a-zA-Z]{1,20})\*?\}(?:\s?(?:\[[a-z]{0,20}\]|\{[clr|@ ]{0,40}\}))?").match(
        text, end
    )
    return (
        ([Token("command", f"begin {match[1]}")], match.end())
        if match
        else ([Token("command", "begin")], end)
    )


def _number_set(text: str, end: int) -> tuple[list[Token], int]:
    match = re.compile(r"\s?\{?\s?([A-Z])\s?\}?").match(text, end)
    return ([Token("command", f"mathbb {match[1]}")], match.end()) if match else ([], end)


def _styled(name: str, text: str, end: int, nesting: int) -> tuple[list[Token], int]:
    """Return what is in a style: words, or mathematics."""
    start = end + (text[end : end + 1] == " ")
    close = closing(text, start, MAX_STYLED) if text[start : start + 1] == "{" else None
    if close is None or nesting >= 8:
        return [], end
    content = text[start + 1 : close]
    bare = content.strip()
    before = text[:start].rpartition("\\")[0].rstrip()
    if name in _UPRIGHT and before[-1:] in _ENDS and _UNIT.fullmatch(bare):
        return [replace(t, kind="words") if t.kind == "letters" else t for t in _scan(content, 9)], close + 1
    is_math = any(c.isdigit() or c in "\\^=+*<>$" for c in bare) or not any(c.isalpha() for c in bare)
    if is_math or (
        len(bare) == 1 and name not in ("text", "textbf", "textit", "textrm", "mbox", "mathrm", "rm")
    ):
        return tokens_of(content, nesting + 1), close + 1
    if (bare in ("i", "e") and name != "textbf") or bare in TEXT_FUNCTIONS:
        return [Token("letters", bare)], close + 1
    return words_of(content), close + 1


def words_of(content: str) -> list[Token]:
    """Return words, without what joins them."""
    found: list[Token] = []
    for part in re.split(r"(,|;|(?<![a-zA-Z])(?:and|or)(?![a-zA-Z]))", content):
        bare = " ".join(part.split())
        if bare in (",", ";"):
            found.append(Token("sign", ","))
        elif bare.lower() in _CONNECTIVES:
            found.append(Token("command", bare.lower()))
        elif bare:
            found.append(Token("words", bare))
    return found
