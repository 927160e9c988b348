"""Names that file systems take, and folders that no two processes have."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.compose import folders_claimed, only_composed
from orchestrator.errors import ConfigError
from orchestrator.storage.folders import FreeFolders, safe_names

HARD = [
    "x" * 300,
    "я" * 100,
    "engine.model=Qwen/Qwen2.5",
    "a\nb",
    "a\\b",
    "task.path=C:x",
    "..",
    ".hidden",
    "ends.",
    "nul",
    "COM1.txt",
    "a\0b",
    "\ud800",
]


@pytest.mark.parametrize("name", HARD)
def test_a_hard_name_can_be_made(name: str, tmp_path: Path) -> None:
    (safe,) = safe_names([name])
    (tmp_path / safe).mkdir()
    assert safe != name and [f.name for f in tmp_path.iterdir()] == [safe]
    assert len(safe.encode()) <= 140 and not set(safe) & set('/\\:*?"<>|\n\0')


@pytest.mark.parametrize("name", ["seed=0,strategy=greedy", "strategy.block_lengths=[8,16]", "a b='c'", "é"])
def test_an_easy_name_stays(name: str) -> None:
    assert safe_names([name]) == [name]


@given(st.lists(st.text(max_size=20) | st.sampled_from(["a", "A", *HARD]), unique=True))
def test_different_names_are_different_in_any_case(names: list[str]) -> None:
    assert len({safe.casefold() for safe in safe_names(names)}) == len(names)


def test_names_of_before_stay() -> None:
    assert safe_names(["x/y", "A", "a"], {"x/y", "a"})[::2] == ["x/y", "a"]


def test_a_taken_name_gets_a_number_and_an_unused_folder_goes(tmp_path: Path) -> None:
    wanted = str(tmp_path / "new" / "time")
    first, second = FreeFolders(), FreeFolders()
    assert [first.claim(wanted), second.claim(wanted)] == [wanted, f"{wanted}_2"]
    assert first.claim(str(tmp_path / "new" / "later")) == wanted, "one for a process"
    Path(wanted, "results.jsonl").touch()
    first.release()
    second.release()
    assert [f.name for f in Path(wanted).parent.iterdir()] == ["time"]


def test_where_nothing_can_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"^run_dir=.*file/x: cannot be made"):
        FreeFolders().claim(str(tmp_path / "file" / "x"))


@pytest.mark.heavy
def test_processes_of_one_moment_have_folders_of_their_own(tmp_path: Path) -> None:
    claim = f"print(FreeFolders().claim({str(tmp_path / 'x')!r}))"
    code = f"from orchestrator.storage.folders import FreeFolders; {claim}"
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(4)]
    assert len({process.communicate()[0] for process in started}) == 4


def test_the_default_run_directory_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with folders_claimed():
        names = {only_composed([], lambda config: str(config.run_dir)) for _ in range(2)}
        (name,) = names
        assert Path(name).is_dir()
    assert not Path(name).exists()
