"""Tool definitions as MLflow's pages and judges take them.

The judges validate every tool against ``mlflow.types.chat.ChatTool``; the page shows the tools
all or nothing, and takes a property's type only as one word.
"""

from collections.abc import Mapping
from typing import Any, Final

from ollama_otel.mlflow._json import decode_mended

_TYPES: Final = ("string", "number", "integer", "object", "array", "boolean")
_MAX_DEPTH: Final = 16


def chat_tools(value: object) -> list[dict[str, Any]]:
    """Return ``gen_ai.tool.definitions`` as ChatTool objects; what has no name is left out.

    Args:
        value: the attribute: JSON text, or what it decodes to. Definitions are flat (the
            conventions) or nested under ``function`` (OpenAI).
    """
    decoded = decode_mended(value)
    if not isinstance(decoded, list | tuple):
        return []
    return [tool for item in decoded if (tool := _chat_tool(item))]


def _chat_tool(item: object) -> dict[str, Any] | None:
    nested = item.get("function") if isinstance(item, Mapping) else None
    definition = nested if isinstance(nested, Mapping) else item
    if not isinstance(definition, Mapping) or not isinstance(definition.get("name"), str):
        return None
    function: dict[str, Any] = {"name": definition["name"]}
    if isinstance(description := definition.get("description"), str):
        function["description"] = description
    if isinstance(parameters := definition.get("parameters"), Mapping):
        function["parameters"] = _parameters(parameters)
    return {"type": "function", "function": function}


def _parameters(schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = schema.get("properties")
    required = schema.get("required")
    parameters: dict[str, Any] = {
        **schema,
        "type": "object",
        "properties": {
            name: _property(item, _MAX_DEPTH)
            for name, item in (properties.items() if isinstance(properties, Mapping) else ())
        },
        "required": [name for name in required if isinstance(name, str)]
        if isinstance(required, list | tuple)
        else None,
    }
    if not isinstance(schema.get("additionalProperties"), bool):
        parameters["additionalProperties"] = None
    return {key: value for key, value in parameters.items() if value is not None}


def _property(schema: object, depth: int) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        return {}
    checked: dict[str, Any] = {**schema, "type": _type(schema.get("type"))}
    if not isinstance(schema.get("description"), str):
        checked["description"] = None
    checked["enum"] = _enum(schema.get("enum"))
    items = schema.get("items")
    checked["items"] = _property(items, depth - 1) if isinstance(items, Mapping) and depth else None
    return {key: value for key, value in checked.items() if value is not None}


def _type(value: object) -> str | None:
    candidates = value if isinstance(value, list | tuple) else [value]
    return next((item for item in candidates if item in _TYPES), None)


def _enum(value: object) -> list[Any] | None:
    if not isinstance(value, list | tuple):
        return None
    return [item for item in value if isinstance(item, str | int | float)] or None
