"""Templates as ``str.format`` reads them, with nothing but names in their braces."""

from __future__ import annotations

import string


def template_fields(template: str) -> set[str]:
    """The names of the fields. Raises ValueError for a malformed one, and for one with more than its name."""
    parts = [part for part in string.Formatter().parse(template) if part[1] is not None]
    for _, name, form, conversion in parts:
        if form or conversion:
            raise ValueError(f"the field {name!r} has a format of its own: nothing but its name may be there")
    return {str(name) for _, name, _, _ in parts}
