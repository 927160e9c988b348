"""Spans of problems, calls and replicas, read back with OpenTelemetry's own in-memory exporter."""

from __future__ import annotations

import json
import logging
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from actors.pool.jobs import Life
from actors.pool.pool import PooledEngine
from actors.pool.replica import Raised
from orchestrator import spans
from orchestrator.errors import ConfigError
from orchestrator.observe import tracing
from orchestrator.observe.tracing import OpenTelemetryRecorder, check_tracing, traced
from orchestrator.search.controller import Controller
from orchestrator.storage.journal import Journals
from orchestrator.testing import FakeEngine, FakeTask, FakeVerifier
from orchestrator.types import Sampling
from strategies.particle_filter import ParticleFilter
from tests.actors.fake_members import FakeMember, fake_fleet

STRATEGY = ParticleFilter(num_particles=4, max_steps=8, sampling=Sampling(max_tokens=16))


@pytest.fixture
def recorded() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with spans.record_with(OpenTelemetryRecorder(provider)):
        yield exporter
    provider.shutdown()


def named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def attribute(span: ReadableSpan, name: str) -> Any:
    assert span.attributes is not None
    return span.attributes[f"murmuration.{name}"]


def parent_of(span: ReadableSpan, among: Sequence[ReadableSpan]) -> ReadableSpan:
    assert span.parent is not None
    (parent,) = [other for other in among if other.context.span_id == span.parent.span_id]
    return parent


async def solve(engine: Any, journals: Journals | None = None) -> None:
    controller = Controller(STRATEGY, engine, FakeVerifier(), FakeTask(), concurrency=3, journals=journals)
    await controller.run(controller.task.problems(0, 3), lambda _: None)


async def test_a_problem_holds_its_calls_and_a_call_its_replica(recorded: InMemorySpanExporter) -> None:
    inner, failed = FakeEngine(), list[str]()

    async def answer(member: FakeMember, life: Life, rows: Sequence[Any]) -> list[Any] | Raised:
        if not failed:
            failed.append(member.name)
            return Raised("ValueError", "bad luck", member.name)
        return list(await inner.generate(rows))

    fleet = fake_fleet(answer, num=2)
    await fleet.start()
    await solve(PooledEngine(fleet))
    await fleet.close()
    problems, calls, replicas = (named(recorded, name) for name in ("problem", "call", "replica"))
    assert sorted(attribute(p, "problem") for p in problems) == [p.id for p in FakeTask().problems(0, 3)]
    assert all(p.parent is None and attribute(p, "generated_tokens") > 0 for p in problems)
    for call in calls:
        problem = parent_of(call, problems)
        assert problem.start_time <= call.start_time <= call.end_time <= problem.end_time
    generating = [call for call in calls if attribute(call, "call").startswith("generate ")]
    scoring = [call for call in calls if attribute(call, "call").startswith("score ")]
    assert scoring and len(generating) + len(scoring) == len(calls)
    assert all(parent_of(replica, generating) for replica in replicas)
    broken = [r for r in replicas if r.status.status_code is StatusCode.ERROR]
    assert [r.status.description for r in broken] == ["bad luck"]
    assert {attribute(r, "replica") for r in replicas} <= {"engine-0", "engine-1"}
    assert sum(attribute(r, "rows") for r in replicas if r not in broken) == sum(
        attribute(call, "rows") for call in generating
    )


async def test_a_failure_marks_its_problem(recorded: InMemorySpanExporter) -> None:
    async def answer(member: FakeMember, life: Life, rows: Sequence[Any]) -> list[Any]:
        raise OSError("gone")

    fleet = fake_fleet(answer, num=1)
    await fleet.start()
    await solve(PooledEngine(fleet))
    await fleet.close()
    assert [p.status.status_code for p in named(recorded, "problem")] == [StatusCode.ERROR] * 3
    assert "gone" in str(named(recorded, "problem")[0].status.description)


async def test_a_call_from_the_journal_says_so(recorded: InMemorySpanExporter, tmp_path: Path) -> None:
    for is_recorded in (False, True):
        recorded.clear()
        journals = Journals(tmp_path, keep=True)
        await solve(FakeEngine(), journals)
        journals.close()
        assert {attribute(call, "recorded") for call in named(recorded, "call")} == {is_recorded}


async def test_no_text_is_recorded(recorded: InMemorySpanExporter) -> None:
    await solve(FakeEngine())
    questions = [problem.question for problem in FakeTask().problems(0, 3)]
    for span in recorded.get_finished_spans():
        assert not [q for q in questions if q in str(dict(span.attributes or {}))]


def test_spans_cost_nothing_where_tracing_is_off(tmp_path: Path) -> None:
    with traced(tmp_path, "none"), spans.span("problem", problem="a") as own:
        own.set(recorded=True)
        own.fail("x")
    assert list(tmp_path.iterdir()) == []


def test_a_file_has_a_line_a_span(tmp_path: Path) -> None:
    (tmp_path / "traces.jsonl").write_text('{"na')
    with traced(tmp_path, "file"), spans.span("problem", problem="a"), spans.span("call", rows=2):
        pass
    torn, *lines = (tmp_path / "traces.jsonl").read_text().splitlines()
    call, problem = map(json.loads, lines)
    assert torn == '{"na' and call["parent_id"] == problem["context"]["span_id"]
    assert call["attributes"] == {"murmuration.rows": 2}
    assert problem["resource"]["attributes"]["murmuration.run"] == tmp_path.name
    assert problem["resource"]["attributes"]["service.name"] == "murmuration"


@pytest.mark.heavy
def test_a_collector_that_does_not_answer_costs_a_line_and_a_few_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "_END_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:  # accepts, and says nothing
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        begun = time.monotonic()
        caplog.set_level(logging.WARNING, "orchestrator")
        with traced(tmp_path, "otlp"), spans.span("problem", problem="a"):
            pass
        assert time.monotonic() - begun < 5
    (message,) = [r.getMessage() for r in caplog.records]
    assert message == "tracing: no answer in 0.5 s; spans are left out"


def test_a_full_disk_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: Path) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tracing, "open_to_append", full)
    with caplog.at_level(logging.WARNING, "orchestrator"), traced(tmp_path, "file"):
        for _ in range(600):  # more than one batch
            with spans.span("call"):
                pass
    (message,) = [r.getMessage() for r in caplog.records]
    assert "No space left on device; the run continues without it" in message


@pytest.mark.parametrize("kind", ["file", "otlp"])
def test_a_library_that_is_missing_is_one_line(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    check_tracing(kind)
    check_tracing("none")
    monkeypatch.setattr(tracing, "find_spec", lambda _: None)
    line = r"tracing=.*is not installed: pip install 'murmuration\[tracing\]'"
    with pytest.raises(ConfigError, match=line):
        check_tracing(kind)
    check_tracing("none")
