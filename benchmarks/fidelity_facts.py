"""What a person looks for in a trace, each read from what MLflow stored.

A fact is a function from the record of one contender to a cell. ``FACTS`` is the table's rows.
"""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Final

from environments import ROOT

sys.path.append(str(ROOT / "tests"))  # what MLflow's page draws, the tests know
sys.path.append(str(ROOT / "benchmarks" / "workload"))

from diary import ICON, PHOTO, QUESTION, SESSION, SYSTEM, TIP, USER

from mlflow_export import page

YES: Final = "yes"
RAW: Final = "raw"
NO: Final = "no"
NO_TRACE: Final = "no trace"

CALLS: Final = 17
"""Calls of a model in the workload: one in each case, two in a tool loop."""

OWN_SPANS: Final = frozenset({"turn", "calculate_tip", "execute_tool calculate_tip"})
ANSWER: Final = "The sky is blue because air scatters light."
REASONING: Final = "Let me reason about it"
BROKEN_OFF: Final = "la lala lalala"
ARGUMENTS: Final = r"bill_amount\W+187\.32"
RESULT: Final = "41.21"

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
        raised: by case, what the application saw raised.
        lines: lines of code that a user writes.
        settings: environment variables that a user sets.
    """

    traces: Mapping[str, Sequence[Trace]]
    raised: Mapping[str, str] = field(default_factory=dict)
    lines: int = 0
    settings: int = 0

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
    for turned in (found, [_of_parts(message) for message in found]):
        messages = [_without_nulls(message) for message in turned]
        if all(page.draws_message(message) for message in messages):
            return messages
    return []


def _without_nulls(message: Any) -> Any:
    if not isinstance(message, dict):
        return message
    return {key: value for key, value in message.items() if value is not None}


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


def _texts(messages: Sequence[Json]) -> Iterator[str]:
    """Give every text that the page shows of some messages, but not that of reasoning."""
    for message in messages:
        content = message.get("content") or ""
        if isinstance(content, str):
            yield content
            continue
        yield from (block["text"] for block in content if block["type"] == "text")


def _verdict(shown: object, pattern: str, stored: str) -> str:
    if shown:
        return YES
    return RAW if re.search(pattern, stored) else NO


# Rows ---------------------------------------------------------------------------------------


def _calls(record: Record) -> str:
    found = [span for of in record.traces.values() for trace in of for span in trace.calls]
    return f"{len(found)} of {CALLS}"


def _unfinished(record: Record) -> str:
    states = [trace.state for of in record.traces.values() for trace in of]
    return str(states.count("IN_PROGRESS"))


def _name(record: Record) -> str:
    return record.trace("chat").name or NO


def _preview(record: Record, case: str, text: str, *, response: bool = False) -> str:
    trace = record.trace(case)
    preview = (trace.response if response else trace.request) or ""
    return _verdict(preview == text, re.escape(text), preview)


def _embedding_preview(record: Record) -> str:
    preview = record.trace("embed").request or ""
    return _verdict(preview.startswith(QUESTION), re.escape(QUESTION), preview)


def _state(record: Record, case: str) -> str:
    return record.trace(case).state


def _session(record: Record) -> str:
    metadata = record.trace("session").metadata
    found = metadata.get("mlflow.trace.session"), metadata.get("mlflow.trace.user")
    return YES if found == (SESSION, USER) else NO


def _tree(record: Record) -> str:
    (trace, *others) = record.traces.get("tools", [None])
    spans = trace.spans if trace else []
    whole = len(spans) == 4 and sum(span.parent is None for span in spans) == 1  # noqa: PLR2004  (turn, two calls, tool)
    return YES if whole and not others else NO


def _type(record: Record, case: str) -> str:
    return record.call(case).type


def _status(record: Record) -> str:
    return f"{record.call('chat').status}, {record.call('stream').status}"


def _question(record: Record, case: str) -> str:
    call = record.call(case)
    return _verdict(QUESTION in _texts(call.asked), re.escape(QUESTION), call.stored)


def _system(record: Record) -> str:
    call = record.call("chat")
    shown = {"role": "system", "content": SYSTEM} in call.asked
    return _verdict(shown, re.escape(SYSTEM), call.stored)


def _answer(record: Record, case: str) -> str:
    call = record.call(case)
    return _verdict(ANSWER in _texts(call.answered), re.escape(ANSWER), call.stored)


def _asked_for(record: Record, case: str, pattern: str) -> str:
    call = record.call(case)
    inputs = json.dumps(call.inputs, ensure_ascii=False).replace("\\", "")
    return _verdict(re.search(pattern, inputs), pattern, call.stored)


def _reasoning(record: Record, case: str) -> str:
    call = record.call(case)
    shown = any(message.get("reasoning") == REASONING for message in call.answered)
    # A stream's chunks hold it word by word.
    return _verdict(shown, f"{REASONING}|(reasoning|thinking)\\W+Let", call.stored)


def _tool_call(record: Record, case: str) -> str:
    call = record.call(case)
    calls = [it["function"] for message in call.answered for it in message.get("tool_calls", ())]
    shown = [it for it in calls if re.search(ARGUMENTS, it["arguments"])]
    return _verdict(shown, ARGUMENTS, call.stored)


def _tools_offered(record: Record) -> str:
    from mlflow.types.chat import ChatTool  # noqa: PLC0415  (seconds, and only here)

    call = record.call("tools")
    offered = call.attributes.get("mlflow.chat.tools") or []
    try:
        # Judges ask every tool for its function.
        valid = bool(offered) and all(ChatTool.model_validate(it).function for it in offered)
    except ValueError:
        valid = False
    return _verdict(valid, "Calculate the tip", call.stored)


def _tool_result(record: Record) -> str:
    call = record.call("tools", 1)
    shown = [message for message in call.asked if message["role"] == "tool"]
    result = [message for message in shown if message.get("content") == RESULT]
    return _verdict(result, RESULT.replace(".", r"\."), call.stored)


def _linked(record: Record) -> str:
    asked = record.call("tools", 1).asked
    calls = {call["id"] for message in asked for call in message.get("tool_calls", ())}
    answered = {message.get("tool_call_id") for message in asked if message["role"] == "tool"}
    return YES if calls and calls == answered else NO


def _tool_span(record: Record) -> str:
    spans = record.trace("tools").spans
    return next((f"{it.type} {it.name}" for it in spans if it.name.endswith("calculate_tip")), NO)


def _json(record: Record) -> str:
    call = record.call("JSON")
    shown = any(text.startswith('{"answer"') for text in _texts(call.answered))
    return _verdict(shown, r'"answer"', json.dumps(call.outputs).replace("\\", ""))


def _image(record: Record, case: str, data: bytes) -> str:
    call = record.call(case)
    blocks = [
        block
        for message in call.asked
        if isinstance(message.get("content"), list)
        for block in message["content"]
    ]
    urls = [block["image_url"]["url"] for block in blocks if block["type"] == "image_url"]
    if any(url.startswith(("data:", "mlflow-attachment:")) for url in urls):
        return "shown"
    if any("image/png" in text for text in _texts(call.asked)):
        return "named"
    return RAW if len(call.stored) > len(data) else NO


def _size(record: Record, case: str) -> str:
    size = record.trace(case).size
    return f"{size / 1000:.1f} kB" if size < 100_000 else f"{size / 1000:.0f} kB"  # noqa: PLR2004  (three digits)


def _embedded(record: Record) -> str:
    call = record.call("embed")
    shown = QUESTION in json.dumps(call.inputs, ensure_ascii=False)
    return _verdict(shown, re.escape(QUESTION), call.stored)


def _tokens(record: Record, case: str) -> str:
    usage = record.call(case).attributes.get("mlflow.chat.tokenUsage")
    return _sum(usage)


def _total(record: Record) -> str:
    return _sum(json.loads(record.trace("tools").metadata.get("mlflow.trace.tokenUsage", "null")))


def _sum(usage: Json | None) -> str:
    return f"{usage['input_tokens']} + {usage['output_tokens']}" if usage else NO


def _attribute(record: Record, key: str) -> str:
    return str(record.call("chat").attributes.get(key, NO))


def _cost(record: Record) -> str:
    cost = record.call("chat").attributes.get("mlflow.llm.cost")
    if cost is None:
        return "none"
    return f"${cost['total_cost']:.6f}" if cost["total_cost"] else "zero"


def _first_chunk(record: Record) -> str:
    call = record.call("stream")
    shown = any("time_to_first" in key for key in call.attributes)
    return _verdict(shown, "mlflow.chunk.item.0", call.stored)


def _durations(record: Record) -> str:
    call = record.call("chat")
    shown = any("load_duration" in key for key in call.attributes)
    return _verdict(shown, "load_duration", call.stored)


def _exception(record: Record) -> str:
    events = [told for name, told in record.call("error").events if name == "exception"]
    shown = [told for told in events if "not found" in str(told.get("exception.message"))]
    return YES if shown else NO


def _finish_reason(record: Record) -> str:
    call = record.call("length")
    choices = call.outputs.get("choices") if isinstance(call.outputs, dict) else None
    shown = choices and choices[0].get("finish_reason") == "length"
    return _verdict(shown, r'"length"', call.stored)


def _partial(record: Record) -> str:
    call = record.call("broken off")
    return _verdict(BROKEN_OFF in _texts(call.answered), BROKEN_OFF, call.stored)


def _found(record: Record, case: str, search: str) -> str:
    return YES if search in record.trace(case).found_by else NO


def _lines(record: Record) -> str:
    return str(record.lines)


def _settings(record: Record) -> str:
    return str(record.settings)


def _failed(record: Record) -> str:
    missing = {case for case in record.raised if case != "error"}
    return ", ".join(sorted(missing)) or "nothing"


@dataclass(frozen=True)
class Fact:
    """A row of the table.

    Attributes:
        label: what it says.
        read: gives the cell of a contender.
    """

    label: str
    read: Callable[[Record], str]

    def cell(self, record: Record) -> str:
        """Return the cell of a contender."""
        try:
            return self.read(record)
        except NoTraceError:
            return NO_TRACE


FACTS: Final[Mapping[str, Sequence[Fact]]] = {
    "The list of traces": (
        Fact("calls of a model that are there", _calls),
        Fact("traces that stay in progress for ever", _unfinished),
        Fact("name of a chat", _name),
        Fact("request preview is the question", partial(_preview, case="chat", text=QUESTION)),
        Fact(
            "response preview is the answer",
            partial(_preview, case="chat", text=ANSWER, response=True),
        ),
        Fact("preview of an embedding is its text", _embedding_preview),
        Fact("preview of a turn is the question", partial(_preview, case="tools", text=TIP)),
        Fact("session and user", _session),
        Fact("tokens of a tool loop, in all", _total),
        Fact("state of a call that failed", partial(_state, case="error")),
        Fact("state of a stream that was broken off", partial(_state, case="broken off")),
    ),
    "A chat": (
        Fact("type of the span", partial(_type, case="chat")),
        Fact("status of a chat, of a streamed one", _status),
        Fact("question as a bubble", partial(_question, case="chat")),
        Fact("system message as a bubble", _system),
        Fact("answer as a bubble", partial(_answer, case="chat")),
        Fact("answer of a stream as a bubble", partial(_answer, case="stream")),
        Fact("options (seed)", partial(_asked_for, case="chat", pattern=r"seed\W+7\b")),
        Fact(
            "option of Ollama (num_ctx)",
            partial(_asked_for, case="chat", pattern=r"num_ctx\W+2048"),
        ),
        Fact("reasoning", partial(_reasoning, case="thinking")),
        Fact("reasoning of a stream", partial(_reasoning, case="thinking stream")),
        Fact("JSON answer", _json),
        Fact(
            "JSON schema that was asked for",
            partial(_asked_for, case="JSON", pattern=r"answer\W+type\W+string"),
        ),
        Fact("finish reason of an answer cut short", _finish_reason),
        Fact("text so far of a stream that was broken off", _partial),
        Fact("exception of a call that failed", _exception),
    ),
    "Tools": (
        Fact("tool loop is one tree", _tree),
        Fact("tools on offer, as judges need them", _tools_offered),
        Fact("tool call", partial(_tool_call, case="tools")),
        Fact("tool call of a stream", partial(_tool_call, case="tools stream")),
        Fact("tool result as a bubble", _tool_result),
        Fact("tool result linked to its call", _linked),
        Fact("type and name of the tool's own span", _tool_span),
    ),
    "Images": (
        Fact("image of 5 kB", partial(_image, case="icon", data=ICON)),
        Fact("stored for it", partial(_size, case="icon")),
        Fact("image of 350 kB", partial(_image, case="photo", data=PHOTO)),
        Fact("stored for it", partial(_size, case="photo")),
    ),
    "Other calls": (
        Fact("type of generate", partial(_type, case="generate")),
        Fact("question of generate as a bubble", partial(_question, case="generate")),
        Fact("type of embed", partial(_type, case="embed")),
        Fact("text of embed", _embedded),
    ),
    "Numbers": (
        Fact("tokens of a chat", partial(_tokens, case="chat")),
        Fact("tokens of a stream", partial(_tokens, case="stream")),
        Fact("tokens of generate", partial(_tokens, case="generate")),
        Fact("tokens of embed", partial(_tokens, case="embed")),
        Fact("model", partial(_attribute, key="mlflow.llm.model")),
        Fact("provider", partial(_attribute, key="mlflow.llm.provider")),
        Fact("cost of a chat with the local model", _cost),
        Fact("time to the first chunk", _first_chunk),
        Fact("Ollama's own durations", _durations),
    ),
    "Search": (
        Fact("a chat by its span type", partial(_found, case="chat", search="type")),
        Fact("a chat by the trace's name", partial(_found, case="chat", search="name")),
        Fact("a call that failed by its status", partial(_found, case="error", search="error")),
        Fact("a session's calls", partial(_found, case="session", search="session")),
        Fact("a tool by its name", partial(_found, case="tools", search="tool")),
    ),
    "What it takes": (
        Fact("lines of code", _lines),
        Fact("environment variables", _settings),
        Fact("stored for a chat", partial(_size, case="chat")),
        Fact("stored for a streamed chat", partial(_size, case="stream")),
        Fact("calls that failed for the application", _failed),
    ),
}
