"""A toy language token by token: what a fake engine needs where steps do not end at the delimiter.

A language gives the probabilities of whole lines; here each next token has the share of the lines that agree
with what is written of the line so far.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from orchestrator.protocols import GenerateRequest
from orchestrator.splitting import StepSplitter
from orchestrator.steps.rule import StepEnds

EOS = 0
"""Token id of the end of text. Every other token is one character, its id the code point."""

Shares = Mapping[int, float]
"""The probability of each next token."""

Reshape = Callable[[list[float]], list[float]]
"""What temperature and nucleus make of probabilities."""


class _EveryToken:
    """A table that names every token."""

    def __getitem__(self, token: int) -> bool:
        return True


class CharacterTexts:
    """Tokens that are characters, as a splitter reads them."""

    @property
    def eos_ids(self) -> frozenset[int]:
        return frozenset({EOS})

    def can_end(self, ends: StepEnds) -> Any:
        return _EveryToken()

    def text(self, token_ids: tuple[int, ...], context: tuple[int, ...]) -> str:
        return "".join(chr(t) for t in token_ids if t != EOS)


@dataclass(frozen=True)
class TokenLanguage:
    """A language of lines: ``lines`` is one question's. Nothing follows a line that ``ends`` the text."""

    lines: Callable[[str], Mapping[str, float]]
    delimiter: str
    ends: Callable[[str], bool]

    def shares(self, text: str, reshape: Reshape = list) -> Shares:
        """Return the probability of each token that may follow a text."""
        options, begun = self._line(text)
        written = tuple(map(ord, begun))
        left = {line: p for line, p in options.items() if self._tokens(line)[: len(written)] == written}
        probabilities = reshape([p / math.fsum(left.values()) for p in left.values()])
        shares: dict[int, float] = {}
        for line, probability in zip(left, probabilities, strict=True):
            token = self._tokens(line)[len(written)]
            shares[token] = shares.get(token, 0.0) + probability
        return shares

    def logprob(self, text: str, token_ids: Sequence[int]) -> float:
        """Return the log-probability of tokens after a text."""
        total = 0.0
        for token in token_ids:
            share = self.shares(text).get(token, 0.0)
            total += math.log(share) if share else -math.inf
            text += chr(token) if token != EOS else ""
        return total

    def _line(self, text: str) -> tuple[Mapping[str, float], str]:
        """Return the lines that may follow the last whole one, and what is written of the next."""
        at = 0
        while True:
            options, rest = self.lines(text[:at]), text[at:]
            line = next((o for o in options if o.endswith(self.delimiter) and rest.startswith(o)), None)
            if line is None:
                return options, rest
            at += len(line)
            if self.ends(line):
                return {"": 1.0}, text[at:]

    def _tokens(self, line: str) -> tuple[int, ...]:
        ids = tuple(map(ord, line))
        return ids if line.endswith(self.delimiter) else (*ids, EOS)


def generated(
    request: GenerateRequest,
    language: TokenLanguage,
    rng_of: Callable[[int], np.random.Generator],
    reshape: Reshape,
) -> tuple[StepSplitter, list[int]]:
    """Return the steps of a request, and all its tokens; ``rng_of`` gives the numbers for a token's place."""
    splitter, begun, limit = (
        StepSplitter(request, CharacterTexts(), ()),
        request.begun,
        request.params.max_tokens,
    )
    tokens, logprobs = list(begun.token_ids), list(begun.logprobs)
    done = splitter.replay(begun, limit=limit, room=limit + 1)
    prefix = "".join(map(chr, request.token_ids))
    while not done:
        text = prefix + "".join(map(chr, tokens))
        shares, plain = language.shares(text, reshape), language.shares(text)
        rng = rng_of(len(request.token_ids) + len(tokens))
        tokens.append(list(shares)[rng.choice(len(shares), p=list(shares.values()))])
        logprobs.append(math.log(plain[tokens[-1]]))
        done = splitter.advance(tokens, logprobs, at_limit=len(tokens) >= limit)
    return splitter, tokens
