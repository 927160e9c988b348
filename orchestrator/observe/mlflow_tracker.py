"""A run's figures in MLflow: one MLflow run a run, on a server or kept below the run directory."""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.observe.background import (
    LOCAL_S,
    Background,
    check_installed,
    check_no_login,
    without_login,
)
from orchestrator.observe.tables import flattened, numbers, result_tables, well_formed
from orchestrator.observe.tracking import figures
from orchestrator.storage.atomic import write_json
from orchestrator.storage.json_reading import BadJson, read_object
from orchestrator.storage.run_files import CONFIG, MLFLOW_IDENTITY, RESULTS, SUMMARY
from orchestrator.storage.sweep_index import sweep_folder
from orchestrator.storage.totals import Totals

MLRUNS = "mlruns"
_BATCH = 100  # parameters of one call, at most
_LONGEST_PARAM = 6000
# Read by MLflow whenever it sends something. It retries for minutes otherwise, and reports its use.
_ENVIRON = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
MLFLOW = Background("mlflow")


@dataclass(frozen=True)
class _Open:
    """A run of MLflow that is being written."""

    client: Any
    run_id: str


@dataclass
class MlflowTracker:
    """Logs figures as problems finish; at the end the summary, tables and the run's files as artifacts.

    The server is ``uri``, else ``MLFLOW_TRACKING_URI``. Without one, or where it does not answer, the run is
    kept in ``mlruns`` of the run directory. The points of a sweep have the same tag ``group``. A resumed run
    is the same MLflow run: its id is in ``mlflow_run.json``. The start and the end each wait ``timeout_s``
    for the server, and 20 s for MLflow itself; nothing waits while problems are solved. Raises ConfigError
    where MLflow is not installed, or ``uri`` holds a login.
    """

    experiment: str = "murmuration"
    uri: str | None = None
    group: str | None = None
    timeout_s: float = 30.0
    _totals: Totals = field(default_factory=Totals, init=False)
    _run: _Open | None = field(default=None, init=False)
    _run_dir: Path = field(default=Path(), init=False)

    def __post_init__(self) -> None:
        check_no_login("tracker.uri", self.uri, "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD")
        check_installed("tracker", "mlflow", "mlflow")

    def start(self, run_dir: Path, config: Mapping[str, Any], totals: Totals) -> None:
        self._run_dir, self._totals = run_dir, totals
        for name, value in {**_ENVIRON, "MLFLOW_HTTP_REQUEST_TIMEOUT": f"{self.timeout_s:.0f}"}.items():
            os.environ.setdefault(name, value)
        server = self.uri or os.environ.get("MLFLOW_TRACKING_URI")

        def begin(uri: str | None) -> _Open:
            return self._begin(uri or (run_dir / MLRUNS).absolute().as_uri(), config)

        self._run = MLFLOW.begin(server, begin, self.timeout_s + LOCAL_S, f"below {run_dir}/{MLRUNS}")
        identity = {"id": self._run.run_id, "uri": without_login(self._run.client.tracking_uri)}
        write_json(run_dir / MLFLOW_IDENTITY, identity)

    def _begin(self, uri: str, config: Mapping[str, Any]) -> _Open:
        with _quiet():
            from mlflow.exceptions import MlflowException  # seconds, and needed by this tracker alone
            from mlflow.tracking import MlflowClient

            client = MlflowClient(tracking_uri=uri)
            with suppress(MlflowException):  # it was deleted there
                if (earlier := self._earlier_id(uri)) is not None:
                    client.update_run(earlier, status="RUNNING")
                    return _Open(client, earlier)
            experiment = _experiment_id(client, self.experiment)
            run = client.create_run(experiment, run_name=well_formed(self._run_dir.name))
            opened = _Open(client, run.info.run_id)
            self._describe(opened, config)
            return opened

    def _describe(self, opened: _Open, config: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        sweep = sweep_folder(self._run_dir)
        if (group := self.group or (sweep.name if sweep else None)) is not None:
            opened.client.set_tag(opened.run_id, "group", well_formed(group))
        values = well_formed(flattened(config)).items()
        params = [Param(key, str(value)[:_LONGEST_PARAM]) for key, value in values]
        for first in range(0, len(params), _BATCH):
            opened.client.log_batch(opened.run_id, params=params[first : first + _BATCH])

    def _earlier_id(self, uri: str) -> str | None:
        """Return MLflow's id of an earlier part of the run at this server."""
        try:
            identity = read_object(self._run_dir / MLFLOW_IDENTITY)
        except (FileNotFoundError, BadJson):
            return None
        run_id = identity.get("id")
        is_id = isinstance(run_id, str) and re.fullmatch(r"\w{1,64}", run_id, re.ASCII) is not None
        return run_id if is_id and identity.get("uri") == without_login(uri) else None

    def problem(self, line: Mapping[str, Any]) -> None:
        shown, step = numbers(figures(line, self._totals)), self._totals.num_problems
        self._later(lambda opened: _log(opened, shown, step))

    def _later(self, action: Callable[[_Open], None]) -> None:
        if (opened := self._run) is not None:
            MLFLOW.later(lambda: action(opened))

    def finish(self, summary: Mapping[str, Any]) -> None:
        if (opened := self._run) is not None:
            MLFLOW.wait_for(lambda: self._end(opened, summary), self.timeout_s + LOCAL_S)

    def _end(self, opened: _Open, summary: Mapping[str, Any]) -> None:
        client, run_id = opened.client, opened.run_id
        named = {f"summary/{key}": value for key, value in numbers(flattened(summary)).items()}
        with _quiet():
            _log(opened, named, self._totals.num_problems)
            for name, (columns, *rows) in result_tables(self._run_dir).items():
                client.log_dict(run_id, {"columns": columns, "data": rows}, f"{name}.json")
            for name in (RESULTS, SUMMARY, CONFIG):
                if (self._run_dir / name).exists():
                    client.log_artifact(run_id, str(self._run_dir / name))
            client.set_terminated(run_id, "FINISHED" if summary.get("complete", True) else "KILLED")


def _log(opened: _Open, shown: Mapping[str, float], step: int) -> None:
    from mlflow.entities import Metric

    now = int(1000 * time.time())
    metrics = [Metric(well_formed(name), value, now, step) for name, value in shown.items()]
    opened.client.log_batch(opened.run_id, metrics=metrics)


def _experiment_id(client: Any, name: str) -> str:
    """Return the id of an experiment, which is made where there is none."""
    found = client.get_experiment_by_name(name)
    return str(found.experiment_id if found is not None else client.create_experiment(name))


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out MLflow's notes about its own future and its optional packages."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
