"""The pages of the documentation: their links lead somewhere, and the files, names and keys in them exist."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orchestrator.dotted import entries
from tests.named import PAGES, is_public, keys
from tests.test_house import PACKAGES, ROOT

# Keys whose parts below are another's, or a reader's: vLLM's arguments, variables of a chat template, ...
OPEN = (
    "engine.args", "engine.chat_options", "engine.extra_body", "engine.price", "verifier.engine",
    "verifier.options", "cluster.policy_replicas", "cluster.policy_gpus", "cluster.max_policy_replicas",
)  # fmt: skip
# What a page makes up, or says that there is not. (CONTRIBUTING makes up files; its own test runs them.)
INVENTED = {"conf/group", "cluster.controllers", "orchestrator.conf"}  # the last is installed, as conf/
GROUPS = ("task", "verifier", "engine", "strategy", "cluster", "tracker", "limits")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_KEY = re.compile(rf"(?<![\w./-])(?:{'|'.join(GROUPS)})(?:\.[a-z]\w*)+(?=[=`, |])")
_PATH = re.compile(rf"(?<![\w./-])(?:{'|'.join((*PACKAGES, 'conf', 'docs', 'tests'))})/[\w./-]*\w")
_NAME = re.compile(rf"(?<![\w./-])(?:{'|'.join((*PACKAGES, 'tests'))})(?:\.[A-Za-z_]\w*)+")


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def broken(page: Path, text: str) -> Iterator[str]:
    """The links of a page's text that lead nowhere."""
    for link in _LINK.findall(text):
        if link.startswith(("http://", "https://")):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield link


def missing(page: Path, text: str) -> Iterator[str]:
    """The files, modules and keys of a page's text that do not exist."""
    for path in _PATH.findall(text):
        if not (ROOT / path).exists() and not (page.parent / path).exists():
            yield path
    for name in _NAME.findall(text):
        if name == "strategies.md":  # a page
            continue
        if not name.startswith("tests.") and not is_public(name):
            yield name
        if name.startswith("tests.") and not (ROOT / f"{name.replace('.', '/')}.py").exists():
            yield name
    for key in _KEY.findall(text):
        if not key.startswith(OPEN) and key not in keys():
            yield key


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page: Path) -> None:
    assert list(broken(page, page.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("page", [p for p in PAGES if p.stem != "CONTRIBUTING"], ids=lambda page: page.stem)
def test_files_names_and_keys_exist(page: Path) -> None:
    assert set(missing(page, page.read_text(encoding="utf-8"))) - INVENTED == set()


def defaults() -> dict[str, object]:
    """What `python run.py` takes for each key of the configuration, in the groups that it chooses."""
    config = yaml.safe_load((ROOT / "conf" / "config.yaml").read_text(encoding="utf-8"))
    for group, name in ((g, n) for each in config["defaults"][:6] for g, n in each.items()):
        config[group] = yaml.safe_load((ROOT / "conf" / group / f"{name}.yaml").read_text(encoding="utf-8"))
    return dict(entries(config))


def test_keys_are_stated_with_their_defaults() -> None:
    section = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8").split("\n## Keys\n")[1]
    rows = re.findall(r"^\| (`.+?`) \| [^|]+ \| ([\w.]+) \|", section.split("\n## ")[0], flags=re.MULTILINE)
    stated = {cell.strip("`="): default for cell, default in rows if default != "computed"}
    known = defaults()
    assert len(stated.keys() & known.keys()) > 30
    read = {key: yaml.safe_load(default) for key, default in stated.items()}
    assert read == {key: known.get(key) for key in stated}


def test_what_is_gone_is_seen() -> None:
    page = ROOT / "docs" / "faults.md"
    text = "[a](nothing.md) [b](models.md#nothing) [c](#how-it-is-tested) [d](cluster.md#keys)"
    assert list(broken(page, text)) == ["nothing.md", "models.md#nothing"]
    gone = ["actors/configs.py", "orchestrator.difficulty", "tests.bench.bench_nothing", "engine.maximum"]
    text = f"{gone[0]} `python -m {gone[1]}` {gone[2]} {gone[3]}=1 orchestrator.report engine.model=x"
    assert list(missing(page, text)) == gone
