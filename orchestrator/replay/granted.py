"""What if samples had been granted across problems: rounds of grants on the stored samples of a run.

The strategy and the blocks of a run do this, with an engine that holds each problem's samples; a problem may
be granted none beyond these.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from orchestrator.allocation.rounds import Rounds
from orchestrator.config.build import build_node, build_task, read_range
from orchestrator.config.compatibility import check_allocator
from orchestrator.config.files import TARGET
from orchestrator.config.planned import with_floors
from orchestrator.errors import ConfigError
from orchestrator.replay.whatif import Recorded, Replayer, WhatIf, make_replayer, replay_all, replay_line
from orchestrator.search.grants import Block, Granting, blocks_of
from orchestrator.storage.journal import Journal
from orchestrator.storage.result_lines import record_line
from orchestrator.suggest import nearest
from orchestrator.types import Problem

ROUNDS, UNIFORM = "orchestrator.Rounds", "orchestrator.Uniform"
NAMES = {"rounds": ROUNDS, "uniform": UNIFORM}
GRANTED = ("allocator", *(f"allocator.{f.name}" for f in fields(Rounds)))
"""The keys of a run that grant samples across problems."""


def allocator_node(run: Recorded, what: WhatIf) -> dict[str, Any] | None:
    """Return the node of ``allocator`` that a what-if would have; None: as the run has it.

    Raises ConfigError for an unknown name, and keys without ``allocator=rounds``.
    """
    given = dict(what.granted)
    name = given.pop("allocator", None)
    if name is not None and name not in NAMES:
        allowed = f"must be one of {', '.join(NAMES)}{nearest(str(name), NAMES)}"
        raise ConfigError("allocator", name, allowed)
    for key, value in given.items():
        if name != "rounds":
            raise ConfigError(key, value, "needs allocator=rounds")
    knobs = {key.removeprefix("allocator."): value for key, value in given.items()}
    if name is None:
        return None
    node = {TARGET: NAMES[name], **knobs}
    return dict(with_floors({"allocator": node, "verifier": run.config["verifier"]})["allocator"])


async def replay(run: Recorded, what: WhatIf) -> list[dict[str, Any]]:
    """Return every result line, recomputed. Raises ConfigError for what would require a model."""
    node = allocator_node(run, what)
    if node is None or node[TARGET] == UNIFORM:
        return await replay_all(run, what)
    rounds: Rounds = build_node(node, "allocator")
    replayer = make_replayer(run, what)
    if replayer.strategy is None or replayer.knob is None:
        allowed = (
            f"strategy={run.name} drew no list of samples to its end: a limit, prune or an allocator cut it"
        )
        raise ConfigError("allocator", "rounds", allowed)
    check_allocator(rounds, replayer.strategy, what.node(run.config["strategy"]), replayer.budget)
    lines = await _Stored(run, what, replayer, rounds).replay()
    return [lines[line["problem_id"]] for line in run.lines]


@dataclass(frozen=True)
class _Stored:
    """A run whose samples are granted again."""

    run: Recorded
    what: WhatIf
    replayer: Replayer
    rounds: Rounds

    async def replay(self) -> dict[str, dict[str, Any]]:
        lines: dict[str, dict[str, Any]] = {}
        task = build_task(self.run.config["task"])
        chosen = read_range(self.run.config["task"], task.num_problems)
        problems = task.problems(chosen.offset, chosen.limit)
        for problems_of_block in blocks_of(problems, self.rounds.block, chosen.offset):
            lines |= await self._block(problems_of_block)
        return lines

    async def _block(self, problems: Sequence[Problem]) -> dict[str, dict[str, Any]]:
        by_id = {line["problem_id"]: line for line in self.run.lines}
        block = Block(self.rounds, len(problems), self.replayer.budget)
        stored = [self._line(by_id, problem) for problem in problems]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._problem(line, Granting(block, i)))
                    for i, line in enumerate(stored)
                ]
        except* ConfigError as mistakes:
            raise mistakes.exceptions[0] from None
        return {line["problem_id"]: task.result() for line, task in zip(stored, tasks, strict=True)}

    def _line(self, by_id: Mapping[str, Mapping[str, Any]], problem: Problem) -> Mapping[str, Any]:
        if problem.id not in by_id:
            allowed = f"needs every problem of a block, and the run has no result of {problem.id}: resume it"
            raise ConfigError("allocator", "rounds", allowed)
        return by_id[problem.id]

    async def _problem(self, line: Mapping[str, Any], granting: Granting) -> dict[str, Any]:
        journal = Journal()
        if line["error"] is not None:  # it would fail again, and give back what it began with
            granting.end(journal, None)
            return dict(line)
        try:
            new = await replay_line(self.replayer, line, self.what, granting)
        except ConfigError as mistake:
            raise self._too_many(line, granting) or mistake from None
        granting.end(journal, len(new["candidates"]))
        return {**new, "history": [record_line(r) for r in granting.records]}

    def _too_many(self, line: Mapping[str, Any], granting: Granting) -> ConfigError | None:
        num = len(line["candidates"])
        if granting.num_granted <= num:
            return None
        allowed = f"{line['problem_id']} would be granted more samples than the {num} that the run holds"
        return ConfigError("allocator.most", granting.block.most, f"{allowed}: {num} is exact")
