"""The report in a real browser: figures, search, drawings, quick to open, and nothing leaves the file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from orchestrator.report.__main__ import main
from orchestrator.report.figures import MAX_BANDS
from orchestrator.storage.results import read_results
from orchestrator.storage.run_files import SUMMARY
from tests.orchestrator.conftest import STRATEGIES
from tests.orchestrator.real_runs import NUM_PROBLEMS, point_name
from tests.orchestrator.report.large_report import launched, write_large_report
from tests.orchestrator.report.made_runs import lines, write_run

# The runs are made within the first test that asks for them.
pytestmark = pytest.mark.timeout(300)

HEX_RUN = Path(__file__).parent / "hex_run"
NUM_LARGE = 10_000
MAX_OPEN_SECONDS = 2.0
WAIT_MS = 100_000  # far more than a page takes: other tests may need the processor too


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


class Opened:
    """A report in a page of the browser; what it logged and asked for is kept."""

    def __init__(self, page: Page, path: Path) -> None:
        self.page = page
        page.set_default_timeout(WAIT_MS)
        self.logged: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.logged.append(message.text))
        page.on("pageerror", lambda error: self.logged.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")

    def choose(self, run: str) -> None:
        labels = self.page.eval_on_selector_all("#run option", "all => all.map(o => o.textContent)")
        self.page.select_option("#run", index=next(i for i, label in enumerate(labels) if run in label))
        self.page.wait_for_function("document.querySelectorAll('#table tbody tr').length > 0")

    def open_problem(self, problem: str) -> None:
        self.page.get_by_role("button", name=problem, exact=True).click()
        self.page.wait_for_selector(f"#detail[data-ready='{problem}']")

    def rows(self) -> list[str]:
        found: list[str] = self.page.eval_on_selector_all(
            "#table tbody th", "all => all.map(cell => cell.textContent)"
        )
        return found

    def traces(self) -> list[dict[str, Any]]:
        """Every trace of every drawing, with the number of its marks."""
        script = """() => [...document.querySelectorAll('.drawing')].flatMap(box => box.data.map(trace => ({
            name: trace.name, type: trace.type, num: trace.x.length, x: [...trace.x], y: [...trace.y],
            sizes: Array.isArray(trace.marker?.size) ? [...trace.marker.size] : null,
            colours: Array.isArray(trace.marker?.color) ? [...trace.marker.color] : null })))"""
        found: list[dict[str, Any]] = self.page.evaluate(script)
        return found


@pytest.fixture
def opened(browser: Browser) -> Iterator[Any]:
    """Opens reports, and in the end asks whether one of them logged or fetched anything."""
    pages: list[Opened] = []

    def open_report(path: Path) -> Opened:
        pages.append(Opened(browser.new_page(viewport={"width": 1280, "height": 900}), path))
        return pages[-1]

    yield open_report
    for each in pages:
        each.page.close()
        assert each.logged == []
        assert [url for url in each.requests if not url.startswith(("file:", "data:", "blob:"))] == []
        assert sum(url.startswith("file:") for url in each.requests) == 1


@pytest.fixture(scope="module")
def report(sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    assert main([str(sweep), f"out={out}"]) == 0
    return out


def test_the_figures_are_files_and_in_the_page(report: Path, opened: Any) -> None:
    figures = sorted(path.name for path in (report / "figures").iterdir())
    names = ("n", "generated_tokens", "sequential_tokens", "reward_calls", "flops", "seconds")
    for name in [*(f"accuracy_{name}" for name in names), "pass_at_n"]:
        for suffix in ("svg", "png"):
            assert f"chain_engine_embedded-{name}.{suffix}" in figures
    assert (report / "figures" / figures[0]).read_bytes()[:4] == b"\x89PNG"
    page = opened(report / "report.html").page
    boxes = page.eval_on_selector_all(
        "figure svg", "all => all.map(f => [f.getAttribute('aria-label'), f.getBoundingClientRect().width])"
    )
    assert len(boxes) == 7 and all(label and width > 300 for label, width in boxes)
    # Three series with a line in each figure, and a band in each but the last.
    assert len(STRATEGIES) <= MAX_BANDS
    assert page.locator("[id$='-line']").count() == 7 * len(STRATEGIES)
    assert page.locator("[id$='-band']").count() == 6 * len(STRATEGIES)


def test_a_series_can_be_hidden(report: Path, opened: Any) -> None:
    page = opened(report / "report.html").page
    page.get_by_role("checkbox", name="best_of_n").uncheck()
    hidden = page.eval_on_selector_all("svg .off", "all => all.map(line => line.id)")
    index = STRATEGIES.index("best_of_n")
    assert len(hidden) == 13 and all(f"-series{index}-" in name for name in hidden)
    page.get_by_role("button", name="all", exact=True).click()
    assert page.locator("svg .off").count() == 0


def test_the_tables_tell_accuracy_and_differences(report: Path, sweep: Path, opened: Any) -> None:
    page = opened(report / "report.html").page
    summaries = [json.loads((sweep / point_name("astar", 4, seed) / SUMMARY).read_text()) for seed in (0, 1)]
    accuracy = sum(s["accuracy"] for s in summaries) / 2
    tokens = sum(s["usage"]["generated_tokens"] for s in summaries) / 2 / NUM_PROBLEMS
    row = page.locator("tr", has_text=re.compile(r"^\s*astar\s*N=4\s*2 \u00d7 5")).inner_text().split()
    assert row[:5] == ["astar", "N=4", "2", "\u00d7", "5"]
    assert row[5] == f"{100 * accuracy:.1f}"
    assert f"{tokens:,.0f}" in row
    headings = page.eval_on_selector_all("h1, h2, h3", "all => all.map(h => h.tagName + ' ' + h.textContent)")
    assert headings == [
        f"H1 {sweep.name}",
        "H2 chain, engine embedded",
        "H3 Accuracy and cost",
        "H3 Independent samples",
        "H3 Paired differences: each method minus best_of_n",
        "H3 Accuracy by difficulty",
        "H3 At equal cost",
        "H3 Pareto frontier",
        "H2 Problems",
    ]
    # The samples of best_of_n with both seeds tell the difficulty of every problem.
    table = page.get_by_role("region", name="Accuracy by difficulty, chain").locator("table")
    numbers = [
        int(n) for n in re.findall(r"(\d+) problems?\s+pass rate", table.locator("thead").inner_text())
    ]
    assert sum(numbers) == NUM_PROBLEMS
    ours = table.locator("tr", has_text=re.compile(r"^\s*astar\s*N=4")).locator("td.n").all_inner_texts()
    mean = sum(n * float(share) for n, share in zip(numbers, ours, strict=True)) / NUM_PROBLEMS
    assert mean == pytest.approx(100 * accuracy, abs=0.1)
    equal = page.get_by_role("region", name="Accuracy at equal generated tokens").locator("tbody tr")
    assert equal.locator("th").all_inner_texts() == list(STRATEGIES)


def test_search_filter_and_sorting(report: Path, sweep: Path, opened: Any) -> None:
    at = opened(report / "report.html")
    at.choose("best_of_n N=4 seed 1")
    stored = read_results(sweep / point_name("best_of_n", 4, 1))
    assert at.rows() == [line["problem_id"] for line in stored]
    wanted = stored[2]
    at.page.fill("#search", wanted["question"][:12])
    assert at.rows() == [wanted["problem_id"]]
    assert at.page.inner_text("#count") == f"1 of {NUM_PROBLEMS} problems"
    at.page.fill("#search", "")
    at.page.select_option("#filter", "wrong")
    assert at.rows() == [line["problem_id"] for line in stored if not line["correct"]]
    at.page.select_option("#filter", "all")
    at.page.get_by_role("button", name="tokens", exact=True).click()
    by_cost = sorted(stored, key=lambda line: line["usage"]["generated_tokens"])
    assert at.rows() == [line["problem_id"] for line in by_cost]


def test_a_filter_shows_its_genealogy(report: Path, sweep: Path, opened: Any) -> None:
    at = opened(report / "report.html")
    at.choose("particle_filter N=4 seed 0")
    line = read_results(sweep / point_name("particle_filter", 4, 0))[0]
    at.open_problem(line["problem_id"])
    traces = {trace["name"]: trace for trace in at.traces()}
    history = line["history"]
    dead = sum(4 - len(set(record["ancestors"])) for record in history)
    alive = traces["has descendants, or is a candidate"]
    assert alive["num"] == 4 * len(history) - dead
    assert traces.get("dies here", {"num": 0})["num"] == dead
    # The area of a circle is the weight.
    first = [w for slot, w in enumerate(history[0]["weights"]) if slot in set(history[0]["ancestors"])]
    assert first
    areas = [((size - 4) / 18) ** 2 for size in alive["sizes"][: len(first)]]
    assert areas == pytest.approx(first, abs=1e-5)
    # The answer's descent, from the last step to the first, is in one piece.
    path = traces["descent of the answer"]
    assert path["num"] == 3 * (len(history) - 1)
    slot = line["answer_index"]
    for record in reversed(history):
        slot = record["ancestors"][slot]
    assert path["y"][-3] == slot or slot in path["y"]
    moved = [r["step"] for r in history if r["ancestors"] != [0, 1, 2, 3]]
    assert len(traces.get("resampled after this step", {"x": []})["x"]) == len(moved)


def test_a_tree_opens_with_the_path_of_the_answer(report: Path, sweep: Path, opened: Any) -> None:
    at = opened(report / "report.html")
    at.choose("astar N=4 seed 0")
    for line in read_results(sweep / point_name("astar", 4, 0)):
        at.open_problem(line["problem_id"])
        traces = {trace["name"]: trace for trace in at.traces()}
        nodes = line["history"]
        expanded, waiting = traces["expanded"], traces.get("still open", {"num": 0, "colours": []})
        assert expanded["num"] == sum(n["closed"] is not None for n in nodes)
        assert expanded["num"] + waiting["num"] == len(nodes)
        totals = sorted(n["cost"] + n["heuristic"] for n in nodes)
        assert sorted(expanded["colours"] + waiting["colours"]) == pytest.approx(totals, rel=1e-4)
        num_steps = len(line["candidates"][0]["step_lengths"])
        assert traces["path of the answer"]["num"] == 3 * num_steps


def test_hex_shows_its_ballot_and_a_model_cannot_speak_to_the_browser(opened: Any, tmp_path: Path) -> None:
    """The stored texts try to close the script, to run one and to fetch an image."""
    assert main([str(HEX_RUN), f"out={tmp_path}"]) == 0
    at = opened(tmp_path / "report.html")
    for line in read_results(HEX_RUN):
        at.open_problem(line["problem_id"])
        assert at.page.evaluate("window.hacked === undefined")
        assert at.page.locator("#detail img, #detail script, #detail b").count() == 0
        assert line["question"] in at.page.inner_text("#detail .question")
        bars = [trace for trace in at.traces() if trace["type"] == "bar"]
        if line["error"]:
            assert bars == [] and line["error"]["message"] in at.page.inner_text("#detail")
            continue
        assert sum(sum(trace["x"]) for trace in bars) == len(line["candidates"])
        assert all(trace["y"] == [f"block {b}" for b in (1, 2, 4, 8, 16)] for trace in bars)
        (chosen,) = [trace for trace in bars if "(chosen)" in trace["name"]]
        assert sum(chosen["x"]) == sum(c["answer"] == line["answer"] for c in line["candidates"])
        assert line["candidates"][0]["text"].strip() in at.page.inner_text("#detail pre >> nth=0")


def test_the_keyboard_is_enough(report: Path, opened: Any) -> None:
    page = opened(report / "report.html").page
    page.focus("#search")
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('tbody') !== null"):
            break
    problem = page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"#detail[data-ready='{problem}']")
    assert page.evaluate("document.activeElement.id") == "detail-title"
    page.keyboard.press("Escape")
    assert page.is_hidden("#detail")
    assert page.evaluate("document.activeElement.textContent") == problem


@pytest.mark.slow
def test_ten_thousand_problems_open_quickly(sweep: Path, tmp_path: Path, browser: Browser) -> None:
    """The searches are those of a real filter, over and over.

    What is bounded is the page's own processor time, which is the time to open on a machine with nothing
    else to do; ``python -m tests.bench.bench_report`` measures the wall time.
    """
    large = write_large_report(sweep / point_name("particle_filter", 4, 0), tmp_path / "run", NUM_LARGE)
    page = browser.new_page()
    # The drawing library comes a second later: on a machine with much to do, before we look.
    page.add_init_script("window.setTimeout = () => 0")
    clock = page.context.new_cdp_session(page)
    clock.send("Performance.enable", {"timeDomain": "threadTicks"})
    at = Opened(page, large)
    metrics = {m["name"]: m["value"] for m in clock.send("Performance.getMetrics")["metrics"]}
    assert metrics["ThreadTime"] < MAX_OPEN_SECONDS
    page.fill("#search", "question 9999")
    assert at.rows() == ["problem-9999"]
    page.close()


def test_what_does_not_fit_is_left_out_and_said(tmp_path: Path, opened: Any) -> None:
    write_run(tmp_path / "run", lines([1] * 60))
    assert main([str(tmp_path / "run"), "searches_mb=0.0001"]) == 0
    at = opened(tmp_path / "run" / "report.html")
    assert "The searches of 35 problems are not in this file" in at.page.inner_text("main")
    assert at.page.locator("#table tbody button").count() == 25
    assert len(at.rows()) == 60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "is no directory"),
        ([".", "searches_mb=much"], "must be a number"),
        ([".", "otu=x"], "did you mean 'out'"),
        ([".", "out=x", "out=y"], "twice"),
        ([".", ".."], "must be one directory"),
    ],
)
def test_a_bad_command_is_one_line(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_the_same_runs_make_the_same_page(tmp_path: Path) -> None:
    for i in range(2):
        write_run(tmp_path / "runs" / str(i), lines([1, 0, 1]), budget=2 + i)
    for out in ("a", "b"):
        assert main([str(tmp_path / "runs"), f"out={tmp_path / out}"]) == 0
    assert (tmp_path / "a" / "report.html").read_bytes() == (tmp_path / "b" / "report.html").read_bytes()
