"""What the program says is plain English: no message holds a word of the list below.

Every string literal of the source that holds a space and is no docstring is taken for a message: of an error,
an event, a warning, a usage text, whether it is raised at once or put together first.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from tests.test_house import ROOT, source_files, tree_of

# What is not said, and what is said instead.
WORDS = {
    r"tell|tells|told|telling": "report, log, state; distinguish",
    r"none of (ours|yours|this release)": "was not written by Murmuration, unknown",
    r"ask(s|ed|ing)? again": "retry, retried",
    r"in vain|thrown away|throws? away": "discarded",
    r"befell|befallen|befalls": "its failures",
    r"for ever": "forever",
    r"nobody|somebody|whoever": "no process, another process, the caller",
    r"so many": "n",
    r"(stand|stands|stood) (above|below|beside|there|in)": "is shown above, is in",
    r"(go|goes|going|went|gone) on": "resume, resumes, continues",
    r"at the (most|least)": "at most, at least",
    r"anew": "again",
    r"(come|comes|came) to nothing": "fails",
    r"wants?|wanted": "requires, requested",
}
_BARRED = {re.compile(rf"\b({words})\b", re.IGNORECASE): instead for words, instead in WORDS.items()}

# Messages that still hold one, as ``file: how its line begins``. Nothing is added here; it is to be empty.
REMAINING: frozenset[str] = frozenset(
    {
        "actors/diffusion_engine/engine.py: a masked-diffusion engine tells no likelihoods",
        "actors/pool/fleet.py: a %s call of problem %s with %d rows is asked agai",
        "actors/pool/member.py: it was restarted, and nobody saw it die",
        "actors/pool/metrics.py: rows that were asked again",
        "actors/text/chat_templates.py: told as",
        "actors/verifiers/config.py: must be tokens here: a server that takes texts alo",
        "orchestrator/config/command_line.py: is none of ours:",
        "orchestrator/config/trust.py: was not written by you on this machine, or has cha",
        "orchestrator/observe/milestones.py: the run goes on: %d of %d problems are done",
        "orchestrator/observe/tracking.py: %s: %s: %s; the run goes on without it",
        "orchestrator/protocols.py: tells no likelihoods",
        "orchestrator/replay/__main__.py: trust=        true: build what RUN_DIR names altho",
        "orchestrator/report/__main__.py: reference=    the directory of a run whose candida",
        "orchestrator/report/page.py: has no problems of these runs, or samples that do",
        "orchestrator/runs/execution.py: ; go on with: python run.py",
        "orchestrator/runs/sweep.py: interrupted; go on with: python run.py",
        "orchestrator/search/gate.py: nobody ends that wait but by cancelling it",
        "orchestrator/storage/journal.py: %s: %d lines are none of this release, or damaged:",
        "orchestrator/storage/json_reading.py: is none of ours",
        "orchestrator/storage/run_files.py: %s is damaged, or none of ours (%s): it is not use",
        "orchestrator/storage/signing.py: ; to go on with it may need trust=true (docs/secur",
        "orchestrator/tasks/dataset.py: must not go on after task.delimiter=",
        "orchestrator/tasks/grading/pool.py: did not start; what it wrote stands above",
        "orchestrator/verifiers/self_certainty.py: the engine told no log-probability of its step; se",
    }
)


def messages(tree: ast.AST) -> Iterator[str]:
    """The lines of every string literal with a space in it; docstrings, which are no arguments, are none."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield from (line.strip() for line in node.value.splitlines() if " " in node.value)


def barred(text: str) -> dict[str, str]:
    """The words of a text that are not said, with what is said instead."""
    return {match[0]: instead for words, instead in _BARRED.items() if (match := words.search(text))}


def test_messages_are_in_plain_english() -> None:
    found = {
        f"{path.relative_to(ROOT)}: {line[:50].strip()}": words
        for path in source_files()
        for line in messages(tree_of(path))
        if (words := barred(line))
    }
    assert {place: words for place, words in found.items() if place not in REMAINING} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('raise ConfigError("run_dir", path, "its command.json is none of ours")', {"none of ours"}),
        ('emit("request_retried", "a call of problem %s is asked again", name)', {"asked again"}),
        ("text = f'what {x} wrote stands above'", {"stands above"}),
        ('complain(f"{reason}; go on with: {command}")', {"go on"}),
        ('log.warning("a %s is retried", name)', set()),
        ('def f():\n    """Told by whoever calls."""', set()),
        ("x = table['told']", set()),
    ],
)
def test_the_list_finds_them(source: str, found: set[str]) -> None:
    assert {word for line in messages(ast.parse(source)) for word in barred(line)} == found
