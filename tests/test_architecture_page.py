"""docs/architecture.md names what there is: its floors are the house's, and every name in it exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.test_house import FLOORS, PACKAGES, ROOT, module_name, source_files, tree_of

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
_PATH = re.compile(r"[\w.-]+(/[\w.-]*)+|[\w-]+\.(?:py|md|yaml)")
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_NAME = re.compile(r"[A-Za-z_]\w*")
# Files that a run writes, and what belongs to Python and its libraries.
OTHERS = {
    "journal/",
    "results.jsonl",
    "events.jsonl",
    "summary.json",
    "Annotated",
    "Literal",
    "_target_",
    "__post_init__",
}


def spans() -> Iterator[str]:
    """Each code span, and in fenced blocks each path, dotted name and name of a class of two words."""
    prose = re.sub(r"^```.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    yield from re.findall(r"`([^`]+)`", prose)
    for block in re.findall(r"^```\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL):
        for word in block.split():
            if "/" in word or word.endswith(".py") or re.fullmatch(r"([A-Z][a-z]+){2,}", word):
                yield word.rstrip(":,")


def members(tree: ast.AST) -> Iterator[str]:
    """What is defined directly in a module or a class, and what its methods assign to ``self``."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))


@cache
def defined() -> Mapping[Path, frozenset[str]]:
    """By file, the names of its top level, and ``Class.member`` for each member of its classes."""
    found = {}
    for path in source_files():
        tree = tree_of(path)
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        inside = (f"{each.name}.{name}" for each in classes for name in members(each))
        found[path] = frozenset((*members(tree), *inside))
    return found


@cache
def everywhere() -> frozenset[str]:
    """Every name and ``Class.member`` of the source, and each member by itself."""
    names = frozenset().union(*defined().values())
    return names | {name.split(".")[-1] for name in names}


def keys_below(node: object, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from keys_below(value, f"{prefix}{key}.")


@cache
def keys() -> frozenset[str]:
    """Every key of the configuration, with its group in front, the groups and their files."""
    conf = ROOT / "conf"
    found = {path.stem for path in conf.rglob("*.yaml")} | {path.name for path in conf.iterdir()}
    for path in conf.rglob("*.yaml"):
        folder = path.relative_to(conf).parts[:-1]
        found |= set(keys_below(yaml.safe_load(path.read_text()), "".join(f"{part}." for part in folder)))
    return frozenset(found)


@cache
def known() -> frozenset[str]:
    """What a span without a path and a package may be: a name of the source, a key, a part."""
    parts = {part for package in FLOORS.values() for floor in package for part in floor}
    return everywhere() | keys() | parts | {f"{key}=" for key in keys()}


def public(name: str) -> bool:
    """Whether a dotted name is of a package: a module, or what a module or a package lists."""
    package, _, last = name.rpartition(".")
    modules = {module_name(path): path for path in source_files()}
    if name in modules:
        return True
    if package not in modules:
        return False
    return last in defined()[modules[package]] or f'"{last}"' in modules[package].read_text()


def exists(span: str) -> bool:
    """Whether a span of the page names something that there is."""
    if span in OTHERS:
        return True
    if _PATH.fullmatch(span):
        return (ROOT / span).exists()
    if _DOTTED.fullmatch(span) and span.split(".", maxsplit=1)[0] in PACKAGES:
        return public(span)
    return span in known()


def is_a_name(span: str) -> bool:
    """A command, a piece of YAML or of Python is none."""
    return any(kind.fullmatch(span) for kind in (_PATH, _DOTTED, _NAME))


NAMES = sorted({span for span in spans() if is_a_name(span)})


def test_every_name_exists() -> None:
    assert len(NAMES) > 100
    assert [name for name in NAMES if not exists(name)] == []


@pytest.mark.parametrize(
    "name", ["actors/configs.py", "Session.sample", "orchestrator.results", "GatedEngine", "engine.maximum"]
)
def test_a_name_that_is_gone_is_seen(name: str) -> None:
    assert is_a_name(name)
    assert not exists(name)


def test_every_function_is_in_its_file() -> None:
    """A row of a table that names a function and its file: the one is defined in the other."""
    rows = re.findall(r"^\| `([\w.]+)` \| `([\w./]+\.py)` \|", PAGE, flags=re.MULTILINE)
    assert len(rows) > 40
    assert [(name, file) for name, file in rows if name not in defined()[ROOT / file]] == []


@pytest.mark.parametrize("package", FLOORS)
def test_the_floors_are_those_of_the_house(package: str) -> None:
    section = PAGE.split(f"\n### `{package}/`\n")[1].split("\n#")[0]
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", section, flags=re.MULTILINE)
    drawn = {int(floor): set(re.findall(r"`(\w+)`", parts)) for floor, parts in rows}
    assert drawn == {number: set(parts) for number, parts in enumerate(FLOORS[package], start=1)}
    assert list(drawn) == sorted(drawn, reverse=True)
