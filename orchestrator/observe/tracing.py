"""Spans of a run in OpenTelemetry: to a collector, or to a file of the run directory (``tracing=``)."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from orchestrator import spans
from orchestrator.bounded import Worker
from orchestrator.errors import ConfigError
from orchestrator.observe.events import run_names
from orchestrator.storage.appending import end_line
from orchestrator.storage.plain_files import open_to_append

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

log = logging.getLogger(__name__)

Tracing = Literal["none", "file", "otlp"]
TRACES = "traces.jsonl"
_OTLP = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
_TIMEOUT_S = 3  # for one batch at the collector
_END_S = 10.0


def check_tracing(tracing: Tracing) -> None:
    """Raise ConfigError where the libraries that ``tracing`` requires are not installed."""
    needed = {"none": (), "file": ("opentelemetry.sdk",), "otlp": ("opentelemetry.sdk", _OTLP)}[tracing]
    for module in needed:
        if not _is_installed(module):
            allowed = f"{module} is not installed: pip install 'murmuration[tracing]'"
            raise ConfigError("tracing", tracing, allowed)


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:  # one of its packages
        return False


@contextmanager
def traced(run_dir: Path, tracing: Tracing) -> Iterator[None]:
    """Record the spans of a run. What cannot be recorded costs one warning, and nothing of the run."""
    if tracing == "none":
        yield
        return
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # each retry is a line there
    exporter = _guarded(_exporter(run_dir, tracing))
    provider = _provider(run_dir, exporter)
    try:
        with spans.record_with(OpenTelemetryRecorder(provider)):
            yield
    finally:
        _end(provider, exporter)


def _end(provider: TracerProvider, exporter: Any) -> None:
    """Send what is left, for at most some seconds."""
    try:
        Worker("tracing").wait_for(provider.shutdown, _END_S)
    except Exception as failure:  # noqa: BLE001 - whatever an exporter raises
        if not exporter.has_failed:
            log.warning("tracing: %s; spans are left out", failure)
        exporter.has_failed = True


def _provider(run_dir: Path, exporter: SpanExporter) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    names = {f"murmuration.{kind}": name for kind, name in run_names(run_dir).items() if name}
    service = os.environ.get("OTEL_SERVICE_NAME") or "murmuration"
    resource = Resource.create({"service.name": service, **names})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _exporter(run_dir: Path, tracing: Tracing) -> SpanExporter:
    """Return what writes spans: a line of JSON each, or OTLP over HTTP (``OTEL_EXPORTER_OTLP_*``)."""
    if tracing == "file":
        return _file_exporter(run_dir / TRACES)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(timeout=_TIMEOUT_S)


def _file_exporter(path: Path) -> SpanExporter:
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    end_line(path)

    class FileExporter(SpanExporter):
        """Appends one line of JSON a span, as OpenTelemetry writes it."""

        def export(self, batch: Sequence[ReadableSpan]) -> SpanExportResult:
            lines = [json.dumps(json.loads(each.to_json(indent=None))) for each in batch]
            with os.fdopen(open_to_append(path), "ab") as file:
                file.write("".join(f"{line}\n" for line in lines).encode())
            return SpanExportResult.SUCCESS

    return FileExporter()


def _guarded(inner: SpanExporter) -> Any:
    """Wrap an exporter: its first failure is one warning, and it is not called again."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Guarded(SpanExporter):
        has_failed = False

        def export(self, batch: Sequence[ReadableSpan]) -> SpanExportResult:
            if self.has_failed:
                return SpanExportResult.FAILURE
            try:
                result = inner.export(batch)
                reason = "the collector does not answer" if result is SpanExportResult.FAILURE else None
            except Exception as failure:  # noqa: BLE001 - whatever an exporter raises
                reason = f"{type(failure).__name__}: {failure}"
            if reason is not None and not self.has_failed:  # the end may not have waited for it
                self.has_failed = True
                log.warning("tracing: %s; the run continues without it", reason)
            return SpanExportResult.FAILURE if reason is not None else SpanExportResult.SUCCESS

        def shutdown(self) -> None:
            inner.shutdown()

    return Guarded()


class OpenTelemetryRecorder:
    """Records spans with a provider of OpenTelemetry's; attributes get the prefix ``murmuration.``."""

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("murmuration")

    @contextmanager
    def open(self, name: str, attributes: Mapping[str, spans.Attribute]) -> Iterator[spans.Span]:
        with self._tracer.start_as_current_span(name, attributes=_named(attributes)) as inner:
            yield _Open(inner)


@dataclass(frozen=True, slots=True)
class _Open:
    inner: Any

    def set(self, **attributes: spans.Attribute) -> None:
        self.inner.set_attributes(_named(attributes))

    def fail(self, reason: str) -> None:
        from opentelemetry.trace import Status, StatusCode

        self.inner.set_status(Status(StatusCode.ERROR, reason))


def _named(attributes: Mapping[str, spans.Attribute]) -> dict[str, spans.Attribute]:
    return {f"murmuration.{key}": value for key, value in attributes.items()}
