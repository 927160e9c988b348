"""Expand the most promising open partial answer (A*-decoding).

https://arxiv.org/abs/2505.13672. A state is a partial trajectory, and a goal is one that has ended. The open
node with the least

    f = g + h,    h = 1 - r,    g = sum of c(s, s') over the steps,

with r the (aggregated) reward of the partial answer, is expanded into ``branching`` sampled continuations.
The source leaves the transition cost c open; both readings are offered:

    increase:  c(s, s') = max(0, h(s') - h(s)),    a step pays for what it makes worse
    decrease:  c(s, s') = max(0, h(s) - h(s')),    the least cost that makes h consistent

The first step costs nothing. Ours: equal continuations are one state, rewarded and expanded
once (as in any graph search: a confident policy draws the same step repeatedly). With ``wave`` they
are drawn n at a time, and meanwhile the state stays open (after partial expansion, Yoshizumi et al. 2000):
more are drawn only where no child is better than the parent, and none after a wave without a new child.
Ties (least h, deepest, oldest) and the fallbacks are also ours.
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


@dataclass(frozen=True)
@checked("strategy")
class AStar:
    """Best-first search over partial trajectories.

    Budget N: N x max_steps child steps, of which max_steps are reserved to finish the best open
    trajectory, if none has ended by then; ``num_samples`` = N. The search stops at the first goal that
    is the best open node, or continues to ``num_goals`` of them, which vote (ties: least f; with
    ``merge_equal`` off, each of several equal ones has a vote). Without a goal, the answer is the ended
    trajectory with the least f; without one, the best open trajectory is finished.
    ``Solution.log_weights``: -f. The history is the tree, one NodeRecord per node.
    """

    budget_knob: ClassVar[str] = "num_samples"
    independent_samples: ClassVar[bool] = False

    num_samples: Count
    max_steps: Count
    sampling: Sampling
    branching: Count = 8
    wave: Annotated[int | None, Ge(1)] = 2
    width: Count = 1
    num_goals: Count = 1
    merge_equal: bool = True
    transition_cost: TransitionCostName | StepCost = "increase"
    aggregation: Aggregation = "last"

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation)

    @property
    def wave_size(self) -> int:
        """Return how many children are drawn at a time."""
        return self.branching if self.wave is None else self.wave

    async def solve(self, session: Session) -> Solution:
        tree = SearchTree()
        tree.add(None, Trajectory(), cost=0.0, heuristic=1.0, is_open=True)
        goals = await self._search(session, tree)
        ended = [n for n in tree.frontier if n.trajectory.finished]
        last = [] if goals or ended else await self._finish_best(session, tree)
        return await self._conclude(session, tree, goals, [*ended, *last])

    async def _search(self, session: Session, tree: SearchTree) -> list[Node]:
        """Expand until there are enough goals, no open node, no step left, or a limit is reached."""
        goals: list[Node] = []
        num_left, drawn = (self.num_samples - 1) * self.max_steps, Counter[int]()
        while num_left and not session.exhausted:
            if tree.best is None:  # dead ends everywhere: a wave without a new child is not the last
                self._reopen(tree, [node for node in tree.nodes if drawn[node.index]], drawn)
            parents = self._next(tree, goals, drawn, num_left)
            if not parents:
                break
            made = await self._expand(session, tree, parents)
            session.note(tree.records)
            num_left -= len(parents)
            drawn.update(node.index for node in parents)
            if num_left:
                fertile = {child.parent for child in made}
                self._reopen(tree, [node for node in dict.fromkeys(parents) if node.index in fertile], drawn)
        return goals

    def _next(
        self, tree: SearchTree, goals: list[Node], drawn: Mapping[int, int], num_left: int
    ) -> list[Node]:
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
                left = self.branching - drawn.get(node.index, 0)
                parents += [node] * min(self.wave_size, left, num_left - len(parents))
        return parents

    def _reopen(self, tree: SearchTree, nodes: Sequence[Node], drawn: Mapping[int, int]) -> None:
        """Reopen the closed nodes that may have more children."""
        for node in nodes:
            if drawn[node.index] < self.branching:
                tree.reopen(node)

    async def _expand(self, session: Session, tree: SearchTree, parents: Sequence[Node]) -> list[Node]:
        """Add one child for each of ``parents``; fewer where some are equal or a limit withholds them."""
        drawn = await session.generate([n.trajectory for n in parents], self.sampling)
        rows = [
            (parent, child)
            for parent, child in zip(parents, drawn, strict=True)
            if child is not parent.trajectory
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
        reached, node = tree.leaves()[:1], tree.best
        while node and tree.is_open(node) and node.trajectory.active and not session.exhausted:
            tree.close(node)
            children = await self._expand(session, tree, [node])
            session.note(tree.records)
            reached = children or reached
            node = children[0] if children else None
        return reached

    async def _conclude(
        self, session: Session, tree: SearchTree, goals: Sequence[Node], others: Sequence[Node]
    ) -> Solution:
        """Let the goals vote; without a goal, the answer is the first of the others."""
        offered = [*goals, *others]
        voters = goals or offered[:1]
        scores = [-n.total for n in voters]
        keys = await session.answers([n.trajectory for n in voters]) if len(voters) > 1 else []
        elected = vote(keys, scores)
        if elected is None and voters:
            elected = argmax(scores)
        return Solution(
            answer_index=elected,
            trajectories=tuple(n.trajectory for n in offered),
            log_weights=tuple(-n.total for n in offered),
            history=tree.records(),
            usage=session.usage,
        )
