"""The columns Request and Response of MLflow's list are plain text, as MLflow itself reads them."""

import json
from typing import Any

import pytest

from mlflow_export.golden import OLLAMA, said, text
from ollama_otel.mlflow.translation import KINDS, translate_attributes

PNG = {"type": "blob", "modality": "image", "mime_type": "image/png", "content": "aWk="}
CALL = {"type": "tool_call", "id": "call_0", "name": "tip", "arguments": {"bill": 50}}
CHAT = {**OLLAMA, "gen_ai.operation.name": "chat"}
EMBED = {**OLLAMA, "gen_ai.operation.name": "embeddings"}
ASKED = {"gen_ai.input.messages": json.dumps([said("user", text("Tip for 50?"))])}


def previews(attributes: dict[str, Any]) -> tuple[str, str]:
    """What MLflow's own function makes of the first span of a trace."""
    from mlflow.tracing.utils.truncation import (  # noqa: PLC0415  (takes seconds)
        _get_truncated_preview,
    )

    told = translate_attributes(attributes, first=True)
    request, response = (told.get(f"mlflow.span{side}") for side in ("Inputs", "Outputs"))
    return (
        str(_get_truncated_preview(request, role="user")),
        str(_get_truncated_preview(response, role="assistant")),
    )


def answer(*parts: dict[str, Any], reason: str = "stop") -> dict[str, str]:
    """The attribute of an answer."""
    messages = [said("assistant", *parts, finish_reason=reason)]
    return {"gen_ai.output.messages": json.dumps(messages)}


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (CHAT | ASKED | answer(text("11.")), ("Tip for 50?", "11.")),
        (CHAT | ASKED | answer(CALL), ("Tip for 50?", 'tip({"bill": 50})')),
        (
            CHAT | ASKED | answer(CALL | {"arguments": {"b": 1, "a": "ü"}}),
            ("Tip for 50?", 'tip({"a": "ü", "b": 1})'),
        ),
        (CHAT | ASKED | answer(CALL | {"arguments": "{cut"}), ("Tip for 50?", "tip({cut)")),
        (
            CHAT | ASKED | answer(CALL, CALL | {"id": "call_1", "arguments": {"bill": 80}}),
            ("Tip for 50?", 'tip({"bill": 50}), tip({"bill": 80})'),
        ),
        (CHAT | ASKED | answer(text("One moment."), CALL), ("Tip for 50?", "One moment.")),
        (
            CHAT | ASKED | answer({"type": "reasoning", "content": "Well"}, reason="length"),
            ("Tip for 50?", "Well"),
        ),
        (CHAT | ASKED | answer(reason="load"), ("Tip for 50?", "[load]")),
        (CHAT | ASKED | answer(PNG), ("Tip for 50?", "[image]")),
        (CHAT | ASKED, ("Tip for 50?", "[no answer]")),
        (
            CHAT | {"gen_ai.input.messages": json.dumps([said("user", PNG)])} | answer(text("A.")),
            ("[image]", "A."),
        ),
        (
            CHAT
            | {"gen_ai.input.messages": json.dumps([said("user", text("What?"), PNG)])}
            | answer(text("A.")),
            ("What?", "A."),
        ),
        (CHAT, ("[content not captured]", "[content not captured]")),
        (
            EMBED | {"ollama.request.input": ("one",), "gen_ai.embeddings.dimension.count": 3},
            ("one", "3 dimensions"),
        ),
        (
            EMBED
            | {"ollama.request.input": ("one", "two"), "gen_ai.embeddings.dimension.count": 3},
            ("two", "2 vectors of 3 dimensions"),
        ),
        (EMBED, ("[content not captured]", "None")),
        (CHAT | ASKED | {"error.type": "404"}, ("Tip for 50?", "None")),
    ],
)
def test_a_trace_is_listed_in_plain_text(
    attributes: dict[str, Any], expected: tuple[str, str]
) -> None:
    """Whatever was asked and answered."""
    assert previews(attributes) == expected


@pytest.mark.parametrize("attributes", [CHAT | ASKED | answer(CALL), EMBED])
def test_only_the_first_span_of_a_trace_is_changed_for_it(attributes: dict[str, Any]) -> None:
    """The others say what was said, and no more."""
    first = translate_attributes(attributes, first=True)
    other = translate_attributes(attributes)

    changed = {name for name in first if first[name] != other[name]}
    assert changed <= {"mlflow.spanInputs", "mlflow.spanOutputs"}
    for name in changed:
        document = json.loads(first[name])
        document.pop("messages")
        assert document == json.loads(other[name])


@pytest.mark.parametrize("kind", KINDS)
def test_a_span_of_any_kind_may_be_the_first(kind: str) -> None:
    """With content and without."""
    content = ASKED | answer(CALL) | {"gen_ai.retrieval.documents": "[]"}

    for attributes in ({}, content):
        told = translate_attributes({"gen_ai.operation.name": kind, **attributes}, first=True)
        assert told["mlflow.spanType"] == KINDS[kind].span_type
