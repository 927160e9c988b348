"""``policies.NAME`` in a configuration: engines, aliases and prices, and one line for each mistake."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from actors import OpenAIEngineConfig
from orchestrator.config.compatibility import check_policy
from orchestrator.config.naming import check_policies, step_writers
from orchestrator.config.policies import Policies, check_name, read_policies
from orchestrator.errors import ConfigError
from orchestrator.prompts.question import PrefixQuestion
from orchestrator.prompts.template import Template
from orchestrator.search.account import Limits
from orchestrator.search.prices import Price
from orchestrator.search.strategy import Strategy
from orchestrator.steps.rule import StepRule
from orchestrator.storage.run_directory import differing_keys
from orchestrator.tasks.chain import ChainTask
from orchestrator.testing import FakeEngine
from orchestrator.types import Denoising, Params, Sampling
from orchestrator.verifiers.oracle import OracleConfig
from orchestrator.verifiers.self_evaluation import SelfEvaluationVerifierConfig
from strategies import ComputeOptimal, Greedy, Mixture, MixtureArm, ParticleFilter, Refine, Speculative

STORED = {"_target_": "orchestrator.StoredEngineConfig", "path": "outputs/mine"}


def plain(node: Mapping[str, Any] = STORED, /, **policies: Any) -> dict[str, Any]:
    return {"engine": dict(node), "policies": policies}


def test_a_policy_is_an_engine_or_another_name_of_one() -> None:
    found = read_policies(plain(draft=STORED, judge="engine", second="draft"), Limits())
    assert (list(found.configs), found.aliases) == (["draft"], {"judge": "engine", "second": "draft"})
    assert found.names == ["engine", "draft", "judge", "second"]
    started = {"engine": FakeEngine(), "draft": FakeEngine()}
    engines = found.engines(started)
    assert list(engines) == ["draft", "judge", "second"]
    assert engines["judge"] is started["engine"]
    assert engines["second"] is engines["draft"] is started["draft"]
    assert read_policies({"engine": STORED}, Limits()).names == ["engine"]


def test_prices_are_of_a_million_tokens_by_policy() -> None:
    priced = STORED | {"price": {"generated": 2, "prompt": 0.5}}
    found = read_policies(plain(priced, draft=priced, judge="engine"), Limits(cost=1.0))
    assert found.prices == dict.fromkeys(("engine", "draft", "judge"), Price(2.0, 0.5))


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (
            plain(judge="draf", draft=STORED),
            r"^policies\.judge=draf: .* engine, draft; did you mean 'draft'",
        ),
        (plain(judge="second", second="engine"), r"^policies\.judge=second: must be another policy: engine"),
        (plain(engine="engine"), r"^policies=engine: must be a name .* other than engine and verifier"),
        (plain(Judge="engine"), "^policies=Judge: must be a name in small letters"),
        (
            plain(draft={"model": "m"}),
            r"^policies\.draft=null: needs an engine: \+engine@policies\.draft=",
        ),
        (plain(draft=None), r"^policies\.draft=null: needs an engine"),
        (plain(draft=STORED | {"pth": "x"}), r"^policies\.draft\.pth=x: unknown key; did you mean 'path'"),
        (plain(draft={**STORED, "seed": -1}), r"^policies\.draft\.seed=-1: must be"),
        (plain(draft={**STORED, "price": 3}), r"^policies\.draft\.price=3: must be keys below it, such as"),
        (plain({**STORED, "price": {"read": 3}}), r"^engine\.price\.read=3: unknown key; known: generated"),
        (plain({**STORED, "price": {"prompt": -3}}), r"price\.prompt=-3: must be a number of 0 or more"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_key(given: Mapping[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        read_policies(given, Limits())


def test_a_limit_of_cost_needs_a_price() -> None:
    with pytest.raises(ConfigError, match=r"^limits\.cost=1\.0: needs the price of a policy, such as engine"):
        read_policies(plain(), Limits(cost=1.0))


def test_another_policy_is_another_run() -> None:
    before = plain(draft=STORED, judge="engine")
    assert differing_keys(before, before) == []
    assert differing_keys(before, plain(draft={**STORED, "path": "other"}, judge="engine")) == [
        "policies.draft.path"
    ]
    assert differing_keys(before, plain(draft=STORED, judge="draft")) == ["policies.judge"]
    assert differing_keys({"engine": STORED}, {"engine": STORED}) == []


@dataclass(frozen=True)
class Critique:
    policy: str = "engine"


@dataclass(frozen=True)
class Layered:
    layers: tuple[tuple[Critique, ...], ...] = ()
    policies: tuple[str, ...] = ()
    policy: str = "engine"


class Declaring:
    policies = ("draft",)


def test_every_policy_that_a_strategy_names_must_be_there() -> None:
    known = ["engine", "judge"]
    check_policies(Layered(((Critique("judge"),),), ("engine", "judge")), known)
    for part, key in (
        (Layered(policy="draft"), r"strategy\.policy"),
        (Layered(policies=("judge", "draft")), r"strategy\.policies"),
        (Layered(((Critique(),), (Critique("draft"),))), r"strategy\.layers\.1\.0\.policy"),
        ({"feedback": Critique("draft")}, r"strategy\.feedback\.policy"),
        (Declaring(), r"strategy\.policies"),
    ):
        with pytest.raises(ConfigError, match=rf"^{key}=draft: this run has no such policy, only engine"):
            check_policies(part, known)
    with pytest.raises(ConfigError, match=r"add it with \+engine@policies\.draft=NAME, or policies\.draft="):
        check_policies(Layered(policy="draft"), ["engine"])


def test_a_verifier_names_the_engine_behind_an_alias() -> None:
    question = PrefixQuestion("Well?", ("No", "Yes"))
    own = SelfEvaluationVerifierConfig(question, question, question)
    policies = Policies({}, {"judge": "engine"})
    assert policies.resolved(replace(own, policy="judge")) == own
    assert policies.resolved(own) is own
    assert policies.resolved(OracleConfig()) == OracleConfig()


def test_names_are_those_of_replicas() -> None:
    check_name("draft_2")
    with pytest.raises(ConfigError, match=r"^policies=verifier: "):
        check_name("verifier")


@dataclass(frozen=True)
class Made:
    takes: type[Params] = Sampling
    knows_task: str | None = "chain"
    model: str = "m"

    def build(self) -> None: ...


def test_a_policy_decodes_as_the_strategy_asks_and_knows_its_task() -> None:
    names = {"strategy": "mine", "engine": "vllm"}
    check_policy(names, "draft", Made(), Greedy(), ChainTask())  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match=r"^policies\.draft=Made: takes Denoising, and strategy=mine asks for"
    ):
        check_policy(names, "draft", Made(Denoising), Greedy(), ChainTask())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"^policies\.draft\.model=m: knows task=countdown alone"):
        check_policy(names, "draft", Made(knows_task="countdown"), Greedy(), ChainTask())  # type: ignore[arg-type]


CHAT = OpenAIEngineConfig("m", "http://127.0.0.1:1/v1", api="chat")
TEXT = OpenAIEngineConfig("m", "http://127.0.0.1:1/v1", prompts="text")
BY_TOKENS = ChainTask(step=StepRule("tokens", 8))
ASKED = Template("{question}")
DRAFTS = Speculative(draft="draft")


@pytest.mark.parametrize(
    ("strategy", "writers"),
    [
        (DRAFTS, {"draft", "engine"}),
        (replace(DRAFTS, accept=2.0), {"engine"}),
        (Mixture({"a": MixtureArm(ComputeOptimal(Sampling(), DRAFTS))}), {"draft", "engine"}),
        (Refine(4, prompt=ASKED, feedback="critique", critique=ASKED, teacher="draft"), set()),
        (ParticleFilter(4), set()),
        (Critique("draft"), set()),
    ],
)
def test_a_strategy_of_steps_declares_who_writes_them(strategy: object, writers: set[str]) -> None:
    assert step_writers(strategy) == writers


@pytest.mark.parametrize("strategy", [DRAFTS, ComputeOptimal(Sampling(), DRAFTS)])
@pytest.mark.parametrize(
    ("config", "task", "error"),
    [
        (
            CHAT,
            ChainTask(),
            r"^policies\.draft\.api=chat: makes whole answers alone, and strategy=mine extends",
        ),
        (TEXT, BY_TOKENS, r"^task\.step\.mode=tokens: does not go with policies\.draft\.prompts=text: "),
    ],
    ids=["whole", "steps"],
)
def test_a_policy_that_writes_steps_must_be_able_to(
    strategy: Strategy, config: OpenAIEngineConfig, task: ChainTask, error: str
) -> None:
    names = {"strategy": "mine", "engine": "vllm"}
    with pytest.raises(ConfigError, match=error):
        check_policy(names, "draft", config, strategy, task)
    check_policy(names, "judge", config, strategy, task)  # which writes none
    check_policy(names, "draft", replace(config, api="completions", prompts="tokens"), strategy, task)
