"""Golden pairs: the attributes of a span, and what MLflow is told beside them."""

import json
from typing import Any

Attributes = dict[str, Any]

OLLAMA: Attributes = {
    "gen_ai.provider.name": "ollama",
    "gen_ai.request.model": "llama3.2",
    "server.address": "localhost",
    "server.port": 11434,
}
FREE = {"input_cost": 0.0, "output_cost": 0.0, "total_cost": 0.0}
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)


def text(content: str) -> Attributes:
    """A text part."""
    return {"type": "text", "content": content}


def said(role: str, *parts: Attributes, **more: Any) -> Attributes:
    """A message of the conventions."""
    return {"role": role, "parts": list(parts), **more}


def added(span_type: str, **more: Any) -> Attributes:
    """What every GenAI span is given, and more; ``__`` stands for a dot."""
    return {"mlflow.spanType": span_type, "mlflow.spanLogLevel": 20} | {
        f"mlflow.{name.replace('__', '.')}": value for name, value in more.items()
    }


def model(name: str = "llama3.2") -> Attributes:
    """Model and provider."""
    return {"llm__model": name, "llm__provider": "ollama"}


def tokens(given: int, made: int) -> Attributes:
    """Tokens of a local model, and their price."""
    usage = {"input_tokens": given, "output_tokens": made, "total_tokens": given + made}
    return {"chat__tokenUsage": usage, "llm__cost": FREE}


NO_MESSAGES = [{"role": "user", "content": "[content not captured]"}]

GOLDEN: dict[str, tuple[Attributes, Attributes]] = {
    "chat": (
        {
            **OLLAMA,
            "gen_ai.operation.name": "chat",
            "gen_ai.request.temperature": 0.2,
            "gen_ai.request.top_k": 40,
            "gen_ai.request.max_tokens": 100,
            "gen_ai.request.seed": 7,
            "gen_ai.request.stop_sequences": ("END",),
            "gen_ai.request.stream": True,
            "gen_ai.request.reasoning.level": "high",
            "gen_ai.output.type": "json",
            "gen_ai.response.model": "llama3.2:latest",
            "gen_ai.response.finish_reasons": ("stop",),
            "gen_ai.usage.input_tokens": 26,
            "gen_ai.usage.output_tokens": 14,
            "gen_ai.input.messages": json.dumps(
                [said("system", text("Be brief")), said("user", text("Wie geht's, Jürgen?"))]
            ),
            "gen_ai.output.messages": json.dumps(
                [said("assistant", text("Gut."), finish_reason="stop")]
            ),
        },
        added(
            "CHAT_MODEL",
            spanInputs={
                "model": "llama3.2",
                "messages": [
                    {"role": "system", "content": "Be brief"},
                    {"role": "user", "content": "Wie geht's, Jürgen?"},
                ],
                "temperature": 0.2,
                "top_k": 40,
                "max_tokens": 100,
                "stop": ["END"],
                "seed": 7,
                "stream": True,
                "reasoning_effort": "high",
                "output_type": "json",
            },
            spanOutputs={
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": "Gut."},
                    }
                ]
            },
            message__format="openai",
            **tokens(26, 14),
            **model("llama3.2:latest"),
        ),
    ),
    "chat, what only Ollama has": (
        {
            **OLLAMA,
            "gen_ai.operation.name": "chat",
            "gen_ai.request.reasoning.level": "false",
            "ollama.request.options": '{"num_ctx": 8192}',
            "ollama.request.format": '{"type": "object"}',
            "ollama.request.keep_alive": "5m",
            "ollama.response.load_duration": 0.5,
        },
        added(
            "CHAT_MODEL",
            spanInputs={
                "model": "llama3.2",
                "messages": NO_MESSAGES,
                "think": False,
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"schema": {"type": "object"}},
                },
                "options": {"num_ctx": 8192},
            },
            spanOutputs={
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": None,
                        "message": {"role": "assistant", "content": "[content not captured]"},
                    }
                ]
            },
            message__format="openai",
            **model(),
        ),
    ),
    "chat, thinking": (
        {
            **OLLAMA,
            "gen_ai.operation.name": "chat",
            "gen_ai.input.messages": json.dumps([said("user", text("17 x 23?"))]),
            "gen_ai.output.messages": json.dumps(
                [said("assistant", {"type": "reasoning", "content": "20 x 17"}, text("391"))]
            ),
            "gen_ai.response.finish_reasons": ("stop",),
        },
        added(
            "CHAT_MODEL",
            spanInputs={
                "model": "llama3.2",
                "messages": [{"role": "user", "content": "17 x 23?"}],
            },
            spanOutputs={
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "stop",
                        "message": {"role": "assistant", "content": "391", "reasoning": "20 x 17"},
                    }
                ]
            },
            message__format="openai",
            **model(),
        ),
    ),
    "chat, tool loop": (
        {
            **OLLAMA,
            "gen_ai.operation.name": "chat",
            "gen_ai.tool.definitions": json.dumps(
                [
                    {
                        "type": "function",
                        "name": "tip",
                        "description": "Calculate a tip",
                        "parameters": {
                            "type": "object",
                            "properties": {"bill": {"type": ["number", "null"]}},
                            "required": ["bill"],
                        },
                    }
                ]
            ),
            "gen_ai.input.messages": json.dumps(
                [
                    said("user", text("Tip for 50 and for 80?")),
                    said(
                        "assistant",
                        {"type": "tool_call", "name": "tip", "arguments": {"bill": 50}},
                        {"type": "tool_call", "name": "tip", "arguments": '{"bill": 80}'},
                    ),
                    said(
                        "tool",
                        {"type": "tool_call_response", "response": 11},
                        {"type": "tool_call_response", "response": {"tip": 17.6}},
                    ),
                ]
            ),
            "gen_ai.output.messages": json.dumps(
                [
                    said(
                        "assistant",
                        {"type": "tool_call", "id": None, "name": "tip", "arguments": None},
                        finish_reason="tool_call",
                    )
                ]
            ),
        },
        added(
            "CHAT_MODEL",
            spanInputs={
                "model": "llama3.2",
                "messages": [
                    {"role": "user", "content": "Tip for 50 and for 80?"},
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [
                            {
                                "id": "call_0",
                                "type": "function",
                                "function": {"name": "tip", "arguments": '{"bill": 50}'},
                            },
                            {
                                "id": "call_1",
                                "type": "function",
                                "function": {"name": "tip", "arguments": '{"bill": 80}'},
                            },
                        ],
                    },
                    {"role": "tool", "tool_call_id": "call_0", "content": "11"},
                    {"role": "tool", "tool_call_id": "call_1", "content": '{"tip": 17.6}'},
                ],
            },
            spanOutputs={
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "tool_calls",
                        "message": {
                            "role": "assistant",
                            "content": None,
                            "tool_calls": [
                                {
                                    "id": "call_2",
                                    "type": "function",
                                    "function": {"name": "tip", "arguments": "{}"},
                                }
                            ],
                        },
                    }
                ]
            },
            message__format="openai",
            chat__tools=[
                {
                    "type": "function",
                    "function": {
                        "name": "tip",
                        "description": "Calculate a tip",
                        "parameters": {
                            "type": "object",
                            "properties": {"bill": {"type": "number"}},
                            "required": ["bill"],
                        },
                    },
                }
            ],
            **model(),
        ),
    ),
    "chat, image": (
        {
            **OLLAMA,
            "gen_ai.operation.name": "chat",
            "gen_ai.input.messages": json.dumps(
                [
                    said(
                        "user",
                        text("What is this?"),
                        {
                            "type": "blob",
                            "modality": "image",
                            "mime_type": "image/png",
                            "content": PNG,
                        },
                    )
                ]
            ),
            "gen_ai.output.messages": json.dumps([said("assistant", text("A dot."))]),
        },
        added(
            "CHAT_MODEL",
            spanInputs={
                "model": "llama3.2",
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "What is this?"},
                            {
                                "type": "image_url",
                                "image_url": {"url": f"data:image/png;base64,{PNG}"},
                            },
                        ],
                    }
                ],
            },
            spanOutputs={
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": None,
                        "message": {"role": "assistant", "content": "A dot."},
                    }
                ]
            },
            message__format="openai",
            **model(),
        ),
    ),
    "chat, content off": (
        {
            **OLLAMA,
            "gen_ai.operation.name": "chat",
            "gen_ai.response.finish_reasons": ("length",),
            "gen_ai.usage.input_tokens": 26,
            "gen_ai.usage.output_tokens": 14,
        },
        added(
            "CHAT_MODEL",
            spanInputs={"model": "llama3.2", "messages": NO_MESSAGES},
            spanOutputs={
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": "length",
                        "message": {"role": "assistant", "content": "[content not captured]"},
                    }
                ],
                "finish_reason": "length",
            },
            message__format="openai",
            **tokens(26, 14),
            **model(),
        ),
    ),
    "chat, failed": (
        {
            **OLLAMA,
            "gen_ai.operation.name": "chat",
            "error.type": "404",
            "gen_ai.input.messages": json.dumps([said("user", text("hi"))]),
        },
        added(
            "CHAT_MODEL",
            spanInputs={"model": "llama3.2", "messages": [{"role": "user", "content": "hi"}]},
            message__format="openai",
            **model(),
        ),
    ),
    "chat, broken off before the first word": (
        {
            **OLLAMA,
            "gen_ai.operation.name": "chat",
            "gen_ai.input.messages": json.dumps([said("user", text("hi"))]),
        },
        added(
            "CHAT_MODEL",
            spanInputs={"model": "llama3.2", "messages": [{"role": "user", "content": "hi"}]},
            spanOutputs={"choices": []},
            message__format="openai",
            **model(),
        ),
    ),
    "chat of another provider": (
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "gpt-5",
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 10,
            "gen_ai.usage.cache_read.input_tokens": 64,
            "gen_ai.usage.cache_write.input_tokens": 8,
        },
        added(
            "CHAT_MODEL",
            spanInputs={"model": "gpt-5", "messages": NO_MESSAGES},
            spanOutputs={
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": None,
                        "message": {"role": "assistant", "content": "[content not captured]"},
                    }
                ]
            },
            message__format="openai",
            chat__tokenUsage={
                "input_tokens": 100,
                "output_tokens": 10,
                "total_tokens": 110,
                "cache_read_input_tokens": 64,
                "cache_creation_input_tokens": 8,
            },
            llm__model="gpt-5",
            llm__provider="openai",
        ),
    ),
    "text_completion": (
        {
            **OLLAMA,
            "gen_ai.operation.name": "text_completion",
            "gen_ai.system_instructions": json.dumps([text("Be brief"), text("Be kind")]),
            "gen_ai.input.messages": json.dumps([said("user", text("Why is the sky blue?"))]),
            "gen_ai.output.messages": json.dumps([said("assistant", text("Rayleigh."))]),
        },
        added(
            "LLM",
            spanInputs={
                "model": "llama3.2",
                "messages": [
                    {"role": "system", "content": "Be brief\nBe kind"},
                    {"role": "user", "content": "Why is the sky blue?"},
                ],
            },
            spanOutputs={
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": None,
                        "message": {"role": "assistant", "content": "Rayleigh."},
                    }
                ]
            },
            message__format="openai",
            **model(),
        ),
    ),
    "embeddings": (
        {
            "gen_ai.provider.name": "ollama",
            "gen_ai.operation.name": "embeddings",
            "gen_ai.request.model": "all-minilm",
            "gen_ai.response.model": "all-minilm",
            "gen_ai.request.encoding_formats": ("float",),
            "gen_ai.embeddings.dimension.count": 384,
            "gen_ai.usage.input_tokens": 7,
        },
        added(
            "EMBEDDING",
            spanInputs={
                "model": "all-minilm",
                "input": "[content not captured]",
                "encoding_format": ["float"],
            },
            spanOutputs={"dimensions": 384},
            **tokens(7, 0),
            **model("all-minilm"),
        ),
    ),
    "embeddings, one text": (
        {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.request.model": "all-minilm",
            "ollama.request.input": ("Why is the sky blue?",),
        },
        added(
            "EMBEDDING",
            spanInputs={"model": "all-minilm", "input": "Why is the sky blue?"},
            llm__model="all-minilm",
        ),
    ),
    "embeddings, two texts": (
        {"gen_ai.operation.name": "embeddings", "ollama.request.input": ("one", "two")},
        added("EMBEDDING", spanInputs={"input": ["one", "two"]}),
    ),
    "embeddings, failed": (
        {"gen_ai.operation.name": "embeddings", "error.type": "timeout"},
        added("EMBEDDING", spanInputs={"input": "[content not captured]"}),
    ),
    "execute_tool": (
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "calculate_tip",
            "gen_ai.tool.call.id": "call_0",
            "gen_ai.tool.call.arguments": '{"bill_amount": 187.32}',
            "gen_ai.tool.call.result": "41.21",
        },
        added("TOOL", spanInputs={"bill_amount": 187.32}, spanOutputs="41.21"),
    ),
    "execute_tool without a result": (
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "log",
            "gen_ai.tool.call.arguments": "plain words",
        },
        added("TOOL", spanInputs="plain words"),
    ),
    "execute_tool, content off": (
        {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "calculate_tip"},
        added("TOOL", spanInputs="[content not captured]", spanOutputs="[content not captured]"),
    ),
    "execute_tool, failed": (
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "calculate_tip",
            "gen_ai.tool.call.arguments": "{}",
            "error.type": "TypeError",
        },
        added("TOOL", spanInputs={}),
    ),
    "retrieval": (
        {
            "gen_ai.operation.name": "retrieval",
            "gen_ai.data_source.id": "handbook",
            "gen_ai.retrieval.top_k": 2,
            "gen_ai.retrieval.query.text": "holidays",
            "gen_ai.retrieval.documents": json.dumps(
                [
                    {"id": "d1", "score": 0.9, "content": "25 days", "page": None},
                    {"id": 2, "score": 0.5},
                ]
            ),
        },
        added(
            "RETRIEVER",
            spanInputs={"query": "holidays", "top_k": 2},
            spanOutputs=[
                {"page_content": "25 days", "metadata": {"score": 0.9}, "id": "d1"},
                {"page_content": "", "metadata": {"score": 0.5}, "id": "2"},
            ],
        ),
    ),
    "retrieval, content off": (
        {"gen_ai.operation.name": "retrieval", "gen_ai.data_source.id": "handbook"},
        added("RETRIEVER", spanInputs={"query": "[content not captured]"}),
    ),
    "create_agent": (
        {
            "gen_ai.operation.name": "create_agent",
            "gen_ai.request.model": "llama3.2",
            "gen_ai.agent.name": "Waiter",
            "gen_ai.agent.description": "Knows the menu",
            "gen_ai.system_instructions": json.dumps([text("Serve")]),
        },
        added(
            "AGENT",
            spanInputs={
                "model": "llama3.2",
                "name": "Waiter",
                "description": "Knows the menu",
                "messages": [{"role": "system", "content": "Serve"}],
            },
            llm__model="llama3.2",
        ),
    ),
    "invoke_agent": (
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "Waiter",
            "gen_ai.input.messages": json.dumps([said("user", text("Soup?"))]),
            "gen_ai.output.messages": json.dumps([said("assistant", text("Soup."))]),
        },
        added(
            "AGENT",
            spanInputs={"messages": [{"role": "user", "content": "Soup?"}]},
            spanOutputs={
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": None,
                        "message": {"role": "assistant", "content": "Soup."},
                    }
                ]
            },
            message__format="openai",
        ),
    ),
    "invoke_workflow": (
        {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": "dinner",
            "gen_ai.input.messages": json.dumps([said("user", text("Dinner for two"))]),
            "error.type": "timeout",
        },
        added(
            "WORKFLOW",
            spanInputs={"messages": [{"role": "user", "content": "Dinner for two"}]},
            message__format="openai",
        ),
    ),
    "plan": (
        {
            "gen_ai.operation.name": "plan",
            "gen_ai.output.messages": json.dumps([said("assistant", text("1. Soup"))]),
        },
        added(
            "TASK",
            spanInputs={"messages": [{"role": "user", "content": "[no message]"}]},
            spanOutputs={
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": None,
                        "message": {"role": "assistant", "content": "1. Soup"},
                    }
                ]
            },
            message__format="openai",
        ),
    ),
    "generate_content": (
        {
            "gen_ai.operation.name": "generate_content",
            "gen_ai.request.model": "gemma3",
            "error.type": "500",
        },
        added(
            "LLM",
            spanInputs={"model": "gemma3", "messages": NO_MESSAGES},
            message__format="openai",
            llm__model="gemma3",
        ),
    ),
    "fetch_response": (
        {
            "gen_ai.operation.name": "fetch_response",
            "gen_ai.response.id": "r1",
            "gen_ai.output.messages": json.dumps([said("assistant", text("Late."))]),
        },
        added(
            "LLM",
            spanInputs={"messages": [{"role": "user", "content": "[no message]"}]},
            spanOutputs={
                "choices": [
                    {
                        "index": 0,
                        "finish_reason": None,
                        "message": {"role": "assistant", "content": "Late."},
                    }
                ]
            },
            message__format="openai",
        ),
    ),
    "an operation that is not known": (
        {"gen_ai.operation.name": "search_memory", "gen_ai.memory.store.id": "m"},
        added("UNKNOWN"),
    ),
}


def encoded(attributes: Attributes) -> Attributes:
    """The attributes as they ride on a span: documents and texts as JSON, the rest as it is."""
    return {
        name: value
        if name == "mlflow.spanType" or isinstance(value, int | float)
        else json.dumps(value, ensure_ascii=False)
        for name, value in attributes.items()
    }
