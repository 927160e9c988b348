"""The examples of docs/serving.md, run as they are written, against a server of fakes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from tests.orchestrator.serving.served import Server, running

PAGE = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running() as server:
        yield server


def example(language: str, server: Server) -> str:
    """The page's one block of a language, with the server's address and a question that the fakes know."""
    (block,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert ADDRESS in block
    return str(block).replace(ADDRESS, server.url).replace("51 a/3 b+67 c-4", "abca")


def test_the_example_in_python(server: Server) -> None:
    out = StringIO()
    with redirect_stdout(out):
        exec(compile(example("python", server), "docs/serving.md", "exec"), {})
    assert re.search(r"\n \d+$", out.getvalue().rstrip())


@pytest.mark.heavy
def test_the_example_with_curl(server: Server) -> None:
    if shutil.which("curl") is None:
        pytest.skip("there is no curl")
    command = ["bash", "-c", f"{example('shell', server).strip()} -sS"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    reply = json.loads(ran.stdout)
    assert reply["search"]["strategy"] == "best_of_n" and reply["search"]["budget"] == 4
