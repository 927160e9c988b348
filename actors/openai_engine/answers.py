"""From a whole answer to its steps: up to the one that states the answer, with the tokens of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from actors.openai_engine.messages import Message, Token, shares
from actors.text.tokens import TokenIds
from orchestrator.errors import EngineError
from orchestrator.protocols import Completion, GenerateRequest
from orchestrator.types import Finish, Step, Usage

UNKNOWN = -1
"""The id of a token that a server has counted and not shown; no engine continues from it."""
_FINISHES = {"length": Finish.LENGTH}

Ids = Callable[[str], TokenIds]


@dataclass(frozen=True, slots=True)
class _Piece:
    """The text of a step with the number of its tokens, and their log-probability where it is known."""

    text: str
    num_tokens: int
    logprob: float | None = None


def completion_of(
    request: GenerateRequest, message: Message, num_tokens: int, prompt: tuple[int, int], *, ids: Ids | None
) -> Completion:
    """Return the completion of a message of ``num_tokens``; ``prompt`` is how many were read, and cached.

    ``ids`` is the tokenizer's; without it a step has as many ``UNKNOWN`` tokens as the server has counted.
    Raises EngineError where that is not possible.
    """
    if message.text and not num_tokens and ids is None:
        raise EngineError("the server counts no tokens: set engine.tokenizer to count them here")
    pieces = list(_pieces(request, message, num_tokens))
    steps = [_step(piece, ids) for piece in pieces]
    finish = _FINISHES.get(message.reason, Finish.EOS)
    for number, step in enumerate(steps, start=1):
        if request.answered_by(step.text):
            ends = number < len(steps) or request.delimiter in step.text
            steps, finish = steps[:number], Finish.STEP if ends else finish
            break
    steps[-1] = replace(steps[-1], finish=finish)
    num_kept, most = sum(len(s.token_ids) for s in steps), request.params.max_tokens
    if num_kept > most:
        counts = f"the server's {num_tokens} tokens are {num_kept} here, and {most} are allowed"
        raise EngineError(f"{counts}: is engine.tokenizer the server's?")
    return Completion(tuple(steps), Usage(num_tokens or num_kept, *prompt))


def _step(piece: _Piece, ids: Ids | None) -> Step:
    token_ids = (UNKNOWN,) * piece.num_tokens if ids is None else ids(piece.text)
    return Step(piece.text, token_ids, piece.logprob)


def _pieces(request: GenerateRequest, message: Message, num_tokens: int) -> Iterator[_Piece]:
    """Yield the steps: they end on token boundaries where tokens are known, else after each delimiter."""
    if message.tokens:
        yield from _of_tokens(request.delimiter, message.tokens, message.text)
        return
    *closed, last = message.text.split(request.delimiter)
    texts = [text + request.delimiter for text in closed] + ([last] if last or not closed else [])
    numbers = shares(num_tokens, [len(text) for text in texts], num_tokens)
    yield from map(_Piece, texts, numbers)


def _of_tokens(delimiter: str, tokens: Sequence[Token], text: str) -> Iterator[_Piece]:
    """Yield the steps of tokens that make ``text``.

    An end of text behind it belongs to the last step, unless that has ended by its delimiter.
    """
    data, mark, begun, left = b"", delimiter.encode(), 0, len(text.encode())
    for number, token in enumerate(tokens, start=1):
        if left:
            data, left = data + token.data, left - len(token.data)
        is_last = number == len(tokens) and (data or not begun)
        if is_last or (mark in data and _is_whole(data)):
            yield _Piece(data.decode(), number - begun, sum(t.logprob for t in tokens[begun:number]))
            data, begun = b"", number


def _is_whole(data: bytes) -> bool:
    """Return whether the bytes are whole characters."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
