r"""Values as a shell passes them, spelled for Hydra: what its grammar cannot read is text.

Hydra's grammar has no ``é``, ``#``, ``<`` or ``;``, reads ``=`` as the next key and ``a,b`` as two values,
and keeps the ``\n`` that a shell keeps. A user has quoted a command once, for the shell.
"""

from __future__ import annotations

import os
import re
import shlex
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, QuotedString
from hydra.errors import HydraException

from orchestrator.errors import ConfigError, MurmurationError
from orchestrator.storage.folders import in_home
from orchestrator.terminal import program

# The last part of keys that name a file or a folder, and of keys whose value is text.
_PATHS = frozenset({"path", "lora", "model", "tokenizer"})
_TEXTS = frozenset(
    {"template", "question_template", "step_template", "instruction", "system", "delimiter", "answer_marker"}
    | {"answer_after", "thinking_start", "thinking_end", "good", "bad", "verdict", "before_first", "between"}
    | {"step_tag", "prompt_field", "answer_field", "id_field", "name", "subset", "split", "revision"}
)
# They hold folders only, and are quoted where they are used.
_FOLDERS = frozenset({"run_dir", "resume"})
# LaTeX commands that begin like an escaped line break.
_LATEX = re.compile(
    "n(e|eq|eg|abla|atural|earrow|ewline|ewcommand|exists|geq|gtr|i|leq|less|mid|oindent|onumber|ormalsize|ot|otag"
    "|otin|parallel|prec|rightarrow|subseteq|u|warrow)"
    "|t(ext[a-z]*|imes|heta|an|anh|o|au|op|frac|binom|ilde|iny|herefore|hick[a-z]*|hin[a-z]*|riangle[a-z]*|ag)"
)
_ESCAPES = re.compile(r"(?:\\{1,2}r)?\\{1,2}[nt](?P<rest>[a-z]*)")
_GRAMMAR = re.compile(r"[\[\]{}()'\"]")


def spelled(argument: str, *, is_sweep: bool) -> str:
    """Return an override in Hydra's spelling. Raises MurmurationError for an ambiguous one."""
    key, equals, value = argument.partition("=")
    name = key.lstrip("+")
    if key.startswith("~") or name.startswith("hydra"):
        return argument
    if not equals or not name:
        allowed = "must be KEY=VALUE; a value with a space in it needs quotes around the argument"
        raise MurmurationError(f"{argument}: {allowed}")
    if name in _FOLDERS:
        return f"{key}={in_home(value)}" if value.startswith("~") else argument
    override = _parsed(f"{key}={value}")
    if override is None:
        override = _parsed(_literal(key, value, is_sweep=is_sweep))
    elif _is_text(name.rpartition(".")[2], value, override, is_sweep=is_sweep):
        override = _parsed(f"{key}={quote(_expanded(name, value))}")
    if override is None:  # even quotes do not help; Hydra reports why
        return argument
    if override.is_sweep_override() and not is_sweep:
        raise MurmurationError(_ambiguous(key, value))
    return _broken_into_lines(key, override, name.rpartition(".")[2])


def quote(text: str) -> str:
    """Return a text as Hydra's grammar writes it."""
    # To Hydra a backslash is an escape only in backslashes before a quote.
    escaped = re.sub(r"(\\*)('|$)", lambda m: 2 * m[1] + ("\\'" if m[2] else ""), text)
    return f"'{escaped}'"


def with_line_breaks(text: str) -> str:
    r"""Return the text with ``\n`` and ``\t`` replaced by their characters; LaTeX (``\neq``) stays."""

    def character(match: re.Match[str]) -> str:
        rest = match["rest"]
        letters = match[0].removesuffix(rest).replace("\\", "")
        if _LATEX.fullmatch(letters + rest):
            return match[0]
        return letters.translate(_CHARACTERS) + rest

    return _ESCAPES.sub(character, text)


_CHARACTERS = str.maketrans({"n": "\n", "t": "\t", "r": "\r"})


def _parsed(argument: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException:
        return None


def _expanded(name: str, value: str) -> str:
    is_path = name.rpartition(".")[2] in _PATHS
    return in_home(value) if is_path and value.startswith("~") else value


def _literal(key: str, value: str, *, is_sweep: bool) -> str:
    """Return the argument with what Hydra cannot read quoted as text."""
    if value[0] in "'\"":
        inner = value[1:-1] if value[-1] == value[0] and len(value) > 1 else value[1:]
        raise ConfigError(key, value, f"has quotes that do not match: write {_typed(key, inner)}")
    is_list = value[0] == "[" and value[-1] == "]"
    if not is_list and not (is_sweep and "," in value):
        return f"{key}={quote(_expanded(key, value))}"
    pieces = (value[1:-1] if is_list else value).split(",")
    if all(_parsed(f"k={piece}") or not _GRAMMAR.search(piece) for piece in pieces):
        listed = ",".join(_piece(key, piece) for piece in pieces)
        return f"{key}=[{listed}]" if is_list else f"{key}={listed}"
    if is_list:  # a text between brackets
        return f"{key}={quote(value)}"
    allowed = f"may be one value or several: put each into quotes, as in {_typed(key, value)}"
    raise ConfigError(key, value, allowed)


def _piece(key: str, piece: str) -> str:
    return piece if piece.strip() and _parsed(f"k={piece}") else quote(_expanded(key, piece.strip()))


def _is_text(last: str, value: str, override: Override, *, is_sweep: bool) -> bool:
    """Return whether a value that Hydra reads as something else can only be meant as text."""
    if last not in _PATHS | _TEXTS or value == "null" or value[:1] in ("'", '"') or "${" in value:
        return False
    if override.is_sweep_override():
        return os.path.exists(value) if last in _PATHS else not is_sweep
    return not isinstance(override.value(), str) or value != value.strip()


def _ambiguous(key: str, value: str) -> str:
    """Return the message for several values without ``-m``, with what may have been meant."""
    allowed = f"several values need -m: {program()} -m ..."
    if key.rpartition(".")[2] in _PATHS:
        allowed += f"; one with a comma in it needs quotes: {_typed(key, value)}"
    elif "." in key and "(" not in value:
        allowed += f"; a list needs brackets: '{key}=[{value}]'"
    return f"{key}={value}: {allowed}"


def _typed(key: str, text: str) -> str:
    """Return what to type in a shell for a text that Hydra must not parse."""
    argument = f"{key}={quote(text)}"
    return shlex.quote(argument) if re.search(r'["$`!\\]', argument) else f'"{argument}"'


def _broken_into_lines(key: str, override: Override, last: str) -> str:
    """Return the argument with its escaped line breaks as line breaks, except in paths."""
    line = str(override.input_line)
    if last in _PATHS or not _ESCAPES.search(line):
        return line
    value = override.value()
    if isinstance(value, ChoiceSweep) and value.simple_form and not value.tags and not value.shuffle:
        written = ",".join(_written(each) for each in value.list)
    elif override.is_sweep_override():
        raise ConfigError(key, line.partition("=")[2], "write the values one after another, with commas")
    else:
        written = _written(value)
    return f"{key}={written}"


def _written(value: Any) -> str:
    """Return a parsed value in Hydra's grammar, its texts with line breaks."""
    match value:
        case QuotedString():
            return quote(with_line_breaks(value.text))
        case str():
            return quote(with_line_breaks(value))
        case list():
            return f"[{','.join(map(_written, value))}]"
        case dict():
            return f"{{{','.join(f'{name}:{_written(each)}' for name, each in value.items())}}}"
        case None:
            return "null"
        case bool():
            return str(value).lower()
    return str(value)
