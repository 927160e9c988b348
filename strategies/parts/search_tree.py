"""The tree of a best-first search: open nodes in a heap, closed ones in the order they were closed."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

from orchestrator.types import NodeRecord, Trajectory


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

    @property
    def key(self) -> tuple[float, float, int, int]:
        """Return the rank: least f first; ties go to the least h, then to the deepest, then to the oldest."""
        return (self.total, self.heuristic, -len(self.trajectory.steps), self.index)


@dataclass
class SearchTree:
    """All nodes, by index; ``pop`` closes the best open one."""

    nodes: list[Node] = field(default_factory=list)
    _heap: list[tuple[tuple[float, float, int, int], int]] = field(default_factory=list)
    _closed: dict[int, int] = field(default_factory=dict)
    _children: dict[int, list[int]] = field(default_factory=dict)
    _order: Iterator[int] = field(default_factory=count)

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
            heapq.heappush(self._heap, (node.key, node.index))
        return node

    @property
    def best(self) -> Node | None:
        """Return the open node that ``pop`` would close; None when the frontier is empty."""
        return self.nodes[self._heap[0][1]] if self._heap else None

    @property
    def frontier(self) -> list[Node]:
        """Return the open nodes, best first."""
        return [self.nodes[index] for _, index in sorted(self._heap)]

    def leaves(self) -> list[Node]:
        """Return the nodes with a step but no child, best first, dead ends included."""
        inner = {node.parent for node in self.nodes}
        leaves = [n for n in self.nodes if n.index not in inner and n.trajectory.steps]
        return sorted(leaves, key=lambda n: n.key)

    def is_open(self, node: Node) -> bool:
        return any(index == node.index for _, index in self._heap)

    def close(self, node: Node) -> None:
        """Take a node out of the frontier. Raises ValueError when it is not open."""
        self._heap.remove((node.key, node.index))
        heapq.heapify(self._heap)
        self._closed[node.index] = next(self._order)

    def reopen(self, node: Node) -> None:
        """Put a closed node back into the frontier, at its old place."""
        del self._closed[node.index]
        heapq.heappush(self._heap, (node.key, node.index))

    def children(self, node: Node) -> list[Trajectory]:
        """Return the trajectories of a node's children, oldest first."""
        return [self.nodes[index].trajectory for index in self._children.get(node.index, ())]

    def pop(self) -> Node:
        """Close the best open node. Raises IndexError when the frontier is empty."""
        node = self.nodes[self._heap[0][1]]
        self.close(node)
        return node

    def records(self) -> tuple[NodeRecord, ...]:
        """Return the whole tree, for a drawing."""
        # A node that was reopened left a gap in the order.
        order = sorted(self._closed, key=lambda index: self._closed[index])
        closed = {index: rank for rank, index in enumerate(order)}
        return tuple(
            NodeRecord(
                node=node.index,
                parent=node.parent,
                text=node.trajectory.steps[-1].text if node.trajectory.steps else "",
                reward=_last_reward(node.trajectory),
                cost=node.cost,
                heuristic=node.heuristic,
                closed=closed.get(node.index),
            )
            for node in self.nodes
        )


def _last_reward(trajectory: Trajectory) -> float | None:
    reward = trajectory.steps[-1].reward if trajectory.steps else None
    return None if reward is None else reward.value
