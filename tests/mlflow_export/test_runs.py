"""Traces belong to the run that was active when their calls were made, or to the one set."""

import threading
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

from conftest import Instrument
from mlflow_export.fake_mlflow import LINK, FakeMlflow
from mlflow_export.genai import GenAi
from mlflow_export.test_exporter import KeptSink, warnings_of
from ollama_otel.mlflow import MlflowSpanExporter
from ollama_otel.mlflow._runs import active_run_id
from recorded import EXCHANGES

PLAIN, STREAM = (EXCHANGES[name] for name in ("chat_plain", "chat_stream"))


@pytest.fixture
def tracking(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """MLflow's own setting, for one test."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", database)
    return database


def linked(uri: str, run_id: str) -> set[str]:
    """The models of the traces of a run."""
    client = MlflowClient(uri)
    found = client.search_traces(locations=["0"], run_id=run_id)
    return {
        str(span.attributes["gen_ai.request.model"]) for each in found for span in each.data.spans
    }


def chat(model: str) -> None:
    """Ask a model, and read a stream of another that was asked for here."""
    PLAIN.client().chat(**PLAIN.arguments | {"model": model})


def test_the_run_that_is_active_at_the_call_gets_its_trace(
    tracking: str, instrument: Instrument
) -> None:
    """Though the spans are sent when it is long over, and other runs came and went."""
    recording = instrument()
    exporter = MlflowSpanExporter(tracking)
    recording.tracer_provider.add_span_processor(BatchSpanProcessor(exporter))

    with mlflow.start_run() as first:
        chat("first")
        stream = STREAM.client().chat(**STREAM.arguments | {"model": "streamed"})
        next(stream)
    chat("none")
    with mlflow.start_run() as second, mlflow.start_run(nested=True) as nested:
        chat("nested")
    list(stream)
    recording.tracer_provider.force_flush()

    runs = [linked(tracking, run.info.run_id) for run in (first, second, nested)]
    assert runs == [{"first", "streamed"}, set(), {"nested"}]


@pytest.mark.usefixtures("tracking")
def test_a_thread_without_a_run_works_for_the_latest() -> None:
    """As in MLflow's own tracing; a thread's own run goes before."""
    with mlflow.start_run() as run:
        found: list[str | None] = []
        thread = threading.Thread(target=lambda: found.append(active_run_id()))
        thread.start()
        thread.join()

    assert found == [run.info.run_id]
    assert active_run_id() is None


def test_a_run_that_is_set_gets_every_trace(genai: GenAi, database: str) -> None:
    """By keyword, a hundred at a time."""
    run = MlflowClient(database).create_run("0")
    exporter = MlflowSpanExporter(database, run_id=run.info.run_id)

    exporter.export([genai.chat(f"m{number}") for number in range(101)])
    exporter.shutdown()

    found = MlflowClient(database).search_traces(
        locations=["0"], run_id=run.info.run_id, max_results=500
    )
    assert len(found) == 101


def test_the_variable_names_a_run_too(
    genai: GenAi, server: FakeMlflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A keyword goes before it. Only traces whose first span came are linked."""
    monkeypatch.setenv("MLFLOW_RUN_ID", "by-variable")
    with genai.tracer.start_as_current_span("parent"):
        spans = [genai.chat(), genai.spans[-1]]
    alone = genai.chat()

    for exporter in (MlflowSpanExporter(server.uri), MlflowSpanExporter(server.uri, run_id="k")):
        exporter.export([*spans, alone])
        exporter._close()

    assert alone.context is not None
    trace_id = f"tr-{alone.context.trace_id:032x}"
    asked = [each.body.decode() for each in server.requests if each.path == LINK]
    assert [body.replace(" ", "") for body in asked] == [
        f'{{"trace_ids":["{trace_id}"],"run_id":"by-variable"}}',
        f'{{"trace_ids":["{trace_id}"],"run_id":"k"}}',
    ]


def test_a_run_that_does_not_exist_costs_no_trace(
    genai: GenAi, caplog: pytest.LogCaptureFixture
) -> None:
    """The traces are stored, and one warning says that they are not linked."""
    sink = KeptSink()
    exporter = MlflowSpanExporter(sink=sink, run_id="unknown")

    exporter.export([genai.chat("one")])
    exporter.export([genai.chat("two")])

    assert [name for name, _ in sink.delivered] == ["chat one", "chat two"]
    assert warnings_of(caplog) == ["traces not linked to run unknown: 1; no such run"]


def test_linking_twice_is_linking_once(genai: GenAi, database: str) -> None:
    """A batch may be sent again."""
    run = MlflowClient(database).create_run("0")
    exporter = MlflowSpanExporter(database, run_id=run.info.run_id)
    chat = genai.chat()

    exporter.export([chat])
    exporter.export([chat])

    assert linked(database, run.info.run_id) == {"llama3.2"}


def test_a_run_that_is_given_goes_before_the_active_one(genai: GenAi) -> None:
    """Though another exporter had the active one noted on the span."""
    sink = KeptSink()
    chat = genai.asking()
    chat.attributes["mlflow.sourceRun"] = "active"
    chat.stop()

    MlflowSpanExporter(sink=sink, run_id="given").export(genai.spans)

    assert [run for run, _ in sink.linked] == ["given"]


def test_a_sink_that_knows_no_runs_keeps_its_spans(
    genai: GenAi, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning, and the export is a success."""

    sink: Any = KeptSink()
    sink.link = None  # as sinks were
    result = MlflowSpanExporter(sink=sink, run_id="r").export([genai.chat()])

    assert result is SpanExportResult.SUCCESS
    assert [name for name, _ in sink.delivered] == ["chat llama3.2"]
    assert warnings_of(caplog) == [
        "traces not linked to run r: 1; 'NoneType' object is not callable"
    ]
