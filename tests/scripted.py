"""An engine that says what a function says: for methods that read what models reply in roles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from orchestrator.protocols import Completion, EngineBase, Failure, GenerateRequest, ModelInfo
from orchestrator.testing.fake_tokens import EOS
from orchestrator.types import Finish, Step, Usage

Script = Callable[[GenerateRequest, int], str]
"""From a request, and how many came before it, to the text of its reply."""


@dataclass
class ScriptedEngine(EngineBase):
    """A token is a character; a reply that is longer than the request allows is cut off."""

    script: Script
    special: tuple[str, ...] = ()
    requests: list[GenerateRequest] = field(default_factory=list)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(batch_invariant=True, special=self.special)

    async def generate(self, requests: Sequence[GenerateRequest]) -> list[Completion | Failure]:
        return [self._reply(request) for request in requests]

    def _reply(self, request: GenerateRequest) -> Completion:
        text = self.script(request, len(self.requests))
        self.requests.append(request)
        is_cut = len(text) >= request.params.max_tokens
        shown = text[: request.params.max_tokens]
        token_ids = (*map(ord, shown), *(() if is_cut else (EOS,)))
        finish = Finish.LENGTH if is_cut else Finish.EOS
        return Completion((Step(shown, token_ids, finish=finish),), Usage(generated_tokens=len(token_ids)))
