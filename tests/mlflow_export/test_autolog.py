"""``ollama_otel.mlflow.autolog()``: calls of the SDK as spans of MLflow's own tracing."""

import asyncio
import importlib
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import mlflow
import ollama
import pytest
from mlflow.tracing import provider as mlflow_provider
from mlflow.utils.autologging_utils import AUTOLOGGING_INTEGRATIONS, disable_autologging
from opentelemetry import baggage, context

import ollama_otel.mlflow
from conftest import CAPTURE, Instrument
from mlflow_export.stored import traces
from mlflow_export.test_exporter import KeptSink
from ollama_otel.mlflow import MlflowSpanExporter, autolog
from ollama_otel.mlflow._spans import translate_span
from recorded import EXCHANGES, both, call
from telemetry import Recording

PLAIN, STREAM, MISSING, EMBED = (
    EXCHANGES[name] for name in ("chat_plain", "chat_stream", "error_no_such_model", "embed_many")
)
SKY = "Why is the sky blue?"
BECAUSE = "The sky is blue because air scatters light."


@pytest.fixture
def store(database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """MLflow's own settings lead to a fresh store; autolog is off before and after."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_ENABLE_ASYNC_TRACE_LOGGING", "false")
    mlflow.set_tracking_uri(database)
    mlflow_provider.reset()  # type: ignore[no-untyped-call]  # MLflow's
    yield database
    autolog(disable=True)
    mlflow.tracing.enable()
    mlflow_provider.reset()  # type: ignore[no-untyped-call]  # MLflow's
    mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # as it was
    # What set_experiment and set_tracking_uri leave behind.
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"):
        os.environ.pop(name, None)
    fluent: Any = importlib.import_module("mlflow.tracking.fluent")
    fluent._active_experiment_id = None


def stored(uri: str, experiment: str = "Default") -> list[dict[str, Any]]:
    """The stored traces."""
    return traces(uri, experiment)


def names(uri: str, experiment: str = "Default") -> list[list[tuple[str, str | None]]]:
    """Every trace's spans with their parents."""
    found = stored(uri, experiment)
    return [sorted((span["name"], span["parent"]) for span in each["spans"]) for each in found]


def chat(model: str = "scripted") -> None:
    PLAIN.client().chat(**PLAIN.arguments | {"model": model})


@both
@pytest.mark.parametrize(
    "name",
    [
        *("chat_plain", "chat_stream", "chat_thinking_stream", "chat_tool_call_stream"),
        *("chat_two_tool_calls_plain", "chat_json_schema_plain", "generate_stream", "embed_many"),
        *("error_no_such_model", "error_mid_stream", "chat_load"),
    ],
)
def test_a_span_is_what_the_exporter_would_store(
    name: str, *, asynchronous: bool, store: str, instrument: Instrument
) -> None:
    """Every attribute, the status, the events and the previews: both doors show the same."""
    recording = instrument(ollama_attributes=True, meter_provider=None, logger_provider=None)
    failed = name.startswith("error")
    for each in (None, autolog):
        if each is not None:
            ollama_otel.OllamaInstrumentor().uninstrument()
            each()
        try:
            call(EXCHANGES[name], asynchronous=asynchronous)
        except ollama.ResponseError:
            assert failed
    exporter = MlflowSpanExporter(store)
    exporter.export(recording.spans)
    exporter.shutdown()

    by_autolog, by_exporter = (comparable(each) for each in stored(store))
    assert by_autolog == by_exporter


def comparable(trace: dict[str, Any]) -> dict[str, Any]:
    """A trace without what the two doors cannot have in common."""
    (span,) = trace["spans"]
    for own in ("mlflow.traceTag.mlflow.traceName", "gen_ai.response.time_to_first_chunk"):
        span["attributes"].pop(own, None)
    for _, event in span["events"]:
        event["exception.stacktrace"] = event["exception.stacktrace"][:30]
    usage = trace["metadata"].get("mlflow.trace.tokenUsage")
    return {key: trace[key] for key in ("state", "request", "response", "spans")} | {"usage": usage}


def test_calls_sit_below_the_applications_own_spans(store: str) -> None:
    """Decorators and context managers, streams that were asked for there and read elsewhere."""
    autolog()
    kept: list[Any] = []

    @mlflow.trace
    def answer(question: str) -> str:
        with mlflow.start_span("step"):
            chat()
            kept.append(STREAM.client().chat(**STREAM.arguments | {"model": "streamed"}))
        return question

    @mlflow.trace
    def other() -> None:
        list(kept[0])

    answer("?")
    other()

    assert names(store) == [
        # A span that ends after its trace has been sent is not part of it any more.
        [("answer", None), ("chat scripted", "step"), ("step", "answer")],
        [("other", None)],
    ]


async def test_tasks_and_the_loop_body_keep_apart(store: str) -> None:
    """The span is not current in the loop body, and tasks have parents of their own."""
    autolog()

    @mlflow.trace
    async def work(number: int) -> None:
        stream = await STREAM.async_client().chat(**STREAM.arguments | {"model": f"m{number}"})
        async for chunk in stream:
            if chunk.done:
                with mlflow.start_span(f"after {number}"):
                    await asyncio.sleep(0)

    await asyncio.gather(work(1), work(2))

    assert sorted(names(store)) == [
        [(f"after {number}", "work"), (f"chat m{number}", "work"), ("work", None)]
        for number in (1, 2)
    ]


def test_set_experiment_counts_whenever_it_comes(store: str) -> None:
    """Before autolog, after it, and between calls."""
    mlflow.set_experiment("first")
    autolog()
    chat("one")
    mlflow.set_experiment("second")
    chat("two")

    assert names(store, "first") == [[("chat one", None)]]
    assert names(store, "second") == [[("chat two", None)]]


def test_the_active_run_has_the_trace(store: str) -> None:
    """As MLflow's own tracing has it."""
    autolog()
    with mlflow.start_run() as run:
        chat()
    chat()

    inside, outside = (each["metadata"] for each in stored(store))
    assert inside["mlflow.sourceRun"] == run.info.run_id
    assert "mlflow.sourceRun" not in outside


def test_sessions_and_tags_are_set_as_ever(store: str) -> None:
    """By update_current_trace, round a call."""
    autolog()
    with mlflow.start_span("turn"):
        mlflow.update_current_trace(
            tags={"team": "blue"}, session_id="s-1", user="ada", request_preview="Own preview"
        )
        chat()

    (trace,) = stored(store)
    assert trace["tags"]["team"] == "blue"
    assert trace["metadata"]["mlflow.trace.session"] == "s-1"
    assert trace["metadata"]["mlflow.trace.user"] == "ada"
    assert trace["request"] == "Own preview"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("door", ["autolog", "exporter"])
def test_a_session_in_the_baggage_is_the_traces(
    door: str, *, stream: bool, store: str, instrument: Instrument
) -> None:
    """Of the call, wherever its stream is read; by both doors."""
    exporter = MlflowSpanExporter(store) if door == "exporter" else None
    recording = instrument() if exporter else None
    if exporter is None:
        autolog()
    exchange = STREAM if stream else PLAIN
    token = context.attach(
        baggage.set_baggage("session.id", "s-1", baggage.set_baggage("user.id", "ada"))
    )
    answer = exchange.client().chat(**exchange.arguments)
    context.detach(token)
    list(answer)
    if exporter and recording:
        exporter.export(recording.spans)
        exporter.shutdown()

    (trace,) = stored(store)
    assert trace["metadata"]["mlflow.trace.session"] == "s-1"
    assert trace["metadata"]["mlflow.trace.user"] == "ada"


@pytest.mark.parametrize(
    "off",
    [
        lambda: autolog(disable=True),
        lambda: autolog(log_traces=False),
        mlflow.tracing.disable,
        lambda: AUTOLOGGING_INTEGRATIONS["ollama"].update(disable=True),
    ],
    ids=["disable", "log_traces", "tracing.disable", "MLflow's own table"],
)
def test_every_way_to_turn_it_off_turns_it_off(off: Any, store: str) -> None:
    """And on again."""
    autolog()
    chat("one")
    off()
    chat("two")
    list(STREAM.client().chat(**STREAM.arguments))
    mlflow.tracing.enable()
    autolog()
    chat("three")

    assert names(store) == [[("chat one", None)], [("chat three", None)]]


def test_within_a_block_it_can_be_off_too(store: str) -> None:
    """MLflow's context managers, for all autologs and for tracing."""
    autolog()
    with disable_autologging():
        chat("one")
    with mlflow.tracing.context(enabled=False):
        chat("two")
    chat("three")

    assert names(store) == [[("chat three", None)]]


def test_twice_is_once_and_off_leaves_the_sdk_as_it_was(store: str) -> None:
    """The second call only replaces the settings."""
    before = vars(ollama.Client)["_request"]
    autolog()
    autolog(ollama_attributes=False)
    chat()
    autolog(disable=True)

    (trace,) = stored(store)
    assert vars(ollama.Client)["_request"] is before
    assert [name for name in trace["spans"][0]["attributes"] if name.startswith("ollama.")] == []


def test_beside_the_exporter_nothing_is_told_twice(
    store: str, instrument: Instrument, caplog: pytest.LogCaptureFixture
) -> None:
    """The exporter door goes before; with exporters elsewhere both tell what is theirs."""
    recording = instrument()
    exporter = MlflowSpanExporter(sink=KeptSink())
    with caplog.at_level(logging.INFO):
        autolog()
    chat("one")
    exporter.shutdown()
    chat("two")

    assert [span.name for span in recording.spans] == ["chat one", "chat two"]
    assert names(store) == [[("chat two", None)]]
    warned = [each.message for each in caplog.records if each.name.startswith("ollama_otel")]
    assert warned == [
        (
            "OllamaInstrumentor and an exporter send the calls to MLflow already: autolog() adds "
            "nothing while they do"
        )
    ]


@pytest.mark.parametrize("silent", [True, False])
def test_silent_says_nothing(
    *, silent: bool, store: str, instrument: Instrument, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even what is in the way."""
    assert store
    instrument()
    exporter = MlflowSpanExporter(sink=KeptSink())

    autolog(silent=silent)
    exporter.shutdown()

    said = [each for each in caplog.records if each.name.startswith("ollama_otel")]
    assert len(said) == (0 if silent else 1)


@pytest.mark.parametrize(
    ("capture", "shown"),
    [(None, SKY), ("SPAN_ONLY", SKY), ("NO_CONTENT", "[content not captured]")],
)
def test_content_is_recorded_unless_it_was_turned_off(
    capture: str | None, shown: str, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MLflow's users expect; OpenTelemetry's variable turns it off."""
    if capture is not None:
        monkeypatch.setenv(CAPTURE, capture)
    autolog()
    chat()

    (trace,) = stored(store)
    assert trace["request"] == shown
    assert (BECAUSE in str(trace)) is (shown == SKY)


def test_threads_without_a_span_start_traces_of_their_own(store: str) -> None:
    """As MLflow's own tracing does."""
    autolog()
    with mlflow.start_span("caller"):
        thread = threading.Thread(target=chat)
        thread.start()
        thread.join()

    assert sorted(names(store)) == [[("caller", None)], [("chat scripted", None)]]


def test_an_opentelemetry_span_elsewhere_is_left_alone(store: str) -> None:
    """MLflow's spans are not current for OpenTelemetry, unless MLflow's own setting says so."""
    recording = Recording()
    tracer = recording.tracer_provider.get_tracer("app")
    autolog()
    with tracer.start_as_current_span("application"):
        chat()

    assert [(span.name, len(span.events)) for span in recording.spans] == [("application", 0)]
    assert names(store) == [[("chat scripted", None)]]


def run(code: str) -> tuple[str, str]:
    """Run a program in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip(), done.stderr.strip()


def test_without_mlflow_one_line_says_what_to_install() -> None:
    """The application goes on."""
    out, err = run(
        "import sys; sys.modules['mlflow'] = None\n"
        "import ollama_otel.mlflow\n"
        "ollama_otel.mlflow.autolog()\n"
        "ollama_otel.mlflow.autolog(silent=True)\n"
        "import ollama; print(type(ollama.Client._request).__name__)"
    )

    assert out == "function"
    assert err == (
        "ollama_otel.mlflow.autolog() does nothing: MLflow is not installed; pip install "
        "'ollama-otel[mlflow]', or 'ollama-otel[mlflow-tracing]' for an MLflow server"
    )


@pytest.mark.parametrize("found", ["2.22.1", "3.16.9", "4.0.0"])
def test_an_mlflow_that_is_not_supported_is_named(
    found: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And left alone."""
    monkeypatch.setattr("ollama_otel.mlflow._autolog.version", lambda _package: found)

    autolog()

    assert caplog.messages == [
        (
            f"ollama_otel.mlflow.autolog() does nothing: mlflow {found} is not supported; it must "
            "be at least 3.17 and before 4"
        )
    ]


def test_before_the_sdk_is_imported_it_is_not_imported() -> None:
    """An OLLAMA_HOST that the application sets first still counts."""
    out, _ = run(
        "import sys, os\n"
        "import ollama_otel.mlflow\n"
        "ollama_otel.mlflow.autolog(silent=True)\n"
        "print('ollama' in sys.modules)\n"
        "os.environ['OLLAMA_HOST'] = 'http://late.test:4321'\n"
        "import ollama\n"
        "print(ollama._client._client.base_url, type(ollama.Client._request).__name__)"
    )

    assert out == "False\nhttp://late.test:4321 BoundFunctionWrapper"


def test_mlflow_has_what_the_integration_needs() -> None:
    """Private parts: a release that changes them fails here."""
    for name in ("set_span_in_context", "detach_span_from_context", "get_current_otel_span"):
        assert callable(getattr(mlflow_provider, name))
    utils = importlib.import_module("mlflow.utils.autologging_utils")
    assert utils._AUTOLOGGING_GLOBALLY_DISABLED is False
    assert "ollama" in AUTOLOGGING_INTEGRATIONS
    span: Any = mlflow.start_span_no_context("contract")
    assert callable(span._span.is_recording)
    span.end()


def test_translation_is_the_exporters() -> None:
    """One table for both doors."""
    integration = importlib.import_module("ollama_otel.mlflow._integration")

    assert (
        integration.translate_attributes
        is importlib.import_module(translate_span.__module__).translate_attributes
    )
