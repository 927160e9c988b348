"""Continuous batching: rows join and leave between forwards; each forward adds one token to every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from actors.batching.batcher import Pending
from actors.batching.forward import ForwardError, Runner
from actors.batching.kv import Ints, SlotCache
from actors.batching.sampling import sample, uniforms
from actors.text.stepping import Detokenizer
from actors.text.tokens import TokenIds, refuse_request
from actors.transformers_engine.encoding import Encoder, Passage, Reading
from actors.transformers_engine.prefix import PrefixStore, Stored
from actors.transformers_engine.slots import NEVER, Settings, SlotTable
from orchestrator.protocols import Completion, Failure, GenerateRequest
from orchestrator.splitting import StepSplitter
from orchestrator.steps.rule import StepEnds
from orchestrator.types import Sampling, Usage

DecodeJob = Pending["Prompted", Completion]


@dataclass(frozen=True, slots=True)
class Prompted:
    """A request with the token ids of its prompt; ``refused`` where the tokenizer cannot write that."""

    request: GenerateRequest
    prompt_ids: TokenIds
    refused: Failure | None = None

    @property
    def prefix(self) -> TokenIds:
        """The tokens of the prompt and of the steps so far."""
        return self.prompt_ids + self.request.token_ids

    @property
    def fed(self) -> TokenIds:
        """The tokens that precede the first one to be generated."""
        return self.prefix + self.request.begun.token_ids


@dataclass(eq=False, slots=True)
class _Row:
    """A job in progress; ``num_cached`` tokens of its prefix came from a cache and were not computed.

    The prefix ends with the tokens that the request carries, which count among those that are generated.
    """

    job: DecodeJob
    prefix: TokenIds
    splitter: StepSplitter
    slot: int
    num_cached: int = 0


@dataclass
class DecodeStats:
    """Counters since the engine was loaded; ``sampled_tokens`` grows while requests are in progress."""

    generated_tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    forwards: int = 0
    sampled_tokens: int = 0


class Decoder:
    """Continuous batching over the slots of one cache; a worker for ``Batcher``."""

    def __init__(
        self,
        runner: Runner,
        store: PrefixStore,
        encoder: Encoder,
        detokenizer: Detokenizer,
        *,
        max_batch_size: int,
        max_context: int,
        flops_per_token: float,
    ) -> None:
        self.stats = DecodeStats()
        self._runner = runner
        self._store = store
        self._encoder = encoder
        self._detokenizer = detokenizer
        self._max_context = max_context
        self._flops_per_token = flops_per_token
        self._cache = SlotCache(runner.shape)
        self._table = SlotTable(max_batch_size, max_context)
        self._waiting: list[DecodeJob] = []
        self._rows: dict[int, _Row] = {}
        self._ends: list[StepEnds] = []
        self._can_end = np.zeros((0, runner.model.config.vocab_size), np.bool_)

    @torch.inference_mode()
    def tick(self, arrived: Sequence[DecodeJob]) -> list[DecodeJob]:
        """Admit waiting jobs as far as there is room, and add one token to every row."""
        self._waiting.extend(arrived)
        self._drop_cancelled()
        done = self._admit()
        if self._rows:
            done += self._step()
        return done

    def _drop_cancelled(self) -> None:
        self._waiting = [job for job in self._waiting if not job.cancelled]
        for row in [row for row in self._rows.values() if row.job.cancelled]:
            self._leave(row)

    def _admit(self) -> list[DecodeJob]:
        """Seat waiting jobs with their prefixes' keys and values in the cache. Return those that are done."""
        failed, seated = [], []
        while self._waiting and self._table.num_free:
            job = self._waiting.pop(0)
            job.reply = self._refusal(job.request) or self._known(job.request)
            if job.reply is not None:
                failed.append(job)
            else:
                seated.append(self._seat(job))
        if seated:
            failed += self._fill(seated)
        return failed

    def _refusal(self, prompted: Prompted) -> Failure | None:
        """The Failure of a request that is not possible, or None."""
        vocab_size = self._can_end.shape[1]
        request, prefix = prompted.request, prompted.prefix
        return prompted.refused or refuse_request(request, prefix, self._max_context, vocab_size)

    def _known(self, prompted: Prompted) -> Completion | None:
        """Return the completion of a request for what it carries itself, or None."""
        splitter, is_done = self._replayed(prompted)
        usage = Usage(prompt_tokens=len(prompted.fed))
        return Completion(tuple(splitter.steps), usage) if is_done else None

    def _replayed(self, prompted: Prompted) -> tuple[StepSplitter, bool]:
        """Return a splitter that has seen what the request carries, and whether that is all."""
        request, room = prompted.request, self._max_context - len(prompted.prefix)
        splitter = StepSplitter(request, self._detokenizer, prompted.prefix)
        limit = min(request.params.max_tokens, room)
        return splitter, splitter.replay(request.begun, limit=limit, room=room)

    def _seat(self, job: DecodeJob) -> _Row:
        """Give a job the free slot that holds most of its prefix; ``num_cached`` is how much."""
        request, prefix = job.request.request, job.request.fed
        assert isinstance(request.params, Sampling)
        ids = np.array(prefix, np.int64)
        slot, num_known = self._table.nearest(ids[:-1])
        splitter, _ = self._replayed(job.request)
        num_begun = len(request.begun.token_ids)
        settings = Settings(
            seed=request.seed,
            temperature=request.params.temperature,
            top_p=request.params.top_p,
            max_tokens=min(request.params.max_tokens - num_begun, self._max_context - len(prefix)),
            table=self._table_index(splitter.ends),
            full_at=NEVER if splitter.full_at is None else splitter.full_at - num_begun,
        )
        self._table.occupy(slot, ids, settings)
        self._rows[slot] = row = _Row(job, prefix, splitter, slot, num_known)
        return row

    def _table_index(self, ends: StepEnds) -> int:
        """The row of ``_can_end`` that holds for what ends steps."""
        if ends not in self._ends:
            self._ends.append(ends)
            self._can_end = np.vstack([self._can_end, self._detokenizer.can_end(ends)])
        return self._ends.index(ends)

    def _fill(self, rows: list[_Row]) -> list[DecodeJob]:
        """Bring every prefix but its last token into the cache: from its slot, the store or the model."""
        try:
            with self._runner.guarded():
                return self._place(rows)
        except ForwardError as error:
            return [self._fail(row, error) for row in rows]

    def _place(self, rows: list[_Row]) -> list[DecodeJob]:
        """Load what the slots and the store hold, and compute the rest."""
        self._cache.reserve(self._runner.num_slots(self._table.span), max(len(row.prefix) for row in rows))
        places = [self._store.match(row.prefix[:-1]) for row in rows]
        best = [max(row.num_cached, len(p)) for row, p in zip(rows, places, strict=True)]
        known = [i for i, row in enumerate(rows) if best[i] == len(row.prefix) - 1]
        self._store.load(
            self._cache,
            [rows[i].slot for i in known],
            [rows[i].num_cached for i in known],
            [places[i] for i in known],
        )
        missing: dict[TokenIds, list[_Row]] = {}
        for i, row in enumerate(rows):
            if i in set(known):
                row.num_cached = len(row.prefix) - 1
            else:
                missing.setdefault(row.prefix[:-1], []).append(row)
        return self._compute(missing) if missing else []

    def _compute(self, missing: dict[TokenIds, list[_Row]]) -> list[DecodeJob]:
        """Prefill each unknown prefix once for all rows that share it."""
        prefixes = list(missing)
        failed = []
        for readings in self._encoder.read([Passage(prefix) for prefix in prefixes]):
            for reading in readings:
                rows = missing[prefixes[reading.index]]
                if reading.error is not None:
                    failed += [self._fail(row, reading.error) for row in rows]
                else:
                    self._share(reading, rows)
        return failed

    def _share(self, reading: Reading, rows: list[_Row]) -> None:
        slots = np.array([row.slot for row in rows], np.int64)
        length = len(rows[0].prefix) - 1
        self._cache.move(self._encoder.cache, np.full(len(rows), reading.row), slots, length)
        for row in rows:
            row.num_cached = length
        rows[0].num_cached = reading.num_cached

    def _close_up(self) -> None:
        """Move rows from the end of the cache into idle slots, if there are many of these."""
        sources, targets = self._table.moves()
        if not len(sources):
            return
        self._cache.move(self._cache, sources, targets, int(self._table.lengths[sources].max()))
        self._table.move(sources, targets)
        for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
            self._rows[target] = row = self._rows.pop(source)
            row.slot = target

    def _step(self) -> list[DecodeJob]:
        """One forward over all slots up to the last busy one."""
        self._close_up()
        table, span = self._table, self._table.span
        tokens, starts = table.feed(span)
        num_padding = self._runner.num_slots(span) - span
        # Padding rows write column 0 of slots past the span: the content of these is lost.
        table.lengths[span : span + num_padding] = 0
        busy = np.flatnonzero(table.busy)
        try:
            logits = self._runner.forward(
                self._cache, np.pad(tokens, (0, num_padding))[:, None], np.pad(starts, (0, num_padding))
            )[:span, -1]
        except ForwardError as error:
            return [self._fail(row, error) for row in list(self._rows.values())]
        self.stats.forwards += 1
        drawn = uniforms(table.seeds[:span], table.counts[:span])
        chosen, logprobs = sample(logits, table.temperature[:span], table.top_p[:span], drawn)
        table.append(busy, chosen[busy], logprobs[busy])
        self.stats.sampled_tokens += len(busy)
        return self._finish(busy, chosen[busy], np.isnan(logprobs[busy]))

    def _finish(self, busy: Ints, chosen: Ints, broken: Ints) -> list[DecodeJob]:
        """The jobs that are done after this token; only rows whose token may end a step are checked."""
        table = self._table
        at_limit = table.counts[busy] >= table.limits[busy]
        may_end = self._can_end[table.tables[busy], chosen] | table.held_back[busy] | at_limit | broken
        may_end |= table.counts[busy] >= table.full_at[busy]
        failed, ended = [], []
        error = ForwardError.not_finite()
        for slot, is_broken in zip(busy[may_end].tolist(), broken[may_end].tolist(), strict=True):
            row = self._rows[slot]
            if is_broken:
                failed.append(self._fail(row, error))
            elif self._is_done(row):
                ended.append(row)
        if ended:
            self._store.insert(self._cache, [Stored(row.slot, table.cached(row.slot)) for row in ended])
        return failed + [self._complete(row) for row in ended]

    def _is_done(self, row: _Row) -> bool:
        table, begun = self._table, row.job.request.request.begun
        generated, logprobs = table.generated(row.slot)
        is_done = row.splitter.advance(
            [*begun.token_ids, *generated],
            [*begun.logprobs, *logprobs],
            at_limit=len(generated) >= int(table.limits[row.slot]),
            no_room=len(row.prefix) + len(generated) >= self._max_context,
        )
        table.held_back[row.slot] = row.splitter.held_back
        if row.splitter.full_at is not None:
            table.full_at[row.slot] = row.splitter.full_at - len(begun.token_ids)
        return is_done

    def _complete(self, row: _Row) -> DecodeJob:
        num_generated = int(self._table.counts[row.slot])
        num_computed = len(row.prefix) - row.num_cached + num_generated - 1
        usage = Usage(
            generated_tokens=num_generated,
            prompt_tokens=len(row.prefix),
            cached_tokens=row.num_cached,
            flops=self._flops_per_token * num_computed,
        )
        self.stats.generated_tokens += num_generated
        self.stats.prompt_tokens += len(row.prefix)
        self.stats.cached_tokens += row.num_cached
        self._leave(row)
        row.job.reply = Completion(tuple(row.splitter.steps), usage)
        return row.job

    def _fail(self, row: _Row, error: ForwardError) -> DecodeJob:
        """End a row with an error, and clear its numbers."""
        self._leave(row, keep=False)
        if row.slot < self._cache.num_slots:
            self._cache.clear(row.slot)
        row.job.reply = Failure(error.type, str(error))
        return row.job

    def _leave(self, row: _Row, *, keep: bool = True) -> None:
        del self._rows[row.slot]
        self._table.release(row.slot, keep=keep)
