"""Every format against its authors' own code, and every file of conf/verifier as a user reaches it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import hydra
import pytest
import transformers
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from actors.checkpoints import resolve_model
from actors.transformers_engine.config import TransformersVerifierConfig
from actors.verifiers.formats import Verdict, build_format
from orchestrator.config.build import build_node
from orchestrator.config.calibrated import inlined
from orchestrator.errors import ConfigError, VerifierError
from orchestrator.protocols import ScoreReply, ScoreRequest
from tests.actors.small_reward_models import (
    QUESTION,
    REWARD_MODELS,
    STEPS,
    qwen_tokenizer,
    save_qwen_prm,
)

CONF = Path(__file__).parents[3] / "conf"
PRESETS = sorted(f.stem for f in (CONF / "verifier").glob("*.yaml"))
BY_ENGINE = ("generative", "likelihood")


def composed(*overrides: str) -> dict[str, Any]:
    """The node ``verifier`` as a command line makes it."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", [*overrides])
    OmegaConf.resolve(config.verifier)
    node: dict[str, Any] = OmegaConf.to_container(config.verifier)  # type: ignore[assignment]
    without_null: dict[str, Any] = inlined({"verifier": node})["verifier"]
    return without_null


def preset_of(name: str) -> str:
    return "transformers" if name == "trl" else name


@pytest.mark.parametrize("name", REWARD_MODELS)
async def test_rewards_are_those_of_the_authors_code(name: str, tmp_path: Path) -> None:
    """The preset, with a folder for its model, against a full encoding by the library's own classes."""
    model = REWARD_MODELS[name]
    model.save(tmp_path)
    node = composed(f"verifier={preset_of(name)}", f"verifier.model={tmp_path}", "verifier.dtype=float32")
    verifier = build_node({**node, "max_context": None}, "verifier").build()
    (reply,) = await verifier.score([ScoreRequest("p", QUESTION, STEPS, 0)])
    assert isinstance(reply, ScoreReply)
    reference = model.reference(tmp_path, QUESTION, STEPS)
    assert len(reference) == (1 if model.readout == "whole" else len(STEPS))
    assert [r.value for r in reply.rewards] == pytest.approx(reference, abs=2e-6)
    assert max(reference) - min(reference) > 0.02 or len(reference) == 1, "rewards that a mistake would move"
    await verifier.close()


@pytest.mark.parametrize("name", ["qwen_prm", "math_shepherd"])
async def test_in_half_precision_the_head_is_exact(name: str, tmp_path: Path) -> None:
    """bfloat16 layers, as on a GPU: near the float32 reward, and not rounded to it by the head."""
    model = REWARD_MODELS[name]
    model.save(tmp_path)
    node = composed(f"verifier={preset_of(name)}", f"verifier.model={tmp_path}", "verifier.dtype=bfloat16")
    verifier = build_node({**node, "max_context": None}, "verifier").build()
    (reply,) = await verifier.score([ScoreRequest("p", QUESTION, STEPS, 0)])
    assert isinstance(reply, ScoreReply)
    assert [r.value for r in reply.rewards] == pytest.approx(
        model.reference(tmp_path, QUESTION, STEPS), abs=0.08
    )
    assert not verifier.info.batch_invariant
    await verifier.close()


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_composes_and_is_checked(name: str) -> None:
    """With a folder for its model where it has one; a knob that it does not know is named."""
    key = "verifier.engine.model" if name in BY_ENGINE else "verifier.model"
    has_model = name not in ("none", "oracle", "self_certainty", "self_evaluation", "stored")
    has_model &= "constraints" not in name  # the policy judges, or a rule
    overrides = [f"verifier={name}", *([f"{key}=embedded:chain-verifier"] if has_model else [])]
    overrides += ["verifier.path=run"] if name == "stored" else []
    config = build_node(composed(*overrides), "verifier")
    assert config.readout in ("per_step", "whole", None)
    with pytest.raises(ConfigError, match=r"^verifier\.modle=1: unknown key"):
        build_node({**composed(*overrides), "modle": 1}, "verifier")


def test_a_backend_and_a_format_are_chosen_apart() -> None:
    node = composed("verifier=transformers", "verifier/format=math_shepherd", "verifier.model=x")
    assert (node["_target_"], node["format"]) == ("actors.TransformersVerifierConfig", "lm_head")
    assert node["options"]["step_tag"] == " ки"
    assert composed("verifier=likelihood", "engine@verifier.engine=vllm")["engine"]["_target_"].endswith(
        "VllmEngineConfig"
    )


@pytest.mark.parametrize(("one_newline", "shown"), [(True, "a1+1=2\n#2\n"), (False, "a1+1=2\n\n#2\n")])
def test_blank_lines_of_steps_that_count_as_one(one_newline: bool, shown: str) -> None:
    """Before the one tag; step by step the tag takes the place of the delimiter in any case."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(resolve_model("embedded:chain-verifier"))
    options = {"step_tag": "\n", "one_newline": one_newline}
    layout = build_format("token_classification", options, "whole").layout(tokenizer)
    steps = ("a1+1=2\n\n", "#2\n\n")
    whole, by_step = (layout.render("1 a+1", steps, 0, r) for r in ("whole", "per_step"))
    assert tokenizer.decode(whole.token_ids) == "<bos>1 a+1\n" + shown
    assert tokenizer.decode(by_step.token_ids) == "<bos>1 a+1\na1+1=2\n#2\n"


def test_the_qwen_prm_is_read_without_blank_lines() -> None:
    assert composed("verifier=qwen_prm", "verifier.model=x")["options"]["one_newline"] is True


@pytest.mark.parametrize(
    ("format", "options", "readout", "line"),
    [
        ("lm_haed", {}, "per_step", "verifier.format=lm_haed: must be one of"),
        ("outcome", {}, "per_step", "verifier.readout=per_step: must be whole with format=outcome"),
        ("lm_turns", {"step_tag": "x"}, "per_step", "verifier.options.step_tag=x: not an option of lm_turns"),
        ("lm_head", {"good": 1}, "per_step", "verifier.options.good=1: must be a text"),
        (
            "lm_head",
            {"step_template": "x"},
            "per_step",
            "verifier.options.step_template='x': must hold {step}",
        ),
        ("value_head", {"system": "x"}, "per_step", "verifier.options.system=x: needs options.chat=true"),
        ("outcome", {"chat": False}, "whole", "verifier.options.end='': must be a text"),
    ],
)
def test_bad_options_are_named_before_anything_loads(
    format: str, options: dict[str, Any], readout: str, line: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        build_format(format, options, readout)
    assert str(caught.value).startswith(line)


@pytest.mark.parametrize(
    ("save", "format", "options", "line"),
    [
        ("rlhflow", "token_classification", {}, "verifier.model=.*the checkpoint holds no reward head"),
        ("trl", "value_head", {}, "verifier.format=value_head: must be a model of one value per token"),
        ("outcome", "token_classification", {}, "verifier.options.positive_label=1: must be below"),
        ("rlhflow", "lm_head", {"bad": "+"}, "verifier.options.bad='\\+': is the same token"),
        ("math_shepherd", "lm_turns", {}, "verifier.options.chat=True: the model's chat template fails"),
        ("trl", "lm_head", {}, "verifier.model=.*lacks 1 weights, such as lm_head.weight"),
    ],
)
def test_a_model_that_does_not_suit_is_refused(
    save: str, format: str, options: dict[str, Any], line: str, tmp_path: Path
) -> None:
    REWARD_MODELS[save].save(tmp_path)
    with pytest.raises(ConfigError, match=line):
        TransformersVerifierConfig(str(tmp_path), format=format, options=options).build()


NO_TAG = r"must be one token, at which the reward is read: this model's tokenizer makes"


@pytest.mark.parametrize(
    ("format", "options", "line"),
    [
        ("token_classification", {"step_tag": "<extra_1>"}, r"step_tag='<extra_1>': must be one token; is"),
        ("token_classification", {"step_tag": "<extra_1>\n"}, r"step_tag='<extra_1>': must be one token; is"),
        ("value_head", {"step_tag": " ки."}, rf"step_tag=' ки\.': {NO_TAG} \d+ tokens"),
        ("lm_head", {"step_tag": "[STEP]"}, rf"step_tag='\[STEP\]': {NO_TAG} \d+ tokens"),
        ("lm_head", {"good": "Correct"}, r"good='Correct': must be one token, whose logit is"),
        ("lm_head", {"bad": "+-"}, r"bad='\+-': must be one token, whose logit is read"),
        ("lm_head", {"bad": ""}, "bad='': must be one token, .* makes nothing of it"),
        ("lm_turns", {"good": "Right"}, "good='Right': must be one token"),
        ("lm_turns", {"before_first": "<|user|>"}, r"before_first='<\|user\|>': must be one token; is"),
        ("lm_head", {"template": "<end_of_turn>{question}"}, "template='<end_of_turn>': must be one"),
        ("token_classification", {"between": "<extra_9>"}, "between='<extra_9>': must be one token"),
        ("token_classification", {"template": "<|user|>{question}"}, r"template='<\|user\|>': must be"),
        ("outcome", {"end": "</s>"}, rf"end='</s>': {NO_TAG}"),
        ("outcome", {"system": "<|eot_id|>"}, r"system='<\|eot_id\|>': must be one token"),
    ],
)  # fmt: skip
def test_marks_that_are_no_tokens_are_refused(format: str, options: dict[str, Any], line: str) -> None:
    """Read at a piece of themselves, they would give wrong rewards in silence."""
    built = build_format(format, options)
    with pytest.raises(ConfigError, match=rf"^verifier\.options\.{line}"):
        built.verdict(built.layout(qwen_tokenizer()), 2)


def test_an_unknown_tag_and_a_beginning_that_there_is_not() -> None:
    """A vocabulary of words makes its unknown token of what it does not have."""
    words = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"a": 0, "?": 1, "+": 2, "-": 3}, unk_token="?")), unk_token="?"
    )
    with pytest.raises(ConfigError, match=r"step_tag='\*': must be .* an unknown token of it, \['\?'\]"):
        build_format("token_classification", {"step_tag": "*"}).layout(words)
    with pytest.raises(ConfigError, match=r"options\.template='\{bos\}\{question\}': holds \{bos\}, and"):
        build_format("value_head", {"step_tag": "+", "template": "{bos}{question}"}).layout(words)


def test_a_separator_of_several_newlines_is_fine() -> None:
    """Trainers label its last token; each tokenizer cuts it in its own way."""
    layout = build_format("token_classification", {"step_tag": "\n \n"}).layout(qwen_tokenizer())
    assert layout.render("q", ("a", "b"), 0, "per_step").reads


def test_tokens_beyond_the_models_embeddings_are_refused(tmp_path: Path) -> None:
    """A tag that was added to the tokenizer, and never to the model."""
    REWARD_MODELS["trl"].save(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<step>"]})
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"makes the token '<step>' \(\d+\), the model has \d+"):
        TransformersVerifierConfig(str(tmp_path), options={"step_tag": "<step>"}).build()


def test_a_checkpoint_without_a_layer_is_refused(tmp_path: Path) -> None:
    """transformers would fill it with random numbers."""
    save_qwen_prm(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks 1 weights, such as .*layers\.1\.mlp\.up_proj"):
        TransformersVerifierConfig(str(tmp_path)).build()


async def test_a_head_is_found_in_shards(tmp_path: Path) -> None:
    """As the checkpoints of large models are saved, and with another way to name a text's encoder refused."""
    save_qwen_prm(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").unlink()
    parts = {"a.safetensors": sorted(tensors)[::2], "b.safetensors": sorted(tensors)[1::2]}
    for file, keys in parts.items():
        save_file({k: tensors[k] for k in keys}, tmp_path / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {k: f for f, keys in parts.items() for k in keys}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    node = composed("verifier=qwen_prm", f"verifier.model={tmp_path}", "verifier.dtype=float32")
    verifier = build_node(node, "verifier").build()
    (reply,) = await verifier.score([ScoreRequest("p", QUESTION, STEPS, 0)])
    save_qwen_prm(tmp_path / "whole")
    expected = REWARD_MODELS["qwen_prm"].reference(tmp_path / "whole", QUESTION, STEPS)
    assert [r.value for r in reply.rewards] == pytest.approx(expected, abs=2e-6)
    await verifier.close()


def test_an_encoder_is_no_reward_model(tmp_path: Path) -> None:
    """Its tokens see later ones, so that what was read cannot be kept."""
    tokenizer = qwen_tokenizer()
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    transformers.BertForTokenClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"verifier\.model=.*must be a decoder"):
        TransformersVerifierConfig(str(tmp_path)).build()


def test_a_longer_trajectory_only_appends() -> None:
    """Tokens never change once read, for texts of every kind: what is cached stays right."""
    layout = build_format("token_classification", {"chat": True, "step_tag": "<extra_0>"}).layout(
        qwen_tokenizer()
    )
    steps = (
        "  indented\n\n",
        "",
        "\n\n",
        "café naïve <extra_0> inside\n\n",
        "{step} {number} 5",
        "x = 3,\n\n",
    )
    before: tuple[int, ...] = ()
    for n in range(1, len(steps) + 1):
        rendered = layout.render(QUESTION, steps[:n], n - 1, "per_step")
        assert rendered.token_ids[: len(before)] == before
        assert rendered.reads == (len(rendered.token_ids) - 1,)
        assert rendered.prompts == (rendered.token_ids,)
        before = rendered.token_ids
    everything = layout.render(QUESTION, steps, 0, "per_step")
    assert everything.token_ids == before
    assert len(everything.reads) == len(steps)


@pytest.mark.parametrize("text", ["The answer is 5.", "x = 3,", "f(x)", ""])
@pytest.mark.parametrize("tag", ["\n", "\n\n", "<extra_0>", " ки"])
def test_a_tag_is_read_by_itself(text: str, tag: str) -> None:
    """Whatever it follows, its last token is there to be read: merged with a step it would be another one."""
    tokenizer = qwen_tokenizer()
    layout = build_format("token_classification", {"step_tag": tag}).layout(tokenizer)
    rendered = layout.render("q", (text,), 0, "per_step")
    assert rendered.token_ids[-1] == tokenizer.encode("a" + tag)[-1]
    assert tokenizer.decode(rendered.token_ids) == f"q\n{text}{tag}"


def test_log_odds_are_exact_where_probabilities_round() -> None:
    assert Verdict((1,), (0,)).log_odds([-40.0, 40.0]) == 80.0
    assert Verdict((1,), (0, 2)).log_odds([0.0, 1.0, 0.0]) == pytest.approx(1.0 - math.log(2))
    assert Verdict((0,), ()).log_odds([3.5]) == 3.5
    assert Verdict((648,), (387,)).log_odds({648: -0.1, 387: -2.5}) == pytest.approx(2.4)
    assert Verdict((648,), (387,)).narrowed() == Verdict((0,), (1,))


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({648: -0.1}, r"outputs \[387\] are absent from the 1"),
        ({}, r"outputs \[648\] are absent from the 0"),
        ({648: math.nan, 387: 0.0}, "nan"),
        ({648: 0.0, 387: -math.inf}, "-inf"),
    ],
)
def test_an_output_that_is_absent_or_no_number_is_an_error(outputs: dict[int, float], words: str) -> None:
    with pytest.raises(VerifierError, match=words):
        Verdict((648,), (387,)).log_odds(outputs)


def test_an_engine_inside_a_verifier_names_its_whole_key() -> None:
    node = composed("verifier=likelihood", "verifier.engine.model=./nowhere")
    with pytest.raises(ConfigError, match=r"^verifier\.engine\.model=\./nowhere: no such model"):
        build_node(node, "verifier")
