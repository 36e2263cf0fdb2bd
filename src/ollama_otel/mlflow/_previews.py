"""Plain text for the columns Request and Response of MLflow's list of traces.

MLflow takes them from the inputs and outputs of a trace's first span: the text of the last message
of the user, and of the answer. Where that has no text, the column shows the document as raw JSON;
here it is given one.

Source: https://github.com/mlflow/mlflow/blob/v3.17.2/mlflow/tracing/utils/truncation.py
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

Document = dict[str, Any]

_NOTHING: Final = "[no answer]"


def request_text(inputs: object) -> str | None:
    """Return the text that MLflow shows of a span's inputs, if it would find one.

    Args:
        inputs: the document in ``mlflow.spanInputs``.
    """
    told = with_request_preview(inputs)
    if not isinstance(told, dict) or not isinstance(told.get("messages"), list):
        return None
    shown = _last_of_user(told["messages"])
    return None if shown is None else _text_of(shown.get("content"))


def response_text(outputs: object) -> str | None:
    """Return the text that MLflow shows of a span's outputs, if it would find one.

    Args:
        outputs: the document in ``mlflow.spanOutputs``.
    """
    told = with_response_preview(outputs)
    if not isinstance(told, dict):
        return None
    messages = told.get("messages") or [choice["message"] for choice in told.get("choices", ())]
    return _text_of(messages[0].get("content")) if messages else None


def with_request_preview(inputs: object) -> object:
    """Return the inputs of a trace's first span with a text that MLflow finds.

    Args:
        inputs: the document that becomes ``mlflow.spanInputs``.
    """
    if not isinstance(inputs, dict):
        return inputs
    if "messages" not in inputs:
        asked = inputs.get("input")
        texts = asked if isinstance(asked, list | tuple) else [asked]
        messages = [_message("user", text) for text in texts if isinstance(text, str)]
        return {**inputs, "messages": messages} if messages else inputs
    shown = _last_of_user(inputs["messages"])
    if shown is None or not isinstance(content := shown["content"], list) or _has_text(content):
        return inputs
    # A picture without a word.
    told = {**shown, "content": [*content, {"type": "text", "text": _names(content)}]}
    messages = [told if message is shown else message for message in inputs["messages"]]
    return {**inputs, "messages": messages}


def with_response_preview(outputs: object) -> object:
    """Return the outputs of a trace's first span with a text that MLflow finds.

    Args:
        outputs: the document that becomes ``mlflow.spanOutputs``.
    """
    if not isinstance(outputs, dict):
        return outputs
    text = _answer_text(outputs["choices"]) if "choices" in outputs else _vectors(outputs)
    if text is None:
        return outputs
    # The page shows messages instead of choices where it knows their role.
    role = "preview" if "choices" in outputs else "assistant"
    return {**outputs, "messages": [_message(role, text)]}


def _answer_text(choices: Sequence[Document]) -> str | None:
    """Return what an answer without a text says; None for one that has a text."""
    if not choices:
        return _NOTHING
    message = choices[0]["message"]
    content = message.get("content")
    if content and (isinstance(content, str) or _has_text(content)):
        return None
    if calls := message.get("tool_calls"):
        return ", ".join(
            f"{call['function']['name']}({_sorted(call['function']['arguments'])})"
            for call in calls
        )
    reason = choices[0].get("finish_reason")
    return (
        message.get("reasoning") or _names(content or ()) or (f"[{reason}]" if reason else _NOTHING)
    )


def _sorted(arguments: str) -> str:
    """Return arguments in one order: Ollama gives them in a new one every time."""
    try:
        return json.dumps(json.loads(arguments), sort_keys=True, ensure_ascii=False)
    except ValueError:
        return arguments


def _last_of_user(messages: Sequence[Document]) -> Document | None:
    if not messages:
        return None
    return next((each for each in reversed(messages) if each["role"] == "user"), messages[-1])


def _text_of(content: object) -> str | None:
    if isinstance(content, str):
        return content or None
    blocks = content if isinstance(content, list) else []
    return next((block["text"] for block in blocks if block.get("text")), None)


def _has_text(blocks: Sequence[Document]) -> bool:
    return any(block["type"] == "text" and block["text"] for block in blocks)


def _names(blocks: Sequence[Mapping[str, Any]]) -> str:
    return " ".join(f"[{block['type'].removesuffix('_url')}]" for block in blocks)


def _vectors(outputs: Document) -> str | None:
    if "dimensions" not in outputs:
        return None
    size = f"{outputs['dimensions']} dimensions"
    count = outputs.get("vectors", 1)
    return size if count == 1 else f"{count} vectors of {size}"


def _message(role: str, content: str) -> Document:
    return {"role": role, "content": content}
