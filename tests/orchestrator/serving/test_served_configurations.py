"""What a server makes of a run's configuration: what a run of it would do, or a refusal."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from orchestrator.backend import DirectBackend
from orchestrator.config.build import GROUPS, Range, RunSettings
from orchestrator.config.compose import only_composed
from orchestrator.config.plan import Plan, plan_of
from orchestrator.errors import ConfigError
from orchestrator.runs.point import make_run
from orchestrator.serving import composing
from orchestrator.serving.composing import composed, loaded
from orchestrator.serving.errors import ApiError
from orchestrator.serving.offers import Decoding
from orchestrator.serving.page import render_page
from orchestrator.serving.service import Served
from orchestrator.storage.run_directory import Earlier
from orchestrator.testing.fakes import FakeEngine, FakeVerifier
from orchestrator.verifiers.calibrated import CalibratedVerifier
from strategies import BestOfN, ComputeOptimal, SelfConsistency
from tests.orchestrator.serving.fitted import write_calibration, write_plan, write_votes
from tests.orchestrator.serving.served import fake_served

pytestmark = pytest.mark.heavy
LOCAL = ("cluster=inprocess", "verifier=self_certainty")
CHAT = (*LOCAL, "engine=openai", "engine.model=m", "engine.base_url=http://127.0.0.1:9/v1", "engine.api=chat")
BUDGET = 4


def served(*arguments: str) -> Served:
    return composed(arguments)[0]


def built(served: Served, name: str, budget: int = BUDGET, **knobs: object) -> object:
    return served.offers.build(served.offers.all[name], budget, knobs, Decoding())


def refusal(served: Served, name: str, budget: int = BUDGET, **knobs: object) -> str:
    with pytest.raises(ApiError) as caught:
        built(served, name, budget, **knobs)
    assert caught.value.status == 400
    return str(caught.value)


@cache
def planned(*arguments: str) -> Plan:
    return only_composed(["run_dir=outputs/none", "tracker=none", *arguments], plan_of)


def why_not(*arguments: str) -> str | None:
    """Why there is no run of these arguments; None where there is one."""
    try:
        planned(*arguments)
    except ConfigError as reason:
        return str(reason)
    return None


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Composes the server's own strategy, and no other: the others take seconds."""
    monkeypatch.setattr(composing, "each_choice", lambda *_: iter(()))


@pytest.fixture(scope="module")
def of_chat() -> Served:
    return served(*CHAT, "strategy=self_consistency")


@pytest.mark.parametrize(
    "name", ["particle_filter", "tree_of_thoughts", "beam_search", "best_of_n", "greedy", "self_consistency"]
)
def test_a_strategy_is_served_where_a_run_takes_it(of_chat: Served, name: str) -> None:
    reason = why_not(*CHAT, f"strategy={name}", "budget=64")
    if reason is None:
        assert of_chat.offers.named(name, "model").name == name
        return
    with pytest.raises(ApiError) as caught:
        of_chat.offers.named(name, "model")
    assert str(caught.value) == f"model={name}: {reason}"


@pytest.mark.usefixtures("alone")
def test_knobs_that_would_cut_steps_off() -> None:
    of_tokens = served(*LOCAL, "strategy=beam_search", "task.step.mode=tokens", "task.step.tokens=12")
    found = refusal(of_tokens, "beam_search", sampling={"max_tokens": 4})
    assert found.startswith("search.knobs.sampling.max_tokens=4: must be at least task.step.tokens=12")


@pytest.fixture(scope="module")
def of_plan(tmp_path_factory: pytest.TempPathFactory) -> Served:
    file = write_plan(tmp_path_factory.mktemp("plan") / "plan.json", BUDGET)
    found = served(*LOCAL, "strategy=compute_optimal", f"plan={file}", f"budget={BUDGET}")
    file.unlink()  # what was read of it serves every request
    return found


def test_requests_follow_the_plan(of_plan: Served) -> None:
    strategy = built(of_plan, "compute_optimal")
    assert isinstance(strategy, ComputeOptimal) and strategy.plan is not None
    (setting,) = strategy.plan.settings
    assert isinstance(setting, BestOfN) and setting.num_samples == 3


def test_a_plan_is_for_its_own_budget_and_probes(of_plan: Served) -> None:
    fitted = "for which the plan was fitted"
    assert refusal(of_plan, "compute_optimal", 32) == f"search.budget=32: must be 4, {fitted}"
    assert refusal(of_plan, "compute_optimal", probes=2) == f"search.knobs.probes=2: must be 4, {fitted}"


def test_a_request_has_no_plan_of_its_own(of_plan: Served) -> None:
    found = refusal(of_plan, "compute_optimal", plan={"budget": 32})
    assert found == "search.knobs.plan={'budget': 32}: is set by plan= of the server"
    assert "search.knobs.plan: unknown knob" in refusal(of_plan, "best_of_n", plan=3)


def test_the_plan_is_that_of_its_strategy_alone(of_plan: Served) -> None:
    assert {"best_of_n", "self_consistency"} <= of_plan.offers.all.keys()
    strategy = built(of_plan, "self_consistency")
    assert isinstance(strategy, SelfConsistency) and strategy.plan is None


@pytest.mark.usefixtures("alone")
def test_requests_vote_by_the_coefficients(tmp_path: Path) -> None:
    file = write_votes(tmp_path / "votes.json")
    arguments = ("strategy=self_consistency", "strategy.weight=features", f"plan={file}")
    strategy = built(served(*LOCAL, *arguments), "self_consistency", 5)
    assert isinstance(strategy, SelfConsistency) and strategy.num_samples == 5
    assert strategy.plan is not None and strategy.plan.coefficients == (-0.1, 0.0)


@pytest.mark.parametrize("verifier", ["embedded", "self_certainty"])
def test_its_verifier_is_that_of_a_run(verifier: str, tmp_path: Path) -> None:
    chosen = ("cluster=inprocess", f"verifier={verifier}", "strategy=best_of_n")
    file = write_calibration(tmp_path / "map.json", planned(*chosen))
    plan = planned(*chosen, f"verifier.calibration={file}")
    backend = DirectBackend(FakeEngine(), FakeVerifier())
    found = loaded(plan, backend).verifier
    assert isinstance(found, CalibratedVerifier) and found.calibration == plan.calibration
    assert found == make_run(plan, backend, Earlier()).controller.verifier


def test_every_key_of_a_run_is_honoured_or_refused() -> None:
    honoured = {"budget", "seed", "concurrency", "plan"}
    assert {*RunSettings.model_fields} == honoured | {*composing.OF_A_RUN}
    assert {*GROUPS} == {"task", "verifier", "engine", "strategy", "cluster"} | composing.NO_USE.keys()


def test_the_page_has_examples_of_the_range() -> None:
    shown = render_page(fake_served(range=Range(3, 2)), has_keys=False)
    ids = [problem.id for problem in fake_served().task.problems(3, 2)]
    assert re.findall(r'"id": "([^"]+)"', shown) == ids
