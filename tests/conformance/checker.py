"""Judges telemetry by the GenAI semantic conventions, as genai_semconv.json tells them.

Pure functions: each takes what was recorded and returns what is wrong with it, a sentence each.
"""

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk.metrics.export import Histogram, HistogramDataPoint, Metric, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import StatusCode

CONVENTIONS: dict[str, Any] = json.loads((Path(__file__).parent / "genai_semconv.json").read_text())

SPANS: Mapping[str, Any] = {
    operation: span for span in CONVENTIONS["spans"].values() for operation in span["ops"]
}
"""Operation → what the conventions say of its span."""

GAPS = frozenset({"gen_ai.response.id", "gen_ai.request.encoding_formats"})
"""Recommended, and no instrumentation of Ollama can know it."""

DETAILS = "gen_ai.client.inference.operation.details"
EXCEPTION = "gen_ai.client.operation.exception"


@dataclass(frozen=True)
class Call:
    """What is known of a call without looking at its telemetry.

    Args:
        path: the endpoint.
        request: the JSON body that was sent.
        got: the response, or the chunks that the application read, as plain data.
        failed: whether the application got an exception.
    """

    path: str
    request: Mapping[str, Any]
    got: Sequence[Mapping[str, Any]]
    failed: bool = False

    @property
    def is_stream(self) -> bool:
        return bool(self.request.get("stream"))

    @property
    def last(self) -> Mapping[str, Any]:
        """The response, or the chunk that says it is the last."""
        final = self.got[-1] if self.got else {}
        return final if final.get("done") or not self.is_stream else {}


@dataclass(frozen=True)
class Modes:
    """What was asked to be recorded.

    Args:
        spans_hold_content: whether spans are to hold messages.
        events_hold_content: whether events are to hold messages.
        details: whether the event with an inference's details is wanted.
        exceptions: whether the events of exceptions are wanted.
    """

    spans_hold_content: bool = False
    events_hold_content: bool = False
    details: bool = False
    exceptions: bool = True


@dataclass(frozen=True)
class Telemetry:
    """All that was recorded of some calls.

    Args:
        spans: in the order of the calls.
        shown: each span's attributes as a sampler was shown them, in the same order.
        metrics: what a reader collects; None where metrics are not received.
        logs: None where events are not received.
    """

    spans: Sequence[ReadableSpan]
    shown: Sequence[Mapping[str, Any]]
    metrics: MetricsData | None = None
    logs: Sequence[ReadableLogRecord] | None = None


def findings(telemetry: Telemetry, calls: Sequence[Call], modes: Modes) -> list[str]:
    """Return all that the telemetry of some calls gets wrong.

    Args:
        telemetry: what was recorded.
        calls: the calls, in their order.
        modes: what was asked to be recorded.
    """
    return [
        *_spans(telemetry, calls, modes),
        *(() if telemetry.logs is None else _events(telemetry, calls, modes)),
        *(() if telemetry.metrics is None else _metrics(telemetry.metrics, calls)),
    ]


# When an attribute has to be there ------------------------------------------------------------

Condition = Callable[[Call], bool]


def _always(_call: Call) -> bool:
    return True


def _asked(name: str) -> Condition:
    return lambda call: name in call.request


def _option(name: str) -> Condition:
    return lambda call: name in call.request.get("options", {})


def _told(name: str) -> Condition:
    return lambda call: call.last.get(name) is not None


def _answered(call: Call) -> bool:
    return bool(call.got)


WARRANTED: Mapping[str, Condition] = {
    "error.type": lambda call: call.failed,
    "gen_ai.embeddings.dimension.count": lambda call: bool(
        call.request.get("dimensions") or call.last.get("embeddings") or call.last.get("embedding")
    ),
    "gen_ai.input.messages": lambda call: bool(
        {"messages", "prompt", "suffix", "images"} & {key for key, it in call.request.items() if it}
    ),
    "gen_ai.operation.name": _always,
    "gen_ai.output.messages": _answered,
    "gen_ai.output.type": lambda call: bool(call.request.get("format")),
    "gen_ai.provider.name": _always,
    "gen_ai.request.frequency_penalty": _option("frequency_penalty"),
    "gen_ai.request.max_tokens": lambda call: (
        call.request.get("options", {}).get("num_predict", -1) >= 0
    ),
    "gen_ai.request.model": _asked("model"),
    "gen_ai.request.presence_penalty": _option("presence_penalty"),
    "gen_ai.request.reasoning.level": _asked("think"),
    "gen_ai.request.seed": _option("seed"),
    "gen_ai.request.stop_sequences": _option("stop"),
    "gen_ai.request.stream": lambda call: call.is_stream,
    "gen_ai.request.temperature": _option("temperature"),
    "gen_ai.request.top_k": _option("top_k"),
    "gen_ai.request.top_p": _option("top_p"),
    "gen_ai.response.finish_reasons": _answered,
    "gen_ai.response.model": lambda call: any(chunk.get("model") for chunk in call.got),
    "gen_ai.response.time_to_first_chunk": lambda call: call.is_stream and bool(call.got),
    "gen_ai.system_instructions": lambda call: bool(call.request.get("system")),
    "gen_ai.tool.definitions": lambda call: bool(call.request.get("tools")),
    "gen_ai.usage.input_tokens": _told("prompt_eval_count"),
    "gen_ai.usage.output_tokens": _told("eval_count"),
    "server.address": _always,
    "server.port": _always,
}
"""Attribute → whether a call warrants it: then it has to be there, and else it must not be."""

UNKNOWN_TO_OLLAMA = frozenset(
    {
        "gen_ai.conversation.compacted",
        "gen_ai.conversation.id",
        "gen_ai.prompt.name",
        "gen_ai.prompt.variable",
        "gen_ai.prompt.version",
        "gen_ai.request.choice.count",
        "gen_ai.request.previous_response.id",
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.reasoning.output_tokens",
        *(
            f"gen_ai.usage.{modality}.{kind}_tokens"
            for modality in ("text", "image", "audio")
            for kind in ("input", "output", "cache_read.input")
        ),
    }
)
"""What neither a request nor an answer of Ollama says: whatever stood there would be invented."""

ANSWERS = frozenset(
    name for name in WARRANTED if name.startswith(("gen_ai.response.", "gen_ai.us"))
)
"""What a failed call may lack."""


# Attributes -----------------------------------------------------------------------------------


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_strings(value: object) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(item, str) for item in value)


TYPES: Mapping[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "int": _is_int,
    # OpenTelemetry writes a whole number where a double is registered.
    "double": lambda value: isinstance(value, float) or _is_int(value),
    "string[]": _is_strings,
    "any": lambda _value: True,
}


def _attributes(
    attributes: Mapping[str, Any], convention: Mapping[str, Any], call: Call, *, content: bool
) -> Iterator[str]:
    """Judge the attributes of a span, or of the event that tells the same.

    Args:
        attributes: what was recorded.
        convention: name → type, level and remark.
        call: what they tell of.
        content: whether what is opt-in was opted in to.
    """
    for name, value in attributes.items():
        if name not in convention:
            yield f"{name} is not registered for this operation"
            continue
        kind, _level, *remark = convention[name]
        if not TYPES[kind](value):
            yield f"{name} must be {kind} and is {value!r}"
        yield from _one_of(name, value, *remark)
        if not (name in WARRANTED and WARRANTED[name](call)):
            yield f"{name} is there, and nothing in the call warrants it"
        elif convention[name][1] == "OPT" and not content:
            yield f"{name} is opt-in, and nobody asked for it"
    if attributes.get("gen_ai.request.stream") is False:
        yield "gen_ai.request.stream must be true or absent"
    for name, (_kind, level, *_remark) in convention.items():
        is_due = name in WARRANTED and WARRANTED[name](call) and (level != "OPT" or content)
        may_lack = name in GAPS or (call.failed and name in ANSWERS)
        if is_due and not may_lack and name not in attributes:
            yield f"{name} is missing, which is {CONVENTIONS['levels'][level]}"


def _one_of(name: str, value: object, remark: str = "") -> Iterator[str]:
    if (enum := re.search(r"enum ([\w|]+)", remark)) and value not in enum[1].split("|"):
        yield f"{name} must be one of {enum[1]} and is {value!r}"


# Content --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Shape:
    """The fields of an object; an optional one may be null as well, as the schemas have it."""

    required: frozenset[str] = field(default_factory=frozenset)
    optional: frozenset[str] = field(default_factory=frozenset)

    @classmethod
    def of(cls, fields: Iterable[str]) -> "_Shape":
        """Read fields as the conventions' digest writes them: ``name``, ``name? (remark)``."""
        names = {re.split(r"\W", text)[0]: text for text in fields}
        optional = frozenset(name for name, text in names.items() if text[len(name) :][:1] == "?")
        return cls(frozenset(names) - optional, optional)

    def findings(self, what: str, value: object) -> Iterator[str]:
        if not isinstance(value, Mapping):
            yield f"{what} must be an object and is {value!r}"
            return
        for name in sorted(self.required):
            if value.get(name) is None:
                yield f"{what} lacks {name}"
        for name in sorted(value.keys() - self.required - self.optional):
            yield f"{what} has {name}, which is not registered"


PARTS = {
    kind: _Shape.of(["type", *fields])
    for kind, fields in CONVENTIONS["parts"].items()
    if isinstance(fields, list)
}
MESSAGES = {
    "gen_ai.input.messages": _Shape.of(CONVENTIONS["message"]["input"]),
    "gen_ai.output.messages": _Shape.of(CONVENTIONS["message"]["output"]),
}
TOOLS = {kind: _Shape.of(fields) for kind, fields in CONVENTIONS["tool_definition"].items()}

_FIELD_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "arguments": Mapping,
    "content": str,
    "description": str,
    "finish_reason": str,
    "id": str,
    "mime_type": str,
    "modality": str,
    "name": str,
    "parameters": Mapping,
    "parts": (list, tuple),
    "role": str,
    "type": str,
    "uri": str,
}


def _fields(what: str, value: Mapping[str, Any]) -> Iterator[str]:
    for name, kind in _FIELD_TYPES.items():
        if value.get(name) is not None and not isinstance(value[name], kind):
            yield f"{name} of {what} is {value[name]!r}"


def _part(what: str, part: Any) -> Iterator[str]:
    if isinstance(part, Mapping) and isinstance(part.get("content"), bytes):
        # In an event bytes are a value of their own; only JSON has to write them as base64.
        part = {**part, "content": base64.b64encode(part["content"]).decode()}
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind not in PARTS:
        yield f"{what} has a part of the unknown type {kind!r}"
        return
    yield from PARTS[kind].findings(f"{kind} part of {what}", part)
    yield from _fields(f"{kind} part of {what}", part)
    if kind == "blob" and not _is_base64(part.get("content")):
        yield f"blob part of {what} is not base64"


def _is_base64(text: object) -> bool:
    try:
        return isinstance(text, str) and bool(base64.b64decode(text, validate=True))
    except ValueError:
        return False


def _message(what: str, message: Any) -> Iterator[str]:
    yield from MESSAGES[what].findings(f"a message of {what}", message)
    if not isinstance(message, Mapping):
        return
    yield from _fields(f"a message of {what}", message)
    if message.get("role") not in CONVENTIONS["message"]["roles"]:
        yield f"a message of {what} has the unknown role {message.get('role')!r}"
    parts = message.get("parts")
    for part in parts if isinstance(parts, list | tuple) else ():
        yield from _part(what, part)


def _tool(what: str, tool: Any) -> Iterator[str]:
    kind = tool.get("type") if isinstance(tool, Mapping) else None
    shape = TOOLS["function" if kind == "function" else "generic"]
    yield from shape.findings(f"a tool of {what}", tool)
    if isinstance(tool, Mapping):
        yield from _fields(f"a tool of {what}", tool)


_CONTENT: Mapping[str, Callable[[str, Any], Iterator[str]]] = {
    "gen_ai.input.messages": _message,
    "gen_ai.output.messages": _message,
    "gen_ai.system_instructions": _part,
    "gen_ai.tool.definitions": _tool,
}


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _content(attributes: Mapping[str, Any], *, as_text: bool) -> Iterator[str]:
    """Judge messages, instructions and tools.

    Args:
        attributes: those of a span or an event.
        as_text: whether the content must be JSON text, as on a span, or plain data.
    """
    for name, check in _CONTENT.items():
        if name not in attributes:
            continue
        items = attributes[name]
        if as_text:
            try:
                items = json.loads(items, parse_constant=_not_json)
            except (TypeError, ValueError):
                yield f"{name} is not valid JSON"
                continue
        if not isinstance(items, list | tuple):
            yield f"{name} must be a list"
            continue
        for item in items:
            yield from check(name, item)


# Spans ----------------------------------------------------------------------------------------


def _spans(telemetry: Telemetry, calls: Sequence[Call], modes: Modes) -> Iterator[str]:
    if not len(telemetry.spans) == len(telemetry.shown) == len(calls):
        yield f"{len(calls)} calls made {len(telemetry.spans)} spans"
    for span, shown, call in zip(telemetry.spans, telemetry.shown, calls, strict=False):
        yield from _span(span, shown, call, content=modes.spans_hold_content)


def _span(
    span: ReadableSpan, shown: Mapping[str, Any], call: Call, *, content: bool
) -> Iterator[str]:
    attributes = span.attributes or {}
    operation = str(attributes.get("gen_ai.operation.name"))
    if operation not in SPANS:
        yield f"gen_ai.operation.name is {operation!r}, which is not registered"
        return
    convention = SPANS[operation]
    yield from _attributes(attributes, convention["attributes"], call, content=content)
    yield from _content(attributes, as_text=True)
    yield from _frame(span, convention)
    yield from _scope("tracer", span.instrumentation_scope)
    for name in convention["sampling_relevant"]:
        if shown.get(name) != attributes.get(name):
            yield f"{name} is not there when the span is created, where samplers need it"


def _frame(span: ReadableSpan, convention: Mapping[str, Any]) -> Iterator[str]:
    """Judge all of a span but its attributes."""
    attributes = span.attributes or {}
    name = re.sub(r"{(.+?)}", lambda it: str(attributes.get(it[1], "")), convention["name"]).strip()
    if span.name != name:
        yield f"the span's name must be {name!r} and is {span.name!r}"
    if span.kind.name not in convention["kind"]:
        yield f"the span's kind must be {convention['kind'][0]} and is {span.kind.name}"
    if span.status.status_code is StatusCode.OK:
        yield "the span's status must not be OK: that is the application's to say"
    if (span.status.status_code is StatusCode.ERROR) != ("error.type" in attributes):
        yield "the span's status must be ERROR if and only if there is an error.type"
    for event in span.events:
        if event.name == "exception":
            yield from _exception(event.attributes or {})
        else:
            yield f"the span has the event {event.name}, which is not registered"


def _scope(what: str, scope: InstrumentationScope | None) -> Iterator[str]:
    if scope is None or not (scope.schema_url or "").startswith("https://"):
        yield f"the {what} has no schema URL"


# Events ---------------------------------------------------------------------------------------


def _events(telemetry: Telemetry, calls: Sequence[Call], modes: Modes) -> Iterator[str]:
    """Judge events: one exception for each failed call, one of details for each inference."""
    by_name: dict[str, list[ReadableLogRecord]] = {DETAILS: [], EXCEPTION: []}
    for event in telemetry.logs or ():
        yield from _scope("logger", event.instrumentation_scope)
        if event.log_record.event_name not in CONVENTIONS["events"]:
            yield f"the event {event.log_record.event_name} is not registered"
            continue
        yield from _severity(event)
        by_name.setdefault(str(event.log_record.event_name), []).append(event)
    inferences = [call for call in calls if not call.path.startswith("/api/embed")]
    due = {
        DETAILS: inferences if modes.details else [],
        EXCEPTION: [call for call in calls if call.failed and modes.exceptions],
    }
    for name, events in by_name.items():
        if len(events) != len(due.get(name, ())):
            yield f"the event {name} came {len(events)} times and is due {len(due.get(name, ()))}"
    spans = {span.context.span_id: span for span in telemetry.spans if span.context}
    for event, call in zip(by_name[DETAILS], due[DETAILS], strict=False):
        yield from _details(event, call, content=modes.events_hold_content)
    for event in telemetry.logs or ():
        yield from _correlated(event, spans)
    for event in by_name[EXCEPTION]:
        yield from _exception(event.log_record.attributes or {})


def _severity(event: ReadableLogRecord) -> Iterator[str]:
    """Compare with what the conventions write as ``DEBUG(5)``."""
    name = event.log_record.event_name
    expected = re.fullmatch(r"(\w+)\((\d+)\)", CONVENTIONS["events"][name].get("severity", ""))
    number = event.log_record.severity_number
    if expected and (number is None or number.value != int(expected[2])):
        yield f"the severity of {name} must be {expected[1]} and is {number and number.name}"


def _correlated(event: ReadableLogRecord, spans: Mapping[int, ReadableSpan]) -> Iterator[str]:
    span = spans.get(event.log_record.span_id or 0)
    if span is None or span.context is None or span.context.trace_id != event.log_record.trace_id:
        yield f"the event {event.log_record.event_name} belongs to no span"


def _details(event: ReadableLogRecord, call: Call, *, content: bool) -> Iterator[str]:
    attributes = event.log_record.attributes or {}
    operation = str(attributes.get("gen_ai.operation.name"))
    if operation not in SPANS:
        yield f"gen_ai.operation.name is {operation!r}, which is not registered"
        return
    judged = [
        *_attributes(attributes, SPANS[operation]["attributes"], call, content=content),
        *_content(attributes, as_text=False),
    ]
    yield from (f"event: {finding}" for finding in judged)


def _exception(attributes: Mapping[str, Any]) -> Iterator[str]:
    known = CONVENTIONS["events"][EXCEPTION]["attributes"]
    for name in sorted(attributes.keys() - set(known)):
        yield f"{name} is not registered for an exception event"
    for name in known:
        if not isinstance(attributes.get(name), str):
            yield f"{name} must be string and is {attributes.get(name)!r}"


# Metrics --------------------------------------------------------------------------------------

METRICS: Mapping[str, Any] = CONVENTIONS["metrics_released_util_1_3b0"]
METRIC_ATTRIBUTES: Mapping[str, str] = CONVENTIONS["metric_attributes"]
DURATION = "gen_ai.client.operation.duration"
TOKENS = "gen_ai.client.token.usage"
FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
NEXT_CHUNKS = "gen_ai.client.operation.time_per_output_chunk"


def _metrics(data: MetricsData, calls: Sequence[Call]) -> Iterator[str]:
    metrics: dict[str, list[HistogramDataPoint]] = {}
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            yield from _scope("meter", scope.scope)
            for metric in scope.metrics:
                yield from _metric(metric)
                if isinstance(metric.data, Histogram):
                    metrics[metric.name] = list(metric.data.data_points)
    yield from _measured(metrics, calls)


def _metric(metric: Metric) -> Iterator[str]:
    if metric.name not in METRICS:
        yield f"the metric {metric.name} is not registered"
        return
    _kind, unit, *_rest = METRICS[metric.name]
    if metric.unit != unit:
        yield f"the unit of {metric.name} must be {unit} and is {metric.unit}"
    if not isinstance(metric.data, Histogram):
        yield f"{metric.name} must be a histogram"
        return
    for point in metric.data.data_points:
        if list(point.explicit_bounds) != _bounds(metric.name):
            yield f"the buckets of {metric.name} are not the advised ones"
        yield from _point(metric.name, point)


def _bounds(name: str) -> list[float]:
    bounds = METRICS[name][2]
    return list(METRICS[DURATION][2] if bounds == "same as duration" else bounds)


def _point(name: str, point: HistogramDataPoint) -> Iterator[str]:
    attributes = point.attributes or {}
    known = set(METRIC_ATTRIBUTES) - {"error.type"}
    due = {key for key, level in METRIC_ATTRIBUTES.items() if level == "R"}
    if name == DURATION:
        known.add("error.type")
    if name == TOKENS:
        known.add("gen_ai.token.type")
        due.add("gen_ai.token.type")
        if attributes.get("gen_ai.token.type") not in ("input", "output"):
            yield f"gen_ai.token.type is {attributes.get('gen_ai.token.type')!r}"
    types: dict[str, list[Any]] = {
        key: kind
        for span in CONVENTIONS["spans"].values()
        for key, kind in span["attributes"].items()
    }
    for key in sorted(attributes.keys() - known):
        yield f"{key} is not registered for {name}"
    for key in sorted(due - attributes.keys()):
        yield f"{name} lacks {key}"
    for key, value in attributes.items():
        if key in types and not TYPES[types[key][0]](value):
            yield f"{key} of {name} must be {types[key][0]} and is {value!r}"


def _measured(
    metrics: Mapping[str, Sequence[HistogramDataPoint]], calls: Sequence[Call]
) -> Iterator[str]:
    """Compare how often each metric was recorded with what the calls warrant."""
    streamed = [len(call.got) for call in calls if call.is_stream and call.got]
    ended = [call for call in calls if not call.failed]
    due = {
        (DURATION, "gen_ai.operation.name", None): len(calls),
        (DURATION, "error.type", None): sum(call.failed for call in calls),
        (TOKENS, "gen_ai.token.type", "input"): sum(map(_told("prompt_eval_count"), ended)),
        (TOKENS, "gen_ai.token.type", "output"): sum(map(_told("eval_count"), ended)),
        (FIRST_CHUNK, "gen_ai.operation.name", None): len(streamed),
        (NEXT_CHUNKS, "gen_ai.operation.name", None): sum(streamed) - len(streamed),
    }
    for (name, key, value), expected in due.items():
        count = sum(
            point.count
            for point in metrics.get(name, ())
            if key in (point.attributes or {}) and value in (None, (point.attributes or {})[key])
        )
        if count != expected:
            what = f"{name} with {key}" + (f" {value}" if value else "")
            yield f"{what} was recorded {count} times and is due {expected} times"
    for name in (DURATION, TOKENS, FIRST_CHUNK, NEXT_CHUNKS):
        for point in metrics.get(name, ()):
            yield from _named(name, point, calls)


def _named(name: str, point: HistogramDataPoint, calls: Sequence[Call]) -> Iterator[str]:
    """Check what the conventions want whenever it is known."""
    attributes = point.attributes or {}
    if attributes.get("gen_ai.request.model") not in {call.request.get("model") for call in calls}:
        yield f"{name} lacks gen_ai.request.model"
    for key in ("server.address", "server.port"):
        if key not in attributes:
            yield f"{name} lacks {key}"
