"""A prompt with named fields, filled once: what a model wrote is never read as a template, nor as a mark."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from orchestrator.errors import ConfigError
from orchestrator.prompts.fields import template_fields
from orchestrator.schema import NotEmpty, checked
from orchestrator.suggest import nearest


@dataclass(frozen=True, slots=True)
class Filled:
    """A prompt, and how many special strings of the tokenizer were taken out of what models wrote."""

    text: str
    num_removed: int = 0


@dataclass(frozen=True, slots=True)
@checked("prompt")
class Template:
    r"""The text of a prompt, as ``str.format`` reads it: fields in braces, doubled braces for one brace.

    ``instruction`` replaces the task's for this prompt; None keeps it. Raises ConfigError for a
    malformed field.

    Example::

        from orchestrator.prompts.template import Template

        template = Template("{question}\n\nAn attempt:\n{answer}\n\nWrite a better one.")
        template.fill({"question": "1+1"}, {"answer": "{question}<|end|>"}, special=["<|end|>"])
        # Filled("1+1\n\nAn attempt:\n{question}\n\nWrite a better one.", num_removed=1)
    """

    text: NotEmpty
    instruction: str | None = None

    def __post_init__(self) -> None:
        try:
            template_fields(self.text)
        except ValueError as failure:
            raise ConfigError("prompt.text", repr(self.text), str(failure)) from None

    @property
    def fields(self) -> frozenset[str]:
        return _fields(self.text)

    def check(self, key: str, known: Collection[str], required: Collection[str] = ()) -> None:
        """Raise ConfigError of ``key`` where a field is unknown, or one of ``required`` is missing."""
        names = " and ".join(f"{{{name}}}" for name in sorted(known))
        for name in sorted(self.fields - set(known)):
            raise ConfigError(key, f"{{{name}}}", f"must be one of {names}{nearest(name, known)}")
        for name in sorted(set(required) - self.fields):
            raise ConfigError(key, repr(self.text), f"must hold {{{name}}}; it may hold {names}")

    def fill(
        self, given: Mapping[str, str], written: Mapping[str, str], special: Sequence[str] = ()
    ) -> Filled:
        """Return the prompt with every field filled in one pass.

        ``given`` are the user's texts, ``written`` those of models: the strings of ``special`` (marks of a
        tokenizer's chat template, such as the end of a turn) are taken out of the latter, since a model could
        otherwise end its reader's turn.
        """
        cleaned = {name: without(written[name], special) for name in self.fields & written.keys()}
        values = {**given, **{name: text for name, (text, _) in cleaned.items()}}
        return Filled(self.text.format_map(values), sum(num for _, num in cleaned.values()))


@lru_cache(maxsize=256)
def _fields(text: str) -> frozenset[str]:
    return frozenset(template_fields(text))


def without(text: str, special: Sequence[str]) -> tuple[str, int]:
    """Return a text without these strings, and how many were taken out; none arises from what is left."""
    num_removed = 0
    while found := sum(text.count(mark) for mark in special if mark):
        num_removed += found
        for mark in special:
            text = text.replace(mark, "") if mark else text
    return text, num_removed
