"""``python -m orchestrator.allocation features RUN_DIR to=FILE``: votes by features of the text.

The slopes are fitted within problems: features are taken relative to their mean over the problem's samples,
as hard problems have longer texts and fewer right ones. Problems whose samples are all right, or all wrong,
say nothing. The figures beside them are of problems that the fit has not seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from orchestrator.allocation.logistic import Floats, logistic
from orchestrator.config.arguments import read_arguments
from orchestrator.config.planned import VOTES
from orchestrator.errors import ConfigError
from orchestrator.intervals import mean_interval
from orchestrator.report.traces import feature_names, features_of, word_lists
from orchestrator.samples.stored import check_independent
from orchestrator.storage.fitted_files import write_fitted
from orchestrator.storage.quoted import GROUP, elect
from orchestrator.storage.result_lines import in_recorded_order
from orchestrator.storage.results import stream_results
from orchestrator.storage.run_files import read_config, read_summary

USAGE = """usage: python -m orchestrator.allocation features RUN_DIR to=FILE [ridge=1] [folds=5]

Fits P(a sample is right) to features of its text (tokens, steps, the lists of conf/traces.yaml), and writes
the coefficients for strategy=self_consistency strategy.weight=features plan=FILE.
  to=     the file
  ridge=  on the slopes of standardised features (1)
  folds=  of the problems, for the figures of problems that a fit has not seen (5)"""
DEFAULTS = {"to": "", "ridge": "1", "folds": "5"}


@dataclass(frozen=True)
class Marked:
    """The samples of one problem: their features ``[N, F]``, and ``answer``, ``group`` and ``correct``."""

    rows: Floats
    samples: Sequence[Mapping[str, Any]]

    @property
    def right(self) -> Floats:
        return np.asarray([bool(s["correct"]) for s in self.samples], dtype=float)

    @property
    def is_mixed(self) -> bool:
        return 0 < float(self.right.sum()) < len(self.samples)

    def answered(self, votes: Sequence[float]) -> float:
        """Return 1.0 where the vote elects a right answer."""
        elected = elect(self.samples, votes)
        return float(elected is not None and elected["correct"])


@dataclass(frozen=True)
class Coefficients:
    """``slopes`` of the features as they are; ``standardised`` are those of features of deviation 1."""

    slopes: Floats
    intercept: float
    standardised: Floats

    def votes(self, rows: Floats) -> list[float]:
        """Return the votes of a problem's samples."""
        odds = np.clip(rows @ self.slopes + self.intercept, -500, 500)
        return [float(vote) for vote in 1 / (1 + np.exp(-odds))]


def read_marked(folder: Path) -> list[Marked]:
    """Return the problems of a run of independent samples. Raises ConfigError for any other run."""
    check_independent(read_config(folder, "RUN_DIR"), read_summary(folder, "RUN_DIR"), folder)
    found = list(map(_marked, _sampled(stream_results(folder))))
    if not any(each.is_mixed for each in found):
        allowed = "has no problem with right and wrong samples: give a run of self_consistency or best_of_n"
        raise ConfigError("RUN_DIR", folder, allowed)
    return found


def _sampled(lines: Iterable[Mapping[str, Any]]) -> Iterable[Sequence[Mapping[str, Any]]]:
    for line in lines:
        samples = in_recorded_order(line) if line["candidates"] else []
        if samples and all(GROUP in s for s in samples):
            yield samples


def _marked(samples: Sequence[Mapping[str, Any]]) -> Marked:
    rows = [features_of(s["text"], s["num_tokens"], len(s["step_lengths"])) for s in samples]
    return Marked(np.asarray(rows, dtype=float), [{k: s[k] for k in _KEPT} for s in samples])


_KEPT = ("answer", GROUP, "correct")


def fit_features(problems: Sequence[Marked], ridge: float) -> Coefficients:
    """Return the coefficients of problems, of which one at least has right and wrong samples."""
    mixed = [each for each in problems if each.is_mixed]
    rows = np.concatenate([each.rows for each in mixed])
    apart = np.concatenate([each.rows - each.rows.mean(axis=0) for each in mixed])
    scale = apart.std(axis=0)
    known = scale > 1e-12
    slopes, centre = logistic(apart[:, known] / scale[known], np.concatenate([p.right for p in mixed]), ridge)
    standardised, own = np.zeros(len(scale)), np.zeros(len(scale))
    standardised[known], own[known] = slopes, slopes / scale[known]
    return Coefficients(own, centre - float(rows.mean(axis=0) @ own), standardised)


def held_out(problems: Sequence[Marked], ridge: float, num_folds: int) -> list[float]:
    """Return for each problem whether its vote is right, by coefficients fitted to the other folds.

    Problem i is in fold i mod ``num_folds``. Where the others have nothing to fit, votes are counted.
    """
    outcomes = [0.0] * len(problems)
    for fold in range(num_folds):
        rest = [each for i, each in enumerate(problems) if i % num_folds != fold]
        fitted = fit_features(rest, ridge) if any(each.is_mixed for each in rest) else None
        for i in range(fold, len(problems), num_folds):
            rows = problems[i].rows
            outcomes[i] = problems[i].answered(fitted.votes(rows) if fitted else [1.0] * len(rows))
    return outcomes


def fit_votes(arguments: list[str]) -> tuple[list[Table], Path]:
    """Write the file that the arguments name; return what was found, and its path. Raises ConfigError."""
    folder, options = read_arguments(arguments, DEFAULTS, "RUN_DIR")
    if not options["to"]:
        raise ConfigError("to", None, "must be the file to write")
    ridge, num_folds = _number("ridge", options["ridge"], 1e-6), int(_number("folds", options["folds"], 2))
    config, problems = read_config(folder, "RUN_DIR"), read_marked(folder)
    fitted, outcomes = fit_features(problems, ridge), held_out(problems, ridge, num_folds)
    content = {
        "task": config["task"],
        "engine": config["engine"],
        "num_problems": len(problems),
        "features": list(feature_names()),
        "coefficients": fitted.slopes.tolist(),
        "intercept": fitted.intercept,
        "words": ["\n".join(phrases) for phrases in word_lists()],
    }
    write_fitted(Path(options["to"]), VOTES, content)
    return [_slopes_table(fitted), _votes_table(problems, outcomes)], Path(options["to"])


def _number(key: str, text: str, least: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not least <= value < float("inf"):
        raise ConfigError(key, text, f"must be a number of {least:g} or more")
    return value


def _slopes_table(fitted: Coefficients) -> Table:
    table = Table(title="log-odds of being right", title_justify="left")
    for name in ("feature", "a standard deviation more", "a unit more"):
        table.add_column(name, no_wrap=True)
    for name, by_deviation, by_unit in zip(feature_names(), fitted.standardised, fitted.slopes, strict=True):
        table.add_row(name, f"{by_deviation:+.3f}", f"{by_unit:+.3g}")
    return table


def _votes_table(problems: Sequence[Marked], by_features: Sequence[float]) -> Table:
    """Return the accuracies of votes; those of features are of problems that the fit has not seen."""
    counted = [each.answered([1.0] * len(each.samples)) for each in problems]
    by_length = [each.answered([1 / max(1.0, float(n)) for n in each.rows[:, 0]]) for each in problems]
    table = Table(title=f"votes, {len(problems)} problems", title_justify="left")
    for name in ("weight", "accuracy", "gain over count (95 % over problems)"):
        table.add_column(name, no_wrap=True)
    named = {"count": counted, "shortness": by_length, "features (held out)": by_features}
    for name, right in named.items():
        gain, low, high = mean_interval([a - b for a, b in zip(right, counted, strict=True)])
        cell = "" if right is counted else f"{gain:+.3f} ({low:+.3f} to {high:+.3f})"
        table.add_row(name, f"{np.mean(right):.3f}", cell)
    return table
