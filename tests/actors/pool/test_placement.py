"""What is asked of a cluster, and what is said when it does not fit."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from actors.pool.backend import RayCluster
from actors.pool.inprocess import InProcessCluster
from actors.pool.placement import ClusterConfig, ReplicaSpec, check_placement, described, plan
from orchestrator.errors import ConfigError

LAPTOP = {"a": {"CPU": 2.0, "memory": 1e9}}
TWO_GPUS = {"a": {"CPU": 16.0, "GPU": 2.0}}
TWO_NODES = {"a": {"CPU": 8.0, "GPU": 1.0}, "b": {"CPU": 8.0, "GPU": 1.0}}
CONF = Path(__file__).resolve().parents[3] / "conf" / "cluster"


def make() -> None:
    """A factory that is never called."""


def planned(nodes: dict[str, dict[str, float]], **keys: Any) -> list[ReplicaSpec]:
    specs = plan(ClusterConfig(**keys), make, make, nodes)
    check_placement(specs, nodes.values())
    return specs


@pytest.mark.parametrize("path", sorted(CONF.glob("*.yaml")), ids=lambda p: p.stem)
def test_a_cluster_config_has_every_key_with_its_default(path: Path) -> None:
    config = OmegaConf.load(path)
    cluster = instantiate(config, _convert_="all")
    assert isinstance(cluster, RayCluster | InProcessCluster)
    assert cluster == type(cluster)()
    assert {f.name for f in fields(cluster)} == {str(key) for key in config} - {"_target_"}


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("engine_replicas", 0, "must be a whole number of 1 or more"),
        ("engine_replicas", "abc", "must be a whole number of 1 or more"),
        ("verifier_replicas", 1.5, "must be a whole number of 1 or more"),
        ("verifier_replicas", True, "must be a whole number of 1 or more"),
        ("spill_margin", -1, "must be a whole number of 0 or more"),
        ("max_attempts", None, "must be a whole number of 1 or more"),
        ("threads_per_replica", 0, "must be a whole number of 1 or more, or null for the default"),
        ("gpus_per_replica", -1, "must be a number of 0 or more, or null for the default"),
        ("gpus_per_replica", 1.5, "must be a fraction of one GPU or a whole number of GPUs"),
        ("request_timeout_s", 0, "must be a number of seconds above 0"),
        ("start_timeout_s", float("inf"), "must be a number of 0 or more"),
        ("address", 5, "must be an address such as auto or host:6379, or null for the default"),
    ],
)
def test_a_bad_key_is_named_with_what_is_allowed(key: str, value: object, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ClusterConfig(**{key: value})  # type: ignore[arg-type]
    assert (caught.value.key, caught.value.value, caught.value.allowed) == (f"cluster.{key}", value, allowed)


def test_without_gpus_replicas_share_the_cores() -> None:
    engine, verifier = planned({"a": {"CPU": 8.0}})
    assert (engine.num_cpus, engine.num_gpus, engine.num_threads, verifier.num_threads) == (0, 0, 4, 4)
    assert [s.num_threads for s in planned(LAPTOP, engine_replicas=3)] == [1, 1]
    assert [s.num_threads for s in planned(LAPTOP, threads_per_replica=2)] == [2, 2]


def test_replicas_are_spread_over_nodes_by_their_cores() -> None:
    big_and_small = {"head": {"CPU": 0.0}, "small": {"CPU": 4.0}, "big": {"CPU": 8.0}}
    engine, verifier = planned(big_and_small, engine_replicas=2, verifier_replicas=1)
    assert (engine.node_ids, verifier.node_ids) == (("big", "small"), ("big",))
    assert engine.num_threads == 4
    assert planned(LAPTOP, engine_replicas=4)[0].node_ids == ()


@pytest.mark.parametrize(
    ("num_engines", "share"), [(1, 1.0), (2, 0.5), (3, 0.5), (4, 1 / 3)], ids=lambda v: f"{v:.2g}"
)
def test_gpus_are_shared_when_replicas_outnumber_them(num_engines: int, share: float) -> None:
    engine, verifier = planned(TWO_GPUS, engine_replicas=num_engines)
    assert engine.num_gpus == verifier.num_gpus == pytest.approx(share)
    assert engine.bundles == [{"GPU": pytest.approx(share)}]


def test_a_tensor_parallel_replica_has_a_bundle_for_each_gpu() -> None:
    spec = ReplicaSpec("engine", make, 1, num_cpus=1, num_gpus=2)
    assert spec.bundles == [{"GPU": 1.0, "CPU": 1}] * 2
    assert ReplicaSpec("engine", make, 1).bundles == []
    check_placement([spec], TWO_GPUS.values())
    with pytest.raises(
        ConfigError, match=r"^cluster.gpus_per_replica=2: .*on 2 nodes: lower cluster.gpus_per"
    ):
        check_placement([spec], TWO_NODES.values())


@dataclass(frozen=True)
class Pipeline:
    """A configuration whose replicas have stages."""

    num_stages: int

    def build(self) -> None: ...


@dataclass(frozen=True)
class OnServer:
    """A configuration whose model is on a server."""

    is_remote = True

    def build(self) -> None: ...


def test_further_policies_have_replicas_and_cards_by_name() -> None:
    nodes = {"a": {"CPU": 8.0, "GPU": 2.0}}
    config = ClusterConfig(engine_gpus=1, policy_replicas={"draft": 2}, policy_gpus={"draft": 0.5})
    specs = plan(config, make, None, nodes, {"draft": make, "judge": OnServer().build})
    assert described(specs) == (
        "1 engine replicas of 1 GPUs and 2 draft replicas of 0.5 GPUs and 1 judge replicas"
    )
    check_placement(specs, nodes.values())
    assert specs[1].names == ("draft-0", "draft-1")
    grown = plan(ClusterConfig(max_policy_replicas={"draft": 3}), make, None, nodes, {"draft": make})
    assert [spec.num_extra for spec in grown] == [0, 2]


def test_a_policy_that_does_not_fit_is_named_by_its_keys() -> None:
    config = ClusterConfig(policy_replicas={"draft": 3}, policy_gpus={"draft": 1}, engine_gpus=0)
    with pytest.raises(ConfigError, match=r"^cluster\.policy_replicas\.draft=3: .*lower cluster\.engine_rep"):
        check_placement(plan(config, make, None, TWO_GPUS, {"draft": make}), TWO_GPUS.values())
    with pytest.raises(ConfigError, match=r"^cluster\.policy_gpus\.drat=1: this run has draft; did you mean"):
        plan(ClusterConfig(policy_gpus={"drat": 1}), make, None, {}, {"draft": make})
    with pytest.raises(ConfigError, match=r"must be whole numbers of 1 or more, by the names of policies"):
        ClusterConfig(policy_replicas={"draft": 0})
    (_, spec) = plan(ClusterConfig(), make, None, {}, {"draft": make})
    error = spec.placed(ConfigError("engine.model", "m", "is not there"))
    assert str(error) == "policies.draft.model=m: is not there"


def in_stages(nodes: dict[str, dict[str, float]], num_stages: int, **keys: Any) -> ReplicaSpec:
    specs = plan(ClusterConfig(**keys), Pipeline(num_stages).build, None, nodes)
    check_placement(specs, nodes.values())
    return specs[0]


def test_the_stages_of_a_replica_may_be_on_several_nodes() -> None:
    nodes = {name: {"CPU": 8.0, "GPU": 3.0} for name in "abc"}
    spec = in_stages(nodes, 2, engine_gpus=4)
    assert (spec.strategy, spec.bundles, spec.stage.num_gpus) == ("PACK", [{"GPU": 1.0}] * 4, 2)
    assert described([spec]) == "1 engine replicas of 4 GPUs in 2 stages of one node each"
    assert in_stages(nodes, 1, engine_gpus=3).strategy == "STRICT_PACK"
    assert in_stages({"a": {"CPU": 8.0}}, 2).num_stages == 1, "without cards"
    with pytest.raises(
        ConfigError, match=r"^cluster.engine_gpus=8: requested are 1 .* in 4 stages.* has 9 GPUs"
    ):
        in_stages(nodes, 4, engine_gpus=8)  # 9 cards, but a node has room for one stage of two
    with pytest.raises(
        ConfigError, match=r"^cluster.engine_gpus=4: must be a multiple of the 3 stages that eng"
    ):
        in_stages(nodes, 3, engine_gpus=4)
    with pytest.raises(ConfigError, match=r"^cluster.engine_gpus=1: must be a multiple of the 2 stages"):
        in_stages(nodes, 2)


def test_a_policy_and_its_verifier_share_a_card() -> None:
    check_placement(
        planned(TWO_GPUS, gpus_per_replica=0.5, engine_replicas=2, verifier_replicas=2), TWO_GPUS.values()
    )
    with pytest.raises(ConfigError):  # 3 x 0.6 is less than 2, but no card holds two of them
        planned(TWO_GPUS, gpus_per_replica=0.6, engine_replicas=2)


@pytest.mark.parametrize(
    ("nodes", "keys", "key", "asked", "there_is", "remedy"),
    [
        (
            LAPTOP,
            {"gpus_per_replica": 1},
            "cluster.gpus_per_replica=1",
            "1 engine replicas of 1 GPUs and 1 verifier replicas of 1 GPUs",
            "0 GPUs and 2 CPUs on 1 nodes",
            "cluster.gpus_per_replica",
        ),
        (
            TWO_GPUS,
            {"gpus_per_replica": 1, "engine_replicas": 4},
            "cluster.engine_replicas=4",
            "4 engine replicas of 1 GPUs and 1 verifier replicas of 1 GPUs",
            "2 GPUs and 16 CPUs on 1 nodes",
            "cluster.engine_replicas, cluster.verifier_replicas or cluster.gpus_per_replica",
        ),
        (
            LAPTOP,
            {"cpus_per_replica": 1, "verifier_replicas": 2},
            "cluster.verifier_replicas=2",
            "1 engine replicas of 1 CPUs and 2 verifier replicas of 1 CPUs",
            "0 GPUs and 2 CPUs on 1 nodes",
            "cluster.engine_replicas, cluster.verifier_replicas or cluster.cpus_per_replica",
        ),
    ],
)
def test_one_line_says_what_does_not_fit(
    nodes: dict[str, dict[str, float]], keys: dict[str, Any], key: str, asked: str, there_is: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        planned(nodes, **keys)
    assert str(caught.value) == f"{key}: requested are {asked}; the cluster has {there_is}: lower {remedy}"


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 16)), min_size=1, max_size=4),
    st.integers(1, 12),
    st.integers(1, 12),
)
def test_what_is_left_to_the_pool_always_fits(
    nodes: list[tuple[int, int]], num_engines: int, num_verifiers: int
) -> None:
    """Any number of replicas, on any nodes: the defaults share what there is."""
    resources = {str(i): {"GPU": float(g), "CPU": float(c)} for i, (g, c) in enumerate(nodes)}
    specs = planned(resources, engine_replicas=num_engines, verifier_replicas=num_verifiers)
    assert all(spec.num_threads >= 1 for spec in specs)


def gpus(nodes: dict[str, dict[str, float]], **keys: Any) -> list[float]:
    return [spec.num_gpus for spec in planned(nodes, **keys)]


def test_policy_and_verifier_may_have_cards_of_their_own_sizes() -> None:
    assert gpus(TWO_GPUS, engine_gpus=1, verifier_gpus=1) == [1, 1]
    assert gpus({"a": {"GPU": 5.0, "CPU": 8.0}}, verifier_gpus=4) == [1, 4]
    assert gpus({"a": {"GPU": 6.0, "CPU": 8.0}}, verifier_gpus=4, engine_replicas=3) == [0.5, 4]
    assert gpus(TWO_GPUS, gpus_per_replica=0.25, verifier_gpus=1) == [0.25, 1]
    with pytest.raises(ConfigError, match=r"^cluster.verifier_gpus=4: .*lower cluster.verifier_gpus$"):
        planned(TWO_GPUS, verifier_gpus=4)
    with pytest.raises(
        ConfigError, match=r"^cluster.engine_gpus=1.5: must be a fraction of one GPU or a whole"
    ):
        ClusterConfig(engine_gpus=1.5)


def test_sharing_is_told_or_found_out() -> None:
    assert gpus(TWO_GPUS, share_gpu=True) == [0.5, 0.5]
    assert gpus(TWO_GPUS, share_gpu=True, engine_gpus=0.7) == [0.7, pytest.approx(0.3)]
    assert gpus(TWO_GPUS, share_gpu=False) == [1, 1]
    assert gpus({"a": {"GPU": 1.0, "CPU": 4.0}}) == [0.5, 0.5]
    assert gpus(LAPTOP, share_gpu=True) == [0, 0]
    with pytest.raises(ConfigError) as caught:
        planned(TWO_GPUS, share_gpu=False, engine_replicas=2)
    assert str(caught.value) == (
        "cluster.verifier_replicas=1: requested are 2 engine replicas of 1 GPUs and 1 verifier replicas "
        "of 1 GPUs; the cluster has 2 GPUs and 16 CPUs on 1 nodes: lower cluster.engine_replicas, "
        "cluster.verifier_replicas, or set cluster.share_gpu=true"
    )
    with pytest.raises(ConfigError, match=r"cluster.share_gpu=yes: must be true or false"):
        ClusterConfig(share_gpu="yes")  # type: ignore[arg-type]
