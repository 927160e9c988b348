"""Which tokens end a text: wherever a checkpoint says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from actors.text.endings import ends_of_text
from actors.transformers_engine.config import TransformersEngineConfig
from actors.transformers_engine.loading import load
from tests.actors.small_models import byte_level_tokenizer, save_policy

CHATML = (
    "{% for m in messages %}{{ '<|turn|>' + m['role'] + '\\n' + m['content'] + '<|over|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|turn|>assistant\\n' }}{% endif %}"
)


@pytest.fixture
def tokenizer() -> Any:
    """Its own end of text is 2; a turn ends with 320, ``<|over|>``."""
    made = byte_level_tokenizer()
    made.add_special_tokens({"additional_special_tokens": ["<|over|>", "<|turn|>"]})
    return made


OVER = 320


@pytest.mark.parametrize(
    ("files", "ends"),
    [
        ({}, {2}),
        ({"generation_config.json": {"eos_token_id": [2, 7, 9]}}, {2, 7, 9}),
        ({"generation_config.json": {"eos_token_id": 7}}, {2, 7}),
        ({"config.json": {"eos_token_id": 7}}, {2, 7}),
        ({"config.json": {"eos_token_id": [7, 9]}, "generation_config.json": {}}, {2, 7, 9}),
        ({"config.json": {"eos_token_id": 9}, "generation_config.json": {"eos_token_id": [7]}}, {2, 7, 9}),
        ({"config.json": {"text_config": {"eos_token_id": [7]}}}, {2, 7}),
        ({"config.json": {"eos_token_id": None}}, {2}),
        ({"config.json": {"eos_token_id": [True, "7", -1, 1.0, [9]]}}, {2}),
        ({"config.json": []}, {2}),
    ],
)
def test_every_file_is_read(tokenizer: Any, tmp_path: Path, files: dict[str, Any], ends: set[int]) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    assert ends_of_text(tokenizer, str(tmp_path)) == ends


def test_a_damaged_file_says_nothing(tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text("{")
    assert ends_of_text(tokenizer, str(tmp_path)) == {2}


@pytest.mark.parametrize(
    ("template", "ends"),
    [
        (CHATML, {2, OVER}),
        ("{% for m in messages %}{{ m['content'] + ' ' + '<|over|>' }}{% endfor %}", {2, OVER}),
        ("{% for m in messages %}{{ m['content'] + '\\n' }}{% endfor %}", {2}),
        ("{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}", {2}),
        ("{% for m in messages %}{{ m['role'] + '<|over|>' }}{% endfor %}", {2}),
        # A template that takes no such chat says nothing.
        ("{{ raise_exception('one message only') }}", {2}),
        ("{{ messages[0].nothing.at_all }}", {2}),
        ("{{ 1 / 0 }}", {2}),
        (
            "{% if thinks %}{% for m in messages %}{{ m['content'] + '<|over|>' }}{% endfor %}{% endif %}",
            {2, OVER},
        ),
    ],
)
def test_the_chat_template_says_what_ends_a_turn(tokenizer: Any, template: str, ends: set[int]) -> None:
    tokenizer.chat_template = template
    assert ends_of_text(tokenizer, chat_options={"thinks": True}) == ends


def test_a_model_that_is_loaded_knows_them_all(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.chat_template = CHATML
    save_policy(tmp_path, tokenizer)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 7]}))
    loaded = load(TransformersEngineConfig(model=str(tmp_path)))
    assert loaded.eos_ids == {2, 7, OVER}


def test_a_hub_that_is_out_of_reach_is_asked_once(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time takes it half a minute of trying; what the cache has needs no hub."""
    asked: list[tuple[str, bool]] = []

    def cached_file(_model: str, name: str, *, local_files_only: bool, **_how: Any) -> str:
        asked.append((name, local_files_only))
        raise OSError("not here") from FileNotFoundError("out of reach")

    monkeypatch.setattr("transformers.utils.hub.cached_file", cached_file)
    assert ends_of_text(tokenizer, "some/model") == ends_of_text(tokenizer)
    first, second = "generation_config.json", "config.json"
    assert asked == [(first, True), (first, False), (second, True)]
