"""The documentation as a site: every page is in the navigation, every link and every public name is found."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_house import ROOT


@pytest.mark.slow
def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    reference = (tmp_path / "site" / "reference" / "index.html").read_text(encoding="utf-8")
    for name in ("solve_sync", "ParticleFilter", "VllmEngineConfig"):
        assert f'.{name}"' in reference, name
    home = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "strategies/all.svg" in home and 'href="docs/' not in home
