"""What is public: the names in ``__all__`` of the three packages, each imported when it is first used."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys

import pytest

from tests.test_house import PACKAGES, ROOT

LIBRARY = {
    "Candidate",
    "EngineBase",
    "LastStep",
    "Limits",
    "Models",
    "Problem",
    "ProblemResult",
    "Sampling",
    "TextEngine",
    "TextParams",
    "TextTask",
    "TextVerifier",
    "VerifierBase",
    "solve",
    "solve_many",
    "solve_sync",
    "start",
}


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_else_is_public(package: str) -> None:
    """``dir`` and ``from package import *`` show the names of ``__all__`` alone, in order."""
    module = importlib.import_module(package)
    assert dir(module) == sorted(module.__all__)
    assert set(module._PLACES) == set(module.__all__)
    assert not hasattr(module, "nothing")


@pytest.mark.heavy
@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_is_there_and_says_what_it_is(package: str) -> None:
    module = importlib.import_module(package)
    values = {name: getattr(module, name) for name in module.__all__}
    assert [name for name, value in values.items() if not inspect.getdoc(value)] == []
    assert [n for n, v in values.items() if inspect.isclass(v) and v.__name__ != n] == []


def test_the_library_is_public() -> None:
    assert set(importlib.import_module("orchestrator").__all__) >= LIBRARY


@pytest.mark.heavy
def test_the_packages_load_nothing_by_themselves() -> None:
    """And the library neither Ray nor torch, nor Hydra, which takes as long as all the rest."""
    code = """
import sys
import actors, orchestrator, strategies
own = {name for name in sys.modules if name.split(".")[0] in ("actors", "orchestrator", "strategies")}
assert own == {"actors", "orchestrator", "strategies"}, own
from orchestrator import TextEngine, TextTask, TextVerifier, solve_sync
from strategies import BestOfN
heavy = {"ray", "torch", "transformers", "vllm", "hydra", "omegaconf", "wandb", "matplotlib"}
print(*heavy.intersection(sys.modules))
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert ran.stdout.split() == []
