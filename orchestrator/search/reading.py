"""How one policy reads what another one wrote: token ids as they are, or those of its own tokenizer."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.errors import EngineError
from orchestrator.protocols import Engine, Failure
from orchestrator.search.gate import Gate
from orchestrator.types import Step, Trajectory

TokenIds = tuple[int, ...]
_MOST_KNOWN = 65536


@dataclass(frozen=True, slots=True)
class _Text:
    """A text whose token ids are requested, for a problem."""

    problem_id: str
    text: str


@dataclass(eq=False)
class Reading:
    """The policies of one problem, and the token ids that they have given for each other's steps.

    Ids pass as they are between two names of one engine, and where the digests of two tokenizers are equal
    (``ModelInfo.tokenizer``). Elsewhere the reader is asked for each step's text once, and never for a whole
    prefix. An end of text, which has no characters, is not among those ids.
    """

    policies: Mapping[str, Engine]
    gate: Gate
    problem_id: str
    _known: OrderedDict[tuple[str, str], TokenIds] = field(default_factory=OrderedDict, init=False)

    async def read_by(self, policy: str, trajectories: Sequence[Trajectory]) -> list[Trajectory]:
        """Return the trajectories with the token ids of ``policy``. Raises EngineError where it has none."""
        if len(self.policies) == 1:
            return list(trajectories)
        strange = {s.text for t in trajectories for s in t.steps if not self._reads(policy, s)}
        ids = await self._ids(policy, sorted(strange))
        return [t.with_steps([self._step(policy, s, ids) for s in t.steps]) for t in trajectories]

    def _reads(self, policy: str, step: Step) -> bool:
        """Return whether a policy reads the token ids of a step as they are."""
        reader, writer = self.policies[policy], self.policies.get(step.policy)
        if writer is None:
            return False
        digest = reader.info.tokenizer
        return reader is writer or (digest is not None and digest == writer.info.tokenizer)

    def _step(self, policy: str, step: Step, ids: Mapping[str, TokenIds]) -> Step:
        """Return a step as a policy reads it; what another one carries is not a beginning of its own."""
        if step.policy == policy:
            return step
        if self._reads(policy, step):
            return replace(step, carried=None)
        return replace(step, token_ids=ids[step.text], carried=None, policy=policy)

    async def _ids(self, policy: str, texts: Iterable[str]) -> Mapping[str, TokenIds]:
        """Return a policy's token ids of texts; those that are not known are requested together."""
        found: dict[str, TokenIds] = {}
        for text in texts:
            if (ids := self._known.get((policy, text))) is not None:
                found[text] = ids
                self._known.move_to_end((policy, text))
        if new := [text for text in texts if text not in found]:
            found |= await self._ask(policy, new)
        return found

    async def _ask(self, policy: str, texts: Sequence[str]) -> Mapping[str, TokenIds]:
        engine = self.policies[policy]

        async def encode(requests: Sequence[_Text]) -> list[TokenIds | Failure]:
            return await engine.encode([request.text for request in requests])

        replies = await self.gate.ask(encode, [_Text(self.problem_id, text) for text in texts])
        for text, ids in zip(texts, replies, strict=True):
            if isinstance(ids, Failure):
                raise EngineError(f"policy={policy}: cannot read what another policy wrote: {ids.message}")
            self._known[policy, text] = ids
        while len(self._known) > _MOST_KNOWN:
            self._known.popitem(last=False)
        return dict(zip(texts, (ids for ids in replies if not isinstance(ids, Failure)), strict=True))


def by(policy: str, steps: Sequence[Step]) -> Sequence[Step]:
    """Return a reply's steps with the name of the policy that wrote them."""
    return [step if step.policy == policy else replace(step, policy=policy) for step in steps]
