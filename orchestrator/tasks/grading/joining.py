"""Answers of several parts: lists, points, pieces of the number line."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.tasks.grading.forms import (
    MAX_MATCHED,
    Form,
    Kind,
    Named,
    Read,
    Several,
    Words,
    same,
    several,
)
from orchestrator.tasks.grading.formula import Unreadable
from orchestrator.tasks.grading.spans import (
    EVERYTHING,
    INFINITY,
    MINUS_INFINITY,
    complement,
    intersection,
    spans_of,
    union,
)
from orchestrator.tasks.grading.tokens import Tokens

# Answers to several questions, in their order.
_VERDICTS = ("true", "false", "yes", "no")


def joined(parts: Sequence[Tokens], joint: str, read: Read) -> Form:
    """Return the form of several answers: roots, words, named coordinates, pieces of the number line."""
    parts = [part for part in parts if not _is_domain(part)] or parts
    if not parts:
        raise Unreadable
    forms = [read(part) for part in parts]
    if joint == "or":
        forms = [
            f for i, f in enumerate(forms) if not any(same(f, other) for other in forms[:i][:MAX_MATCHED])
        ]
    if all(isinstance(f, Words) and f.text in _VERDICTS for f in forms):
        return several("()", forms)
    named = [f for f in forms if isinstance(f, Named)]
    kind: Kind = "set" if joint == "or" else "list"  # no point is said with "or"
    if (pieces := _pieces(forms, joint)) is not None:
        return pieces
    names = [f.variable for f in named]
    if len(named) == len(forms) and len(set(names)) == len(names) > 1:
        named.sort(key=lambda f: f.variable)
        return Named(",".join(sorted(names)), Several("()", tuple(f.value for f in named)))
    if named and (forms[0] is named[0]) and len(set(names)) == 1:
        return Named(names[0], several(kind, _flat([f.value if isinstance(f, Named) else f for f in forms])))
    return several(kind, _flat(forms))


def _is_domain(tokens: Tokens) -> bool:
    r"""``k \in \mathbb{Z}``: what a variable is, beside what the answer is."""
    return len(tokens) == 3 and tokens[1].is_command("in") and tokens[2].text.startswith("mathbb ")


def _flat(forms: Sequence[Form]) -> list[Form]:
    r"""Replace lists by their items: ``1 \pm \sqrt{5}, -2``."""
    flat: list[Form] = []
    for form in forms:
        flat.extend(form.items if isinstance(form, Several) and form.kind == "list" else [form])
    return flat


def _pieces(forms: Sequence[Form], joint: str) -> Form | None:
    """Return joined inequalities as one set of numbers; None where the forms are others."""
    inner = [f.value if isinstance(f, Named) else f for f in forms]
    if not all(isinstance(f, Several) and f.kind in ("open", "[)", "(]", "[]", "()", "union") for f in inner):
        return None
    is_named = all(isinstance(f, Named) for f in forms)
    # Two pairs of numbers are points, unless one of them goes to infinity.
    is_endless = any(
        INFINITY in f.items or MINUS_INFINITY in f.items for f in inner if isinstance(f, Several)
    )
    has_pairs = any(isinstance(f, Several) and f.kind in ("()", "[]") for f in inner) and not (
        joint == "or" and is_endless
    )
    names = {f.variable for f in forms if isinstance(f, Named)}
    if len(names) > 1 or (has_pairs and not is_named):
        return None
    spans = [spans_of(f) for f in inner]
    if any(s is None for s in spans):
        return None
    found = [s for part in spans for s in part or []]
    if is_named and joint != "or":
        common = [EVERYTHING]
        for part in spans:
            common = intersection(common, part or [])
        found = common or found
    whole = union(found)
    first = forms[0]
    return Named(first.variable, whole) if isinstance(first, Named) else whole


def combined(forms: Sequence[Form], joint: str) -> Form:
    spans = [spans_of(form) for form in forms]
    if any(s is None for s in spans):
        if joint == "cup" and all(isinstance(f, Several) for f in forms):
            return several("union", list(forms))
        raise Unreadable
    first, *others = [s or [] for s in spans]
    if joint == "cup":
        return union([*first, *(s for other in others for s in other)])
    for other in others:
        first = intersection(first, complement(other) if joint == "setminus" else other)
    return union(first)
