"""A run directory is the user's own while its two files are as they were signed."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest

from orchestrator.storage.run_files import COMMAND, CONFIG
from orchestrator.storage.signing import SIGNATURE, is_own, key_path, sign, signed_bytes

FILES = {COMMAND: b'{"overrides": []}', CONFIG: b"{}"}


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    sign(folder, FILES)
    for name, data in FILES.items():
        (folder / name).write_bytes(data)
    return folder


def owns(folder: Path) -> bool:
    return is_own(folder, signed_bytes(folder))


def test_the_key_is_its_owners_alone(run_dir: Path) -> None:
    assert owns(run_dir)
    assert stat.S_IMODE(key_path().stat().st_mode) == 0o600
    assert stat.S_IMODE(key_path().parent.stat().st_mode) == 0o700
    assert [path.name for path in key_path().parent.iterdir()] == ["signing_key"]


def test_a_directory_may_move(run_dir: Path, tmp_path: Path) -> None:
    assert owns(Path(shutil.copytree(run_dir, tmp_path / "copy")))
    assert owns(run_dir.rename(tmp_path / "moved"))


@pytest.mark.parametrize("name", FILES)
def test_any_change_of_either_file_is_seen(run_dir: Path, name: str) -> None:
    (run_dir / name).write_bytes(FILES[name] + b"\n")
    assert not owns(run_dir)


def test_a_run_that_was_killed_between_its_files_is_own(run_dir: Path) -> None:
    (run_dir / CONFIG).unlink()
    assert owns(run_dir)
    (run_dir / COMMAND).unlink()
    assert not owns(run_dir)


def test_files_of_two_directories_are_not_one(run_dir: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(run_dir, tmp_path / "other"))
    (other / COMMAND).write_bytes(b'{"overrides": ["seed=1"]}')
    sign(other, signed_bytes(other))
    assert owns(other)
    shutil.copy(run_dir / COMMAND, other / COMMAND)
    assert not owns(other)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"hmac_sha256": 3}', '{"hmac_sha256": [null, "\\ud800", ""]}']
)
def test_any_other_signature_is_none(run_dir: Path, text: str) -> None:
    (run_dir / SIGNATURE).write_text(text)
    assert not owns(run_dir)


def test_another_users_key_signs_nothing_of_mine(run_dir: Path) -> None:
    key_path().write_bytes(os.urandom(32))
    assert not owns(run_dir)


@pytest.mark.parametrize("harm", ["readable", "folder", "short", "link"])
def test_a_key_that_others_may_know_is_not_used(
    run_dir: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if harm == "readable":
        key_path().chmod(0o640)
    elif harm == "folder":
        key_path().parent.chmod(0o777)
    elif harm == "short":
        key_path().write_bytes(b"")
    else:
        target = key_path().rename(key_path().with_name("elsewhere"))
        key_path().symlink_to(target)
    assert not owns(run_dir)
    sign(run_dir, FILES)
    assert "is not signed: " in capsys.readouterr().err


def test_a_home_that_cannot_be_written_leaves_a_run_unsigned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    sign(tmp_path, FILES)
    assert not (tmp_path / SIGNATURE).exists()
    said = capsys.readouterr().err
    assert said.startswith("warning: ") and said.count("\n") == 1 and "trust=true" in said
