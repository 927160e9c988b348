"""The models of the runs of one process, kept warm from one point of a sweep to the next."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.backend import Backend, Cluster
from orchestrator.config.plan import Plan
from orchestrator.observe.progress import run_console
from orchestrator.runs.execution import BY_SIGNAL, TERMINATING, Status, heed_signals
from orchestrator.runs.stopping import unless_stopped


class _Kept(NamedTuple):
    key: str
    cluster: Cluster
    backend: Backend


class Models:
    """The backend of the last point, which the next one uses if it needs the same.

    The old one is closed before the next is made: two sets of replicas may not fit beside each other. One
    that cannot be made leaves nothing behind.
    """

    def __init__(self) -> None:
        self.runner = asyncio.Runner()
        self.caught: Sequence[signal.Signals] = ()  # in the last point
        self._kept: _Kept | None = None

    def of(self, plan: Plan) -> Backend:
        """Replicas that are ready. Raises ConfigError where the cluster cannot hold them."""
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
                if isinstance(failure, SystemExit):  # of Ray's own handler, with a status of Ray's own
                    raise SystemExit(Status.TERMINATED) from None
                raise
            heed_signals()  # Ray has put a handler of its own there
            if backend is None:
                raise SystemExit(Status.TERMINATED)
            return backend

    def _close_backend(self) -> Cluster | None:
        """Ends the replicas; the cluster that they were on, if there were any."""
        kept, self._kept = self._kept, None
        if kept is None:
            return None
        self.runner.run(kept.backend.close())
        return kept.cluster

    def drop(self) -> None:
        """Let go of replicas that are gone, and of a cluster that may be: the next point starts anew."""
        cluster = self._close_backend()
        if cluster is not None:
            cluster.stop()

    def interrupted(self) -> Status | None:
        """The status of the signal that came in the last point, however that ended."""
        return BY_SIGNAL[self.caught[0]] if self.caught else None

    def close(self) -> None:
        """End the replicas, and whatever was started for them."""
        self.drop()
        self.runner.close()
