"""The report of a large run, and the browser it is opened in: for a test and for a benchmark."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from orchestrator.report.page import write_report
from orchestrator.storage.results import read_results
from orchestrator.storage.run_files import CONFIG, RESULTS, SUMMARY

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAX_BYTES = 32 * 2**20  # of searches: what the command line takes by default


def find_browser() -> str:
    """The browser of this machine. Raises RuntimeError where there is none: a test never skips for that."""
    names = (os.environ.get("CHROMIUM", ""), *CHROMIUM)
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        raise RuntimeError(
            "no Chromium: `make chromium` installs it as root, or name one: CHROMIUM=/path/to/it"
        )
    return found


@contextmanager
def launched() -> Iterator[Browser]:
    """A headless browser with nothing open."""
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=sandbox)
        yield browser
        browser.close()


def write_large_report(source: Path, folder: Path, num_problems: int) -> Path:
    """The report of ``num_problems`` problems, whose searches are those of a real run over and over."""
    folder.mkdir(parents=True)
    for name in (CONFIG, SUMMARY):
        shutil.copy(source / name, folder)
    stored = read_results(source)
    with (folder / RESULTS).open("w") as file:
        for i in range(num_problems):
            line = {**stored[i % len(stored)], "problem_id": f"problem-{i}", "question": f"question {i}"}
            file.write(json.dumps(line) + "\n")
    return write_report(folder, folder, MAX_BYTES)
