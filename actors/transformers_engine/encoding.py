"""Reading text with a model: known prefixes come from the store, the rest is computed in groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from actors.batching.batcher import Pending
from actors.batching.forward import ForwardError, Runner
from actors.batching.kv import Ints, SlotCache
from actors.text.tokens import TokenIds
from actors.transformers_engine.prefix import PrefixStore, Stored
from orchestrator.protocols import Failure

# Bounds on one forward: rows, tokens of a row, and numbers in its logits (rows x tokens x outputs).
_MAX_ROWS = 64
_MAX_TOKENS = 512
_MAX_LOGITS = 2**25

ReadJob = Pending["Passage", "Reading"]
Project = Callable[[Tensor, Tensor], Tensor]
"""From logits ``[n, outputs]`` and the token that follows each ``[n]`` to the requested number ``[n]``."""


@dataclass(frozen=True, slots=True)
class Passage:
    """Token ids, and the positions at which a number is read (ascending, possibly none).

    Other passages are likely to begin with the same first ``num_shared`` tokens. The number is that of the
    next token, or with ``options`` that of the token at the same place in them.
    """

    token_ids: TokenIds
    reads: tuple[int, ...] = ()
    num_shared: int = 0
    options: TokenIds = ()

    def following(self, index: int) -> int:
        """Return the token whose number the read ``index`` is; 0 where none follows."""
        if self.options:
            return self.options[index]
        after = self.reads[index] + 1
        return self.token_ids[after] if after < len(self.token_ids) else 0

    @property
    def max_cached(self) -> int:
        """How many tokens may come from the store: those that are read must be computed."""
        return self.reads[0] if self.reads else len(self.token_ids)

    @property
    def shared(self) -> TokenIds:
        """The beginning that may be computed once for several passages: no number is read in it."""
        return self.token_ids[: min(self.num_shared, self.max_cached)]


@dataclass(frozen=True, slots=True)
class Reading:
    """The result for passage ``index``: its numbers, or the error of its forward.

    ``row`` is the slot of the encoder's cache that holds its keys and values until the next group.
    """

    index: int
    row: int
    num_cached: int
    values: npt.NDArray[np.float64]
    error: ForwardError | None = None


class Encoder:
    """Computes passages in groups of similar length, and keeps their keys and values."""

    def __init__(self, runner: Runner, store: PrefixStore, project: Project, num_outputs: int) -> None:
        self.cache = SlotCache(runner.shape)
        self._runner = runner
        self._store = store
        self._project = project
        self.num_tokens = 0
        self._max_tokens = max(_MAX_LOGITS // num_outputs, 64)

    def read(self, passages: Sequence[Passage]) -> Iterator[list[Reading]]:
        """Yield the readings, one group at a time; every passage once, in no particular order."""
        known = [len(self._store.match(p.token_ids[: p.max_cached])) for p in passages]
        order = sorted(range(len(passages)), key=lambda i: len(passages[i].token_ids) - known[i])
        while order:
            group = self._next_group(order, passages, known)
            del order[: len(group)]
            yield self._read_group(group, [passages[i] for i in group])

    def knows(self, passage: Passage) -> bool:
        """Return whether the store holds the whole passage."""
        return len(self._store.match(passage.token_ids)) == len(passage.token_ids)

    def _next_group(self, order: list[int], passages: Sequence[Passage], known: list[int]) -> list[int]:
        """The leading passages of ``order`` that one forward can take."""
        size = 0
        for index in order[:_MAX_ROWS]:
            longest = min(len(passages[index].token_ids) - known[index], _MAX_TOKENS)
            wants_logits = bool(passages[index].reads)
            if size and (size + 1) * longest * wants_logits > self._max_tokens:
                break
            size += 1
        return order[:size]

    def _read_group(self, group: list[int], passages: list[Passage]) -> list[Reading]:
        places = [self._store.match(p.token_ids[: p.max_cached]) for p in passages]
        known = np.array([len(p) for p in places], np.int64)
        rows = list(range(len(passages)))
        self.cache.reserve(len(rows), max(len(p.token_ids) for p in passages))
        self._store.load(self.cache, rows, [0] * len(rows), places)
        values = [np.zeros(len(p.reads)) for p in passages]
        errors: list[ForwardError | None]
        try:
            finite = self._compute(passages, known, values)
            self._remember(passages, finite)
            errors = [None if ok else ForwardError.not_finite() for ok in finite]
        except ForwardError as failure:
            errors = [failure] * len(group)
        return [
            Reading(index, row, int(known[row]), values[row], errors[row]) for row, index in enumerate(group)
        ]

    def _compute(
        self, passages: list[Passage], known: Ints, values: list[npt.NDArray[np.float64]]
    ) -> npt.NDArray[np.bool_]:
        """Run the model over unknown tokens, at most ``_MAX_TOKENS`` of every row at a time.

        Return which rows are finite: a non-finite number spreads to all later queries of its row.
        """
        finite = np.ones(len(passages), np.bool_)
        lengths = np.array([len(p.token_ids) for p in passages], np.int64)
        done = known.copy()
        while (left := int((lengths - done).max())) > 0:
            num_queries = self._runner.num_queries(len(passages), min(left, _MAX_TOKENS))
            tokens = np.zeros((len(passages), num_queries), np.int64)
            for row, passage in enumerate(passages):
                new = passage.token_ids[done[row] : done[row] + num_queries]
                tokens[row, : len(new)] = new
            reads = _reads_within(passages, done, num_queries)
            logits = self._runner.forward(self.cache, tokens, done, last_only=not reads)
            self.num_tokens += int(np.minimum(lengths - done, num_queries).clip(0).sum())
            self._take(logits, reads, passages, done, values)
            finite &= torch.isfinite(logits[:, -1]).all(dim=-1).cpu().numpy()
            done = np.minimum(done + num_queries, lengths)
        return finite

    def _take(
        self,
        logits: Tensor,
        reads: list[tuple[int, int]],
        passages: list[Passage],
        done: Ints,
        values: list[npt.NDArray[np.float64]],
    ) -> None:
        """Put the numbers at ``reads`` (pairs of row and index into its reads) into ``values``."""
        if not reads:
            return
        positions = [passages[row].reads[k] for row, k in reads]
        rows = torch.tensor([row for row, _ in reads], device=logits.device)
        queries = torch.tensor([p - int(done[row]) for p, (row, _) in zip(positions, reads, strict=True)])
        following = [passages[row].following(k) for row, k in reads]
        picked = logits[rows, queries.to(logits.device)]
        numbers = self._project(picked, torch.tensor(following, device=logits.device)).cpu().numpy()
        for (row, k), number in zip(reads, numbers, strict=True):
            values[row][k] = number

    def _remember(self, passages: list[Passage], finite: npt.NDArray[np.bool_]) -> None:
        """Store the finite rows, and clear the others: even masked they would make later rows non-finite."""
        sound = []
        for row, passage in enumerate(passages):
            if finite[row]:
                sound.append(Stored(row, passage.token_ids))
            else:
                self.cache.clear(row)
        self._store.insert(self.cache, sound)


def _reads_within(passages: list[Passage], done: Ints, num_queries: int) -> list[tuple[int, int]]:
    """Which reads (row, index) fall on the queries of this forward."""
    return [
        (row, k)
        for row, passage in enumerate(passages)
        for k, position in enumerate(passage.reads)
        if done[row] <= position < done[row] + num_queries
    ]


class Reader:
    """Reads passages as they arrive; a worker for ``Batcher`` that completes all jobs in one tick."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    @property
    def num_tokens(self) -> int:
        """Tokens computed since the start."""
        return self._encoder.num_tokens

    @torch.inference_mode()
    def tick(self, arrived: Sequence[ReadJob]) -> list[ReadJob]:
        """Read all passages: equal ones once, and a beginning that several share before them."""
        waiting: dict[Passage, list[ReadJob]] = {}
        for job in arrived:
            if not job.cancelled:
                waiting.setdefault(job.request, []).append(job)
        passages = list(waiting)
        costs = self._read_shared(passages)
        for readings in self._encoder.read(passages):
            for reading in readings:
                passage = passages[reading.index]
                cost = costs.pop(passage.shared, 0)
                cached = max(0, reading.num_cached - cost)  # the first of those that share it is charged
                _reply(waiting[passage], replace(reading, num_cached=cached))
        return [job for jobs in waiting.values() for job in jobs]

    def _read_shared(self, passages: Sequence[Passage]) -> dict[TokenIds, int]:
        """Read each beginning that several passages share. Return how many tokens were computed for it."""
        counts = Counter(p.shared for p in passages if p.shared)
        shared = [Passage(token_ids) for token_ids, count in counts.items() if count > 1]
        unknown = [p for p in shared if not self._encoder.knows(p)]
        # A failure occurs again in the passages themselves.
        return {
            unknown[reading.index].token_ids: len(unknown[reading.index].token_ids) - reading.num_cached
            for readings in self._encoder.read(unknown)
            for reading in readings
        }


def _reply(jobs: Sequence[ReadJob], reading: Reading) -> None:
    """Reply to all jobs with one reading: its cost is counted for the first."""
    for number, job in enumerate(jobs):
        if reading.error is not None:
            job.reply = Failure(reading.error.type, str(reading.error))
        else:
            job.reply = reading if number == 0 else replace(reading, num_cached=len(job.request.token_ids))
