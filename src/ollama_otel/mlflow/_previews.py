"""Plain text for the columns Request and Response of MLflow's list of traces.

MLflow takes them from the inputs and outputs of a trace's first span: the text of the last message
of the user, and of the answer. Where that has no text, the column shows the document as raw JSON;
here it is given one.

The documents may be anybody's: whatever is not as expected has no text, and nothing is raised.

Source: https://github.com/mlflow/mlflow/blob/v3.17.2/mlflow/tracing/utils/truncation.py
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ollama_otel.mlflow._json import encode, parse

Document = dict[str, Any]

_NOTHING: Final = "[no answer]"


def request_text(inputs: object) -> str | None:
    """Return the text of what was asked last; None where there is none.

    Args:
        inputs: a conversation's inputs, or an embedding's.
    """
    if not isinstance(inputs, Mapping):
        return None
    messages = list(_mappings(inputs.get("messages")))
    if not messages:
        texts = _texts(inputs.get("input"))
        return texts[-1] if texts else None
    asked = next((each for each in reversed(messages) if each.get("role") == "user"), messages[-1])
    return _text_of(asked.get("content")) or _names(asked.get("content")) or None


def response_text(outputs: object) -> str | None:
    """Return the text of an answer: what it says, else its tool calls, its reasoning, its end.

    Args:
        outputs: a conversation's outputs, or an embedding's.
    """
    if not isinstance(outputs, Mapping):
        return None
    if "choices" not in outputs:
        return _vectors(outputs)
    choice = next(_mappings(outputs["choices"]), None)
    if choice is None:
        return _NOTHING
    message = choice.get("message")
    return _answer(message, choice.get("finish_reason")) if isinstance(message, Mapping) else None


def with_request_preview(inputs: object) -> object:
    """Return the inputs of a trace's first span with a text that MLflow finds.

    Args:
        inputs: a conversation's inputs, or an embedding's.
    """
    if not isinstance(inputs, dict):
        return inputs
    if "messages" not in inputs:
        messages = [_message("user", text) for text in _texts(inputs.get("input"))]
        return {**inputs, "messages": messages} if messages else inputs
    messages = inputs["messages"]
    shown = next((each for each in reversed(messages) if each["role"] == "user"), messages[-1])
    content = shown["content"]
    if not isinstance(content, list) or _text_of(content):
        return inputs
    # A picture without a word.
    told = {**shown, "content": [*content, {"type": "text", "text": _names(content)}]}
    return {**inputs, "messages": [told if each is shown else each for each in messages]}


def with_response_preview(outputs: object) -> object:
    """Return the outputs of a trace's first span with a text that MLflow finds.

    Args:
        outputs: a conversation's outputs, or an embedding's.
    """
    if not isinstance(outputs, dict):
        return outputs
    text = response_text(outputs)
    has_own = any(
        _text_of(each["message"].get("content")) for each in outputs.get("choices", ())[:1]
    )
    if text is None or has_own:
        return outputs
    # The page shows messages instead of choices where it knows their role.
    role = "preview" if "choices" in outputs else "assistant"
    return {**outputs, "messages": [_message(role, text)]}


def _answer(message: Mapping[str, Any], finish_reason: object) -> str:
    if text := _text_of(message.get("content")):
        return text
    if calls := [_called(call) for call in _mappings(message.get("tool_calls"))]:
        return ", ".join(calls)
    reasoning = message.get("reasoning")
    if isinstance(reasoning, str) and reasoning:
        return reasoning
    reason = f"[{finish_reason}]" if isinstance(finish_reason, str) and finish_reason else _NOTHING
    return _names(message.get("content")) or reason


def _called(call: Mapping[str, Any]) -> str:
    function = call.get("function")
    if not isinstance(function, Mapping):
        return encode(call)
    return f"{function.get('name')}({_sorted(function.get('arguments'))})"


def _sorted(arguments: object) -> str:
    """Return arguments in one order: Ollama gives them in a new one every time."""
    if not isinstance(arguments, str):
        return encode(arguments)
    try:
        return json.dumps(parse(arguments), sort_keys=True, ensure_ascii=False)
    except (ValueError, RecursionError):
        return arguments


def _vectors(outputs: Mapping[str, Any]) -> str | None:
    dimensions, count = outputs.get("dimensions"), outputs.get("vectors", 1)
    if not isinstance(dimensions, int):
        return None
    size = f"{dimensions} dimensions"
    return size if count == 1 else f"{count} vectors of {size}"


def _text_of(content: object) -> str | None:
    if isinstance(content, str):
        return content or None
    blocks = (block.get("text") for block in _mappings(content))
    return next((text for text in blocks if isinstance(text, str) and text), None)


def _names(content: object) -> str:
    kinds = (block.get("type") for block in _mappings(content))
    return " ".join(f"[{kind.removesuffix('_url')}]" for kind in kinds if isinstance(kind, str))


def _texts(asked: object) -> list[str]:
    texts = asked if isinstance(asked, list | tuple) else [asked]
    return [text for text in texts if isinstance(text, str)]


def _mappings(items: object) -> Iterator[Mapping[str, Any]]:
    for item in items if isinstance(items, list | tuple) else ():
        if isinstance(item, Mapping):
            yield item


def _message(role: str, content: str) -> Document:
    return {"role": role, "content": content}
