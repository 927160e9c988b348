"""The private names that are used here exist in the versions that are installed, and all of them are listed.

Read from the libraries' sources and not imported: vLLM alone would take half a minute.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

import pytest

from actors.private_names import PRIVATE_NAMES

# From the wheel of ``vllm``, unpacked: {"version": ..., "files": digests(...)}.
RECORD = Path(__file__).with_name("vllm_wheel.json")
ACTORS = Path(__file__).parents[2] / "actors"
# Its modules say themselves that they promise nothing.
PRIVATE_PACKAGES = ("vllm.v1.", "ray.core.generated.")


def source_of(name: str) -> tuple[Path, list[str]]:
    """The file that a name is in, and what is left of the name there."""
    library, *parts = name.split(".")
    spec = find_spec(library)
    if spec is None or spec.submodule_search_locations is None:
        pytest.skip(f"{library} is not installed")
    folder = Path(spec.submodule_search_locations[0])
    while parts and (folder / parts[0]).is_dir():
        folder /= parts.pop(0)
    if parts and (file := folder / f"{parts[0]}.py").is_file():
        return file, parts[1:]
    return folder / "__init__.py", parts


@cache
def tree_of(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def names_in(body: list[ast.stmt]) -> Iterator[tuple[str, ast.AST]]:
    """What a module or a class defines, also under a condition."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id, node
        elif isinstance(node, ast.Assign):
            yield from ((target.id, node) for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.If | ast.Try):
            yield from names_in(node.body)
            yield from names_in(node.orelse)


@pytest.mark.parametrize("name", PRIVATE_NAMES)
def test_a_private_name_exists(name: str) -> None:
    file, rest = source_of(name)
    found: ast.AST = tree_of(file)
    assert rest, f"{name} is a module"
    for part in rest:
        assert isinstance(found, ast.Module | ast.ClassDef)
        defined = dict(names_in(found.body))
        assert part in defined, f"{file} defines no {part}"
        found = defined[part]


def test_the_docs_list_the_names_of_vllm() -> None:
    page = (ACTORS.parent / "docs" / "models.md").read_text()
    section = page.split("### vLLM's names\n")[1].split("\n### ")[0]
    listed = [f"vllm.{name}" for name in re.findall(r"^\| `([\w.]+)` \|", section, flags=re.MULTILINE)]
    assert listed == [name for name in PRIVATE_NAMES if name.startswith("vllm.")]


def test_a_card_has_the_same_source() -> None:
    """The files of vLLM's names are those of the wheel ``vllm``, whichever of the two is installed."""
    recorded = json.loads(RECORD.read_text())
    project = tomllib.loads((ACTORS.parent / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"]["vllm"] == [f"vllm=={recorded['version']}"]
    files = {source_of(name)[0] for name in PRIVATE_NAMES if name.startswith("vllm.")}
    assert recorded["files"] == digests({str(file).rpartition("/vllm/")[2]: file for file in files})


def digests(files: Mapping[str, Path]) -> dict[str, str]:
    """The beginning of each file's SHA-256, as ``vllm_wheel.json`` records it."""
    return {name: sha256(files[name].read_bytes()).hexdigest()[:16] for name in sorted(files)}


def private_imports() -> Iterator[tuple[str, str]]:
    """The imports below ``actors`` from private modules: the file's module, and the name."""
    for file in sorted(ACTORS.rglob("*.py")):
        if re.search(r"from \S*(\._|vllm\.v1|core\.generated)", file.read_text()) is None:
            continue  # parsing takes its time
        for node in ast.walk(tree_of(file)):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                is_private = any(part.startswith("_") for part in name.split(".") if part != "__future__")
                if is_private or name.startswith(PRIVATE_PACKAGES):
                    yield file.stem, name


def test_private_imports_are_listed() -> None:
    """By the last part of a name: a package may pass on what one of its modules defines."""
    listed = {name.rpartition(".")[2] for name in PRIVATE_NAMES}
    modules = {part for name in PRIVATE_NAMES for part in name.split(".")[:-1]} | {"gcs_service_pb2"}
    found = set(private_imports())
    assert found, "none is seen"
    assert {(file, name) for file, name in found if name.rpartition(".")[2] not in listed | modules} == set()
