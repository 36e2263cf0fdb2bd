"""Who gets what: content modes, metrics, events, hooks, sampling, and nobody."""

import json
from typing import Any

import ollama
import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.util.genai.handler import TelemetryHandler

from conftest import Instrument
from ollama_otel import _extract, _version
from ollama_otel._telemetry import Telemetry
from ollama_otel.instrumentor import OllamaInstrumentor
from recorded import EXCHANGES
from telemetry import Recording

PLAIN, STREAM, MISSING = (
    EXCHANGES[name] for name in ("chat_plain", "chat_stream", "error_no_such_model")
)
CONTENT = ("gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.definitions")
SERVER = {"server.address": "ollama.test", "server.port": 11434}
METRIC = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "ollama",
    "gen_ai.request.model": "scripted",
    "gen_ai.response.model": "scripted",
    **SERVER,
}


class Hook:
    """A completion hook that keeps what it gets."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def on_completion(self, **content: Any) -> None:
        self.calls.append(content)


def content_of(recording: Recording) -> tuple[set[str], set[str]]:
    """Return which content attributes the span and the event hold."""
    (span,) = recording.spans
    events = [log.log_record for log in recording.logs.get_finished_logs()]
    on_events = {name for event in events for name in event.attributes or () if name in CONTENT}
    return {name for name in span.attributes or () if name in CONTENT}, on_events


@pytest.mark.parametrize(
    ("mode", "on_span", "on_event"),
    [
        ("", set(), set()),
        ("NO_CONTENT", set(), set()),
        ("SPAN_ONLY", set(CONTENT), set()),
        ("EVENT_ONLY", set(), set(CONTENT)),
        ("SPAN_AND_EVENT", set(CONTENT), set(CONTENT)),
    ],
)
def test_content_goes_where_the_standard_variable_says(
    mode: str, on_span: set[str], on_event: set[str], instrument: Instrument
) -> None:
    """Off unless asked for."""
    recording = instrument(mode)

    exchange = EXCHANGES["chat_tool_call_plain"]
    exchange.client().chat(**exchange.arguments)

    assert content_of(recording) == (on_span, on_event)


def test_without_content_not_a_word_of_it_is_recorded(instrument: Instrument) -> None:
    """Neither question nor answer stands anywhere in the span."""
    recording = instrument("NO_CONTENT")

    PLAIN.client().chat(**PLAIN.arguments)

    (span,) = recording.spans
    assert "sky" not in span.to_json()


def test_a_completion_hook_gets_the_content(instrument: Instrument) -> None:
    """With the content switched off for spans and events, too."""
    hook = Hook()
    recording = instrument("NO_CONTENT", completion_hook=hook)

    PLAIN.client().chat(**PLAIN.arguments)

    (call,) = hook.calls
    assert [part.content for message in call["inputs"] for part in message.parts] == [
        "Be brief.",
        "Why is the sky blue?",
    ]
    assert call["outputs"][0].parts[0].content == "The sky is blue because air scatters light."
    assert content_of(recording) == (set(), set())


def test_a_hook_without_the_method_is_refused_at_once() -> None:
    """A typing mistake shows where it was made."""
    with pytest.raises(TypeError, match="must have a method on_completion"):
        OllamaInstrumentor().instrument(completion_hook=object())  # type: ignore[arg-type]


def test_a_chat_is_measured(instrument: Instrument) -> None:
    """Duration and both token counts, once each."""
    recording = instrument()

    PLAIN.client().chat(**PLAIN.arguments)

    assert recording.points() == {
        "gen_ai.client.operation.duration": [(METRIC, "1 s")],
        "gen_ai.client.token.usage": [
            (METRIC | {"gen_ai.token.type": "input"}, "40 {token}"),
            (METRIC | {"gen_ai.token.type": "output"}, "10 {token}"),
        ],
    }


def test_a_stream_is_measured_chunk_by_chunk(instrument: Instrument) -> None:
    """Time to the first of the ten chunks, and time for each of the nine others."""
    recording = instrument()

    list(STREAM.client().chat(**STREAM.arguments))

    assert recording.points() == {
        "gen_ai.client.operation.duration": [(METRIC, "1 s")],
        "gen_ai.client.token.usage": [
            (METRIC | {"gen_ai.token.type": "input"}, "40 {token}"),
            (METRIC | {"gen_ai.token.type": "output"}, "10 {token}"),
        ],
        "gen_ai.client.operation.time_to_first_chunk": [(METRIC, "1 s")],
        "gen_ai.client.operation.time_per_output_chunk": [(METRIC, "9 s")],
    }


def test_a_failed_call_is_measured_with_its_error(instrument: Instrument) -> None:
    """Only the duration: nothing was counted."""
    recording = instrument()

    with pytest.raises(ollama.ResponseError):
        MISSING.client().chat(**MISSING.arguments)

    failed = METRIC | {"gen_ai.request.model": "nope", "error.type": "404"}
    del failed["gen_ai.response.model"]
    assert recording.points() == {"gen_ai.client.operation.duration": [(failed, "1 s")]}


def test_every_scope_names_the_package_and_a_schema(instrument: Instrument) -> None:
    """Spans, metrics and events say who made them and by which conventions."""
    recording = instrument("SPAN_AND_EVENT")

    PLAIN.client().chat(**PLAIN.arguments)

    metrics = recording.reader.get_metrics_data()
    assert metrics is not None
    scopes = [
        recording.spans[0].instrumentation_scope,
        recording.logs.get_finished_logs()[0].instrumentation_scope,
        metrics.resource_metrics[0].scope_metrics[0].scope,
    ]
    assert {(scope.name, scope.version) for scope in scopes if scope} == {
        ("ollama_otel", _version.__version__)
    }
    assert all(scope and scope.schema_url for scope in scopes)


def test_a_call_that_is_not_sampled_builds_no_content(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metrics are still taken; messages that nobody keeps are not made."""
    monkeypatch.setattr(_extract, "_input_messages", pytest.fail)
    recording = instrument(recording=Recording(sampler=ALWAYS_OFF))

    PLAIN.client().chat(**PLAIN.arguments)

    assert recording.spans == ()
    assert recording.points()["gen_ai.client.operation.duration"] == [(METRIC, "1 s")]


def test_suppressed_instrumentation_tells_nothing(instrument: Instrument) -> None:
    """OpenTelemetry's own switch is respected."""
    recording = instrument()

    with suppress_instrumentation():
        PLAIN.client().chat(**PLAIN.arguments)

    assert (recording.spans, recording.points()) == ((), {})


def test_with_no_sdk_set_up_no_telemetry_is_started(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any provider the call goes straight through."""
    instrument(tracer_provider=None, meter_provider=None, logger_provider=None)
    monkeypatch.setattr(TelemetryHandler, "inference", pytest.fail)

    answer = PLAIN.client().chat(**PLAIN.arguments)

    assert answer.message.content == "The sky is blue because air scatters light."


def test_a_call_inside_a_frameworks_inference_is_told_once(instrument: Instrument) -> None:
    """The outer span stays the only one, and learns what the inner call knew."""
    recording = instrument()
    handler = TelemetryHandler(tracer_provider=recording.tracer_provider)

    with handler.inference("ollama", request_model="scripted"):
        PLAIN.client().chat(**PLAIN.arguments)

    (span,) = recording.spans
    assert span.attributes is not None
    assert span.attributes["gen_ai.usage.input_tokens"] == 40


def test_the_event_tells_the_call(instrument: Instrument) -> None:
    """The details event carries content as structured data."""
    recording = instrument("EVENT_ONLY")

    PLAIN.client().chat(**PLAIN.arguments)

    (log,) = recording.logs.get_finished_logs()
    assert log.log_record.event_name == "gen_ai.client.inference.operation.details"
    attributes = json.loads(json.dumps(dict(log.log_record.attributes or {}), default=list))
    assert attributes["gen_ai.input.messages"][1]["parts"] == [
        {"type": "text", "content": "Why is the sky blue?"}
    ]


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        (NoOpMeterProvider(), False),
        (MeterProvider(), False),
        (MeterProvider([InMemoryMetricReader()]), True),
        (None, False),
    ],
    ids=["no-op", "nobody reads", "read", "none"],
)
def test_metrics_are_measured_where_somebody_reads_them(provider: Any, *, expected: bool) -> None:
    """A provider without a reader, which OTEL_METRICS_EXPORTER=none leaves, costs nothing."""
    assert Telemetry(meter_provider=provider).measures() is expected


@pytest.mark.usefixtures("quiet_errors")
def test_a_provider_that_cannot_be_loaded_does_not_stop_a_call(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """OTEL_PYTHON_TRACER_PROVIDER may name what is not installed."""
    monkeypatch.setenv("OTEL_PYTHON_TRACER_PROVIDER", "no_such_provider")
    instrument(tracer_provider=None, meter_provider=None, logger_provider=None)

    assert PLAIN.client().chat(**PLAIN.arguments).done
    assert caplog.messages[-1] == (
        "ollama-otel failed while instrumenting the Ollama SDK; the application is not affected"
    )
