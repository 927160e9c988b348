"""A run's figures in Weights & Biases: one W&B run a run, online or kept offline below the run directory."""

from __future__ import annotations

import atexit
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlparse

from orchestrator.bounded import Worker
from orchestrator.observe.tables import flattened, result_tables, well_formed
from orchestrator.observe.tracking import figures
from orchestrator.storage.atomic import write_json
from orchestrator.storage.json_reading import BadJson, read_object
from orchestrator.storage.run_files import CONFIG, IDENTITY, RESULTS, SUMMARY
from orchestrator.storage.sweep_index import sweep_folder
from orchestrator.storage.totals import Totals
from orchestrator.streams import silence

log = logging.getLogger(__name__)

Mode = Literal["online", "offline", "disabled"]
_LOCAL_S = 20.0  # for what W&B does on this machine: starting its process, writing files


def base_url() -> str:
    """Return the address of the W&B server."""
    return os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai"


def has_wandb_login() -> bool:
    """Return whether there is an API key in the environment or in the user's netrc."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    path = Path(os.environ.get("NETRC", Path.home() / ".netrc"))
    host = urlparse(base_url()).hostname or ""
    try:
        return path.exists() and netrc(str(path)).authenticators(host) is not None
    except (OSError, NetrcParseError):
        return False


class Hung:
    """What this process knows of W&B, so that not every point of a sweep waits for a silent server."""

    def __init__(self) -> None:
        self.silent_servers = set[str]()  # from then on runs are kept offline
        self.is_gone = False  # W&B's process: no further calls
        self.worker: Worker | None = None  # all calls to W&B run there

    def wait_for(self, action: Callable[[], None], seconds: float) -> None:
        """Run ``action``; after ``seconds`` raise TimeoutError and end W&B's process."""
        if self.worker is None:
            self.worker = Worker("wandb")
        try:
            self.worker.wait_for(action, seconds)
        except TimeoutError:
            self.is_gone = True
            end_service()
            heed_end(seconds)
            raise


HUNG = Hung()


@dataclass
class WandbTracker:
    """Logs figures as problems finish; at the end the summary, tables, and the run's files as an artifact.

    Without a login, or if the server does not answer, the run is kept offline after one line of warning. The
    points of a sweep are one group. A resumed run is the same W&B run: its id is in ``wandb_run.json``. The
    start and the end each wait ``timeout_s`` for a silent server, and 20 s more for W&B's own process;
    nothing waits while problems are solved. A process that does not answer by then is ended, and not used
    again in this sweep.
    """

    project: str = "murmuration"
    entity: str | None = None
    group: str | None = None
    mode: Mode | None = None
    timeout_s: float = 30.0
    _totals: Totals = field(default_factory=Totals, init=False)
    _run: Any = field(default=None, init=False)
    _run_dir: Path = field(default=Path(), init=False)

    def start(self, run_dir: Path, config: Mapping[str, Any], totals: Totals) -> None:
        self._run_dir, self._totals = run_dir, totals
        if HUNG.is_gone:
            return
        mode = self.mode or os.environ.get("WANDB_MODE")
        if mode is None and not has_wandb_login():
            mode = "offline"
            log.warning("wandb: no login found, so the run is kept offline below %s/wandb", run_dir)
        try:
            self._wait_for(
                lambda: self._begin(
                    "offline" if base_url() in HUNG.silent_servers else mode or "online", config
                )
            )
        except TimeoutError:
            raise
        except Exception as failure:  # whatever the network does
            if mode == "offline" or base_url() in HUNG.silent_servers:
                raise
            reason = " ".join(str(failure).split())
            log.warning("wandb: %s; the run is kept offline below %s/wandb", reason, run_dir)
            HUNG.silent_servers.add(base_url())
            self._wait_for(lambda: self._begin("offline", config))

    def _wait_for(self, action: Callable[[], None]) -> None:
        HUNG.wait_for(action, self.timeout_s + _LOCAL_S)

    def _begin(self, mode: str, config: Mapping[str, Any]) -> None:
        self._run = self._init(mode, config)
        heed_end(self.timeout_s + _LOCAL_S)
        self._run.define_metric("run/num_problems")
        self._run.define_metric("*", step_metric="run/num_problems")
        identity = {"id": self._run.id, "project": self.project, "entity": self.entity}
        write_json(self._run_dir / IDENTITY, identity)

    def _init(self, mode: str, config: Mapping[str, Any]) -> Any:
        import wandb  # heavy, and needed by this tracker alone

        run_id = _earlier_id(self._run_dir)
        sweep = sweep_folder(self._run_dir)
        return wandb.init(
            project=self.project,
            entity=self.entity,
            group=self.group or (sweep.name if sweep else None),
            mode=mode,  # type: ignore[arg-type]
            dir=str(self._run_dir),
            name=well_formed(self._run_dir.name),
            id=run_id,
            resume="allow" if run_id and mode == "online" else None,
            config=well_formed(flattened(config)),
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=self.timeout_s,
                finish_timeout=self.timeout_s,
                save_code=False,
                x_disable_meta=True,  # it holds the command line, which may hold secrets
            ),
        )

    def problem(self, line: Mapping[str, Any]) -> None:
        if not HUNG.is_gone and HUNG.worker is not None:
            shown = figures(line, self._totals)  # now: the totals will change
            HUNG.worker.later(lambda: self._run.log(shown))

    def finish(self, summary: Mapping[str, Any]) -> None:
        if not HUNG.is_gone:
            self._wait_for(lambda: self._end(summary))

    def _end(self, summary: Mapping[str, Any]) -> None:
        import wandb

        try:
            self._run.summary.update(well_formed(flattened(summary)))
            tables = result_tables(self._run_dir)
            self._run.log({n: wandb.Table(columns=rows[0], data=rows[1:]) for n, rows in tables.items()})
            artifact = wandb.Artifact(f"results-{self._run.id}", type="results")
            for name in (RESULTS, SUMMARY, CONFIG):
                if (self._run_dir / name).exists():
                    artifact.add_file(str(self._run_dir / name))
            self._run.log_artifact(artifact)
        finally:
            self._run.finish()


def _earlier_id(run_dir: Path) -> str | None:
    """Return W&B's id of an earlier part of the run, if it is fit for a file name."""
    try:
        run_id = read_object(run_dir / IDENTITY).get("id")
    except (FileNotFoundError, BadJson):
        return None
    return run_id if isinstance(run_id, str) and re.fullmatch(r"[\w-]{1,64}", run_id, re.ASCII) else None


def heed_end(seconds: float) -> None:
    """Tear W&B down at the end of the process, before W&B's own hook, which would wait."""
    atexit.unregister(_tear_down)
    atexit.register(_tear_down, seconds)


def _tear_down(seconds: float) -> None:
    """End W&B's process, waiting at most ``seconds``."""
    import wandb

    with suppress(Exception):
        if not HUNG.is_gone:
            HUNG.wait_for(wandb.teardown, seconds)
    if HUNG.is_gone:
        silence(sys.stderr)  # its hook cannot be removed, and complains that its process is gone


def end_service() -> None:
    """Kill W&B's own process, for which its hooks would wait at the end of this one."""
    for pid in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc") else ()):
        with suppress(OSError, ValueError, IndexError):
            parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
            if int(parent) == os.getpid() and b"wandb-core" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(int(pid), signal.SIGKILL)
