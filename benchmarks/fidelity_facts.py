"""What a person looks for in a trace, each read from what MLflow stored.

A fact is a function from the record of one contender to a cell. ``FACTS`` is the table's rows.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from environments import ROOT
from fidelity_traces import Json, NoTraceError, Record, texts

sys.path.append(str(ROOT / "benchmarks" / "workload"))

from diary import ICON, PHOTO, QUESTION, SESSION, SYSTEM, TIP, USER

YES: Final = "yes"
TEXT: Final = "text"
RAW: Final = "raw"
NO: Final = "no"
NO_TRACE: Final = "no trace"
"""What a cell says of something; docs/comparison.md explains it."""

CALLS: Final = 17
"""Calls of a model in the workload: one in each case, two in a tool loop."""

ARGUMENTS: Final = r"bill_amount\W+187\.32"
RESULT: Final = "41.21"


def _verdict(shown: object, pattern: str, stored: str) -> str:
    if shown:
        return YES
    return RAW if re.search(pattern, stored) else NO


def _told(messages: Sequence[Json], value: Any, text: str, stored: str) -> str:
    """Say how the page shows a text: as a message, as a text by itself, or among other things."""
    fields = list(value.values()) if isinstance(value, dict) else [value]
    if text in fields and not messages:
        return TEXT
    # MLflow takes an answer in JSON apart, and spaces it in its own way.
    return _verdict(text in texts(messages), re.escape(_squeezed(text)), _squeezed(stored))


def _squeezed(text: str) -> str:
    return "".join(text.split())


# Rows ---------------------------------------------------------------------------------------


def _calls(record: Record) -> str:
    found = [span for of in record.traces.values() for trace in of for span in trace.calls]
    return f"{len(found)} of {CALLS}"


def _unfinished(record: Record) -> str:
    states = [trace.state for of in record.traces.values() for trace in of]
    return str(states.count("IN_PROGRESS"))


def _name(record: Record) -> str:
    return record.trace("chat").name or NO


def _request(record: Record, case: str, text: str) -> str:
    preview = record.trace(case).request or ""
    return _verdict(preview == text, re.escape(text), preview)


def _response(record: Record, case: str) -> str:
    preview, text = record.trace(case).response or "", record.answer(case)
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
    return _told(call.asked, call.inputs, QUESTION, call.stored)


def _system(record: Record) -> str:
    call = record.call("chat")
    system = [message for message in call.asked if message["role"] == "system"]
    return _told(system, call.inputs, SYSTEM, call.stored)


def _answer(record: Record, case: str) -> str:
    call = record.call(case)
    return _told(call.answered, call.outputs, record.answer(case), call.stored)


def _asked_for(record: Record, case: str, pattern: str) -> str:
    call = record.call(case)
    inputs = json.dumps(call.inputs, ensure_ascii=False).replace("\\", "")
    return _verdict(re.search(pattern, inputs), pattern, call.stored)


def _reasoning(record: Record, case: str) -> str:
    call, thinking = record.call(case), record.thinking(case)
    shown = any(message.get("reasoning") == thinking for message in call.answered)
    # A stream's chunks hold it word by word.
    word = re.escape(thinking.split()[0])
    return _verdict(shown, f"(reasoning|thinking)\\W+{word}", call.stored)


def _tool_call(record: Record, case: str) -> str:
    call = record.call(case)
    calls = [it["function"] for message in call.answered for it in message.get("tool_calls", ())]
    shown = [it for it in calls if re.search(ARGUMENTS, it["arguments"])]
    return _verdict(shown, ARGUMENTS, call.stored)


def _tools_offered(record: Record) -> str:
    call = record.call("tools")
    from mlflow.types.chat import ChatTool  # noqa: PLC0415  (takes seconds)

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
    if any("image/png" in text for text in texts(call.asked)):
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
        Fact("request preview is the question", partial(_request, case="chat", text=QUESTION)),
        Fact("response preview is the answer", partial(_response, case="chat")),
        Fact("preview of an embedding is its text", _embedding_preview),
        Fact("preview of a turn is the question", partial(_request, case="tools", text=TIP)),
        Fact("session and user", _session),
        Fact("tokens of a tool loop, in all", _total),
        Fact("state of a call that failed", partial(_state, case="error")),
        Fact("state of a stream that was broken off", partial(_state, case="broken off")),
    ),
    "A chat": (
        Fact("type of the span", partial(_type, case="chat")),
        Fact("status of a chat, of a streamed one", _status),
        Fact("question", partial(_question, case="chat")),
        Fact("system message", _system),
        Fact("answer", partial(_answer, case="chat")),
        Fact("answer of a stream", partial(_answer, case="stream")),
        Fact("options (seed)", partial(_asked_for, case="chat", pattern=r"seed\W+7\b")),
        Fact(
            "option of Ollama (num_ctx)",
            partial(_asked_for, case="chat", pattern=r"num_ctx\W+2048"),
        ),
        Fact("reasoning", partial(_reasoning, case="thinking")),
        Fact("reasoning of a stream", partial(_reasoning, case="thinking stream")),
        Fact("JSON answer", partial(_answer, case="JSON")),
        Fact(
            "JSON schema that was asked for",
            partial(_asked_for, case="JSON", pattern=r"answer\W+type\W+string"),
        ),
        Fact("finish reason of an answer cut short", _finish_reason),
        Fact("text so far of a stream that was broken off", partial(_answer, case="broken off")),
        Fact("exception of a call that failed", _exception),
    ),
    "Tools": (
        Fact("tool loop is one tree", _tree),
        Fact("tools on offer, as judges need them", _tools_offered),
        Fact("tool call", partial(_tool_call, case="tools")),
        Fact("tool call of a stream", partial(_tool_call, case="tools stream")),
        Fact("tool result", _tool_result),
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
        Fact("question of generate", partial(_question, case="generate")),
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
