"""The page: tables and figures in one HTML file, and the searches packed in it.

Model text is not trusted: templates escape it, scripts only write it as text, and the page's policy allows
no scripts except the two that are hashed into it, and no requests.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from orchestrator.errors import ConfigError
from orchestrator.report.by_policy import PolicyShare, policy_shares
from orchestrator.report.comparison import Compared, compare_all, reference_of
from orchestrator.report.drafted import Drafted, drafted_points
from orchestrator.report.equal_cost import EqualCost, equal_cost
from orchestrator.report.figures import Drawing, draw_all, key_of
from orchestrator.report.filters import FILTERS
from orchestrator.report.granted import Granted, granted
from orchestrator.report.larger_model import SHARES, Exchange, exchanged
from orchestrator.report.levels import ByDifficulty, Samples, by_difficulty, read_samples, samples_of
from orchestrator.report.measures import COSTS, HEADS, Measured, measure_all, pareto, quoted_columns
from orchestrator.report.revised import RevisedPoint, revised_points
from orchestrator.report.runs import CHUNK_PROBLEMS, SavedRun, pack, read_runs
from orchestrator.report.sampled import Sampled, sampled
from orchestrator.report.settings import Setting, arrange
from orchestrator.report.speed import Speeds, speeds
from orchestrator.report.traces import Traces, traces
from orchestrator.storage.atomic import write_atomically
from orchestrator.storage.plain_files import check_file, check_folder, replace_file
from orchestrator.terminal import printable

ASSETS = "assets"
PAGE, FIGURES = "report.html", "figures"
MAX_STEM = 120  # characters
GAINS = ("in sample", "cross-validated", "low", "high")  # of a plan
PAID = (
    "generated_tokens",
    "sequential_tokens",
    "flops",
    "cost",
)  # what methods are compared at equal amounts of


@dataclass(frozen=True)
class Section:
    """One setting as the template reads it."""

    setting: Setting
    curves: Mapping[str, Sequence[Measured]]
    drawings: Sequence[Drawing]
    reference: str | None
    compared: Sequence[Compared]
    equal_costs: Sequence[EqualCost]
    by_difficulty: ByDifficulty | None
    sampled: Sampled | None
    granted: Sequence[Granted] = ()
    revised: Sequence[RevisedPoint] = ()
    policies: Sequence[PolicyShare] = ()
    drafted: Sequence[Drafted] = ()
    traces: Sequence[Traces] = ()
    exchange: Exchange | None = None

    @property
    def plans(self) -> list[tuple[str, Sequence[float], Measured]]:
        """Series that follow a plan: the gains that it was fitted with, and what the run has achieved."""
        found = []
        for series in self.setting.series:
            plan = series.points[0].runs[0].config["strategy"].get("plan")
            gains = plan.get("gains", ()) if isinstance(plan, Mapping) else ()
            if len(gains) == len(GAINS):
                found += [(series.name, gains, point) for point in self.curves[series.name]]
        return found

    @property
    def points(self) -> list[Measured]:
        return [point for points in self.curves.values() for point in points]

    @property
    def quoted_columns(self) -> list[str]:
        """The names of the figures that papers quote of independent samples; empty where there are none."""
        return quoted_columns(self.points)

    @property
    def heads(self) -> dict[str, str]:
        """The heads of the table's costs; money is left out where no policy has a price."""
        is_priced = any(p.costs["cost"] > 0 for p in self.points)
        return {cost: head for cost, head in HEADS.items() if is_priced or cost != "cost"}

    @property
    def frontiers(self) -> dict[str, list[Measured]]:
        """The Pareto frontiers by the name of a cost; costs that are 0 everywhere are left out."""
        costs = [c for c in COSTS if any(p.costs[c] > 0 for p in self.points)]
        return {COSTS[cost]: pareto(self.points, cost) for cost in costs}


def write_report(
    folder: Path,
    out: Path,
    max_bytes: float,
    reference: Path | None = None,
    times_larger: float | None = None,
) -> Path:
    """Write ``report.html`` and ``figures/`` into ``out``; return the path of the page.

    ``max_bytes`` bounds the searches in the page. A problem's difficulty is estimated from the candidates of
    the run ``reference``, or else of a run in ``folder``. With ``times_larger`` the page compares costs with
    a model of so many times the parameters. Raises ConfigError when there is no run in ``folder``, or none
    with problems of ``reference``.
    """
    check_file(out / PAGE)
    check_folder(out / FIGURES)
    samples = read_samples(reference) if reference else None
    runs = list(read_runs(folder, max_bytes))
    settings = arrange(runs)
    sections = [make_section(setting, f"s{i}", samples, times_larger) for i, setting in enumerate(settings)]
    if reference and not any(section.by_difficulty for section in sections):
        allowed = "has no problems of these runs, or the same pass rate for all of them"
        raise ConfigError("reference", reference, allowed)
    out.mkdir(parents=True, exist_ok=True)
    for section in sections:
        _save_figures(section, out / FIGURES)
    page = out / PAGE
    write_atomically(page, render(folder.resolve().name, sections, speeds(runs)))
    return page


def make_section(
    setting: Setting, prefix: str, samples: Samples | None = None, times_larger: float | None = None
) -> Section:
    """Return the tables and figures of a setting; ``prefix`` makes its identifiers unique."""
    curves = measure_all(setting)
    reference = reference_of(setting)
    used = samples or samples_of(setting)
    return Section(
        setting=setting,
        curves=curves,
        drawings=draw_all(curves, prefix),
        reference=reference.name if reference else None,
        compared=compare_all(setting, reference) if reference else [],
        equal_costs=[table for cost in PAID if (table := equal_cost(curves, cost))],
        by_difficulty=by_difficulty(setting, used) if used else None,
        sampled=sampled(setting, prefix),
        granted=granted(setting),
        revised=revised_points(setting),
        policies=policy_shares(setting),
        drafted=drafted_points(setting),
        traces=traces(setting),
        exchange=exchanged(setting, curves, times_larger) if times_larger else None,
    )


def _save_figures(section: Section, folder: Path) -> None:
    stem = _stem(section.setting.name)
    own = section.sampled.drawings if section.sampled else ()
    for drawing in (*section.drawings, *own):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / f"{stem}-{drawing.name}.svg", drawing.svg)
        replace_file(folder / f"{stem}-{drawing.name}.png", [drawing.png])


def _stem(name: str) -> str:
    """Return the prefix of a setting's file names, short enough for every file system."""
    stem = re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")
    if len(stem) <= MAX_STEM:
        return stem
    digest = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=4).hexdigest()
    return f"{stem[:MAX_STEM]}-{digest}"


def render(title: str, sections: Sequence[Section], engines: Speeds | None = None) -> str:
    """Return the whole page as text."""
    runs = [run for section in sections for run in section.setting.runs]
    environment = Environment(
        loader=PackageLoader("orchestrator.report", ASSETS),
        autoescape=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(FILTERS)
    script, plotly = asset("drawings.js") + asset("report.js"), plotly_source()
    return environment.get_template("report.html.j2").render(
        title=title,
        sections=sections,
        engines=engines,
        runs=[
            (run_label(section.setting, run, sections), run)
            for section in sections
            for run in section.setting.runs
        ],
        costs=COSTS,
        shares=SHARES,
        style=Markup(asset("report.css")),
        script=Markup(script),
        hashes=[digest(script), digest(plotly)],
        plotly=Markup(base64.b64encode(gzip.compress(plotly.encode(), 9, mtime=0)).decode()),
        catalogue=pack([_entry(run) for run in runs]),
        rows=[pack(_rows(run)) for run in runs],
        key_of=key_of,
        num_left_out=sum(len(run.columns) - _num_kept(run) for run in runs),
    )


def run_label(setting: Setting, run: SavedRun, sections: Sequence[Section]) -> str:
    """Return a run's name in the page's list of runs."""
    series = next(s for s in setting.series if any(run in p.runs for p in s.points))
    point = next(p for p in series.points if run in p.runs)
    prefix = f"{setting.name}: " if len(sections) > 1 else ""
    return f"{prefix}{series.name} {point.label} seed {run.seed}"


def _entry(run: SavedRun) -> dict[str, Any]:
    """Return what the script must know of a run to draw its searches."""
    steps = run.config["strategy"].get("max_steps")
    return {
        "strategy": run.strategy,
        "max_steps": steps,
        "chunk": CHUNK_PROBLEMS,
        "num_searches": _num_kept(run),
        "num_chunks": len(run.searches),
    }


def _num_kept(run: SavedRun) -> int:
    return min(len(run.columns), len(run.searches) * CHUNK_PROBLEMS)


def _rows(run: SavedRun) -> dict[str, list[Any]]:
    """Return the problem table, by columns."""
    c = run.columns
    return {
        "id": c.problem_id,
        "question": c.question,
        "reference": c.reference,
        "answer": c.answer,
        "correct": [int(x) for x in c.correct],
        "passed": [int(x) for x in c.passed],
        "tie": [int(x) for x in c.tie],
        "error": c.error,
        "stopped_by": c.stopped_by,
        "tokens": c.generated_tokens,
        "calls": c.reward_calls,
        "seconds": [round(x, 3) for x in c.seconds],
    }


def asset(name: str) -> str:
    """Return the text of a file in the folder of assets."""
    return files("orchestrator.report").joinpath(ASSETS, name).read_text(encoding="utf-8")


@cache
def plotly_source() -> str:
    """Return plotly.js as its Python package ships it."""
    return files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")


def digest(script: str) -> str:
    """Return a script's name in a content security policy."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
