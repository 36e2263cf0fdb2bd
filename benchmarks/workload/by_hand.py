"""The workload over the Ollama SDK, traced by hand with MLflow's API.

Written after MLflow's article on tracing a new provider, whose example is Ollama:
https://mlflow.org/blog/custom-tracing
It wraps ``chat``, sets inputs, outputs, tools and tool calls, and calls set_span_chat_messages.
MLflow 3.17 has that function no more: OpenAI's shape in inputs and outputs took its place. Streams,
tokens and the other calls, of which the article does not speak, are after MLflow's manual:
https://mlflow.org/docs/latest/genai/tracing/app-instrumentation/manual-tracing/
https://mlflow.org/docs/latest/genai/tracing/opentelemetry/attribute-mapping

python by_hand.py http://127.0.0.1:11434
"""

import json
import sys
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import mlflow
import ollama
from diary import keep
from mlflow.entities import SpanType
from mlflow.tracing import set_span_chat_tools
from over_ollama import Workload
from own_spans import MlflowSpans

# What a user writes: begin
client = ollama.Client(sys.argv[1])


def chat(*, stream: bool = False, **request: Any) -> Any:
    """Chat, and trace it."""
    return streamed_chat(**request) if stream else whole_chat(**request)


def whole_chat(**request: Any) -> Any:
    """Chat without a stream."""
    with mlflow.start_span("ollama.chat", span_type=SpanType.CHAT_MODEL) as span:
        set_chat_request(span, request)
        response = client.chat(**request)
        set_usage(span, response)
        span.set_outputs(choices([response]))
        return response


def choices(chunks: list[ollama.ChatResponse]) -> dict[str, Any]:
    """Return an answer in OpenAI's shape."""
    parts = [chunk.message for chunk in chunks]
    message = {
        "role": "assistant",
        "content": "".join(part.content or "" for part in parts),
        "thinking": "".join(part.thinking or "" for part in parts),
        "tool_calls": [call for part in parts for call in part.tool_calls or []],
    }
    choice = {"finish_reason": chunks[-1].done_reason, "message": openai_message(message)}
    return {"choices": [choice]}


@mlflow.trace(name="ollama.chat", span_type=SpanType.CHAT_MODEL, output_reducer=choices)
def streamed_chat(**request: Any) -> Iterator[Any]:
    """Chat with a stream."""
    span = mlflow.get_current_active_span()
    set_chat_request(span, request)
    for chunk in client.chat(stream=True, **request):
        if chunk.done:
            set_usage(span, chunk)
        yield chunk


def generate(**request: Any) -> Any:
    """Complete a text, and trace it."""
    with mlflow.start_span("ollama.generate", span_type=SpanType.LLM) as span:
        set_request(span, request)
        response = client.generate(**request)
        set_usage(span, response)
        span.set_outputs(response.response)
        return response


def embed(**request: Any) -> Any:
    """Embed texts, and trace it."""
    with mlflow.start_span("ollama.embed", span_type=SpanType.EMBEDDING) as span:
        set_request(span, request)
        response = client.embed(**request)
        set_usage(span, response)
        span.set_outputs(response.embeddings)
        return response


def set_request(span: Any, request: dict[str, Any]) -> None:
    """Set what is asked, and of which model."""
    span.set_inputs(request)
    span.set_attribute("mlflow.llm.model", request["model"])
    span.set_attribute("mlflow.llm.provider", "ollama")


def set_chat_request(span: Any, request: dict[str, Any]) -> None:
    """Set what is asked in a chat, in OpenAI's shape."""
    messages = [openai_message(message) for message in request["messages"]]
    set_request(span, {**request, "messages": messages})
    span.set_attribute("mlflow.message.format", "openai")
    if request.get("tools"):
        set_span_chat_tools(span, request["tools"])


def set_usage(span: Any, response: Any) -> None:
    """Set the tokens."""
    read, written = response.prompt_eval_count or 0, getattr(response, "eval_count", None) or 0
    usage = {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}
    span.set_attribute("mlflow.chat.tokenUsage", usage)


def openai_message(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message in OpenAI's shape."""
    told = dict(message)
    if thinking := told.pop("thinking", None):
        told["reasoning"] = thinking
    if calls := told.pop("tool_calls", None):
        told["tool_calls"] = [
            {
                "id": str(uuid4()),
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": json.dumps(call.function.arguments),
                },
            }
            for call in calls
        ]
    return told


# What a user writes: end


if __name__ == "__main__":
    keep(Workload(sys.modules[__name__], MlflowSpans()).cases())
    mlflow.flush_trace_async_logging()
