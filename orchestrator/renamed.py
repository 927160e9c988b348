"""The present names of classes, and of their knobs, that saved configurations call by an older name.

A ``config.json`` names classes (``_target_``). When a class moves, a row here keeps older run directories
working: they resume, replay and are reported on, and a user's YAML file keeps working.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_TARGET = "_target_"  # as in config, which is above this file


@dataclass(frozen=True, slots=True)
class Now:
    """The present name of a class that was renamed.

    ``keys`` maps the knobs that were renamed too, old name to new one. ``added`` are knobs that the class did
    not have, with the values that keep its behaviour.
    """

    target: str
    keys: Mapping[str, str] = field(default_factory=dict)
    added: Mapping[str, Any] = field(default_factory=dict)


RENAMED: Mapping[str, Now] = {
    "actors.configs.DiffusionEngine": Now("actors.DiffusionEngineConfig"),
    "actors.configs.NoVerifier": Now("orchestrator.NoVerifier"),
    "actors.configs.TransformersEngine": Now("actors.TransformersEngineConfig"),
    "actors.configs.TransformersVerifier": Now("actors.TransformersVerifierConfig"),
    "actors.configs.VllmEngine": Now("actors.VllmEngineConfig"),
    "actors.configs.VllmVerifier": Now("actors.VllmVerifierConfig"),
    "actors.openai_config.OpenAIEngine": Now("actors.OpenAIEngineConfig"),
    "actors.verifier_configs.GenerativeVerifier": Now("actors.GenerativeVerifierConfig"),
    "actors.verifier_configs.LikelihoodVerifier": Now("actors.LikelihoodVerifierConfig"),
    "actors.verifier_configs.SelfCertaintyVerifier": Now("orchestrator.SelfCertaintyVerifierConfig"),
    "actors.placement.ClusterConfig": Now("actors.RayCluster"),
    "orchestrator.oracle.OracleConfig": Now("orchestrator.OracleConfig"),
    "orchestrator.tasks.chain.ChainTask": Now("orchestrator.ChainTask"),
    "orchestrator.tasks.choices.DrawnChoices": Now("orchestrator.DrawnChoices"),
    "orchestrator.tasks.choices.ListedChoices": Now("orchestrator.ListedChoices"),
    "orchestrator.tasks.countdown.CountdownTask": Now("orchestrator.CountdownTask"),
    "orchestrator.tasks.dataset.DatasetTask": Now("orchestrator.DatasetTask"),
    "orchestrator.tasks.twoway.TwoWayTask": Now("orchestrator.TwoWayTask"),
    "orchestrator.tracking.JsonlTracker": Now("orchestrator.JsonlTracker"),
    "orchestrator.tracking.NoTracker": Now("orchestrator.NoTracker"),
    "orchestrator.types.Denoising": Now("orchestrator.Denoising"),
    "orchestrator.types.Sampling": Now("orchestrator.Sampling"),
    "orchestrator.wandb_tracker.WandbTracker": Now("orchestrator.WandbTracker"),
    "strategies.astar.AStar": Now("strategies.AStar"),
    "strategies.beam_search.BeamSearch": Now("strategies.BeamSearch"),
    "strategies.best_of_n.BestOfN": Now("strategies.BestOfN"),
    "strategies.dvts.DiverseTreeSearch": Now("strategies.DiverseTreeSearch"),
    "strategies.entropic_particle_filter.EntropicParticleFilter": Now("strategies.EntropicParticleFilter"),
    "strategies.greedy.Greedy": Now("strategies.Greedy"),
    "strategies.hex.Hex": Now("strategies.Hex", added={"weight": "count", "aggregation": "last"}),
    "strategies.hex_weighted.HexWeighted": Now(
        "strategies.Hex", added={"weight": "likelihood", "aggregation": "last"}
    ),
    "strategies.parallel_tempering.ParallelTempering": Now("strategies.ParallelTempering"),
    "strategies.particle_cascade.ParticleCascade": Now("strategies.ParticleCascade"),
    "strategies.particle_filter.ParticleFilter": Now("strategies.ParticleFilter"),
    "strategies.particle_gibbs.ParticleGibbs": Now("strategies.ParticleGibbs"),
    "strategies.rebase.Rebase": Now("strategies.Rebase"),
    "strategies.self_consistency.SelfConsistency": Now("strategies.SelfConsistency"),
    "strategies.tree_of_thoughts.TreeOfThoughts": Now("strategies.TreeOfThoughts"),
}


@dataclass(frozen=True, slots=True)
class Since:
    """Knobs that a class has had only since its behaviour changed.

    A saved configuration that has all of ``beside``, as every shipped file did, and none of ``knobs``
    was written before: ``knobs`` are the values that keep what it began.
    """

    beside: frozenset[str]
    knobs: Mapping[str, Any]


SINCE: Mapping[str, Since] = {
    # No value keeps the search that closed its states for good: None is refused with the reason.
    "strategies.AStar": Since(
        frozenset({"branching", "wave", "width", "num_goals", "transition_cost"}), {"reopen_cost": None}
    ),
    "strategies.ParallelTempering": Since(
        frozenset({"num_chains", "num_iterations", "max_tempering"}), {"min_particles": 2}
    ),
    "strategies.ParticleGibbs": Since(
        frozenset({"num_iterations", "num_references", "weighting"}), {"min_particles": 2}
    ),
    "strategies.Rebase": Since(
        frozenset({"balance_temperature", "aggregation", "selection"}),
        {"rounding": "remainder", "vote_by": "odds"},
    ),
}


def as_begun(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's saved configuration under today's names, with the knobs that keep its behaviour."""
    plain = {name: renamed(item) for name, item in config.items()}
    node = plain.get("strategy")
    if not isinstance(node, dict):
        return plain
    since = SINCE.get(str(node.get(_TARGET)))
    if since and since.beside <= node.keys() and not since.knobs.keys() & node.keys():
        plain["strategy"] = {**node, **since.knobs}
    return plain


def target_now(target: str) -> str:
    """Return the present name of a class; one that was not renamed keeps its name."""
    return RENAMED[target].target if target in RENAMED else target


def renamed(value: Any) -> Any:
    """Return a configuration, or a part of one, with every class under its present name."""
    if isinstance(value, list):
        return [renamed(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    node = {name: renamed(item) for name, item in value.items()}
    now = RENAMED.get(str(node.get(_TARGET)))
    if now is None:
        return node
    knobs = {now.keys.get(name, name): item for name, item in node.items() if name != _TARGET}
    return {_TARGET: now.target, **now.added, **knobs}
