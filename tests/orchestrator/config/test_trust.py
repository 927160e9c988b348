"""What the folder of a stranger may ask for, and what it may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import HydraException

from orchestrator.config.build import build_node
from orchestrator.config.command_line import continued_command, take_trust
from orchestrator.config.trust import Shipped, refuse, shipped, wishes_of_config, wishes_of_overrides
from orchestrator.errors import ConfigError
from orchestrator.replay.__main__ import read_recorded
from orchestrator.storage import signing
from orchestrator.storage.run_files import COMMAND, CONFIG
from tests.orchestrator.report.made_runs import line, write_run


@pytest.fixture(scope="module")
def known() -> Shipped:
    return shipped()


def make_folder(folder: Path, *overrides: str, **fields: Any) -> Path:
    folder.mkdir()
    (folder / COMMAND).write_text(json.dumps({"overrides": overrides, **fields}))
    return folder


def sign(folder: Path) -> None:
    signing.sign(folder, signing.signed_bytes(folder))


@pytest.mark.parametrize(
    "override",
    [
        "budget=8",
        "seed=range(0,100)",
        "strategy=best_of_n,astar",
        "strategy.selection=weighted_majority",
        "task=arc_challenge",
        "task.choices._target_=orchestrator.ListedChoices",
        "engine._target_=actors.VllmEngineConfig",
        "engine.base_url=http://127.0.0.1:8000/v1",
        "engine.api_key_env=null",
        "engine.trust_remote_code=false",
        "engine.model='embedded:chain-policy'",
        "engine@verifier.engine=vllm",
        "verifier/format=outcome",
        "experiment=pf_math500",
        "tracker=wandb",
        "tracker.project=murmuration",
        "limits={generated_tokens:500}",
        "~verifier.revision",
        "cluster.engine_replicas=2",
    ],
)
def test_what_the_groups_offer_is_fine(known: Shipped, override: str) -> None:
    assert wishes_of_overrides([override], known) == []


@pytest.mark.parametrize(
    ("override", "wants"),
    [
        ("engine._target_=subprocess.Popen", "build subprocess.Popen (engine._target_)"),
        ("+engine.chat_options._target_=subprocess.Popen", "build subprocess.Popen"),
        ("task.choices={_target_:os.system,command:ls}", "build os.system (task.choices._target_)"),
        ("+engine._args_=[ls]", "set engine._args_=ls"),
        ("+engine._partial_=true", "set engine._partial_=True"),
        ("engine=../../tmp/evil", "set engine=../../tmp/evil"),
        ("engine=/tmp/evil", "set engine=/tmp/evil"),
        ("experiment=[pf_math500,../evil]", "set experiment=../evil"),
        ("engine.base_url=http://x.example/v1", "send every prompt to http://x.example/v1"),
        ("engine.base_url=choice(http://x.example/v1,b)", "send every prompt to http://x.example/v1"),
        ("engine.api_key_env=HF_TOKEN", "send the key in $HF_TOKEN to the server at its engine.base_url"),
        ("verifier.engine.api_key_env=HF_TOKEN", "send the key in $HF_TOKEN"),
        ("engine.trust_remote_code=true", "run the Python code of its checkpoint"),
        ("engine.args.worker_extension_cls=evil", "set engine.args.worker_extension_cls=evil"),
        ("engine.args={trust_remote_code:true}", "run the Python code of its checkpoint"),
        ("engine.args.block_size=64", "set engine.args.block_size=64"),
        ("engine.model=/models/evil", "set engine.model=/models/evil"),
        ("engine.tokenizer=evil", "set engine.tokenizer=evil"),
        ("task.path=/home/me/diary.jsonl", "set task.path=/home/me/diary.jsonl"),
        ("task.name='${oc.env:HOME}'", "set task.name=${oc.env:HOME}"),
        ("task.name=a${oc.decode:b}c", "set task.name=a${oc.decode:b}c"),
        ("tracker.entity=stranger", "send figures elsewhere (tracker.entity=stranger)"),
        ("cluster.address=auto", "set cluster.address=auto"),
        ("engine.template='{question:>99999999999}'", "set engine.template={question:>99999999999}"),
        ("hydra/launcher=joblib", "configure Hydra itself (hydra/launcher=joblib)"),
        ("hydra/job_logging=default", "configure Hydra itself"),
        ("+engine@hydra.launcher=vllm", "configure Hydra itself"),
        ("hydra.searchpath=[file:///tmp/evil]", "configure Hydra itself"),
        ("+hydra.callbacks.x._target_=subprocess.Popen", "configure Hydra itself"),
        ("+hydra.job.env_set.LD_PRELOAD=/tmp/x.so", "configure Hydra itself"),
        ("cassette=/home/me/tape", "set cassette=/home/me/tape"),
        ("cassette=tape", "set cassette=tape"),
        ("engine.x=glob(*)", "set engine.x=glob(*)"),
        ("seed=range(0,1000000000)", "set seed=range(0,1000000000)"),
    ],
)
def test_what_only_a_folder_says_is_refused_in_words(known: Shipped, override: str, wants: str) -> None:
    wishes = wishes_of_overrides([override], known)
    assert wishes
    with pytest.raises(ConfigError) as caught:
        refuse("resume", Path("DIR"), wishes)
    assert wants in str(caught.value) and "trust=true" in str(caught.value)


def test_the_line_names_the_key_and_who_would_get_it(known: Shipped) -> None:
    wishes = wishes_of_overrides(["engine.api_key_env=K", "engine.base_url=http://x.example/v1"], known)
    with pytest.raises(
        ConfigError, match=r"send the key in \$K to http://x\.example/v1 \(engine.api_key_env\)"
    ):
        refuse("resume", Path("DIR"), wishes)


def test_a_folder_of_this_command_line_names_classes_too(known: Shipped, tmp_path: Path) -> None:
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "mine.yaml").write_text("_target_: mine.Task\npath: /data/mine.jsonl\n")
    config = {"task": {"_target_": "mine.Task", "path": "/data/mine.jsonl"}}
    assert wishes_of_config(config, known)
    assert wishes_of_config(config, shipped([tmp_path])) == []


@pytest.mark.parametrize("override", ["foo bar", "a=b=", "engine.x=" + "{a:" * 5000 + "1" + "}" * 5000])
def test_what_is_no_override_is_said(known: Shipped, override: str) -> None:
    with pytest.raises((ConfigError, HydraException)):
        wishes_of_overrides([override], known)


def test_a_strangers_command_is_not_continued(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", "engine._target_=subprocess.Popen")
    with pytest.raises(ConfigError, match=r"^resume=.*would build subprocess.Popen \(engine._target_\)"):
        continued_command([f"resume={folder}"])
    with pytest.raises(ConfigError, match="would build"):  # nor may the folder say that it is trusted
        continued_command(
            [f"resume={make_folder(tmp_path / 'b', 'trust=true', 'engine._target_=os.system')}"]
        )


def test_what_the_user_says_oneself_is_fine(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", "budget=4", "engine.base_url=http://x.example/v1")
    command = continued_command([f"resume={folder}", "engine.base_url=http://mine.example/v1"])
    assert command[:2] == ["budget=4", "engine.base_url=http://mine.example/v1"]


def test_trust_is_said_once_and_signs(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", "engine.base_url=http://x.example/v1")
    trusted = continued_command([f"resume={folder}", "trust=true"])
    assert trusted[0] == "engine.base_url=http://x.example/v1" and "trust=true" not in trusted
    assert continued_command([f"resume={folder}"]) == trusted
    (folder / COMMAND).write_text(json.dumps({"overrides": ["engine.base_url=http://y.example/v1"]}))
    with pytest.raises(ConfigError, match="has changed since"):
        continued_command([f"resume={folder}"])


def test_trust_is_true_or_false() -> None:
    assert take_trust(["a=1", "trust=True"]) == (True, ["a=1"])
    assert take_trust(["trust=false", "a=1"]) == (False, ["a=1"])
    with pytest.raises(ConfigError, match="trust=maybe: must be true or false"):
        take_trust(["trust=maybe"])


def test_flags_come_back_first_and_those_of_this_command_win(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "run", "--config-dir=/a", "--config-name=c", "task=mine")
    sign(folder)
    assert continued_command([f"resume={folder}"])[:3] == ["--config-dir=/a", "--config-name=c", "task=mine"]
    given = continued_command(["-cd", "/b", f"resume={folder}"])
    assert given[:4] == ["--config-name=c", "-cd", "/b", "task=mine"]


@pytest.mark.parametrize("flags", [["--config-dir", "/evil"], ["-cd=/evil"], ["--config-path=/evil"]])
def test_a_strangers_flags_are_refused(tmp_path: Path, flags: list[str]) -> None:
    folder = make_folder(tmp_path / "run", *flags)
    with pytest.raises(ConfigError, match="read configurations of a folder"):
        continued_command([f"resume={folder}"])
    assert continued_command(["--config-dir=/mine", "-cp=/mine", f"resume={folder}"])


def test_no_other_flag_comes_back(tmp_path: Path) -> None:
    """``--experimental-rerun`` unpickles a file."""
    folder = make_folder(
        tmp_path / "run", "--experimental-rerun", "x.pkl", "--experimental-rerun=x.pkl", "budget=4"
    )
    sign(folder)
    assert continued_command([f"resume={folder}"])[0] == "budget=4"


@pytest.mark.parametrize("value", ["x" * 300_000, 7])
def test_a_command_of_any_other_form_is_said(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ConfigError, match="was not written by Murmuration"):
        continued_command([f"resume={make_folder(tmp_path / 'run', value)}"])


def test_a_knob_of_plain_data_never_builds(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    evil = {"_target_": "pathlib.Path.touch", "self": str(mark)}
    node = {"_target_": "actors.VllmEngineConfig", "model": "embedded:chain-policy"}
    for knob in ("args", "chat_options", "template", "max_context"):
        with pytest.raises(
            ConfigError, match=rf"engine.{knob}._target_=pathlib.Path.touch: .*nothing is built"
        ):
            build_node({**node, knob: evil}, "engine")
    assert not mark.exists()


def test_a_replay_builds_what_the_groups_name_alone(tmp_path: Path) -> None:
    task = {"_target_": "subprocess.Popen", "args": ["touch", str(tmp_path / "mark")]}
    folder = write_run(tmp_path / "run", [line("a", True)], budget=1, config={"task": task})
    with pytest.raises(ConfigError, match=r"RUN_DIR=.*would build subprocess.Popen \(task._target_\)"):
        read_recorded(folder)
    assert read_recorded(folder, trusts=True).is_own
    sign(folder)
    assert read_recorded(folder).is_own
    (folder / CONFIG).write_text((folder / CONFIG).read_text() + " ")
    with pytest.raises(ConfigError, match="has changed since"):
        read_recorded(folder)
