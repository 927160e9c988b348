"""The models of the runs of one process, kept loaded from one point of a sweep to the next."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.backend import Backend, Cluster
from orchestrator.config.plan import Plan
from orchestrator.observe.progress import run_console
from orchestrator.protocols import Verifier
from orchestrator.runs.execution import BY_SIGNAL, TERMINATING, Status, heed_signals
from orchestrator.runs.stopping import unless_stopped
from orchestrator.verifiers.calibrated import calibrated


def verifier_of(plan: Plan, backend: Backend) -> Verifier | None:
    """Return a plan's verifier on replicas that are ready, with its rewards mapped as the plan says."""
    return calibrated(plan.verifier.open(backend, plan.task, plan.references), plan.calibration)


class _Kept(NamedTuple):
    key: str
    cluster: Cluster
    backend: Backend


class Models:
    """The backend of the last point, which the next one uses if it needs the same.

    The old backend is closed before the next one starts: there may be no room for both. A failed start leaves
    nothing behind.
    """

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.caught: Sequence[signal.Signals] = ()  # in the last point
        self._kept: _Kept | None = None

    def of(self, plan: Plan) -> Backend:
        """Return replicas that are ready. Raises ConfigError if the cluster has no room for them."""
        if self._kept is not None and self._kept.key == plan.model_key:
            return self._kept.backend
        before = self._close_backend()
        if before is not None and type(before) is not type(plan.cluster):
            before.stop()
        self._kept = _Kept(plan.model_key, plan.cluster, self._start(plan))
        return self._kept.backend

    def _start(self, plan: Plan) -> Backend:
        with run_console().status("loading models"):
            try:
                starting = plan.cluster.start(plan.policies, plan.verifier.of_replicas)
                backend = self.runner.run(unless_stopped(starting, TERMINATING))
            except BaseException as failure:
                plan.cluster.stop()
                if isinstance(failure, SystemExit):  # raised by Ray's handler, with Ray's status
                    raise SystemExit(Status.TERMINATED) from None
                raise
            heed_signals()  # Ray has set its own handlers
            if backend is None:
                raise SystemExit(Status.TERMINATED)
            return backend

    def _close_backend(self) -> Cluster | None:
        """End the replicas, and return the cluster that they were on, if there were any."""
        kept, self._kept = self._kept, None
        if kept is None:
            return None
        self.runner.run(kept.backend.close())
        return kept.cluster

    def drop(self) -> None:
        """Drop replicas that are gone, and their cluster, which may be: the next point starts new ones."""
        cluster = self._close_backend()
        if cluster is not None:
            cluster.stop()

    def interrupted(self) -> Status | None:
        """Return the status of a signal that arrived during the last point, even if that has finished."""
        return BY_SIGNAL[self.caught[0]] if self.caught else None

    def close(self) -> None:
        """End the replicas, and what was started for them."""
        self.drop()
        self.runner.close()
