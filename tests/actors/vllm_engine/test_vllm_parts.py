"""What surrounds vLLM, without it: stop rules, stretches of tokens, the guard, prompts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.checkpoints.adapters import Adapter
from actors.embedded.models import build_tokenizer
from actors.pool.placement import GPUS_VARIABLE
from actors.text.generation import Generation, StopRules
from actors.text.prompting import Prompter, PromptStyle
from actors.text.stepping import Detokenizer
from actors.vllm_engine.loading import _in_turn, count_parameters
from actors.vllm_engine.lora import Lora
from actors.vllm_engine.settings import _of_cards, _of_cores
from orchestrator.errors import ConfigError
from orchestrator.splitting import StepSplitter
from orchestrator.types import Finish
from tests.actors.small_models import ALPHABET, ask, byte_level_tokenizer

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def characters() -> Any:
    return build_tokenizer(ALPHABET)


def generation(tokenizer: Any, **request: Any) -> Generation:
    detokenizer = Detokenizer(tokenizer, len(tokenizer), frozenset({2}))
    asked = ask(**request)
    rules = StopRules.of(detokenizer, asked.ends)
    return Generation(asked, (1, 5), 100, rules, StepSplitter(asked, detokenizer, (1, 5)))


def ids(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def test_a_character_is_looked_for_among_tokens_alone(characters: Any) -> None:
    rules = generation(characters, delimiter="\n").rules
    assert rules.at_delimiter == {"stop_token_ids": [*ids(characters, "\n"), 2], "detokenize": False}
    assert rules.at_end == {"stop_token_ids": [2], "detokenize": False}
    assert rules.at_marker("#") == {"stop": ["#"], "stop_token_ids": [2]}


def test_a_longer_delimiter_is_looked_for_in_the_text_too() -> None:
    tokenizer = byte_level_tokenizer()
    rules = generation(tokenizer, delimiter="\n\n").rules
    stops = rules.at_delimiter
    assert stops["stop"] == ["\n\n"]
    texts = [tokenizer.decode([i]) for i in stops["stop_token_ids"] if i != 2]
    assert len(texts) > 1
    assert all("\n\n" in text and "\ufffd" not in text for text in texts)


def test_what_follows_the_end_of_a_step_is_left_out(characters: Any) -> None:
    """vLLM may compute a token or two more before it is told to stop."""
    going = generation(characters)
    tokens = ids(characters, "a5+1=6\nb6")
    going.take(tokens, [-0.5] * len(tokens), num_cached=0)
    reply = going.completion(1.0, has_logprobs=True)
    (step,) = reply.steps
    assert (step.text, step.finish, step.logprob) == ("a5+1=6\n", Finish.STEP, -3.5)
    assert reply.usage.generated_tokens == 7
    assert reply.usage.flops == 2 + 9 - 1


def test_after_the_marker_a_second_stretch_runs_to_the_end_of_the_step(characters: Any) -> None:
    going = generation(characters, to_end=True, max_tokens=40)
    first = going.seed
    assert going.stops == going.rules.at_marker("#")
    going.take(ids(characters, "a5+1=6\n#"), [0.0] * 8, num_cached=0)
    assert not going.is_done
    assert going.stops == going.rules.at_delimiter
    assert going.seed != first
    going.take(ids(characters, "6\n"), [0.0] * 2, num_cached=4)
    assert going.is_done
    assert [s.text for s in going.splitter.steps] == ["a5+1=6\n", "#6\n"]
    usage = going.completion(1.0, has_logprobs=True).usage
    assert (usage.cached_tokens, usage.flops) == (0, (2 + 8 - 1) + (2 + 8 - 4 + 2 - 1))


def test_stretches_go_on_after_a_step_that_has_the_marker_and_no_answer(characters: Any) -> None:
    going = generation(characters, to_end=True, max_tokens=40)
    seeds = []
    for text, is_to_marker in [("a5+1=6\n#", True), ("\n", False), ("b6#", True), ("7\n", False)]:
        assert not going.is_done
        assert going.stops == (going.rules.at_marker("#") if is_to_marker else going.rules.at_delimiter)
        seeds.append(going.seed)
        going.take(ids(characters, text), [0.0] * len(text), num_cached=0)
    assert going.is_done and len(set(seeds)) == 4
    assert [s.text for s in going.splitter.steps] == ["a5+1=6\n", "#\n", "b6#7\n"]


def test_the_first_limit_reached_is_the_one_that_counts(characters: Any) -> None:
    going = generation(characters, max_tokens=3)
    assert going.limit == 3
    going.take(ids(characters, "a5+"), [0.0] * 3, num_cached=0)
    assert going.is_done
    assert going.splitter.steps[-1].finish is Finish.LENGTH


PARENT = """
import subprocess, sys, time
from actors.environment import environment
from actors.vllm_engine.guard import Guard
guard = Guard()
with environment(guard.environ):
    child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(300)"])
print(child.pid, flush=True)
{then}
"""


@pytest.mark.parametrize("then", ["time.sleep(300)", "guard.release(); child.wait(); time.sleep(300)"])
def test_what_is_guarded_dies_with_its_parent_or_before(then: str) -> None:
    code = PARENT.replace("{then}", then)
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=ROOT, text=True)
    assert parent.stdout is not None
    child = Path(f"/proc/{int(parent.stdout.readline())}")
    if then.startswith("time"):
        assert child.exists()
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 60
    while child.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert not child.exists()


def test_parameters_are_counted_from_the_files(policy: Path) -> None:
    from safetensors.torch import load_file

    expected = sum(t.numel() for t in load_file(policy / "model.safetensors").values())
    assert count_parameters(str(policy), None) == expected


@pytest.mark.parametrize(
    ("gpus", "args", "expected"),
    [
        ("1", {}, {"gpu_memory_utilization": 0.9}),
        ("0.5", {}, {"gpu_memory_utilization": 0.45}),
        ("4", {}, {"tensor_parallel_size": 4, "distributed_executor_backend": "ray"}),
        (
            "4",
            {"tensor_parallel_size": 2, "pipeline_parallel_size": 2},
            {"distributed_executor_backend": "ray"},
        ),
        (
            "8",
            {"pipeline_parallel_size": 2},
            {"tensor_parallel_size": 4, "distributed_executor_backend": "ray"},
        ),
        ("0.5", {"pipeline_parallel_size": 1}, {"gpu_memory_utilization": 0.45}),
    ],
)
def test_a_replica_takes_the_cards_that_it_has(
    gpus: str, args: dict[str, Any], expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MURMURATION_GPUS", gpus)
    assert _of_cards("engine", args) == expected


@pytest.mark.parametrize(
    ("machine", "has_amx", "options", "block_size"),
    [
        ("x86_64", False, {}, 16),
        ("x86_64", True, {}, 16),
        ("x86_64", False, {"dtype": "bfloat16"}, 16),
        ("x86_64", True, {"dtype": "bfloat16"}, 32),
        ("aarch64", False, {}, 32),
        ("x86_64", False, {"args": {"worker_extension_cls": "mine.Extension"}}, 32),
        ("x86_64", False, {"args": {"tensor_parallel_size": 2}}, 32),
    ],
)
def test_blocks_on_a_cpu_are_the_smallest_that_its_attention_takes(
    machine: str, has_amx: bool, options: dict[str, Any], block_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: has_amx)
    arguments = _of_cores(options.get("dtype", "auto"), options.get("args", {}), {})
    assert arguments["block_size"] == block_size
    assert ("worker_extension_cls" in arguments) == (block_size == 16)


def test_more_cards_than_the_replica_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MURMURATION_GPUS", "1")
    with pytest.raises(
        ConfigError, match=r"tensor_parallel_size=4: the replica has 1 GPUs: set cluster.verifier_g"
    ):
        _of_cards("verifier", {"tensor_parallel_size": 4})
    with pytest.raises(
        ConfigError, match=r"pipeline_parallel_size=2: the replica has 1 GPUs: set cluster.eng"
    ):
        _of_cards("engine", {"pipeline_parallel_size": 2})


CHAT = (
    "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% if think %}<think>{% endif %}{% endif %}"
)


def told(style: PromptStyle, instruction: str = "be brief") -> str:
    tokenizer = byte_level_tokenizer()
    tokenizer.chat_template = CHAT
    ids = Prompter(tokenizer, style).token_ids("2+2?", instruction)
    return str(tokenizer.decode(ids, skip_special_tokens=False))


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        (PromptStyle(), "be brief\n2+2?\n"),
        (PromptStyle(template="Q: {question}\nA:"), "Q: 2+2?\nA:"),
        (PromptStyle(chat=True), "<system>be brief<user>2+2?<assistant>"),
        (PromptStyle(template="{instruction}: {question}", chat=True), "<user>be brief: 2+2?<assistant>"),
        (PromptStyle(chat=True, system=""), "<user>2+2?<assistant>"),
        (PromptStyle(chat=True, system="You {instruction}."), "<system>You be brief.<user>2+2?<assistant>"),
        (
            PromptStyle(chat=True, system="S", chat_options={"think": True}),
            "<system>S<user>2+2?<assistant><think>",
        ),
    ],
)
def test_a_prompt_is_rendered_as_it_is_configured(style: PromptStyle, expected: str) -> None:
    assert told(style) == expected


def test_a_style_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"engine.system=.*needs engine.chat=true"):
        PromptStyle(system="S")
    with pytest.raises(ConfigError, match=r"engine.template=.*must hold \{question\}"):
        PromptStyle(template="x")
    with pytest.raises(ConfigError, match="no other field"):
        PromptStyle(chat=True, system="{name}")
    with pytest.raises(ConfigError, match="has no chat template"):
        Prompter(byte_level_tokenizer(), PromptStyle(chat=True))


@pytest.fixture
def card_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that replicas with half of card 0 lock while they start."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv(GPUS_VARIABLE, "0.5")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    return tmp_path / f"murmuration-card-{os.getuid()}-0.lock"


def test_replicas_of_one_card_start_one_after_another(card_lock: Path) -> None:
    arguments = SimpleNamespace(kv_cache_memory_bytes=None)
    first_is_ready, second_is_alone = threading.Event(), threading.Event()

    def start() -> None:
        with _in_turn(arguments):
            assert first_is_ready.is_set()
            second_is_alone.set()

    with _in_turn(arguments):
        assert card_lock.exists()
        second = threading.Thread(target=start)
        second.start()
        assert not second_is_alone.wait(0.1)
        first_is_ready.set()
    second.join()
    assert second_is_alone.is_set()
    in_bytes = SimpleNamespace(kv_cache_memory_bytes=2**30)
    with _in_turn(in_bytes), _in_turn(in_bytes):
        pass  # they measure nothing: side by side


def test_a_link_in_the_place_of_a_cards_lock_is_not_followed(card_lock: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    card_lock.symlink_to(victim)
    alone = _in_turn(SimpleNamespace(kv_cache_memory_bytes=None))
    with pytest.raises(OSError, match="symbolic links"), alone:
        pass
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("group", ["engine", "verifier"])
def test_an_adapter_on_a_card_needs_half_precision(group: str) -> None:
    """vLLM's kernels assert it in a process that then ends without a reason."""
    lora = Lora(Adapter(f"{group}.lora", "here", Path("here")), None)
    vllm_config = SimpleNamespace(
        model_config=SimpleNamespace(dtype="torch.float32"), device_config=SimpleNamespace(device_type="cuda")
    )
    with pytest.raises(ConfigError, match=rf"{group}\.dtype=float32: must be float16 or bfloat16"):
        lora.check(vllm_config)
