"""Which fields a template has; what ``str.format`` would fail at later is refused."""

from __future__ import annotations

import pytest

from orchestrator.prompts.fields import template_fields


@pytest.mark.parametrize(
    ("template", "fields"),
    [
        ("", set()),
        ("{{x}}", set()),
        ("{a} {b} {a}", {"a", "b"}),
        ("{}", {""}),
        ("{a.b}{c[0]}", {"a.b", "c[0]"}),
    ],
)
def test_fields_by_their_names(template: str, fields: set[str]) -> None:
    assert template_fields(template) == fields


@pytest.mark.parametrize(
    "template", ["{", "}", "{a", "{a:d}", "{a!z}", "{a!r}", "{a:{b}}", "{a:>99999999999}", "{a!}"]
)
def test_what_would_fail_with_the_first_question_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        template_fields(template)
