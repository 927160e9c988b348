"""The layers of a pipeline: built from their configuration, held to its rules, and scaled to a budget.

The rules are those of Archon (https://arxiv.org/abs/2409.15254): the first layer generates and no other does,
a layer holds one kind of component, a critique comes before what reads it, and tests directly before they are
evaluated.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from typing import Annotated, Any, cast

from orchestrator.errors import ConfigError
from orchestrator.schema import Words, check_fields, converted, hints_of
from orchestrator.suggest import nearest
from strategies.components.critique import Critique
from strategies.components.fuse import Fuse
from strategies.components.generate import Generate
from strategies.components.rank import Rank
from strategies.components.select import Select
from strategies.components.stage import Component
from strategies.components.unit_tests import Evaluate, UnitTests
from strategies.components.verify import Verify

_KINDS: Mapping[str, type[Component]] = {
    kind.kind: kind for kind in (Generate, Critique, Rank, Fuse, Verify, UnitTests, Evaluate, Select)
}
_FORM = "must be a list of layers, each a list of components such as [{generate: {samples: 8}}]"

Layer = tuple[Component, ...]
Layers = tuple[Layer, ...]
LayersKnob = Annotated[Sequence[Any], Words(_FORM)]
"""Layers as they are configured, or built."""


def layers_of(given: Sequence[Any], key: str = "strategy.layers") -> Layers:
    """Return the layers of a configuration. Raises ConfigError of the key of what is wrong.

    A component is ``{kind: {knob: value}}``, or one that is built.
    """
    layers = tuple(
        tuple(_component(f"{key}.{i}.{j}", each) for j, each in enumerate(_listed(f"{key}.{i}", layer)))
        for i, layer in enumerate(_listed(key, given))
    )
    _check(key, layers)
    return layers


def _listed(key: str, value: Any) -> Sequence[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise ConfigError(key, value, _FORM)
    return value


def _component(key: str, given: Any) -> Component:
    if isinstance(given, tuple(_KINDS.values())):
        built = cast(Component, given)
        check_fields(f"{key}.{built.kind}", built)
        return built
    if not isinstance(given, Mapping) or len(given) != 1:
        raise ConfigError(key, given, "must be one component, such as {rank: {top_k: 5}}")
    ((kind, knobs),) = given.items()
    if kind not in _KINDS:
        raise ConfigError(f"{key}.{kind}", knobs, f"unknown component{_hint(kind, _KINDS)}")
    return _built(f"{key}.{kind}", _KINDS[kind], knobs)


def _built(key: str, kind: Any, knobs: Any) -> Component:
    """Return a component with these knobs; None is no knob."""
    if knobs is not None and not isinstance(knobs, Mapping):
        raise ConfigError(key, knobs, "must be the knobs of the component, such as {}")
    known, hints = [field.name for field in fields(kind)], hints_of(kind)
    for name, value in (knobs or {}).items():
        if name not in known:
            raise ConfigError(f"{key}.{name}", value, f"unknown key{_hint(name, known)}")
    values = {name: converted(f"{key}.{name}", value, hints[name]) for name, value in (knobs or {}).items()}
    return cast(Component, kind(**values))


def _hint(name: object, known: Collection[str]) -> str:
    return nearest(str(name), known) or f"; known: {', '.join(known) or 'none'}"


def _check(key: str, layers: Layers) -> None:
    """Raise ConfigError for the first layer whose components cannot be together, or cannot be there."""
    for i, layer in enumerate(layers):
        kinds = [component.kind for component in layer]
        if len(set(kinds)) > 1:
            raise ConfigError(f"{key}.{i}", ", ".join(kinds), "must hold one kind of component")
        if layer[0].alone and len(layer) > 1:
            allowed = "must be alone in its layer: generate and fuse may be several"
            raise ConfigError(f"{key}.{i}", kinds[0], allowed)
    order = [layer[0].kind for layer in layers]
    for i, kind in enumerate(order):
        if allowed := _misplaced(kind, order[:i], order[i + 1 :]):
            raise ConfigError(f"{key}.{i}", kind, allowed)


def _misplaced(kind: str, before: Sequence[str], after: Sequence[str]) -> str:
    """Return where a kind must be, or nothing where it is there."""
    if kind != "generate" and not before:
        return "must be generate: the first layer makes the drafts"
    if kind == "generate" and before:
        return "must be in the first layer, and there alone"
    if kind == "critique" and not {"rank", "fuse"} & set(after):
        return "needs a later layer that reads it: rank or fuse"
    if kind == "unit_tests" and after[:1] != ["evaluate"]:
        return "must be directly before evaluate"
    if kind == "evaluate" and before[-1] != "unit_tests":
        return "must be directly after unit_tests"
    return ""


def scaled(layers: Layers, num_answers: int) -> Layers:
    """Return the layers with the ``samples`` that a budget leaves for generators without a number.

    Each policy of each has an equal share, rounded down, of what other generators and fusions leave. Where
    that is not two drafts to fuse, there is no fusion, and no critique: all of the budget are samples.
    """
    first = cast("tuple[Generate, ...]", layers[0])
    num_open = sum(len(each.policies) for each in first if each.samples is None)
    if not num_open:
        return layers
    num_given = sum(each.samples * len(each.policies) for each in first if each.samples)
    left = num_answers - num_given
    if left < num_open:
        allowed = f"must be at least {num_given + num_open}: each policy of strategy.layers.0 has a sample"
        raise ConfigError("strategy.num_samples", num_answers, allowed)
    num_fused = sum(c.copies for layer in layers for c in layer if isinstance(c, Fuse))
    if num_fused and left - num_fused < max(2, num_open):
        num_fused = 0
        layers = tuple(layer for layer in layers if layer[0].kind not in ("fuse", "critique"))
    share = (left - num_fused) // num_open
    generators = (each if each.samples else replace(each, samples=share) for each in first)
    return (tuple(generators), *layers[1:])
