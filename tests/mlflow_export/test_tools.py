"""Tools on offer: valid for the judges, drawn by the page."""

import json
from typing import Any

import pytest

from mlflow_export.page import draws_tool
from ollama_otel.mlflow._tools import chat_tools

Json = dict[str, Any]


def parameters(schema: object) -> Any:
    """What becomes of a tool's parameters, with both readers content."""
    from mlflow.types.chat import ChatTool  # noqa: PLC0415  (takes seconds)

    (tool,) = chat_tools([{"type": "function", "name": "f", "parameters": schema}])
    ChatTool(**tool)
    assert draws_tool(tool)
    return tool["function"].get("parameters")


def properties(**schemas: object) -> Any:
    """What becomes of a tool's properties."""
    return parameters({"type": "object", "properties": schemas})["properties"]


@pytest.mark.parametrize(
    ("schema", "kept"),
    [
        ({"type": "string", "description": "d"}, {"type": "string", "description": "d"}),
        ({"type": ["null", "integer"]}, {"type": "integer"}),
        ({"type": "null"}, {}),
        ({"type": "date"}, {}),
        ({"type": 7, "description": 7, "enum": 7, "items": 7}, {}),
        ({"enum": ["a", 1, None, {"b": 1}]}, {"enum": ["a", 1]}),
        ({"enum": [None]}, {}),
        (
            {"type": "array", "items": {"type": ["number", "null"]}},
            {"type": "array", "items": {"type": "number"}},
        ),
        ({"anyOf": [{"type": "string"}]}, {"anyOf": [{"type": "string"}]}),
        (True, {}),
    ],
    ids=str,
)
def test_a_property_is_kept_as_far_as_both_readers_take_it(schema: object, kept: Json) -> None:
    """One property that they do not take, and they drop the tool."""
    assert properties(p=schema) == {"p": kept}


@pytest.mark.parametrize(
    ("schema", "kept"),
    [
        ({}, {"type": "object", "properties": {}}),
        ({"type": "string", "properties": []}, {"type": "object", "properties": {}}),
        (
            {"required": ["a", 1], "additionalProperties": {}},
            {"type": "object", "properties": {}, "required": ["a"]},
        ),
        (
            {"required": "a", "additionalProperties": False},
            {"type": "object", "properties": {}, "additionalProperties": False},
        ),
        (None, None),
        ("text", None),
    ],
    ids=str,
)
def test_parameters_are_always_an_object_with_properties(schema: object, kept: object) -> None:
    """The judges require it."""
    assert parameters(schema) == kept


@pytest.mark.parametrize(
    "definitions",
    [
        [{"type": "function", "name": "f", "description": "d"}],
        [{"type": "function", "function": {"name": "f", "description": "d"}}],
        json.dumps([{"type": "function", "name": "f", "description": "d"}, {"name": None}, 7]),
        json.dumps([{"type": "function", "name": "f", "description": "d"}, {"name": "g"}])[:-9],
    ],
    ids=str,
)
def test_definitions_come_flat_nested_as_text_and_cut(definitions: object) -> None:
    """All that has a name is kept."""
    assert chat_tools(definitions)[0] == {
        "type": "function",
        "function": {"name": "f", "description": "d"},
    }


@pytest.mark.parametrize("value", [None, "", "no JSON", "{}", 7, [[]], [{}]], ids=repr)
def test_what_is_no_tool_is_left_out(value: object) -> None:
    """An empty offer is no offer."""
    assert chat_tools(value) == []


def test_a_schema_without_end_is_cut_off() -> None:
    """Deep enough for any tool, and no deeper than Python goes."""
    deep: Json = {"type": "string"}
    for _ in range(5_000):
        deep = {"type": "array", "items": deep}

    shown = json.dumps(properties(p=deep))

    assert shown.count("array") == 17
