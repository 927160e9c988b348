"""Pipelines on six axes: policies, samples, fusion layers, fusers a layer, critique and rank, last layer.

Saad-Falcon et al., "Archon: An Architecture Search Framework for Inference-Time Techniques",
https://arxiv.org/abs/2409.15254, searches these axes; here they make layers of ``strategy=pipeline``.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from annotated_types import MinLen

from orchestrator.schema import Count, CountOrZero, NotEmpty, checked
from orchestrator.types import ENGINE

Last = Literal["vote", "reward", "random", "mbr", "checklist", "fuse"]
LASTS: tuple[Last, ...] = get_args(Last)
Layers = list[list[dict[str, dict[str, Any]]]]


@dataclass(frozen=True, slots=True)
@checked("architecture")
class Architecture:
    """One pipeline.

    Each of ``policies`` writes ``samples`` drafts; each of ``fusions`` layers writes ``fusers`` new ones in
    their place; with ``ranked`` the drafts are criticised and the best ``top_k`` kept before that. ``last``
    makes one answer of what is left: a selection, or one fusion. ``judge`` criticises, ranks and
    picks by a checklist.
    """

    policies: Annotated[tuple[str, ...], MinLen(1)] = (ENGINE,)
    samples: Count = 8
    fusions: CountOrZero = 0
    fusers: Count = 1
    ranked: bool = False
    last: Last = "vote"
    top_k: Count = 5
    judge: NotEmpty = ENGINE

    @property
    def layers(self) -> Layers:
        """The layers as a configuration has them; a layer that has one draft to read is left out."""
        several = {} if self.policies == (ENGINE,) else {"policies": list(self.policies)}
        layers: Layers = [[{"generate": {"samples": self.samples, **several}}]]
        num_drafts = self.samples * len(self.policies)
        for _ in range(self.fusions):
            if num_drafts > 1:
                layers += [*self._ranking(), [{"fuse": {"copies": self.fusers}}]]
                num_drafts = self.fusers
        if num_drafts > 1 and self.last == "fuse":
            layers += [*self._ranking(), [{"fuse": {"copies": 1}}]]
        elif num_drafts > 1:
            by = _by(self.judge) if self.last == "checklist" else {}
            layers += [[{"select": {"by": self.last, **by}}]]
        return layers

    def _ranking(self) -> Layers:
        if not self.ranked:
            return []
        return [[{"critique": _by(self.judge)}], [{"rank": {"top_k": self.top_k, **_by(self.judge)}}]]

    @property
    def name(self) -> str:
        """The layers in one line: ``generate 8 > critique > rank 5 > fuse 1``."""
        return " > ".join(" + ".join(_in_words(component) for component in layer) for layer in self.layers)


def _by(policy: str) -> dict[str, str]:
    """Return the key of a component that names its policy; the main one is the default."""
    return {} if policy == ENGINE else {"policy": policy}


def _in_words(component: dict[str, dict[str, Any]]) -> str:
    ((kind, knobs),) = component.items()
    return " ".join([kind, *("+".join(v) if isinstance(v, list) else str(v) for v in knobs.values())])


def grid(
    *,
    policies: Sequence[tuple[str, ...]],
    samples: Sequence[int],
    fusions: Sequence[int],
    fusers: Sequence[int],
    ranked: Sequence[bool],
    last: Sequence[Last],
    top_k: int = 5,
    judge: str = ENGINE,
) -> list[Architecture]:
    """Return every combination of the axes, each pipeline once."""
    rows = itertools.product(policies, samples, fusions, fusers, ranked, last)
    found = [Architecture(*row, top_k, judge) for row in rows]
    return list({json.dumps(each.layers): each for each in reversed(found)}.values())[::-1]
