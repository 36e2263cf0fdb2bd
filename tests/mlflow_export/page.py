"""What MLflow's trace page demands of messages and tools before it draws them.

Told after ModelTraceExplorer.utils.tsx of MLflow 3.17: a list of messages is drawn as a
conversation all or nothing, and so is a list of tools.
"""

from typing import Any

ROLES = ("user", "assistant", "system", "tool")


def draws_message(message: Any) -> bool:
    """Whether the page takes a message of a conversation."""
    return (
        isinstance(message, dict)
        and message.get("role") in ROLES
        and _content(message.get("content"))
        and all(_call(call) for call in message.get("tool_calls", ()))
        and isinstance(message.get("tool_call_id", ""), str)
        and isinstance(message.get("reasoning", ""), str)
    )


def draws_tool(tool: Any) -> bool:
    """Whether the page takes a tool on offer."""
    parameters = tool["function"].get("parameters") or {}
    return (
        tool["type"] == "function"
        and isinstance(tool["function"]["name"], str)
        and all(isinstance(name, str) for name in parameters.get("required") or ())
        and all(_property(item) for item in (parameters.get("properties") or {}).values())
    )


def _property(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and isinstance(item.get("type", ""), str)
        and isinstance(item.get("description", ""), str)
        and isinstance(item.get("enum", []), list)
    )


def _content(content: Any) -> bool:
    if content is None or isinstance(content, str):
        return True
    return isinstance(content, list) and all(_block(block) for block in content)


def _block(block: Any) -> bool:
    match block:
        case {"type": "text", "text": str()}:
            return True
        case {"type": "image_url", "image_url": {"url": str()}}:
            return True
        case {"type": "input_audio", "input_audio": {"data": str(), "format": "wav" | "mp3"}}:
            return True
    return False


def _call(call: Any) -> bool:
    match call:
        case {"id": str(), "function": {"name": str(), "arguments": str()}}:
            return True
    return False
