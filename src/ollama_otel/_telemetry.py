"""Where telemetry goes, and whether anybody wants it.

The one place that asks OpenTelemetry who listens.
"""

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

# Private: there is no public way to ask whether a meter or logger provider was ever set.
from opentelemetry._logs import NoOpLoggerProvider, get_logger_provider
from opentelemetry._logs._internal import ProxyLoggerProvider
from opentelemetry.context import get_current
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.metrics import NoOpMeterProvider, get_meter_provider
from opentelemetry.metrics._internal import _ProxyMeterProvider
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.trace import ProxyTracerProvider, get_tracer, get_tracer_provider
from opentelemetry.util.genai.completion_hook import load_completion_hook
from opentelemetry.util.genai.environment_variables import (
    OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK,
    OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT,
)
from opentelemetry.util.genai.types import ContentCapturingMode
from opentelemetry.util.genai.utils import get_content_capturing_mode

from ollama_otel import _doors
from ollama_otel._internal_errors import warn
from ollama_otel._open_streams import end_at_exit
from ollama_otel._severity import with_severity
from ollama_otel._spans import SpanInvocation
from ollama_otel._version import __version__

if TYPE_CHECKING:
    from opentelemetry._logs import Logger, LoggerProvider
    from opentelemetry.context import Context
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider
    from opentelemetry.util.genai.completion_hook import CompletionHook
    from opentelemetry.util.genai.handler import TelemetryHandler
    from opentelemetry.util.genai.invocation import GenAIInvocation


SCOPE: Final = "ollama_otel"

OLLAMA_ATTRIBUTES: Final = "OLLAMA_OTEL_ATTRIBUTES"
"""Environment variable: whether spans tell ``ollama.*`` too, ``true`` or ``false``."""

_ON_SPANS: Final = (ContentCapturingMode.SPAN_ONLY, ContentCapturingMode.SPAN_AND_EVENT)
_WITH_EVENTS: Final = (ContentCapturingMode.EVENT_ONLY, ContentCapturingMode.SPAN_AND_EVENT)


class Telemetry:
    """The handler that records calls, and what is known of its listeners.

    Attributes:
        tracer: makes the spans of calls that are recorded by their span alone.
        captures_content: whether content is wanted at all.
        keeps_content_on_spans: whether it is wanted on spans.
        closed: whether the instrumentation was taken off.

    Args:
        tracer_provider: where spans go; the global provider when ``None``.
        meter_provider: where metrics go; the global provider when ``None``.
        logger_provider: where events go; the global provider when ``None``.
        completion_hook: gets the content of every call; when ``None``, the hook that
            ``OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK`` names, if any.
        ollama_attributes: whether spans tell ``ollama.*`` too; when ``None``, what
            ``OLLAMA_OTEL_ATTRIBUTES`` says, else yes while traces go to MLflow.
    """

    def __init__(
        self,
        *,
        tracer_provider: "TracerProvider | None" = None,
        meter_provider: "MeterProvider | None" = None,
        logger_provider: "LoggerProvider | None" = None,
        completion_hook: "CompletionHook | None" = None,
        ollama_attributes: bool | None = None,
    ) -> None:
        if completion_hook is None and os.environ.get(OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK):
            completion_hook = load_completion_hook()
        self._handler_arguments: dict[str, Any] = {
            "tracer_provider": tracer_provider,
            "meter_provider": meter_provider,
            "logger_provider": logger_provider,
            "completion_hook": completion_hook,
        }
        self.tracer: Final = get_tracer(
            SCOPE, __version__, tracer_provider, schema_url=Schemas.V1_37_0.value
        )
        mode = get_content_capturing_mode()
        has_hook = completion_hook is not None
        self.captures_content = has_hook or mode is not ContentCapturingMode.NO_CONTENT
        self.keeps_content_on_spans = mode in _ON_SPANS
        # util-genai serialises content even where the only reader is a span that nobody records.
        self._only_spans_hold_content = not has_hook and mode is ContentCapturingMode.SPAN_ONLY
        events = _said(OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT)
        self._events = events is not False
        self._hook_or_events = has_hook or mode in _WITH_EVENTS or bool(events)
        self._meter_provider = meter_provider
        self._ollama_attributes = (
            _said(OLLAMA_ATTRIBUTES) if ollama_attributes is None else ollama_attributes
        )
        self.closed = False
        self._streams = False
        self._has_listener = any(
            given is not None
            for given in (tracer_provider, meter_provider, logger_provider, completion_hook)
        )

    @cached_property
    def handler(self) -> "TelemetryHandler":
        """util-genai's handler, which is imported where spans alone do not do."""
        from opentelemetry.util.genai.handler import TelemetryHandler  # noqa: PLC0415  (see above)

        loggers = self._handler_arguments["logger_provider"] or get_logger_provider()
        return TelemetryHandler(
            **self._handler_arguments | {"logger_provider": with_severity(loggers)},
            instrumentation_scope_name=SCOPE,
            instrumentation_scope_version=__version__,
        )

    @property
    def logger(self) -> "Logger | None":
        """What takes log events of our own, where somebody receives them."""
        provider = self._handler_arguments["logger_provider"] or get_logger_provider()
        if not self._events or isinstance(provider, ProxyLoggerProvider | NoOpLoggerProvider):
            return None
        return provider.get_logger(SCOPE, __version__, Schemas.V1_37_0.value)

    def tells_ollama_attributes(self) -> bool:
        """Return whether spans tell ``ollama.*`` too."""
        if self._ollama_attributes is None:
            return bool(_doors.mlflow)
        return self._ollama_attributes

    def current_context(self) -> "Context":
        """Return the context in which a call that is made now has its parent."""
        return get_current()

    def start_span_alone(self, provider: str, **facts: Any) -> SpanInvocation:
        """Start a call that is recorded by its span alone.

        Args:
            provider: the ``gen_ai.provider.name``.
            facts: what a sampler may want to see, and the ``context``.
        """
        return SpanInvocation(
            self.tracer, provider, should_capture_content=self.captures_content, **facts
        )

    def first_stream(self) -> None:
        """Take notice of a stream that begins; only the first one matters."""
        if not self._streams:
            self._streams = True
            end_at_exit()

    def close(self) -> None:
        """Record no call any more that has not started yet."""
        self.closed = True

    def listens(self) -> bool:
        """Return whether anybody could receive telemetry of a call made now."""
        if not is_instrumentation_enabled():
            return False
        if not self._has_listener:
            self._has_listener = _global_provider_set()
        return self._has_listener

    def wants_content(self, invocation: "GenAIInvocation | SpanInvocation") -> bool:
        """Return whether the content of this call will be kept by something."""
        if not invocation.should_capture_content:
            return False
        return not self._only_spans_hold_content or invocation.span.is_recording()

    def only_spans(self, context: "Context") -> bool:
        """Return whether the span of a call is all that anybody will receive of it.

        Args:
            context: the call's context, in which util-genai keeps what nested calls have to know.
        """
        if self._hook_or_events or self.measures():
            return False
        return not any("genai" in key for key in context)

    def measures(self) -> bool:
        """Return whether metrics are received, so that timing every chunk is worth its cost."""
        provider = self._meter_provider or get_meter_provider()
        if isinstance(provider, NoOpMeterProvider | _ProxyMeterProvider):
            return False
        return _is_read(provider)


def _is_read(provider: "MeterProvider") -> bool:
    """Tell whether the SDK's provider has a reader: OTEL_METRICS_EXPORTER=none leaves it none.

    Private: there is no public way to ask. What is not the SDK's counts as read.
    """
    consumer = getattr(provider, "_measurement_consumer", None)
    return bool(getattr(consumer, "_reader_storages", True))


def _said(variable: str) -> bool | None:
    """Return what an environment variable says; ``None`` when it says neither true nor false."""
    said = os.environ.get(variable, "").strip()
    meaning = {"true": True, "false": False}.get(said.lower())
    if said and meaning is None:
        warn(
            variable, f"{variable} is {said!r}, which is neither true nor false: it counts as unset"
        )
    return meaning


def _global_provider_set() -> bool:
    return not (
        isinstance(get_tracer_provider(), ProxyTracerProvider)
        and isinstance(get_meter_provider(), _ProxyMeterProvider)
        and isinstance(get_logger_provider(), ProxyLoggerProvider)
    )
