"""The page of a server in a real browser: a search is drawn while it runs, and nothing goes elsewhere."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from orchestrator.protocols import Completion, Failure, GenerateRequest
from orchestrator.testing.fakes import FakeEngine
from tests.orchestrator.report.large_report import launched
from tests.orchestrator.serving.served import Server, fake_served, running

WAIT_MS = 60_000  # far more than it takes: other tests may need the processor too


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@dataclass
class PausingEngine(FakeEngine):
    """Goes no further than two steps until ``go`` is set: a search is seen while it runs."""

    go: asyncio.Event = field(default_factory=asyncio.Event)

    async def _reply(self, request: GenerateRequest) -> Completion | Failure:
        if len(request.token_ids) >= 4:
            await self.go.wait()
        return await super()._reply(request)


ENGINE = PausingEngine()


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running(fake_served(budget=6), ENGINE) as server:
        yield server


def resume(server: Server) -> None:
    server.on_loop(ENGINE.go.set)


@pytest.fixture
def page(browser: Browser, server: Server) -> Iterator[Page]:
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(WAIT_MS)
    logged: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: logged.append(message.text))
    page.on("pageerror", lambda error: logged.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server.url)
    page.wait_for_selector("html[data-draws]")
    yield page
    page.close()
    server.on_loop(ENGINE.go.clear)
    assert [text for text in logged if not text.startswith("Failed to load resource")] == []
    elsewhere = [url for url in asked if not url.startswith((server.url, "data:", "blob:"))]
    assert elsewhere == []


def traces(page: Page) -> list[dict[str, Any]]:
    script = """() => [...document.querySelectorAll('.drawing')].flatMap(box => (box.data || []).map(
        trace => ({ name: trace.name, num: trace.x.length })))"""
    found: list[dict[str, Any]] = page.evaluate(script)
    return found


def wait(page: Page, true: Callable[[], bool]) -> None:
    """Wait until something holds; the page's policy forbids the browser's own way to."""
    for _ in range(WAIT_MS // 20):
        if true():
            return
        page.wait_for_timeout(20)
    raise AssertionError("it did not come true")


def picture(page: Page, name: str) -> None:
    """Keep a picture for a person, where a folder for them is set."""
    if folder := os.environ.get("MURMURATION_PICTURES"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_particles_are_drawn_step_by_step(page: Page, server: Server) -> None:
    page.click("#start")
    wait(page, lambda: any(trace["name"] == "ESS / N" for trace in traces(page)))
    assert page.inner_text("#status") == "searching"
    first = sum(trace["num"] for trace in traces(page))
    assert page.get_attribute("html", "data-done") is None
    picture(page, "particles-running")
    resume(server)
    page.wait_for_selector("html[data-done]")
    assert page.inner_text("#status") == "done"
    assert sum(trace["num"] for trace in traces(page)) > first
    assert "Answer: " in page.inner_text("#answer h3")
    assert "generated tokens" in page.inner_text("#answer p")
    assert page.locator("#candidates tbody tr").count() >= 1
    assert "✗" not in page.inner_text("#candidates")  # no line says what is right: no answer is known
    assert "descent of the answer" in [trace["name"] for trace in traces(page)]
    picture(page, "particles-done")


@pytest.mark.slow  # a page takes seconds to open
def test_a_tree_grows(page: Page, server: Server) -> None:
    page.select_option("#strategy", "astar")
    page.fill("#budget", "8")
    page.click("#start")
    wait(page, lambda: any(trace["name"] == "still open" for trace in traces(page)))
    first = sum(trace["num"] for trace in traces(page))
    resume(server)
    page.wait_for_selector("html[data-done]")
    assert sum(trace["num"] for trace in traces(page)) > first
    assert page.locator("[data-drawing='Search tree']").count() == 1
    picture(page, "tree-done")


@pytest.mark.slow  # a page takes seconds to open
def test_answers_fill_their_canvases(page: Page) -> None:
    page.select_option("#strategy", "self_consistency")
    page.click("#start")
    page.wait_for_selector(".canvas.filled")
    assert page.locator(".canvas").count() == 6
    page.wait_for_selector("html[data-done]")
    assert page.locator(".canvas.filled").count() == 6
    picture(page, "canvases-done")


@pytest.mark.slow  # a page takes seconds to open
def test_the_keyboard_is_enough(page: Page) -> None:
    for _ in range(2):  # past the link that skips to the search
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "question"
    page.keyboard.press("Control+a")
    page.keyboard.type("abcabc")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#stop:enabled")
    page.keyboard.press("Escape")
    page.wait_for_selector("html[data-done]")
    assert page.inner_text("#status") == "stopped"


@pytest.mark.slow  # a page takes seconds to open
def test_a_refusal_is_shown(page: Page) -> None:
    page.fill("#question", " ")
    page.click("#start")
    page.wait_for_selector("html[data-done]")
    assert page.inner_text("#status").startswith("error: messages.0.content=' ': must not be empty")


def test_markup_of_a_model_is_text(browser: Browser) -> None:
    evil = "<img src>"
    with running(engine=FakeEngine(language=lambda *_: {f"={evil}\n": 1.0})) as server:
        page = browser.new_page()
        page.set_default_timeout(WAIT_MS)
        page.goto(server.url)
        page.select_option("#strategy", "self_consistency")
        page.click("#start")
        page.wait_for_selector("html[data-done]")
        assert page.locator("main img").count() == 0
        assert evil in page.inner_text("#answer h3")
        page.close()


@pytest.mark.slow  # a page takes seconds to open
def test_the_page_holds_no_key(browser: Browser) -> None:
    served = fake_served(api_keys_env="MURMURATION_KEYS")
    with running(served, keys=("the-secret-key",)) as server:
        page = browser.new_page()
        page.set_default_timeout(WAIT_MS)
        page.goto(server.url)
        assert "the-secret-key" not in page.content()
        page.fill("#key", "wrong")
        page.click("#start")
        page.wait_for_selector("html[data-done]")
        assert "a valid key is required" in page.inner_text("#status")
        page.fill("#key", "the-secret-key")
        page.click("#start")
        wait(page, lambda: page.inner_text("#status") == "done")
        page.close()
