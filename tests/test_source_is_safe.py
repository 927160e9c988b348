"""What the source must not do: read pickles from disk, run a checkpoint's code unasked, listen to all."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
import yaml

from tests.test_house import ROOT, module_name, source_files, tree_of

# These read pickles, or run what they read.
PICKLE_READERS = {
    "pickle.load", "pickle.Unpickler", "cloudpickle.load", "dill.load", "dill.loads", "joblib.load",
    "shelve.open", "pandas.read_pickle", "marshal.load", "marshal.loads", "yaml.load",
    "yaml.unsafe_load", "yaml.full_load",
    "torch.jit.load", "torch.package.PackageImporter", "numpy.fromregex",
}  # fmt: skip
# These do so unless they are told not to.
TOLD_NOT_TO = {"torch.load": ("weights_only", True), "np.load": ("allow_pickle", False)}
TOLD_NOT_TO["numpy.load"] = TOLD_NOT_TO["np.load"]
# Ours to ours, between a controller and its replicas, over Ray: no file, and behind Ray's token. The check of
# a strategy reads what it has pickled itself.
IN_MEMORY = {
    "pickle.loads": {
        "actors.pool.ray_host", "actors.pool.replica_process", "orchestrator.testing.strategies",
    },
}  # fmt: skip


def name_of(node: ast.expr) -> str:
    """``a.b.c`` for a dotted name."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield name_of(node.func), node


def dangers(tree: ast.AST, module: str) -> Iterator[str]:
    """Every call that reads a pickle from a file, or one that nobody vouches for."""
    for name, call in calls(tree):
        if name in PICKLE_READERS or name.endswith((".unsafe_load", ".read_pickle")):
            yield name
        if name in IN_MEMORY and module not in IN_MEMORY[name]:
            yield name
        if name in TOLD_NOT_TO:
            keyword, safe = TOLD_NOT_TO[name]
            given = {k.arg: k.value for k in call.keywords}
            value = given.get(keyword)
            default_is_safe = name != "torch.load"
            said = value.value if isinstance(value, ast.Constant) else None
            if (value is None and not default_is_safe) or (value is not None and said is not safe):
                yield f"{name} without {keyword}={safe}"


def test_no_pickle_is_read_from_disk() -> None:
    found = {
        module: calls
        for path in source_files()
        if (calls := list(dangers(tree_of(path), module := module_name(path))))
    }
    assert found == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle; pickle.load(open('x', 'rb'))",
        "import pickle; pickle.loads(x)",
        "import torch; torch.load('x')",
        "import torch; torch.load('x', weights_only=False)",
        "import numpy as np; np.load('x', allow_pickle=True)",
        "import joblib; joblib.load('x')",
        "import yaml; yaml.load(x)",
    ],
)
def test_the_scan_sees_what_it_is_for(code: str) -> None:
    assert list(dangers(ast.parse(code), "somewhere")) != []


def test_the_scan_knows_what_is_fine() -> None:
    code = (
        "torch.load('x', weights_only=True); np.load('x'); yaml.safe_load(x); pickle.dumps(x); json.load(f)"
    )
    assert list(dangers(ast.parse(code), "somewhere")) == []


def defaults_of(tree: ast.AST) -> Iterator[bool]:
    """Every default that a field or a parameter ``trust_remote_code`` has."""
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and name_of(node.target) == "trust_remote_code":
            yield isinstance(node.value, ast.Constant) and node.value.value is False
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args
            pairs = [*zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
            late = arguments.args[len(arguments.args) - len(arguments.defaults) :]
            pairs += zip(late, arguments.defaults, strict=True)
            for argument, default in pairs:
                if argument.arg == "trust_remote_code" and default is not None:
                    yield isinstance(default, ast.Constant) and default.value is False


def test_remote_code_is_off_unless_it_is_asked_for() -> None:
    found = [safe for path in source_files() for safe in defaults_of(tree_of(path))]
    assert len(found) >= 4 and all(found)
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert not re.search(r"trust_remote_code:\s*(?!false\b)\S", path.read_text()), path


def test_conf_holds_no_python_objects() -> None:
    """Every file of conf/ is plain YAML: the safe loader takes it."""
    for path in (ROOT / "conf").rglob("*.yaml"):
        yaml.safe_load(path.read_text())


def test_no_address_is_that_of_every_interface() -> None:
    for path in source_files():
        strings = {
            node.value
            for node in ast.walk(tree_of(path))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        assert not strings & {"0.0.0.0", "::", "[::]"}, path
