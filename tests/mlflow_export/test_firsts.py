"""First spans of traces: what they lack is told, and those that never come are stood in for."""

import json
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import NonRecordingSpan, SpanContext, StatusCode, TraceFlags

from mlflow_export.genai import ANSWER, QUESTION, GenAi
from mlflow_export.stored import traces
from mlflow_export.test_exporter import KeptSink
from ollama_otel.mlflow import MlflowSpanExporter
from ollama_otel.mlflow._firsts import FirstSpans
from ollama_otel.mlflow._spans import translate_span
from ollama_otel.mlflow.sinks import DeliveryError

TOLD = {
    "mlflow.spanInputs": json.dumps({"messages": [{"role": "user", "content": QUESTION}]}),
    "mlflow.spanOutputs": json.dumps(
        {
            "choices": [
                {
                    "index": 0,
                    "finish_reason": None,
                    "message": {"role": "assistant", "content": ANSWER},
                }
            ]
        }
    ),
}


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test can set."""
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    return clock


def below(genai: GenAi, count: int = 2) -> tuple[list[ReadableSpan], ReadableSpan]:
    """Chats below a span, and that span, translated."""
    with genai.tracer.start_as_current_span("request"):
        chats = [genai.chat(f"m{number}") for number in range(count)]
    return [translate_span(chat) for chat in chats], translate_span(genai.spans[-1])


def test_a_first_span_that_comes_needs_nobody(genai: GenAi, now: list[float]) -> None:
    """In the same batch, or in a later one that is in time."""
    firsts = FirstSpans()
    chats, request = below(genai)

    firsts.complete([chats[0]])
    now[0] += 899
    assert firsts.missing() == []
    firsts.complete([chats[1], request])
    now[0] += 1000

    assert firsts.missing(everything=True) == []


def test_a_span_that_comes_after_the_first_one_needs_nobody(genai: GenAi) -> None:
    """A stream may outlive the request."""
    firsts = FirstSpans()
    chats, request = below(genai)

    firsts.complete([request])
    firsts.complete(chats)

    assert firsts.missing(everything=True) == []


def test_what_is_missing_after_a_while_is_stood_in_for_once(genai: GenAi, now: list[float]) -> None:
    """With the missing span's id, the first question, the last answer, and the time of both."""
    firsts = FirstSpans()
    chats, request = below(genai)
    firsts.complete(reversed(chats))
    now[0] += 901

    (made,) = firsts.missing()

    assert made.name == "[not exported]"
    assert (made.context, made.parent) == (request.context, None)
    assert (made.start_time, made.end_time) == (chats[0].start_time, chats[1].end_time)
    assert made.status.status_code is StatusCode.OK
    assert made.resource == chats[0].resource
    assert dict(made.attributes or {}) == {
        **TOLD,
        "mlflow.traceTag.mlflow.traceName": "chat m0",
        "mlflow.spanType": "UNKNOWN",
        "mlflow.spanLogLevel": 20,
    }
    firsts.complete(chats)
    assert firsts.missing(everything=True) == []


def test_spans_between_that_were_exported_are_not_stood_in_for(genai: GenAi) -> None:
    """Only the one that is missing."""
    firsts = FirstSpans()
    with (
        genai.tracer.start_as_current_span("missing") as missing,
        genai.tracer.start_as_current_span("step"),
    ):
        genai.chat()
    chat, step, _missing = (translate_span(span) for span in genai.spans)

    firsts.complete([chat, step])
    made = firsts.missing(everything=True)

    assert [each.context for each in made] == [missing.get_span_context()]


def test_of_very_many_traces_the_oldest_wait_no_longer(genai: GenAi) -> None:
    """Memory is bounded."""
    firsts = FirstSpans()
    for _ in range(514):
        chats, _request = below(genai, count=1)
        firsts.complete(chats)

    assert len(firsts.missing()) == 2


def test_the_shutdown_completes_what_is_open(genai: GenAi) -> None:
    """Nothing more will come."""
    sink = KeptSink()
    exporter = MlflowSpanExporter(sink=sink)
    with genai.tracer.start_as_current_span("request"):
        exporter.export([genai.chat()])
        exporter.shutdown()

    assert [name for name, _ in sink.delivered] == ["chat llama3.2", "[not exported]"]


def test_the_shutdown_asks_nothing_of_a_server_that_is_gone(genai: GenAi) -> None:
    """Spans were lost: there is nothing to complete, and an exit is not held up."""
    sink = KeptSink(DeliveryError("gone", retryable=True, kind="unreachable"))
    exporter = MlflowSpanExporter(sink=sink)
    with genai.tracer.start_as_current_span("request"):
        chat = genai.chat()
    exporter.export([chat])
    sink.fault = None

    exporter.shutdown()

    assert sink.delivered == []


def remote(genai: GenAi) -> ReadableSpan:
    """A chat whose parent is in another process."""
    context = SpanContext(7, 8, is_remote=True, trace_flags=TraceFlags(1))
    with trace.use_span(NonRecordingSpan(context)):
        return genai.chat()


@pytest.mark.parametrize(
    ("keep", "state", "preview"),
    [(False, "OK", QUESTION), (True, "IN_PROGRESS", None)],
)
def test_a_span_with_a_parent_elsewhere_is_the_first_of_its_trace(
    *, keep: bool, state: str, preview: str | None, genai: GenAi, database: str
) -> None:
    """Unless the other process sends its spans there too: then its own first span comes."""
    exporter = MlflowSpanExporter(database, remote_parents=keep)

    exporter.export([remote(genai)])
    exporter.shutdown()

    (stored,) = traces(database)
    assert (stored["state"], stored["request"]) == (state, preview)


def test_a_stand_in_gives_way_to_the_span_that_comes_after_all(
    genai: GenAi, database: str, now: list[float]
) -> None:
    """MLflow keeps one span for each id, whole; the trace keeps its state and its previews."""
    exporter = MlflowSpanExporter(database)
    with genai.tracer.start_as_current_span("request") as request:
        exporter.export([genai.chat("m0")])
        now[0] += 901
        exporter.export([genai.chat("m1")])
        (before,) = traces(database)
        request.set_status(trace.Status(StatusCode.ERROR, "late"))
    exporter.export([genai.spans[-1]])
    exporter.shutdown()

    (after,) = traces(database)
    names: list[Any] = [sorted(span["name"] for span in each["spans"]) for each in (before, after)]
    assert names == [["[not exported]", "chat m0", "chat m1"], ["chat m0", "chat m1", "request"]]
    assert (before["state"], before["request"], before["response"]) == (
        "OK",
        QUESTION,
        ANSWER,
    )
    assert (after["state"], after["request"]) == ("OK", QUESTION)
    statuses = {span["name"]: span["status"] for span in after["spans"]}
    assert statuses["request"] == ("ERROR", "late")


def said(span: ReadableSpan) -> dict[str, Any]:
    """The inputs and outputs of a span."""
    attributes = span.attributes or {}
    return {name: attributes[name] for name in TOLD if name in attributes}


@pytest.mark.parametrize("together", [True, False], ids=["one batch", "two batches"])
def test_an_applications_own_first_span_tells_the_first_question_and_the_last_answer(
    *, together: bool, genai: GenAi
) -> None:
    """However deep they are, and in whichever order they come."""
    firsts = FirstSpans()
    with genai.tracer.start_as_current_span("request"):
        with genai.tracer.start_as_current_span("step"):
            genai.chat("m0")
        genai.handler.embedding("ollama", request_model="e").stop()
    spans = [translate_span(span) for span in genai.spans]
    root = spans[-1]

    if together:
        completed = firsts.complete([root, *spans[:-1]])[0]
    else:
        firsts.complete(spans[:-1])
        (completed,) = firsts.complete([root])

    assert said(completed) == TOLD
    assert completed.name == "request"
    assert dict(completed.attributes or {}) == TOLD | dict(root.attributes or {})


def test_what_the_application_says_itself_is_left_alone(genai: GenAi) -> None:
    """Inputs or outputs of its own, and GenAI spans."""
    firsts = FirstSpans()
    with genai.tracer.start_as_current_span("request") as request:
        request.set_attribute("mlflow.spanInputs", '"own"')
        genai.chat()
    with genai.handler.invoke_local_agent(agent_name="a"):
        genai.chat()
    spans = [translate_span(span) for span in genai.spans]

    assert firsts.complete(spans) == spans


def test_a_trace_without_genai_stays_as_it_is(genai: GenAi) -> None:
    """There is nothing to tell."""
    firsts = FirstSpans()
    with (
        genai.tracer.start_as_current_span("request"),
        genai.tracer.start_as_current_span("database"),
    ):
        pass
    spans = [translate_span(span) for span in genai.spans]

    assert firsts.complete(spans) == spans


def test_the_list_of_traces_shows_what_was_asked_below_an_applications_own_span(
    genai: GenAi, database: str
) -> None:
    """In MLflow, in plain text."""
    with genai.tracer.start_as_current_span("POST /ask"):
        genai.chat()
    exporter = MlflowSpanExporter(database)
    exporter.export(genai.spans)
    exporter.shutdown()

    (stored,) = traces(database)
    assert (stored["request"], stored["response"]) == (QUESTION, ANSWER)
    assert stored["tags"]["mlflow.traceName"] == "POST /ask"
