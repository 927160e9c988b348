"""What is wrong with a LoRA adapter is said before anything loads, in one line that names the key."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from actors.checkpoints import adapters
from actors.checkpoints.adapters import Adapter, check_adapter, find_adapter, misfit
from actors.diffusion_engine.config import DiffusionEngineConfig
from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
from actors.vllm_engine.config import VllmEngineConfig, VllmVerifierConfig
from orchestrator.errors import ConfigError

CONFIGS = [TransformersEngineConfig, VllmEngineConfig, TransformersVerifierConfig, VllmVerifierConfig]
POLICY = "embedded:chain-policy"
Q_PROJ = "base_model.model.model.layers.0.self_attn.q_proj"


def width() -> int:
    return int(adapters.shapes_of(Path(adapters.resolve_model(POLICY)))["model.norm.weight"][0])


def saved(folder: Path, *, module: str = Q_PROJ, inputs: int | None = None, **stored: Any) -> Path:
    """An adapter of the shipped policy that changes one layer."""
    folder.mkdir(exist_ok=True)
    numbers = inputs or width()
    a, b = np.zeros((2, numbers), np.float32), np.zeros((numbers, 2), np.float32)
    save_file(
        {f"{module}.lora_A.weight": a, f"{module}.lora_B.weight": b}, folder / "adapter_model.safetensors"
    )
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], **stored}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("config", CONFIGS)
def test_a_configuration_takes_an_adapter_and_its_digest_is_of_both(config: Any, tmp_path: Path) -> None:
    lora = str(saved(tmp_path / "adapter"))
    before = config(POLICY, lora=lora).digest()
    assert before.startswith(config(POLICY).digest()) and before != config(POLICY).digest()
    saved(tmp_path / "adapter", lora_alpha=8)  # resume=true with this one is refused
    assert config(POLICY, lora=lora).digest() != before


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def pickled(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def cut(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-8])


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (remove("adapter_config.json"), r"holds no adapter_config\.json"),
        (remove("adapter_model.safetensors"), r"holds no adapter_model\.safetensors"),
        (pickled, r"adapter_model\.bin, a pickle, which is not loaded: save it as safetensors"),
        (cut, r"adapter_model\.safetensors is truncated"),
        (lambda f: saved(f, peft_type="LOHA"), r"is an adapter of kind LOHA: only LORA is supported"),
        (lambda f: saved(f, r=None), r"states no rank r"),
        (lambda f: saved(f, bias="all"), r"trained with bias=all"),
        (lambda f: saved(f, init_lora_weights="pissa"), r"init_lora_weights=pissa, which changes"),
        (lambda f: saved(f, layer_replication=[[0, 2]]), r"sets layer_replication"),
        (lambda f: saved(f, inputs=7), r"does not fit .*: layers\.0\.self_attn\.q_proj takes \d+ numbers"),
        (
            lambda f: saved(f, module=Q_PROJ.replace("0", "99"), base_model_name_or_path="someone/base"),
            r"does not fit .*: it has no layers\.99\.self_attn\.q_proj \(it was made for someone/base\)",
        ),
    ],
)
@pytest.mark.parametrize("config", CONFIGS[1:3])
def test_what_is_wrong_is_said_in_one_line(
    config: Any, spoil: Callable[[Path], object], reason: str, tmp_path: Path
) -> None:
    spoil(saved(tmp_path / "adapter"))
    with pytest.raises(ConfigError, match=reason) as caught:
        config(POLICY, lora=str(tmp_path / "adapter"))
    assert caught.value.key == f"{'verifier' if 'Verifier' in config.__name__ else 'engine'}.lora"
    assert "\n" not in str(caught.value)


def test_what_takes_no_adapter_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for lora, reason in (("", "must name an adapter"), (str(tmp_path / "no"), "no such adapter")):
        with pytest.raises(ConfigError, match=reason):
            check_adapter("engine", POLICY, lora, merged=False)
    with pytest.raises(ConfigError, match=r"engine\.lora=.*not a GGUF file: convert"):
        check_adapter("engine", "/models/x.gguf", "someone/adapter", merged=True)
    monkeypatch.setattr(adapters, "find_spec", {}.get)  # nothing is installed
    with pytest.raises(ConfigError, match=r"needs the package peft: pip install 'murmuration\[lora\]'"):
        check_adapter("verifier", POLICY, "someone/adapter", merged=True)
    check_adapter("verifier", POLICY, "someone/adapter", merged=False)
    with pytest.raises((ConfigError, TypeError), match="lora"):
        DiffusionEngineConfig("embedded:twoway-diffusion", lora="x")  # type: ignore[call-arg]


def test_the_rank_is_the_highest_and_features_differ_by_engine(tmp_path: Path) -> None:
    folder = saved(
        tmp_path / "adapter", rank_pattern={"k_proj": 24}, use_dora=True, modules_to_save=["score"]
    )
    adapter = find_adapter("engine", str(folder))
    assert adapter is not None and adapter.rank == 24
    adapter.check_features(dora=True, heads=("score",))
    with pytest.raises(ConfigError, match="is a DoRA"):
        adapter.check_features(dora=False, heads=("score",))
    with pytest.raises(ConfigError, match=r"whole modules \(modules_to_save: score\)"):
        adapter.check_features(dora=True, heads=())
    assert find_adapter("engine", None) is None
    assert Adapter("engine.lora", "x", folder).config["lora_alpha"] == 4


@pytest.mark.parametrize(
    ("module", "model", "fits"),
    [
        ("model.layers.3.q", {"layers.3.q.weight": (6, 8)}, True),  # saved from another class
        ("transformer.h.3.c", {"h.3.c.weight": (8, 6)}, True),  # GPT-2 keeps the transpose
        ("model.language_model.layers.3.q", {"language_model.model.layers.3.q.weight": (6, 8)}, True),
        ("model.layers.3.q", {"model.layers.3.q.qweight": (3, 3)}, True),  # quantised
        ("model.layers.3.mlp.experts", {"model.layers.3.mlp.experts.0.up.weight": (2, 2)}, True),
        ("model.layers.3.q", {"model.layers.3.q.weight": (6, 9)}, False),
        ("model.layers.3.q", {"model.layers.2.q.weight": (6, 8)}, False),
        ("lm_head", {"model.embed_tokens.weight": (6, 8)}, False),  # tied
    ],
)
def test_names_are_compared_from_their_layer_on(
    module: str, model: dict[str, tuple[int, ...]], *, fits: bool
) -> None:
    matrices = {f"{module}.lora_A.weight": (2, 8), f"{module}.lora_B.weight": (6, 2)}
    assert (misfit(matrices, model) is None) is fits
