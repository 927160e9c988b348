"""Every file of conf/ composes and makes what it says; the experiments hold the published settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from orchestrator.config.build import GROUPS, as_plain, build_node, build_task
from orchestrator.config.plan import plan_of
from orchestrator.errors import ConfigError
from orchestrator.prompts.question import PrefixQuestion
from orchestrator.prompts.template import Template
from orchestrator.runs.sweep import plan_sweep
from strategies import Checklist, Mbr
from tests.shared_data import BENCHMARKS, shared

CONF = Path(__file__).parents[1] / "conf"
# What a user must name, for the files that leave it open; a model of the hub is not looked up.
OPEN = {"model": "owner/model", "path": "rows.jsonl"}
# A file of a group inside a group goes with a choice of that group.
WITH = {
    "task/prompt": ["task=math500"],
    "verifier/format": ["verifier=transformers"],
    "verifier/format/outcome": ["verifier=outcome"],
    "task/stored": ["engine=stored"],
    "verifier/stored": ["engine=stored"],
}


def group_files() -> list[str]:
    """``task/math500``, ``task/prompt/qwen``: the files of every group but the experiments."""
    files = (f.relative_to(CONF).with_suffix("") for f in CONF.glob("*/**/*.yaml"))
    return sorted(str(f) for f in files if f.parts[0] != "experiment")


def experiments() -> list[str]:
    return sorted(f.stem for f in (CONF / "experiment").glob("*.yaml"))


@contextmanager
def composed(*overrides: str) -> Iterator[DictConfig]:
    """The configuration of a command line; ``HydraConfig`` is set."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        with open_dict(config):
            config.pop("hydra")
        yield config


def name_open_keys(config: DictConfig) -> None:
    for key in OmegaConf.missing_keys(config):
        OmegaConf.update(config, key, OPEN[key.rpartition(".")[2]])


PARTS_OF_NODES: dict[str, tuple[type, ...]] = {
    "prompts": (Template, PrefixQuestion),
    "selection": (Checklist, Mbr),
}
"""Groups whose files are knobs of a strategy or a verifier, and what they are built to."""


@pytest.mark.heavy
@pytest.mark.parametrize("file", group_files())
def test_every_file_composes_and_every_group_is_built(file: str) -> None:
    """Engines and verifiers are light descriptions: no model is loaded and no row is read."""
    group, _, choice = file.rpartition("/")
    override = f"+{file.replace('/', '=')}" if group in PARTS_OF_NODES else f"{group}={choice}"
    with composed(override, *WITH.get(file, WITH.get(group, []))) as config:
        name_open_keys(config)
        with open_dict(config):
            parts = {
                n: OmegaConf.to_container(config[n], resolve=True) for n in PARTS_OF_NODES if n in config
            }
            for name in parts:
                config.pop(name)
        plain = as_plain(config)
    for name, node in parts.items():
        assert isinstance(build_node(node, name), PARTS_OF_NODES[name])
    for name in GROUPS:
        built = build_task(plain[name]) if name == "task" else build_node(plain[name], name)
        assert built is not None


# Benchmarks whose rows are not at hand: one of the same fields.
MADE: dict[str, dict[str, Any]] = {
    "gpqa": {"Question": "Which?", "Correct Answer": "a"}
    | {f"Incorrect Answer {i}": wrong for i, wrong in enumerate("bcd", start=1)},
    "olympiad": {"question": "1+1?", "final_answer": ["$2$"]},
}


def rows_of(benchmark: str, folder: Path) -> Path:
    if benchmark not in MADE:
        return shared(BENCHMARKS[benchmark])
    rows = folder / "rows.jsonl"
    rows.write_text(json.dumps(MADE[benchmark]) + "\n")
    return rows


NUM_PROBLEMS = {
    "embedded_demo": 40, "embedded_countdown": 200, "embedded_long_chain": 200, "engine_arguments": 100,
    "engine_arguments_transformers": 100,
}  # fmt: skip


@pytest.mark.heavy
@pytest.mark.parametrize("name", experiments())
def test_every_experiment_is_a_plan(
    name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """All that run.py checks before a model loads, on real rows where the task has rows."""
    with composed(f"experiment={name}", f"run_dir={tmp_path}") as config:
        benchmark = config.task.get("name")
        if benchmark is not None:
            config.task.path = str(rows_of(benchmark, tmp_path_factory.mktemp("rows")))
        plan = plan_of(config)
    assert plan.num_problems == NUM_PROBLEMS.get(name, 60 if benchmark is None else plan.task.num_problems)
    assert list(tmp_path.iterdir()) == []


def setting(config: DictConfig, key: str) -> Any:
    return OmegaConf.select(config, key, throw_on_missing=True)


QWEN_PROMPT = r"Please reason step by step, and put your final answer within \boxed{}."
PF = {
    "budget": 64, "strategy.num_particles": 64, "strategy.weighting": "absolute", "strategy.max_steps": 40,
    "strategy.resampling": "multinomial", "strategy.ess_threshold": 1.0, "strategy.tempering": 1.0,
    "strategy.sampling.temperature": 0.8, "strategy.sampling.top_p": 1.0, "strategy.aggregation": "model",
    "strategy.sampling.max_tokens": 2048, "verifier.model": "Qwen/Qwen2.5-Math-PRM-7B",
    "verifier.readout": "whole", "task.delimiter": "\n\n", "task.answer_marker": "\\boxed",
}  # fmt: skip
# What makes the methods on the same models comparable.
READ_WHOLE = {"budget": 64, "verifier.readout": "whole", "strategy.aggregation": "model"}
HEX = {
    "budget": 25, "strategy.num_paths": 25, "strategy.block_lengths": [8, 16, 32, 64, 128],
    "strategy.denoising.gen_length": 256, "strategy.denoising.num_steps": 128,
    "strategy.denoising.temperature": 0.9, "strategy.denoising.remasking": "low_confidence",
    "strategy.denoising.cfg_scale": 0.0, "strategy.tie_break": "smallest_block", "task.answer_marker": None,
    "engine.model": "GSAI-ML/LLaDA-8B-Instruct", "engine.cache": "none",
}  # fmt: skip

SPECREASON = {
    "engine.model": "Qwen/QwQ-32B", "policies.draft.model": "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
    "strategy.accept": 0.7777, "strategy.first_base_steps": 0, "strategy.repeats": 2,
    "strategy.sampling.temperature": 0.6, "strategy.sampling.top_p": 0.95,
    "strategy.sampling.max_tokens": 512, "strategy.draft_sampling.max_tokens": 512,
    "strategy.max_tokens": 8192, "task.delimiter": "\n\n",
}  # fmt: skip


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("pf_math500", {**PF, "task.name": "math500", "task.instruction": QWEN_PROMPT}),
        ("pf_aime24", {**PF, "task.name": "aime24", "task.instruction": QWEN_PROMPT}),
        ("pf_math500_llama", {**PF, "engine.model": "meta-llama/Llama-3.2-1B-Instruct"}),
        ("pg_math500", {**READ_WHOLE, "strategy.num_iterations": 4, "strategy.weighting": "absolute"}),
        (
            "epf_aime24",
            {
                **READ_WHOLE, "strategy.annealing": "ess",
                "strategy.annealing_threshold": 0.5, "strategy.early_phase": 0.5,
                "strategy.resampling": "systematic", "task.name": "aime24",
            },
        ),
        ("astar_math500", {**READ_WHOLE, "strategy.wave": None, "strategy.branching": None}),
        ("astar_aime24", READ_WHOLE),
        ("epf_math500", READ_WHOLE),
        *((name, HEX) for name in ("hex_gsm8k", "hex_math500", "hex_arc_c", "hex_truthfulqa")),
        (
            "adablock_gsm8k",
            {
                "strategy.num_paths": 1, "strategy.denoising.threshold": 0.9,
                "strategy.denoising.delimiter_threshold": 0.3, "engine.block_delimiter_ids": [198],
                "strategy.denoising.gen_length": 512, "strategy.denoising.num_steps": 512,
                "task.answer_in": ["hashes", "box", "tag"],
            },
        ),
        (
            "ttspm_aime24",
            {
                "task.name": "aime24", "engine.model": "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B",
                "strategy.num_samples": 32, "strategy.sampling.temperature": 0.6,
                "strategy.sampling.top_p": 0.95, "strategy.sampling.max_tokens": 32768,
            },
        ),
        *(
            (
                f"plangen_{benchmark}",
                {
                    "strategy.trials": 5, "strategy.threshold": 0.975, "verifier.sampling.temperature": 0.0,
                    "strategy.arms.best_of_n.strategy.num_samples": 5, "strategy.sampling.temperature": 0.7,
                    "strategy.arms.tree_of_thoughts.strategy.branching": 3, "strategy.prior_weight": 1.0,
                    "strategy.arms.rebase.strategy.num_samples": 10, "verifier.readout": "whole",
                },
            )
            for benchmark in ("gpqa", "olympiad")
        ),
        (
            "archon_math",
            {
                "task.name": "math500", "strategy.num_samples": 11, "strategy.sampling.temperature": 0.7,
                "strategy.role_sampling.temperature": 0.7, "strategy.layers": [
                    [{"generate": {"samples": None}}], [{"critique": {}}], [{"rank": {"top_k": 5}}],
                    [{"fuse": {"copies": 1}}],
                ],
            },
        ),
        ("snell_math500", {"task.name": "math500", "budget": 64, "strategy.num_samples": 64}),
        *((f"specreason_{name}", {**SPECREASON, "task.name": name}) for name in ("aime24", "math500")),
        (
            "snell_revisions_math500",
            {
                "task.name": "math500", "strategy.num_samples": 64, "strategy.carry": "last_four",
                "strategy.across": "weighted_majority",
            },
        ),
        (
            "complex_tasks_aime24",
            {
                "task.name": "aime24", "strategy.num_samples": 5, "strategy.chains": 5,
                "strategy.carry": "conversation", "strategy.stop.rule": "oracle", "engine.chat": True,
            },
        ),
        (
            "bag_of_tricks_self_refine",
            {
                "task.name": "gsm8k", "strategy.num_samples": 3, "strategy.sampling.temperature": 0.8,
                "strategy.sampling.top_p": 0.9, "strategy.feedback": "critique",
            },
        ),
        (
            "bag_of_tricks",
            {
                "task.name": "gsm8k", "budget": 32, "strategy.num_samples": 32,
                "engine.model": "meta-llama/Llama-3.1-8B-Instruct",
            },
        ),
        (
            "bag_of_tricks_methods",
            {"strategy.sampling.temperature": 0.8, "strategy.sampling.top_p": 0.9, "task.name": "gsm8k"},
        ),
        (
            "adaptive_gsm8k",
            {
                "engine.model": "meta-llama/Llama-3.1-8B-Instruct", "strategy.num_samples": 16,
                "strategy.stop.rule": "threshold", "strategy.stop.at": 0.9,
                "verifier.model": "Skywork/Skywork-o1-Open-PRM-Qwen-2.5-1.5B",
            },
        ),
    ],
)  # fmt: skip
def test_published_settings(name: str, published: dict[str, Any]) -> None:
    with composed(f"experiment={name}") as config:
        assert {key: setting(config, key) for key in published} == published


def test_llama_has_the_prompt_of_its_published_runs() -> None:
    with composed("experiment=pf_math500_llama") as config:
        lines = config.task.instruction.split("\n")
    assert lines[0] == "Solve the following math problem efficiently and clearly:"
    assert lines[-3] == r"Therefore, the final answer is: $\boxed{answer}$. I hope it is correct."


def test_hex_asks_in_one_turn_and_begins_the_answer() -> None:
    with composed("experiment=hex_arc_c") as config:
        prompt = config.engine.template.format(question="Which?", instruction=config.task.instruction)
    turn, answer = prompt.split("<|eot_id|>")
    assert turn.startswith("<|startoftext|><|start_header_id|>user<|end_header_id|>\n\nYou are a science")
    assert turn.endswith("<answer>\n\\boxed{...}\n</answer>\n\nWhich?")
    assert answer == "<|start_header_id|>assistant<|end_header_id|>\n\n<reasoning>"


def test_adablock_shows_five_examples_in_one_turn() -> None:
    with composed("experiment=adablock_gsm8k") as config:
        prompt = config.engine.template.format(question="Which?", instruction=config.task.instruction)
    turn, answer = prompt.split("<|eot_id|>")
    assert [turn.count(mark) for mark in ("Question: ", "#### ", "<|start_header_id|>")] == [6, 5, 1]
    assert turn.endswith("a year\n#### 624\n\nQuestion: Which?\nAnswer:")
    assert answer == "<|start_header_id|>assistant<|end_header_id|>\n\n"


def test_the_command_line_wins_over_an_experiment() -> None:
    mine = ["budget=4", "strategy=best_of_n", "task=aime25", "task/prompt=plain", "engine=embedded"]
    for overrides in (["experiment=pf_math500", *mine], [*mine, "experiment=pf_math500"]):
        with composed(*overrides) as config:
            assert (config.budget, config.task.name, config.task.instruction) == (4, "aime25", "")
            assert config.strategy._target_.endswith("BestOfN")
            assert config.engine._target_.endswith("TransformersEngineConfig")


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (["experiment=adablock_gsm8k", "strategy.block_lengths=[8]"], 2),
        pytest.param(["experiment=embedded_demo", "budget=2"], 4, marks=pytest.mark.heavy),
        pytest.param(
            [
                "experiment=engine_arguments",
                "++engine.args.max_num_seqs=8",
                "++engine.args.enforce_eager=true",
            ],
            2,
            marks=pytest.mark.heavy,
        ),
        pytest.param(
            ["experiment=pf_math500", "budget=8", "engine.model=a/b,c/d"], 2, marks=pytest.mark.heavy
        ),
    ],
)
def test_an_experiment_brings_its_sweep(arguments: list[str], number: int, tmp_path: Path) -> None:
    sweep = plan_sweep(["-m", *arguments, f"run_dir={tmp_path}"], lambda config: str(config.engine.model))
    assert sweep.mistakes == {}
    assert len({p.folder for p in sweep.planned}) == number


def test_without_data_one_line_names_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with (
        composed("experiment=pf_math500", "task.split=none") as config,
        pytest.raises(ConfigError, match=r"^task\.path=HuggingFaceH4/MATH-500: cannot be fetched"),
    ):
        plan_of(config)
