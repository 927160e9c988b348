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
    assert found == {}


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
