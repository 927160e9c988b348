"""The quick level holds its tests to what it promises."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TESTS = """
import contextlib
import subprocess
import sys

import pytest

def test_quick(): pass

def test_a_process(): subprocess.run([sys.executable, "-V"])

def test_a_process_that_is_hidden():
    with contextlib.suppress(BaseException):
        subprocess.run([sys.executable, "-V"])

def test_torch():
    import torch

def test_seconds(monkeypatch):
    monkeypatch.setattr("tests.levels.MAX_CPU_SECONDS", 0.001)
    sum(range(10**6))

@pytest.mark.heavy
def test_marked(): subprocess.run([sys.executable, "-V"])
"""


@pytest.mark.heavy
def test_what_is_not_quick_fails_or_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_of_torch.py").write_text("import torch\ndef test_x(): assert False")
    options = ["-c", ROOT / "pyproject.toml", "--rootdir", ROOT, "-p", "tests.conftest", "--quick"]
    quiet = ["-qrfp", "--tb=no", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, *quiet, tmp_path]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    lines = [line.split() for line in ran.stdout.splitlines() if "::" in line]
    verdicts = {test.split("::")[-1]: verdict for verdict, test, *_ in lines}
    failing = ("test_a_process", "test_a_process_that_is_hidden", "test_torch", "test_seconds")
    assert verdicts == {"test_quick": "PASSED", **dict.fromkeys(failing, "FAILED")}, ran.stdout + ran.stderr


@pytest.mark.heavy
def test_fixtures_of_every_folder_import_nothing_heavy() -> None:
    """One that does ends the whole quick level, and no other level shows it."""
    folders = [file.parent.relative_to(ROOT) for file in sorted((ROOT / "tests").rglob("conftest.py"))]
    names = [".".join((*folder.parts, "conftest")) for folder in folders]
    code = "import importlib, sys; from tests.levels import QuickLevel; level = QuickLevel()"
    code += "; [importlib.import_module(name) for name in sys.argv[1:]]"
    command = [sys.executable, "-c", code, *names]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert len(names) > 1
    assert ran.returncode == 0, ran.stderr
