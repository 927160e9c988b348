"""``resume=DIR`` and run directories with any name."""

import json
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.command_line import check_choices, continued_command, folder_names, with_open_keys
from orchestrator.errors import ConfigError
from orchestrator.runs.sweep import plan_sweep

NAMES = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]), min_size=1)


def make_run(folder: Path, *overrides: str) -> Path:
    folder.mkdir()
    (folder / "command.json").write_text(json.dumps({"overrides": overrides}))
    return folder


def test_a_plain_command_stays() -> None:
    assert continued_command(["budget=4", "resume=true"]) == ["budget=4", "resume=true"]
    assert continued_command(["-m", "resume=False"]) == ["-m", "resume=False"]


def test_the_saved_command_comes_back_and_the_new_one_wins(tmp_path: Path) -> None:
    run_dir = make_run(tmp_path / "a=1,b=2", "strategy=greedy", "budget=8", "run_dir=x", "concurrency=4")
    command = continued_command(["concurrency=9", f"resume={run_dir}"])
    assert command == ["strategy=greedy", "budget=8", "concurrency=9", f"run_dir='{run_dir}'", "resume=true"]


def test_no_run_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be true, false or the directory of a run"):
        continued_command([f"resume={tmp_path}"])


@pytest.mark.parametrize("text", ["", "[]", "null", '{"overrides": 3}', '{"sweep": true}', "\xff"])
def test_a_command_that_cannot_be_read_is_said(text: str, tmp_path: Path) -> None:
    (tmp_path / "command.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"^resume=.*: its command.json was not written by Murmuration: "):
        continued_command([f"resume={tmp_path}"])


@given(NAMES)
def test_hydra_reads_back_any_directory_name(name: str) -> None:
    path = f"/runs/{name}x"
    if "${" in path:
        return
    (argument,) = continued_command([f"run_dir={path}"])
    assert OverridesParser.create().parse_override(argument).value() == path


def test_a_sweep_over_a_free_key_has_a_folder_for_each_value() -> None:
    arguments = ["-m", "concurrency=1,4", "cluster.engine_replicas=2", "run_dir=x", "seed=0,1"]
    *same, added = folder_names(arguments)
    assert same == arguments
    assert added == "hydra.job.config.override_dirname.exclude_keys=[cluster.engine_replicas,run_dir]"
    assert folder_names(["seed=1"]) == ["seed=1"]


def test_what_a_library_names_needs_no_plus() -> None:
    given = [
        "engine=vllm",
        "engine.args.block_size=64",
        "verifier.args.a.b=1,2",
        "+engine.args.x=1",
        "engine.args={}",
        "engine@policies.draft=vllm",
        "policies.judge=engine",
        "engine.price.generated=2",
        "cluster.policy_replicas.draft=2",
    ]
    assert with_open_keys(given) == [
        "engine=vllm",
        "++engine.args.block_size=64",
        "++verifier.args.a.b=1,2",
        "+engine.args.x=1",
        "engine.args={}",
        "+engine@policies.draft=vllm",
        "++policies.judge=engine",
        "++engine.price.generated=2",
        "++cluster.policy_replicas.draft=2",
    ]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("task=null", "task=null: must be the name of a file of conf/task"),
        ("task=1", "task=1: must be the name of a file of conf/task"),
        (
            "+engine@policies.draft=countdown",
            "engine@policies.draft=countdown: chooses a task too: take engine@",
        ),
        ("strategy=true", "strategy=true: must be the name of a file of conf/strategy"),
        ("engine=", "engine=: must be the name of a file of conf/engine"),
        ("task/prompt=null", "task/prompt=null: must be the name of a file of conf/task/prompt"),
        ("experiment=null", "experiment=null: must be the name of a file of conf/experiment; leave it out"),
        ("hydra/launcher=null", "hydra/launcher=null: must be the name of a file"),
    ],
)
def test_a_choice_that_is_no_name_is_refused_alone_and_in_a_sweep(argument: str, said: str) -> None:
    with pytest.raises(ConfigError) as alone:
        check_choices(["-m", "--config-dir", "task=", argument])
    assert str(alone.value).startswith(said)
    with pytest.raises(ConfigError) as together:
        plan_sweep(["-m", "budget=1,2", argument], lambda config: "")
    assert str(together.value) == str(alone.value)


def test_choices_by_name_pass() -> None:
    check_choices(["task='chain'", "strategy=greedy,best_of_n", "experiment=[a,b]", "~tracker", "seed=null"])
