"""Span exporters for MLflow: translate, then deliver.

``MlflowSpanExporter`` delivers to MLflow itself; ``MlflowOtlpSpanExporter`` hands the translated
spans to OpenTelemetry's own OTLP exporter, so that a collector can pass them on to MLflow.

Both are built by their entry points without arguments, before the application runs. A constructor
that raised there would turn off all of OpenTelemetry in that process, so faults in the settings
are logged and the exporter stays; the settings count as they are when the first span is sent.
"""

# A short application exports while the interpreter shuts down. What mlflow needs of this module
# can no longer be imported then.
import concurrent.futures.thread  # noqa: F401  (see above)
import logging
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status, StatusCode

from ollama_otel._internal_errors import Warnings, report
from ollama_otel.mlflow._errors import misconfigured
from ollama_otel.mlflow.sinks import (
    DeliveryError,
    ExperimentChoice,
    SpanSink,
    check_tracking_uri,
    sink_for,
    tracking_uri_from_settings,
)
from ollama_otel.mlflow.translation import (
    FREE_PROVIDERS,
    exception_attributes,
    is_genai,
    refused_attributes,
    root_attributes,
    translate_attributes,
    translate_name,
)

if TYPE_CHECKING:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_QUIET_SECONDS: Final = 60.0

_logger = logging.getLogger(__name__)


# Translation of whole spans -----------------------------------------------------------------


def translate_span(
    span: ReadableSpan, *, free_providers: Collection[str] = FREE_PROVIDERS
) -> ReadableSpan:
    """Return a span as MLflow reads it best.

    A GenAI span gets MLflow's attributes, a tool's span the tool's name, a success the status OK,
    a failure the event that shows it in red. The first span of a trace, of whatever kind, gives
    the trace its name. Every other span is returned as it is.

    Args:
        span: a finished span.
        free_providers: values of ``gen_ai.provider.name`` whose models cost nothing per token.
    """
    attributes = span.attributes or {}
    translated = translate_attributes(attributes, free_providers=free_providers)
    name = translate_name(span.name, attributes)
    if span.parent is None:
        translated = {**translated, **root_attributes(name, attributes)}
    if translated is attributes and name == span.name:
        return span
    status, events = _outcome(span) if is_genai(attributes) else (span.status, span.events)
    return _like(span, name=name, attributes=translated, status=status, events=events)


def _like(span: ReadableSpan, **changes: Any) -> ReadableSpan:
    """Return the same span with other values in some places."""
    same = {
        "name": span.name,
        "context": span.context,
        "parent": span.parent,
        "resource": span.resource,
        "attributes": span.attributes,
        "events": span.events,
        "links": span.links,
        "kind": span.kind,
        "status": span.status,
        "start_time": span.start_time,
        "end_time": span.end_time,
        "instrumentation_scope": span.instrumentation_scope,
    }
    return ReadableSpan(**{**same, **changes})


def _outcome(span: ReadableSpan) -> tuple[Status, Sequence[Event]]:
    """Return OK for what did not fail; a failure with the event from which MLflow shows it."""
    attributes = span.attributes or {}
    failed = span.status.status_code is StatusCode.ERROR or "error.type" in attributes
    if not failed:
        return Status(StatusCode.OK), span.events
    event = exception_attributes(attributes, span.status.description)
    status = Status(StatusCode.ERROR, event["exception.message"])
    if any(seen.name == "exception" for seen in span.events):
        return status, span.events
    return status, [*span.events, Event("exception", event, span.end_time)]


# Exporters ----------------------------------------------------------------------------------


class _TranslatingExporter(SpanExporter, ABC):
    """What both exporters share: translation, faults that stay inside, and shutdown."""

    def __init__(self, free_providers: Collection[str]) -> None:
        self._free_providers = frozenset(free_providers)
        self._warn = Warnings(_logger, _QUIET_SECONDS)
        self._shut_down = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Translate and deliver the spans.

        Args:
            spans: finished spans.

        Returns:
            Whether they were delivered. What went wrong is logged, and never raised.
        """
        if self._shut_down:
            self._warn("shutdown", f"undelivered spans: {len(spans)}; the exporter is shut down")
            return SpanExportResult.FAILURE
        try:
            with suppress_instrumentation():
                return self._deliver([self._translate(span) for span in spans])
        except DeliveryError as error:
            self._warn(error.kind, f"undelivered spans: {len(spans)}; {error}")
        except Exception as error:  # noqa: BLE001  (the application must not feel our faults)
            report("delivering spans to MLflow", error)
        return SpanExportResult.FAILURE

    def _translate(self, span: ReadableSpan) -> ReadableSpan:
        try:
            for name, kept in refused_attributes(span.attributes or {}).items():
                done = "left out: it must be a JSON object of numbers" if kept is None else "cut"
                self._warn(name, f"{name} of a span is what MLflow does not take, and was {done}")
            return translate_span(span, free_providers=self._free_providers)
        except Exception as error:  # noqa: BLE001  (an untranslated span is better than none)
            report("translating a span for MLflow", error)
            return span

    @abstractmethod
    def _deliver(self, spans: Sequence[ReadableSpan]) -> SpanExportResult: ...


class MlflowSpanExporter(_TranslatingExporter):
    """Exports spans to MLflow, GenAI spans as MLflow shows them best.

    The settings are MLflow's own. An http(s) address takes OTLP and needs no mlflow package; a
    database (sqlite, postgresql, mysql, mssql) is written directly, through mlflow. Where nothing
    is set, MLflow's own defaults count.

    Args:
        tracking_uri: where the traces go; by default MLFLOW_TRACKING_URI.
        experiment_name: the experiment that receives them, created when it does not exist; by
            default MLFLOW_EXPERIMENT_NAME.
        experiment_id: the experiment's id instead; by default MLFLOW_EXPERIMENT_ID.
        sink: a place of your own, instead of what the settings name.
        free_providers: values of ``gen_ai.provider.name`` whose models cost nothing per token;
            MLflow prices the others.

    Example:
        >>> provider = TracerProvider()
        >>> provider.add_span_processor(BatchSpanProcessor(MlflowSpanExporter()))
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        *,
        experiment_name: str | None = None,
        experiment_id: str | None = None,
        sink: SpanSink | None = None,
        free_providers: Collection[str] = FREE_PROVIDERS,
    ) -> None:
        super().__init__(free_providers)
        self._tracking_uri = tracking_uri
        self._experiment = (experiment_name, experiment_id)
        self._given_sink = sink
        self._begin()
        self._check_settings()

    def _begin(self) -> None:
        """Start without a sink of our own, and with a lock that nobody holds."""
        self._sink = self._given_sink
        self._lock = threading.Lock()
        self._process = os.getpid()

    def _check_settings(self) -> None:
        """Log at the start what can be known to be wrong at the start."""
        uri = self._tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        if self._sink is not None or not uri:
            return
        try:
            check_tracking_uri(uri)
        except DeliveryError as error:
            self._warn(error.kind, f"no spans can be delivered: {error}")

    def _deliver(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._find_sink().deliver(_encode(spans))
        return SpanExportResult.SUCCESS

    def _find_sink(self) -> SpanSink:
        if self._process != os.getpid():
            # A forked worker: another thread of its parent may have held the lock for ever.
            self._begin()
        with self._lock:
            if self._sink is None:
                uri = tracking_uri_from_settings(self._tracking_uri)
                self._sink = sink_for(uri, ExperimentChoice.from_settings(*self._experiment))
            return self._sink

    def shutdown(self) -> None:
        """Deliver nothing more, and close the connections."""
        self._shut_down = True
        if self._sink is not None:
            self._sink.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:  # noqa: ARG002  (the SDK's signature)
        """Do nothing: no span is kept back here.

        Args:
            timeout_millis: not needed.
        """
        return True


def _encode(spans: Sequence[ReadableSpan]) -> "ExportTraceServiceRequest":
    encode = _imported("opentelemetry.exporter.otlp.proto.common.trace_encoder").encode_spans
    try:
        request: ExportTraceServiceRequest = encode(spans)
    except Exception as error:  # noqa: BLE001  (one span that cannot be sent takes no other with it)
        report("encoding a span for MLflow", error)
        mended = (span if _encodes(encode, span) else _mended(span) for span in spans)
        request = encode([span for span in mended if _encodes(encode, span)])
    return request


def _mended(span: ReadableSpan) -> ReadableSpan:
    """Return a span whose texts OTLP can carry; the encoder itself leaves out odd attributes."""
    description = span.status.description
    return _like(
        span,
        name=_utf8(span.name),
        status=Status(span.status.status_code, description and _utf8(description)),
        events=[Event(_utf8(one.name), one.attributes, one.timestamp) for one in span.events],
    )


def _utf8(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _encodes(encode: Callable[[Sequence[ReadableSpan]], object], span: ReadableSpan) -> bool:
    try:
        encode([span])
    except Exception:  # noqa: BLE001  (reported once, for the batch)
        return False
    return True


def _imported(module: str) -> Any:
    """Import a module of the extra ``otlp``, which only exporters need."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise misconfigured(
            f"sending spans needs the package {error.name}: pip install 'ollama-otel[otlp]'"
        ) from error


_OTLP_EXPORTERS: Final = {
    "grpc": "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
    "http/protobuf": "opentelemetry.exporter.otlp.proto.http.trace_exporter",
}


class MlflowOtlpSpanExporter(_TranslatingExporter):
    """Translates spans for MLflow and hands them to OpenTelemetry's own OTLP exporter.

    For a collector that passes them on to MLflow. All settings are OpenTelemetry's
    (OTEL_EXPORTER_OTLP_ENDPOINT, _HEADERS, _CERTIFICATE, ...).

    Args:
        exporter: the exporter that sends; by default the one that
            OTEL_EXPORTER_OTLP_TRACES_PROTOCOL or OTEL_EXPORTER_OTLP_PROTOCOL names, grpc if none.
        free_providers: values of ``gen_ai.provider.name`` whose models cost nothing per token.
    """

    def __init__(
        self,
        exporter: SpanExporter | None = None,
        *,
        free_providers: Collection[str] = FREE_PROVIDERS,
    ) -> None:
        super().__init__(free_providers)
        self._exporter = exporter
        if exporter is None:
            self._exporter = self._attempt(_otlp_exporter)

    def _attempt(self, make: Callable[[], SpanExporter]) -> SpanExporter | None:
        try:
            return make()
        except DeliveryError as error:
            self._warn(error.kind, f"no spans can be delivered: {error}")
        except Exception as error:  # noqa: BLE001  (it would turn off all of OpenTelemetry)
            report("building the OTLP exporter", error)
        return None

    def _deliver(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self._exporter is None:
            return SpanExportResult.FAILURE
        return self._exporter.export(spans)

    def shutdown(self) -> None:
        """Shut down the exporter that sends."""
        self._shut_down = True
        if self._exporter is not None:
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Flush the exporter that sends.

        Args:
            timeout_millis: milliseconds that it may take.
        """
        return self._exporter is None or self._exporter.force_flush(timeout_millis)


def _otlp_exporter() -> SpanExporter:
    protocol = (
        os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
        or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        or "grpc"
    ).strip()
    if protocol not in _OTLP_EXPORTERS:
        raise misconfigured(
            f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}; what works: {', '.join(_OTLP_EXPORTERS)}"
        )
    exporter: SpanExporter = _imported(_OTLP_EXPORTERS[protocol]).OTLPSpanExporter()
    return exporter
