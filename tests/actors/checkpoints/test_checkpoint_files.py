"""What is wrong with a checkpoint's files is said before anything loads, in one line that names the key."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from actors.checkpoints import resolve_model
from actors.diffusion_engine.config import DiffusionEngineConfig
from actors.openai_engine.config import OpenAIEngineConfig
from actors.transformers_engine.config import TransformersEngineConfig, TransformersVerifierConfig
from actors.transformers_engine.loading import load
from actors.verifiers.config import LikelihoodVerifierConfig
from actors.vllm_engine.config import VllmEngineConfig, VllmVerifierConfig
from orchestrator.errors import ConfigError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 988097824\n"
CONFIGS = [
    TransformersEngineConfig,
    VllmEngineConfig,
    DiffusionEngineConfig,
    TransformersVerifierConfig,
    VllmVerifierConfig,
]


def copied(folder: Path, model: str = "embedded:chain-policy") -> Path:
    return Path(shutil.copytree(resolve_model(model), folder))


def sharded(folder: Path) -> Path:
    """The shipped policy in two files and an index."""
    model = copied(folder)
    tensors = load_file(model / "model.safetensors")
    (model / "model.safetensors").unlink()
    parts = {"a.safetensors": sorted(tensors)[::2], "b.safetensors": sorted(tensors)[1::2]}
    for file, keys in parts.items():
        save_file({k: tensors[k] for k in keys}, model / file, metadata={"format": "pt"})
    write_index(model, {k: f for f, keys in parts.items() for k in keys})
    return model


def write_index(model: Path, weight_map: object) -> None:
    (model / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": weight_map})
    )


def rewrite(name: str, text: str) -> Callable[[Path], object]:
    return lambda model: (model / name).write_text(text)


def cut(model: Path) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def cut_in_the_header(model: Path) -> None:
    file = model / "model.safetensors"
    file.write_bytes(file.read_bytes()[:200])


def lead_nowhere(model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "model.safetensors").symlink_to("../../blobs/4d7a")


def leave_an_adapter(model: Path) -> None:
    for file in model.iterdir():
        file.unlink()
    (model / "adapter_config.json").write_text('{"base_model_name_or_path": "someone/base"}')
    save_file({}, model / "adapter_model.safetensors")


def leave_a_gguf(model: Path) -> None:
    for file in model.iterdir():
        file.unlink()
    (model / "q4.gguf").write_bytes(b"GGUF")


def put_an_adapter(model: Path) -> None:
    (model / "adapter_config.json").write_text("{}")
    save_file({}, model / "adapter_model.safetensors")


def put_a_pickled_adapter(model: Path) -> None:
    (model / "adapter_config.json").write_text("{}")
    (model / "adapter_model.bin").write_bytes(b"\x80\x02.")


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (rewrite("model.safetensors", POINTER), r"its model\.safetensors is a git-lfs pointer.*git lfs"),
        (rewrite("tokenizer.json", POINTER), r"its tokenizer\.json is a git-lfs pointer"),
        (rewrite("config.json", POINTER), r"its config\.json is a git-lfs pointer"),
        (rewrite("tokenizer.model", POINTER), r"its tokenizer\.model is a git-lfs pointer"),
        (rewrite("model.safetensors", ""), r"its model\.safetensors is empty"),
        (rewrite("model.safetensors", "<!DOCTYPE html><html>"), r"is not a safetensors file \(it begins"),
        (cut, r"its model\.safetensors is truncated: [\d,]+ bytes of at least [\d,]+"),
        (cut_in_the_header, r"its model\.safetensors is truncated: 200 bytes of at least"),
        (lead_nowhere, r"its model\.safetensors is a link to \.\./\.\./blobs/4d7a, which does not exist"),
        (rewrite("config.json", "{'a': 1}"), r"its config\.json cannot be read: Expecting property name"),
        (rewrite("config.json", "[" * 100_000), r"its config\.json cannot be read"),
        (rewrite("config.json", "[]"), r"its config\.json is not a JSON object"),
        (rewrite("tokenizer.json", "<html>"), r"its tokenizer\.json is not JSON"),
        (rewrite("tokenizer_config.json", "{"), r"its tokenizer_config\.json cannot be read"),
        (leave_an_adapter, r"only an adapter .* made for someone/base: name that model here"),
        (leave_a_gguf, r"holds only GGUF files: neither transformers nor vLLM"),
        (put_a_pickled_adapter, r"holds adapter_model\.bin, a pickle"),
        (put_an_adapter, r"holds an adapter beside its model: .* with the key lora"),
        (shutil.rmtree, r"no such model: there is no such folder on this machine"),
    ],
)  # fmt: skip
def test_a_folder_that_holds_no_whole_model(
    config: type, spoil: Callable[[Path], object], line: str, tmp_path: Path
) -> None:
    """For every engine and verifier alike."""
    spoil(model := copied(tmp_path / "model"))
    with pytest.raises(ConfigError, match=rf"^(engine|verifier)\.model={model}: .*{line}"):
        config(model=str(model))


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(
    ("weight_map", "line"),
    [
        ({"a": "pytorch_model.bin"}, "names 'pytorch_model.bin' as weights"),
        ({"a": "a.safetensors", "b": "b.SAFETENSORS.pkl"}, "names 'b.SAFETENSORS.pkl' as weights"),
        ({"a": 1}, "names 1 as weights"),
        ({"a": "../b.safetensors"}, r"names '\.\./b\.safetensors', which is outside its folder"),
        ({"a": "x/../../b.safetensors"}, "which is outside its folder"),
        ({"a": "/etc/b.safetensors"}, "which is outside its folder"),
        ({"a": "c.safetensors", "b": "d.safetensors"}, "do not exist: c.safetensors, d.safetensors"),
        ({}, "holds no weight_map"),
        ([], "holds no weight_map"),
    ],
)
def test_an_index_that_names_what_is_not_loaded(
    config: type, weight_map: object, line: str, tmp_path: Path
) -> None:
    model = sharded(tmp_path / "model")
    write_index(model, weight_map)
    with pytest.raises(ConfigError, match=line):
        config(model=str(model))


@pytest.mark.parametrize("named", ["adapter_model.bin", "x.safetensors.index.json", "../x.safetensors"])
def test_a_configuration_may_name_no_pickle_either(named: str, tmp_path: Path) -> None:
    """transformers takes the name of the weights from config.json, where it holds one."""
    model = copied(tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "transformers_weights": named}))
    (model / "x.safetensors.index.json").write_text('{"weight_map": {"a": "pytorch_model.bin"}}')
    with pytest.raises(ConfigError, match=r"its (config|x\.safetensors\.index)\.json names '"):
        TransformersEngineConfig(model=str(model))


def test_shards_load_and_so_do_links_as_the_hubs_cache_has_them(tmp_path: Path) -> None:
    model = sharded(tmp_path / "snapshots" / "0123")
    (tmp_path / "blobs").mkdir()
    for number, file in enumerate(sorted(model.iterdir())):
        os.replace(file, tmp_path / "blobs" / str(number))
        file.symlink_to(Path("../../blobs") / str(number))
    TransformersEngineConfig(model=str(model))
    loaded = load(TransformersEngineConfig(str(model)))
    assert loaded.num_parameters > 0


def test_what_no_loader_reads_may_be_a_pointer(tmp_path: Path) -> None:
    """A clone of which the needed files alone were fetched."""
    model = sharded(tmp_path / "model")
    for name in ("consolidated.safetensors", "pytorch_model.bin", "q4.gguf"):
        (model / name).write_text(POINTER)
    TransformersEngineConfig(model=str(model))


@pytest.mark.parametrize("index", ["model.safetensors.index.json", "x.safetensors.index.json"])
def test_an_index_of_the_hub_is_read_before_the_model(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("transformers.utils.hub.constants.HF_HUB_CACHE", str(tmp_path))
    model = copied(tmp_path / "models--someone--model" / "snapshots" / "0123abc")
    (model / "model.safetensors").rename(model / "pytorch_model.bin")
    (model / index).write_text('{"weight_map": {"a": "pytorch_model.bin"}}')
    config = json.loads((model / "config.json").read_text()) | {"transformers_weights": index}
    (model / "config.json").write_text(json.dumps(config))
    (tmp_path / "models--someone--model" / "refs").mkdir()
    (tmp_path / "models--someone--model" / "refs" / "main").write_text("0123abc")
    with pytest.raises(ConfigError, match=r"engine\.model=someone/model: its .* names 'pytorch_model\.bin'"):
        load(TransformersEngineConfig("someone/model"))


def test_a_policy_that_lacks_a_weight_is_refused(tmp_path: Path) -> None:
    """transformers would fill it with random numbers."""
    model = copied(tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    gone = next(name for name in sorted(tensors) if "mlp" in name)
    del tensors[gone]
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=rf"engine\.model=.*lacks 1 weights, such as {gone}"):
        TransformersEngineConfig(model=str(model)).build()


def test_a_gguf_file_needs_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "m.gguf"
    file.write_bytes(b"GGUF" + bytes(60))
    monkeypatch.setattr("actors.checkpoints.files.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"m\.gguf: is a GGUF file, which needs the packages gguf"):
        TransformersEngineConfig(model=str(file))
    monkeypatch.setattr("actors.checkpoints.files.find_spec", lambda name: name)
    assert TransformersEngineConfig(model=str(file)).model == str(file)
    file.write_bytes(b"<html>")
    with pytest.raises(ConfigError, match=r"m\.gguf: is not a GGUF file"):
        TransformersEngineConfig(model=str(file))
    with pytest.raises(ConfigError, match=r"verifier\.model=.*"):
        TransformersVerifierConfig(model=str(file))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + bytes(60))
    with pytest.raises(ConfigError, match=r"m\.gguf: is a GGUF file: .*engine=openai engine\.prompts=text"):
        VllmEngineConfig(model=str(tmp_path / "m.gguf"))
    (tmp_path / "m.txt").write_text("x")
    with pytest.raises(ConfigError, match="must be the folder that holds the model's files"):
        VllmEngineConfig(model=str(tmp_path / "m.txt"))


def test_a_tokenizers_folder_is_looked_at_too(tmp_path: Path) -> None:
    def engine(tokenizer: Path) -> OpenAIEngineConfig:
        return OpenAIEngineConfig(model="m", base_url="http://127.0.0.1:1/v1", tokenizer=str(tokenizer))

    folder = tmp_path / "tokenizer"
    folder.mkdir()
    with pytest.raises(ConfigError, match=r"^engine\.tokenizer=.*holds no tokenizer"):
        engine(folder)
    (folder / "tokenizer.json").write_text(POINTER)
    with pytest.raises(ConfigError, match=r"^engine\.tokenizer=.*tokenizer\.json is a git-lfs pointer"):
        engine(folder)
    with pytest.raises(ConfigError, match=r"^engine\.tokenizer=.*no such folder"):
        engine(tmp_path / "none")


def test_relative_paths_are_made_whole_where_they_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica may run in another folder: a Ray was started there, or on another machine."""
    copied(tmp_path / "models" / "policy")
    copied(tmp_path / "models" / "verifier", "embedded:chain-verifier")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    whole = str(tmp_path / "models" / "policy")
    for given in ("models/policy", "./models/policy", "models/../models/policy", "~/models/policy"):
        assert TransformersEngineConfig(model=given).model == whole
    args = {"tokenizer": "models/policy", "speculative_config": {"model": "./models/policy"}, "seed": 1}
    engine = VllmEngineConfig(model="models/policy", args=args)
    assert engine.model == whole
    assert engine.args == {"tokenizer": whole, "speculative_config": {"model": whole}, "seed": 1}
    assert TransformersVerifierConfig(model="models/verifier").model == str(tmp_path / "models" / "verifier")
    assert VllmVerifierConfig(model="models/verifier").model == str(tmp_path / "models" / "verifier")
    served = OpenAIEngineConfig(model="m", base_url="http://127.0.0.1:1/v1", tokenizer="models/policy")
    assert (served.model, served.tokenizer) == ("m", whole)
    by_its_name = OpenAIEngineConfig(model="models/policy", base_url="http://127.0.0.1:1/v1")
    assert (by_its_name.model, by_its_name.tokenizer) == ("models/policy", whole)
    asked = LikelihoodVerifierConfig(engine=engine, tokenizer="models/policy")
    assert asked.tokenizer == whole


def test_names_of_the_hub_and_of_shipped_models_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("someone/model", "embedded:chain-policy"):
        assert TransformersEngineConfig(model=name).model == name
    assert VllmEngineConfig(model="a/b", args={"tokenizer": "a/b"}).args == {"tokenizer": "a/b"}


def test_a_name_that_is_too_long_for_a_file_is_one_of_the_hub() -> None:
    """The hub refuses it in its own words."""
    name = "a" * 300
    assert VllmEngineConfig(model=name).model == name
    assert OpenAIEngineConfig(f"{name}/{name}", "http://h/v1", tokenizer=name).tokenizer == name
    with pytest.raises(ConfigError, match=r"^engine\.model=\./a"):
        VllmEngineConfig(model=f"./{name}")
