"""The traces of apps/conversation.py as MLflow stores them, whichever road they took.

Each keeps the span of expected_spans.py as it is; what MLflow adds is told here.
"""

from __future__ import annotations

import json
from typing import Any

from . import expected_spans
from .expected_spans import BECAUSE, PARAMETERS, SKY, TIP

Values = dict[str, Any]

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "calculate_tip",
            "description": "Calculate the tip.",
            "parameters": PARAMETERS,
        },
    }
]
TOOL_CALL = {
    "id": "call_0",
    "type": "function",
    "function": {
        "name": "calculate_tip",
        "arguments": '{"bill_amount": 187.32, "tip_percentage": 22}',
    },
}
# What MLflow keeps of the resource, and what opentelemetry-instrument adds to it.
RESOURCE = {"service.name": "unknown_service:python", "service.instance.id": "<uuid>"}
LAUNCHED = RESOURCE | {"telemetry.auto.version": "<version>"}

# What only spans on their way to MLflow tell.
DURATIONS = {
    f"ollama.response.{name}_duration": "<seconds>"
    for name in ("total", "load", "prompt_eval", "eval")
}

FREE = {"input_cost": 0.0, "output_cost": 0.0, "total_cost": 0.0}


def choices(finish_reason: str | None, **message: Any) -> Values:
    """Return an answer in OpenAI's shape."""
    answer = {"role": "assistant", **message}
    return {"choices": [{"index": 0, "finish_reason": finish_reason, "message": answer}]}


def _usage(read: int, written: int) -> Values:
    return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}


SKY_STREAMED = {
    "request_preview": SKY,
    "response_preview": BECAUSE,
    "usage": _usage(21, 10),
    "attributes": {
        "mlflow.spanInputs": {
            "model": "scripted",
            "messages": [{"role": "user", "content": SKY}],
            "stream": True,
            "reasoning_effort": "false",
        },
        "mlflow.spanOutputs": choices("stop", content=BECAUSE),
    },
}
TOLD: list[Values] = [
    {
        "request_preview": SKY,
        "response_preview": BECAUSE,
        "usage": _usage(40, 10),
        "attributes": {
            "mlflow.spanInputs": {
                "model": "scripted",
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": SKY},
                ],
                "temperature": 0.0,
                "top_p": 0.9,
                "top_k": 40,
                "max_tokens": 64,
                "stop": ["STOP"],
                "seed": 7,
                "reasoning_effort": "false",
            },
            "mlflow.spanOutputs": choices("stop", content=BECAUSE),
        },
    },
    SKY_STREAMED,
    {
        "request_preview": SKY,
        "response_preview": "Blue wave wins!",
        "usage": _usage(21, 12),
        "attributes": {
            "mlflow.spanInputs": {
                "model": "scripted",
                "messages": [{"role": "user", "content": SKY}],
                "reasoning_effort": "true",
            },
            "mlflow.spanOutputs": choices(
                "stop", content="Blue wave wins!", reasoning="Let me reason about it"
            ),
        },
    },
    {
        "request_preview": TIP,
        "response_preview": json.dumps(choices("stop", content=None, tool_calls=[TOOL_CALL])),
        "usage": _usage(63, 6),
        "attributes": {
            "mlflow.spanInputs": {
                "model": "scripted",
                "messages": [{"role": "user", "content": TIP}],
                "reasoning_effort": "false",
            },
            "mlflow.spanOutputs": choices("stop", content=None, tool_calls=[TOOL_CALL]),
            "mlflow.chat.tools": TOOLS,
        },
    },
    {
        "request_preview": TIP,
        "response_preview": "Your tip comes to $41.21.\n",
        "usage": _usage(142, 8),
        "attributes": {
            "mlflow.spanInputs": {
                "model": "scripted",
                "messages": [
                    {"role": "user", "content": TIP},
                    {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
                    {"role": "tool", "content": "41.21", "tool_call_id": "call_0"},
                ],
                "reasoning_effort": "false",
            },
            "mlflow.spanOutputs": choices("stop", content="Your tip comes to $41.21.\n"),
            "mlflow.chat.tools": TOOLS,
        },
    },
    {
        "request_preview": SKY,
        "response_preview": '{"answer":"","n":1}',
        "usage": _usage(21, 20),
        "attributes": {
            "mlflow.spanInputs": {
                "model": "scripted",
                "messages": [{"role": "user", "content": SKY}],
                "max_tokens": 60,
                "output_type": "json",
                "reasoning_effort": "false",
            },
            "mlflow.spanOutputs": choices("stop", content='{"answer":"","n":1}'),
        },
    },
    {
        "request_preview": "loop",
        "response_preview": "la lala lalalala lala",
        "usage": _usage(12, 5),
        "attributes": {
            "mlflow.spanInputs": {
                "model": "scripted",
                "messages": [{"role": "user", "content": "loop"}],
                "max_tokens": 5,
                "reasoning_effort": "false",
            },
            "mlflow.spanOutputs": choices("length", content="la lala lalalala lala"),
        },
    },
    {
        "request_preview": SKY,
        "response_preview": None,
        "attributes": {
            "mlflow.spanInputs": {
                "model": "nope",
                "messages": [{"role": "user", "content": SKY}],
            },
        },
    },
    {
        "request_preview": SKY,
        "response_preview": BECAUSE,
        "usage": _usage(21, 10),
        "attributes": {
            "mlflow.spanInputs": {
                "model": "scripted",
                "messages": [{"role": "user", "content": SKY}],
                "reasoning_effort": "false",
            },
            "mlflow.spanOutputs": choices("stop", content=BECAUSE),
        },
    },
    SKY_STREAMED,
]


def conversation(port: int | None, resource: Values) -> list[Values]:
    """Return every trace of the application, in the order of its calls.

    Args:
        port: where the Ollama server listens.
        resource: the resource attributes that MLflow keeps as tags.
    """
    spans = expected_spans.conversation(port)
    return [chat_trace(span, resource, told) for span, told in zip(spans, TOLD, strict=True)]


def chat_trace(span: Values, resource: Values, told: Values) -> Values:
    """Return the trace of a chat.

    Args:
        span: the chat's only span, as in expected_spans.py.
        resource: the resource attributes that MLflow keeps as tags.
        told: the previews, the usage, and what MLflow adds to the span's attributes.
    """
    failed = span["status"][0] == "ERROR"
    usage = told.get("usage")
    return {
        "state": "ERROR" if failed else "OK",
        "request_preview": told["request_preview"],
        "response_preview": told["response_preview"],
        "tags": {
            "mlflow.artifactLocation": "<artifact location>",
            "mlflow.trace.spansLocation": "TRACKING_STORE",
            "mlflow.traceName": span["name"],
            **resource,
        },
        "metadata": {}
        if usage is None
        else {"mlflow.trace.tokenUsage": json.dumps(usage), "mlflow.trace.cost": json.dumps(FREE)},
        "spans": [
            {
                "name": span["name"],
                "parent": None,
                "type": "CHAT_MODEL",
                "status": span["status"] if failed else ("OK", ""),
                "attributes": span["attributes"] | _common(span, usage) | told["attributes"],
                "events": span["events"],
            }
        ],
    }


def _common(span: Values, usage: Values | None) -> Values:
    counted = {"mlflow.chat.tokenUsage": usage, "mlflow.llm.cost": FREE}
    return {
        "mlflow.spanType": "CHAT_MODEL",
        "mlflow.spanLogLevel": 20,
        "mlflow.message.format": "openai",
        "mlflow.llm.model": span["attributes"]["gen_ai.request.model"],
        "mlflow.llm.provider": "ollama",
        "mlflow.traceRequestId": "<trace id>",
        "mlflow.traceTag.mlflow.traceName": span["name"],
        **({} if usage is None else counted | DURATIONS),
    }
