"""A program's telemetry, with what samplers were shown."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

from conformance.checker import Telemetry
from telemetry import Recording


class Shown(Sampler):
    """Samples everything, and remembers what it was shown."""

    def __init__(self) -> None:
        self.attributes: list[dict[str, Any]] = []

    def should_sample(  # noqa: PLR0913, PLR0917  (the interface)
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        self.attributes.append(dict(attributes or {}))
        return ALWAYS_ON.should_sample(
            parent_context, trace_id, name, kind, attributes, links, trace_state
        )

    def get_description(self) -> str:
        return "Shown"


class Run:
    """Keeps what is recorded of a program."""

    def __init__(self) -> None:
        self._shown = Shown()
        self.recording = Recording(self._shown)

    def telemetry(self) -> Telemetry:
        """Return all that was recorded so far."""
        return Telemetry(
            self.recording.spans,
            self._shown.attributes,
            self.recording.reader.get_metrics_data(),
            self.recording.logs.get_finished_logs(),
        )

    def spans(self) -> Telemetry:
        """Return the spans alone."""
        return Telemetry(self.recording.spans, self._shown.attributes)
