"""From a search's result to the objects of OpenAI's interface: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.errors import ProblemError
from orchestrator.outcome import Candidate, ProblemResult
from orchestrator.serving.errors import ApiError
from orchestrator.serving.query import Query
from orchestrator.storage.result_lines import result_line
from orchestrator.types import Usage


@dataclass(frozen=True)
class Reply:
    """The answer to one query. ``id`` and ``created``, in seconds since 1970, are those of the request."""

    query: Query
    result: ProblemResult
    id: str
    created: int

    @property
    def chosen(self) -> tuple[Candidate, ...]:
        """The best candidates, the answer first, then by reward and by weight: at most as many as requested.

        A search may end with fewer, and a limit may leave it none.
        """
        first, rest = self.result.candidates[:1], self.result.candidates[1:]
        ranked = sorted(rest, key=_rank, reverse=True)
        return (*first, *ranked)[: self.query.num_choices]

    def choices(self) -> list[tuple[str, str]]:
        """Return the text of each choice and why it ended; one that is empty where there is no candidate."""
        found = [(self._text(c), "stop" if c.trajectory.finished else "length") for c in self.chosen]
        return found or [("", "length")]

    def _text(self, candidate: Candidate) -> str:
        text = candidate.trajectory.text
        ends = [at for stop in self.query.stops if (at := text.find(stop)) >= 0]
        return text[: min(ends)] if ends else text

    def usage(self) -> dict[str, Any]:
        """Return OpenAI's usage: what is not in the choices is reasoning."""
        return usage_object(self.result.usage, sum(c.trajectory.num_tokens for c in self.chosen))

    def search(self) -> dict[str, Any]:
        """Return what a search has to say of itself, as a line of results.jsonl does."""
        query, line = self.query, result_line(self._shown())
        best = self.chosen[0].trajectory.reward if self.chosen else None
        # Nothing is known of right answers here.
        candidates = [{k: v for k, v in c.items() if k != "correct"} for c in line["candidates"]]
        return {
            "strategy": query.strategy_name,
            "budget": query.budget,
            "seed": query.seed,
            "problem_id": query.problem.id,
            "answer": line["answer"],
            "stopped_by": line["stopped_by"],
            "reward": None if best is None else best.value,
            "answer_index": line["answer_index"],
            "candidates": candidates,
            "usage": line["usage"],
            "overhead": line["overhead"],
            "seconds": line["seconds"],
            **({"history": line["history"]} if query.shows_progress else {}),
        }

    def _shown(self) -> ProblemResult:
        """Return the result without the history of a search that is not watched: no one reads it."""
        solution = self.result.solution
        if self.query.shows_progress or solution is None:
            return self.result
        return replace(self.result, solution=replace(solution, history=()))

    def whole(self) -> dict[str, Any]:
        """Return the answer to a request without a stream."""
        kind = self.query.kind
        choices = [
            {"index": i, **_said(kind, text, "message"), "logprobs": None, "finish_reason": reason}
            for i, (text, reason) in enumerate(self.choices())
        ]
        return {
            **self._head("chat.completion"),
            "choices": choices,
            "usage": self.usage(),
            "search": self.search(),
        }

    def chunks(self) -> Iterator[dict[str, Any]]:
        """Yield the end of a stream: the texts step by step, why each ended, and then the usage."""
        choices = self.choices()
        for i, (text, _) in enumerate(choices):
            if i > 0 and (first := opening(self.query, i)):
                yield self.chunk(first)
            for piece in self._pieces(i, text):
                yield self.chunk([_delta(self.query.kind, i, piece)])
        for i, (_, reason) in enumerate(choices):
            is_last = i == len(choices) - 1
            yield self.chunk([_delta(self.query.kind, i, None, reason)], self.search() if is_last else None)
        if self.query.includes_usage:
            yield {**self._head("chat.completion.chunk"), "choices": [], "usage": self.usage()}

    def chunk(self, choices: list[dict[str, Any]], search: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return one event of a stream."""
        return make_chunk(self.query, self.id, self.created, choices, self.usage(), search)

    def _pieces(self, i: int, text: str) -> Iterator[str]:
        """Yield a text step by step, up to where it was cut."""
        start = 0
        for step in self.chosen[i].trajectory.steps if self.chosen else ():
            end = min(start + len(step.text), len(text))
            if start < end:
                yield text[start:end]
            start = end

    def _head(self, name: str) -> dict[str, Any]:
        return head(self.query, self.id, self.created, name)


def _rank(candidate: Candidate) -> tuple[float, float]:
    reward = candidate.trajectory.reward
    return (-1.0 if reward is None else reward.value, candidate.log_weight)


def _said(kind: str, text: str, name: str) -> dict[str, Any]:
    return {"text": text} if kind == "text" else {name: {"role": "assistant", "content": text}}


def _delta(kind: str, index: int, text: str | None, reason: str | None = None) -> dict[str, Any]:
    said: dict[str, Any] = {"text": text or ""}
    if kind == "chat":
        said = {"delta": {} if text is None else {"content": text}}
    return {"index": index, **said, "logprobs": None, "finish_reason": reason}


def opening(query: Query, index: int = 0) -> list[dict[str, Any]]:
    """Return the choices of the chunk that begins one and names the role. The first is always there."""
    if query.kind == "text":
        return []
    delta = {"role": "assistant", "content": ""}
    return [{"index": index, "delta": delta, "logprobs": None, "finish_reason": None}]


def silent(query: Query) -> list[dict[str, Any]]:
    """Return the choices of a chunk that adds nothing to the text."""
    return [_delta(query.kind, 0, None)]


def head(query: Query, reply_id: str, created: int, name: str) -> dict[str, Any]:
    """Return what every object begins with; ``name`` is that of a chat's."""
    kind = name if query.kind == "chat" else "text_completion"
    return {"id": reply_id, "object": kind, "created": created, "model": query.model}


def make_chunk(
    query: Query,
    reply_id: str,
    created: int,
    choices: list[dict[str, Any]],
    usage: Mapping[str, Any] | None,
    search: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Return one event of a stream, with the usage so far where the client requested it in all of them."""
    chunk = {**head(query, reply_id, created, "chat.completion.chunk"), "choices": choices}
    if query.usage_in_all:
        chunk["usage"] = usage
    elif query.includes_usage:
        chunk["usage"] = None
    return chunk if search is None else {**chunk, "search": search}


def usage_object(usage: Usage, num_answer_tokens: int = 0) -> dict[str, Any]:
    """Return OpenAI's usage: prompts as the policy has read them, and every token that it has generated."""
    reasoning = max(0, usage.generated_tokens - num_answer_tokens)
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.generated_tokens,
        "total_tokens": usage.prompt_tokens + usage.generated_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def failed(error: ProblemError) -> ApiError:
    """Return what a client learns of a search that ended in an error: a text without room is its own."""
    kind, _, message = str(error).partition(": ")
    if kind == "ContextOverflow":
        return ApiError(400, f"the conversation is too long: {message}", None, "context_length_exceeded")
    return ApiError(500, f"the search failed: {type(error).__name__}: {error}", code=type(error).__name__)
