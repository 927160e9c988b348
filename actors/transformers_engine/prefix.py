"""Keys and values of known prefixes, shared between trajectories: a radix tree over token ids."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from actors.batching.kv import Ints, KVShape, SlotCache
from actors.text.tokens import TokenIds

_FIRST_CAPACITY = 1024


@dataclass(eq=False, slots=True)
class _Node:
    """An edge of the tree: its tokens and the place of each in the pool."""

    tokens: TokenIds
    places: Ints
    parent: _Node | None
    touched: int = 0
    children: dict[int, _Node] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """A row of a cache to keep: the tokens in ``slot``, columns ``0 .. len(token_ids)``."""

    slot: int
    token_ids: TokenIds


class PrefixStore:
    """Finds the longest known prefix of a token sequence; the least recently used leaves are evicted first.

    Tokens that trajectories share are kept once. A node is touched after all its descendants, so the least
    recently touched node is always a leaf. What was matched is valid until the next ``insert``.
    """

    def __init__(self, shape: KVShape, max_bytes: int) -> None:
        self._shape = shape
        self._max_tokens = max_bytes // shape.bytes_per_token
        self._pool = torch.zeros(self._size(0), dtype=shape.dtype, device=shape.device)
        self._free: list[int] = []
        self._root = _Node((), np.zeros(0, np.int64), None)
        self._recency: OrderedDict[_Node, None] = OrderedDict()
        self._clock = 0

    @property
    def num_tokens(self) -> int:
        """How many tokens are kept."""
        return len(self._pool) - len(self._free)

    @property
    def num_bytes(self) -> int:
        """The size of the pool in bytes."""
        return len(self._pool) * self._shape.bytes_per_token

    def match(self, token_ids: TokenIds) -> Ints:
        """Return the places ``[length]`` of the longest known prefix of ``token_ids``."""
        self._clock += 1
        path, length, inside = self._walk(token_ids)
        self._touch(path)
        if not path:
            return np.zeros(0, np.int64)
        places: Ints = np.concatenate([*(n.places for n in path[:-1]), path[-1].places[:inside]])
        return places[:length]

    def load(
        self, cache: SlotCache, slots: Sequence[int], starts: Sequence[int], places: Sequence[Ints]
    ) -> None:
        """Copy ``places[i][starts[i]:]`` into columns from ``starts[i]`` of slot ``slots[i]``."""
        missing = [p[start:] for p, start in zip(places, starts, strict=True)]
        counts = [len(m) for m in missing]
        if not sum(counts):
            return
        columns = [np.arange(start, start + n) for start, n in zip(starts, counts, strict=True)]
        tokens = self._pool[torch.from_numpy(np.concatenate(missing)).to(self._shape.device)]
        cache.write(np.repeat(slots, counts), np.concatenate(columns), tokens)

    def insert(self, cache: SlotCache, rows: Sequence[Stored]) -> None:
        """Keep ``rows`` of ``cache``; rows that do not fit beside the others of this call are skipped."""
        self._clock += 1
        slots, columns, places = [], [], []
        for row in rows:
            new = self._grow(row.token_ids)
            slots.append(np.full(len(new), row.slot))
            columns.append(np.arange(len(row.token_ids) - len(new), len(row.token_ids)))
            places.append(new)
        if not slots or not sum(map(len, places)):
            return
        picked = cache.read(np.concatenate(slots), np.concatenate(columns))
        self._pool[torch.from_numpy(np.concatenate(places)).to(self._shape.device)] = picked

    def _walk(self, token_ids: TokenIds) -> tuple[list[_Node], int, int]:
        """The nodes along ``token_ids``, how many tokens match, and how many of the last node match."""
        path: list[_Node] = []
        node, length = self._root, 0
        while length < len(token_ids):
            child = node.children.get(token_ids[length])
            if child is None:
                break
            inside = _common(child.tokens, token_ids[length : length + len(child.tokens)])
            path.append(child)
            length += inside
            node = child
            if inside < len(child.tokens):
                return path, length, inside
        return path, length, len(path[-1].tokens) if path else 0

    def _touch(self, path: list[_Node]) -> None:
        for node in reversed(path):
            node.touched = self._clock
            self._recency[node] = None
            self._recency.move_to_end(node)

    def _grow(self, token_ids: TokenIds) -> Ints:
        """Add the unknown end of ``token_ids`` to the tree. Return the places for it, possibly none."""
        path, length, inside = self._walk(token_ids)
        if path and inside < len(path[-1].tokens):
            path[-1] = self._split(path[-1], inside)
        self._touch(path)
        places = self._allocate(len(token_ids) - length)
        if len(places) == 0:
            return places
        parent = path[-1] if path else self._root
        leaf = _Node(token_ids[length:], places, parent)
        parent.children[leaf.tokens[0]] = leaf
        self._touch([*path, leaf])
        return places

    def _split(self, node: _Node, length: int) -> _Node:
        """Split ``node`` after ``length`` tokens. Return the upper part."""
        assert node.parent is not None
        upper = _Node(node.tokens[:length], node.places[:length], node.parent, node.touched)
        node.parent.children[upper.tokens[0]] = upper
        node.tokens, node.places, node.parent = node.tokens[length:], node.places[length:], upper
        upper.children[node.tokens[0]] = node
        return upper

    def _allocate(self, num_tokens: int) -> Ints:
        """``num_tokens`` free places, or none when the tokens of this call fill the pool."""
        while len(self._free) < num_tokens:
            if not (self._enlarge() or self._drop_oldest()):
                return np.zeros(0, np.int64)
        taken = self._free[len(self._free) - num_tokens :]
        del self._free[len(self._free) - num_tokens :]
        return np.array(taken, np.int64)

    def _enlarge(self) -> bool:
        """Double the pool up to its bound. Return False when it has reached it."""
        old = self._pool
        capacity = min(max(2 * len(old), _FIRST_CAPACITY), self._max_tokens)
        if capacity <= len(old):
            return False
        self._pool = torch.zeros(self._size(capacity), dtype=old.dtype, device=old.device)
        self._pool[: len(old)] = old
        self._free.extend(range(len(old), capacity))
        return True

    def _drop_oldest(self) -> bool:
        """Evict the least recently used leaf. Return False when this call has touched all leaves."""
        node = next(iter(self._recency), None)
        if node is None or node.touched == self._clock:
            return False
        assert node.parent is not None and not node.children
        del self._recency[node]
        del node.parent.children[node.tokens[0]]
        self._free.extend(node.places.tolist())
        return True

    def _size(self, num_tokens: int) -> tuple[int, ...]:
        return (num_tokens, self._shape.num_layers, 2, self._shape.num_heads, self._shape.head_dim)


def _common(left: TokenIds, right: TokenIds) -> int:
    """How many leading tokens are equal."""
    if left == right:
        return len(left)
    return next(
        (i for i, (a, b) in enumerate(zip(left, right, strict=False)) if a != b), min(len(left), len(right))
    )
