"""Read what a collector received as plain data, without what differs from run to run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .servers import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .servers import Collector

RECEIVE_LIMIT = 20.0  # seconds from the end of an application until the file is written

SPAN_KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUS_CODES = ("UNSET", "OK", "ERROR")

READ_VALUE: dict[str, Callable[[Any], Any]] = {
    "stringValue": str,
    "boolValue": bool,
    "intValue": int,
    "doubleValue": float,
    "arrayValue": lambda array: [value_of(item) for item in array.get("values", [])],
}
# What cannot be the same twice, and what stands for it.
VARYING = {
    "exception.stacktrace": "<stack>",
    "gen_ai.response.time_to_first_chunk": "<seconds>",
}


def received_spans(collector: Collector, scope: str, count: int) -> list[dict[str, Any]]:
    """Wait until a collector has so many spans of a scope; return them, oldest first.

    Raises:
        TimeoutError: they did not come.
    """
    found: list[dict[str, Any]] = []

    def complete() -> bool:
        found[:] = _spans(collector, scope)
        return len(found) >= count

    wait_until(complete, f"{count} spans of {scope}", RECEIVE_LIMIT)
    return [_plain_span(span) for span in sorted(found, key=lambda span: span["startTimeUnixNano"])]


def received_points(collector: Collector, scope: str) -> list[dict[str, Any]]:
    """Wait for metrics of a scope; return the points of its histograms."""
    found: list[dict[str, Any]] = []

    def complete() -> bool:
        found[:] = list(_of_scope(collector, "Metrics", scope, "metrics"))
        return bool(found)

    wait_until(complete, f"metrics of {scope}", RECEIVE_LIMIT)
    return [
        {"name": metric["name"], "unit": metric["unit"], "count": int(point["count"])}
        | {"attributes": attributes_of(point)}
        for metric in found
        for point in metric["histogram"]["dataPoints"]
    ]


def _spans(collector: Collector, scope: str) -> list[dict[str, Any]]:
    return [
        span | {"scope": found["scope"] | {"schemaUrl": found.get("schemaUrl")}}
        for found in _scopes(collector, "Spans", scope)
        for span in found["spans"]
    ]


def _of_scope(collector: Collector, signal: str, scope: str, key: str) -> Iterator[dict[str, Any]]:
    for found in _scopes(collector, signal, scope):
        yield from found[key]


def _scopes(collector: Collector, signal: str, scope: str) -> Iterator[dict[str, Any]]:
    if not collector.received.exists():
        return
    text = collector.received.read_text()
    for line in text[: text.rfind("\n") + 1].splitlines():  # the last line may be half written
        for resource in json.loads(line).get(f"resource{signal}", []):
            yield from (
                found for found in resource[f"scope{signal}"] if found["scope"]["name"] == scope
            )


def _plain_span(span: dict[str, Any]) -> dict[str, Any]:
    status = span.get("status", {})
    return {
        "scope": span["scope"],
        "name": span["name"],
        "kind": SPAN_KINDS[span["kind"]],
        "parent": span.get("parentSpanId"),
        "status": (STATUS_CODES[status.get("code", 0)], status.get("message", "")),
        "attributes": attributes_of(span),
        "events": [
            {"name": event["name"], "attributes": attributes_of(event)}
            for event in span.get("events", [])
        ],
    }


def attributes_of(holder: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a span, an event or a point; JSON texts are read."""
    return {
        pair["key"]: VARYING.get(pair["key"], value_of(pair["value"]))
        for pair in holder.get("attributes", [])
    }


def value_of(value: dict[str, Any]) -> Any:
    """Return a value of OTLP's JSON as Python has it."""
    ((kind, content),) = value.items()
    read = READ_VALUE[kind](content)
    return json.loads(read) if isinstance(read, str) and read[:1] in {"[", "{"} else read
