"""The exporters: what they deliver, and that no fault of theirs is ever felt."""

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, cast

import pytest
from mlflow import MlflowClient
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.trace import SpanContext, Status, StatusCode

import ollama_otel.mlflow
from mlflow_export.fake_mlflow import API, FakeMlflow
from mlflow_export.genai import GenAi
from mlflow_export.stored import traces
from ollama_otel import _internal_errors
from ollama_otel.mlflow import MlflowOtlpSpanExporter, MlflowSpanExporter, exporter
from ollama_otel.mlflow._server import Server
from ollama_otel.mlflow._spans import translate_span
from ollama_otel.mlflow.sinks import DeliveryError, OtlpHttpSink, StoreSink

SUCCESS = SpanExportResult.SUCCESS
FAILURE = SpanExportResult.FAILURE


class KeptSink:
    """A sink that keeps what it gets, or fails as it is told."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault
        self.delivered: list[tuple[str, dict[str, Any]]] = []
        self.instrumented: list[bool] = []
        self.closed = 0
        self.linked: list[tuple[str, list[str]]] = []

    def link(self, trace_ids: Sequence[str], run_id: str) -> None:
        """Keep runs and their traces, or fail as told."""
        if run_id == "unknown":
            raise DeliveryError("no such run", retryable=False, kind="status 404")
        self.linked.append((run_id, list(trace_ids)))

    def deliver(self, request: ExportTraceServiceRequest) -> None:
        """Keep names and attributes."""
        self.instrumented.append(is_instrumentation_enabled())
        if self.fault is not None:
            raise self.fault
        self.delivered += [
            (span.name, {pair.key: pair.value.string_value for pair in span.attributes})
            for resource_spans in request.resource_spans
            for scope_spans in resource_spans.scope_spans
            for span in scope_spans.spans
        ]

    def shutdown(self) -> None:
        """Count."""
        self.closed += 1


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged, and by us alone."""
    assert {record.name.partition(".")[0] for record in caplog.records} <= {"ollama_otel"}
    assert {record.levelname for record in caplog.records} <= {"WARNING"}
    return [record.getMessage() for record in caplog.records]


# Delivery -----------------------------------------------------------------------------------


def test_spans_reach_a_server(genai: GenAi, server: FakeMlflow) -> None:
    """Through the SDK's own processor, translated."""
    genai.provider.add_span_processor(
        BatchSpanProcessor(MlflowSpanExporter(server.uri, experiment_name="shop"))
    )
    genai.chat()
    genai.handler.tool("calculate_tip").stop()
    genai.provider.shutdown()

    assert server.asked == [f"GET {API}/get-by-name", f"POST {API}/create", "POST /v1/traces"]
    assert server.requests[-1].spans == ["chat llama3.2", "calculate_tip"]


def test_spans_reach_a_database(genai: GenAi, database: str) -> None:
    """By the same class; the address decides."""
    result = MlflowSpanExporter(database, experiment_name="shop").export([genai.chat()])

    assert result is SUCCESS
    assert [trace["tags"]["mlflow.traceName"] for trace in traces(database, "shop")] == [
        "chat llama3.2"
    ]


def test_settings_count_as_they_are_at_the_first_span(
    genai: GenAi, server: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exporter is built before the application reads its .env file."""
    early = MlflowSpanExporter()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "7")

    assert early.export([genai.chat()]) is SUCCESS
    assert server.requests[0].headers["x-mlflow-experiment-id"] == "7"


def test_a_place_of_one_s_own_can_be_given(genai: GenAi) -> None:
    """Anything that is a SpanSink."""
    sink = KeptSink()

    assert MlflowSpanExporter(sink=sink).export([genai.chat()]) is SUCCESS
    ((name, attributes),) = sink.delivered
    assert (name, attributes["mlflow.spanType"]) == ("chat llama3.2", "CHAT_MODEL")


def test_free_providers_can_be_named(genai: GenAi) -> None:
    """With none, MLflow prices every model."""
    free, priced = KeptSink(), KeptSink()
    span = genai.chat()
    MlflowSpanExporter(sink=free).export([span])
    MlflowSpanExporter(sink=priced, free_providers=()).export([span])

    assert "mlflow.llm.cost" in free.delivered[0][1]
    assert "mlflow.llm.cost" not in priced.delivered[0][1]


def test_delivery_is_not_traced(genai: GenAi) -> None:
    """Else every post to MLflow would make a span, and so on without end."""
    sink = KeptSink()
    MlflowSpanExporter(sink=sink).export([genai.chat()])

    assert sink.instrumented == [False]
    assert is_instrumentation_enabled()


def test_building_it_imports_no_mlflow() -> None:
    """An application starts no slower for it."""
    code = (
        "import sys; from ollama_otel.mlflow import MlflowSpanExporter\n"
        "MlflowSpanExporter('sqlite:///mlflow.db')\n"
        "print([name for name in ('mlflow', 'requests', 'sqlalchemy') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "[]"


def test_many_threads_find_one_sink(genai: GenAi, server: FakeMlflow) -> None:
    """A forced flush may meet the worker."""
    shared = MlflowSpanExporter(server.uri, experiment_name="shop")
    span = genai.chat()
    threads = [threading.Thread(target=shared.export, args=([span],)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert server.asked.count("POST /v1/traces") == 8
    assert server.asked.count(f"POST {API}/create") == 1


def test_a_forked_worker_begins_anew(
    genai: GenAi, server: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its parent was at when it forked, and with connections of its own."""
    forked = MlflowSpanExporter(server.uri)
    assert forked.export([genai.chat()]) is SUCCESS
    parents = forked._find_sink()
    forked._lock.acquire()
    monkeypatch.setattr(os, "getpid", lambda: -1)

    assert forked.export([genai.chat()]) is SUCCESS
    assert forked._find_sink() is not parents


def test_a_forked_worker_keeps_the_place_that_was_given(
    genai: GenAi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no other."""
    sink = KeptSink()
    forked = MlflowSpanExporter(sink=sink)
    monkeypatch.setattr(os, "getpid", lambda: -1)

    assert forked.export([genai.chat()]) is SUCCESS
    assert len(sink.delivered) == 1


# Faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("foo://bar", "no spans can be delivered: MLFLOW_TRACKING_URI (tracking_uri) is"),
        ("./mlruns", "MLflow keeps no spans in folders"),
        ("databricks-uc", "names a model registry"),
    ],
)
def test_a_wrong_setting_is_said_at_the_start_and_the_application_goes_on(
    uri: str,
    words: str,
    genai: GenAi,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once; the spans that follow fail in silence for a while."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    faulty = MlflowSpanExporter()

    (warning,) = warnings_of(caplog)
    assert words in warning
    assert faulty.export([genai.chat()]) is FAILURE
    faulty.shutdown()
    assert warnings_of(caplog) == [warning]


def test_a_setting_that_was_wrong_can_be_mended_while_it_runs(
    genai: GenAi,
    server: FakeMlflow,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a notebook, say."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "foo://bar")
    mended = MlflowSpanExporter()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)

    assert mended.export([genai.chat()]) is SUCCESS
    assert len(warnings_of(caplog)) == 1


def test_a_fault_is_said_once_a_minute_with_how_often_it_came(
    genai: GenAi, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each kind of fault apart."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    sink = KeptSink()
    failing = MlflowSpanExporter(sink=sink)
    span = genai.chat()

    for seconds, kind in [(0, "a"), (1, "a"), (2, "b"), (59, "a"), (60, "a"), (121, "a")]:
        now[0] = 1000.0 + seconds
        sink.fault = DeliveryError(f"fault {kind}", retryable=True, kind=kind)
        assert failing.export([span, span]) is FAILURE

    assert warnings_of(caplog) == [
        "undelivered spans: 2; fault a",
        "undelivered spans: 2; fault b",
        "undelivered spans: 2; fault a (4 more like this since the last warning)",
        "undelivered spans: 2; fault a",
    ]


@pytest.mark.usefixtures("quiet_errors")
def test_a_check_that_fails_in_an_unknown_way_leaves_the_application_alone(
    genai: GenAi, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A constructor that raised would turn off all of OpenTelemetry."""

    def fail(_uri: str) -> None:
        raise ValueError("bug")

    monkeypatch.setattr(exporter, "check_tracking_uri", fail)

    MlflowSpanExporter("http://localhost:5000")

    (warning,) = warnings_of(caplog)
    assert "failed while checking MLFLOW_TRACKING_URI" in warning
    assert genai.spans == ()


@pytest.mark.usefixtures("quiet_errors")
def test_a_fault_that_nobody_thought_of_stays_inside(
    genai: GenAi, caplog: pytest.LogCaptureFixture
) -> None:
    """With its stack in the log, for the report of the bug."""
    result = MlflowSpanExporter(sink=KeptSink(RuntimeError("bug"))).export([genai.chat()])

    assert result is FAILURE
    record, count = caplog.records
    assert count.getMessage() == "undelivered spans: 1; that is a fault of ollama-otel"
    assert "failed while delivering spans to MLflow" in record.getMessage()
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "bug"


def test_a_fault_that_nobody_thought_of_is_loud_in_tests(genai: GenAi) -> None:
    """So that it is found here."""
    with pytest.raises(RuntimeError, match="bug"):
        MlflowSpanExporter(sink=KeptSink(RuntimeError("bug"))).export([genai.chat()])


@pytest.mark.usefixtures("quiet_errors")
def test_a_span_that_cannot_be_translated_is_sent_as_it_is(
    genai: GenAi, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Better untranslated than lost; the others of its batch are translated."""
    translate = translate_span

    def faulty(span: ReadableSpan, *wishes: Any) -> ReadableSpan:
        if span.name == "chat bad":
            raise RuntimeError("bug")
        return translate(span, *wishes)

    monkeypatch.setattr(exporter, "translate_span", faulty)
    sink = KeptSink()

    result = MlflowSpanExporter(sink=sink).export([genai.chat("bad"), genai.chat("good")])

    assert result is SUCCESS
    assert [(name, "mlflow.spanType" in attributes) for name, attributes in sink.delivered] == [
        ("chat bad", False),
        ("chat good", True),
    ]
    (warning,) = warnings_of(caplog)
    assert "failed while translating a span for MLflow" in warning


def _odd_status(genai: GenAi) -> ReadableSpan:
    span = genai.tracer.start_span("half \ud83d")
    span.set_status(Status(StatusCode.ERROR, "half \ud83d"))
    span.add_event("half \ud83d", {"a": "b"})
    span.end()
    return genai.spans[-1]


@pytest.mark.parametrize("make", [MlflowSpanExporter, MlflowOtlpSpanExporter])
def test_half_a_character_takes_no_other_span_with_it(
    make: Callable[[], SpanExporter],
    genai: GenAi,
    server: FakeMlflow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A text that was cut in the middle of an emoji, wherever it is."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.uri)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    with genai.tracer.start_as_current_span("parent"):
        spans = [genai.chat(), _odd_status(genai)]
    exporting = make()

    assert exporting.export(spans) is SUCCESS
    exporting.shutdown()

    assert [request.spans for request in server.requests][:1] == [["chat llama3.2", "half ?"]]


def test_half_a_character_is_replaced_and_the_rest_stays(genai: GenAi) -> None:
    """The name, the status, and the names of events."""
    with genai.tracer.start_as_current_span("parent"):
        odd = _odd_status(genai)
    kept = KeptExporter()
    MlflowOtlpSpanExporter(kept).export([odd])

    (span,) = kept.exported
    assert (span.name, span.status.description) == ("half ?", "half ?")
    assert [(event.name, dict(event.attributes or {})) for event in span.events] == [
        ("half ?", {"a": "b"})
    ]
    assert (span.context, span.end_time) == (odd.context, odd.end_time)


@pytest.mark.usefixtures("quiet_errors")
def test_a_span_that_cannot_be_encoded_takes_no_other_with_it(
    genai: GenAi, caplog: pytest.LogCaptureFixture
) -> None:
    """It is dropped, with a word."""
    chat = genai.chat()
    sink = KeptSink()

    lost = ReadableSpan(name="lost", parent=chat.context)

    assert MlflowSpanExporter(sink=sink).export([chat, lost]) is SUCCESS
    assert [name for name, _ in sink.delivered] == ["chat llama3.2"]
    (warning,) = warnings_of(caplog)
    assert "failed while encoding a span for MLflow" in warning


@pytest.mark.parametrize(
    ("attributes", "warning"),
    [
        (
            {"session.id": "s" * 251},
            "session.id of a span is what MLflow does not take, and was cut",
        ),
        (
            {"mlflow.llm.cost": "null"},
            (
                "mlflow.llm.cost of a span is what MLflow does not take, and was left out: it must "
                "be a JSON object of numbers"
            ),
        ),
        (
            {"mlflow.spanType": ["a", "b"]},
            (
                "mlflow.spanType of a span is what MLflow does not take, and was left out: it must "
                "be a text"
            ),
        ),
    ],
    ids=["session.id", "mlflow.llm.cost", "mlflow.spanType"],
)
def test_what_mlflow_does_not_take_is_not_changed_in_silence(
    attributes: dict[str, Any], warning: str, genai: GenAi, caplog: pytest.LogCaptureFixture
) -> None:
    """Once a minute is enough."""
    chatty = MlflowSpanExporter(sink=KeptSink())

    for _ in range(3):
        assert chatty.export([genai.chat(attributes=attributes)]) is SUCCESS

    assert warnings_of(caplog) == [warning]


@pytest.mark.parametrize(
    "attributes",
    [
        {"session.id": "s" * 10_000},
        {"gen_ai.conversation.id": "s" * 10_000},
        {"mlflow.llm.cost": "null"},
        {"mlflow.chat.tokenUsage": '{"input_tokens": null}'},
        {"mlflow.traceTag.mlflow.traceName": "n" * 10_000},
        {"mlflow.spanType": ["a", "b"]},
    ],
    ids=lambda value: next(iter(value)),
)
@pytest.mark.filterwarnings("ignore:.*is truncated to:UserWarning")
def test_no_span_makes_mlflow_refuse_the_batch(
    attributes: dict[str, Any], genai: GenAi, database: str
) -> None:
    """Each of these does, when it comes raw."""
    good, bad = genai.chat("good"), genai.chat("bad", attributes=attributes)

    assert MlflowSpanExporter(database).export([good, bad]) is SUCCESS
    assert len(traces(database)) == 2


def test_bytes_in_a_resource_do_not_make_mlflow_refuse_the_batch(
    genai: GenAi, database: str
) -> None:
    """MLflow writes them as JSON, which has no bytes; OpenTelemetry allows them."""
    raw = Resource({"key": b"bytes", "other": "text"}, "https://example.org/schema")
    odd = TracerProvider(resource=raw)
    odd.add_span_processor(SimpleSpanProcessor(MlflowSpanExporter(database)))
    odd.get_tracer("shop").start_span("last words").end()

    kept = KeptExporter()
    span = odd.get_tracer("shop").start_span("last words")
    span.end()
    MlflowOtlpSpanExporter(kept).export([cast("ReadableSpan", span)])

    assert [trace["tags"]["mlflow.traceName"] for trace in traces(database)] == ["last words"] * 2
    assert kept.exported[0].resource == Resource(
        {"key": "bytes", "other": "text"}, "https://example.org/schema"
    )
    assert genai.spans == ()


def test_a_missing_encoder_is_named(
    genai: GenAi, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """opentelemetry-instrument alone does not bring it."""
    module = "opentelemetry.exporter.otlp.proto.common.trace_encoder"
    monkeypatch.setitem(sys.modules, module, None)

    assert MlflowSpanExporter(sink=KeptSink()).export([genai.chat()]) is FAILURE
    assert warnings_of(caplog) == [
        (
            f"undelivered spans: 1; sending spans needs the package {module}: "
            "pip install 'ollama-otel[otlp]'"
        )
    ]


# Life ---------------------------------------------------------------------------------------


def test_shutdown_closes_the_sink_and_ends_delivery(
    genai: GenAi, caplog: pytest.LogCaptureFixture
) -> None:
    """What comes later is refused, and not in silence."""
    sink = KeptSink()
    closing = MlflowSpanExporter(sink=sink)

    assert closing.force_flush() is True
    closing.shutdown()
    closing.shutdown()

    assert sink.closed == 2
    assert closing.export([genai.chat()]) is FAILURE
    assert sink.delivered == []
    assert warnings_of(caplog) == ["undelivered spans: 1; the exporter is shut down"]


def failing_exporter(*counts: int) -> MlflowSpanExporter:
    """An exporter that lost batches of so many spans, for the same reason."""
    lossy = MlflowSpanExporter(sink=KeptSink(DeliveryError("fault", retryable=True, kind="a")))
    span = ReadableSpan(name="s", context=SpanContext(trace_id=1, span_id=2, is_remote=False))
    for count in counts:
        lossy.export([span] * count)
    return lossy


def test_the_shutdown_tells_the_losses_that_no_warning_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Once: nobody could tell them later."""
    lossy = failing_exporter(512, 512, 476)
    lossy.shutdown()
    lossy.shutdown()

    assert warnings_of(caplog) == [
        "undelivered spans: 512; fault",
        (
            "undelivered spans: 988 more since the last warning, 1500 in all; the warnings above "
            "say why"
        ),
    ]


def test_the_shutdown_has_nothing_to_add_to_what_was_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One batch that failed is one line."""
    failing_exporter(512).shutdown()

    assert warnings_of(caplog) == ["undelivered spans: 512; fault"]


def test_a_forked_worker_does_not_tell_the_losses_of_its_parent(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parent tells them."""
    lossy = failing_exporter(512, 512)
    lossy._on_the_way[object()] = 5
    monkeypatch.setattr(os, "getpid", lambda: -1)
    lossy.shutdown()

    assert warnings_of(caplog) == ["undelivered spans: 512; fault"]


class HangingSink(KeptSink):
    """A sink that takes its time, and then fails or not."""

    def __init__(self, fault: Exception | None) -> None:
        super().__init__(fault)
        self.asked = threading.Event()
        self.released = threading.Event()

    def deliver(self, request: ExportTraceServiceRequest) -> None:
        """Wait, then do as any sink."""
        self.asked.set()
        self.released.wait()
        super().deliver(request)


@pytest.mark.parametrize("fault", [None, DeliveryError("fault", retryable=True, kind="slow")])
def test_spans_that_are_on_their_way_at_the_shutdown_are_told_once(
    fault: Exception | None, genai: GenAi, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread that waits for an answer may end with the process, before it can say a word."""
    sink = HangingSink(fault)
    hanging = MlflowSpanExporter(sink=sink)
    thread = threading.Thread(target=hanging.export, args=([genai.chat()] * 3,))
    thread.start()
    sink.asked.wait()

    hanging.shutdown()
    sink.released.set()
    thread.join()

    assert warnings_of(caplog) == [
        (
            "undelivered spans: 3; the sink HangingSink had not taken them when the exporter was "
            "shut down; check that it answers; any that waited behind these are lost too"
        )
    ]


HANGING = """
import sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from ollama_otel.mlflow import MlflowSpanExporter
processor = BatchSpanProcessor(MlflowSpanExporter())
# The SDK itself waits for half a minute.
processor.shutdown = lambda: processor._batch_processor.shutdown(timeout_millis=500)
provider = TracerProvider()
provider.add_span_processor(processor)
provider.get_tracer("shop").start_span("last words").end()
"""


def test_a_server_that_hangs_while_the_application_ends_is_named(tmp_path: Path) -> None:
    """It accepts the connection, and that is all; what it was sent is counted as lost."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        run = subprocess.run(
            [sys.executable, "-c", HANGING],
            cwd=tmp_path,
            env={**os.environ, "MLFLOW_TRACKING_URI": f"http://user:secret@{address}"},
            capture_output=True,
            text=True,
            check=True,
        )

    assert run.stderr == (
        f"undelivered spans: 1; MLflow at http://{address} (MLFLOW_TRACKING_URI) had not taken "
        "them when the exporter was shut down; check that it answers; any that waited behind "
        "these are lost too\n"
    )


def test_a_server_that_is_gone_does_not_hold_up_the_application_for_each_batch(
    genai: GenAi, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for with the first batch only, and every span is counted."""
    waits: list[float] = []
    monkeypatch.setattr(Server, "_closes_in", lambda _self, wait, _error: waits.append(wait))
    genai.provider.add_span_processor(
        BatchSpanProcessor(MlflowSpanExporter("http://127.0.0.1:9"), max_export_batch_size=10)
    )
    for _ in range(25):
        genai.tracer.start_span("chat").end()
    genai.provider.shutdown()

    first, last = warnings_of(caplog)
    assert waits == [0.5, 1.0, 2.0]
    assert first == (
        "undelivered spans: 10; the MLflow server at http://127.0.0.1:9 was not reached "
        "(ConnectionError); start it (mlflow server) or set MLFLOW_TRACKING_URI to where it is"
    )
    assert last == (
        "undelivered spans: 15 more since the last warning, 25 in all; the warnings above say why"
    )


def test_shutdown_before_the_first_span_is_fine(caplog: pytest.LogCaptureFixture) -> None:
    """There is nothing to close, and nothing to say."""
    MlflowSpanExporter("http://localhost:5000").shutdown()

    assert caplog.messages == []


@pytest.mark.parametrize(("uri", "kind"), [("http://h", OtlpHttpSink), ("sqlite://", StoreSink)])
def test_the_address_decides_on_the_sink(uri: str, kind: type) -> None:
    """The exporter itself knows of no address."""
    assert type(MlflowSpanExporter(uri)._find_sink()) is kind


# To a collector -----------------------------------------------------------------------------


class KeptExporter(SpanExporter):
    """An exporter that keeps what it gets."""

    def __init__(self, result: SpanExportResult = SUCCESS) -> None:
        self.result = result
        self.exported: list[ReadableSpan] = []
        self.calls: list[object] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Keep."""
        self.exported += spans
        return self.result

    def shutdown(self) -> None:
        """Keep."""
        self.calls.append("shutdown")

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Keep."""
        self.calls.append(timeout_millis)
        return False


@pytest.mark.parametrize("result", [SUCCESS, FAILURE])
def test_translated_spans_are_handed_on(result: SpanExportResult, genai: GenAi) -> None:
    """All else is the business of the exporter that sends."""
    kept = KeptExporter(result)
    handing = MlflowOtlpSpanExporter(kept)

    assert handing.export([genai.chat()]) is result
    assert handing.force_flush(7) is False
    handing.shutdown()

    (span,) = kept.exported
    assert (span.attributes or {})["mlflow.spanType"] == "CHAT_MODEL"
    assert kept.calls == [7, "shutdown"]
    assert handing.export([genai.chat()]) is FAILURE


@pytest.mark.parametrize(
    ("environment", "kind"),
    [
        ({}, GrpcExporter),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, GrpcExporter),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, HttpExporter),
        (
            {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": " http/protobuf ",
            },
            HttpExporter,
        ),
    ],
    ids=str,
)
def test_the_protocol_is_opentelemetry_s_own_setting(
    environment: dict[str, str], kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same default as in its own auto-configuration."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    handing = MlflowOtlpSpanExporter()

    assert type(handing._exporter) is kind
    handing.shutdown()


def test_spans_reach_a_collector(
    genai: GenAi, server: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here anything that takes OTLP over http."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.uri)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    genai.provider.add_span_processor(BatchSpanProcessor(MlflowOtlpSpanExporter()))
    genai.chat()
    genai.provider.shutdown()

    assert [request.spans for request in server.requests] == [["chat llama3.2"]]


def test_a_protocol_that_does_not_exist_is_said_not_to(
    genai: GenAi, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the application goes on."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")

    faulty = MlflowOtlpSpanExporter()

    assert faulty.export([genai.chat()]) is FAILURE
    assert faulty.force_flush() is True
    faulty.shutdown()
    assert warnings_of(caplog) == [
        (
            "no spans can be delivered: OTEL_EXPORTER_OTLP_PROTOCOL is 'http/json'; what works: "
            "grpc, http/protobuf"
        ),
    ]


def test_a_collector_s_setting_that_is_wrong_is_said_again_each_minute_until_it_is_mended(
    genai: GenAi, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line at the start of a long log is not seen by those who miss their spans."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
    faulty = MlflowOtlpSpanExporter()
    caplog.clear()
    results = []
    for seconds in (1, 2, 60):
        now[0] = 1000.0 + seconds
        results.append(faulty.export([genai.chat()]))

    assert results == [FAILURE] * 3
    assert warnings_of(caplog) == [
        (
            "undelivered spans: 1; OTEL_EXPORTER_OTLP_PROTOCOL is 'http/json'; what works: "
            "grpc, http/protobuf (2 more like this since the last warning)"
        )
    ]
    kept = KeptExporter()
    monkeypatch.setattr(exporter, "_otlp_exporter", lambda: kept)
    assert faulty.export([genai.chat()]) is SUCCESS
    assert [span.name for span in kept.exported] == ["chat llama3.2"]


def test_a_missing_otlp_exporter_is_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that cures it."""
    module = "opentelemetry.exporter.otlp.proto.grpc.trace_exporter"
    monkeypatch.setitem(sys.modules, module, None)

    MlflowOtlpSpanExporter()

    assert warnings_of(caplog) == [
        (
            f"no spans can be delivered: sending spans needs the package {module}: "
            "pip install 'ollama-otel[otlp]'"
        )
    ]


@pytest.mark.usefixtures("quiet_errors")
def test_an_otlp_exporter_that_cannot_be_built_stays_inside(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A constructor that raised would turn off all of OpenTelemetry."""

    def fail(_self: object) -> None:
        raise RuntimeError("no such certificate")

    monkeypatch.setattr(GrpcExporter, "__init__", fail)

    MlflowOtlpSpanExporter()

    (warning,) = warnings_of(caplog)
    assert "failed while building the OTLP exporter" in warning


# Zero code ----------------------------------------------------------------------------------

LAST_WORDS = """
import sys
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from ollama_otel.mlflow import MlflowSpanExporter
provider = TracerProvider(resource=Resource({}))
provider.add_span_processor(BatchSpanProcessor(MlflowSpanExporter(sys.argv[1])))
provider.get_tracer("shop").start_span("last words").end()
"""


def test_a_short_application_delivers_while_the_interpreter_shuts_down(
    database: str, tmp_path: Path
) -> None:
    """mlflow is imported for the first time then, and threads can no longer be registered."""
    run = subprocess.run(
        [sys.executable, "-c", LAST_WORDS, database],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    assert "undelivered" not in run.stderr
    assert [trace["spans"][0]["name"] for trace in traces(database)] == ["last words"]


PROGRAM = """
from opentelemetry import trace
with trace.get_tracer("shop").start_as_current_span(
    "chat llama3.2", attributes={"gen_ai.operation.name": "chat"}
):
    pass
print("the application ends")
"""


def run_with_opentelemetry(folder: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run a small application under opentelemetry-instrument, in a folder of its own."""
    launcher = Path(sys.executable).with_name("opentelemetry-instrument")
    environment = {
        **os.environ,
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        _internal_errors.RAISE_ERRORS: "false",
        **settings,
    }
    return subprocess.run(
        [str(launcher), sys.executable, "-c", PROGRAM],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )


def test_entry_points_name_the_exporters() -> None:
    """OTEL_TRACES_EXPORTER=mlflow and =mlflow_otlp."""
    found = {
        entry.name: entry.load() for entry in entry_points(group="opentelemetry_traces_exporter")
    }

    assert found["mlflow"] is MlflowSpanExporter
    assert found["mlflow_otlp"] is MlflowOtlpSpanExporter


def test_zero_code_delivers_even_when_the_application_ends_at_once(
    database: str, tmp_path: Path
) -> None:
    """The first import of mlflow then happens while the interpreter shuts down."""
    run = run_with_opentelemetry(
        tmp_path, OTEL_TRACES_EXPORTER="mlflow", MLFLOW_TRACKING_URI=database
    )

    assert run.stdout == "the application ends\n"
    assert "Traceback" not in run.stderr
    assert [trace["spans"][0]["type"] for trace in traces(database)] == ["CHAT_MODEL"]


@pytest.mark.parametrize("uri", ["foo://bar", "http://[::1", "http://user:secret@[::1"])
def test_zero_code_with_a_wrong_setting_leaves_everything_else_alone(
    uri: str, tmp_path: Path
) -> None:
    """It is named; the application runs, and another exporter beside ours works."""
    run = run_with_opentelemetry(
        tmp_path, OTEL_TRACES_EXPORTER="mlflow,console", MLFLOW_TRACKING_URI=uri
    )

    assert '"name": "chat llama3.2"' in run.stdout
    assert "the application ends\n" in run.stdout
    assert "MLFLOW_TRACKING_URI" in run.stderr
    assert "secret" not in run.stderr
    assert "Failed to auto initialize" not in run.stderr


# The package --------------------------------------------------------------------------------


def test_the_package_has_these_names_and_no_others() -> None:
    """What is public is chosen."""
    exporters = ["MlflowOtlpSpanExporter", "MlflowSpanExporter"]
    assert ollama_otel.mlflow.__all__ == [*exporters, "autolog"]
    for name in exporters:
        assert getattr(ollama_otel.mlflow, name) is getattr(exporter, name)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = ollama_otel.mlflow.nothing


def test_without_the_sdk_the_package_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The base install does without it."""
    monkeypatch.delitem(sys.modules, "ollama_otel.mlflow.exporter")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)

    with pytest.raises(
        ImportError, match=r"needs the package .*: pip install 'ollama-otel\[otlp\]'"
    ):
        _ = ollama_otel.mlflow.MlflowSpanExporter


def test_our_logger_is_under_the_package_s_name() -> None:
    """One name silences or routes all of it."""
    assert logging.getLogger("ollama_otel") in _parents(exporter._logger)


def _parents(logger: logging.Logger | None) -> list[logging.Logger]:
    found = []
    while logger := (logger.parent if logger else None):
        found.append(logger)
    return found


def test_the_provider_and_the_exporter_end_together(genai: GenAi, server: FakeMlflow) -> None:
    """A provider that is shut down has delivered all."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(MlflowSpanExporter(server.uri)))
    provider.get_tracer("shop").start_span("last words").end()

    assert provider.force_flush()
    provider.shutdown()

    assert server.requests[0].spans == ["last words"]
    assert genai.spans == ()


ODD_VALUES: list[Any] = [
    *(["a", "b"], ("x" * 200, "y" * 200), b"\xff" * 300, 1 << 62, 0.5, True),
    *("x" * 5000, '["a"]', '{"a": 1}', '"quoted"', "", "null", "\ud800", "ü" * 251, "{cut"),
]
ODD_NAMES = [
    *("mlflow.spanType", "mlflow.chat.tokenUsage", "mlflow.llm.cost", "mlflow.spanInputs"),
    *("mlflow.spanOutputs", "mlflow.spanLogLevel", "mlflow.llm.model", "mlflow.chat.tools"),
    *("mlflow.traceTag.mlflow.traceName", "mlflow.traceTag.x", "mlflow.message.format"),
    *("session.id", "user.id", "gen_ai.conversation.id", "gen_ai.operation.name"),
    *("openinference.span.kind", "traceloop.span.kind", "span.type", "entity.type"),
    *("ai.operationId", "langfuse.observation.type", "lmnr.span.type", "gen_ai.tool.name"),
    *("gen_ai.usage.input_tokens", "gen_ai.input.messages", "gen_ai.output.messages"),
    *("gen_ai.tool.definitions", "gen_ai.retrieval.documents", "gen_ai.tool.call.arguments"),
]


@pytest.mark.parametrize("operation", ["chat", "execute_tool", None])
def test_no_attribute_costs_a_batch(operation: str | None, genai: GenAi, database: str) -> None:
    """Whatever stands where MLflow looks for something: every span of the batch is stored."""
    for name in ODD_NAMES:
        for value in ODD_VALUES:
            told = {name: value} if operation is None else {"gen_ai.operation.name": operation}
            genai.tracer.start_span(name, attributes={**told, name: value}).end()
    exporting = MlflowSpanExporter(database)

    assert exporting.export(genai.spans) is SUCCESS
    exporting.shutdown()

    found = MlflowClient(database).search_traces(
        locations=["0"], max_results=500, include_spans=False
    )
    assert len(found) == len(ODD_NAMES) * len(ODD_VALUES)
