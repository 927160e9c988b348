"""The tokens of a trajectory for a reward model: piece by piece, so that a longer trajectory only appends."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from actors.text.tokenising import PromptTokenizer
from actors.text.tokens import InnerTokenizer, TokenIds
from actors.verifiers.formats.verdict import Verdict
from orchestrator.errors import ConfigError

_NEWLINES = re.compile(r"\n+")


@dataclass(frozen=True, slots=True)
class Skeleton:
    """The texts around a question and its steps.

    A trajectory is ``before_question question after_question``, then for each step ``before_first`` or
    ``between``, the step as ``step`` renders it (``{step}`` and, from 1, ``{number}``), and ``tag``, at whose
    last token its reward is read. With ``special`` the tokenizer adds what begins every text. With
    ``one_newline`` steps that count as one have no blank lines.
    """

    before_question: str = ""
    after_question: str = "\n"
    before_first: str = ""
    between: str = ""
    step: str = "{step}"
    tag: str = "\n"
    special: bool = True
    one_newline: bool = False


@dataclass(frozen=True, slots=True)
class Rendered:
    """The tokens that a model reads: ``reads`` are the positions of the requested rewards, ascending.

    Every trajectory of the problem begins with the first ``num_shared`` tokens, those of the question.
    """

    token_ids: TokenIds
    reads: tuple[int, ...]
    num_shared: int

    @property
    def prompts(self) -> tuple[TokenIds, ...]:
        """For each reward, the tokens up to the position at which it is read."""
        return tuple(self.token_ids[: position + 1] for position in self.reads)


class Layout:
    """Turns texts into token ids; every piece is tokenised once, as it would be after another piece."""

    def __init__(self, tokenizer: Any, skeleton: Skeleton, notes: Mapping[str, str] | None = None) -> None:
        """Take ``notes``: where the texts differ from what the tokenizer's template alone would give."""
        self.tokenizer = tokenizer
        self.notes = dict(notes or {})
        self._skeleton = skeleton
        self._opening = PromptTokenizer(tokenizer)
        if skeleton.special and self._opening.ends:
            self.notes["end"] = self._opening.note
        self._tag = InnerTokenizer(tokenizer).ids(skeleton.tag)
        self._inner = InnerTokenizer(tokenizer, skeleton.tag)
        if not self._tag:
            allowed = "must be a text that the tokenizer knows"
            raise ConfigError("verifier.options.step_tag", repr(skeleton.tag), allowed)
        self.prompt = lru_cache(maxsize=4096)(self._prompt)

    def render(self, question: str, steps: Sequence[str], num_locked: int, readout: str) -> Rendered:
        """Return the tokens of a trajectory, read after each step from ``num_locked`` on.

        With ``whole`` all steps are one, read at its end. Without steps there is nothing to read.
        """
        prompt = self.prompt(question)
        if not steps:
            return Rendered((), (), 0)
        whole = readout == "whole"
        pieces = self._as_one(steps) if whole else [self._step(i, text) for i, text in enumerate(steps)]
        token_ids, reads = list(prompt), []
        for index, piece in enumerate(pieces):
            token_ids += piece
            if index >= (len(pieces) - 1 if whole else num_locked):
                reads.append(len(token_ids) - 1)
        return Rendered(tuple(token_ids), tuple(reads), len(prompt))

    def check_vocabulary(self, vocab_size: int, verdict: Verdict | None = None) -> None:
        """Raise ConfigError where the texts around steps, or a verdict, are beyond the model's embeddings."""
        ids = self.render("1", ("1", "1"), 0, "per_step").token_ids
        highest = max(*ids, *(verdict.outputs if verdict is not None else ()))
        if highest >= vocab_size:
            token = self.tokenizer.decode([highest])
            allowed = f"its tokenizer makes the token {token!r} ({highest}), the model has {vocab_size}"
            raise ConfigError("verifier.model", getattr(self.tokenizer, "name_or_path", ""), allowed)

    def _step(self, index: int, text: str) -> TokenIds:
        opening = self._skeleton.between if index else self._skeleton.before_first
        # The tag replaces the delimiter, which a step that ended with an end of text lacks.
        head, tail = self._around_step(index + 1)
        return self._piece(opening + head + text.rstrip() + tail, tagged=True)

    def _as_one(self, steps: Sequence[str]) -> list[TokenIds]:
        """The pieces of a trajectory that counts as one step: the texts, and one tag."""
        head, tail = self._around_step(1)
        if self._skeleton.one_newline:
            steps = [_NEWLINES.sub("\n", text) for text in steps]
        texts = [*steps[:-1], steps[-1].rstrip() + tail]
        texts[0] = self._skeleton.before_first + head + texts[0]
        last = len(texts) - 1
        return [self._piece(text, tagged=i == last) for i, text in enumerate(texts)]

    def _around_step(self, number: int) -> tuple[str, str]:
        head, _, tail = self._skeleton.step.partition("{step}")
        return head.replace("{number}", str(number)), tail.replace("{number}", str(number))

    def _prompt(self, question: str) -> TokenIds:
        skeleton = self._skeleton
        text = skeleton.before_question + question + skeleton.after_question
        return self._opening.ids(text, special=skeleton.special) if text else ()

    def _piece(self, text: str, *, tagged: bool) -> TokenIds:
        if not tagged:
            return self._inner.ids(text)
        joined = self._inner.ids(text + self._skeleton.tag)
        if joined[-len(self._tag) :] == self._tag:
            return joined
        return self._inner.ids(text) + self._tag  # together, the tag would merge with the step
