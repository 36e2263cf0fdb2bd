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
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import Status, StatusCode

from ollama_otel import _doors
from ollama_otel._internal_errors import Warnings, report
from ollama_otel._text import utf8
from ollama_otel.mlflow._errors import misconfigured, redacted
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

_NUMBERS: Final = "a JSON object of numbers"
_MUST_BE: Final = {
    "mlflow.chat.tokenUsage": _NUMBERS,
    "mlflow.llm.cost": _NUMBERS,
    "mlflow.spanType": "a text",
}
"""What MLflow takes of an attribute that is left out otherwise."""

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
    return _Changed(span, **{**same, **changes})


class _Changed(ReadableSpan):
    """A span that another one became; what the SDK had left out of that, it lacks too."""

    def __init__(self, original: ReadableSpan, **parts: Any) -> None:
        super().__init__(**parts)
        self._original = original

    @property
    def dropped_attributes(self) -> int:
        return self._original.dropped_attributes

    @property
    def dropped_events(self) -> int:
        return self._original.dropped_events

    @property
    def dropped_links(self) -> int:
        return self._original.dropped_links


def _storable(span: ReadableSpan) -> ReadableSpan:
    """Return a span whose parts beside the attributes OTLP can carry and MLflow can store.

    The OTLP encoder fails over a lone surrogate in a name or a status, and MLflow over bytes in a
    resource; either would cost the whole batch.
    """
    description = span.status.description
    texts = [span.name, description or "", *(event.name for event in span.events)]
    texts += [
        value
        for event in span.events
        for value in (event.attributes or {}).values()
        if isinstance(value, str)
    ]
    if any(utf8(text) != text for text in texts):
        span = _like(
            span,
            name=utf8(span.name),
            status=Status(span.status.status_code, description and utf8(description)),
            events=[_storable_event(event) for event in span.events],
        )
    resource = span.resource.attributes
    if not any(isinstance(value, bytes) for value in resource.values()):
        return span
    plain = {
        name: value.decode(errors="replace") if isinstance(value, bytes) else value
        for name, value in resource.items()
    }
    return _like(span, resource=Resource(plain, span.resource.schema_url))


def _storable_event(event: Event) -> Event:
    attributes = {
        name: utf8(value) if isinstance(value, str) else value
        for name, value in (event.attributes or {}).items()
    }
    return Event(utf8(event.name), attributes, event.timestamp)


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
    """What both exporters share: translation, faults that stay inside, and shutdown.

    Every span that is not delivered is counted: in a warning, in the next one of its kind, or in
    the last one, at the shutdown.
    """

    def __init__(self, free_providers: Collection[str]) -> None:
        self._free_providers = frozenset(free_providers)
        self._shut_down = False
        self._begin()
        _doors.mlflow.add(self)

    def _begin(self) -> None:
        """Start with nothing on its way, nothing lost and nothing said in this process."""
        self._process = os.getpid()
        self._warn = Warnings(_logger, _QUIET_SECONDS)
        self._warn_of_loss = Warnings(_logger, _QUIET_SECONDS)
        self._lost = 0
        self._foretold = False
        self._on_the_way: dict[object, int] = {}

    def _begin_anew_after_a_fork(self) -> None:
        """Leave to the parent what is the parent's: its losses, its locks, its connections."""
        if self._process != os.getpid():
            self._begin()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Translate and deliver the spans.

        Args:
            spans: finished spans.

        Returns:
            Whether they were delivered. What went wrong is logged, and never raised.
        """
        self._begin_anew_after_a_fork()
        if self._shut_down:
            self._lose(len(spans), "shutdown", "the exporter is shut down")
            return SpanExportResult.FAILURE
        batch = object()
        self._on_the_way[batch] = len(spans)
        try:
            with suppress_instrumentation():
                result = self._deliver([self._prepare(span) for span in spans])
        except DeliveryError as error:
            self._lose(self._on_the_way.pop(batch, 0), error.kind, str(error))
        except Exception as error:  # noqa: BLE001  (the application must not feel our faults)
            report("delivering spans to MLflow", error)
            self._lose(self._on_the_way.pop(batch, 0), "bug", "that is a fault of ollama-otel")
        else:
            self._foretold = False
            return result
        finally:
            self._on_the_way.pop(batch, None)
        return SpanExportResult.FAILURE

    def _foretell(self, error: DeliveryError) -> None:
        """Say at the start that all will be lost, so that no count of it is needed at the end."""
        self._foretold = True
        self._warn_of_loss(error.kind, f"no spans can be delivered: {error}")

    def _lose(self, count: int, kind: str, reason: str) -> None:
        """Count spans that are lost, and say why; none are left where the shutdown did so."""
        if count:
            self._lost += count
            self._warn_of_loss(kind, f"undelivered spans: {count}; {reason}", count=count)

    def _prepare(self, span: ReadableSpan) -> ReadableSpan:
        for change in (self._translate, _storable):
            try:
                span = change(span)
            except Exception as error:  # noqa: BLE001, PERF203  (better an odd span than none)
                report("translating a span for MLflow", error)
        return span

    def _translate(self, span: ReadableSpan) -> ReadableSpan:
        for name, kept in refused_attributes(span.attributes or {}).items():
            done = f"left out: it must be {_MUST_BE[name]}" if kept is None else "cut"
            self._warn(name, f"{name} of a span is what MLflow does not take, and was {done}")
        return translate_span(span, free_providers=self._free_providers)

    @abstractmethod
    def _deliver(self, spans: Sequence[ReadableSpan]) -> SpanExportResult: ...

    def shutdown(self) -> None:
        """Deliver nothing more, say what was not delivered, and close the connections."""
        self._begin_anew_after_a_fork()
        first_time, self._shut_down = not self._shut_down, True
        _doors.mlflow.discard(self)
        if first_time:
            self._say_last_words()
        self._close()

    def _say_last_words(self) -> None:
        """Tell the losses that nobody could tell later: the process may be about to end."""
        waiting = [self._on_the_way.pop(batch, 0) for batch in list(self._on_the_way)]
        untold = self._warn_of_loss.kept()
        if untold and not self._foretold:
            _logger.warning(
                "undelivered spans: %d more since the last warning, %d in all; "
                "the warnings above say why",
                untold,
                self._lost,
            )
        self._lose(
            sum(waiting),
            "waiting",
            f"{self._place()} had not taken them when the exporter was shut down; check that it "
            "answers; any that waited behind these are lost too",
        )

    @abstractmethod
    def _place(self) -> str:
        """Return what takes the spans, and which setting names it."""

    @abstractmethod
    def _close(self) -> None: ...


class MlflowSpanExporter(_TranslatingExporter):
    """Exports spans to MLflow, GenAI spans as MLflow shows them best.

    The settings are MLflow's own. An http(s) address takes OTLP and needs no mlflow package; a
    database (sqlite, postgresql, mysql, mssql) is written directly, through mlflow. Where nothing
    is set, MLflow's own defaults count.

    Use a ``BatchSpanProcessor``. A ``SimpleSpanProcessor`` delivers each span while the
    application waits: a few seconds for one span when the server is gone, a minute when it hangs.

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
        self._tracking_uri = tracking_uri
        self._experiment = (experiment_name, experiment_id)
        self._given_sink = sink
        super().__init__(free_providers)
        self._check_settings()

    def _begin(self) -> None:
        """Start without a sink of our own too, and with a lock that nobody holds."""
        super()._begin()
        self._sink = self._given_sink
        self._lock = threading.Lock()

    def _check_settings(self) -> None:
        """Log at the start what can be known to be wrong at the start."""
        uri = self._tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        if self._sink is not None or not uri:
            return
        try:
            check_tracking_uri(uri)
        except DeliveryError as error:
            self._foretell(error)
        except Exception as error:  # noqa: BLE001  (it would turn off all of OpenTelemetry)
            report("checking MLFLOW_TRACKING_URI", error)

    def _deliver(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._find_sink().deliver(_encode(spans))
        return SpanExportResult.SUCCESS

    def _find_sink(self) -> SpanSink:
        with self._lock:
            if self._sink is None:
                uri = tracking_uri_from_settings(self._tracking_uri)
                self._sink = sink_for(uri, ExperimentChoice.from_settings(*self._experiment))
            return self._sink

    def _place(self) -> str:
        if self._given_sink is not None:
            return f"the sink {type(self._given_sink).__name__}"
        uri = self._tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
        named = f" at {redacted(uri)}" if uri else ""
        return f"MLflow{named} (MLFLOW_TRACKING_URI)"

    def _close(self) -> None:
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
        request = encode([span for span in spans if _encodes(encode, span)])
    return request


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

    Use a ``BatchSpanProcessor``: the exporter that sends may wait and try again for seconds.

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
        try:
            self._find_exporter()
        except DeliveryError as error:
            self._foretell(error)
        except Exception as error:  # noqa: BLE001  (it would turn off all of OpenTelemetry)
            report("building the OTLP exporter", error)

    def _find_exporter(self) -> SpanExporter:
        # What could not be built is tried again: the settings may be mended, and what is wrong
        # with them is to be said again from time to time.
        if self._exporter is None:
            self._exporter = _otlp_exporter()
        return self._exporter

    def _deliver(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return self._find_exporter().export(spans)

    def _place(self) -> str:
        return f"{type(self._exporter).__name__} (OTEL_EXPORTER_OTLP_ENDPOINT)"

    def _close(self) -> None:
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
