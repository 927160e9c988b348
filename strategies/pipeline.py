"""A pipeline of layers: generate drafts, criticise, rank, fuse, verify, test, and select one (Archon).

Saad-Falcon et al., "Archon: An Architecture Search Framework for Inference-Time Techniques",
https://arxiv.org/abs/2409.15254. A layer makes its drafts from those of the layer before; the components of a
layer run side by side:

    drafts_1 = generate(question),    drafts_i = union over the components c of layer i of  c(drafts_(i-1))

A layer of samples and one that selects are best_of_n (``by: reward``) and self_consistency (``by: vote``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.schema import Count, checked
from orchestrator.search.session import Session
from orchestrator.types import ENGINE, Sampling, Solution
from strategies.components.fuse import Fuse
from strategies.components.generate import Generate
from strategies.components.layers import Layer, Layers, LayersKnob, layers_of, scaled
from strategies.components.progress import Progress
from strategies.components.select import Select
from strategies.components.stage import Stage
from strategies.components.templates import PipelineTemplates
from strategies.parts.concurrent import concurrently
from strategies.parts.weights import Aggregation, readouts_for

_NO_TEMPLATES = PipelineTemplates()
_DEFAULT: LayersKnob = ({"generate": {}},), ({"select": {}},)


@dataclass(frozen=True)
@checked("strategy")
class Pipeline:
    """Layers of components (``strategies/components``), each ``{kind: {knob: value}}``.

    Budget N: ``num_samples`` = N answers to the problem, samples and fusions; a generator without ``samples``
    has what is left of it, and one with a number keeps it. Calls of roles are beside it. The answer is the
    first draft of the last layer that has an end. ``Solution.log_weights``: the aggregated reward's log-odds
    where a layer selects by it (-inf for an answer that it did not score), else 0.
    """

    budget_knob: ClassVar[str] = "num_samples"
    independent_samples: ClassVar[bool] = False
    whole_answers: ClassVar[bool] = True

    num_samples: Count = 8
    layers: LayersKnob = _DEFAULT
    sampling: Sampling = Sampling()
    role_sampling: Sampling = Sampling()
    templates: PipelineTemplates = _NO_TEMPLATES
    aggregation: Aggregation = "last"

    def __post_init__(self) -> None:
        layers = layers_of(self.layers)
        object.__setattr__(self, "layers", layers)
        self.templates.require(role for layer in layers for component in layer for role in component.roles)
        self._scaled()

    def _scaled(self) -> Layers:
        return scaled(layers_of(self.layers), self.num_samples)

    @property
    def readouts(self) -> tuple[str, ...]:
        return readouts_for(self.aggregation) if self._scores else ()

    @property
    def prompts(self) -> bool:
        """Whether a component asks the main policy anything else than the task's question."""
        return any(c.roles and ENGINE in c.calls for layer in self._scaled() for c in layer)

    @property
    def num_answers(self) -> int:
        """How many samples and fusions there are at most: fixed numbers may be more than N."""
        components = [component for layer in self._scaled() for component in layer]
        samples = sum((c.samples or 1) * len(c.policies) for c in components if isinstance(c, Generate))
        return samples + sum(c.copies for c in components if isinstance(c, Fuse))

    @property
    def _scores(self) -> bool:
        return any(isinstance(c, Select) and c.by == "reward" for layer in self._scaled() for c in layer)

    async def solve(self, session: Session) -> Solution:
        progress = Progress()
        for number, layer in enumerate(self._scaled(), start=1):
            stages = self._stages(session, number, layer)
            drafts = progress.drafts
            made = await concurrently(c.run(s, drafts) for c, s in zip(layer, stages, strict=True))
            session.meet([session])  # the next layer's forks follow all calls of this one
            progress.add(stages, made)
            if not progress.drafts:
                break
        return progress.solution(session, self.aggregation if self._scores else None)

    def _stages(self, session: Session, number: int, layer: Layer) -> list[Stage]:
        """Return where each component of a layer works: one that is alone in the pipeline's own scope."""
        names = [f"layer {number}.{i}" for i in range(len(layer))]
        scopes = [session] if len(layer) == 1 else [session.fork(name) for name in names]
        how = (self.templates, self.sampling, self.role_sampling, self.aggregation)
        return [Stage(scope, number, *how) for scope in scopes]
