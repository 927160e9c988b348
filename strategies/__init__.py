"""Search methods by name, one in each file; ``strategies.parts`` is the mathematics that they share.

Each name below is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strategies.astar import AStar
    from strategies.beam_search import BeamSearch
    from strategies.best_of_n import BestOfN
    from strategies.components.templates import PipelineTemplates
    from strategies.compute_optimal import ComputeOptimal
    from strategies.dvts import DiverseTreeSearch
    from strategies.entropic_particle_filter import EntropicParticleFilter
    from strategies.greedy import Greedy
    from strategies.hex import Hex
    from strategies.mixture import Mixture, MixtureArm
    from strategies.parallel_tempering import ParallelTempering
    from strategies.particle_cascade import ParticleCascade
    from strategies.particle_filter import ParticleFilter
    from strategies.particle_gibbs import ParticleGibbs
    from strategies.parts.checklist import Checklist
    from strategies.parts.mbr import Mbr
    from strategies.parts.stopping import Stop
    from strategies.pipeline import Pipeline
    from strategies.rebase import Rebase
    from strategies.refine import Refine, RefineStop
    from strategies.self_consistency import SelfConsistency
    from strategies.speculative import Speculative
    from strategies.tree_of_thoughts import TreeOfThoughts

_PLACES = {
    "AStar": "strategies.astar",
    "BeamSearch": "strategies.beam_search",
    "BestOfN": "strategies.best_of_n",
    "Checklist": "strategies.parts.checklist",
    "ComputeOptimal": "strategies.compute_optimal",
    "DiverseTreeSearch": "strategies.dvts",
    "EntropicParticleFilter": "strategies.entropic_particle_filter",
    "Greedy": "strategies.greedy",
    "Hex": "strategies.hex",
    "Mbr": "strategies.parts.mbr",
    "Mixture": "strategies.mixture",
    "MixtureArm": "strategies.mixture",
    "ParallelTempering": "strategies.parallel_tempering",
    "ParticleCascade": "strategies.particle_cascade",
    "ParticleFilter": "strategies.particle_filter",
    "ParticleGibbs": "strategies.particle_gibbs",
    "Pipeline": "strategies.pipeline",
    "PipelineTemplates": "strategies.components.templates",
    "Rebase": "strategies.rebase",
    "Refine": "strategies.refine",
    "RefineStop": "strategies.refine",
    "SelfConsistency": "strategies.self_consistency",
    "Speculative": "strategies.speculative",
    "Stop": "strategies.parts.stopping",
    "TreeOfThoughts": "strategies.tree_of_thoughts",
}

__all__ = [
    "AStar",
    "BeamSearch",
    "BestOfN",
    "Checklist",
    "ComputeOptimal",
    "DiverseTreeSearch",
    "EntropicParticleFilter",
    "Greedy",
    "Hex",
    "Mbr",
    "Mixture",
    "MixtureArm",
    "ParallelTempering",
    "ParticleCascade",
    "ParticleFilter",
    "ParticleGibbs",
    "Pipeline",
    "PipelineTemplates",
    "Rebase",
    "Refine",
    "RefineStop",
    "SelfConsistency",
    "Speculative",
    "Stop",
    "TreeOfThoughts",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return __all__
