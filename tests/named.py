"""What a page of the documentation may name: what the source defines, and the keys of the configuration."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import yaml

from tests.test_house import ROOT, module_name, source_files, tree_of

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _members(tree: ast.AST) -> Iterator[str]:
    """What is defined directly in a module or a class."""
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
        inside = (f"{each.name}.{name}" for each in classes for name in _members(each))
        found[path] = frozenset((*_members(tree), *inside))
    return found


@cache
def everywhere() -> frozenset[str]:
    """Every name and ``Class.member`` of the source, and each member by itself."""
    names: frozenset[str] = frozenset().union(*defined().values())
    return names | {name.split(".")[-1] for name in names}


@cache
def _modules() -> Mapping[str, Path]:
    return {module_name(path): path for path in source_files()}


def is_public(name: str) -> bool:
    """Whether a dotted name is a module, or what a module defines or a package lists."""
    package, _, last = name.rpartition(".")
    if name in _modules():
        return True
    if package not in _modules():
        return False
    path = _modules()[package]
    return last in defined()[path] or f'"{last}"' in path.read_text(encoding="utf-8")


def _keys_below(node: object, prefix: str) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _keys_below(value, f"{prefix}{key}.")


_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same values, ten times as soon


@cache
def keys() -> frozenset[str]:
    """Every key of the configuration with its group in front, the groups, and the names of their files."""
    conf = ROOT / "conf"
    found = {path.stem for path in conf.rglob("*.yaml")} | {path.name for path in conf.iterdir()}
    for path in conf.rglob("*.yaml"):
        text = path.read_text(encoding="utf-8")
        node, prefix = yaml.load(text, _Loader), _prefix(path.relative_to(conf).parts[:-1], text)
        found |= {*_keys_below(node, prefix), *(f"{prefix}{place}" for place in _filled(node))}
    return frozenset(found)


def _filled(node: object) -> Iterator[str]:
    """Yield the keys that a file's list of defaults fills from another group: ``/prompts@critique: ...``."""
    listed = node.get("defaults", ()) if isinstance(node, dict) else ()
    for entry in listed:
        for group in entry if isinstance(entry, dict) else ():
            if "@" in group and not group.startswith("override"):
                yield group.partition("@")[2]


def _prefix(folder: Sequence[str], text: str) -> str:
    """Where Hydra puts the keys of a file: at its folder, unless its first line says otherwise."""
    stated = re.match(r"# @package (\w+)", text)
    places = [stated[1]] if stated else folder
    return "".join(f"{place}." for place in places if place != "_global_")
