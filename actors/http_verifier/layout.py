"""A trajectory as the tokens that a server's reward model reads, if it has room for them."""

from __future__ import annotations

from dataclasses import dataclass

from actors.text.tokens import refuse_tokens
from actors.verifiers.formats import Layout, Rendered
from orchestrator.protocols import Failure, Readout, ScoreRequest


@dataclass(frozen=True, slots=True)
class TokenLayout:
    """The layout of a format, with what bounds its texts."""

    layout: Layout
    readout: Readout
    max_context: int
    vocab_size: int

    def render(self, request: ScoreRequest, num_more: int = 0) -> Rendered | Failure:
        """Return the tokens, or why they cannot be read; ``num_more`` tokens need room beside them."""
        rendered = self.layout.render(request.question, request.steps, request.num_locked, self.readout)
        refusal = refuse_tokens(rendered.token_ids, self.max_context - num_more, self.vocab_size)
        return rendered if refusal is None else refusal
