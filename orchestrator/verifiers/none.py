"""No verifier: for strategies that vote, or take one sample."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.backend import ReplicaVerifier


@dataclass(frozen=True)
class NoVerifier(ReplicaVerifier):
    """The configuration of no verifier (``conf/verifier/none.yaml``): there is nothing to build."""

    @property
    def readout(self) -> None:
        return None

    def build(self) -> None:
        return None
