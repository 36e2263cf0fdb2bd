"""The traces of apps/kinds.py as MLflow stores them: one literal for every road and every reader.

The ten calls of apps/conversation.py come first; they are in expected_traces.py.
"""

from __future__ import annotations

from typing import Any

from .expected_spans import BECAUSE, PARAMETERS, SKY, TIP, answer, message, text
from .expected_spans import TOOL_CALL as ASKED_FOR
from .expected_spans import TOOLS as DEFINED
from .expected_traces import (
    CONVERSATION,
    DURATIONS,
    TIP_CALL,
    TOOL_CALL,
    TOOLS,
    choices,
    conversation,
    of_model_call,
    shown,
    stored_span,
    stored_trace,
    tokens,
)

Values = dict[str, Any]

KINDS = (
    *("plain", "streamed", "thinking", "tool call", "tool result", "schema", "length stop"),
    *("error", "asynchronous", "streamed asynchronously"),
    *("streamed thinking", "streamed tool call", "two tool calls", "image", "embed"),
    *("generate", "generate streamed", "broken off"),
    *("tool loop", "failing tool", "retrieval", "first turn", "second turn"),
    *("concurrent tasks", "concurrent threads"),
)
"""One name for each trace, in the order in which they begin."""

OUTPUT = """\
streamed_thinking: Let me reason about it -> Blue wave wins!
streamed_tool_call: calculate_tip
two_tool_calls: Paris Tokyo
image: The sky is blue because air scatters light.
embed: 512 512
generate: The sky is blue because air scatters light.
generate_streamed: The| sky| is| blue| because| air| scatters| light|.|
broken_off: la  lala  lalala
tool_loop_under_an_agent: Your tip comes to $41.21.
tool_that_fails: Your tip comes to $41.21.
retrieval: The sky is blue because air scatters light.
session: The sky is blue because air scatters light.
concurrent_tasks:|la lala|la lala lalala|la lala lalalala
concurrent_threads:|la lala|la lala lalala|la lala lalalala
"""

LOOPS = {2: "la lala", 3: "la lala lalala", 4: "la lala lalalala"}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
TIP_ANSWER = "Your tip comes to $41.21."
WEATHER_CALLS = 'get_weather({"city": "Paris"}), get_weather({"city": "Tokyo"})'
OUT_OF_ORDER = "The calculator is out of order."
NIGHT = "And at night?"
CONTEXT = "Air scatters blue light.\nThe sea mirrors the sky."
CITY = {
    "type": "object",
    "required": ["city"],
    "properties": {"city": {"type": "string", "description": "The city's name"}},
}
TYPES = {"chat": "CHAT_MODEL", "text_completion": "LLM", "embeddings": "EMBEDDING"}
MODELS = {"chat": "scripted", "text_completion": "scripted", "embeddings": "embedder"}
# An embedding is not generated: there is nothing to evaluate after the prompt.
MEASURED = {"chat": DURATIONS, "text_completion": DURATIONS} | {
    "embeddings": {
        name: DURATIONS[name]
        for name in ("ollama.response.total_duration", "ollama.response.load_duration")
    }
}
STREAMED = {
    "gen_ai.request.stream": True,
    "gen_ai.response.time_to_first_chunk": "<seconds>",
}


def kinds(port: int | None, resource: Values) -> dict[str, Values]:
    """Return every trace of the application under the name of its kind.

    Args:
        port: where the Ollama server listens.
        resource: the resource attributes that MLflow keeps as tags.
    """
    traces = [*conversation(port, resource), *_calls(port, resource), *_trees(port, resource)]
    return dict(zip(KINDS, traces, strict=True))


def _calls(port: int | None, resource: Values) -> list[Values]:
    """The traces of one call each."""
    return [
        stored_trace(
            resource,
            [
                _chat(
                    port,
                    tokens(21, 12),
                    STREAMED
                    | {
                        "gen_ai.request.reasoning.level": "true",
                        "gen_ai.input.messages": [message("user", text(SKY))],
                        "gen_ai.output.messages": [
                            answer(
                                {"type": "reasoning", "content": "Let me reason about it"},
                                text("Blue wave wins!"),
                            )
                        ],
                        "mlflow.spanInputs": {
                            "model": "scripted",
                            "messages": [{"role": "user", "content": SKY}],
                            "stream": True,
                            "think": True,
                        },
                        "mlflow.spanOutputs": choices(
                            "stop", content="Blue wave wins!", reasoning="Let me reason about it"
                        ),
                    },
                )
            ],
            (SKY, "Blue wave wins!"),
            tokens(21, 12),
        ),
        stored_trace(
            resource,
            [
                _chat(
                    port,
                    tokens(63, 6),
                    STREAMED
                    | {
                        "gen_ai.input.messages": [message("user", text(TIP))],
                        "gen_ai.output.messages": [answer(ASKED_FOR)],
                        "gen_ai.tool.definitions": DEFINED,
                        "mlflow.chat.tools": TOOLS,
                        "mlflow.spanInputs": {
                            "model": "scripted",
                            "messages": [{"role": "user", "content": TIP}],
                            "stream": True,
                            "think": False,
                        },
                        "mlflow.spanOutputs": choices("stop", content=None, tool_calls=[TOOL_CALL])
                        | shown(TIP_CALL),
                    },
                )
            ],
            (TIP, TIP_CALL),
            tokens(63, 6),
        ),
        stored_trace(
            resource,
            [
                _chat(
                    port,
                    tokens(12, 7),
                    {
                        "gen_ai.input.messages": [message("user", text("both"))],
                        "gen_ai.output.messages": [
                            answer(
                                {
                                    "type": "tool_call",
                                    "id": "call_0",
                                    "name": "get_weather",
                                    "arguments": {"city": "Paris"},
                                },
                                {
                                    "type": "tool_call",
                                    "id": "call_1",
                                    "name": "get_weather",
                                    "arguments": {"city": "Tokyo"},
                                },
                            )
                        ],
                        "gen_ai.tool.definitions": [
                            {
                                "type": "function",
                                "name": "get_weather",
                                "description": "Tell the weather.",
                                "parameters": CITY,
                            },
                            {
                                "type": "function",
                                "name": "calculate_tip",
                                "description": "Calculate the tip.",
                                "parameters": PARAMETERS,
                            },
                        ],
                        "mlflow.chat.tools": [
                            {
                                "type": "function",
                                "function": {
                                    "name": "get_weather",
                                    "description": "Tell the weather.",
                                    "parameters": CITY,
                                },
                            },
                            *TOOLS,
                        ],
                        "mlflow.spanInputs": {
                            "model": "scripted",
                            "messages": [{"role": "user", "content": "both"}],
                            "think": False,
                        },
                        "mlflow.spanOutputs": choices(
                            "stop",
                            content=None,
                            tool_calls=[
                                {
                                    "id": "call_0",
                                    "type": "function",
                                    "function": {
                                        "name": "get_weather",
                                        "arguments": '{"city": "Paris"}',
                                    },
                                },
                                {
                                    "id": "call_1",
                                    "type": "function",
                                    "function": {
                                        "name": "get_weather",
                                        "arguments": '{"city": "Tokyo"}',
                                    },
                                },
                            ],
                        )
                        | shown(WEATHER_CALLS),
                    },
                )
            ],
            ("both", WEATHER_CALLS),
            tokens(12, 7),
        ),
        stored_trace(
            resource,
            [
                _chat(
                    port,
                    tokens(28, 10),
                    {
                        "gen_ai.input.messages": [
                            message(
                                "user",
                                text(SKY),
                                {
                                    "type": "blob",
                                    "mime_type": "image/png",
                                    "modality": "image",
                                    "content": PNG,
                                },
                            )
                        ],
                        "gen_ai.output.messages": [answer(text(BECAUSE))],
                        "mlflow.spanInputs": {
                            "model": "scripted",
                            "messages": [
                                {
                                    "role": "user",
                                    "content": [
                                        {"type": "text", "text": SKY},
                                        {
                                            "type": "image_url",
                                            "image_url": {"url": f"data:image/png;base64,{PNG}"},
                                        },
                                    ],
                                }
                            ],
                            "think": False,
                        },
                        "mlflow.spanOutputs": choices("stop", content=BECAUSE),
                    },
                )
            ],
            (SKY, BECAUSE),
            tokens(28, 10),
        ),
        stored_trace(
            resource,
            [
                _embeddings(
                    port,
                    21,
                    {
                        "ollama.request.input": ["One text", "and two"],
                        "mlflow.spanInputs": {
                            "model": "embedder",
                            "input": ["One text", "and two"],
                            "messages": [
                                {"role": "user", "content": "One text"},
                                {"role": "user", "content": "and two"},
                            ],
                        },
                        "mlflow.spanOutputs": {"vectors": 2, "dimensions": 512}
                        | shown("2 vectors of 512 dimensions", role="assistant"),
                    },
                )
            ],
            ("and two", "2 vectors of 512 dimensions"),
            tokens(21, 0),
        ),
        stored_trace(
            resource,
            [
                _model_call(
                    port,
                    "text_completion",
                    tokens(40, 10),
                    CONVERSATION
                    | {
                        "gen_ai.request.reasoning.level": "false",
                        "gen_ai.response.finish_reasons": ["stop"],
                        "gen_ai.system_instructions": [text("Be brief.")],
                        "gen_ai.input.messages": [message("user", text(SKY))],
                        "gen_ai.output.messages": [answer(text(BECAUSE))],
                        "mlflow.spanInputs": {
                            "model": "scripted",
                            "messages": [
                                {"role": "system", "content": "Be brief."},
                                {"role": "user", "content": SKY},
                            ],
                            "think": False,
                        },
                        "mlflow.spanOutputs": choices("stop", content=BECAUSE),
                    },
                )
            ],
            (SKY, BECAUSE),
            tokens(40, 10),
        ),
        stored_trace(
            resource,
            [
                _model_call(
                    port,
                    "text_completion",
                    tokens(21, 10),
                    CONVERSATION
                    | STREAMED
                    | {
                        "gen_ai.request.reasoning.level": "false",
                        "gen_ai.response.finish_reasons": ["stop"],
                        "gen_ai.input.messages": [message("user", text(SKY))],
                        "gen_ai.output.messages": [answer(text(BECAUSE))],
                        "mlflow.spanInputs": {
                            "model": "scripted",
                            "messages": [{"role": "user", "content": SKY}],
                            "stream": True,
                            "think": False,
                        },
                        "mlflow.spanOutputs": choices("stop", content=BECAUSE),
                    },
                )
            ],
            (SKY, BECAUSE),
            tokens(21, 10),
        ),
        stored_trace(
            resource,
            [
                _chat(
                    port,
                    None,
                    STREAMED
                    | {
                        "gen_ai.response.finish_reasons": ["error"],
                        "gen_ai.input.messages": [message("user", text("loop"))],
                        "gen_ai.output.messages": [
                            answer(text("la lala lalala"), finish_reason="error")
                        ],
                        "mlflow.spanInputs": {
                            "model": "scripted",
                            "messages": [{"role": "user", "content": "loop"}],
                            "stream": True,
                            "think": False,
                        },
                        "mlflow.spanOutputs": choices("error", content="la lala lalala"),
                    },
                )
            ],
            ("loop", "la lala lalala"),
            None,
        ),
    ]


def _trees(port: int | None, resource: Values) -> list[Values]:
    """The traces of several spans: the application's own, and the calls below them."""
    return [
        _tool_loop(
            port,
            resource,
            "tip-assistant",
            {
                "attributes": {
                    "gen_ai.tool.call.result": "41.21",
                    "mlflow.spanOutputs": "41.21",
                },
            },
            ("41.21", 142),
        ),
        _tool_loop(
            port,
            resource,
            "unlucky",
            {
                "status": ("ERROR", f"LookupError: {OUT_OF_ORDER}"),
                "events": [
                    {
                        "name": "exception",
                        "attributes": {
                            "exception.type": "LookupError",
                            "exception.message": OUT_OF_ORDER,
                            "exception.stacktrace": "<stack>",
                            "exception.escaped": "False",
                        },
                    }
                ],
            },
            (OUT_OF_ORDER, 175),
        ),
        stored_trace(
            resource,
            [
                _asked(
                    "AGENT",
                    "invoke_agent librarian",
                    SKY,
                    BECAUSE,
                    {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "librarian"},
                ),
                stored_span(
                    "retrieval library",
                    "RETRIEVER",
                    {
                        "gen_ai.operation.name": "retrieval",
                        "gen_ai.data_source.id": "library",
                        "gen_ai.retrieval.query.text": SKY,
                        "gen_ai.retrieval.documents": [
                            {"id": "7", "score": 0.9, "content": "Air scatters blue light."},
                            {"id": "8", "score": 0.4, "content": "The sea mirrors the sky."},
                        ],
                        "mlflow.spanInputs": {"query": SKY},
                        "mlflow.spanOutputs": [
                            {
                                "page_content": "Air scatters blue light.",
                                "metadata": {"score": 0.9},
                                "id": "7",
                            },
                            {
                                "page_content": "The sea mirrors the sky.",
                                "metadata": {"score": 0.4},
                                "id": "8",
                            },
                        ],
                    },
                    parent="invoke_agent librarian",
                ),
                _embeddings(
                    port,
                    14,
                    {
                        "ollama.request.input": [SKY],
                        "mlflow.spanInputs": {"model": "embedder", "input": SKY},
                        "mlflow.spanOutputs": {"vectors": 1, "dimensions": 512},
                    },
                    parent="retrieval library",
                ),
                _chat(
                    port,
                    tokens(61, 10),
                    {
                        "gen_ai.input.messages": [
                            message("system", text(CONTEXT)),
                            message("user", text(SKY)),
                        ],
                        "gen_ai.output.messages": [answer(text(BECAUSE))],
                        "mlflow.spanInputs": {
                            "model": "scripted",
                            "messages": [
                                {"role": "system", "content": CONTEXT},
                                {"role": "user", "content": SKY},
                            ],
                            "think": False,
                        },
                        "mlflow.spanOutputs": choices("stop", content=BECAUSE),
                    },
                    parent="invoke_agent librarian",
                ),
            ],
            (SKY, BECAUSE),
            tokens(75, 10),
        ),
        _turn(port, resource, SKY, tokens(21, 10)),
        _turn(port, resource, NIGHT, tokens(25, 10)),
        _concurrent(port, resource, "three tasks", {}, {}, OWN),
        _concurrent(port, resource, "three threads", STREAMED, {"stream": True}, HEARD),
    ]


def _tool_loop(
    port: int | None, resource: Values, agent: str, ended: Values, told: tuple[str, int]
) -> Values:
    """An agent that asks the model, calls a tool, and asks again.

    Args:
        port: where the Ollama server listens.
        resource: the resource attributes that MLflow keeps as tags.
        agent: its name.
        ended: how the tool ended: what its span has besides, or instead.
        told: what the model is told of that, and the tokens that it reads then.
    """
    result, read = told
    parent = f"invoke_agent {agent}"
    named = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": agent}
    first = _chat(
        port,
        tokens(63, 6),
        {
            "gen_ai.input.messages": [message("user", text(TIP))],
            "gen_ai.output.messages": [answer(ASKED_FOR)],
            "gen_ai.tool.definitions": DEFINED,
            "mlflow.chat.tools": TOOLS,
            "mlflow.spanInputs": {
                "model": "scripted",
                "messages": [{"role": "user", "content": TIP}],
                "think": False,
            },
            "mlflow.spanOutputs": choices("stop", content=None, tool_calls=[TOOL_CALL]),
        },
        parent=parent,
    )
    tool = stored_span(
        "calculate_tip",
        "TOOL",
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "calculate_tip",
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.arguments": {"bill_amount": 187.32, "tip_percentage": 22},
            "mlflow.spanInputs": {"bill_amount": 187.32, "tip_percentage": 22},
            **ended.pop("attributes", {}),
        },
        parent=parent,
    )
    last = _chat(
        port,
        tokens(read, 8),
        {
            "gen_ai.input.messages": [
                message("user", text(TIP)),
                message("assistant", ASKED_FOR),
                message("tool", {"type": "tool_call_response", "id": "call_0", "response": result}),
            ],
            "gen_ai.output.messages": [answer(text(f"{TIP_ANSWER}\n"))],
            "gen_ai.tool.definitions": DEFINED,
            "mlflow.chat.tools": TOOLS,
            "mlflow.spanInputs": {
                "model": "scripted",
                "messages": [
                    {"role": "user", "content": TIP},
                    {"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]},
                    {"role": "tool", "content": result, "tool_call_id": "call_0"},
                ],
                "think": False,
            },
            "mlflow.spanOutputs": choices("stop", content=f"{TIP_ANSWER}\n"),
        },
        parent=parent,
    )
    spans = [_asked("AGENT", parent, TIP, TIP_ANSWER, named), first, tool | ended, last]
    return stored_trace(resource, spans, (TIP, TIP_ANSWER), tokens(63 + read, 14))


def _turn(port: int | None, resource: Values, question: str, usage: Values) -> Values:
    """One turn of a session."""
    spans = [
        _asked(
            "WORKFLOW",
            "invoke_workflow turn",
            question,
            BECAUSE,
            {
                "gen_ai.operation.name": "invoke_workflow",
                "session.id": "session-1",
                "user.id": "ada",
                "mlflow.traceTag.team": "blue",
            },
        ),
        _chat(
            port,
            usage,
            {
                "gen_ai.input.messages": [message("user", text(question))],
                "gen_ai.output.messages": [answer(text(BECAUSE))],
                "mlflow.spanInputs": {
                    "model": "scripted",
                    "messages": [{"role": "user", "content": question}],
                    "think": False,
                },
                "mlflow.spanOutputs": choices("stop", content=BECAUSE),
            },
            parent="invoke_workflow turn",
        ),
    ]
    trace = stored_trace(resource, spans, (question, BECAUSE), usage)
    trace["tags"] |= {"team": "blue"}
    trace["metadata"] |= {"mlflow.trace.session": "session-1", "mlflow.trace.user": "ada"}
    return trace


# What the application says of itself, and what is told of one that says nothing.
OWN = (
    {
        "mlflow.spanInputs": {"lengths": [2, 3, 4]},
        "mlflow.spanOutputs": {"answers": list(LOOPS.values())},
    },
    ('{"lengths": [2, 3, 4]}', '{"answers": ["la lala", "la lala lalala", "la lala lalalala"]}'),
)
HEARD = (
    {
        "mlflow.spanInputs": {"messages": [{"role": "user", "content": "loop"}]},
        "mlflow.spanOutputs": choices(None, content=LOOPS[4]),
    },
    ("loop", LOOPS[4]),
)


def _concurrent(  # noqa: PLR0913, PLR0917 - two kinds of one thing
    port: int | None,
    resource: Values,
    name: str,
    attributes: Values,
    options: Values,
    told: tuple[Values, tuple[str, str]],
) -> Values:
    """Three calls at the same time, below a span that is no GenAI span."""
    root: Values = {
        "name": name,
        "parent": None,
        "type": None,
        "status": ("UNSET", ""),
        "attributes": {"mlflow.traceRequestId": "<trace id>"} | told[0],
        "events": [],
    }
    calls = [
        _chat(
            port,
            tokens(12, length),
            attributes
            | {
                "gen_ai.request.max_tokens": length,
                "gen_ai.response.finish_reasons": ["length"],
                "gen_ai.input.messages": [message("user", text("loop"))],
                "gen_ai.output.messages": [answer(text(words), finish_reason="length")],
                "mlflow.spanInputs": {
                    "model": "scripted",
                    "messages": [{"role": "user", "content": "loop"}],
                    "max_tokens": length,
                    "think": False,
                    **options,
                },
                "mlflow.spanOutputs": choices("length", content=words),
            },
            parent=name,
        )
        for length, words in LOOPS.items()
    ]
    return stored_trace(resource, [root, *calls], told[1], tokens(36, 9))


def _asked(span_type: str, name: str, question: str, said: str, attributes: Values) -> Values:
    """A span of the application's own, with a question and an answer."""
    told = {
        "gen_ai.input.messages": [{"role": "user", "parts": [text(question)]}],
        "gen_ai.output.messages": [{"role": "assistant", "parts": [text(said)]}],
        "mlflow.spanInputs": {"messages": [{"role": "user", "content": question}]},
        "mlflow.spanOutputs": choices(None, content=said),
    }
    return stored_span(name, span_type, CONVERSATION | told | attributes)


def _chat(
    port: int | None, usage: Values | None, attributes: Values, *, parent: str | None = None
) -> Values:
    """A chat that, if nothing else is said, does not think and comes to its end."""
    usual = {
        "gen_ai.request.reasoning.level": "false",
        "gen_ai.response.finish_reasons": ["stop"],
    }
    return _model_call(port, "chat", usage, CONVERSATION | usual | attributes, parent=parent)


def _embeddings(
    port: int | None, read: int, attributes: Values, *, parent: str | None = None
) -> Values:
    size = {"gen_ai.embeddings.dimension.count": 512}
    return _model_call(port, "embeddings", tokens(read, 0), size | attributes, parent=parent)


def _model_call(
    port: int | None,
    operation: str,
    usage: Values | None,
    attributes: Values,
    *,
    parent: str | None = None,
) -> Values:
    """A span of ours; a call without usage did not come to its end."""
    model = MODELS[operation]
    counts = usage or {}
    told = {
        "gen_ai.usage.input_tokens": counts.get("input_tokens"),
        "gen_ai.usage.output_tokens": counts.get("output_tokens") or None,
    }
    every = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "ollama",
        "gen_ai.request.model": model,
        "gen_ai.response.model": model,
        "server.address": "127.0.0.1",
        "server.port": port,
        **{name: count for name, count in told.items() if count is not None},
        **of_model_call(model, usage, MEASURED[operation]),
    }
    return stored_span(f"{operation} {model}", TYPES[operation], every | attributes, parent=parent)
