"""What `ray job submit --working-dir .` uploads: the code, the shipped weights, and nothing else."""

from __future__ import annotations

import logging
import zipfile
from pathlib import Path

import pytest
from ray._private.runtime_env.packaging import create_package

from tests.job_cluster import REPOSITORY, copied_code

MAX_BYTES = 24 * 2**20  # the shipped weights may be 20 MiB; Ray refuses 500 MiB
TOP = {
    "run.py", "actors", "conf", "orchestrator", "strategies", "Makefile", "pyproject.toml", "constraints.txt",
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", ".gitignore", ".rayignore",
}  # fmt: skip
LITTER = (
    ".git/objects/pack", ".venv/lib/torch.so", "venv/lib/torch.so", "outputs/run/results.jsonl",
    "multirun/run/results.jsonl", "wandb/run/log", "docs/page.md", "tests/test_x.py", "shared/data.jsonl",
    "actors/__pycache__/pool.pyc", ".mypy_cache/x", ".ruff_cache/x", ".pytest_cache/x", ".hypothesis/x",
    "build/lib/x", "dist/x.whl", "murmuration.egg-info/PKG-INFO", ".env", ".env.local", "conf/.netrc",
    "key.pem", "actors/embedded/outputs/state",
)  # fmt: skip


def packaged(folder: Path, archive: Path) -> list[str]:
    """The names of what Ray itself would send."""
    create_package(str(folder), archive, include_gitignore=True, logger=logging.getLogger("quiet"))
    with zipfile.ZipFile(archive) as package:
        return package.namelist()


@pytest.fixture(scope="module")
def upload(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Of a copy of the repository in which everything lies about that may lie there."""
    folder = tmp_path_factory.mktemp("upload")
    code, archive = copied_code(folder / "code"), folder / "upload.zip"
    for name in LITTER:
        (code / name).parent.mkdir(parents=True, exist_ok=True)
        (code / name).write_text("x")
    return packaged(code, archive), archive


def test_the_upload_is_small(upload: tuple[list[str], Path]) -> None:
    _names, archive = upload
    assert archive.stat().st_size <= MAX_BYTES


def test_the_upload_has_what_a_job_needs(upload: tuple[list[str], Path]) -> None:
    names, _archive = upload
    for package in ("orchestrator", "actors", "strategies", "conf"):
        here = {
            str(f.relative_to(REPOSITORY))
            for f in (REPOSITORY / package).rglob("*")
            if f.is_file() and "__pycache__" not in f.parts
        }
        assert here <= set(names), package
    assert "actors/embedded/weights/chain-policy/model.safetensors" in names


def test_the_upload_has_nothing_else(upload: tuple[list[str], Path]) -> None:
    names, _archive = upload
    assert {name.split("/")[0] for name in names} <= TOP
    assert set(LITTER).isdisjoint(names)
    assert [n for n in names if "__pycache__" in n] == []
