"""Ray's token is its owner's alone, whoever made it."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from actors.pool.ray_token import keep_token_private


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_token_is_made_private_and_once(home: Path) -> None:
    keep_token_private()
    token = home / ".ray" / "auth_token"
    text = token.read_text()
    assert (mode(token), mode(token.parent)) == (0o600, 0o700) and len(bytes.fromhex(text)) == 32
    keep_token_private()
    assert token.read_text() == text and [p.name for p in token.parent.iterdir()] == ["auth_token"]


@pytest.mark.parametrize("is_given", [False, True])
def test_a_token_that_others_can_read_is_tightened_and_said(
    home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, is_given: bool
) -> None:
    token = home / ("own" if is_given else ".ray/auth_token")
    token.parent.mkdir(exist_ok=True)
    token.write_text("x")
    token.chmod(0o644)
    if is_given:
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    keep_token_private()
    assert mode(token) == 0o600 and token.read_text() == "x"
    assert "could be read by others" in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [("RAY_AUTH_MODE", "disabled"), ("RAY_AUTH_TOKEN", "t"), ("RAY_AUTH_TOKEN_PATH", "/no")],
)
def test_what_the_environment_says_wins(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    keep_token_private()
    assert not (home / ".ray").exists()


def test_a_home_that_cannot_be_written_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HOME", "/proc/nowhere")
    with caplog.at_level(logging.WARNING):
        keep_token_private()
    assert "others on this machine may be able to read it" in caplog.text
