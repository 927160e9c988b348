"""One request to a server that takes and returns text: what ended it, and its steps as local token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from actors.openai_engine.checks import Reply
from actors.text.tokenising import adds_beginning
from actors.text.tokens import InnerTokenizer
from orchestrator.errors import EngineError
from orchestrator.protocols import Completion, GenerateRequest
from orchestrator.seeds import derive_seed
from orchestrator.types import Finish, Step, Usage


def prompt_text(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """Return the text that a server tokenises to these ids.

    The server adds the beginning of text where its tokenizer, which is the local one, does.
    """
    text: str = tokenizer.decode(
        list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return text.removeprefix(tokenizer.bos_token) if adds_beginning(tokenizer) else text


def end_names(tokenizer: Any, eos_ids: frozenset[int]) -> tuple[str, ...]:
    """Return the ends of text that are special tokens, as a server that leaves them in writes them."""
    special = {i: t.content for i, t in tokenizer.added_tokens_decoder.items() if t.special}
    return tuple(special[i] for i in sorted(eos_ids & special.keys()))


def cut_at_end(reply: Reply, names: Sequence[str]) -> tuple[Reply, bool]:
    """Return a reply up to the end of text that is left in it, and whether text followed that."""
    found = min(((at, name) for name in names if (at := reply.text.find(name)) >= 0), default=None)
    if found is None:
        return reply, False
    at, name = found
    return replace(reply, text=reply.text[:at], reason="eos"), at + len(name) < len(reply.text)


@dataclass(slots=True)
class StopNames:
    """What is known about how a server names the stop that ended a completion.

    ``cuts``: it names none, so requests have no stops and replies are cut here. ``trusts_none``: where it
    says None, the text has ended; some gateways always say None.
    """

    cuts: bool = False
    trusts_none: bool = False

    def see(self, reply: Reply, stops: Sequence[str]) -> None:
        """Learn from any completion that was requested with ``stops``."""
        if stops and reply.reason == "stop" and reply.stops is None and not _left_in(reply, stops):
            self.cuts = True
        elif stops and reply.stop_among(stops):
            self.trusts_none = True

    def check(self, doubted: str, stops: Sequence[str], whole: str) -> None:
        """Learn from the retry without ``stops`` of a ``doubted`` text, which the server ended."""
        rest = whole.removeprefix(doubted)
        if whole == doubted:
            self.trusts_none = True
        elif len(rest) < len(whole) and any(rest.startswith(stop) for stop in stops):
            self.cuts = True


@dataclass(slots=True)
class TextGeneration:
    """The text of one request so far. Up to a marker and on to the end of its step takes two stretches.

    Two more follow where that step does not answer. ``limit`` is the number of tokens it may have.
    """

    request: GenerateRequest
    tokenizer: Any
    limit: int
    text: str = ""
    num_tokens: int = 0
    is_done: bool = False
    _was_asked: bool = False
    _num_again: int = 0
    _finish: Finish = Finish.LENGTH
    _num_stretches: int = 0
    _logprobs: list[float] | None = field(default_factory=list)
    _prompt_tokens: int = 0
    _cached_tokens: int = 0

    @property
    def seed(self) -> int:
        if self._num_stretches == 0:
            return self.request.seed
        return derive_seed(self.request.seed, "stretch", self._num_stretches)

    @property
    def stops(self) -> list[str]:
        """The texts at which this stretch ends."""
        marker, open_text = self.request.answer_marker, self.text.rpartition(self.request.delimiter)[2]
        if not self.request.to_end or (marker is not None and marker in open_text):
            return [self.request.delimiter]
        return [] if marker is None else [marker]

    def take(
        self, reply: Reply, logprobs: Sequence[float] | None, stops: Sequence[str], *, trusts_none: bool
    ) -> bool:
        """Add a stretch that was requested with ``stops``, and the stop text that the server leaves out.

        Return False, with only its cost added, where the stretch may have ended at a stop or with the text
        and the server does not say which: it has to be retried without stops.
        """
        if not self._was_asked:
            self._prompt_tokens, self._cached_tokens = (
                reply.num_prompt,
                min(reply.num_cached, reply.num_prompt),
            )
            self._was_asked = True
        delimiter = self.request.delimiter
        stopped_at, is_known = _stopped_at(reply, stops, delimiter, trusts_none=trusts_none)
        if not is_known:
            self._num_again += reply.num_generated
            return False
        self._num_stretches += 1
        self.num_tokens += reply.num_generated
        self.text += reply.text
        self._keep(logprobs)
        if not stops and self._cut():
            return True
        if reply.reason == "length":
            self.is_done = True
        elif stopped_at is None:
            self._finish, self.is_done = Finish.EOS, True
        else:
            self._stop(stopped_at, reply.num_generated)
        return True

    def _keep(self, logprobs: Sequence[float] | None) -> None:
        if self._logprobs is not None and logprobs is not None:
            self._logprobs.extend(logprobs)
        else:
            self._logprobs = None

    def _stop(self, stopped_at: str, num_new: int) -> None:
        if not self.text.endswith(stopped_at):
            self.text += stopped_at
        # A marker may end with the delimiter: its step has then ended.
        if self._ends():
            self._finish, self.is_done = Finish.STEP, True
        else:
            self.is_done = num_new == 0 or self.num_tokens >= self.limit

    def _ends(self) -> bool:
        """Return whether the text so far ends with the requested step."""
        delimiter = self.request.delimiter
        if not self.text.endswith(delimiter):
            return False
        step = self.text.removesuffix(delimiter).rpartition(delimiter)[2] + delimiter
        return not self.request.to_end or self.request.answered_by(step)

    def _cut(self) -> bool:
        """Cut off what follows the requested step or answer; return whether the text has its end."""
        end = self._end_of_asked()
        if end is None:
            return False
        rest, self.text = self.text[end:], self.text[:end]
        self._finish, self.is_done = Finish.STEP, True
        if rest:
            self._logprobs = None  # some are of tokens that are not kept
        return True

    def _end_of_asked(self) -> int | None:
        """Return where the requested step ends in the text: the first, or with ``to_end`` the answer's."""
        delimiter, end = self.request.delimiter, 0
        while (found := self.text.find(delimiter, end)) >= 0:
            begin, end = end, found + len(delimiter)
            if not self.request.to_end or self.request.answered_by(self.text[begin:end]):
                return end
        return None

    def completion(self) -> Completion:
        """Return the completion. Raises EngineError where the local tokenizer cannot be the server's."""
        ids, texts = InnerTokenizer(self.tokenizer).ids, self._texts()
        steps = [Step(text, ids(text)) for text in texts]
        if self._finish is Finish.EOS and self.tokenizer.eos_token_id is not None:
            steps[-1] = replace(steps[-1], token_ids=(*steps[-1].token_ids, int(self.tokenizer.eos_token_id)))
        steps[-1] = replace(steps[-1], finish=self._finish)
        if len(steps) == 1 and self._logprobs:
            steps[0] = replace(steps[0], logprob=float(sum(self._logprobs)))
        num_local, most = sum(len(s.token_ids) for s in steps), self.request.params.max_tokens
        if num_local > most:
            counts = f"the server's {self.num_tokens} tokens are {num_local} here, and {most} are allowed"
            raise EngineError(f"{counts}: is engine.tokenizer the server's?")
        # Some gateways count nothing: their tokens are not free.
        num_tokens = self.num_tokens + self._num_again or (num_local if self.text else 0)
        usage = Usage(num_tokens, self._prompt_tokens, self._cached_tokens)
        return Completion(tuple(steps), usage)

    def _texts(self) -> list[str]:
        """Return the texts of the steps: each keeps its delimiter, and the answer's is the last."""
        delimiter = self.request.delimiter
        parts = self.text.split(delimiter)
        texts = [part + delimiter for part in parts[:-1]]
        # After a delimiter the end of the text is a step of its own, with or without a text.
        if parts[-1] or not texts or self._finish is Finish.EOS:
            texts.append(parts[-1])
        for i, text in enumerate(texts):
            if self.request.answered_by(text):
                return texts[: i + 1]
        return texts


def _stopped_at(
    reply: Reply, stops: Sequence[str], delimiter: str, *, trusts_none: bool
) -> tuple[str | None, bool]:
    """Return which of ``stops`` ended a completion (None: the end of the text), and whether that is known.

    A server with further stops may name the delimiter, which does not end the text either.
    """
    if not stops or reply.reason != "stop":
        return None, True
    named = [stop for stop in (*stops, delimiter) if stop in (reply.stops or ())] or _left_in(reply, stops)
    if named:
        return named[0], True
    says_other = any(name is not None for name in reply.stops or ())
    return None, says_other or (reply.stops is not None and trusts_none)


def _left_in(reply: Reply, stops: Sequence[str]) -> list[str]:
    """Return the stops at the end of a text: some servers leave them in."""
    return [stop for stop in stops if reply.text.endswith(stop)]
