"""Search methods by name, one in each file; ``strategies.parts`` is the mathematics that they share."""

from __future__ import annotations

from strategies.astar import AStar
from strategies.beam_search import BeamSearch
from strategies.best_of_n import BestOfN
from strategies.compute_optimal import ComputeOptimal
from strategies.dvts import DiverseTreeSearch
from strategies.entropic_particle_filter import EntropicParticleFilter
from strategies.greedy import Greedy
from strategies.hex import Hex
from strategies.parallel_tempering import ParallelTempering
from strategies.particle_cascade import ParticleCascade
from strategies.particle_filter import ParticleFilter
from strategies.particle_gibbs import ParticleGibbs
from strategies.parts.stopping import Stop
from strategies.rebase import Rebase
from strategies.self_consistency import SelfConsistency
from strategies.tree_of_thoughts import TreeOfThoughts

__all__ = [
    "AStar",
    "BeamSearch",
    "BestOfN",
    "ComputeOptimal",
    "DiverseTreeSearch",
    "EntropicParticleFilter",
    "Greedy",
    "Hex",
    "ParallelTempering",
    "ParticleCascade",
    "ParticleFilter",
    "ParticleGibbs",
    "Rebase",
    "SelfConsistency",
    "Stop",
    "TreeOfThoughts",
]
