"""The tree of a best-first search: open nodes in a heap, closed ones in the order they were first closed."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from orchestrator.types import NodeRecord, Trajectory

Rank = tuple[float, float, int, int]


@dataclass(frozen=True, slots=True)
class Node:
    """A partial trajectory with its cost so far g and its heuristic h; f = g + h."""

    index: int
    parent: int | None
    trajectory: Trajectory
    cost: float
    heuristic: float

    @property
    def total(self) -> float:
        return self.cost + self.heuristic

    def rank(self, penalty: float = 0.0) -> Rank:
        """Return (f + penalty, h, -depth, index): the least is first, so ties go to the oldest at last."""
        return (self.total + penalty, self.heuristic, -len(self.trajectory.steps), self.index)


@dataclass
class SearchTree:
    """All nodes, by index; ``pop`` closes the best open one."""

    nodes: list[Node] = field(default_factory=list)
    _heap: list[Rank] = field(default_factory=list)
    _rank: dict[int, Rank] = field(default_factory=dict)
    _closed: dict[int, int] = field(default_factory=dict)
    _children: dict[int, list[int]] = field(default_factory=dict)

    def add(
        self, parent: Node | None, trajectory: Trajectory, cost: float, heuristic: float, *, is_open: bool
    ) -> Node:
        """Add a node; one that is not open is a dead end, to which no search returns."""
        above = None if parent is None else parent.index
        node = Node(len(self.nodes), above, trajectory, cost, heuristic)
        self.nodes.append(node)
        if parent is not None:
            self._children.setdefault(parent.index, []).append(node.index)
        if is_open:
            self._open(node, 0.0)
        return node

    def _open(self, node: Node, penalty: float) -> None:
        self._rank[node.index] = node.rank(penalty)
        heapq.heappush(self._heap, self._rank[node.index])

    @property
    def best(self) -> Node | None:
        """Return the open node that ``pop`` would close; None when the frontier is empty."""
        return self.nodes[self._heap[0][-1]] if self._heap else None

    @property
    def frontier(self) -> list[Node]:
        """Return the open nodes, best first."""
        return [self.nodes[rank[-1]] for rank in sorted(self._heap)]

    def leaves(self) -> list[Node]:
        """Return the nodes with a step but no child, best first, dead ends included."""
        inner = {node.parent for node in self.nodes}
        leaves = [n for n in self.nodes if n.index not in inner and n.trajectory.steps]
        return sorted(leaves, key=Node.rank)

    def is_open(self, node: Node) -> bool:
        return node.index in self._rank

    def close(self, node: Node) -> None:
        """Take a node out of the frontier. Raises ValueError when it is not open."""
        if not self.is_open(node):
            raise ValueError(f"node {node.index} is not open")
        self._heap.remove(self._rank.pop(node.index))
        heapq.heapify(self._heap)
        self._closed.setdefault(node.index, len(self._closed))

    def reopen(self, node: Node, penalty: float) -> None:
        """Put a closed node back into the frontier, at the place of f + ``penalty``."""
        self._open(node, penalty)

    def children(self, node: Node) -> list[Trajectory]:
        """Return the trajectories of a node's children, oldest first."""
        return [self.nodes[index].trajectory for index in self._children.get(node.index, ())]

    def pop(self) -> Node:
        """Close the best open node. Raises IndexError when the frontier is empty."""
        node = self.nodes[self._heap[0][-1]]
        self.close(node)
        return node

    def records(self) -> tuple[NodeRecord, ...]:
        """Return the whole tree, for a drawing."""
        return tuple(
            NodeRecord(
                node=node.index,
                parent=node.parent,
                text=node.trajectory.steps[-1].text if node.trajectory.steps else "",
                reward=_last_reward(node.trajectory),
                cost=node.cost,
                heuristic=node.heuristic,
                closed=self._closed.get(node.index),
            )
            for node in self.nodes
        )


def _last_reward(trajectory: Trajectory) -> float | None:
    reward = trajectory.steps[-1].reward if trajectory.steps else None
    return None if reward is None else reward.value
