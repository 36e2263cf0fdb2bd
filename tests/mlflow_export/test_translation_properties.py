"""Whatever rides on a span, translation does not raise, does not lose, and does not dawdle."""

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext

from mlflow_export.golden import GOLDEN
from mlflow_export.page import draws_message, draws_tool
from ollama_otel.mlflow.translation import (
    KINDS,
    RULES,
    refused_attributes,
    translate_attributes,
)

NAMES = {name for rule in RULES for name in rule.reads} - {"gen_ai.operation.name"} | {
    "error.type",
    "session.id",
    "gen_ai.conversation.id",
    "gen_ai.tool.name",
    "other",
}
PART_TYPES = [
    "text",
    "reasoning",
    "tool_call",
    "tool_call_response",
    "server_tool_call",
    "server_tool_call_response",
    "blob",
    "uri",
    "file",
    "compaction",
    "other",
]
PART_KEYS = [
    "type",
    "content",
    "name",
    "id",
    "arguments",
    "response",
    "modality",
    "mime_type",
    "uri",
    "file_id",
    "result",
]
KEYS = [
    "role",
    "parts",
    "content",
    "name",
    "finish_reason",
    "function",
    "parameters",
    "properties",
    "required",
    "type",
]

texts = st.text(st.characters(), max_size=20) | st.sampled_from(PART_TYPES)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.just(10**400) | st.binary()
)
loose = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(KEYS + PART_KEYS) | texts, inner, max_size=5)
    ),
    max_leaves=20,
)
parts = st.fixed_dictionaries(
    {"type": st.sampled_from(PART_TYPES)},
    optional={key: loose for key in PART_KEYS if key != "type"},
)
messages = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "tool", "system"]) | loose},
        optional={"parts": st.lists(parts | loose, max_size=4) | loose, "name": loose},
    )
    | loose,
    max_size=4,
)


def _as_text(value: object) -> str:
    return json.dumps(value, default=repr)


@st.composite
def cut_texts(draw: st.DrawFn) -> str:
    """JSON text that a length limit cut."""
    text = _as_text(draw(messages | loose))
    return text[: draw(st.integers(0, len(text)))]


values = loose | messages | messages.map(_as_text) | loose.map(_as_text) | cut_texts()
operations = st.sampled_from(sorted(map(str, KINDS))) | texts


@st.composite
def attributes(draw: st.DrawFn) -> dict[str, Any]:
    """Attributes of a GenAI span, some of them what they should be."""
    names = st.sampled_from(sorted(NAMES))
    return {"gen_ai.operation.name": draw(operations)} | draw(
        st.dictionaries(names, values, max_size=5)
    )


@settings(max_examples=300, deadline=None)
@given(attributes())
def test_translation_takes_anything(span: dict[str, Any]) -> None:
    """It adds what MLflow reads, in texts that every reader takes, and keeps the rest."""
    translated = translate_attributes(span)
    added = {name: translated[name] for name in translated.keys() - span.keys()}

    assert span.keys() <= translated.keys()
    for name, value in added.items():
        assert isinstance(value, str | int | float), name
        if isinstance(value, str) and name != "mlflow.spanType":
            json.loads(value, parse_constant=pytest.fail)
    _check_page(added)
    _check_wire(added)


def _check_page(added: dict[str, Any]) -> None:
    tools = json.loads(added.get("mlflow.chat.tools", "[]"))
    assert all(draws_tool(tool) for tool in tools)
    if "mlflow.message.format" in added:
        request = json.loads(added["mlflow.spanInputs"])
        answer = json.loads(added.get("mlflow.spanOutputs", "{}"))
        assert all(draws_message(message) for message in request["messages"])
        assert all(draws_message(choice["message"]) for choice in answer.get("choices", ()))


def _check_wire(added: dict[str, Any]) -> None:
    context = SpanContext(trace_id=1, span_id=1, is_remote=False)
    span = ReadableSpan(name="s", context=context, attributes=added)
    sent = encode_spans([span]).resource_spans[0].scope_spans[0].spans[0]
    assert {pair.key for pair in sent.attributes} == set(added)


@given(st.dictionaries(texts, loose))
def test_spans_of_other_kinds_stay_the_same_object(span: dict[str, Any]) -> None:
    """Random attributes are no GenAI span."""
    assume(not refused_attributes(span))

    assert translate_attributes(span) is span


@pytest.mark.parametrize("case", GOLDEN)
def test_translating_twice_changes_nothing(case: str) -> None:
    """A span that went through one exporter may go through another."""
    once = translate_attributes(GOLDEN[case][0])

    assert translate_attributes(once) == once


def _results(count: int) -> str:
    part = {"type": "tool_call_response", "response": 1}
    return json.dumps([{"role": "tool", "parts": [part] * count}])


def _calls(count: int) -> str:
    call = {"type": "tool_call", "name": "f"}
    asked = {"role": "assistant", "parts": [call] * count}
    answered = {"role": "tool", "parts": [{"type": "tool_call_response", "id": "f"}] * count}
    return json.dumps([asked, answered])


HOSTILE = {
    "one long text": json.dumps([{"role": "user", "parts": ["x" * 3_000_000]}]),
    "cut in a long text": json.dumps([{"role": "user", "parts": ["x" * 3_000_000]}])[:-9],
    "open brackets": "[" * 1_000_000,
    "open brackets with commas": "[1," * 500_000,
    "brackets": "[]," * 500_000,
    "open braces": '{"a":' * 300_000,
    "quotes": '"' * 1_000_001,
    "backslashes": '["' + "\\" * 1_000_001,
    "half escapes": '["' + "\\u12" * 300_000,
    "many results": _results(20_000),
    "many calls": _calls(20_000),
    "many calls, cut": _calls(20_000)[:-5],
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize("shape", HOSTILE)
def test_megabytes_take_time_in_proportion(shape: str) -> None:
    """Were any step quadratic, these would take minutes and not the blink that they take."""
    translated = translate_attributes(
        {"gen_ai.operation.name": "chat", "gen_ai.input.messages": HOSTILE[shape]}
    )

    assert json.loads(translated["mlflow.spanInputs"])["messages"]
