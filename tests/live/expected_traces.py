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
TIP_CALL = 'calculate_tip({"bill_amount": 187.32, "tip_percentage": 22})'
# What MLflow keeps of the resource, and what opentelemetry-instrument adds to it.
RESOURCE = {"service.name": "unknown_service:python", "service.instance.id": "<uuid>"}
LAUNCHED = RESOURCE | {"telemetry.auto.version": "<version>"}

SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["answer", "n"],
}
# What only spans on their way to MLflow tell.
DURATIONS = {
    f"ollama.response.{name}_duration": "<seconds>"
    for name in ("total", "load", "prompt_eval", "eval")
}

FREE = {"input_cost": 0.0, "output_cost": 0.0, "total_cost": 0.0}


def choices(finish_reason: str | None, **message: Any) -> Values:
    """Return an answer in OpenAI's shape."""
    answer = {"role": "assistant", **message}
    told = {"choices": [{"index": 0, "finish_reason": finish_reason, "message": answer}]}
    cut_short = finish_reason not in (None, "stop", "tool_calls")
    return told | ({"finish_reason": finish_reason} if cut_short else {})


def shown(text: str, role: str = "preview") -> Values:
    """Return what MLflow's list of traces shows where inputs or outputs have no text."""
    return {"messages": [{"role": role, "content": text}]}


def tokens(read: int, written: int) -> Values:
    """Return a call's usage as MLflow counts it."""
    return {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}


SKY_STREAMED = {
    "request_preview": SKY,
    "response_preview": BECAUSE,
    "usage": tokens(21, 10),
    "attributes": {
        "mlflow.spanInputs": {
            "model": "scripted",
            "messages": [{"role": "user", "content": SKY}],
            "stream": True,
            "think": False,
        },
        "mlflow.spanOutputs": choices("stop", content=BECAUSE),
    },
}
TOLD: list[Values] = [
    {
        "request_preview": SKY,
        "response_preview": BECAUSE,
        "usage": tokens(40, 10),
        "attributes": {
            "ollama.request.keep_alive": "5m",
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
                "think": False,
            },
            "mlflow.spanOutputs": choices("stop", content=BECAUSE),
        },
    },
    SKY_STREAMED,
    {
        "request_preview": SKY,
        "response_preview": "Blue wave wins!",
        "usage": tokens(21, 12),
        "attributes": {
            "mlflow.spanInputs": {
                "model": "scripted",
                "messages": [{"role": "user", "content": SKY}],
                "think": True,
            },
            "mlflow.spanOutputs": choices(
                "stop", content="Blue wave wins!", reasoning="Let me reason about it"
            ),
        },
    },
    {
        "request_preview": TIP,
        "response_preview": TIP_CALL,
        "usage": tokens(63, 6),
        "attributes": {
            "mlflow.spanInputs": {
                "model": "scripted",
                "messages": [{"role": "user", "content": TIP}],
                "think": False,
            },
            "mlflow.spanOutputs": choices("stop", content=None, tool_calls=[TOOL_CALL])
            | shown(TIP_CALL),
            "mlflow.chat.tools": TOOLS,
        },
    },
    {
        "request_preview": TIP,
        "response_preview": "Your tip comes to $41.21.\n",
        "usage": tokens(142, 8),
        "attributes": {
            "mlflow.spanInputs": {
                "model": "scripted",
                "messages": [
                    {"role": "user", "content": TIP},
                    {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
                    {"role": "tool", "content": "41.21", "tool_call_id": "call_0"},
                ],
                "think": False,
            },
            "mlflow.spanOutputs": choices("stop", content="Your tip comes to $41.21.\n"),
            "mlflow.chat.tools": TOOLS,
        },
    },
    {
        "request_preview": SKY,
        "response_preview": '{"answer":"","n":1}',
        "usage": tokens(21, 20),
        "attributes": {
            "mlflow.spanInputs": {
                "model": "scripted",
                "messages": [{"role": "user", "content": SKY}],
                "max_tokens": 60,
                "output_type": "json",
                "think": False,
                "response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}},
            },
            "mlflow.spanOutputs": choices("stop", content='{"answer":"","n":1}'),
            "ollama.request.format": SCHEMA,
        },
    },
    {
        "request_preview": "loop",
        "response_preview": "la lala lalalala lala",
        "usage": tokens(12, 5),
        "attributes": {
            "mlflow.spanInputs": {
                "model": "scripted",
                "messages": [{"role": "user", "content": "loop"}],
                "max_tokens": 5,
                "think": False,
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
        "usage": tokens(21, 10),
        "attributes": {
            "mlflow.spanInputs": {
                "model": "scripted",
                "messages": [{"role": "user", "content": SKY}],
                "think": False,
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
    usage = told.get("usage")
    model = span["attributes"]["gen_ai.request.model"]
    failed = span["status"][0] == "ERROR"
    stored = stored_span(
        span["name"],
        "CHAT_MODEL",
        span["attributes"] | of_model_call(model, usage) | CONVERSATION | told["attributes"],
    )
    if failed:
        stored |= {"status": span["status"], "events": span["events"]}
    trace = stored_trace(
        resource, [stored], (told["request_preview"], told["response_preview"]), usage
    )
    return trace | {"state": "ERROR" if failed else "OK"}


def stored_trace(
    resource: Values,
    spans: list[Values],
    previews: tuple[str | None, str | None],
    usage: Values | None,
) -> Values:
    """Return a trace that did not fail; it is named as its first span.

    Args:
        resource: the resource attributes that MLflow keeps as tags.
        spans: as `stored_span` has them, in the order in which they began.
        previews: of the request and of the response.
        usage: the tokens of all spans.
    """
    root, *others = spans
    name = root["name"]
    named = root["attributes"] | {"mlflow.traceTag.mlflow.traceName": name}
    counted = {"mlflow.trace.tokenUsage": usage, "mlflow.trace.cost": FREE}
    return {
        "state": "OK",
        "request_preview": previews[0],
        "response_preview": previews[1],
        "tags": {
            "mlflow.artifactLocation": "<artifact location>",
            "mlflow.trace.spansLocation": "TRACKING_STORE",
            "mlflow.traceName": name,
            **resource,
        },
        "metadata": {key: json.dumps(value) for key, value in counted.items() if usage},
        "spans": [root | {"attributes": named}, *others],
    }


def stored_span(
    name: str, span_type: str, attributes: Values, *, parent: str | None = None
) -> Values:
    """Return a GenAI span that did not fail.

    Args:
        name: the span's.
        span_type: MLflow's.
        attributes: those that it has beside those that every such span has.
        parent: its parent's name.
    """
    every = {
        "mlflow.spanType": span_type,
        "mlflow.spanLogLevel": 20,
        "mlflow.traceRequestId": "<trace id>",
    }
    return {
        "name": name,
        "parent": parent,
        "type": span_type,
        "status": ("OK", ""),
        "attributes": every | attributes,
        "events": [],
    }


CONVERSATION = {"mlflow.message.format": "openai"}


def of_model_call(model: str, usage: Values | None, durations: Values = DURATIONS) -> Values:
    """Return what is said to MLflow of every call of a model, whatever it said.

    Args:
        model: the model asked.
        usage: the tokens, of a call that came to its end.
        durations: what the server measures of such a call.
    """
    counted = {"mlflow.chat.tokenUsage": usage, "mlflow.llm.cost": FREE, **durations}
    asked = {"mlflow.llm.model": model, "mlflow.llm.provider": "ollama"}
    return asked | (counted if usage else {})
