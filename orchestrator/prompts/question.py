"""A question on what a policy has written so far, which it answers with one of a few tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from annotated_types import MinLen

from orchestrator.errors import ConfigError
from orchestrator.schema import NotEmpty, Words, checked


@dataclass(frozen=True, slots=True)
@checked("prompt")
class PrefixQuestion:
    """A turn of the user after an unfinished answer, and its ``options`` from the worst to the best.

    ``text`` is taken as it is: the policy has the question and the steps before it. With an empty one the
    policy answers right after its steps. Each option must be one token of its tokenizer.

    Example::

        from orchestrator.prompts.question import PrefixQuestion

        PrefixQuestion("Is the solution right so far? Yes or No:", options=("No", "Yes"))
    """

    text: str
    options: Annotated[Sequence[NotEmpty], MinLen(2), Words("must be two texts or more, the best last")]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if len(set(self.options)) < len(self.options):
            raise ConfigError("prompt.options", list(self.options), "must be different from each other")
