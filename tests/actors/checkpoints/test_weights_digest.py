"""A model's digest changes with what loaders read, and with nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from actors.checkpoints import digest as weights_digest
from actors.checkpoints.digest import digest_of

SHIPPED = Path(weights_digest.__file__).parents[1] / "embedded" / "weights" / "chain-policy"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED, tmp_path / "model"))


@pytest.fixture(params=["whole", "samples"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "samples":
        monkeypatch.setattr(weights_digest, "WHOLE_BYTES", 0)
        monkeypatch.setattr(weights_digest, "_HEAD_BYTES", 4096)
    return str(request.param)


def test_a_copy_has_the_same_digest_and_a_model_card_does_not_matter(folder: Path, how: str) -> None:
    before = digest_of(str(folder))
    assert before == digest_of(str(SHIPPED)) == digest_of("embedded:chain-policy")
    assert before is not None
    assert before.startswith("sha256:")
    (folder / "README.md").write_text("a card")
    (folder / "checkpoint-5").mkdir()
    (folder / "checkpoint-5" / "model.safetensors").write_bytes(b"another model's")
    assert digest_of(str(folder)) == before


def test_other_weights_another_tokenizer_or_template_change_it(folder: Path, how: str) -> None:
    digests = {digest_of(str(folder))}
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-8] + bytes(8))  # the last numbers
    digests.add(digest_of(str(folder)))
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    digests.add(digest_of(str(folder)))
    (folder / "config.json").write_bytes((folder / "config.json").read_bytes().replace(b"{", b"{ ", 1))
    digests.add(digest_of(str(folder)))
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    digests.add(digest_of(str(folder)))
    assert len(digests) == 5


def test_links_and_shards_in_folders_are_read_through(folder: Path, tmp_path: Path) -> None:
    before = digest_of(str(folder))
    blob = tmp_path / "blob"
    os.replace(folder / "model.safetensors", blob)
    (folder / "model.safetensors").symlink_to(Path("..") / "blob")
    assert digest_of(str(folder)) == before
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "parts/1.safetensors"}}')
    (folder / "parts").mkdir()
    (folder / "parts" / "1.safetensors").write_bytes(b"1")
    with_one = digest_of(str(folder))
    (folder / "parts" / "1.safetensors").write_bytes(b"2")
    assert digest_of(str(folder)) not in {with_one, before}


def test_a_repository_is_known_by_its_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    commit, repo = "0123456789" * 4, tmp_path / "models--someone--model"
    assert digest_of("someone/model") is None
    (repo / "snapshots" / commit).mkdir(parents=True)
    (repo / "snapshots" / commit / "config.json").write_text("{}")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    assert digest_of("someone/model") == f"commit:{commit}"
    assert digest_of("someone/model", "other") is None
    assert digest_of("someone/model", "f" * 40) == f"commit:{'f' * 40}"
    assert digest_of("/no/such/folder") is None
    assert digest_of("") is None
