"""Plain text for the columns Request and Response of MLflow's list of traces.

MLflow takes them from the inputs and outputs of a trace's first span: the text of the last message
of the user, and of the answer. Where that has no text, the column shows the document as raw JSON;
here it is given one.

Source: https://github.com/mlflow/mlflow/blob/v3.17.2/mlflow/tracing/utils/truncation.py
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

Document = dict[str, Any]

_NOTHING: Final = "[no answer]"


def with_request_preview(inputs: object) -> object:
    """Return the inputs of a trace's first span with a text that MLflow finds.

    Args:
        inputs: the document that becomes ``mlflow.spanInputs``.
    """
    if not isinstance(inputs, dict):
        return inputs
    if "messages" not in inputs:
        asked = inputs.get("input")
        return (
            inputs if asked is None else {**inputs, "messages": [_message("user", _joined(asked))]}
        )
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
    if "choices" in outputs:
        text = _answer_text(outputs["choices"])
    else:
        text = f"{outputs['dimensions']} dimensions" if "dimensions" in outputs else None
    return outputs if text is None else {**outputs, "messages": [_message("assistant", text)]}


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
            f"{call['function']['name']}({call['function']['arguments']})" for call in calls
        )
    reason = choices[0].get("finish_reason")
    return (
        message.get("reasoning") or _names(content or ()) or (f"[{reason}]" if reason else _NOTHING)
    )


def _last_of_user(messages: Sequence[Document]) -> Document | None:
    if not messages:
        return None
    return next((each for each in reversed(messages) if each["role"] == "user"), messages[-1])


def _has_text(blocks: Sequence[Document]) -> bool:
    return any(block["type"] == "text" and block["text"] for block in blocks)


def _names(blocks: Sequence[Mapping[str, Any]]) -> str:
    return " ".join(f"[{block['type'].removesuffix('_url')}]" for block in blocks)


def _joined(asked: object) -> str:
    return "\n".join(map(str, asked)) if isinstance(asked, list | tuple) else str(asked)


def _message(role: str, content: str) -> Document:
    return {"role": role, "content": content}
