"""From a request of OpenAI's interface to a search: pure, and every refusal names its field."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from orchestrator.config.naming import named_policies
from orchestrator.search.account import Limits
from orchestrator.search.budgets import most_answers_in
from orchestrator.search.strategy import Strategy, in_chat
from orchestrator.serving.errors import ApiError, bad
from orchestrator.serving.offers import Decoding, Offer, Offers
from orchestrator.serving.requests import ChatRequest, Common, CompletionRequest, Message, SearchLimits
from orchestrator.types import ENGINE, Denoising, Problem, Role, Turn

Kind = Literal["chat", "text"]


@dataclass(frozen=True)
class Caps:
    """What the server adds to a request: its budget and seed by default, and the most that it may take.

    ``without_history`` are the policies whose prompts hold no earlier turns, ``reads`` is the verifier's.
    """

    budget: int = 8
    seed: int = 0
    limits: Limits = Limits()
    max_budget: int = 256
    most: Limits = Limits()
    without_history: frozenset[str] = frozenset()
    reads: str | None = None
    has_prices: bool = False


@dataclass(frozen=True)
class Query:
    """One request, understood: what to search, with what, and what the client reads of it.

    ``max_tokens`` bounds each candidate; a candidate ends at the first of ``stops``. ``states_tokens`` says
    that the request has stated a limit of generated tokens itself.
    """

    kind: Kind
    model: str
    problem: Problem
    strategy_name: str
    strategy: Strategy
    budget: int
    seed: int
    limits: Limits
    num_choices: int
    max_tokens: int | None = None
    stops: tuple[str, ...] = ()
    streams: bool = False
    shows_progress: bool = False
    includes_usage: bool = False
    usage_in_all: bool = False
    states_tokens: bool = False


def read_chat(request: ChatRequest, offers: Offers, caps: Caps, path: str | None = None) -> Query:
    """Return the search of a chat request; ``path`` is the strategy that its address names."""
    question, history = conversation(request.messages)
    limits = {request.max_tokens, request.max_completion_tokens} - {None}
    if len(limits) > 1:
        raise bad("max_completion_tokens", request.max_completion_tokens, "differs from max_tokens")
    return _query("chat", request, question, history, next(iter(limits), None), offers, caps, path)


def read_completion(request: CompletionRequest, offers: Offers, caps: Caps, path: str | None = None) -> Query:
    """Return the search of a completion request, whose prompt is the question."""
    prompt = request.prompt if isinstance(request.prompt, str) else request.prompt[0]
    if not prompt.strip():
        raise bad("prompt", prompt, "must not be empty")
    return _query("text", request, prompt, (), request.max_tokens, offers, caps, path)


def conversation(messages: Sequence[Message]) -> tuple[str, tuple[Turn, ...]]:
    """Return the question, which is the last message, and the turns before it. Raises ApiError."""
    last = len(messages) - 1
    for i, message in enumerate(messages):
        place = f"messages.{i}"
        if message.role in ("system", "developer") and i > 0:
            raise bad(f"{place}.role", message.role, "may only be the first message")
        if i == last and message.role != "user":
            raise bad(f"{place}.role", message.role, "the last message must be the user's")
        if not message.text.strip():
            raise bad(f"{place}.content", message.text, "must not be empty")
    turns = tuple(Turn(_role(message), message.text) for message in messages[:-1])
    return messages[-1].text, turns


def _role(message: Message) -> Role:
    return "system" if message.role == "developer" else message.role


def _query(
    kind: Kind,
    request: Common,
    question: str,
    history: tuple[Turn, ...],
    max_tokens: int | None,
    offers: Offers,
    caps: Caps,
    path: str | None,
) -> Query:
    offer = chosen(request, offers, path)
    budget = _budget(request, caps)
    strategy = offers.build(offer, budget, request.search.knobs, Decoding(request.temperature, request.top_p))
    if request.search.knobs and (num := most_answers_in(strategy)) > caps.max_budget:
        _check_answers(request.search.knobs, num, offers.build(offer, budget, {}, Decoding()), caps)
    _check_canvas(strategy, max_tokens)
    _check_history(strategy, offer, history, caps)
    if request.stream_options is not None and not request.stream:
        raise bad("stream_options", request.stream_options.model_dump(), "needs stream=true")
    options = request.stream_options
    return Query(
        kind=kind,
        model=request.model or offer.model,
        problem=Problem(
            request.search.problem_id or problem_id(question, history), question, "", {}, history
        ),
        strategy_name=offer.name,
        strategy=strategy,
        budget=budget,
        seed=caps.seed if request.seed is None else request.seed,
        limits=limited(request.search.limits, caps),
        num_choices=_num_choices(request, offer, budget),
        max_tokens=max_tokens,
        stops=request.stops,
        streams=bool(request.stream),
        shows_progress=request.search.progress,
        includes_usage=options is not None and options.include_usage,
        usage_in_all=options is not None and options.continuous_usage_stats,
        states_tokens=request.search.limits.generated_tokens is not None,
    )


def chosen(request: Common, offers: Offers, path: str | None) -> Offer:
    """Return the strategy that the path, ``search.strategy`` or the model names. Raises ApiError."""
    stated: list[tuple[str, Offer]] = []
    if path is not None:
        stated.append(("the path", offers.named(path, "path")))
    if request.search.strategy is not None:
        stated.append(("search.strategy", offers.named(request.search.strategy, "search.strategy")))
    if request.model is not None and (of_model := offers.of_model(request.model)) is not None:
        stated.append(("model", of_model))
    names = {offer.name for _, offer in stated}
    if len(names) > 1:
        places = " and ".join(f"{place} ({offer.name})" for place, offer in stated)
        raise ApiError(400, f"{places} name different strategies", "search.strategy")
    return stated[0][1] if stated else offers.all[offers.default]


def _budget(request: Common, caps: Caps) -> int:
    budget = request.search.budget
    if budget is not None and budget > caps.max_budget:
        raise bad("search.budget", budget, f"must be at most {caps.max_budget} (serve.max_budget)")
    return min(caps.budget, caps.max_budget) if budget is None else budget


def _check_answers(knobs: Mapping[str, Any], num: int, usual: Strategy, caps: Caps) -> None:
    """Raise ApiError where knobs request more answers than a budget may, and than without them."""
    most = max(caps.max_budget, most_answers_in(usual))
    if num > most:
        raise bad("search.knobs", dict(knobs), f"request {num} answers: at most {most} (serve.max_budget)")


def limited(stated: SearchLimits, caps: Caps) -> Limits:
    """Return the limits of a request: what it states must be below the caps, the rest is clipped to them."""
    if stated.cost is not None and not caps.has_prices:
        raise bad(
            "search.limits.cost", stated.cost, "cannot be honoured: no policy of this server has a price"
        )
    values = {}
    for name in (f.name for f in fields(Limits)):
        own, usual, most = (getattr(each, name) for each in (stated, caps.limits, caps.most))
        if own is not None and most is not None and own > most:
            raise bad(f"search.limits.{name}", own, f"must be at most {most:g} (serve.limits.{name})")
        bounds = [each for each in (usual, most) if each is not None]
        values[name] = own if own is not None else min(bounds, default=None)
    return Limits(**values)


def _num_choices(request: Common, offer: Offer, budget: int) -> int:
    num = request.n or 1
    if num == 1:
        return num
    most = budget if offer.budget_knob(budget) is not None else 1
    if num > most:
        raise bad("n", num, f"must be at most {most}, the candidates of {offer.name} with budget {budget}")
    return num


def _check_canvas(strategy: Strategy, max_tokens: int | None) -> None:
    """Raise ApiError where the answer must be shorter than the canvas, which is always filled whole."""
    denoising = getattr(strategy, "denoising", None)
    if isinstance(denoising, Denoising) and max_tokens is not None and max_tokens < denoising.gen_length:
        allowed = f"the canvas has {denoising.gen_length} positions: set search.knobs.denoising.gen_length"
        raise bad("max_tokens", max_tokens, allowed)


def _check_history(strategy: Strategy, offer: Offer, history: Sequence[Turn], caps: Caps) -> None:
    """Raise ApiError where a policy would be asked without the turns before, for want of a place for them."""
    if in_chat(strategy) and ENGINE in caps.without_history:
        raise bad("search.strategy", offer.name, "shows earlier turns, and the policy has no chat template")
    read = caps.reads if strategy.readouts else None
    asked = [ENGINE, *(name for _, name in named_policies(strategy, "strategy")), read]
    lacking = next((name for name in asked if name in caps.without_history), None)
    if history and lacking is not None:
        policy = "the policy" if lacking == ENGINE else f"policy={lacking}, which {offer.name} asks,"
        allowed = f"{policy} has no chat template: one user message, without history or a system message"
        raise ApiError(400, f"messages: {allowed}", "messages")


def problem_id(question: str, history: Sequence[Turn]) -> str:
    """Return the id of a question that has none: equal conversations have equal ids, and so equal answers."""
    text = json.dumps([question, *((turn.role, turn.text) for turn in history)])
    return f"request-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"
