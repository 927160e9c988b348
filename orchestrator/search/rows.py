"""The rows of one call for steps: what is left to generate of them, and what became of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.protocols import Completion, GenerateRequest, Task
from orchestrator.search.reading import by
from orchestrator.search.requests import generate_requests, mark_answer
from orchestrator.types import ENGINE, Params, Problem, Trajectory


@dataclass
class Rows:
    """The trajectories of one call of ``Session.generate``, with their parameters and seeds by row.

    A row is ``pending`` until its reply is there. A limit of tokens may admit the leading ones alone, so one
    call may be made in parts. ``read`` are the rows as their ``policy`` reads them, where that differs. With
    ``room`` a prompt must leave that many tokens of the context.
    """

    result: list[Trajectory]
    params: Sequence[Params]
    seeds: Mapping[int, int]
    to_end: bool
    policy: str = ENGINE
    read: Mapping[int, Trajectory] = field(default_factory=dict)
    room: int | None = None
    pending: list[int] = field(init=False)
    num_parts: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.pending = list(self.seeds)

    @property
    def requested(self) -> list[Params]:
        """The parameters of the pending rows."""
        return [self.params[i] for i in self.pending]

    @property
    def starts(self) -> list[Trajectory]:
        """The pending rows as the policy reads them."""
        return [self._start(i) for i in self.pending]

    def _start(self, row: int) -> Trajectory:
        return self.read.get(row, self.result[row])

    def name(self, call: int) -> str:
        """Return the name of the next part of the call."""
        self.num_parts += 1
        return f"generate {call}" + (f".{self.num_parts}" if self.num_parts > 1 else "")

    def take(self, num: int) -> list[int]:
        """Return the leading pending rows, which are pending no more."""
        taken, self.pending = self.pending[:num], self.pending[num:]
        return taken

    def requests(
        self, problem: Problem, task: Task, rows: Sequence[int], params: Sequence[Params]
    ) -> list[GenerateRequest]:
        """Return the requests of some rows, with the parameters that were admitted for them."""
        starts, seeds = [self._start(i) for i in rows], [self.seeds[i] for i in rows]
        return generate_requests(problem, task, starts, params, seeds, self.to_end, self.room)

    def extend(
        self, rows: Sequence[int], requests: Sequence[GenerateRequest], replies: Sequence[Completion]
    ) -> bool:
        """Extend some rows by their replies; return whether a limit has cut one of them short."""
        is_cut = False
        for i, request, reply in zip(rows, requests, replies, strict=True):
            self.result[i] = self.result[i].extend(*by(self.policy, mark_answer(request, reply)))
            is_clipped = request.params.max_tokens < self.params[i].max_tokens
            is_cut |= is_clipped and self.result[i].truncated
        return is_cut

    @property
    def ends(self) -> list[tuple[Trajectory, int]]:
        """Each row that was active, as it is now, with its seed."""
        return [(self.result[i], seed) for i, seed in self.seeds.items()]
