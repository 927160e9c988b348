"""Prompts that show candidates: as many as the policy's context has room for, and the record of a reply.

Candidates are dropped from the tail of the ranking until the prompt and ``max_tokens`` fit. A prompt that
shows the fewest may use the whole context: its reply is then cut off there. One that does not fit either has
no reply. Each of these is a recorded reply, so that a resumed search shows the same candidates.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from orchestrator.search.session import Session
from orchestrator.types import ENGINE, Params, Prompt, RoleRecord, Trajectory


@dataclass(frozen=True, slots=True)
class Shown:
    """A prompt, and how many special strings were taken out of what it quotes."""

    prompt: Prompt
    num_removed: int = 0


@dataclass(frozen=True, slots=True)
class Replied:
    """The replies to a prompt that shows ``num_shown`` candidates; ``num_dropped`` had no room.

    Without room for the fewest candidates, or where a limit withheld the call, there are no replies.
    """

    shown: Shown
    num_shown: int
    num_dropped: int
    policy: str
    replies: list[Trajectory] = field(default_factory=list)

    def record(self, layer: int, parsed: bool) -> RoleRecord:
        """Return the record of the only reply, or of none, in ``layer``."""
        prompt, reply = self.shown.prompt, self.replies[0] if self.replies else Trajectory()
        return RoleRecord(
            role=prompt.role,
            layer=layer,
            policy=self.policy,
            prompt_digest=digest_of(prompt),
            text=reply.text,
            parsed=parsed,
            tokens=reply.num_tokens,
            num_removed=self.shown.num_removed,
            num_dropped=self.num_dropped,
        )


async def reply_to(
    session: Session,
    show: Callable[[int], Shown],
    num_candidates: int,
    params: Params,
    *,
    num_replies: int = 1,
    fewest: int = 1,
    policy: str = ENGINE,
) -> Replied:
    """Return replies to ``show(n)``, the prompt with the best n candidates, with the greatest n that fits.

    ``num_candidates`` is the first n, ``fewest`` the last. Raises EngineError.
    """
    for shown, num, room in _ways(show, num_candidates, fewest, params.max_tokens):
        starts = [Trajectory(prompt=shown.prompt)] * num_replies
        found = await session.generate(starts, params, to_end=True, policy=policy, room=room)
        replies = [reply for reply in found if reply.steps]
        if replies or session.exhausted:
            return Replied(shown, num, num_candidates - num, policy, replies)
    return Replied(shown, 0, num_candidates, policy)


def _ways(
    show: Callable[[int], Shown], most: int, fewest: int, max_tokens: int
) -> Iterator[tuple[Shown, int, int]]:
    """Yield each prompt with how many candidates it shows and the room that it needs, the longest first.

    A prompt that dropping does not shorten, since it does not show them, is the last one.
    """
    for num in range(most, fewest, -1):
        yield (shown := show(num)), num, max_tokens
        if shown.prompt == show(fewest).prompt:
            yield shown, num, 1
            return
    yield show(fewest), fewest, 1


def digest_of(prompt: Prompt) -> str:
    """Return 64 bits over what a prompt says, its earlier turns included, in hexadecimal digits."""
    said = "".join(f"{turn.role}\0{turn.text}\0" for turn in prompt.history) + prompt.question
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:16]
