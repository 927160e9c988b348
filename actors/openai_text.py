"""One request to a server that takes and gives text: what ended it, and its steps as local token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from actors.reward_formats.layout import InnerTokenizer
from actors.tokenising import adds_beginning
from orchestrator.errors import EngineError
from orchestrator.protocols import Completion, GenerateRequest
from orchestrator.seeds import derive_seed
from orchestrator.types import Finish, Step, Usage

# Where servers say which stop text ended a completion: vLLM, SGLang, llama.cpp.
_STOP_KEYS = ("stop_reason", "matched_stop", "stopping_word")


def prompt_text(tokenizer: Any, token_ids: Sequence[int]) -> str:
    """The text that a server tokenises to these ids.

    It puts the beginning of text there by itself, where its tokenizer, which is ours, does.
    """
    text: str = tokenizer.decode(
        list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
    )
    return text.removeprefix(tokenizer.bos_token) if adds_beginning(tokenizer) else text


@dataclass(slots=True)
class TextGeneration:
    """The text of one request so far. Up to a marker and on to the end of its step takes two stretches.

    Two more follow where that step does not answer.
    """

    request: GenerateRequest
    tokenizer: Any
    text: str = ""
    num_tokens: int = 0
    is_done: bool = False
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
        self,
        choice: Mapping[str, Any],
        num_tokens: int,
        logprobs: Sequence[float] | None,
        usage: Mapping[str, Any],
        num_cached: int,
    ) -> None:
        """Adds a stretch as the server returned it, with the stop text that it leaves out."""
        if self._num_stretches == 0:
            self._prompt_tokens, self._cached_tokens = int(usage["prompt_tokens"]), num_cached
        if self._logprobs is not None and logprobs is not None:
            self._logprobs.extend(logprobs)
        else:
            self._logprobs = None
        stops = self.stops
        self._num_stretches += 1
        self.num_tokens += num_tokens
        self.text += choice["text"]
        if choice["finish_reason"] == "length":
            self.is_done = True
            return
        stopped_at = _stopped_at(choice, stops)
        if stopped_at is None:
            self._finish, self.is_done = Finish.EOS, True
            return
        if not choice["text"].endswith(stopped_at):
            self.text += stopped_at
        # A marker may end with the delimiter: its step is then over.
        if self._ends():
            self._finish, self.is_done = Finish.STEP, True
        else:
            self.is_done = num_tokens == 0 or self.num_tokens >= self.request.params.max_tokens

    def _ends(self) -> bool:
        """Whether the text so far ends with the step that was asked for."""
        delimiter = self.request.delimiter
        if not self.text.endswith(delimiter):
            return False
        step = self.text.removesuffix(delimiter).rpartition(delimiter)[2] + delimiter
        return not self.request.to_end or self.request.answered_by(step)

    def completion(self) -> Completion:
        """Raises EngineError where the local tokenizer cannot be the server's."""
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
        usage = Usage(self.num_tokens, self._prompt_tokens, self._cached_tokens)
        return Completion(tuple(steps), usage)

    def _texts(self) -> list[str]:
        """The texts of the steps: each keeps its delimiter, and the answer's is the last."""
        delimiter = self.request.delimiter
        parts = self.text.split(delimiter)
        texts = [part + delimiter for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
        texts = texts or [""]
        if self._finish is Finish.EOS and self.text.endswith(delimiter):
            texts.append("")  # a step that is nothing but the end of the text
        for i, text in enumerate(texts):
            if self.request.answered_by(text):
                return texts[: i + 1]
        return texts


def _stopped_at(choice: Mapping[str, Any], stops: Sequence[str]) -> str | None:
    """Which of ``stops`` ended a completion; None: the end of the text did.

    Raises EngineError where the server does not say, since the two cannot be told apart then.
    """
    if not stops:
        return None
    for key in _STOP_KEYS:
        if key in choice:
            return choice[key] if choice[key] in stops else None
    found = [stop for stop in stops if choice["text"].endswith(stop)]
    if found:  # some servers leave the stop text in
        return found[0]
    keys = ", ".join(_STOP_KEYS)
    raise EngineError(
        f"the server does not say whether the step delimiter ended a step (no {keys} in its reply)"
    )
