"""The tables of keys in docs/configuration.md, made from the dataclasses that read the keys.

``python docs/site/keys.py`` writes them between their marks; tests/test_configuration_page.py holds the page
to them. A key's meaning is the docstring below its field, its values are the field's annotation, and its
default is what ``python run.py`` takes: that of conf/, else of the field.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import yaml
from pydantic.fields import FieldInfo

from actors.pool.inprocess import InProcessCluster
from actors.pool.placement import ClusterConfig
from orchestrator.config.build import Range, RunSettings, Suggested
from orchestrator.schema import Rule, allowed, options
from orchestrator.search.account import Limits
from orchestrator.tasks.drawn import DrawnTask

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"
COMPUTED = "computed"  # what is shown for a default that is an interpolation
_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    "must not be empty": "a text, not empty",
}
_LINK = re.compile(r"\bdocs/((\w+)\.md(?:#[\w-]+)?)")


@dataclass(frozen=True)
class Field:
    """A field: its annotation with the constraints, its default, its meaning in Markdown."""

    hint: Any
    default: Any
    meaning: str


@dataclass(frozen=True)
class Table:
    """The keys of one group, from the fields of some classes; ``without_ray`` has those that work there."""

    group: str
    classes: tuple[type[Any], ...]
    without_ray: type[Any] | None = None

    @property
    def header(self) -> list[str]:
        return ["key", "values", "default", "meaning", *(["without Ray"] if self.without_ray else [])]

    def rows(self) -> Iterator[list[str]]:
        for name, field in self.fields.items():
            default = defaults_of(self.group).get(name, field.default)
            last = ["yes" if name in parameters_of(self.without_ray) else ""] if self.without_ray else []
            yield [f"`{self.key(name)}=`", values_of(field.hint), shown(default), field.meaning, *last]

    @property
    def fields(self) -> Mapping[str, Field]:
        return ChainMap({}, *map(fields_of, reversed(self.classes)))

    def key(self, name: str) -> str:
        return f"{self.group}.{name}" if self.group else name


TABLES = {
    "run": Table("", (RunSettings,)),
    "task": Table("task", (DrawnTask, Range, Suggested)),
    "limits": Table("limits", (Limits,)),
    "cluster": Table("cluster", (ClusterConfig,), without_ray=InProcessCluster),
}


def rendered(table: Table) -> str:
    """Return a table as Markdown."""
    head, *rows = (f"| {' | '.join(line)} |\n" for line in (table.header, *table.rows()))
    return "".join([head, f"|{'---|' * len(table.header)}\n", *rows]).replace("|  |", "| |")


def generated(page: str) -> str:
    """Return the page with each table between its marks as the dataclasses have it."""
    for name, table in TABLES.items():
        begin, end = f"<!-- keys: {name} -->\n", "<!-- /keys -->"
        before, found, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise ValueError(f"{PAGE.name} has no marks for the keys of {name}")
        page = f"{before}{begin}\n{rendered(table)}\n{end}{after}"
    return page


def fields_of(cls: type[Any]) -> Mapping[str, Field]:
    """Return the fields that a class is built from; those of a dataclass in it have dotted names.

    Raises ValueError for one without a docstring.
    """
    hints, said = get_type_hints(cls, include_extras=True), docstrings_of(cls)
    parameters = parameters_of(cls)
    if unsaid := parameters.keys() - said.keys():
        raise ValueError(f"{cls.__name__} has no docstring below {', '.join(sorted(unsaid))}")
    found: dict[str, Field] = {}
    for name, each in parameters.items():
        if isinstance(hints[name], type) and is_dataclass(hints[name]):
            found |= {f"{name}.{inner}": field for inner, field in fields_of(hints[name]).items()}
        else:
            found[name] = Field(hints[name], each.default, in_markdown(said[name]))
    return found


def parameters_of(cls: type[Any]) -> Mapping[str, inspect.Parameter]:
    return inspect.signature(cls).parameters


@cache
def docstrings_of(cls: type[Any]) -> Mapping[str, str]:
    """Return the docstring below each field that has one."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(body, ast.ClassDef)
    said = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                said[name] = text
    return said


def in_markdown(docstring: str) -> str:
    """Return a docstring on one line, its names and paths of pages as Markdown has them."""
    text = " ".join(docstring.split()).replace("``", "`").removesuffix(".")
    begun = text if text[1:2].isupper() else text[:1].lower() + text[1:]  # CPU stays
    return _LINK.sub(lambda link: f"[{link[2]}.md]({link[1]})", begun)


def values_of(hint: Any) -> str:
    """Return what a field may hold, in words."""
    hint = _without_pydantic(hint)
    null = ", or null" if NoneType in options(hint) else ""
    if rule := next((each for each in metadata_of(hint) if isinstance(each, Rule)), None):
        return rule.allowed.removeprefix("must be ") + null
    if words := allowed(hint):
        return _WORDS.get(words) or words.removeprefix("must be ")
    return ", ".join(_kind_in_words(kind) for kind in options(hint) if kind is not NoneType) + null


def metadata_of(hint: Any) -> Iterator[Any]:
    """Yield the constraints of an annotation, and of those in it."""
    yield from getattr(hint, "__metadata__", ())
    for each in get_args(hint):
        yield from metadata_of(each)


def _without_pydantic(hint: Any) -> Any:
    """Return an annotation with the constraints that a ``Field`` of pydantic holds in the field's place."""
    if get_origin(hint) is not Annotated:
        return hint
    kind, *metadata = get_args(hint)
    flat = [item.metadata if isinstance(item, FieldInfo) else [item] for item in metadata]
    return Annotated[kind, *chain.from_iterable(flat)]


def _kind_in_words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if get_origin(kind) in (tuple, Sequence):
        return f"a list, each {values_of(get_args(kind)[0])}"
    return _WORDS[kind]


@cache
def defaults_of(group: str) -> Mapping[str, Any]:
    """Return what ``python run.py`` takes for each key of a group; of a run itself, for an empty name."""
    config = _read("config")
    chosen = ChainMap(*(each for each in config["defaults"] if isinstance(each, dict)))
    if group in chosen:
        return _dotted(_read(f"{group}/{chosen[group]}"))
    node: Mapping[str, Any] = config[group] if group else config
    return node


def _dotted(node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a node with the keys of the nodes in it."""
    inner = {f"{k}.{n}": value for k, v in node.items() if isinstance(v, dict) for n, value in v.items()}
    return {**node, **inner}


def _read(name: str) -> Mapping[str, Any]:
    """Return a file of conf/."""
    return dict(yaml.safe_load((ROOT / "conf" / f"{name}.yaml").read_text(encoding="utf-8")))


def shown(default: Any) -> str:
    """Return a default as YAML has it."""
    if isinstance(default, str) and "${" in default:
        return COMPUTED
    text = default if isinstance(default, str) else yaml.safe_dump(default).removesuffix("\n...\n").strip()
    return "null" if default is None else str(text)


if __name__ == "__main__":
    PAGE.write_text(generated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
