r"""Mathematical characters as LaTeX: ``√5`` is ``\sqrt 5``, ``½`` is ``\frac{1}{2}``."""

# ruff: noqa: RUF001 - characters that look like others are what this file is about

from __future__ import annotations

import re
import unicodedata

_COMMANDS = {
    "×": "times", "✕": "times", "·": "cdot", "⋅": "cdot", "∙": "cdot", "•": "cdot", "∗": "cdot", "÷": "div",
    "√": "sqrt", "∛": "sqrt[3]", "∜": "sqrt[4]", "∞": "infty", "≤": "le", "⩽": "le", "≦": "le", "≥": "ge",
    "⩾": "ge", "≧": "ge", "≠": "ne", "≈": "approx", "≃": "approx", "≅": "approx", "≡": "equiv", "∪": "cup",
    "∩": "cap", "∈": "in", "∉": "notin", "∅": "emptyset", "⌀": "emptyset", "±": "pm", "∓": "mp",
    "∖": "setminus", "⟨": "langle", "〈": "langle", "⟩": "rangle", "〉": "rangle", "⌊": "lfloor",
    "⌋": "rfloor", "⌈": "lceil", "⌉": "rceil", "∠": "angle", "△": "triangle", "∧": "land", "∨": "lor",
    "→": "to", "⇒": "implies", "∫": "int", "∑": "sum", "∏": "prod",
    "°": "degree", "º": "degree", "˚": "degree", "∘": "circ", "ℏ": "hbar", "ı": "imath",
    "¬": "neg", "∥": "parallel", "⊥": "perp", "∂": "partial",
    "ℝ": "mathbb{R}", "ℂ": "mathbb{C}", "ℤ": "mathbb{Z}", "ℕ": "mathbb{N}", "ℚ": "mathbb{Q}",
}  # fmt: skip
# In the order of their characters; the sigma that ends a word has no separate name.
_GREEK = re.findall(
    r"[a-z]+|[.]",
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho . sigma tau "
    "upsilon phi chi psi omega",
)
_PLAIN = {
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212\ufe63\uff0d", "-"),
    **dict.fromkeys("\u2044\u2215", "/"), "\u066b": ".", "\u066c": ",", "\u02c6": "^", "\u2032": "'",
    "\u2033": "''", "\u2019": "'", "\u2018": "'", "\u201c": '"', "\u201d": '"', "\u2062": "", "\u3001": ",",
}  # fmt: skip
_FRACTIONS = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞↉"
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ"
_LOWERED = "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₐₑₒₓₙₖₘₚₛₜᵢⱼ"

_NUMERIC_FRACTION = re.compile(r"(?<![⁰¹²³⁴⁵⁶⁷⁸⁹])([⁰¹²³⁴⁵⁶⁷⁸⁹]+)[\u2044/]([₀₁₂₃₄₅₆₇₈₉]+)")
_RAISED_RUN = re.compile(f"[{_RAISED}]+")
_LOWERED_RUN = re.compile(f"[{_LOWERED}]+")
_THIN_SPACE = re.compile("(?<=[0-9])[\u00a0\u2006-\u2009\u202f](?=[0-9]{3}(?![0-9]))")
_ROOT = re.compile(f"(?<![^ =(+*,-])([{_RAISED}]+)√")
_DEGREES = re.compile("(?<=[0-9]) ?∘(?! ?[A-Za-z])")
_OVERLINED = re.compile("(?:[0-9][\u0304\u0305])+")
_DOTTED = re.compile("([0-9])\u0307")


def _commands() -> dict[int, str]:
    greek = {chr(0x3B1 + i): name for i, name in enumerate(_GREEK) if name != "."}
    capital = {chr(0x391 + i): name.title() for i, name in enumerate(_GREEK) if name != "."}
    variants = {"ϕ": "phi", "ϵ": "epsilon", "ϑ": "theta", "ϖ": "pi", "ς": "sigma", "µ": "mu"}
    named = {**_COMMANDS, **greek, **capital, **variants}
    return {ord(mark): f"\\{name} " for mark, name in named.items()}


_TABLE: dict[int, str] = {**_commands(), **{ord(mark): plain for mark, plain in _PLAIN.items()}}


def latex_of(text: str) -> str:
    """Replace mathematical characters by LaTeX, and digits and letters of other scripts by ASCII."""
    if text.isascii():
        return text
    text = _THIN_SPACE.sub("", _NUMERIC_FRACTION.sub(_fraction, text))
    text = _OVERLINED.sub(lambda m: rf"\overline{{{m[0][::2]}}}", _DOTTED.sub(r"\\dot{\1}", text))
    text = _DEGREES.sub("°", _ROOT.sub(lambda m: rf"\sqrt[{_ascii(m[1])}]", text))
    text = _RAISED_RUN.sub(lambda m: f"^{{{_ascii(m[0])}}}", text)
    text = _LOWERED_RUN.sub(lambda m: f"_{{{_ascii(m[0])}}}", text)
    return "".join(_character(c) for c in text)


def _fraction(match: re.Match[str]) -> str:
    return rf"\frac{{{_ascii(match[1])}}}{{{_ascii(match[2])}}}"


def _character(mark: str) -> str:
    if mark.isascii():
        return mark
    if mark in _FRACTIONS:
        above, below = unicodedata.normalize("NFKC", mark).split("\u2044")
        return rf"\frac{{{above}}}{{{below}}}"
    known = _TABLE.get(ord(mark))
    if known is not None:
        return known
    if unicodedata.category(mark) in ("Cf", "Mn"):
        return ""  # joiners, marks of direction, selectors of variants
    if (digit := unicodedata.decimal(mark, None)) is not None:
        return str(digit)
    # Not NFKC as a whole: one character may become a sentence.
    plain = unicodedata.normalize("NFKC", mark).translate(_TABLE)
    return plain if len(plain) <= 12 else mark


def _ascii(text: str) -> str:
    return unicodedata.normalize("NFKC", text).replace("\u2212", "-")
