"""What a request changes of a strategy reaches every part of it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from omegaconf import OmegaConf

from orchestrator.serving.composing import changed
from orchestrator.serving.errors import ApiError
from orchestrator.serving.offers import Decoding, Offer, Offers
from orchestrator.serving.query import Caps, read_chat
from orchestrator.serving.requests import ChatRequest
from orchestrator.types import Sampling
from strategies import ComputeOptimal, Mixture, Speculative
from tests.orchestrator.serving.served import ANSWERS

NESTED: dict[str, Any] = {
    "_target_": "strategies.ComputeOptimal",
    "probes": 4,
    "sampling": ANSWERS,
    "otherwise": {
        "_target_": "strategies.BestOfN",
        "num_samples": "${budget}",
        "sampling": "${strategy.sampling}",
    },
}
ARMS: dict[str, Any] = {
    "_target_": "strategies.Mixture",
    "num_samples": "${budget}",
    "sampling": ANSWERS,
    "prior_sampling": ANSWERS,
    "arms": {
        "rebase": {
            "_target_": "strategies.MixtureArm",
            "strategy": {"_target_": "strategies.Rebase", "num_samples": 2, "sampling": ANSWERS},
        },
        "best_of_n": {
            "_target_": "strategies.MixtureArm",
            "strategy": {
                "_target_": "strategies.BestOfN",
                "num_samples": 2,
                "sampling": ANSWERS,
                "selection": {
                    "_target_": "strategies.Mbr",
                    "evidence": 0,
                    "evidence_prompt": {"_target_": "orchestrator.Template", "text": "{question}"},
                    "sampling": ANSWERS,
                },
            },
        },
    },
}
DRAFTS: dict[str, Any] = {
    "_target_": "strategies.Speculative",
    "sampling": ANSWERS,
    "draft_sampling": "${strategy.sampling}",
}


def offers_of(node: dict[str, Any]) -> Offers:
    """A server's one strategy, ``named``."""
    config = OmegaConf.create({"budget": 1, "strategy": node})
    knobs_set = partial(changed, config, {})
    offer = Offer("named", lambda budget: knobs_set(budget, {}), changed=knobs_set)
    return Offers({"named": offer}, "named", {})


def built(node: dict[str, Any], knobs: dict[str, Any], budget: int = 8, **decoding: float) -> Any:
    offers = offers_of(node)
    return offers.build(offers.all["named"], budget, knobs, Decoding(**decoding))


def test_what_refers_to_a_knob_follows_it() -> None:
    strategy: ComputeOptimal = built(NESTED, {"sampling": {"max_tokens": 7}})
    otherwise: Any = strategy.otherwise
    assert strategy.sampling == otherwise.sampling == Sampling(0.8, 1.0, 7)
    assert otherwise.num_samples == 8


def test_a_knob_of_one_part_leaves_what_it_referred_to_alone() -> None:
    strategy: ComputeOptimal = built(NESTED, {"otherwise": {"sampling": {"max_tokens": 7}}})
    otherwise: Any = strategy.otherwise
    assert strategy.sampling == Sampling(0.8, 1.0, 24)
    assert otherwise.sampling == Sampling(0.8, 1.0, 7)


@pytest.mark.parametrize("value", ["${budget}", "${oc.env:HOME}", "???"])
def test_nothing_in_a_request_is_resolved(value: str) -> None:
    with pytest.raises(ApiError, match=r"^search\.knobs\.probes='.*': must be a plain value"):
        built(NESTED, {"probes": value})


def test_a_temperature_reaches_every_strategy_inside() -> None:
    strategy: ComputeOptimal = built(NESTED, {}, temperature=0.0, top_p=0.5)
    otherwise: Any = strategy.otherwise
    assert strategy.sampling == otherwise.sampling == Sampling(0.0, 0.5, 24)


def test_a_temperature_reaches_all_arms_and_leaves_roles_alone() -> None:
    strategy: Mixture = built(ARMS, {}, temperature=0.0)
    arms: dict[str, Any] = {name: arm.strategy for name, arm in strategy._named}
    assert (
        strategy.sampling == arms["rebase"].sampling == arms["best_of_n"].sampling == Sampling(0.0, 1.0, 24)
    )
    assert strategy.prior_sampling == arms["best_of_n"].selection.sampling == Sampling(0.8, 1.0, 24)


def test_a_temperature_reaches_the_drafts() -> None:
    strategy: Speculative = built(DRAFTS, {}, temperature=0.3)
    assert strategy.sampling == strategy.draft_sampling == Sampling(0.3, 1.0, 24)


def test_a_temperature_that_one_part_cannot_honour_is_refused() -> None:
    node = {
        **NESTED,
        "otherwise": {**NESTED["otherwise"], "sampling": {"temperature": 0.8, "max_tokens": 24}},
    }
    with pytest.raises(ApiError, match=r"^top_p=0\.5: cannot be honoured by strategy named"):
        built(node, {}, top_p=0.5)


REFINE: dict[str, Any] = {
    "_target_": "strategies.Refine",
    "num_samples": "${budget}",
    "width": 1,
    "iterations": None,
    "chains": 1,
    "prompt": {"_target_": "orchestrator.Template", "text": "{question} {attempts}"},
}
LAYERED: dict[str, Any] = {
    "_target_": "strategies.Pipeline",
    "num_samples": "${budget}",
    "layers": [[{"generate": {"samples": None}}], [{"select": {"by": "vote"}}]],
}


def asked(node: dict[str, Any], knobs: dict[str, Any], budget: int = 1) -> Any:
    """The strategy of a request to a server whose ``max_budget`` is 4."""
    search = {"knobs": knobs, "budget": budget}
    body = {"model": "murmuration", "messages": [{"role": "user", "content": "abca"}], "search": search}
    return read_chat(ChatRequest.model_validate(body), offers_of(node), Caps(max_budget=4)).strategy


@pytest.mark.parametrize(
    ("node", "knobs", "num"),
    [
        (NESTED, {"otherwise": {"num_samples": 500}}, 500),
        (REFINE, {"iterations": 30, "width": 20}, 600),
        (REFINE, {"iterations": 30, "chains": None}, 30),
        (LAYERED, {"layers": [[{"generate": {"samples": 5000}}]]}, 5000),
        (LAYERED, {"layers": [[{"generate": {"samples": 2}}, {"generate": {"samples": 3}}]]}, 5),
        (ARMS, {"arms": {"best_of_n": {"strategy": {"selection": {"evidence": 50}}}}}, 50),
    ],
)
def test_no_knob_goes_beyond_the_largest_budget(
    node: dict[str, Any], knobs: dict[str, Any], num: int
) -> None:
    with pytest.raises(ApiError) as refused:
        asked(node, knobs)
    message = refused.value.message
    assert message.startswith("search.knobs={") and refused.value.status == 400
    assert message.endswith(f": request {num} answers: at most 4 (serve.max_budget)")


@pytest.mark.parametrize(
    ("node", "knobs"),
    [
        (NESTED, {"otherwise": {"num_samples": 4}}),
        (REFINE, {"iterations": 2, "width": 2}),
        (REFINE, {"width": 50}),
        (LAYERED, {"layers": [[{"generate": {"samples": 4}}]]}),
        ({**NESTED, "otherwise": {**NESTED["otherwise"], "num_samples": 30}}, {"probes": 3}),
    ],
)
def test_knobs_within_it_are_honoured_and_what_the_server_itself_makes(
    node: dict[str, Any], knobs: dict[str, Any]
) -> None:
    assert asked(node, knobs) == built(node, knobs, budget=1)
