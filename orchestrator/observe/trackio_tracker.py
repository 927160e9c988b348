"""A run's figures in Trackio: one Trackio run a run, in its database on this machine or on a server."""

from __future__ import annotations

import os
import re
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

from orchestrator.observe.background import LOCAL_S, Background, check_installed, check_no_login
from orchestrator.observe.tables import flattened, numbers, result_tables, well_formed
from orchestrator.observe.tracking import figures
from orchestrator.storage.atomic import write_json
from orchestrator.storage.json_reading import BadJson, read_object
from orchestrator.storage.run_files import TRACKIO_IDENTITY
from orchestrator.storage.sweep_index import sweep_folder
from orchestrator.storage.totals import Totals

TRACKIO = Background("trackio")


@dataclass
class TrackioTracker:
    """Logs figures as problems finish; at the end the summary and tables.

    They are kept in Trackio's database on this machine (``TRACKIO_DIR``), or sent to ``server_url``, else
    ``TRACKIO_SERVER_URL``, where that answers. The points of a sweep are one group. A resumed run is the same
    Trackio run: its name is in ``trackio_run.json``. The start and the end each wait ``timeout_s`` for the
    server, and 20 s for Trackio itself; nothing waits while problems are solved. Raises ConfigError where
    Trackio is not installed, or ``server_url`` holds a token.
    """

    project: str = "murmuration"
    server_url: str | None = None
    group: str | None = None
    timeout_s: float = 30.0
    _totals: Totals = field(default_factory=Totals, init=False)
    _run: Any = field(default=None, init=False)
    _run_dir: Path = field(default=Path(), init=False)

    def __post_init__(self) -> None:
        check_no_login("tracker.server_url", self.server_url, "TRACKIO_WRITE_TOKEN")
        check_installed("tracker", "trackio", "trackio")

    def start(self, run_dir: Path, config: Mapping[str, Any], totals: Totals) -> None:
        self._run_dir, self._totals = run_dir, totals
        server = self.server_url or os.environ.get("TRACKIO_SERVER_URL")
        seconds = self.timeout_s + LOCAL_S
        self._run = TRACKIO.begin(server, lambda url: self._begin(url, config), seconds, "by Trackio")
        write_json(run_dir / TRACKIO_IDENTITY, {"name": self._run.name, "project": self.project})

    def _begin(self, url: str | None, config: Mapping[str, Any]) -> Any:
        if url is not None:
            _check_answers(url, self.timeout_s)
        else:
            os.environ.pop("TRACKIO_SERVER_URL", None)  # it would be used all the same
        sweep = sweep_folder(self._run_dir)
        earlier = self._earlier_name()
        return _library().init(
            project=self.project,
            name=earlier or well_formed(f"{self._run_dir.name}-{uuid.uuid4().hex[:8]}"),
            group=self.group or (well_formed(sweep.name) if sweep else None),
            server_url=url,
            config=well_formed(flattened(config)),
            resume="allow" if earlier else "never",
            embed=False,
            auto_log_cpu=False,
            auto_log_gpu=False,
        )

    def _earlier_name(self) -> str | None:
        """Return the name of an earlier part of the run, which no other run has."""
        try:
            identity = read_object(self._run_dir / TRACKIO_IDENTITY)
        except (FileNotFoundError, BadJson):
            return None
        name = identity.get("name")
        is_name = isinstance(name, str) and re.search(r"-[0-9a-f]{8}$", name) is not None
        return name if is_name and identity.get("project") == self.project else None

    def problem(self, line: Mapping[str, Any]) -> None:
        if self._run is not None:
            shown, step = numbers(figures(line, self._totals)), self._totals.num_problems
            TRACKIO.later(lambda: self._run.log(well_formed(shown), step=step))

    def finish(self, summary: Mapping[str, Any]) -> None:
        if self._run is not None:
            TRACKIO.wait_for(lambda: self._end(summary), self.timeout_s + LOCAL_S)

    def _end(self, summary: Mapping[str, Any]) -> None:
        named = {f"summary/{key}": value for key, value in numbers(flattened(summary)).items()}
        tables = {
            name: _library().Table(columns=columns, data=rows)
            for name, (columns, *rows) in result_tables(self._run_dir).items()
        }
        self._run.log(well_formed(named) | tables, step=self._totals.num_problems)
        self._run.finish()


def _library() -> Any:
    """Return Trackio, which prints nothing: standard output is the run's."""
    import trackio  # seconds, and needed by this tracker alone
    import trackio.run
    import trackio.utils

    for module in (trackio, trackio.run, trackio.utils):
        vars(module)["print"] = _silent
    warnings.filterwarnings("ignore", module="trackio")
    return trackio


def _silent(*args: object, **kwargs: object) -> None: ...


def _check_answers(url: str, seconds: float) -> None:
    """Raise OSError where no server answers: Trackio itself would wait for it at the end of the run."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise ValueError("its address must begin with http:// or https://")
    try:
        urlopen(url, timeout=seconds).close()
    except HTTPError as answer:  # any answer will do
        answer.close()
