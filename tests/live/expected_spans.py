"""The spans of apps/conversation.py as OpenTelemetry's GenAI conventions have them."""

from __future__ import annotations

from typing import Any

from opentelemetry.semconv.schemas import Schemas

import ollama_otel

Attributes = dict[str, Any]

SKY = "Why is the sky blue?"
BECAUSE = "The sky is blue because air scatters light."
NOT_FOUND = "model 'nope' not found (status code: 404)"
TIP = "What is the tip for a $187.32 bill with a 22% tip?"
PARAMETERS = {
    "type": "object",
    "required": ["bill_amount", "tip_percentage"],
    "properties": {
        "bill_amount": {"type": "number", "description": "The total bill amount"},
        "tip_percentage": {
            "type": "integer",
            "description": "The percentage to give, as a whole number",
        },
    },
}
TOOLS = [
    {
        "type": "function",
        "name": "calculate_tip",
        "description": "Calculate the tip.",
        "parameters": PARAMETERS,
    }
]
TOOL_CALL = {
    "type": "tool_call",
    "id": "call_0",
    "name": "calculate_tip",
    "arguments": {"bill_amount": 187.32, "tip_percentage": 22},
}


def conversation(port: int | None) -> list[Attributes]:
    """Return every span of the application, in the order of its calls.

    Args:
        port: where the Ollama server listens.
    """
    return [
        chat_span(
            port,
            {
                "gen_ai.request.temperature": 0.0,
                "gen_ai.request.top_p": 0.9,
                "gen_ai.request.top_k": 40,
                "gen_ai.request.max_tokens": 64,
                "gen_ai.request.stop_sequences": ["STOP"],
                "gen_ai.request.seed": 7,
                "gen_ai.request.reasoning.level": "false",
                "gen_ai.response.model": "scripted",
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.usage.input_tokens": 40,
                "gen_ai.usage.output_tokens": 10,
                "gen_ai.input.messages": [
                    message("system", text("Be brief.")),
                    message("user", text(SKY)),
                ],
                "gen_ai.output.messages": [answer(text(BECAUSE))],
            },
        ),
        _sky_streamed(port),
        chat_span(
            port,
            {
                "gen_ai.request.reasoning.level": "true",
                "gen_ai.response.model": "scripted",
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.usage.input_tokens": 21,
                "gen_ai.usage.output_tokens": 12,
                "gen_ai.input.messages": [message("user", text(SKY))],
                "gen_ai.output.messages": [
                    answer(
                        {"type": "reasoning", "content": "Let me reason about it"},
                        text("Blue wave wins!"),
                    )
                ],
            },
        ),
        chat_span(
            port,
            {
                "gen_ai.request.reasoning.level": "false",
                "gen_ai.response.model": "scripted",
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.usage.input_tokens": 63,
                "gen_ai.usage.output_tokens": 6,
                "gen_ai.tool.definitions": TOOLS,
                "gen_ai.input.messages": [message("user", text(TIP))],
                "gen_ai.output.messages": [answer(TOOL_CALL)],
            },
        ),
        chat_span(
            port,
            {
                "gen_ai.request.reasoning.level": "false",
                "gen_ai.response.model": "scripted",
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.usage.input_tokens": 142,
                "gen_ai.usage.output_tokens": 8,
                "gen_ai.tool.definitions": TOOLS,
                "gen_ai.input.messages": [
                    message("user", text(TIP)),
                    message("assistant", TOOL_CALL),
                    message(
                        "tool",
                        {"type": "tool_call_response", "id": "call_0", "response": "41.21"},
                    ),
                ],
                "gen_ai.output.messages": [answer(text("Your tip comes to $41.21.\n"))],
            },
        ),
        chat_span(
            port,
            {
                "gen_ai.request.max_tokens": 60,
                "gen_ai.request.reasoning.level": "false",
                "gen_ai.output.type": "json",
                "gen_ai.response.model": "scripted",
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.usage.input_tokens": 21,
                "gen_ai.usage.output_tokens": 20,
                "gen_ai.input.messages": [message("user", text(SKY))],
                "gen_ai.output.messages": [answer(text('{"answer":"","n":1}'))],
            },
        ),
        chat_span(
            port,
            {
                "gen_ai.request.max_tokens": 5,
                "gen_ai.request.reasoning.level": "false",
                "gen_ai.response.model": "scripted",
                "gen_ai.response.finish_reasons": ["length"],
                "gen_ai.usage.input_tokens": 12,
                "gen_ai.usage.output_tokens": 5,
                "gen_ai.input.messages": [message("user", text("loop"))],
                "gen_ai.output.messages": [
                    answer(text("la lala lalalala lala"), finish_reason="length")
                ],
            },
        ),
        chat_span(
            port,
            {
                "gen_ai.request.model": "nope",
                "gen_ai.input.messages": [message("user", text(SKY))],
                "error.type": "404",
            },
        )
        | {
            "name": "chat nope",
            "status": ("ERROR", NOT_FOUND),
            "events": [exception("ollama.ResponseError", NOT_FOUND)],
        },
        chat_span(
            port,
            {
                "gen_ai.request.reasoning.level": "false",
                "gen_ai.response.model": "scripted",
                "gen_ai.response.finish_reasons": ["stop"],
                "gen_ai.usage.input_tokens": 21,
                "gen_ai.usage.output_tokens": 10,
                "gen_ai.input.messages": [message("user", text(SKY))],
                "gen_ai.output.messages": [answer(text(BECAUSE))],
            },
        ),
        _sky_streamed(port),
    ]


def _sky_streamed(port: int | None) -> Attributes:
    return chat_span(
        port,
        {
            "gen_ai.request.stream": True,
            "gen_ai.request.reasoning.level": "false",
            "gen_ai.response.model": "scripted",
            "gen_ai.response.finish_reasons": ["stop"],
            "gen_ai.response.time_to_first_chunk": "<seconds>",
            "gen_ai.usage.input_tokens": 21,
            "gen_ai.usage.output_tokens": 10,
            "gen_ai.input.messages": [message("user", text(SKY))],
            "gen_ai.output.messages": [answer(text(BECAUSE))],
        },
    )


def chat_span(port: int | None, attributes: Attributes) -> Attributes:
    """Return the span of a chat with the given attributes beside those that every chat has.

    Args:
        port: where the Ollama server listens.
        attributes: those that this chat has besides, or instead.
    """
    asked = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "ollama",
        "gen_ai.request.model": "scripted",
        "server.address": "127.0.0.1",
        "server.port": port,
    }
    return {
        "scope": {
            "name": "ollama_otel",
            "version": ollama_otel.__version__,
            "schemaUrl": Schemas.V1_37_0.value,
        },
        "name": "chat scripted",
        "kind": "CLIENT",
        "parent": None,
        "status": ("UNSET", ""),
        "attributes": asked | attributes,
        "events": [],
    }


def exception(kind: str, message: str) -> Attributes:
    """Return the event that says why a call failed."""
    return {
        "name": "exception",
        "attributes": {
            "exception.type": kind,
            "exception.message": message,
            "exception.stacktrace": "<stack>",
        },
    }


def message(role: str, *parts: Attributes) -> Attributes:
    """Return one of a request's messages."""
    return {"role": role, "name": None, "parts": list(parts)}


def answer(*parts: Attributes, finish_reason: str | None = "stop") -> Attributes:
    """Return the message of an answer."""
    return message("assistant", *parts) | {"finish_reason": finish_reason}


def text(content: str) -> Attributes:
    """Return the part of a message that is a text."""
    return {"type": "text", "content": content}
