"""The checker objects to whatever the conventions do not allow."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import pytest
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk.metrics.export import MetricsData
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind, Status, StatusCode

from conformance.checker import (
    CONVENTIONS,
    GAPS,
    UNKNOWN_TO_OLLAMA,
    WARRANTED,
    Call,
    Modes,
    Telemetry,
    findings,
)
from conformance.recorded_run import Run
from conformance.scenarios import PNG, Ask, Program, run
from conftest import CAPTURE
from ollama_otel import OllamaInstrumentor
from recorded import EXCHANGES

ALL = Modes(spans_hold_content=True, events_hold_content=True, details=True)
CHAT, FAILED, EMBED, GENERATE = range(4)
INPUT, OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"
TOOLS = "gen_ai.tool.definitions"
DURATION, TOKENS = "gen_ai.client.operation.duration", "gen_ai.client.token.usage"
FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
DETAILS, EXCEPTION = (
    "gen_ai.client.inference.operation.details",
    "gen_ai.client.operation.exception",
)
ABSENT: Any = object()

Good: TypeAlias = tuple[Telemetry, list[Call]]
Break: TypeAlias = Callable[[Telemetry], Telemetry]


def everything() -> Program:
    """A few calls whose telemetry has something of everything."""
    exchange = EXCHANGES["chat_two_tool_calls_stream"]
    messages = [
        {"role": "user", "content": "What is this?", "images": [PNG]},
        {
            "role": "assistant",
            "tool_calls": [{"function": {"name": "look", "arguments": {"x": 1}}}],
        },
        {"role": "tool", "content": "A hat.", "tool_name": "look"},
    ]
    options = {"seed": 7, "temperature": 0.5, "stop": ["STOP"]}
    yield Ask(
        exchange.name,
        arguments={"messages": messages, "options": options, "format": "json", "think": True},
    )
    yield Ask("error_no_such_model")
    yield Ask("embed_one")
    yield Ask("generate_plain")


@pytest.fixture(scope="module")
def good() -> Iterator[Good]:
    """Telemetry with nothing wrong in it, and the calls."""
    recorded = Run()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CAPTURE, "SPAN_AND_EVENT")
        OllamaInstrumentor().instrument(**recorded.recording.providers)
        try:
            calls = run(everything(), asynchronous=False)
        finally:
            OllamaInstrumentor().uninstrument()
    yield recorded.telemetry(), calls
    recorded.recording.close()


# Ways to break it -----------------------------------------------------------------------------


def _put(attributes: Mapping[str, Any] | None, changes: Mapping[str, Any]) -> dict[str, Any]:
    changed = {**(attributes or {}), **changes}
    return {name: value for name, value in changed.items() if value is not ABSENT}


def span(which: int = CHAT, **changes: Any) -> Break:
    """Change a span's name, kind, status, events, scope or attributes."""

    def apply(telemetry: Telemetry) -> Telemetry:
        spans = list(telemetry.spans)
        old = spans[which]
        kept = {
            "name": old.name,
            "context": old.context,
            "attributes": old.attributes,
            "events": old.events,
            "kind": old.kind,
            "status": old.status,
            "instrumentation_scope": old.instrumentation_scope,
        }
        spans[which] = ReadableSpan(**kept | changes)
        return replace(telemetry, spans=spans)

    return apply


def attribute(name: str, value: Any = ABSENT, which: int = CHAT) -> Break:
    """Set an attribute of a span, or take it away."""

    def apply(telemetry: Telemetry) -> Telemetry:
        attributes = _put(telemetry.spans[which].attributes, {name: value})
        return span(which, attributes=attributes)(telemetry)

    return apply


def content(name: str, change: Callable[[Any], object], which: int = CHAT) -> Break:
    """Change what a span's JSON says."""

    def apply(telemetry: Telemetry) -> Telemetry:
        items = json.loads(str((telemetry.spans[which].attributes or {})[name]))
        change(items)
        return attribute(name, json.dumps(items), which)(telemetry)

    return apply


def event(name: str, /, **changes: Any) -> Break:
    """Change the first event of a name; ``attributes`` are put among those that it has."""

    def apply(telemetry: Telemetry) -> Telemetry:
        logs = list(telemetry.logs or ())
        position = next(at for at, it in enumerate(logs) if it.log_record.event_name == name)
        scope = changes.get("instrumentation_scope", logs[position].instrumentation_scope)
        record = copy.copy(logs[position].log_record)
        for key, value in changes.items():
            is_put = key == "attributes"
            setattr(record, key, _put(record.attributes, value) if is_put else value)
        logs[position] = replace(logs[position], log_record=record, instrumentation_scope=scope)
        return replace(telemetry, logs=logs)

    return apply


def metric(name: str, /, **changes: Any) -> Break:
    """Change a metric's own fields."""

    def apply(telemetry: Telemetry) -> Telemetry:
        return _each_metric(telemetry, name, lambda it: replace(it, **changes))

    return apply


def points(name: str, /, **changes: Any) -> Break:
    """Change all points of a metric; ``attributes`` are put among those that they have."""

    def changed(point: Any) -> Any:
        put = {"attributes": _put(point.attributes, changes.get("attributes", {}))}
        return replace(point, **changes | put)

    def apply(telemetry: Telemetry) -> Telemetry:
        return _each_metric(
            telemetry,
            name,
            lambda it: replace(
                it,
                data=replace(it.data, data_points=[changed(each) for each in it.data.data_points]),
            ),
        )

    return apply


def meter(scope: InstrumentationScope) -> Break:
    """Change the scope of all metrics."""

    def apply(telemetry: Telemetry) -> Telemetry:
        assert telemetry.metrics
        (resource,) = telemetry.metrics.resource_metrics
        scopes = [replace(it, scope=scope) for it in resource.scope_metrics]
        return replace(telemetry, metrics=MetricsData([replace(resource, scope_metrics=scopes)]))

    return apply


def _each_metric(telemetry: Telemetry, name: str, change: Callable[[Any], Any]) -> Telemetry:
    assert telemetry.metrics
    (resource,) = telemetry.metrics.resource_metrics
    (scope,) = resource.scope_metrics
    metrics = [change(it) if it.name == name else it for it in scope.metrics]
    resource = replace(resource, scope_metrics=[replace(scope, metrics=metrics)])
    return replace(telemetry, metrics=MetricsData([resource]))


def shown(name: str) -> Break:
    """Show samplers one attribute less."""

    def apply(telemetry: Telemetry) -> Telemetry:
        return replace(telemetry, shown=[_put(it, {name: ABSENT}) for it in telemetry.shown])

    return apply


def _update(*path: Any, **fields: Any) -> Callable[[Any], None]:
    """Return a change of the object at a path; the ellipsis takes a field away."""

    def apply(items: Any) -> None:
        for step in path:
            items = items[step]
        items.update(fields)
        for name in [name for name, value in fields.items() if value is ...]:
            del items[name]

    return apply


NO_SCHEMA = InstrumentationScope("ollama_otel")
LATE = "is not there when the span is created, where samplers need it"
FIRST_PART = (0, "parts", 0)

SPAN_RULES: dict[str, tuple[Break, set[str]]] = {
    "unknown attribute": (
        attribute("ollama.load_duration", 5),
        {"ollama.load_duration is not registered for this operation"},
    ),
    "attribute of another operation": (
        attribute("gen_ai.request.temperature", 0.5, EMBED),
        {"gen_ai.request.temperature is not registered for this operation"},
    ),
    "float for an int": (
        attribute("gen_ai.request.seed", 7.0),
        {"gen_ai.request.seed must be int and is 7.0"},
    ),
    "bool for an int": (
        attribute("gen_ai.request.seed", True),  # noqa: FBT003  (an attribute's value)
        {"gen_ai.request.seed must be int and is True"},
    ),
    "text for a double": (
        attribute("gen_ai.request.temperature", "0.5"),
        {"gen_ai.request.temperature must be double and is '0.5'"},
    ),
    "bool for a double": (
        attribute("gen_ai.request.temperature", True),  # noqa: FBT003  (an attribute's value)
        {"gen_ai.request.temperature must be double and is True"},
    ),
    "an int is a double": (attribute("gen_ai.request.temperature", 1), set()),
    "text for a list of texts": (
        attribute("gen_ai.response.finish_reasons", "stop"),
        {"gen_ai.response.finish_reasons must be string[] and is 'stop'"},
    ),
    "list for a text": (
        attribute("gen_ai.response.model", ("scripted",)),
        {"gen_ai.response.model must be string and is ('scripted',)"},
    ),
    "bool for a text": (
        attribute("gen_ai.request.reasoning.level", True),  # noqa: FBT003  (an attribute's value)
        {"gen_ai.request.reasoning.level must be string and is True"},
    ),
    "text for a bool": (
        attribute("gen_ai.request.stream", "true"),
        {"gen_ai.request.stream must be boolean and is 'true'"},
    ),
    "a value outside the enumeration": (
        attribute("gen_ai.output.type", "json_schema"),
        {"gen_ai.output.type must be one of text|json|image|speech and is 'json_schema'"},
    ),
    "required attribute missing": (
        attribute("gen_ai.provider.name"),
        {
            "gen_ai.provider.name is missing, which is required",
            f"gen_ai.provider.name {LATE}",
        },
    ),
    "conditionally required attribute missing": (
        attribute("gen_ai.output.type"),
        {"gen_ai.output.type is missing, which is conditionally_required"},
    ),
    "output type of a request without format": (
        attribute("gen_ai.output.type", "text", GENERATE),
        {"gen_ai.output.type is there, and nothing in the call warrants it"},
    ),
    "recommended attribute missing": (
        attribute("gen_ai.usage.input_tokens"),
        {"gen_ai.usage.input_tokens is missing, which is recommended"},
    ),
    "port missing": (
        attribute("server.port"),
        {"server.port is missing, which is conditionally_required", f"server.port {LATE}"},
    ),
    "content missing that was asked for": (
        attribute(OUTPUT),
        {f"{OUTPUT} is missing, which is opt_in"},
    ),
    "invented count": (
        attribute("gen_ai.usage.output_tokens", 0, FAILED),
        {"gen_ai.usage.output_tokens is there, and nothing in the call warrants it"},
    ),
    "invented id": (
        attribute("gen_ai.response.id", "chat-1"),
        {"gen_ai.response.id is there, and nothing in the call warrants it"},
    ),
    "stream that is false": (
        attribute("gen_ai.request.stream", False, GENERATE),  # noqa: FBT003  (its value)
        {
            "gen_ai.request.stream is there, and nothing in the call warrants it",
            "gen_ai.request.stream must be true or absent",
        },
    ),
    "error.type missing": (
        attribute("error.type", which=FAILED),
        {
            "error.type is missing, which is conditionally_required",
            "the span's status must be ERROR if and only if there is an error.type",
        },
    ),
    "error.type of what did not fail": (
        attribute("error.type", "404"),
        {
            "error.type is there, and nothing in the call warrants it",
            "the span's status must be ERROR if and only if there is an error.type",
        },
    ),
    "unknown operation": (
        attribute("gen_ai.operation.name", "converse"),
        {"gen_ai.operation.name is 'converse', which is not registered"},
    ),
    "name": (
        span(name="ollama.chat"),
        {"the span's name must be 'chat scripted' and is 'ollama.chat'"},
    ),
    "kind": (
        span(kind=SpanKind.INTERNAL),
        {"the span's kind must be CLIENT and is INTERNAL"},
    ),
    "status OK": (
        span(status=Status(StatusCode.OK)),
        {"the span's status must not be OK: that is the application's to say"},
    ),
    "status ERROR without error.type": (
        span(status=Status(StatusCode.ERROR)),
        {"the span's status must be ERROR if and only if there is an error.type"},
    ),
    "unknown event on a span": (
        span(events=[Event("gen_ai.choice")]),
        {"the span has the event gen_ai.choice, which is not registered"},
    ),
    "exception as the SDK writes it": (
        span(
            FAILED,
            events=[
                Event(
                    "exception",
                    {
                        "exception.type": "ollama.ResponseError",
                        "exception.message": "no such model",
                        "exception.stacktrace": "Traceback",
                        "exception.escaped": "False",
                    },
                )
            ],
        ),
        {"exception.escaped is not registered for an exception event"},
    ),
    "tracer without schema URL": (
        span(instrumentation_scope=NO_SCHEMA),
        {"the tracer has no schema URL"},
    ),
    "attribute that samplers need": (
        shown("server.address"),
        {f"server.address {LATE}"},
    ),
    "span missing": (
        lambda telemetry: replace(telemetry, spans=telemetry.spans[:-1]),
        {"4 calls made 3 spans", f"the event {DETAILS} belongs to no span"},
    ),
}

CONTENT_RULES: dict[str, tuple[Break, set[str]]] = {
    "no JSON": (attribute(INPUT, "[{'role': 'user'}]"), {f"{INPUT} is not valid JSON"}),
    "NaN in JSON": (attribute(INPUT, "[NaN]"), {f"{INPUT} is not valid JSON"}),
    "no list": (attribute(INPUT, '"hi"'), {f"{INPUT} must be a list"}),
    "no object": (
        attribute(INPUT, '["hi"]'),
        {f"a message of {INPUT} must be an object and is 'hi'"},
    ),
    "message without parts": (
        content(INPUT, _update(0, parts=...)),
        {f"a message of {INPUT} lacks parts"},
    ),
    "message with another field": (
        content(INPUT, _update(0, content="hi")),
        {f"a message of {INPUT} has content, which is not registered"},
    ),
    "a message's name may be null": (content(INPUT, _update(0, name=None)), set()),
    "a message's name may be absent": (content(INPUT, _update(0, name=...)), set()),
    "a message's name is a text": (
        content(INPUT, _update(0, name=5)),
        {f"name of a message of {INPUT} is 5"},
    ),
    "unknown role": (
        content(INPUT, _update(0, role="developer")),
        {f"a message of {INPUT} has the unknown role 'developer'"},
    ),
    "finish reason that is a list": (
        content(OUTPUT, _update(0, finish_reason=["stop"])),
        {f"finish_reason of a message of {OUTPUT} is ['stop']"},
    ),
    "unknown part": (
        content(INPUT, _update(*FIRST_PART, type="image_url")),
        {f"{INPUT} has a part of the unknown type 'image_url'"},
    ),
    "part without content": (
        content(INPUT, _update(*FIRST_PART, content=...)),
        {f"text part of {INPUT} lacks content"},
    ),
    "part with another field": (
        content(INPUT, _update(*FIRST_PART, text="hi")),
        {f"text part of {INPUT} has text, which is not registered"},
    ),
    "text that is no text": (
        content(INPUT, _update(*FIRST_PART, content=5)),
        {f"content of text part of {INPUT} is 5"},
    ),
    "arguments as a text": (
        content(OUTPUT, _update(*FIRST_PART, arguments="{}")),
        {f"arguments of tool_call part of {OUTPUT} is '{{}}'"},
    ),
    "image that is not base64": (
        content(INPUT, _update(0, "parts", 1, content="no base64!")),
        {f"blob part of {INPUT} is not base64"},
    ),
    "nested tool": (
        attribute(TOOLS, json.dumps([{"type": "function", "function": {"name": "look"}}])),
        {
            f"a tool of {TOOLS} lacks name",
            f"a tool of {TOOLS} has function, which is not registered",
        },
    ),
    "instructions as a text": (
        attribute("gen_ai.system_instructions", '["Be brief."]', GENERATE),
        {"gen_ai.system_instructions has a part of the unknown type None"},
    ),
}

EVENT_RULES: dict[str, tuple[Break, set[str]]] = {
    "unknown event": (
        event(EXCEPTION, event_name="gen_ai.choice"),
        {
            "the event gen_ai.choice is not registered",
            f"the event {EXCEPTION} came 0 times and is due 1",
        },
    ),
    "severity": (
        event(EXCEPTION, severity_number=SeverityNumber.ERROR),
        {f"the severity of {EXCEPTION} must be WARN and is ERROR"},
    ),
    "exception without type": (
        event(EXCEPTION, attributes={"exception.type": ABSENT}),
        {"exception.type must be string and is None"},
    ),
    "exception with more": (
        event(EXCEPTION, attributes={"exception.escaped": "False"}),
        {"exception.escaped is not registered for an exception event"},
    ),
    "event outside its span": (
        event(EXCEPTION, span_id=0),
        {f"the event {EXCEPTION} belongs to no span"},
    ),
    "event outside its trace": (
        event(EXCEPTION, trace_id=1),
        {f"the event {EXCEPTION} belongs to no span"},
    ),
    "logger without schema URL": (
        event(EXCEPTION, instrumentation_scope=NO_SCHEMA),
        {"the logger has no schema URL"},
    ),
    "unknown attribute": (
        event(DETAILS, attributes={"ollama.load_duration": 5}),
        {"event: ollama.load_duration is not registered for this operation"},
    ),
    "content as JSON text": (
        event(DETAILS, attributes={INPUT: "[]"}),
        {f"event: {INPUT} must be a list"},
    ),
    "attribute missing": (
        event(DETAILS, attributes={"gen_ai.response.model": ABSENT}),
        {"event: gen_ai.response.model is missing, which is recommended"},
    ),
    "details missing": (
        lambda telemetry: replace(
            telemetry,
            logs=[it for it in telemetry.logs or () if it.log_record.event_name != DETAILS],
        ),
        {f"the event {DETAILS} came 0 times and is due 3"},
    ),
}

METRIC_RULES: dict[str, tuple[Break, set[str]]] = {
    "unknown metric": (
        metric(FIRST_CHUNK, name="ollama.first_chunk"),
        {
            "the metric ollama.first_chunk is not registered",
            f"{FIRST_CHUNK} with gen_ai.operation.name was recorded 0 times and is due 1 times",
        },
    ),
    "unit": (metric(DURATION, unit="ms"), {f"the unit of {DURATION} must be s and is ms"}),
    "token's unit": (
        metric(TOKENS, unit="token"),
        {f"the unit of {TOKENS} must be {{token}} and is token"},
    ),
    "buckets": (
        points(DURATION, explicit_bounds=[1, 2]),
        {f"the buckets of {DURATION} are not the advised ones"},
    ),
    "operation missing": (
        points(TOKENS, attributes={"gen_ai.operation.name": ABSENT}),
        {f"{TOKENS} lacks gen_ai.operation.name"},
    ),
    "provider missing": (
        points(TOKENS, attributes={"gen_ai.provider.name": ABSENT}),
        {f"{TOKENS} lacks gen_ai.provider.name"},
    ),
    "model missing": (
        points(TOKENS, attributes={"gen_ai.request.model": ABSENT}),
        {f"{TOKENS} lacks gen_ai.request.model"},
    ),
    "port missing": (
        points(TOKENS, attributes={"server.port": ABSENT}),
        {f"{TOKENS} lacks server.port"},
    ),
    "token type": (
        points(TOKENS, attributes={"gen_ai.token.type": "total"}),
        {
            "gen_ai.token.type is 'total'",
            f"{TOKENS} with gen_ai.token.type input was recorded 0 times and is due 3 times",
            f"{TOKENS} with gen_ai.token.type output was recorded 0 times and is due 2 times",
        },
    ),
    "unknown attribute": (
        points(TOKENS, attributes={"gen_ai.request.seed": 7}),
        {f"gen_ai.request.seed is not registered for {TOKENS}"},
    ),
    "type of an attribute": (
        points(TOKENS, attributes={"server.port": "11434"}),
        {f"server.port of {TOKENS} must be int and is '11434'"},
    ),
    "error.type of a failed call": (
        points(DURATION, attributes={"error.type": ABSENT}),
        {f"{DURATION} with error.type was recorded 0 times and is due 1 times"},
    ),
    "meter without schema URL": (meter(NO_SCHEMA), {"the meter has no schema URL"}),
}


@pytest.mark.parametrize(
    ("broken", "expected"),
    [
        pytest.param(*rule, id=f"{kind}-{name}".replace(" ", "_"))
        for kind, rules in {
            "span": SPAN_RULES,
            "content": CONTENT_RULES,
            "event": EVENT_RULES,
            "metric": METRIC_RULES,
        }.items()
        for name, rule in rules.items()
    ],
)
def test_a_broken_rule_is_found(good: Good, broken: Break, expected: set[str]) -> None:
    """And nothing else than that rule."""
    telemetry, calls = good
    before = set(findings(telemetry, calls, ALL))

    assert set(findings(broken(telemetry), calls, ALL)) - before == expected


def test_content_that_nobody_asked_for_is_found(good: Good) -> None:
    telemetry, calls = good
    unasked = {
        name for it in telemetry.spans for name in it.attributes or {} if name in (INPUT, OUTPUT)
    }

    assert unasked == {INPUT, OUTPUT}
    assert {f"{name} is opt-in, and nobody asked for it" for name in unasked} <= set(
        findings(telemetry, calls, replace(ALL, spans_hold_content=False))
    )


def test_every_registered_attribute_was_thought_of() -> None:
    """Each is warranted by something in a call, a gap, or nothing that Ollama tells."""
    registered = {
        name
        for kind in ("gen_ai.client.inference", "gen_ai.client.embeddings")
        for name in CONVENTIONS["spans"][kind]["attributes"]
    }
    thought_of = [*WARRANTED, *GAPS, *UNKNOWN_TO_OLLAMA]

    assert sorted(thought_of) == sorted(registered)
    assert sorted(GAPS) == ["gen_ai.request.encoding_formats", "gen_ai.response.id"]
