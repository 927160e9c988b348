"""The package: built, installed outside of the checkout, and used there, from the shell and from Python.

Its dependencies are those of the tests: a path file adds their folder to the new environment.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import venv
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.job_cluster import copied_code
from tests.test_house import PACKAGES, ROOT
from tests.test_library_page import blocks

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # they start Ray, and mypy without a cache

TASK = "defaults: [chain, _self_]\nlimit: 2\nsplit: dev\n"
SMALL = ("budget=2", "strategy=greedy", "verifier=none", "cluster=inprocess")


@dataclass(frozen=True)
class Installed:
    """An environment with the package, its folder of packages, and an empty folder to work in."""

    bin: Path
    site: Path
    work: Path

    def run(self, *command: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment; nothing of the checkout is on its path."""
        kept = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        return subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=self.work, env=kept, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    def python(self, code: str) -> str:
        done = self.run("python", "-c", code)
        assert done.returncode == 0, done.stderr
        return done.stdout


def pip(*arguments: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def environment(folder: Path, what: Sequence[str]) -> Installed:
    """A new environment in which pip has installed ``what``."""
    venv.create(folder / "env", with_pip=False, symlinks=True)
    places = subprocess.run(
        [folder / "env" / "bin" / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    site = Path(places.stdout.strip())
    (site / "of_the_tests.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip("--python", str(folder / "env" / "bin" / "python"), "install", "--no-deps", "--no-index",
        "--no-build-isolation", *what)  # fmt: skip
    (folder / "work").mkdir()
    return Installed(folder / "env" / "bin", site, folder / "work")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    code = copied_code(folder / "code")
    for name in ("build", "murmuration.egg-info"):  # of an earlier build: what is gone would be installed
        shutil.rmtree(code / name, ignore_errors=True)
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder), str(code))
    (made,) = folder.glob("*.whl")
    shutil.rmtree(code)
    return made


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return environment(tmp_path_factory.mktemp("installed"), [str(wheel)])


def test_it_has_three_packages_and_everything_in_them(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as package:
        names = set(package.namelist())
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    wanted = {f"{package}/py.typed" for package in PACKAGES}
    wanted |= {f"orchestrator/conf/{f.relative_to(ROOT / 'conf')}" for f in (ROOT / "conf").rglob("*.yaml")}
    for package in PACKAGES:
        files = [f for f in (ROOT / package).rglob("*") if f.is_file() and "__pycache__" not in f.parts]
        files = [f for f in files if f.name != "ruff.toml"]
        wanted |= {str(f.relative_to(ROOT)) for f in files}
    assert wanted - names == set()
    assert not [name for name in names if name.endswith((".pyc", ".pem"))]


def test_it_is_the_installed_one_that_is_imported(installed: Installed) -> None:
    code = "import orchestrator.config.files as f; print(f.CONF, f.CONF.is_dir())"
    place, is_there = installed.python(code).split()
    assert (Path(place).parts[-3:], is_there) == (("site-packages", "orchestrator", "conf"), "True")
    for name in ("conf", "run"):
        assert installed.python(f"import importlib.util as u; print(u.find_spec({name!r}))").strip() == "None"


def test_the_command_solves_the_default_problems(installed: Installed) -> None:
    done = installed.run("murmuration", "task.limit=5", "run_dir=first")
    assert done.returncode == 0, done.stderr
    assert "particle_filter on chain" in done.stdout
    summary = json.loads((installed.work / "first" / "summary.json").read_text())
    assert (summary["num_problems"], summary["complete"]) == (5, True)
    assert summary["versions"]["murmuration"] == "0.1.0"


def test_the_command_names_itself(installed: Installed) -> None:
    assert "murmuration --help" in installed.run("murmuration", "-x").stderr
    wrong = installed.run("murmuration", "budgte=3")
    assert (wrong.returncode, "did you mean 'budget'" in wrong.stderr) == (2, True)
    assert installed.run("murmuration", "--help").returncode == 0


def test_the_tools_run_as_modules(installed: Installed) -> None:
    assert installed.run("murmuration", *SMALL, "task.limit=2", "run_dir=shown").returncode == 0
    done = installed.run("python", "-m", "orchestrator.report", "shown")
    assert done.returncode == 0, done.stderr
    assert (installed.work / "shown" / "report.html").exists()


def test_a_folder_of_the_user_extends_the_groups(installed: Installed) -> None:
    folder = installed.work / "my_conf" / "task"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(TASK)
    done = installed.run("murmuration", "--config-dir", "my_conf", "task=mine", *SMALL, "run_dir=mine")
    assert done.returncode == 0, done.stderr
    assert json.loads((installed.work / "mine" / "summary.json").read_text())["task"] == "mine"
    again = installed.run("murmuration", "resume=mine")
    assert again.returncode == 0, again.stderr


def test_a_package_of_the_user_extends_the_groups(installed: Installed) -> None:
    package = installed.site / "my_package"
    (package / "conf" / "strategy").mkdir(parents=True)
    for place in (package, package / "conf"):
        (place / "__init__.py").write_text("")
    (package / "methods.py").write_text(
        "from dataclasses import dataclass\nfrom strategies import Greedy\n\n"
        "@dataclass(frozen=True)\nclass Mine(Greedy):\n    pass\n"
    )
    (package / "conf" / "strategy" / "mine.yaml").write_text(
        "_target_: my_package.methods.Mine\nmax_tokens: ${task.max_tokens}\n"
    )
    small = [each for each in SMALL if not each.startswith("strategy=")]
    command = ("murmuration", "hydra.searchpath=[pkg://my_package.conf]", "strategy=mine")
    done = installed.run(*command, *small, "task.limit=2", "run_dir=own")
    assert done.returncode == 0, done.stderr
    config = json.loads((installed.work / "own" / "config.json").read_text())
    assert config["strategy"]["_target_"] == "my_package.methods.Mine"


def test_the_python_of_the_readme_runs(installed: Installed) -> None:
    for code, shown in blocks("README.md"):
        assert installed.python(code) == shown


@pytest.mark.parametrize("page", ["README.md", "docs/library.md"])
def test_the_examples_have_complete_types(installed: Installed, page: str) -> None:
    """``mypy --strict`` reads them against the installed package: that is what ``py.typed`` is for."""
    example = installed.work / f"{Path(page).stem.lower()}.py"
    cells = textwrap.indent("\n".join(code for code, _ in blocks(page)), "    ")
    example.write_text(f"async def page() -> None:\n{cells}")  # a notebook's cells may await, a file may not
    command = [
        sys.executable, "-m", "mypy", "--strict",
        "--python-executable", str(installed.bin / "python"), "--cache-dir", str(installed.work / ".mypy"),
        example.name,
    ]  # fmt: skip
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MYPYPATH")}
    done = subprocess.run(
        command, cwd=installed.work, env=kept, capture_output=True, text=True, timeout=550, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_editable_install_is_the_checkout(tmp_path: Path) -> None:
    """As ``make install`` makes it: conf/ is read where it lies."""
    code = copied_code(tmp_path / "code")
    editable = environment(tmp_path, ["-e", str(code)])
    place = editable.python("import orchestrator.config.files as f; print(f.CONF)").strip()
    assert place == str(code / "conf")
    done = editable.run("murmuration", *SMALL, "task.limit=2", "run_dir=here")
    assert done.returncode == 0, done.stderr
