"""What of a span is not an attribute: its name, its status, its events."""

import json
from dataclasses import dataclass
from typing import Any, cast

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.trace import Link, SpanContext, Status, StatusCode

from mlflow_export.genai import GenAi
from ollama_otel.mlflow._spans import Wishes, translate_span

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "llama3.2"}
PARENT = SpanContext(trace_id=1, span_id=2, is_remote=False)


@dataclass(frozen=True)
class Told:
    """What MLflow is told of a span beside its attributes."""

    name: str
    status: str
    message: str | None
    events: tuple[tuple[str, dict[str, Any]], ...] = ()


def told(span: ReadableSpan) -> Told:
    """The span's own part."""
    return Told(
        span.name,
        span.status.status_code.name,
        span.status.description,
        tuple((event.name, dict(event.attributes or {})) for event in span.events),
    )


def made(genai: GenAi, name: str, attributes: dict[str, Any], status: Status | None) -> Told:
    """Make a span under some parent, and translate it."""
    with genai.tracer.start_as_current_span("parent"):
        span = genai.tracer.start_span(name, attributes=attributes)
        if status is not None:
            span.set_status(status)
        span.end()
    return told(translate_span(genai.spans[0]))


def exception(kind: str, message: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    """The event that the page draws in red."""
    return (("exception", {"exception.type": kind, "exception.message": message}),)


@pytest.mark.parametrize(
    ("attributes", "status", "expected"),
    [
        (CHAT, None, Told("s", "OK", None)),
        (CHAT, Status(StatusCode.OK), Told("s", "OK", None)),
        (
            CHAT | {"error.type": "404"},
            Status(StatusCode.ERROR, "model 'x' not found"),
            Told("s", "ERROR", "model 'x' not found", exception("404", "model 'x' not found")),
        ),
        (
            CHAT | {"error.type": "timeout"},
            Status(StatusCode.ERROR),
            Told("s", "ERROR", "timeout", exception("timeout", "timeout")),
        ),
        (
            CHAT,
            Status(StatusCode.ERROR, "half \ud83d"),
            Told("s", "ERROR", "half ?", exception("_OTHER", "half ?")),
        ),
        (
            CHAT | {"error.type": "timeout"},
            None,
            Told("s", "ERROR", "timeout", exception("timeout", "timeout")),
        ),
        ({"http.request.method": "GET"}, None, Told("s", "UNSET", None)),
        (
            {"error.type": "500"},
            Status(StatusCode.ERROR, "Internal Server Error"),
            Told("s", "ERROR", "Internal Server Error"),
        ),
        (
            {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "calculate_tip"},
            None,
            Told("calculate_tip", "OK", None),
        ),
        ({"gen_ai.operation.name": "execute_tool"}, None, Told("s", "OK", None)),
        (CHAT | {"gen_ai.tool.name": "calculate_tip"}, None, Told("s", "OK", None)),
    ],
    ids=str,
)
def test_a_span_says_how_it_ended(
    attributes: dict[str, Any], status: Status | None, expected: Told, genai: GenAi
) -> None:
    """MLflow shows UNSET as it is, and a failure in red only by its exception event."""
    assert made(genai, "s", attributes, status) == expected


def test_an_exception_that_was_recorded_stays_the_only_one(genai: GenAi) -> None:
    """It has the stack too."""
    span = genai.tracer.start_span("s", attributes=CHAT)
    span.record_exception(ValueError("no"))
    span.set_status(Status(StatusCode.ERROR, "no"))
    span.add_event("later")
    span.end()

    translated = translate_span(genai.span)

    assert [event.name for event in translated.events] == ["exception", "later"]
    assert translated.events[0] is genai.span.events[0]


def test_the_exception_is_dated_to_the_end_of_the_span(genai: GenAi) -> None:
    """That is when it was known."""
    genai.asking().fail(RuntimeError("no"))

    translated = translate_span(genai.span)

    assert translated.events[-1].timestamp == genai.span.end_time


def test_the_first_span_names_the_trace(genai: GenAi) -> None:
    """Whatever kind of span it is; those below it do not."""
    with genai.tracer.start_as_current_span("GET /menu"):
        genai.chat()
    genai.handler.tool("calculate_tip").stop()
    names = [
        (translate_span(span).attributes or {}).get("mlflow.traceTag.mlflow.traceName")
        for span in genai.spans
    ]

    assert names == [None, "GET /menu", "calculate_tip"]


@pytest.mark.parametrize(
    ("own", "name"),
    [
        ({}, "s" * 4096),
        ({"mlflow.traceTag.mlflow.traceName": "mine"}, "mine"),
        ({"mlflow.traceTag.mlflow.traceName": "m" * 5000}, "m" * 4096),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_trace_s_name_is_one_that_mlflow_takes(
    own: dict[str, str], name: str, genai: GenAi
) -> None:
    """A name that is too long would cost the whole batch."""
    genai.tracer.start_span("s" * 5000, attributes=own).end()

    translated = translate_span(genai.span)

    assert dict(translated.attributes or {}) == {"mlflow.traceTag.mlflow.traceName": name}


def test_everything_else_of_a_span_stays(genai: GenAi) -> None:
    """Ids, times, kind, links, resource and scope."""
    link = genai.tracer.start_span("before")
    link.end()
    with genai.tracer.start_as_current_span("parent"):
        genai.chat()
    chat = genai.spans[1]
    translated = translate_span(chat)
    same = ("context", "parent", "resource", "links", "kind", "start_time", "end_time")

    assert [getattr(translated, name) for name in same] == [getattr(chat, name) for name in same]
    assert translated.instrumentation_scope == chat.instrumentation_scope


def test_what_the_sdk_left_out_is_still_counted() -> None:
    """MLflow's page and its judges may want to know that a span is not whole."""
    limits = SpanLimits(max_span_attributes=3, max_events=1, max_links=1)
    provider = TracerProvider(span_limits=limits)
    attributes: dict[str, Any] = {"a": 1, "b": 2, "c": 3, **CHAT}
    links = [Link(PARENT), Link(PARENT), Link(PARENT), Link(PARENT)]
    span = provider.get_tracer("shop").start_span("s", attributes=attributes, links=links)
    for name in ("first", "second", "third"):
        span.add_event(name)
    span.end()

    translated = translate_span(cast("ReadableSpan", span))

    assert translated.status.status_code is StatusCode.OK
    assert translated.dropped_attributes == 2
    assert translated.dropped_events == 2
    assert translated.dropped_links == 3


def test_a_span_of_another_kind_below_the_first_is_not_touched(genai: GenAi) -> None:
    """Not even copied."""
    with genai.tracer.start_as_current_span("parent"):
        genai.tracer.start_span("POST", attributes={"http.request.method": "POST"}).end()
    http = genai.spans[0]

    assert translate_span(http) is http


def test_a_span_without_anything_is_translated_too() -> None:
    """ReadableSpan allows almost all of it to be missing."""
    bare = ReadableSpan(name="bare", parent=PARENT)

    assert translate_span(bare) is bare


def test_tags_are_texts_and_a_name_may_be_given(genai: GenAi) -> None:
    """On the first span of a trace; what it says itself goes before."""
    tags = {"version": 2, "mlflow.traceName": "Mine", "own": "no"}
    wishes = Wishes.checked("ollama", tags, remote_parents=False)
    with genai.tracer.start_as_current_span("request") as request:
        request.set_attribute("mlflow.traceTag.own", "yes")
        genai.chat()

    chat, root = (translate_span(span, wishes).attributes or {} for span in genai.spans)

    assert {name: root[name] for name in root if name.startswith("mlflow.traceTag")} == {
        "mlflow.traceTag.version": "2",
        "mlflow.traceTag.mlflow.traceName": "Mine",
        "mlflow.traceTag.own": "yes",
    }
    assert [name for name in chat if name.startswith("mlflow.traceTag")] == []
    assert chat["mlflow.llm.cost"] == json.dumps(
        {"input_cost": 0.0, "output_cost": 0.0, "total_cost": 0.0}
    )
