"""Revise earlier attempts: chains of whole answers, each made from a prompt that shows what came before.

One loop, of which methods are settings (docs/roles.md): revisions ("Scaling LLM Test-Time Compute
Optimally", https://arxiv.org/abs/2408.03314), review-refine-repeat (IAD, https://arxiv.org/abs/2504.01931),
self-refine (https://arxiv.org/abs/2303.17651) and sequential search with hints
(https://arxiv.org/abs/2504.00294).

    chain_1 = width samples of the question
    chain_i = chain_{i-1} + width answers to prompt(question, carry(chain_{i-1}), feedback(chain_{i-1}))

Every attempt is an answer to the problem: it is rewarded, offered and graded as a sample is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from orchestrator.prompts.replies import finds_no_error
from orchestrator.prompts.template import Template
from orchestrator.schema import Count, Words, checked
from orchestrator.search.session import Session
from orchestrator.types import ENGINE, Prompt, Record, Sampling, Solution, Trajectory
from strategies.parts import checks
from strategies.parts.attempts import Carry, Chain, carried, fields_of, kept, show, turns
from strategies.parts.chooser import Chooser
from strategies.parts.concurrent import concurrently
from strategies.parts.feedback import PROMPTED, Feedback, Notes
from strategies.parts.prompted import Shown, reply_to
from strategies.parts.selection import SelectionName, choose, reads_rewards
from strategies.parts.weights import Aggregation, log_odds_of, readouts_for, reward_of

RefineRule = Literal["none", "threshold", "no_error", "oracle"]
_NEEDS_PROMPT = "must be a template, such as prompts@strategy.prompt=revise, for more than one iteration"
_NEEDS_CRITIQUE = "must be a template, such as prompts@strategy.critique={0}, with feedback={0}"


@dataclass(frozen=True)
class RefineStop:
    """When a chain ends before its last iteration.

    ``threshold``: a finished attempt has a reward of ``at`` or more (null: 0.9). ``no_error``: a critique
    finds none. ``oracle``: the latest attempt is right by the reference answer, and the files of the run say
    so.
    """

    rule: RefineRule = "none"
    at: Annotated[float | None, Ge(0), Words("must be a number of 0 or more, or null for 0.9")] = None

    def __post_init__(self) -> None:
        allowed = "needs strategy.stop.rule=threshold"
        checks.require(self.at is None or self.rule == "threshold", "stop.at", self.at, allowed)

    @property
    def level(self) -> float:
        return 0.9 if self.at is None else self.at


@dataclass(frozen=True)
@checked("strategy")
class Refine:
    """``chains`` chains side by side, each of ``iterations`` times ``width`` attempts.

    Budget N: ``num_samples`` = N attempts. With ``iterations`` null they are N over the attempts of an
    iteration, rounded up (the last one has what is left of N); with ``chains`` null there are about
    sqrt(N / width) chains. ``within`` chooses each chain's attempt (``last``: the latest), ``across`` among
    these. A critique or a hint is a call of ``teacher`` beside the N, counted under its role.
    ``Solution.log_weights``: the aggregated reward's log-odds, 0 without a verifier.
    """

    budget_knob: ClassVar[str] = "num_samples"
    independent_samples: ClassVar[bool] = False
    whole_answers: ClassVar[bool] = True

    num_samples: Count = 8
    width: Count = 1
    iterations: Count | None = None
    chains: Count | None = 1
    sampling: Sampling = Sampling()
    prompt: Template | None = None
    carry: Carry = "last_four"
    feedback: Feedback = "none"
    critique: Template | None = None
    critique_sampling: Sampling = Sampling()
    teacher: str = ENGINE
    stop: RefineStop = RefineStop()
    within: Literal["last"] | SelectionName | Chooser = "argmax"
    across: SelectionName | Chooser = "argmax"
    aggregation: Aggregation = "last"

    def __post_init__(self) -> None:
        fields, in_chat = fields_of(self.carry), self.carry == "conversation"
        _check(self.prompt, "prompt", fields, self._num_iterations > 1, _NEEDS_PROMPT, in_chat)
        needs_critique = _NEEDS_CRITIQUE.format(self.feedback)
        _check(self.critique, "critique", fields, self.feedback in PROMPTED, needs_critique)
        allowed = "must be 1 with strategy.carry=conversation: a chat has one reply to each message"
        checks.require(self.width == 1 or not in_chat, "width", self.width, allowed)
        allowed = "needs strategy.feedback=critique"
        checks.require(
            self.stop.rule != "no_error" or self.feedback == "critique", "stop.rule", "no_error", allowed
        )

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation) if self._scores else ()

    @property
    def prompts(self) -> bool:
        """Whether it asks anything else than the task's question: a first iteration does not."""
        return self._num_iterations > 1

    @property
    def num_answers(self) -> int:
        """How many attempts it makes at most: N, unless the iterations are fixed."""
        if self.iterations is None:
            return self.num_samples
        return self.iterations * self.width * self._num_chains

    @property
    def policies(self) -> tuple[str, ...]:
        """The policies that it asks, the main one first."""
        asks = self.prompts and self.feedback in PROMPTED
        return tuple(dict.fromkeys((ENGINE, self.teacher))) if asks else (ENGINE,)

    @property
    def in_chat(self) -> bool:
        """Whether its prompts have earlier turns, for which a policy needs a chat template."""
        return self.prompts and self.carry == "conversation"

    @property
    def knows_answers(self) -> bool:
        """Whether it uses the reference answers; the files of the run must then say so."""
        return self.prompts and (self.stop.rule == "oracle" or self.feedback == "hint")

    @property
    def _num_chains(self) -> int:
        return self.chains or max(1, round(math.sqrt(self.num_samples / self.width)))

    @property
    def _num_iterations(self) -> int:
        return self.iterations or math.ceil(self.num_samples / (self.width * self._num_chains))

    def _num_attempts(self, chain: int, iteration: int) -> int:
        """Return how many attempts a chain makes in an iteration; the first chains have what is left of N."""
        if self.iterations is not None:
            return self.width
        begun = ((iteration - 1) * self._num_chains + chain) * self.width
        return max(0, min(self.width, self.num_samples - begun))

    @property
    def _scores(self) -> bool:
        """Whether anything reads rewards."""
        chooses = {self.within, self.across if self._num_chains > 1 else self.within}
        return (
            any(how != "last" and reads_rewards(how) for how in chooses)
            or self.feedback in ("score", "reasons")
            or self.carry == "best_and_worst"
            or self.stop.rule == "threshold"
        )

    async def solve(self, session: Session) -> Solution:
        sizes = [self._num_attempts(number, 1) for number in range(self._num_chains)]
        first = iter(await self._attempt(session, [Trajectory()] * sum(sizes)))
        chains = [Chain(number) for number, size in enumerate(sizes) if size]
        for chain in chains:
            chain.add(list(islice(first, sizes[chain.number])), iteration=1)
        begun = [chain for chain in chains if chain.attempts]
        await concurrently(self._revise(session.fork(f"chain {c.number}"), c) for c in begun)
        return await self._conclude(session, begun)

    async def _revise(self, session: Session, chain: Chain) -> None:
        for iteration in range(2, self._num_iterations + 1):
            size = self._num_attempts(chain.number, iteration)
            if not size or session.exhausted or await self._reached(session, chain):
                return
            shown = carried(chain, self.carry, self.aggregation)
            notes = await self._notes.of(session, chain, shown, iteration)
            if self.stop.rule == "no_error" and finds_no_error(notes):
                return
            prompt = partial(self._prompt, session, chain, shown, notes)
            replied = await reply_to(session, prompt, len(shown), self.sampling, num_replies=size)
            if not replied.num_shown:
                chain.said.append(replied.record(iteration, parsed=False))
                return
            attempts = await self._score(session, replied.replies)
            read = kept(self.carry, shown, replied.num_shown)
            chain.add(attempts, iteration, read, replied.num_dropped, replied.shown.prompt.question)

    @property
    def _notes(self) -> Notes:
        keep = partial(kept, self.carry)
        return Notes(self.feedback, self.critique, self.critique_sampling, self.teacher, keep)

    def _prompt(self, session: Session, chain: Chain, shown: Sequence[int], notes: str, num: int) -> Shown:
        """Return the prompt for a revision that shows ``num`` of the attempts that are carried."""
        assert self.prompt is not None
        those = kept(self.carry, shown, num)
        filled = show(self.prompt, session.question, chain, those, notes, session.special)
        history = turns(session.question, chain, those, session.special) if self.in_chat else ()
        return Shown(Prompt(filled.text, self.prompt.instruction, history, role="revise"), filled.num_removed)

    async def _reached(self, session: Session, chain: Chain) -> bool:
        if self.stop.rule == "oracle":
            return await session.is_right(chain.attempts[-1])
        if self.stop.rule != "threshold":
            return False
        return any(reward_of(t, self.aggregation).reaches(self.stop.level) for t in chain.attempts)

    async def _attempt(self, session: Session, starts: Sequence[Trajectory]) -> list[Trajectory]:
        return await self._score(session, await session.generate(starts, self.sampling, to_end=True))

    async def _score(self, session: Session, attempts: list[Trajectory]) -> list[Trajectory]:
        return await session.score(attempts) if self._scores else attempts

    async def _conclude(self, session: Session, chains: Sequence[Chain]) -> Solution:
        """Return all attempts, those of the first iteration before the later ones of each chain."""
        places = _places(chains)
        ordered = {
            p: t for c, own in zip(chains, places, strict=True) for p, t in zip(own, c.attempts, strict=True)
        }
        trajectories = tuple(ordered[place] for place in range(len(ordered)))
        chosen = [own[await self._choose(session, chain)] for chain, own in zip(chains, places, strict=True)]
        winners = [trajectories[i] for i in chosen]
        best = await choose(session, winners, self._weights(winners), self.across, self.aggregation)
        history: list[Record] = []
        for chain, own in zip(chains, places, strict=True):
            history += [*chain.records(own), *chain.said]
        return Solution(
            answer_index=None if best.index is None else chosen[best.index],
            trajectories=trajectories,
            log_weights=self._weights(trajectories),
            history=(*history, *best.said),
            usage=session.usage,
        )

    async def _choose(self, session: Session, chain: Chain) -> int:
        if self.within == "last":
            finished = [i for i, t in enumerate(chain.attempts) if t.finished]
            return (finished or [0])[-1]
        weights = self._weights(chain.attempts)
        chosen = await choose(session, chain.attempts, weights, self.within, self.aggregation)
        chain.said += chosen.said
        return chosen.index or 0

    def _weights(self, attempts: Sequence[Trajectory]) -> tuple[float, ...]:
        return tuple(log_odds_of(t, self.aggregation) if self._scores else 0.0 for t in attempts)


def _places(chains: Sequence[Chain]) -> list[list[int]]:
    """Return where the solution has the attempts of each chain."""
    firsts = [sum(i == 1 for i in chain.iterations) for chain in chains]
    next_first, next_later, places = 0, sum(firsts), []
    for chain, num_first in zip(chains, firsts, strict=True):
        num_later = len(chain.attempts) - num_first
        places.append(
            [*range(next_first, next_first + num_first), *range(next_later, next_later + num_later)]
        )
        next_first, next_later = next_first + num_first, next_later + num_later
    return places


def _check(
    template: Template | None,
    knob: str,
    fields: Sequence[str],
    needed: bool,
    allowed: str,
    in_chat: bool = False,
) -> None:
    if template is None:
        checks.require(not needed, knob, None, allowed)
        return
    template.check(f"strategy.{knob}", fields, set() if in_chat else {"question"})
