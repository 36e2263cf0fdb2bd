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
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from ollama_otel import _doors
from ollama_otel._internal_errors import Warnings, report
from ollama_otel.mlflow._errors import misconfigured, redacted
from ollama_otel.mlflow._firsts import FirstSpans
from ollama_otel.mlflow._runs import RUN, active_run_id, traces_of_runs
from ollama_otel.mlflow._sessions import session_from_baggage
from ollama_otel.mlflow._spans import Wishes, storable, translate_span
from ollama_otel.mlflow.sinks import (
    DeliveryError,
    ExperimentChoice,
    SpanSink,
    check_tracking_uri,
    sink_for,
    tracking_uri_from_settings,
)
from ollama_otel.mlflow.translation import FREE_PROVIDERS, refused_attributes

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_QUIET_SECONDS: Final = 60.0

_NUMBERS: Final = "a JSON object of numbers"
_MUST_BE: Final = {
    "mlflow.chat.tokenUsage": _NUMBERS,
    "mlflow.llm.cost": _NUMBERS,
}
"""What MLflow takes of an attribute that is left out otherwise; of all others a text."""

_OF_MLFLOWS_OWN: Final = "mlflow.traceRequestId"
"""On spans that MLflow's own tracing knows, and stores itself."""

_logger = logging.getLogger(__name__)


# Exporters ----------------------------------------------------------------------------------


class _TranslatingExporter(SpanExporter, ABC):
    """What both exporters share: translation, faults that stay inside, and shutdown.

    Every span that is not delivered is counted: in a warning, in the next one of its kind, or in
    the last one, at the shutdown.
    """

    def __init__(self, wishes: Wishes, *, completes: bool, stands_in: bool) -> None:
        self._wishes = wishes
        self._completes = completes
        self._stands_in = stands_in
        self._born_in = os.getpid()
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
        self._first_spans = FirstSpans()
        self._delivers = False

    def notes(self, context: "Context") -> Mapping[str, str]:
        """Return what spans have to note for MLflow when a call is made: session and user.

        Args:
            context: the call's context, in whose baggage they may be.
        """
        return session_from_baggage(context)

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
                prepared = self._completed([self._prepare(span) for span in spans])
                result = self._deliver(prepared)
        except DeliveryError as error:
            self._lose(self._on_the_way.pop(batch, 0), error.kind, str(error))
        except Exception as error:  # noqa: BLE001  (the application must not feel our faults)
            report("delivering spans to MLflow", error)
            self._lose(self._on_the_way.pop(batch, 0), "bug", "that is a fault of ollama-otel")
        else:
            self._foretold = False
            self._delivers = True
            return result
        finally:
            self._on_the_way.pop(batch, None)
        self._delivers = False
        return SpanExportResult.FAILURE

    def _completed(self, spans: Sequence[ReadableSpan]) -> Sequence[ReadableSpan]:
        """Return the spans, the first ones of traces with what they lack."""
        if not self._completes:
            return spans
        try:
            return [*self._first_spans.complete(spans), *self._missing()]
        except Exception as error:  # noqa: BLE001  (better without than not at all)
            report("completing traces for MLflow", error)
            return spans

    def _missing(self, *, everything: bool = False) -> list[ReadableSpan]:
        # What a forked process began in its parent is the parent's to end.
        stands_in = self._stands_in and self._process == self._born_in
        return self._first_spans.missing(everything=everything) if stands_in else []

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
        for change in (self._translate, storable):
            try:
                span = change(span)
            except Exception as error:  # noqa: BLE001, PERF203  (better an odd span than none)
                report("translating a span for MLflow", error)
        return span

    def _translate(self, span: ReadableSpan) -> ReadableSpan:
        for name, kept in refused_attributes(span.attributes or {}).items():
            done = f"left out: it must be {_MUST_BE.get(name, 'a text')}" if kept is None else "cut"
            self._warn(name, f"{name} of a span is what MLflow does not take, and was {done}")
        return translate_span(span, self._wishes)

    @abstractmethod
    def _deliver(self, spans: Sequence[ReadableSpan]) -> SpanExportResult: ...

    def shutdown(self) -> None:
        """Deliver nothing more, say what was not delivered, and close the connections."""
        self._begin_anew_after_a_fork()
        first_time, self._shut_down = not self._shut_down, True
        _doors.mlflow.discard(self)
        if first_time:
            self._deliver_stand_ins()
            self._say_last_words()
        self._close()

    def _deliver_stand_ins(self) -> None:
        """Complete the traces whose first span will not come any more, where that may succeed."""
        if self._on_the_way or not self._delivers:
            return
        try:
            if stand_ins := self._missing(everything=True):
                with suppress_instrumentation():
                    self._deliver(stand_ins)
        except DeliveryError as error:
            self._warn(error.kind, f"some traces stay in progress in MLflow: {error}")
        except Exception as error:  # noqa: BLE001  (the application must not feel our faults)
            report("completing traces in MLflow", error)

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
        run_id: the run that the traces belong to; by default the one that is active where a call
            is made, else MLFLOW_RUN_ID.
        tags: tags for every trace.
        timeout: seconds that one request to a server may take; by default
            MLFLOW_HTTP_REQUEST_TIMEOUT, or 60.
        sink: a place of your own, instead of what the settings name.
        free_providers: values of ``gen_ai.provider.name`` whose models cost nothing per token;
            MLflow prices the others.
        remote_parents: whether a span whose parent is in another process stays below it. Say so
            where that process sends its spans to the same MLflow; else the trace would never end
            there, so such a span becomes the first of its trace.
        complete_traces: whether first spans of the application's own are told what was asked and
            answered below them, and traces whose first span is never exported get one.

    Example:
        >>> provider = TracerProvider()
        >>> provider.add_span_processor(BatchSpanProcessor(MlflowSpanExporter()))
    """

    def __init__(  # noqa: PLR0913  (each is an option of its own)
        self,
        tracking_uri: str | None = None,
        *,
        experiment_name: str | None = None,
        experiment_id: str | None = None,
        run_id: str | None = None,
        tags: Mapping[str, object] | None = None,
        timeout: float | None = None,
        sink: SpanSink | None = None,
        free_providers: Collection[str] = FREE_PROVIDERS,
        remote_parents: bool = False,
        complete_traces: bool = True,
    ) -> None:
        self._tracking_uri = tracking_uri
        self._experiment = (experiment_name, experiment_id)
        self._run_id = run_id
        self._timeout = timeout
        self._given_sink = sink
        super().__init__(
            Wishes.checked(free_providers, tags, remote_parents=remote_parents),
            completes=complete_traces,
            stands_in=complete_traces,
        )
        self._check_settings()

    def notes(self, context: "Context") -> Mapping[str, str]:
        """Note the run that is active where a call is made, too.

        Args:
            context: the call's context.
        """
        run_id = None if self._run_id else active_run_id()
        return {**super().notes(context), **({RUN: run_id} if run_id else {})}

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
        sink = self._find_sink()
        _let_mlflow_store_first(spans)
        sink.deliver(_encode(spans))
        self._link(sink, spans)
        return SpanExportResult.SUCCESS

    def _link(self, sink: SpanSink, spans: Sequence[ReadableSpan]) -> None:
        """Link the traces, which are stored by now, to their runs."""
        default = os.environ.get("MLFLOW_RUN_ID") or None
        for run_id, traces in traces_of_runs(spans, always=self._run_id, default=default):
            try:
                sink.link(traces, run_id)
            except Exception as error:  # noqa: BLE001, PERF203  (the spans are stored)
                self._warn(
                    "run",
                    f"traces not linked to run {run_id}: {len(traces)}; {error}",
                )

    def _find_sink(self) -> SpanSink:
        with self._lock:
            if self._sink is None:
                uri = tracking_uri_from_settings(self._tracking_uri)
                experiment = ExperimentChoice.from_settings(*self._experiment)
                self._sink = sink_for(uri, experiment, timeout=self._timeout)
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


def _let_mlflow_store_first(spans: Sequence[ReadableSpan]) -> None:
    """Wait until MLflow's own tracing has stored the spans of a provider that it shares.

    It stores them as they come, and what is stored last counts.
    """
    if any(_OF_MLFLOWS_OWN in (span.attributes or {}) for span in spans):
        import_module("mlflow").flush_trace_async_logging()


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
        tags: tags for every trace.
        free_providers: values of ``gen_ai.provider.name`` whose models cost nothing per token.
        remote_parents: as for ``MlflowSpanExporter``, but yes by default: the collector may have
            other receivers, and other senders.
        complete_traces: whether first spans of the application's own are told what was asked and
            answered below them. None is added: the collector may have receivers that keep every
            span as it comes.
    """

    def __init__(
        self,
        exporter: SpanExporter | None = None,
        *,
        tags: Mapping[str, object] | None = None,
        free_providers: Collection[str] = FREE_PROVIDERS,
        remote_parents: bool = True,
        complete_traces: bool = True,
    ) -> None:
        super().__init__(
            Wishes.checked(free_providers, tags, remote_parents=remote_parents),
            completes=complete_traces,
            stands_in=False,
        )
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
