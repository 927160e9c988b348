"""Expand the most promising open partial answer (A*-decoding).

https://arxiv.org/abs/2505.13672. A state is a partial trajectory, and a goal is one that has ended. The open
node with the least

    f = g + h,    h = 1 - r,    g = sum of c(s, s') over the steps,

with r the (aggregated) reward of the partial answer, is expanded into sampled continuations. The source
leaves the transition cost c open; both readings are offered:

    increase:  c(s, s') = max(0, h(s') - h(s)),    a step pays for what it makes worse
    decrease:  c(s, s') = max(0, h(s) - h(s')),    the least cost that makes h consistent

The root has h = 0 (nothing is known yet), and the first step costs nothing. The first goal expanded has the
least f of all goals drawn so far. With ``decrease`` f never falls along a path, so no state that is still
unexpanded leads to a goal of less f: it has the least f of all goals where every child of every expanded
state has been drawn. With waves, a child that an expanded state has not drawn yet may lead to one of less f.

Ours: a state draws ``wave`` children at a time and returns to the frontier at

    f + k reopen_cost    after k waves,

since its continuations are samples: more of them may be better (after partial expansion, Yoshizumi et al.
2000). No state is closed for good while budget is left. Equal continuations are one state, rewarded and
expanded once (as in any graph search: a confident policy draws the same step repeatedly). Ties (least h,
deepest, oldest), the fallbacks, and what development problems chose (the least of a path's rewards, and
temperature 1) are also ours. The published search, as far as it is known, draws all children at once and
closes the state: ``wave=None``, ``branching=None``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol, runtime_checkable

from annotated_types import Ge

from orchestrator.schema import Count, checked
from orchestrator.search.session import Session
from orchestrator.types import Sampling, Solution, Trajectory
from strategies.parts import checks
from strategies.parts.beams import distinct
from strategies.parts.search_tree import Node, SearchTree
from strategies.parts.voting import argmax, vote
from strategies.parts.weights import Aggregation, aggregate, readouts_for

TransitionCostName = Literal["increase", "decrease"]


@runtime_checkable
class StepCost(Protocol):
    """Return the cost of a step, 0 or more, from the heuristics before and after it: h = 1 - r in [0, 1]."""

    def __call__(self, before: float, after: float, /) -> float: ...


_COSTS: Mapping[TransitionCostName, StepCost] = {
    "increase": lambda before, after: max(0.0, after - before),
    "decrease": lambda before, after: max(0.0, before - after),
}


_LAST = 1e9  # behind every f: rewards are in [0, 1]


@dataclass(frozen=True)
@checked("strategy")
class AStar:
    """Best-first search over partial trajectories.

    Budget N: N x max_steps child steps, of which max_steps are reserved to finish the best open
    trajectory, if none has ended by then; ``num_samples`` = N. The search stops at the first goal that
    is the best open node, or continues to ``num_goals`` of them, which vote (ties: least f; with
    ``merge_equal`` off, each of several equal ones has a vote). Where the budget ends first, the ended
    trajectories of least f take the place of the missing goals; without any, the best open one is finished.
    A state draws ``wave`` children at a time. With None it draws ``branching`` at once (None: N), and
    again only when nothing else is open.
    ``Solution.log_weights``: -f. The history is the tree, one NodeRecord per node.
    """

    budget_knob: ClassVar[str] = "num_samples"
    independent_samples: ClassVar[bool] = False

    num_samples: Count = 8
    max_steps: Count = 40
    sampling: Sampling = Sampling(temperature=1.0)
    branching: Annotated[int | None, Ge(1)] = None
    wave: Annotated[int | None, Ge(1)] = 2
    reopen_cost: Annotated[float | None, Ge(0)] = 0.05
    width: Count = 1
    num_goals: Count = 1
    merge_equal: bool = True
    transition_cost: TransitionCostName | StepCost = "decrease"
    aggregation: Aggregation = "min"

    def __post_init__(self) -> None:
        allowed = "must be a number; a run that began before A* had it cannot be resumed: start it again"
        checks.require(self.reopen_cost is not None, "reopen_cost", self.reopen_cost, allowed)

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation)

    @property
    def wave_size(self) -> int:
        """Return how many children are drawn at a time."""
        return self.wave or self.branching or self.num_samples

    @property
    def _cost_of_a_wave(self) -> float:
        return _LAST if self.wave is None or self.reopen_cost is None else self.reopen_cost

    async def solve(self, session: Session) -> Solution:
        tree = SearchTree()
        tree.add(None, Trajectory(), cost=0.0, heuristic=0.0, is_open=True)
        session.note(tree.records, begins=True)
        goals = await self._search(session, tree)
        ended = [n for n in tree.frontier if n.trajectory.finished]
        last = [] if goals or ended else await self._finish_best(session, tree)
        return await self._conclude(session, tree, [*goals, *ended, *last])

    async def _search(self, session: Session, tree: SearchTree) -> list[Node]:
        """Expand until there are enough goals, no step is left, or a limit is reached."""
        goals: list[Node] = []
        num_left, num_waves = (self.num_samples - 1) * self.max_steps, Counter[int]()
        while num_left and not session.exhausted:
            parents = self._next(tree, goals, num_left)
            if not parents:
                break
            await self._expand(session, tree, parents)
            session.note(tree.records)
            num_left -= len(parents)
            for node in dict.fromkeys(parents):
                num_waves[node.index] += 1
                tree.reopen(node, num_waves[node.index] * self._cost_of_a_wave)
        return goals

    def _next(self, tree: SearchTree, goals: list[Node], num_left: int) -> list[Node]:
        """Return the nodes to expand, each once per child; goals that come first are set aside.

        A goal behind a node of this round stays open: that node's children may still be better.
        """
        parents: list[Node] = []
        while len(goals) < self.num_goals and len(parents) < min(num_left, self.width * self.wave_size):
            if tree.best is None or (parents and tree.best.trajectory.finished):
                break
            node = tree.pop()
            if node.trajectory.finished:
                goals.append(node)
            else:
                parents += [node] * min(self.wave_size, num_left - len(parents))
        return parents

    async def _expand(self, session: Session, tree: SearchTree, parents: Sequence[Node]) -> list[Node]:
        """Add one child for each of ``parents``; fewer where some are equal or a limit withholds them."""
        drawn = await session.generate([n.trajectory for n in parents], self.sampling)
        rows = [
            (parent, child)
            for parent, child in zip(parents, drawn, strict=True)
            if len(child.steps) > len(parent.trajectory.steps)
        ]
        if self.merge_equal:  # equal states have the same parent: a state is expanded once
            known = [child for node in dict.fromkeys(parents) for child in tree.children(node)]
            kept = distinct([*known, *(child for _, child in rows)])
            rows = [rows[i - len(known)] for i in kept if i >= len(known)]
        scored = await session.score([child for _, child in rows])
        return [self._add(tree, parent, child) for (parent, _), child in zip(rows, scored, strict=True)]

    def _add(self, tree: SearchTree, parent: Node, child: Trajectory) -> Node:
        scored = child.steps[-1].reward is not None
        heuristic = 1.0 - aggregate(child.rewards, self.aggregation).value if scored else 1.0
        cost = parent.cost
        if parent.trajectory.steps:
            cost += self._cost(parent.heuristic, heuristic)
        # Neither a truncated trajectory nor one at the last step can become an answer.
        is_open = child.finished or (child.active and len(child.steps) < self.max_steps)
        return tree.add(parent, child, cost, heuristic, is_open=is_open)

    @property
    def _cost(self) -> StepCost:
        cost = self.transition_cost
        return _COSTS[cost] if isinstance(cost, str) else cost

    async def _finish_best(self, session: Session, tree: SearchTree) -> list[Node]:
        """Continue the best open trajectory alone to its end; return the last of its nodes, if any."""
        opened = [n for n in tree.frontier if n.trajectory.steps] or tree.frontier
        reached, node = tree.leaves()[:1], opened[0] if opened else None
        while node and tree.is_open(node) and node.trajectory.active and not session.exhausted:
            tree.close(node)
            children = await self._expand(session, tree, [node])
            session.note(tree.records)
            reached = children or reached
            node = children[0] if children else None
        return reached

    async def _conclude(self, session: Session, tree: SearchTree, offered: Sequence[Node]) -> Solution:
        """Let the first ``num_goals`` vote."""
        voters = offered[: self.num_goals]
        scores = [-n.total for n in voters]
        keys = await session.answers([n.trajectory for n in voters]) if len(voters) > 1 else []
        elected = vote(keys, scores)
        if elected is None and voters:
            elected = argmax(scores)
        session.note(tree.records)
        return Solution(
            answer_index=elected,
            trajectories=tuple(n.trajectory for n in offered),
            log_weights=tuple(-n.total for n in offered),
            history=tree.records(),
            usage=session.usage,
        )
