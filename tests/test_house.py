"""The house: what stands where, and which way dependencies point (docs/architecture.md)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("orchestrator", "actors", "strategies")
ROOMS = {*PACKAGES, "conf", "docs", "tests"}
MAX_WEIGHT_BYTES = 22 * 2**20

# The floors of each package from the ground up (docs/architecture.md). A part may import what is in itself
# and what is below it; imports for types alone count.
FLOORS = {
    "orchestrator": (
        ("errors", "seeds", "intervals", "suggest", "dotted", "emit", "renamed", "spans"),
        ("schema", "streams", "bounded", "stated"),
        ("types", "terminal", "steps", "prompts"),
        ("protocols", "tasks", "drawing"),
        ("outcome", "splitting"),
        ("storage",),
        ("observe", "allocation"),
        ("backend", "search"),
        ("config", "verifiers", "stored", "testing", "text", "recording", "described", "samples"),
        ("api", "starting", "cassettes"),
        ("runs", "replay", "report", "exchange", "saturation", "calibrate"),
        ("planning", "serving", "architectures"),
    ),
    "actors": (
        ("environment", "messages", "private_names", "settings", "stages"),
        ("checkpoints", "batching"),
        ("text",),
        ("pool", "verifiers", "diffusion_engine", "openai_engine"),
        ("vllm_engine", "transformers_engine", "http_verifier"),
        ("embedded",),
        ("serve",),
    ),
    "strategies": (("parts",), ("components",)),
}
# What a plug-in may know of the orchestrator. The first entry that fits a module counts.
_KERNEL = (
    "errors",
    "seeds",
    "schema",
    "suggest",
    "steps",
    "types",
    "protocols",
    "splitting",
    "emit",
    "spans",
)
MAY_KNOW = {
    "actors.embedded": (*_KERNEL, "intervals", "tasks"),
    "actors.pool": (*_KERNEL, "backend", "observe.tracking", "storage.totals"),
    "actors.serve": ("errors", "serving"),
    "actors": (*_KERNEL, "backend", "prompts.fields"),
    "strategies": ("errors", "schema", "suggest", "types", "prompts", "protocols", "search", "allocation"),
}
# Nothing else from outside the standard library, for whole packages.
THIRD_PARTY = {"strategies": {"annotated_types", "numpy"}}
RAY_HOLDERS = {"actors.serve"} | {
    f"actors.pool.{name}"
    for name in ("cluster", "metrics", "ray_address", "ray_folder", "ray_host", "replica_process")
}


def source_files() -> list[Path]:
    """Every Python file of the project outside tests/."""
    return [ROOT / "run.py", *(f for p in PACKAGES for f in sorted((ROOT / p).rglob("*.py")))]


def module_name(path: Path) -> str:
    """``orchestrator/tasks/__init__.py`` is ``orchestrator.tasks``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that a tree imports, inside functions and for types alone too.

    ``from a import b`` gives ``a.b``, whether that is a module or a name in one.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, (ast.stmt, ast.excepthandler, ast.match_case)):  # no expression imports
            yield from imported(node)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports_of(path: Path) -> frozenset[str]:
    return frozenset(imported(tree_of(path)))


def is_inside(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def is_ours(name: str) -> bool:
    return any(is_inside(name, package) for package in (*PACKAGES, "run", "tests"))


def room(name: str) -> str:
    """The part of a package that a module or a name in it belongs to; empty for the package itself."""
    return [*name.split("."), ""][1]


def below(package: str, part: str) -> set[str]:
    """The parts that a part may import: those on lower floors, and itself. The package itself knows all."""
    floors = FLOORS[package]
    everything = {name for floor in floors for name in floor}
    # Methods are one file each, and know what they share.
    if part == "" or (package == "strategies" and part not in everything):
        return everything
    level = next(i for i, floor in enumerate(floors) if part in floor)
    return {part, *(name for floor in floors[:level] for name in floor)}


def may_import(module: str, name: str) -> bool:
    """Whether a module may import a name of ours."""
    package, other = module.split(".", maxsplit=1)[0], name.split(".", maxsplit=1)[0]
    if module.endswith(".__main__"):  # a command: no module imports it, so it is above all floors
        return other == package
    if package == "run":
        return is_inside(name, "orchestrator.runs")
    if module == "strategies":
        return other == "strategies"  # it lists the methods
    if other == package:
        return room(name) in below(package, room(module))
    known = next((parts for part, parts in MAY_KNOW.items() if is_inside(module, part)), ())
    return other == "orchestrator" and any(is_inside(name, f"orchestrator.{part}") for part in known)


def forbidden(module: str, imports: frozenset[str]) -> set[str]:
    """The imports of ours that point the wrong way."""
    return {name for name in imports if is_ours(name) and not may_import(module, name)}


def test_dependencies_point_one_way() -> None:
    modules = {module_name(path): imports_of(path) for path in source_files()}
    wrong = {module: names for module, imports in modules.items() if (names := forbidden(module, imports))}
    assert wrong == {}


def test_no_module_imports_a_command() -> None:
    """A ``__main__`` may know all of its package, because nothing depends on it."""
    commands = {module_name(path) for path in source_files() if path.name == "__main__.py"}
    importers = {f: imports_of(f) & commands for f in source_files()}
    assert {str(f) for f, names in importers.items() if names} == set()


def test_no_circle_of_files() -> None:
    """Within the orchestrator, imports for types alone included; the package itself lists names alone."""
    files = {module_name(f): imports_of(f) for f in sorted((ROOT / "orchestrator").rglob("*.py"))}
    graph = {name: files_of(imports, files) - {name, "orchestrator"} for name, imports in files.items()}
    assert sum(map(len, graph.values())) > 2 * len(files)  # most imports name a file, or what is in one
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError with the circle


def files_of(imports: Iterable[str], files: Mapping[str, object]) -> set[str]:
    """The files that a file imports, whether it names one or what is in one."""
    return {f for name in imports for f in (name, name.rpartition(".")[0]) if f in files}


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("strategies.x", "def f():\n    import actors.pool.pool", {"actors.pool.pool"}),
        ("strategies.x", "from orchestrator.search.session import Session", set()),
        (
            "orchestrator.types",
            "from orchestrator.search.session import Session",
            {"orchestrator.search.session.Session"},
        ),
        ("orchestrator.search.controller", "from strategies import greedy", {"strategies.greedy"}),
        (
            "orchestrator.protocols",
            "if TYPE_CHECKING:\n    from orchestrator.search.session import S",
            {"orchestrator.search.session.S"},
        ),
        ("actors.pool.pool", "import run", {"run"}),
    ],
)
def test_a_wrong_import_is_seen(module: str, source: str, wrong: set[str]) -> None:
    assert forbidden(module, frozenset(imported(ast.parse(source)))) == wrong


@pytest.mark.parametrize("package", THIRD_PARTY)
def test_third_party_imports(package: str) -> None:
    used = {
        name.partition(".")[0]
        for path in sorted((ROOT / package).rglob("*.py"))
        for name in imports_of(path)
        if not is_ours(name)
    }
    assert used - sys.stdlib_module_names <= THIRD_PARTY[package]


def test_ray_is_held_by_few() -> None:
    holders = {module_name(f) for f in source_files() if any(is_inside(i, "ray") for i in imports_of(f))}
    assert holders <= RAY_HOLDERS


@pytest.mark.heavy
def test_importing_strategies_loads_nothing_heavy() -> None:
    modules = [module_name(f) for f in sorted((ROOT / "strategies").rglob("*.py"))]
    heavy = "print(*{'hydra', 'ray', 'torch', 'transformers', 'wandb'}.intersection(sys.modules))"
    program = f"import sys, {', '.join(modules)}; {heavy}"
    ran = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.split() == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [str(f) for f in source_files() if not ast.get_docstring(tree_of(f))]
    assert silent == []


def tracked_files() -> list[Path]:
    """The files that git would commit, relative to the root; skips where this is no repository."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no git repository: what belongs to the tree is not known")
    return [Path(name) for name in ran.stdout.split("\0") if name and (ROOT / name).exists()]


@pytest.mark.heavy
def test_rooms() -> None:
    files = tracked_files()
    folders = {f.parts[0] for f in files if len(f.parts) > 1 and not f.parts[0].startswith(".")}
    assert folders <= ROOMS
    assert [str(f) for f in files if len(f.parts) == 1 and f.suffix == ".py"] == ["run.py"]


@pytest.mark.heavy
def test_kinds_of_files() -> None:
    """Code where code belongs, YAML in conf/, weights and nothing else under a weights/ folder."""
    for path in tracked_files():
        room, suffix = path.parts[0], path.suffix
        # How the site is built, and what harnesses read.
        if suffix == ".py" and path.parent not in (Path("docs", "site"), Path("docs", "harness")):
            assert room in {*PACKAGES, "tests", "run.py"}, path
        if room == "conf":
            assert suffix == ".yaml", path
        if suffix == ".safetensors":
            assert "weights" in path.parts, path


@pytest.mark.heavy
def test_tests_mirror_the_source() -> None:
    """A folder of tests is named as the folder it tests; the others hold what is no one folder's."""
    folders = {
        f.relative_to("tests").parent for f in tracked_files() if f.parts[0] == "tests" and f.suffix == ".py"
    }
    others = ("bench", "gpu", "real", "simulation")
    strangers = {str(f) for f in folders if f.parts and f.parts[0] not in others and not (ROOT / f).is_dir()}
    assert strangers == set()


@pytest.mark.heavy
def test_shipped_weights_stay_small() -> None:
    assert (
        sum((ROOT / f).stat().st_size for f in tracked_files() if f.suffix == ".safetensors")
        <= MAX_WEIGHT_BYTES
    )


def requirements() -> list[Requirement]:
    """What `make install` asks pip for."""
    table = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [Requirement(r) for r in (*table["dependencies"], *table["optional-dependencies"]["dev"])]


def pins() -> dict[str, str]:
    pairs = (line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines())
    return {canonicalize_name(name): version for name, version in pairs}


def test_constraints_are_names_and_versions_alone() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line)] == []
    assert len(pins()) == len(lines)


def test_constraints_pin_every_requirement() -> None:
    pinned = pins()
    unmet = [str(r) for r in requirements() if not r.specifier.contains(pinned[canonicalize_name(r.name)])]
    assert unmet == []


def test_the_packages_that_are_installed_are_the_folders() -> None:
    """And conf/, which travels as ``orchestrator.conf``: nothing at the top level but the three packages."""
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {module_name(path.parent / "__init__.py") for path in source_files() if path.parent != ROOT}
    assert listed["packages"] == [*sorted(folders), "orchestrator.conf"]
    assert listed["package-dir"] == {"orchestrator.conf": "conf"}
    assert all((ROOT / package / "py.typed").exists() for package in PACKAGES)


def test_make_offers_what_is_promised() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    promised = "install run vllm test-quick test test-slow coverage check demo bench clean help"
    assert set(promised.split()) <= targets


def test_what_decides_where_compute_goes_is_pure() -> None:
    """It imports numpy, bounds of types, and values of ours: no file, no model, no clock."""
    for path in sorted((ROOT / "orchestrator" / "allocation").glob("*.py")):
        if path.name == "__main__.py":
            continue
        imports = imports_of(path)
        others = {name.split(".")[0] for name in imports if not is_ours(name)} - sys.stdlib_module_names
        assert others <= {"annotated_types", "numpy"}, path
        ours = {room(name) for name in imports if is_ours(name)}
        assert ours <= {"allocation", "errors", "intervals", "schema", "seeds"}, path


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest imports them by their names alone, and collects nothing where two are equal."""
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, number in names.items() if number > 1] == []
