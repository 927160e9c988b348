"""What holds for every solution, whatever method found it."""

from __future__ import annotations

import math

from orchestrator.testing.laws import require
from orchestrator.types import NodeRecord, Solution, StepRecord


def assert_sound(solution: Solution) -> None:
    """Check that a solution is consistent in itself. Raises AssertionError where it is not."""
    num, answer = len(solution.trajectories), solution.answer_index
    weights = solution.log_weights
    require(len(weights) == num, f"{num} trajectories have {len(weights)} log-weights")
    require(not any(map(math.isnan, weights)), f"a log-weight is NaN: {weights}")
    legal = answer is None if num == 0 else answer in range(num)
    require(legal, f"answer_index is {answer!r}, of {num} trajectories")
    require(all(t.steps for t in solution.trajectories), "a trajectory of the solution has no step")
    _require_sound_steps([r for r in solution.history if isinstance(r, StepRecord)])
    _require_sound_nodes([r for r in solution.history if isinstance(r, NodeRecord)])


def assert_prefers_finished(solution: Solution) -> None:
    """Check that an unfinished trajectory is the answer's only where none finished."""
    if any(t.finished for t in solution.trajectories):
        answer = solution.answer_index
        text = None if answer is None else solution.trajectories[answer].text
        finished = answer is not None and solution.trajectories[answer].finished
        require(finished, f"the answer is {text!r}, which is not finished, and another trajectory is")


def _require_sound_steps(records: list[StepRecord]) -> None:
    steps = [record.step for record in records]
    require(steps == list(range(1, len(records) + 1)), f"the steps of the history are {steps}")
    for record in records:
        num = len(record.weights)
        require(record.ess >= 1 - 1e-9, f"an ESS is {record.ess}")
        require(0 <= record.entropy <= 1, f"an entropy is {record.entropy}")
        require(record.tempering > 0, f"a tempering is {record.tempering}")
        require(abs(sum(record.weights) - 1) < 1e-9, f"weights sum to {sum(record.weights)}")
        legal = all(slot in range(num) for slot in record.ancestors)
        require(legal, f"ancestors {record.ancestors}, of {num} slots")


def _require_sound_nodes(nodes: list[NodeRecord]) -> None:
    numbers = [node.node for node in nodes]
    require(numbers == list(range(len(nodes))), f"the nodes of the history are {numbers}")
    for node in nodes:
        legal = node.parent is None if node.node == 0 else node.parent in range(node.node)
        require(legal, f"node {node.node} has the parent {node.parent}")
    closed = sorted(n.closed for n in nodes if n.closed is not None)
    require(closed == list(range(len(closed))), f"nodes were closed in the order {closed}")
