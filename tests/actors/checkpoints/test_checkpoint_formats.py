"""Weights come from safetensors alone: a pickle can run anything when it is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from actors.checkpoints import resolve_model
from actors.diffusion_engine.config import DiffusionEngineConfig
from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
from actors.transformers_engine.loading import Purpose, load
from actors.vllm_engine.arguments import check_arguments
from actors.vllm_engine.config import VllmEngineConfig, VllmVerifierConfig
from orchestrator.errors import ConfigError

MARK = "ran.txt"


class Bomb:
    """A pickle of it writes a file when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return Path.write_text, (self.path, "x")  # type: ignore[return-value]


def pickled_checkpoint(folder: Path, name: str) -> Path:
    """The shipped policy, but for its weights: in their place lies a bomb."""
    shipped = Path(resolve_model("embedded:chain-policy"))
    shutil.copytree(shipped, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    torch.save({"weight": Bomb(folder.parent / MARK)}, folder / name)
    return folder


def test_the_bomb_goes_off(tmp_path: Path) -> None:
    """What the tests below are about: read carelessly, the file runs code."""
    folder = pickled_checkpoint(tmp_path / "model", "pytorch_model.bin")
    torch.load(folder / "pytorch_model.bin", weights_only=False)
    assert (tmp_path / MARK).exists()


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pth", "model.ckpt"])
@pytest.mark.parametrize(
    "config",
    [
        TransformersEngineConfig,
        VllmEngineConfig,
        DiffusionEngineConfig,
        TransformersVerifierConfig,
        VllmVerifierConfig,
    ],
)
def test_a_folder_without_safetensors_is_refused(config: type, name: str, tmp_path: Path) -> None:
    folder = pickled_checkpoint(tmp_path / "model", name)
    with pytest.raises(ConfigError, match=r"\.model=.*holds no .safetensors file \(other formats are not"):
        config(model=str(folder))
    assert not (tmp_path / MARK).exists()


def cached_on_the_hub(home: Path) -> str:
    """A repository in the hub's cache that holds pickled weights alone."""
    repository = home / "models--someone--pickled"
    pickled_checkpoint(repository / "snapshots" / "0123abc", "pytorch_model.bin")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0123abc")
    return "someone/pickled"


@pytest.mark.parametrize("auto_class", ["AutoModelForCausalLM", "AutoModelForTokenClassification"])
def test_pickles_of_the_hub_are_not_read(
    auto_class: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path))
    name = cached_on_the_hub(tmp_path)
    assert json.loads((tmp_path / "models--someone--pickled/snapshots/0123abc/config.json").read_text())
    with pytest.raises(ConfigError, match=r"^engine\.model=someone/pickled: cannot be loaded: .*safetensors"):
        load(TransformersEngineConfig(name), Purpose(auto_class))
    assert not list(tmp_path.rglob(MARK))


@pytest.mark.parametrize("value", ["auto", "pt", "npcache", "hf", "gguf", "bitsandbytes"])
def test_vllm_is_not_told_to_read_pickles(value: str) -> None:
    with pytest.raises(ConfigError, match=rf"^engine\.args\.load_format={value}: must be one of safe"):
        check_arguments("engine", {"load_format": value})
    for fine in ("safetensors", "dummy"):
        check_arguments("engine", {"load_format": fine})


def test_vllm_reads_safetensors_unless_told_otherwise() -> None:
    pytest.importorskip("vllm")
    from actors.vllm_engine.settings import engine_args

    chosen = engine_args(VllmEngineConfig("embedded:chain-policy"), {})
    assert chosen.load_format == "safetensors"
