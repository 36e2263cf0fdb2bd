"""Telemetry kept in memory, and what a test wants to know of it."""

import json
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler

_JSON = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
)


@dataclass
class Recording:
    """Providers whose telemetry stays in memory."""

    sampler: Sampler = ALWAYS_ON
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)
    logs: InMemoryLogRecordExporter = field(default_factory=InMemoryLogRecordExporter)

    def __post_init__(self) -> None:
        self.tracer_provider = TracerProvider(sampler=self.sampler)
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.meter_provider = MeterProvider([self.reader])
        self.logger_provider = LoggerProvider()
        self.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self.logs))

    @property
    def providers(self) -> dict[str, Any]:
        """The keyword arguments of ``instrument()``."""
        return {
            "tracer_provider": self.tracer_provider,
            "meter_provider": self.meter_provider,
            "logger_provider": self.logger_provider,
        }

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """All spans that ended, in the order in which they did."""
        return self.exporter.get_finished_spans()

    @property
    def span(self) -> dict[str, Any]:
        """The one span that ended, told whole."""
        (span,) = self.spans
        return told(span)

    def points(self) -> dict[str, list[tuple[dict[str, Any], str]]]:
        """Every metric's points: attributes, and how much was measured in which unit.

        Tokens come with their sum; times, which differ from run to run, with their number.
        """
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: [_measured(metric.unit or "", point) for point in metric.data.data_points]
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def close(self) -> None:
        """Shut all providers down."""
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()
        self.logger_provider.shutdown()


def _told_event(event: Event) -> tuple[str, dict[str, Any]]:
    attributes = dict(event.attributes or {})
    if "exception.stacktrace" in attributes:
        attributes["exception.stacktrace"] = str(attributes["exception.stacktrace"])[:35]
    return event.name, attributes


def _measured(unit: str, point: Any) -> tuple[dict[str, Any], str]:
    is_count = unit == "{token}"
    return dict(point.attributes), f"{point.sum if is_count else point.count} {unit}"


def told(span: ReadableSpan) -> dict[str, Any]:
    """Return a span as plain data: JSON read, no ids, no times, of a stack the beginning."""
    attributes = dict(span.attributes or {})
    for name in _JSON:
        if name in attributes:
            attributes[name] = json.loads(str(attributes[name]))
    if "gen_ai.response.time_to_first_chunk" in attributes:
        seconds = attributes["gen_ai.response.time_to_first_chunk"]
        attributes["gen_ai.response.time_to_first_chunk"] = type(seconds).__name__
    return {
        "name": span.name,
        "kind": span.kind.name,
        "status": (span.status.status_code.name, span.status.description),
        "events": [_told_event(event) for event in span.events],
        "attributes": attributes,
    }
