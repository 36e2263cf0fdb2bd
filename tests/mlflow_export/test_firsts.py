"""First spans of traces: what they lack is told, and those that never come are stood in for."""

import json
import os
import weakref
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


def test_what_is_missing_after_a_quiet_while_gets_a_first_span_of_ours_once(
    genai: GenAi, now: list[float]
) -> None:
    """With the first question, the last answer, and the time of both."""
    firsts = FirstSpans()
    chats, request = below(genai)
    firsts.complete([chats[1]])
    now[0] += 899
    firsts.complete([chats[0]])
    now[0] += 899
    assert firsts.missing() == []
    now[0] += 2

    (made,) = firsts.missing()

    assert made.name == "[not exported]"
    assert made.parent is None
    assert made.context is not None
    assert request.context is not None
    assert made.context.trace_id == request.context.trace_id
    # Of its own: what was missed is never overwritten.
    assert made.context.span_id != request.context.span_id
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


def test_a_busy_trace_misses_nothing(genai: GenAi, now: list[float]) -> None:
    """An agent may take hours."""
    firsts = FirstSpans()
    for chat in below(genai, count=5)[0]:
        firsts.complete([chat])
        now[0] += 600
        assert firsts.missing() == []


def test_a_trace_without_a_models_call_is_let_be(genai: GenAi) -> None:
    """MLflow shows it as it is."""
    firsts = FirstSpans()
    with (
        genai.tracer.start_as_current_span("missing"),
        genai.tracer.start_as_current_span("database"),
    ):
        pass

    firsts.complete([translate_span(genai.spans[0])])

    assert firsts.missing(everything=True) == []


def test_of_very_many_traces_the_oldest_are_let_go_of(genai: GenAi) -> None:
    """Memory is bounded, and nothing is made up for it."""
    firsts = FirstSpans()
    for _ in range(1030):
        firsts.complete(below(genai, count=1)[0])

    assert firsts.missing() == []
    assert len(firsts.missing(everything=True)) == 1024


def test_no_content_is_kept_beside_the_texts_that_are_shown(genai: GenAi) -> None:
    """A long trace holds no more than a short one."""
    firsts = FirstSpans()
    chats, _ = below(genai, count=3)
    kept = [weakref.ref(chat) for chat in chats]
    firsts.complete(chats)

    genai.forget()
    del chats

    assert [each() for each in kept] == [None] * 3


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_what_was_begun_before_a_fork_is_the_parents(genai: GenAi) -> None:
    """The child adds no first span to the trace of a span that its parent will export."""
    sink = KeptSink()
    exporter = MlflowSpanExporter(sink=sink)
    with genai.tracer.start_as_current_span("request"):
        chat = genai.chat()
    child = os.fork()
    if child == 0:
        exporter.export([chat])
        exporter.shutdown()
        os._exit([name for name, _ in sink.delivered] != ["chat llama3.2"])

    assert os.waitpid(child, 0)[1] == 0


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


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({"messages": ["hi"]}, {"choices": ["hi"]}),
        ({"messages": [{"role": "user", "content": [{"text": "hi"}]}]}, {"choices": [{}]}),
        ({"messages": [[{"role": "user"}]]}, {"choices": [{"message": {"role": "assistant"}}]}),
        ({"messages": 7}, {"choices": {"a": 1}}),
        ("text", ["list"]),
        (None, None),
    ],
)
def test_whatever_others_call_a_conversation_costs_no_span(
    inputs: object, outputs: object, genai: GenAi
) -> None:
    """Inputs and outputs of anybody's making, below a first span of the application's own."""
    sink = KeptSink()
    exporter = MlflowSpanExporter(sink=sink)
    with (
        genai.tracer.start_as_current_span("request"),
        genai.tracer.start_as_current_span("theirs") as theirs,
    ):
        theirs.set_attribute("mlflow.message.format", "other")
        theirs.set_attribute("mlflow.spanInputs", json.dumps(inputs))
        theirs.set_attribute("mlflow.spanOutputs", json.dumps(outputs))

    exporter.export([genai.spans[0]])
    exporter.export([genai.spans[1]])
    exporter.shutdown()

    assert [name for name, _ in sink.delivered] == ["theirs", "request"]


def test_what_was_not_captured_is_no_question_and_no_answer(genai: GenAi) -> None:
    """An agent that says nothing hides no chat below it that does."""
    firsts = FirstSpans()
    with (
        genai.tracer.start_as_current_span("request"),
        genai.handler.invoke_local_agent(agent_name="a"),
    ):
        genai.chat()
    chat, agent, root = (translate_span(span) for span in genai.spans)

    completed = firsts.complete([chat, agent, root])

    assert said(completed[-1]) == TOLD


def test_completing_that_fails_costs_no_span(
    genai: GenAi, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are sent as they are, with a word."""
    monkeypatch.setenv("OLLAMA_OTEL_RAISE_ERRORS", "false")
    monkeypatch.setattr(FirstSpans, "complete", lambda *_: 1 / 0)
    sink = KeptSink()
    exporter = MlflowSpanExporter(sink=sink)

    exporter.export([genai.chat()])
    exporter.shutdown()

    assert [name for name, _ in sink.delivered] == ["chat llama3.2"]
    assert "failed while completing traces for MLflow" in caplog.text


def test_whoever_wants_traces_as_they_are_has_them(genai: GenAi) -> None:
    """No first span is told anything, and none is added."""
    sink = KeptSink()
    exporter = MlflowSpanExporter(sink=sink, complete_traces=False)
    with genai.tracer.start_as_current_span("request"):
        genai.chat()
    with genai.tracer.start_as_current_span("never exported"):
        alone = genai.chat("alone")

    exporter.export([*genai.spans[:2], alone])
    exporter.shutdown()

    names = sorted(name for name, _ in sink.delivered)
    assert names == ["chat alone", "chat llama3.2", "request"]
    assert "mlflow.spanInputs" not in dict(sink.delivered)["request"]


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
