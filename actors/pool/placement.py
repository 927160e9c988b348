"""What the pool is to place, and whether the cluster can hold it: decided before any model loads."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Annotated, Any

from annotated_types import Ge, MinLen

from orchestrator.errors import ConfigError
from orchestrator.protocols import EngineConfig, InStages, Remote, VerifierConfig
from orchestrator.schema import Rule, Words, checked
from orchestrator.suggest import nearest
from orchestrator.types import ENGINE

Resources = Mapping[str, float]
"""What one node has, by Ray's names: ``{"CPU": 8.0, "GPU": 2.0, ...}``."""

Factory = Callable[[], Any]
"""Makes an engine or a verifier inside its replica; picklable, such as ``functools.partial(Engine, ...)``."""

GPUS_VARIABLE = "MURMURATION_GPUS"
"""The environment variable with the GPUs that an engine's replica has reserved, such as 0.5."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
"""The environment variables from which libraries take their number of threads when they are imported."""

_EPSILON = 1e-9
_OWN_KEYS = (ENGINE, "verifier")  # the kinds with keys of their own; those of other policies hold their names


_DEFAULT = "or null for the default"


def _is_share(gpus: float) -> bool:
    return gpus <= 1 or gpus == int(gpus)


Whole = Annotated[int, Ge(1)]
WholeOrZero = Annotated[int, Ge(0)]
WholeOrDefault = Annotated[int | None, Ge(1), Words(f"must be a whole number of 1 or more, {_DEFAULT}")]
Number = Annotated[float, Ge(0)]
Seconds = Annotated[Number, Rule(bool, "must be a number of seconds above 0")]
SecondsOrNever = Annotated[
    Annotated[float, Rule(bool, "must be a number of seconds above 0")] | None,
    Ge(0),
    Words(f"must be a number of 0 or more, {_DEFAULT}"),
]
_SHARE = Rule(_is_share, "must be a fraction of one GPU or a whole number of GPUs")
GPUs = Annotated[
    Annotated[float, Ge(0), _SHARE] | None,
    Words(f"must be a number of 0 or more, {_DEFAULT}"),
]
_BY_NAME = "by the names of policies"
Numbers = Annotated[Mapping[str, Whole], Words(f"must be whole numbers of 1 or more, {_BY_NAME}")]
Cards = Annotated[Mapping[str, GPUs], Words(f"must be fractions of one GPU or numbers of GPUs, {_BY_NAME}")]
Address = Annotated[str | None, MinLen(1), Words(f"must be an address such as auto or host:6379, {_DEFAULT}")]


@dataclass(frozen=True, slots=True)
@checked("cluster")
class ClusterConfig:
    """The keys of ``conf/cluster/*.yaml``. Raises ConfigError on a bad one."""

    address: Address = None
    """Of a running Ray, such as ``auto`` or ``host:port``; null is ``RAY_ADDRESS``, or a local Ray for this
    run.
    """
    engine_replicas: Whole = 1
    """Copies of the policy."""
    verifier_replicas: Whole = 1
    """Copies of the verifier."""
    gpus_per_replica: GPUs = None
    """0.5 shares a card, 2 is tensor parallel on one node, 0 is none; null: ``share_gpu`` decides."""
    engine_gpus: GPUs = None
    """The same for the policy alone."""
    verifier_gpus: GPUs = None
    """The same for the verifier alone."""
    share_gpu: Annotated[bool | None, Words(f"must be true or false, {_DEFAULT}")] = None
    """``true``: policy and verifier share cards, ``false``: never; null: where there are fewer cards than
    replicas.
    """
    max_engine_replicas: WholeOrDefault = None
    """More copies of the policy, up to this number, which join the run as soon as the cluster has room; give
    each its GPUs or cores.
    """
    max_verifier_replicas: WholeOrDefault = None
    """The same for the verifier."""
    policy_replicas: Numbers = field(default_factory=dict)
    """Copies of each further policy, by its name: ``cluster.policy_replicas.draft=2``; 1 of one without a
    number.
    """
    policy_gpus: Cards = field(default_factory=dict)
    """``engine_gpus`` for further policies: ``cluster.policy_gpus.draft=0.5``; one behind HTTP needs none."""
    max_policy_replicas: Numbers = field(default_factory=dict)
    """``max_engine_replicas`` for further policies: ``cluster.max_policy_replicas.draft=4``."""
    cpus_per_replica: Number = 0.0
    """Cores reserved for each, and for each GPU of it; 0 lets replicas share the cores."""
    threads_per_replica: WholeOrDefault = None
    """CPU threads of each; null divides a node's cores among its replicas."""
    spill_margin: WholeOrZero = 32
    """Rows by which a problem's home replica may be busier than the idlest one."""
    max_in_flight: Whole = 1024
    """Rows that a replica may hold at once; more wait in the controller."""
    max_attempts: Whole = 3
    """Failures of a request that was alone, after which it fails its problem."""
    request_timeout_s: Seconds = 300.0
    """A busy replica that makes no token for this long is killed (a thread is abandoned) and replaced."""
    start_timeout_s: Seconds = 300.0
    """A replica that is not ready after this long is given up."""
    idle_s: SecondsOrNever = 300.0
    """Seconds after which an idle replica that joined later is given back (docs/faults.md); null keeps it."""
    grace_s: Number = 2.0
    """After Ctrl-C or SIGTERM: seconds for replies in flight; 0 stops at once."""
    metrics_interval_s: SecondsOrNever = 1.0
    """Seconds between updates of Ray's metrics (docs/observability.md); null: never."""


@dataclass(frozen=True, slots=True)
class ReplicaSpec:
    """One kind of replica: how it is made, how many there are, and what each one reserves.

    ``kind`` is ``engine``, ``verifier`` or the name of a further policy. ``num_cpus`` 0 reserves nothing:
    replicas then share the cores, each with ``num_threads`` threads. ``num_gpus`` is a share of one GPU, or a
    whole number on one node. ``gpus_key`` is the key that settled ``num_gpus``. Up to ``num_extra`` more join
    during the run, as soon as the cluster has room. ``node_ids`` names the preferred node of each; empty
    where Ray decides. The GPUs are those of ``num_stages`` stages, each of which is on one node.
    """

    kind: str
    factory: Factory
    num_replicas: int
    num_cpus: float = 0.0
    num_gpus: float = 0.0
    num_threads: int = 1
    node_ids: tuple[str, ...] = ()
    gpus_key: str = "cluster.gpus_per_replica"
    num_extra: int = 0
    num_stages: int = 1

    @property
    def stage(self) -> ReplicaSpec:
        """One stage of it, as a replica."""
        return replace(self, num_gpus=self.num_gpus / self.num_stages, num_stages=1)

    @property
    def strategy(self) -> str:
        """How Ray places the bundles: on one node, or on as few as there is room on."""
        return "STRICT_PACK" if self.num_stages == 1 else "PACK"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(f"{self.kind}-{i}" for i in range(self.num_replicas + self.num_extra))

    @property
    def bundles(self) -> list[dict[str, float]]:
        """The bundles of a replica's placement group: one GPU (or a share of one) each; none without GPUs."""
        if self.num_gpus == 0:
            return []
        bundle = {"GPU": min(1.0, self.num_gpus), "CPU": self.num_cpus}
        return [{k: v for k, v in bundle.items() if v}] * math.ceil(self.num_gpus)

    def placed(self, error: ConfigError) -> ConfigError:
        """Return an error in making a replica with its key in the run: an engine knows ``engine.model``."""
        if self.kind in _OWN_KEYS or not error.key.startswith(f"{ENGINE}."):
            return error
        key = error.key.removeprefix(f"{ENGINE}.")
        return ConfigError(f"policies.{self.kind}.{key}", error.value, error.allowed)

    def __str__(self) -> str:
        each = (("GPUs", self.num_gpus), ("CPUs", self.num_cpus))
        what = " and ".join(f"{number:g} {name}" for name, number in each if number)
        stages = f" in {self.num_stages} stages of one node each" if self.num_stages > 1 else ""
        return f"{self.num_replicas} {self.kind} replicas" + (f" of {what}{stages}" if what else "")


def factories_of(
    policies: Mapping[str, EngineConfig], verifier: VerifierConfig | None
) -> tuple[Factory, Factory | None, dict[str, Factory]]:
    """Return what makes the main policy, the verifier and each further policy."""
    others = {name: config.build for name, config in policies.items() if name != ENGINE}
    return policies[ENGINE].build, None if verifier is None else verifier.build, others


def described(specs: Sequence[ReplicaSpec]) -> str:
    """Say which replicas a run has, for a person."""
    return " and ".join(map(str, specs))


def plan(
    config: ClusterConfig,
    engine: Factory,
    verifier: Factory | None,
    nodes: Mapping[str, Resources],
    policies: Mapping[str, Factory] = MappingProxyType({}),
) -> list[ReplicaSpec]:
    """Return the specs of a run on ``nodes`` (by id); their resources settle what no key settles.

    ``policies`` are the further ones by name. Raises ConfigError where a key names another one.
    """
    _check_names(config, policies)
    others = {"verifier": verifier} if verifier is not None else {}
    makers = {ENGINE: engine, **others, **policies}
    factories = [(kind, make, _replicas_of(config, kind)) for kind, make in makers.items()]
    total = sum(num for _, _, num in factories)
    remote = [kind for kind, make in policies.items() if isinstance(getattr(make, "__self__", None), Remote)]
    numbers = {kind: num for kind, _, num in factories}
    gpus = _gpus_of_each(config, numbers, nodes.values(), remote)
    node_ids, num_threads = _spread(total, nodes)
    if any(num_gpus for num_gpus, _ in gpus.values()) or config.cpus_per_replica or len(set(node_ids)) < 2:
        node_ids = []  # Ray knows where there is room for what is reserved, and one node needs no choice
    specs = []
    for kind, factory, num in factories:
        mine, node_ids = tuple(node_ids[:num]), node_ids[num:]
        threads = config.threads_per_replica or num_threads
        num_gpus, key = gpus[kind]
        cpus = config.cpus_per_replica
        extra = max(0, (_setting(config, kind, "max_{}_replicas") or num) - num)
        stages = _stages(kind, factory, num_gpus, key)
        specs.append(ReplicaSpec(kind, factory, num, cpus, num_gpus, threads, mine, key, extra, stages))
    return specs


def _setting(config: ClusterConfig, kind: str, form: str) -> Any:
    """Return the value of a key such as ``{}_gpus`` for a kind; None where nothing is set."""
    if kind in _OWN_KEYS:
        return getattr(config, form.format(kind))
    return getattr(config, form.format("policy")).get(kind)


def _key(kind: str, form: str) -> str:
    """Return the key that ``_setting`` reads."""
    return "cluster." + (form.format(kind) if kind in _OWN_KEYS else f"{form.format('policy')}.{kind}")


def _replicas_of(config: ClusterConfig, kind: str) -> int:
    return int(_setting(config, kind, "{}_replicas") or 1)


def _check_names(config: ClusterConfig, policies: Mapping[str, Factory]) -> None:
    """Raise ConfigError where a number is given for a policy that the run does not have."""
    for key in ("policy_replicas", "policy_gpus", "max_policy_replicas"):
        for name, value in getattr(config, key).items():
            if name not in policies:
                known = f"this run has {', '.join(policies)}" if policies else "this run has no policies"
                raise ConfigError(f"cluster.{key}.{name}", value, f"{known}{nearest(name, policies)}")


def _stages(kind: str, factory: Factory, num_gpus: float, key: str) -> int:
    """Return the stages of a replica. Raises ConfigError where its GPUs cannot be divided among them.

    A configuration's ``build`` is its factory; without cards all stages are on the replica's node.
    """
    owner = getattr(factory, "__self__", None)
    stages = owner.num_stages if isinstance(owner, InStages) else 1
    if stages > 1 and num_gpus and num_gpus % stages:
        group = kind if kind in _OWN_KEYS else f"policies.{kind}"
        allowed = f"must be a multiple of the {stages} stages that {group}.args.pipeline_parallel_size sets"
        raise ConfigError(_own_key(kind, key), f"{num_gpus:g}", allowed)
    return stages if num_gpus else 1


def _gpus_of_each(
    config: ClusterConfig,
    num_replicas: Mapping[str, int],
    nodes: Iterable[Resources],
    remote: Collection[str],
) -> dict[str, tuple[float, str]]:
    """Return the GPUs for each replica of a kind and the key that decided: its own, else ``share_gpu``.

    Those of the ``remote`` kinds have none unless their own key says so.
    """
    given = {kind: _setting(config, kind, "{}_gpus") for kind in num_replicas}
    given |= {kind: 0.0 for kind in remote if given[kind] is None}
    gpus = {kind: (num, _key(kind, "{}_gpus")) for kind, num in given.items() if num is not None}
    open_kinds = [kind for kind in num_replicas if kind not in gpus]
    if config.gpus_per_replica is not None:
        share, key = config.gpus_per_replica, "cluster.gpus_per_replica"
    else:
        taken = sum(num * num_replicas[kind] for kind, (num, _) in gpus.items())
        there = sum(node.get("GPU", 0.0) for node in nodes)
        num_open = sum(num_replicas[kind] for kind in open_kinds)
        besides = [num for num, _ in gpus.values()]
        share, key = _share(config.share_gpu, num_open, int(there - taken), besides), "cluster.share_gpu"
        share = share if there else 0.0
    return gpus | dict.fromkeys(open_kinds, (share, key))


def _share(share_gpu: bool | None, num_replicas: int, num_gpus: int, besides: Sequence[float]) -> float:
    """Return the part of a card for each of ``num_replicas`` without a key; ``num_gpus`` are left for them.

    True: what a replica of the other kind leaves of its card, or half of one; False: a whole one; None: an
    equal part where replicas outnumber the cards.
    """
    if share_gpu is False:
        return 1.0
    even = 1.0 / math.ceil(num_replicas / num_gpus) if num_gpus >= 1 and num_replicas else 1.0
    if share_gpu is None:
        return even
    return 1.0 - besides[0] if besides and 0 < besides[0] < 1 else min(even, 0.5)


def _spread(num_replicas: int, nodes: Mapping[str, Resources]) -> tuple[list[str], int]:
    """Return a node for each replica, by their cores, and the threads of each that just fill the cores."""
    cores = {node_id: node["CPU"] for node_id, node in nodes.items() if node.get("CPU")}
    if not cores:
        return [], 1
    node_ids: list[str] = []
    for _ in range(num_replicas):
        node_ids.append(max(cores, key=lambda n: cores[n] / (node_ids.count(n) + 1)))
    return node_ids, max(1, min(int(cores[n] // node_ids.count(n)) for n in node_ids))


def check_placement(specs: Sequence[ReplicaSpec], nodes: Collection[Resources]) -> None:
    """Raise ConfigError where the nodes cannot hold the replicas: what is needed, what there is, which key.

    Compares with what the nodes have, not with what is free: others may be about to leave.
    """
    misfit = _first_misfit(specs, nodes)
    if misfit is None:
        return
    cpus, gpus = (sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU"))
    asked = described(specs)
    there = f"{gpus:g} GPUs and {cpus:g} CPUs on {len(nodes)} nodes"
    message = f"requested are {asked}; the cluster has {there}: lower "
    only_cpus_lack = _first_misfit([replace(spec, num_cpus=0.0) for spec in specs], nodes) is None
    value = misfit.num_cpus if only_cpus_lack else misfit.num_gpus
    key = "cluster.cpus_per_replica" if only_cpus_lack else _own_key(misfit.kind, misfit.gpus_key)
    if _first_misfit([replace(misfit, num_replicas=1)], nodes):  # not even one, alone
        raise ConfigError(key, f"{value:g}", f"{message}{key}")
    keys = ", ".join(_key(spec.kind, "{}_replicas") for spec in specs)
    last = f"{keys}, or set cluster.share_gpu=true" if misfit.gpus_key == "cluster.share_gpu" else ""
    remedy = f"{message}{last if last and not only_cpus_lack else f'{keys} or {key}'}"
    raise ConfigError(_key(misfit.kind, "{}_replicas"), misfit.num_replicas, remedy)


def _own_key(kind: str, key: str) -> str:
    """Return the key to change where ``key`` has settled how many cards a replica of a kind has."""
    return _key(kind, "{}_gpus") if key == "cluster.share_gpu" else key


def _first_misfit(specs: Sequence[ReplicaSpec], nodes: Collection[Resources]) -> ReplicaSpec | None:
    """Return the first spec that no node has room for, the largest laid out first; None where all fit."""
    left = [_Node(node) for node in nodes]
    for spec in sorted(specs, key=lambda s: -s.num_gpus):
        for _ in range(spec.num_replicas * spec.num_stages):
            if not any(node.take(spec.stage) for node in left):
                return spec
    return None


class _Node:
    """The free part of a node while replicas are laid out on it."""

    def __init__(self, resources: Resources) -> None:
        self.cpus = resources.get("CPU", 0.0)
        self.gpus = [1.0] * int(resources.get("GPU", 0.0))

    def take(self, spec: ReplicaSpec) -> bool:
        """Lay out one replica if it fits; a share of a GPU goes to the fullest card with room."""
        share, num_bundles = min(1.0, spec.num_gpus), max(1, math.ceil(spec.num_gpus))
        holding = sorted((left, i) for i, left in enumerate(self.gpus) if left >= share - _EPSILON)
        num_cpus = spec.num_cpus * num_bundles
        if self.cpus < num_cpus - _EPSILON or (share and len(holding) < num_bundles):
            return False
        self.cpus -= num_cpus
        for _, i in holding[:num_bundles] if share else []:
            self.gpus[i] -= share
        return True
