"""What one way of tracing left in MLflow: traces as plain data, and what MLflow's page draws."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from environments import ROOT

sys.path.append(str(ROOT / "tests"))  # what MLflow's page draws, the tests know

from mlflow_export import page

OWN_SPANS: Final = frozenset({"turn", "calculate_tip", "execute_tool calculate_tip"})
"""Spans that the application made itself; all others are calls of a model."""

Json = dict[str, Any]


class NoTraceError(LookupError):
    """The call of a case is not in the store."""


@dataclass(frozen=True)
class Span:
    """A span as MLflow gives it back.

    Attributes:
        name: its name.
        type: its type.
        parent: the id of its parent, if it has one.
        status: its status code.
        attributes: all of them, decoded.
        events: name and attributes of each.
    """

    name: str
    type: str
    parent: str | None
    status: str
    attributes: Json
    events: Sequence[tuple[str, Json]]

    @property
    def inputs(self) -> Any:
        """What went in."""
        return self.attributes.get("mlflow.spanInputs")

    @property
    def outputs(self) -> Any:
        """What came out."""
        return self.attributes.get("mlflow.spanOutputs")

    @cached_property
    def asked(self) -> list[Json]:
        """The messages of the request that the page draws as a conversation."""
        return drawn(self.inputs)

    @cached_property
    def answered(self) -> list[Json]:
        """The messages of the answer that the page draws as a conversation."""
        return drawn(self.outputs)

    @cached_property
    def stored(self) -> str:
        """Everything that is stored of it, as one text."""
        return json.dumps([self.attributes, self.events], ensure_ascii=False).replace("\\", "")


@dataclass(frozen=True)
class Trace:
    """A trace as MLflow gives it back.

    Attributes:
        state: its state.
        request: its request preview.
        response: its response preview.
        name: its name, as the list shows it.
        metadata: its metadata.
        spans: its spans.
        size: bytes that the store keeps of it, on disk and in the database.
        found_by: the searches that found it.
    """

    state: str
    request: str | None
    response: str | None
    name: str | None
    metadata: Mapping[str, str]
    spans: Sequence[Span]
    size: int
    found_by: frozenset[str]

    @property
    def calls(self) -> list[Span]:
        """The spans of calls of a model."""
        return [span for span in self.spans if span.name not in OWN_SPANS]


@dataclass(frozen=True)
class Record:
    """What the workload left in the store, by one contender.

    Attributes:
        traces: the traces of each case.
        got: by case, what the application got: a text, or thinking and a text.
        raised: by case, what the application saw raised.
        lines: lines of code that a user writes.
        settings: environment variables that a user sets.
    """

    traces: Mapping[str, Sequence[Trace]]
    got: Mapping[str, Any]
    raised: Mapping[str, str]
    lines: int
    settings: int

    def answer(self, case: str) -> str:
        """Return the text that the application got."""
        got = self.got[case]
        return str(got[1] if isinstance(got, list) else got)

    def thinking(self, case: str) -> str:
        """Return the thinking that the application got."""
        return str(self.got[case][0])

    def trace(self, case: str) -> Trace:
        """Return the trace of a case."""
        for trace in self.traces.get(case, ()):
            if trace.calls:
                return trace
        raise NoTraceError(case)

    def call(self, case: str, which: int = 0) -> Span:
        """Return the span of a call of a model; the first or the second of a case."""
        calls = self.trace(case).calls
        if which >= len(calls):
            raise NoTraceError(case)
        return calls[which]


# What the page draws ------------------------------------------------------------------------


def drawn(value: Any) -> list[Json]:
    """Return the messages that MLflow's page draws as a conversation; none where it shows JSON.

    The rules are those of normalizeConversation in MLflow's ModelTraceExplorer.utils.tsx.

    Args:
        value: the inputs or outputs of a span.
    """
    found = value
    if isinstance(value, dict) and "choices" in value:
        found = [choice.get("message") for choice in value["choices"]]
        if not all(isinstance((it or {}).get("content"), str | None) for it in found):
            return []
    elif isinstance(value, dict):
        found = value.get("messages")
    if not isinstance(found, list) or not found:
        return []
    for shape in (_of_openai, _of_parts):
        messages = [shape(message) for message in found]
        if all(page.draws_message(message) for message in messages):
            return messages
    return []


def _of_openai(message: Any) -> Any:
    """Return a message without nulls, if it has no parts in the place of a content."""
    if not isinstance(message, dict):
        return None
    told = {key: value for key, value in message.items() if value is not None}
    return None if told.get("parts") and "content" not in told else told


def _of_parts(message: Any) -> Any:
    """Return a message of OpenTelemetry's parts in OpenAI's shape, if the page can read it."""
    if not isinstance(message, dict) or not message.get("parts"):
        return None
    turned: Json = {"role": message.get("role"), "content": ""}
    for part in message["parts"]:
        match part:
            case {"type": "text", "content": str(content)}:
                turned["content"] += content
            case {"type": "tool_call", "name": str(name)}:
                arguments = json.dumps(part.get("arguments"))
                call = {
                    "id": part.get("id") or name,
                    "function": {"name": name, "arguments": arguments},
                }
                turned.setdefault("tool_calls", []).append(call)
            case {"type": "tool_call_response", "response": response}:
                turned |= {"content": str(response), "tool_call_id": part.get("id") or ""}
            case _:
                return None
    return turned


def texts(messages: Sequence[Json]) -> Iterator[str]:
    """Give every text that the page shows of some messages, but not that of reasoning.

    Args:
        messages: as ``drawn`` gives them.
    """
    for message in messages:
        content = message.get("content") or ""
        if isinstance(content, str):
            yield content
            continue
        yield from (block["text"] for block in content if block["type"] == "text")
