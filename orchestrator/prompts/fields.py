"""Templates as ``str.format`` reads them, with names alone in their braces."""

from __future__ import annotations

import string


def template_fields(template: str) -> set[str]:
    """Return the names of the fields. Raises ValueError for a malformed one, or one with more than a name."""
    parts = [part for part in string.Formatter().parse(template) if part[1] is not None]
    for _, name, form, conversion in parts:
        if form or conversion:
            raise ValueError(f"the field {name!r} has a format: only its name may be in the braces")
    return {str(name) for _, name, _, _ in parts}
