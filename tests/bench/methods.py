"""The rows of the tables of strategies: every shipped file, and settings that deserve a row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from orchestrator.config.files import TARGET
from orchestrator.search.budgets import independent_knob
from tests.bench.sweeps import REPOSITORY

CHOICES = REPOSITORY / "conf" / "strategy"
REFERENCE = "particle_filter"
SYSTEMATIC = "particle_filter, systematic"
AHEAD = "entropic_particle_filter, fresh look-ahead"
FLOORED = "entropic_particle_filter, fresh look-ahead, incremental"
COMMON_TEMPERATURE = 0.8
_WITHOUT_A_ROW = {
    "compute_optimal",
    "iad",
    "mixture",
    "pipeline",
    "refine",
    "revisions",
    "self_refine",
    "sequential_hints",
    "speculative",
}
TEMPERATURES = (0.6, 0.8, 1.0, 1.3)
ASTAR_KNOBS = ("reopen_cost=0.02", "reopen_cost=0.1", "wave=4", "wave=null", "num_goals=2")


@dataclass(frozen=True, slots=True)
class Method:
    """A row: a strategy's file, with further keys of run.py; ``temperature`` None leaves the shipped one.

    None is for methods that ship the common temperature; rows of others name theirs.
    """

    name: str
    strategy: str
    keys: tuple[str, ...] = ()
    temperature: float | None = None

    @property
    def all_keys(self) -> tuple[str, ...]:
        """With the temperature, unless it is the one that is shipped: both are then the same run."""
        if self.temperature in (None, shipped_temperature(self.strategy)):
            return self.keys
        return (*self.keys, f"strategy.sampling.temperature={self.temperature:g}")

    def budgets_of(self, budgets: tuple[int, ...]) -> tuple[int, ...]:
        """Greedy decoding reads no budget: one point is its whole curve."""
        return budgets[:1] if self.strategy == "greedy" else budgets

    @property
    def has_temperature(self) -> bool:
        return self.strategy != "greedy" and not brings_its_own(self.strategy)

    @property
    def is_independent(self) -> bool:
        """Whether a run with N samples holds those of every smaller N."""
        return independent_knob(_target(self.strategy)) is not None


def _target(strategy: str) -> str:
    """The class of a file, which may be another file's with a few knobs set."""
    content: Any = OmegaConf.load(CHOICES / f"{strategy}.yaml")
    node = content.get("strategy", content)
    return str(node[TARGET]) if TARGET in node else _target(content.defaults[0])


@cache
def shipped_temperature(strategy: str) -> float:
    """That of a strategy's file, or the one of conf/strategy/sampling."""
    content: Any = OmegaConf.load(CHOICES / f"{strategy}.yaml")
    return float((content.get("sampling") or {}).get("temperature", COMMON_TEMPERATURE))


def names() -> list[str]:
    """Every strategy, those on the default engine and task first."""
    return sorted((f.stem for f in CHOICES.glob("*.yaml")), key=lambda name: (brings_its_own(name), name))


@cache
def brings_its_own(strategy: str) -> bool:
    """Whether it selects an engine and a task, so that its accuracy is not to be compared with others'."""
    return "@package _global_" in (CHOICES / f"{strategy}.yaml").read_text().partition("\n")[0]


def at_common_temperature(name: str) -> Method:
    """A strategy's file, at the temperature of the others."""
    differs = shipped_temperature(name) != COMMON_TEMPERATURE
    return Method(name, name, temperature=COMMON_TEMPERATURE if differs else None)


def on_chain() -> list[Method]:
    """Every strategy of the default task that its policy can follow, at the common temperature.

    Without a plan `compute_optimal` is best of N, the shipped policies cannot read a reviser's prompt, and
    `speculative` needs a second policy (``bench_speculative``).
    """
    own = [name for name in names() if not brings_its_own(name) and name not in _WITHOUT_A_ROW]
    rows = [at_common_temperature(name) for name in own]
    rows.insert(own.index(REFERENCE) + 1, Method(SYSTEMATIC, REFERENCE, ("strategy.resampling=systematic",)))
    return rows


def of_astar() -> list[Method]:
    """A* by what makes one reward of a path's, at two temperatures; then as shipped but for one knob.

    With ``min`` no step lowers h, so that of the two costs of a step only ``increase`` is any; the rows
    with ``last`` compare both.
    """
    by_aggregation = [
        Method(f"{how}, T = {t:g}", "astar", (f"strategy.aggregation={how}",), t)
        for t in (COMMON_TEMPERATURE, 1.0)
        for how in ("last", "min", "prod")
    ]
    costs = ("strategy.aggregation=last", "strategy.transition_cost=increase")
    return [
        *by_aggregation,
        Method("last, T = 1, increase", "astar", costs, 1.0),
        *(Method(f"min, T = 1, {knob}", "astar", (f"strategy.{knob}",), 1.0) for knob in ASTAR_KNOBS),
    ]


def confirmed() -> list[Method]:
    """A* as shipped and at the common temperature, beside the filter at both."""
    return [
        Method(name if t == COMMON_TEMPERATURE else f"{name}, T = {t:g}", name, temperature=t)
        for name in (REFERENCE, "astar")
        for t in (COMMON_TEMPERATURE, 1.0)
    ]


def on_countdown() -> list[Method]:
    """What the claims compare, where the verifier is confident too early."""
    compared = (REFERENCE, SYSTEMATIC, "entropic_particle_filter", "best_of_n", "astar")
    rows = [method for name in compared for method in on_chain() if method.name == name]
    goals = replace(at_common_temperature("astar"), name="astar, 4 goals", keys=("strategy.num_goals=4",))
    return [*rows, goals]


def on_long_chain() -> list[Method]:
    """The entropic filter, with and without look-ahead, beside the plain filter of either resampling.

    Looked-ahead weights have their floor under incremental weighting alone.
    """
    entropic = "entropic_particle_filter"
    rows = [m for m in on_chain() if m.strategy in (REFERENCE, entropic)]
    return [
        *sorted(rows, key=lambda m: m.strategy != REFERENCE),
        Method(AHEAD, entropic, ("strategy.look_ahead=fresh",)),
        Method(FLOORED, entropic, ("strategy.look_ahead=fresh", "strategy.weighting=incremental")),
    ]


def schedule(blocks: tuple[int, ...]) -> Method:
    """HEX over some block lengths: with one, the vote of a single schedule."""
    listed = ",".join(map(str, blocks))
    name = f"blocks of {' and '.join(map(str, blocks))}"
    return Method(name, "hex", (f"strategy.block_lengths=[{listed}]",))
