"""The prompts of a pipeline by role, and the fields that each may hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields

from orchestrator.prompts.template import Template
from orchestrator.schema import checked
from strategies.parts import checks

_OF_ALL = ("question", "answers", "number")
_OF_ONE = ("question", "answer")
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "critique": _OF_ALL,
    "rank": _OF_ALL,
    "fuse": _OF_ALL,
    "reason": _OF_ONE,
    "verdict": (*_OF_ONE, "notes"),
    "unit_tests": ("question", "number"),
    "evaluate": (*_OF_ONE, "statements"),
    "critiqued": ("answer", "critique"),
    "checklist": ("question",),
    "pick": ("question", "answers", "notes"),
}
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(("critique", "rank", "fuse"), ("question", "answers")),
    **dict.fromkeys(("reason", "verdict"), _OF_ONE),
    "unit_tests": ("question",),
    "evaluate": (*_OF_ONE, "statements"),
    "critiqued": ("answer", "critique"),
    "checklist": ("question",),
    "pick": ("answers",),
}


@dataclass(frozen=True, slots=True)
@checked("strategy.templates")
class PipelineTemplates:
    """A template for each role; a pipeline needs those of its components alone.

    ``critiqued`` writes an answer and its critique where answers are listed.
    """

    critique: Template | None = None
    rank: Template | None = None
    fuse: Template | None = None
    reason: Template | None = None
    verdict: Template | None = None
    unit_tests: Template | None = None
    evaluate: Template | None = None
    critiqued: Template | None = None
    checklist: Template | None = None
    pick: Template | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            template: Template | None = getattr(self, field.name)
            if template is not None:
                key = f"strategy.templates.{field.name}"
                template.check(key, _FIELDS[field.name], _REQUIRED[field.name])

    def of(self, role: str) -> Template:
        """Return the template of a role, which ``require`` has found to be given."""
        template = getattr(self, role)
        assert isinstance(template, Template)
        return template

    def require(self, roles: Iterable[str]) -> None:
        """Raise ConfigError for the first of these roles that has no template."""
        for role in roles:
            allowed = (
                f"must be a template, such as prompts@strategy.templates.{role}={_FILES.get(role, role)}"
            )
            checks.require(getattr(self, role) is not None, f"templates.{role}", None, allowed)


_FILES = {"critique": "critique_all"}
