"""The tree of a problem's samples: samples with the same first steps share them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.exchange.records import Sample

Labels = Literal["rewards", "descendants"]


@dataclass
class Node:
    """A step after its prefix; ``reward`` is a value in [0, 1], None where it was not scored.

    ``num_samples`` of the question pass through it, ``num_right`` of them with a right answer.
    """

    text: str
    reward: float | None = None
    num_samples: int = 0
    num_right: int = 0
    children: dict[str, Node] = field(default_factory=dict)

    def number(self, labels: Labels) -> float | None:
        """Return the node's reward, or the share of right ones among the samples that pass through it."""
        return self.reward if labels == "rewards" else self.num_right / self.num_samples


def tree_of(samples: Sequence[Sample]) -> Node:
    """Return the root, whose children are first steps; the first reward of equal prefixes counts."""
    root = Node("")
    for sample in samples:
        node = root
        _pass(node, sample)
        for text, reward in zip(sample.steps, sample.rewards, strict=True):
            node = node.children.setdefault(text, Node(text))
            if node.reward is None and reward is not None:
                node.reward = reward.value
            _pass(node, sample)
    return root


def _pass(node: Node, sample: Sample) -> None:
    node.num_samples += 1
    node.num_right += bool(sample.correct)


def path_of(root: Node, sample: Sample) -> Iterator[Node]:
    """Yield the nodes of a sample's steps."""
    node = root
    for text in sample.steps:
        node = node.children[text]
        yield node


def branchings(root: Node) -> Iterator[tuple[str, list[Node]]]:
    """Yield each prefix that continues in several ways, with those continuations."""
    pending = [("", root)]
    while pending:
        prefix, node = pending.pop()
        children = list(node.children.values())
        if len(children) > 1:
            yield prefix, children
        pending += [(prefix + child.text, child) for child in reversed(children)]
