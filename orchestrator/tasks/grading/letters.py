"""The letter of a multiple-choice question that an answer names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

# What only concerns looks: LaTeX's styles and spaces, Markdown, a few tags of HTML, quotation marks.
_LOOKS = [
    (re.compile(r"\\{2,}"), r"\\"),
    (re.compile(r"[\u200b\u2060\ufeff]|</?(?:b|strong|i|em|u|p|br|span|mark) ?/?>"), ""),
    (re.compile(r"\\(?:textcolor|color|colorbox)\s?\{[^{}]*\}"), ""),
    (re.compile(r"\\(?:text[a-z]*|[mhf]box|math[a-z]+|bm|bold(?:symbol)?|underline|emph)(?![a-z])"), ""),
    (
        re.compile(r"\\(?:boxed|operatorname|rm|bf|it|sf|tt|left|right|[bB]igg?[lr]?|[lL]arge)(?![a-zA-Z])"),
        "",
    ),
    (re.compile(r"\\[\[\](){}!]|\\\s*$|[${}*`\"\u201c\u201d\u201e\u00ab\u00bb\u300c\u300d]"), ""),
    (re.compile(r"\\(?:q?quad(?![a-z])|[ ,;:])|~"), " "),
    (re.compile(r"(?<!\w)['\u2018\u2019]|['\u2018\u2019](?!\w)"), ""),
]
_BULLET = re.compile(r"[-\u2022>#]+ ")

_SUBJECT = (
    r"(?:answer|option|choice|letter|alternative|selection|response|solution|ans)s?"
    r"(?: (?:choice|option|letter|number))?"
)
_IS = r"(?: (?:is|was|(?:must|should|would|will|has to) be))?(?: (?:therefore|thus|clearly|likely|just))?"
_PICKED = r"(?:choose|chose|pick(?:ed)?|select(?:ed)?|it is|it's|go(?:ing)? with|is|(?:must|would) be)"
_SO = r"(?:so|thus|therefore|hence|then|finally|i think|i believe|i'd say|i say)"
_CHINESE = r"[\u9009\u6848\u9879][\u662f\u4e3a\u5e94\u8be5\u9009\u9879]{0,4}"
_REASON = r"(?:because|since|as|which|where|due to)\b"
_RATHER = r"(?:rather than|instead of|and not)\b"
_PRAISE = r"(?:(?:the|my|most|clearly|definitely|likely|final|correct|right|best|only) ){0,5}"
_RIGHT = (
    rf"(?:is|seems|looks|would be|must be) {_PRAISE}"
    r"(?:correct|right|best|true|accurate|answer|option|choice|one)\b"
)
_WRONG = re.compile(
    r"[)\]>]? ?(?:is|was|are|would be|can|could|does)?(?:n't)? ?(?:clearly |definitely |also |be )?"
    r"(?:not|wrong|incorrect|false|untrue|invalid|ruled out|eliminated|excluded|isn't|cannot|can't)\b",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"(?:\b(?:not|never|nor|neither|cannot|than|eliminate|exclude|reject)|n't)(?: an?| the)?[ (]*$",
    re.IGNORECASE,
)

# A label, and one that may be a small letter because it cannot be the article there.
_LABEL, _EITHER = "<label>", "<either>"
_END = r" ?(?:$|[.\u3002,;:!?)\]]|[-\u2013\u2014] )"
_GOES_ON = rf"(?={_END}| \(| {_REASON}| {_RIGHT}| (?:and|or|is|are|not)\b)"
_FIRSTS = (
    rf"[(\[<]* ?({_EITHER}) ?[)\]>]* ?[.:,;!?\u3002\u2713\u2714\u2705]*$",
    rf"[(\[<] ?({_EITHER}) ?[)\]>]",
    rf"({_EITHER}) ?(?:[)\]:]|\.(?= |\d|\w\w|[^\w\s]))",
    rf"({_LABEL})(?: [-\u2013\u2014\u2212]+ ?|[\u2013\u2014] ?|, ?)(?=\S\S)",
    rf"({_EITHER}) [-\u2013\u2014\u2212]+ (?=\w+ )",
    rf"({_LABEL})(?= \([^()]{{2,}}\)\.?$| {_REASON}| {_RIGHT}| {_RATHER})",
)
_BETWEEN = r" ?[:=.-]? ?(?i:(?:the |option|choice|letter|answer){0,3}) ?[:#]? ?[(\[<]? ?"
_NAMED = (
    rf"(?i:\b{_SUBJECT}{_IS}){_BETWEEN}({_EITHER})(?: ?[)\]>]|{_GOES_ON})",
    rf"(?i:\b{_PICKED}:? (?:option |choice |answer )?)[(\[<]? ?({_LABEL})(?: ?[)\]>]|(?={_END}| {_REASON}))",
    rf"(?i:^{_SO})[,:]? [(\[<]? ?({_LABEL}) ?[)\]>]?(?={_END})",
    rf"{_CHINESE} ?:? ?[(\[<]? ?({_LABEL})(?![A-Za-z])",
)
_JOINED = r" ?[)\]>]?[.:]? ?(?:and|or|nor|&|/|,|\+){1,3} ?(?:(?:or|and|option|choice|also|maybe|the) ){0,2}"
# The text of an option may speak of others: `D. both (A) and (B)`.
_ANOTHER = (
    rf"{_JOINED}(?:[(\[<]({_EITHER})[)\]>]|({_LABEL})(?=$|[.,;:!?/&]| (?:and|or|are|is|both)\b))"
    rf"|(?!\W*(?:both|all|any|either|neither|none|only)\b).*?"
    rf"(?:\band|\bor|[,;&/]) ?(?:\(({_LABEL})\)|({_LABEL})[.):] )"
    rf"|[.)] ?({_LABEL})[.)](?: |$)|: ?({_LABEL})$"
)
# How far a text is read around a label.
_BEFORE, _AFTER = 20, 300
# Of a long answer, how much is read at its beginning, and at its end.
_HALF = 2000


@dataclass(frozen=True, slots=True)
class _Patterns:
    """How an answer begins with a label, how a sentence names one, and how another one follows it."""

    firsts: tuple[re.Pattern[str], ...]
    named: tuple[re.Pattern[str], ...]
    another: re.Pattern[str]

    @classmethod
    @lru_cache
    def of(cls, num_letters: int) -> _Patterns:
        label = f"[A-Z]{{{num_letters}}}"
        either = "[A-Za-z]" if num_letters == 1 else label

        def compiled(pattern: str) -> re.Pattern[str]:
            return re.compile(pattern.replace(_LABEL, label).replace(_EITHER, either))

        return cls(tuple(map(compiled, _FIRSTS)), tuple(map(compiled, _NAMED)), compiled(_ANOTHER))


def read_letter(answer: str, num_letters: int = 1) -> str | None:
    """Return the capital letter of an option: ``B``, ``(b)``, ``B. because ...``, ``the best option is B``.

    None where an answer names no option, or several. ``A whale`` begins with an article, and names none.
    ``num_letters`` is the length of a label, where options have more than one letter.
    """
    patterns = _Patterns.of(num_letters)
    if len(answer) > 2 * _HALF:
        answer = f"{answer[:_HALF]}\n{answer[-_HALF:]}"
    lines = [line for line in map(_tidy, _plain(answer).splitlines()) if line]
    if len({first for line in lines if (first := _first(line, patterns))}) > 1:
        return None
    whole = " ".join(lines)
    ends = {_read(line, patterns) for line in (lines[0], lines[-1])} if len(lines) > 1 else set()
    found = (ends - {None}) or {_read(whole, patterns)}
    return found.pop() if len(found) == 1 else None


def _plain(answer: str) -> str:
    text = unicodedata.normalize("NFKC", answer)
    for pattern, replacement in _LOOKS:
        text = pattern.sub(replacement, text)
    return text


def _tidy(line: str) -> str:
    spaced = " ".join(line.split())
    bullet = _BULLET.match(spaced)
    return spaced[bullet.end() if bullet else 0 :].strip("_ ")


def _read(text: str, patterns: _Patterns) -> str | None:
    for pattern in patterns.firsts:
        if match := pattern.match(text):
            letters = set(_taken(match, patterns.another))
            return letters.pop() if len(letters) == 1 else None
    for pattern in patterns.named:
        letters = {letter for match in pattern.finditer(text) for letter in _taken(match, patterns.another)}
        if letters:
            return letters.pop() if len(letters) == 1 else None
    return None


def _first(line: str, patterns: _Patterns) -> str | None:
    """Return the label that a line begins with, as the lines of a list of options do."""
    return next((m[1].upper() for p in patterns.firsts[:3] if (m := p.match(line))), None)


def _taken(match: re.Match[str], another: re.Pattern[str]) -> Iterator[str]:
    """Yield the labels that a place in a text chooses: one, two where another follows, none if denied."""
    text, begin, label, end = match.string, match.start(), match.start(1), match.end(1)
    before = text[max(0, begin - _BEFORE) : begin], text[max(0, label - _BEFORE) : label]
    after = text[end : end + _AFTER]
    if _WRONG.match(after) or any(map(_DENIED.search, before)):
        return
    yield match[1].upper()
    if found := another.match(after):
        yield next(group for group in found.groups() if group).upper()
