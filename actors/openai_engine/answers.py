"""From a whole answer to its steps: up to the one that states the answer, with the tokens of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from actors.openai_engine.messages import Message, Token, shares
from actors.text.tokens import TokenIds
from orchestrator.errors import EngineError
from orchestrator.protocols import Completion, GenerateRequest
from orchestrator.steps.cutting import OpenStep, split
from orchestrator.steps.rule import StepEnds
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
    after = ""
    for number, step in enumerate(steps, start=1):
        is_answer, after = request.answered_by(step.text, after), after + step.text
        if is_answer:
            ends = number < len(steps) or _is_whole_step(request.ends, step)
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
    """Yield the steps: they end on token boundaries where tokens are known, else within the text.

    Raises EngineError where steps are a number of tokens, and the server has not listed them.
    """
    ends = request.ends
    if ends.tokens is not None and message.text and not message.tokens:
        raise EngineError(
            f"task.step.tokens={ends.tokens}: the tokens that the server lists do not make its text"
        )
    if ends != StepEnds(request.delimiter):
        yield from _by_rule(ends, message, num_tokens)
        return
    if message.tokens:
        yield from _of_tokens(request.delimiter, message.tokens, message.text)
        return
    *closed, last = message.text.split(request.delimiter)
    texts = [text + request.delimiter for text in closed] + ([last] if last or not closed else [])
    numbers = shares(num_tokens, [len(text) for text in texts], num_tokens)
    yield from map(_Piece, texts, numbers)


def _is_whole_step(ends: StepEnds, step: Step) -> bool:
    """Return whether a step has ended, and not with the text."""
    is_full = ends.tokens is not None and len(step.token_ids) >= ends.tokens
    return is_full or (ends.delimiter is not None and ends.delimiter in step.text)


def _by_rule(ends: StepEnds, message: Message, num_tokens: int) -> Iterator[_Piece]:
    """Yield the steps that ``ends`` makes of a message; an end of text belongs to the last one."""
    if not message.tokens:
        texts = list(split(message.text, ends)) or [""]
        yield from map(_Piece, texts, shares(num_tokens, [len(text) for text in texts], num_tokens))
        return
    size, said = len(message.text.encode()), list[Token]()
    for token in message.tokens:
        if size > 0:
            said, size = [*said, token], size - len(token.data)
    pieces = list(_cut(ends, said)) or [[]]
    if ends.tokens is None or len(pieces[-1]) < ends.tokens:
        pieces[-1] = [*pieces[-1], *message.tokens[len(said) :]]
    texts = [_shown(tokens) for tokens in pieces]
    texts[-1] = message.text[len("".join(texts[:-1])) :]  # without the name of an end of text
    for text, tokens in zip(texts, pieces, strict=True):
        yield _Piece(text, len(tokens), sum(t.logprob for t in tokens))


def _cut(ends: StepEnds, tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Yield the tokens of each step."""
    rest = list(tokens)
    while rest:
        end = _end_of(ends, rest)
        yield rest[:end]
        rest = rest[end:]


def _end_of(ends: StepEnds, tokens: Sequence[Token]) -> int:
    """Return how many of the tokens the first step has."""
    step = OpenStep(ends)
    found = (step.end(lambda n: _shown(tokens[:n]), num) for num in range(1, len(tokens) + 1))
    return next((end for end in found if end is not None), len(tokens))


def _shown(tokens: Sequence[Token]) -> str:
    return b"".join(token.data for token in tokens).decode(errors="replace")


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
