"""The commands of the documentation, as a shell hands them over: each is read, and each run is composed.

The shells are real; the programs are stand-ins that note their arguments. What would load a model, read data
or need a cluster is left out, everything before that is not.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from actors.diffusion_engine import config as diffusion_config
from actors.transformers_engine import config as transformers_config
from actors.vllm_engine import config as vllm_config
from orchestrator.calibrate import __main__ as calibrate
from orchestrator.config.arguments import without_comment
from orchestrator.config.command_line import (
    continued_command,
    folder_names,
    is_sweep,
    with_open_keys,
)
from orchestrator.config.compose import only_composed
from orchestrator.config.flags import check_flags
from orchestrator.config.plan import plan_of
from orchestrator.exchange import __main__ as exchange
from orchestrator.planning import command as planning
from orchestrator.replay import __main__ as replay
from orchestrator.report import __main__ as report
from orchestrator.runs import sweep
from orchestrator.runs.points import expand
from orchestrator.saturation import __main__ as saturation
from orchestrator.stored.task import StoredTask
from orchestrator.tasks.dataset import DatasetTask

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("python", "make", "ray", "wandb", "tail")
SHELLS = [shell for shell in ("bash", "zsh") if shutil.which(shell)]
TOOLS: dict[str, Callable[[list[str]], int]] = {
    "orchestrator.report": report.main,
    "orchestrator.replay": replay.main,
    "orchestrator.exchange": exchange.main,
    "orchestrator.saturation": saturation.main,
    "orchestrator.calibrate": calibrate.main,
    "orchestrator.allocation": planning.main,
}
# What a page leaves to its reader.
STANDS_FOR = {"shortest_vote": "greedy", "=NAME": "=greedy", "=N": "=4"}


def documented(page: Path) -> Iterator[str]:
    """Every command of a page: of a block without a language, of a table's cell, of a sentence."""
    text = page.read_text(encoding="utf-8")
    for block in re.findall(r"^ *```(?:bash|sh)?\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            if line.split(" ")[0] in PROGRAMS or re.match(r"[a-z_]+(\.[a-z_]+)+=", line):
                yield line.strip()
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose):
        line = " ".join(span.split())
        is_whole = re.match(r"(python (run\.py|-m)|make) ", line) and "..." not in line
        if is_whole or re.match(r"[a-z_]+(\.[a-z_]+)+='", line):
            yield line


ALL = {line: page.stem for page in reversed(PAGES) for line in documented(page)}
COMMANDS = [pytest.param(line, id=f"{n} {page}: {line[:70]}") for n, (line, page) in enumerate(ALL.items())]


def handed_over(shell: str, folder: Path) -> dict[str, list[str]]:
    """The words of each line's programs, as one shell makes them; a fragment is given to ``given``."""
    script = [f"{program}() {{ printf '%s\\n' {program} \"$@\" >&3; }}" for program in (*PROGRAMS, "given")]
    for line in ALL:
        known = line if line.split(" ", maxsplit=1)[0] in PROGRAMS else f"given {line}"
        script += [known, "printf '\\0' >&3"]
    flags = ["-f"] if shell == "zsh" else []
    command = [shell, *flags, "-e", "-c", "exec 3>noted\n" + "\n".join(script)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    noted = (folder / "noted").read_text().split("\0")
    return {line: words.splitlines() for line, words in zip(ALL, noted[:-1], strict=True)}


@pytest.fixture(scope="module")
def in_shells(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, list[str]]]:
    return [handed_over(shell, tmp_path_factory.mktemp(shell)) for shell in SHELLS]


def fails_in_zsh(line: str) -> str | None:
    """What zsh would read otherwise than bash, outside of quotes."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"|\\.", "", line)
    if found := re.search(r"[\[\](){}?^<>!#&;|]|(?<!\S)[=~]|\*(?=\S*=)", bare):
        return found[0]
    return "an open quote" if re.search("['\"]", bare) else None


@pytest.mark.parametrize("line", COMMANDS)
def test_zsh_reads_it_as_bash_does(line: str) -> None:
    if not line.startswith("wandb sync"):  # files to be found
        assert fails_in_zsh(line) is None


def test_the_rule_knows_what_zsh_reads_otherwise() -> None:
    for line in ("x=[a]", "a # b", "x=(1)", "a {b,c}", "python =ls", "x='a", "a?b", "x=a*b=c", "a!b", "a&b"):
        assert fails_in_zsh(line), line
    for line in ("x='[a]'", 'x="a?"', "a=b --c d/e.f", r"a \# b", "engine.system=''", "a=~/b"):
        assert fails_in_zsh(line) is None, line


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the commands name: a run, a sweep, a task of one's own; every model is there."""
    monkeypatch.chdir(tmp_path)
    for configs in (diffusion_config, transformers_config, vllm_config):
        monkeypatch.setattr(configs, "check_model_path", lambda *_: None)
    for task in (DatasetTask, StoredTask):
        monkeypatch.setattr(task, "num_problems", 10_000)
    monkeypatch.setattr(sweep, "expand", lambda *how: expand(*how)[:: max(1, len(expand(*how)) - 1)])
    mine = tmp_path / "my_conf" / "task" / "mine.yaml"
    mine.parent.mkdir(parents=True)
    mine.write_text((ROOT / "conf" / "task" / "chain.yaml").read_text())
    for name, is_a_sweep in (("outputs/2026-01-01_12-00-00", False), ("curve", True)):
        (tmp_path / name).mkdir(parents=True)
        command = {"overrides": ["seed=0,1" if is_a_sweep else "seed=0"], "sweep": is_a_sweep}
        (tmp_path / name / "command.json").write_text(json.dumps(command))
    return tmp_path


def compose(arguments: list[str], folder: Path) -> None:
    """As ``run.py`` does, up to the plan."""
    arguments = [re.sub(r"^(resume|run_dir)=/(data|shared)/", rf"\1={folder}/", a) for a in arguments]
    run = folder / "outputs" / "2026-01-01_12-00-00"
    arguments = [f"resume={run}" if a == "resume=DIR" else a for a in arguments]
    arguments = [f"resume={folder}/curve" if a == f"resume={folder}/first" else a for a in arguments]
    # Files that an earlier command of the page writes: tests/test_measured_documents.py runs them all.
    arguments = [a for a in arguments if not a.startswith(("plan=", "verifier.calibration="))]
    given = without_comment(arguments)
    check_flags(given)
    command = folder_names(continued_command(with_open_keys(given)))
    if not is_sweep(command):
        if {"--help", "--cfg"}.isdisjoint(command):
            only_composed(command, plan_of)
        return
    planned = sweep.plan_sweep(command, lambda config: plan_of(config).model_key)
    assert not planned.mistakes


def read(words: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if words[:3] == ["ray", "job", "submit"]:
        words = words[words.index("--") + 1 :]
    match words:
        case ["python", "run.py", *rest]:
            compose(rest, folder)
        case ["ray", "submit", _, "run.py", "--", *rest]:
            compose(rest, folder)
        case ["given", *rest]:
            base = ["engine=vllm", "engine.model=m", "strategy=self_consistency", "verifier=none"]
            compose([*base, *rest], folder)
        case ["python", "-m", module, *rest] if module in TOOLS:
            with contextlib.suppress(SystemExit):
                TOOLS[module](rest)
            said = capsys.readouterr().err
            assert not said or re.search(
                r"error: (RUN_OR_SWEEP_DIR|RUN_DIR|RUN|FILE|SWEEP_DIR|SWEEP|reference)=", said
            )
        case ["python", "-m", module, *_]:
            assert find_spec(module)
        case ["make", target, *_]:
            assert re.search(rf"^{re.escape(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.heavy
@pytest.mark.parametrize("line", COMMANDS)
def test_a_shell_hands_over_what_is_meant(
    line: str, place: Path, capsys: pytest.CaptureFixture[str], in_shells: list[dict[str, list[str]]]
) -> None:
    for words in {tuple(in_shell[line]) for in_shell in in_shells}:
        assert words
        read([_filled(word) for word in words], place, capsys)


def _filled(word: str) -> str:
    return next((word.replace(k, v) for k, v in STANDS_FOR.items() if word.endswith(k)), word)


def test_a_comment_that_zsh_hands_over_is_none() -> None:
    assert without_comment(["seed=1", "#", "a", "seed"]) == ["seed=1"]
    assert without_comment(["task.path=a#b"]) == ["task.path=a#b"]
