"""Numbers of stored files, cards and pages, for the tables of tests/prose_numbers.py."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from tests.test_house import ROOT

DOCS = ROOT / "docs"
POLICY_GPUS = 800


@cache
def stored(name: str) -> Any:
    """What docs/data/NAME.json holds."""
    return json.loads((DOCS / "data" / f"{name}.json").read_text())


def rule(task: str, family: str, level: str) -> Mapping[str, Any]:
    """A line of the rules of docs/adaptive.md."""
    rows = stored("adaptive")["tasks"][task]["rules"]
    (found,) = (r for r in rows if (r["family"], r["level"]) == (family, level))
    return dict(found)


def saved(task: str, family: str, level: str, cost: str = "tokens") -> float:
    """The share of what all samples cost that a rule saves, in percent."""
    whole = "vote, all" if family.startswith("vote") else "all"
    return 100 * (1 - float(rule(task, family, level)[cost]) / float(rule(task, whole, "N = 16")[cost]))


def default_rounds(task: str) -> Sequence[float]:
    """What the default settings of rounds gain over uniform at equal tokens."""
    return list(stored("adaptive")["tasks"][task]["rounds"][1]["difference"])


def within(task: str) -> int:
    """How many of eight pilots the zero-inflated Beta forecasts within .06."""
    rows = stored("adaptive")["tasks"][task]["saturation"]
    (errors,) = (r["errors"] for r in rows if r["family"] == "zero-inflated Beta")
    return sum(abs(e) <= 0.06 for e in errors)


def ece(task: str) -> float:
    """The ECE of rewards as they come on test problems."""
    return float(stored("adaptive")["tasks"][task]["calibration"][0]["ece"])


def annealed(budget: int) -> Sequence[float]:
    """By how much the entropic filter is ahead of its control on long chains."""
    points = stored("long_chain")["curves"]["entropic_particle_filter"]
    (found,) = (point["difference"] for point in points if point["budget"] == budget)
    return [found[name] for name in ("value", "low", "high")]


def confirmed() -> Sequence[float]:
    """By how many times fewer tokens A* takes than the filter, and by how many % fewer reward calls."""
    curves = stored("astar_confirmation")["curves"]
    ours, theirs = curves["astar, T = 1"][-1], curves["particle_filter"][-1]
    tokens, calls = (ours[name] / theirs[name] for name in ("generated_tokens", "reward_calls"))
    return [1 / tokens, 100 * (1 - calls)]


def read(page: str, pattern: str) -> float:
    """The one number of a file that stands where a pattern has its group."""
    text = (ROOT / page).read_text(encoding="utf-8")
    (found,) = re.findall(pattern.replace(" ", r"\s+"), text)
    return float(found.replace(",", ""))


def card(model: str, pattern: str) -> float:
    """A number of a model's card, by what is around it."""
    return read(f"actors/embedded/weights/{model}/README.md", pattern)


def performance(pattern: str) -> float:
    """A number of docs/performance.md, by what is around it."""
    return read("docs/performance.md", pattern)


def own_costs() -> Sequence[float]:
    """The microseconds of a search without loads, and of its journal."""
    on, off = (performance(rf"\| 64 \| {journal} (?:\| [\d,]+ ){{2}}\| (\d+)") for journal in ("on", "off"))
    return [off - 64 * of_a_replica(), on - off]


def of_a_replica() -> float:
    """The microseconds by which one more replica makes an expansion dearer."""
    few, many = (performance(rf"\| {n} \| off (?:\| [\d,]+ ){{2}}\| (\d+)") for n in ("64", "1,000"))
    return (many - few) / (1000 - 64)


def slots_used(rows: int, column: int) -> str:
    """The pattern of a cell of docs/performance.md, with so many rows in flight a slot."""
    return rf"calls at their home \|(?s:.*?)\| {rows} (?:\| [\d.]+ % ){{{column}}}\| ([\d.]+) %"


def at_once() -> float:
    """The problems in flight that fill 1,000 GPUs."""
    return 3 * 800 * 256 / 8


def megabytes() -> float:
    """The memory of a problem with 8 particles of 1,000 tokens of 40 bytes each."""
    return (8 * 1000 * 40 + 36 * 1024) / 1e6


def countdown_card(step: int, column: int) -> float:
    """What the card of Countdown's verifier says of a step."""
    return card("countdown-verifier", rf"\| {step} (?:\| \.\d+ ){{{column}}}\| (\.\d+)")


def gate(names: str, position: int) -> float:
    """A gate of the models of long chains."""
    source = (ROOT / "actors" / "embedded" / "long_chain.py").read_text(encoding="utf-8")
    (numbers,) = re.findall(rf"^{names} = (.*)$", source, re.MULTILINE)
    return float(numbers.split(", ")[position])


def expansion(replicas: int, rows: int, call: int) -> float:
    """The microseconds of an expansion by the formula of docs/scale.md; loads were measured with 8 rows."""
    return 59 + 16 + 0.03 * replicas * 8 / rows + 2 * call / rows


def of_one_controller(replicas: int, rows: int = 8, call: int = 400) -> Sequence[float]:
    """The microseconds of an expansion, and the expansions a second to the hundred."""
    cost = expansion(replicas, rows, call)
    return [cost, round(1e6 / cost, -2)]
