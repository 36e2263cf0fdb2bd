"""The stand-in server speaks as Ollama does, follows its script, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import dataclasses
import doctest
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import httpx
import ollama
import pydantic
import pytest

from ollama_otel import testing
from ollama_otel.testing import (
    Answer,
    Default,
    Embeddings,
    Error,
    FakeOllama,
    Raw,
    Reply,
    Request,
    ToolCall,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

pytestmark = pytest.mark.skipif(
    not hasattr(ollama.Client, "__enter__"),
    reason="the stand-in is tested through a newer release of the SDK, which closes its clients",
)

Json = dict[str, Any]

# Making one takes longer than a call: the clients share it.
CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

EXCHANGES: list[Json] = json.loads(
    (Path(__file__).parent / "wire" / "ollama_answers.json").read_text()
)["exchanges"]
RECORDED_MODELS = {"scripted": ["completion", "tools", "thinking"], "embedder": ["embedding"]}
NDJSON = "application/x-ndjson"

SKY: list[Json] = [{"role": "user", "content": "Why is the sky blue?"}]
SKY_WORDS = ["The", " sky", " is", " blue", " because", " air", " scatters", " light", "."]
TIP: list[Json] = [
    {"role": "user", "content": "What is the tip for a $187.32 bill with a 22% tip?"}
]
CREATED = {"model": "llama3.2", "created_at": "2026-01-01T00:00:00.123456789Z"}
SKY_NUMBERS = {
    "total_duration": 314_000,
    "load_duration": 100_000,
    "prompt_eval_count": 7,
    "prompt_eval_duration": 14_000,
    "eval_count": 10,
    "eval_duration": 200_000,
}

both_clients = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def calculate_tip(bill_amount: float, tip_percentage: int) -> str:
    """Calculate a tip.

    Args:
      bill_amount: The bill
      tip_percentage: The percentage
    """
    return f"{bill_amount * tip_percentage / 100:.2f}"


def get_weather(city: str) -> str:
    """Tell the weather.

    Args:
      city: The city
    """
    return f"Rain in {city}"


def sdk(
    server: FakeOllama, method: str, *, asynchronous: bool = False, **arguments: Any
) -> list[Json]:
    """Call the real SDK; give all that the application gets, without the fields that are None."""
    if asynchronous:
        return asyncio.run(_sdk_async(server, method, arguments))
    with ollama.Client(host=server.url, verify=CONTEXT) as client:
        answer = getattr(client, method)(**arguments)
        parts = [answer] if isinstance(answer, pydantic.BaseModel) else answer
        return [part.model_dump(exclude_none=True) for part in parts]


async def _sdk_async(server: FakeOllama, method: str, arguments: Json) -> list[Json]:
    async with ollama.AsyncClient(host=server.url, verify=CONTEXT) as client:
        answer = await getattr(client, method)(**arguments)
        if isinstance(answer, pydantic.BaseModel):
            return [answer.model_dump(exclude_none=True)]
        return [part.model_dump(exclude_none=True) async for part in answer]


def chat(server: FakeOllama, messages: Sequence[Any] = SKY, **arguments: Any) -> list[Json]:
    return sdk(server, "chat", model="llama3.2", messages=messages, **arguments)


def spoken(parts: list[Json]) -> list[str]:
    return [part["message"]["content"] for part in parts]


def ask(server: FakeOllama, method: str, path: str, body: Any = None) -> httpx.Response:
    """Send a request as it is, past the SDK."""
    content = body if isinstance(body, str | None) else json.dumps(body)
    return httpx.request(method, server.url + path, content=content, verify=CONTEXT)


def seen(response: httpx.Response) -> tuple[int, str | None, bytes]:
    return response.status_code, response.headers.get("content-type"), response.content


def lines_of(exchange: Json) -> list[Any]:
    lines = exchange["lines"]
    return [lines] if isinstance(lines, str) else lines


def as_go_writes(line: Any) -> str:
    """Go's encoding/json escapes these characters."""
    if isinstance(line, str):
        return line
    text = json.dumps(line, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def json_lines(response: httpx.Response) -> list[Any]:
    if "json" not in response.headers["content-type"]:
        return [response.text]
    return [json.loads(line) for line in response.text.splitlines()]


# --- The wire ------------------------------------------------------------------------------------


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange["name"])
def test_a_recorded_answer_is_replayed_byte_for_byte(exchange: Json) -> None:
    recorded = Raw(lines_of(exchange), exchange["status"], exchange["content_type"])
    lines = [as_go_writes(line) for line in lines_of(exchange)]
    streamed = exchange["content_type"] == NDJSON
    body = "".join(f"{line}\n" for line in lines) if streamed else "\n".join(lines)

    with FakeOllama(lambda _: recorded, keep_connections=True) as server:
        response = ask(server, exchange["method"], exchange["path"], exchange["request"])

    assert seen(response) == (exchange["status"], exchange["content_type"], body.encode())
    length = {"transfer-encoding": "chunked"} if streamed else {"content-length": str(len(body))}
    assert dict(response.headers) == {
        "content-type": exchange["content_type"],
        "date": response.headers["date"],
        **length,
    }


def shape(value: Any, name: str = "") -> Any:
    """Tell the names and kinds in a line, in their order; a tool's arguments are the tool's own."""
    if name == "arguments":
        return "arguments"
    if isinstance(value, dict):
        return [(key, shape(item, key)) for key, item in value.items()]
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return "number" if type(value) in (int, float) else type(value).__name__


def shapes(lines: list[Any]) -> tuple[list[str], Any]:
    """Tell the different shapes of the lines of a stream, and the shape of the last line."""
    return sorted({str(shape(line)) for line in lines[:-1]}), shape(lines[-1])


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda exchange: exchange["name"])
def test_a_default_answer_has_the_shape_of_the_recorded_one(exchange: Json) -> None:
    """What is made up here cannot drift from what a real server says."""
    script = [Default(fail_after=3)] if exchange["name"] == "error_mid_stream" else None
    with FakeOllama(script, models=RECORDED_MODELS) as server:
        response = ask(server, exchange["method"], exchange["path"], exchange["request"])

    assert response.status_code == exchange["status"]
    assert response.headers["content-type"] == exchange["content_type"]
    assert shapes(json_lines(response)) == shapes(lines_of(exchange))


ERRORS = [exchange for exchange in EXCHANGES if "error" in lines_of(exchange)[-1]]


@pytest.mark.parametrize("exchange", ERRORS, ids=lambda exchange: exchange["name"])
def test_a_default_error_has_the_words_of_the_recorded_one(exchange: Json) -> None:
    script = [Default(fail_after=3)] if exchange["name"] == "error_mid_stream" else None
    with FakeOllama(script, models=RECORDED_MODELS) as server:
        response = ask(server, exchange["method"], exchange["path"], exchange["request"])

    assert json_lines(response)[-1] == lines_of(exchange)[-1]


def test_the_bytes_of_a_stream_are_those_of_http_1_1() -> None:
    """One chunk per line, the head in front, an empty chunk at the end."""
    with (
        FakeOllama([Raw([{"n": 1}, {"n": 22}], content_type=NDJSON)]) as server,
        socket.create_connection((server.host, server.port)) as connection,
    ):
        connection.sendall(b"POST /api/chat HTTP/1.1\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(4096), b""))

    assert re.sub(rb"Date: [^\r]+", b"Date: *", received) == (
        b"HTTP/1.1 200 OK\r\n"
        b"Content-Type: application/x-ndjson\r\n"
        b"Date: *\r\n"
        b"Transfer-Encoding: chunked\r\n"
        b"Connection: close\r\n"
        b"\r\n"
        b'8\r\n{"n":1}\n\r\n'
        b'9\r\n{"n":22}\n\r\n'
        b"0\r\n\r\n"
    )


def test_characters_are_escaped_as_go_escapes_them() -> None:
    with FakeOllama([Answer('<b>&\u2028"é"')]) as server:
        response = ask(
            server, "POST", "/api/generate", {"model": "m", "prompt": "x", "stream": False}
        )

    assert rb'"response":"\u003cb\u003e\u0026\u2028\"' + 'é\\"",'.encode() in response.content


# --- Default answers -----------------------------------------------------------------------------


@both_clients
def test_a_chat_is_answered(*, asynchronous: bool) -> None:
    with FakeOllama() as server:
        assert chat(server, asynchronous=asynchronous) == [
            {
                **CREATED,
                "message": {
                    "role": "assistant",
                    "content": "The sky is blue because air scatters light.",
                },
                "done": True,
                "done_reason": "stop",
                **SKY_NUMBERS,
            }
        ]


@both_clients
def test_a_chat_is_streamed_word_by_word(*, asynchronous: bool) -> None:
    with FakeOllama() as server:
        assert chat(server, stream=True, asynchronous=asynchronous) == [
            *(
                {**CREATED, "message": {"role": "assistant", "content": word}, "done": False}
                for word in SKY_WORDS
            ),
            {
                **CREATED,
                "message": {"role": "assistant", "content": ""},
                "done": True,
                "done_reason": "stop",
                **SKY_NUMBERS,
            },
        ]


@pytest.mark.parametrize("think", [True, "high"])
def test_a_model_that_is_asked_to_think_thinks_first(*, think: bool | Literal["high"]) -> None:
    with FakeOllama() as server:
        [plain] = chat(server, think=think)
        streamed = chat(server, think=think, stream=True)

    assert plain["message"] == {
        "role": "assistant",
        "content": "The sky is blue because air scatters light.",
        "thinking": "The user asks: Why is the sky blue? A short answer will do.",
    }
    thoughts = [part["message"].get("thinking", "") for part in streamed]
    assert "".join(thoughts) == plain["message"]["thinking"]
    assert thoughts.index("") == len([thought for thought in thoughts if thought])
    assert spoken(streamed)[thoughts.index("") :] == [*SKY_WORDS, ""]
    assert streamed[-1]["eval_count"] == plain["eval_count"] == len(streamed) - 1 + 3


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (
            "Briefly describe the components of an MLflow model",
            "An MLflow model has a flavor, a signature, its dependencies and an input example.",
        ),
        ("Say something\nshort", "A short answer to: Say something short"),
        ("x" * 80, "A short answer to: " + "x" * 80),
        ("x" * 81, "A short answer to: " + "x" * 79 + "…"),
        ("", "There is nothing to answer."),
    ],
)  # fmt: skip
def test_an_answer_depends_on_the_question(question: str, answer: str) -> None:
    with FakeOllama() as server:
        [response] = chat(server, [{"role": "user", "content": question}])

    assert response["message"]["content"] == answer


def test_a_message_without_a_user_is_answered() -> None:
    with FakeOllama() as server:
        [response] = chat(server, [{"role": "system", "content": "Be brief."}])

    assert response["message"]["content"] == "There is nothing to answer."


@both_clients
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_tool_calling_loop_comes_to_its_end(*, asynchronous: bool, stream: bool) -> None:
    """The call's arguments are the numbers of the question; the answer holds the tool's result."""
    call = {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "function": {
                    "name": "calculate_tip",
                    "arguments": {"bill_amount": 187.32, "tip_percentage": 22},
                }
            }
        ],
    }
    result = {"role": "tool", "tool_name": "calculate_tip", "content": "41.21"}
    options: Json = {"tools": [calculate_tip, get_weather], "stream": stream}
    with FakeOllama() as server:
        first = chat(server, TIP, asynchronous=asynchronous, **options)
        last = chat(server, [*TIP, call, result], asynchronous=asynchronous, **options)

    assert first[0]["message"] == call
    assert "".join(spoken(last)) == "Here is the answer: calculate_tip gave 41.21."


def test_tool_calls_are_numbered_through_the_conversation() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("tip", "getWeather")]
    asked = {"role": "user", "content": "What is the weather, and what the tip?"}
    body: Json = {"model": "m", "messages": [asked], "tools": tools, "stream": False}
    with FakeOllama() as server:
        message = json_lines(ask(server, "POST", "/api/chat", body))[0]["message"]
        body["messages"] += [message, {"role": "tool", "content": "rain"}, asked]
        again = json_lines(ask(server, "POST", "/api/chat", body))[0]["message"]

    def calls(start: int) -> list[Json]:
        return [
            {
                "id": f"call_{start + index:08d}",
                "function": {"index": index, "name": name, "arguments": {}},
            }
            for index, name in enumerate(["tip", "getWeather"])
        ]

    assert (message["tool_calls"], again["tool_calls"]) == (calls(0), calls(2))


def test_a_question_that_fits_no_tool_calls_the_first() -> None:
    with FakeOllama() as server:
        [response] = chat(server, SKY, tools=[get_weather, calculate_tip])

    call = {"name": "get_weather", "arguments": {"city": "city"}}
    assert response["message"]["tool_calls"] == [{"function": call}]


def test_several_tool_results_are_summed_up() -> None:
    results = [
        {"role": "tool", "tool_name": "get_weather", "content": "Rain in Paris"},
        {"role": "tool", "content": "41.21"},
    ]
    with FakeOllama() as server:
        [response] = chat(server, [*TIP, *results])
        assert chat(server, results)[0]["message"] == response["message"]

    assert response["message"]["content"] == (
        "Here is the answer: get_weather gave Rain in Paris and the tool gave 41.21."
    )


class Street(pydantic.BaseModel):
    name: str
    number: int = pydantic.Field(ge=7)


class Place(pydantic.BaseModel):
    city: str
    kind: Literal["town", "village"]
    country: Literal["France"]
    streets: list[Street] = pydantic.Field(min_length=2)
    height: float | None
    capital: bool
    twin: Street | None
    nothing: None
    note: str = "none"


def test_an_answer_satisfies_the_json_schema_that_is_asked_for() -> None:
    question = [{"role": "user", "content": "Tell me of Paris and New York, 35.5 m and 12 streets"}]
    with FakeOllama() as server:
        [response] = chat(server, question, format=Place.model_json_schema())

    assert Place.model_validate_json(response["message"]["content"]) == Place(
        city="Paris",
        kind="town",
        country="France",
        streets=[Street(name="New York", number=35), Street(name="name", number=12)],
        height=1,
        capital=True,
        twin=Street(name="name", number=7),
        nothing=None,
        note="none",
    )


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"properties": {"a": {"type": ["null", "integer"]}, "b": {}}}, {"a": 4, "b": "red wine"}),
        ({"properties": {"a": {"default": 3}}}, {"a": 3}),
        ({"properties": {"a": {"properties": {"b": {"type": "null"}}}}}, {"a": {"b": None}}),
        ({"required": ["unknown"]}, {"unknown": "red wine"}),
        ({"type": "array", "items": {"type": "number"}}, [4]),
        ({}, {}),
    ],
)
def test_schemas_of_many_kinds_are_satisfied(schema: Json, value: Any) -> None:
    with FakeOllama() as server:
        body = {"model": "m", "prompt": "4 'red wine'", "format": schema, "stream": False}
        [line] = json_lines(ask(server, "POST", "/api/generate", body))

    # An empty format asks for no format at all.
    assert line["response"] == (
        json.dumps(value, separators=(",", ":")) if schema else "A short answer to: 4 'red wine'"
    )


def test_format_json_gives_a_json_object() -> None:
    with FakeOllama() as server:
        [response] = chat(server, format="json")

    assert json.loads(response["message"]["content"]) == {
        "answer": "The sky is blue because air scatters light."
    }


@both_clients
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_generate_answers_a_prompt(*, asynchronous: bool, stream: bool) -> None:
    arguments: Json = {"model": "llama3.2", "prompt": "Blue sky?", "system": "Be brief."}
    with FakeOllama() as server:
        *parts, last = sdk(
            server, "generate", stream=stream, asynchronous=asynchronous, **arguments
        )

    words = SKY_WORDS if stream else []
    assert parts == [{**CREATED, "response": word, "done": False} for word in words]
    context = last.pop("context")
    assert last == {
        **CREATED,
        "response": "" if stream else "".join(SKY_WORDS),
        "done": True,
        "done_reason": "stop",
        **SKY_NUMBERS,
    }
    assert [0 <= number < 32_000 for number in context] == [True] * (6 + len(SKY_WORDS))


def test_generate_in_raw_mode_gives_no_context() -> None:
    with FakeOllama() as server:
        [response] = sdk(server, "generate", model="m", prompt="sky", raw=True)

    assert "context" not in response


def test_generate_thinks_when_asked_to() -> None:
    with FakeOllama() as server:
        [plain] = sdk(server, "generate", model="m", prompt="sky", think=True)
        streamed = sdk(server, "generate", model="m", prompt="sky", think=True, stream=True)

    thought = "The user asks: sky A short answer will do."
    assert plain["thinking"] == "".join(part.get("thinking", "") for part in streamed) == thought
    assert plain["response"] == "".join(part["response"] for part in streamed)


@both_clients
@pytest.mark.parametrize("keep_alive", [None, "5m", 300, -1])
def test_a_request_with_nothing_to_answer_loads_the_model(
    *, asynchronous: bool, keep_alive: Any
) -> None:
    arguments: Json = {"model": "llama3.2", "keep_alive": keep_alive}
    end = {"done": True, "done_reason": "load"}
    with FakeOllama() as server:
        [by_chat] = sdk(server, "chat", messages=[], asynchronous=asynchronous, **arguments)
        [by_generate] = sdk(server, "generate", asynchronous=asynchronous, **arguments)

    assert by_chat == {**CREATED, "message": {"role": "assistant", "content": ""}, **end}
    assert by_generate == {**CREATED, "response": "", **end}


@pytest.mark.parametrize("keep_alive", [0, 0.0, "0", "0s", "0m", "0.0s", "-0ms"])
def test_a_request_to_keep_nothing_unloads_the_model(keep_alive: Any) -> None:
    end = {"done": True, "done_reason": "unload"}
    with FakeOllama() as server:
        [by_chat] = chat(server, [], keep_alive=keep_alive)
        [by_generate] = sdk(server, "generate", model="llama3.2", keep_alive=keep_alive)

    assert by_chat == {**CREATED, "message": {"role": "assistant", "content": ""}, **end}
    assert by_generate == {**CREATED, "response": "", **end}


@pytest.mark.parametrize(
    ("limit", "text", "reason", "count"),
    [
        (3, "The sky is", "length", 3),
        (9, "".join(SKY_WORDS), "length", 9),
        (10, "".join(SKY_WORDS), "stop", 10),
        (0, "".join(SKY_WORDS), "stop", 10),
        (-1, "".join(SKY_WORDS), "stop", 10),
        (None, "".join(SKY_WORDS), "stop", 10),
    ],
)
def test_num_predict_cuts_an_answer_short(
    limit: int | None, text: str, reason: str, count: int
) -> None:
    with FakeOllama() as server:
        [plain] = chat(server, options={"num_predict": limit})
        streamed = chat(server, options={"num_predict": limit}, stream=True)

    assert (plain["message"]["content"], plain["done_reason"], plain["eval_count"]) == (
        text,
        reason,
        count,
    )
    assert ("".join(spoken(streamed)), streamed[-1]["done_reason"]) == (text, reason)


def test_num_predict_counts_the_thinking_too() -> None:
    with FakeOllama() as server:
        [cut_in_thought] = chat(server, think=True, options={"num_predict": 2})
        [cut_in_text] = chat(server, think=True, options={"num_predict": 17})

    assert cut_in_thought["message"] == {
        "role": "assistant",
        "content": "",
        "thinking": "The user",
    }
    assert cut_in_text["message"]["content"] == "The"
    assert cut_in_text["done_reason"] == "length"


@both_clients
def test_log_probabilities_come_on_request(*, asynchronous: bool) -> None:
    options: Json = {"logprobs": True, "options": {"num_predict": 1}}
    certain = {"token": "The", "logprob": 0}
    with FakeOllama() as server:
        [plain] = chat(server, asynchronous=asynchronous, top_logprobs=3, **options)
        first, last = chat(server, asynchronous=asynchronous, stream=True, **options)

    unlikely = [{"token": "<0>", "logprob": -40.5}, {"token": "<1>", "logprob": -41.5}]
    assert plain["logprobs"] == [{**certain, "top_logprobs": [certain, *unlikely]}]
    assert (first["logprobs"], "logprobs" in last) == ([certain], False)


@both_clients
def test_texts_are_embedded(*, asynchronous: bool) -> None:
    arguments: Json = {"model": "llama3.2", "input": ["red wine", "Red, red wine"], "dimensions": 3}
    with FakeOllama() as server:
        [response] = sdk(server, "embed", asynchronous=asynchronous, **arguments)
        assert sdk(server, "embed", **arguments) == [response]
        [of_one_text] = sdk(server, "embed", **arguments | {"input": "red wine"})

    first, second = response.pop("embeddings")
    assert response == {
        "model": "llama3.2",
        "total_duration": 114_000,
        "load_duration": 100_000,
        "prompt_eval_count": 7,
    }
    assert of_one_text["embeddings"] == [first]
    assert [len(first), len(second)] == [3, 3]
    assert [sum(x * x for x in vector) for vector in (first, second)] == [
        pytest.approx(1),
        pytest.approx(1),
    ]


def test_texts_that_share_words_lie_closer_together() -> None:
    texts = ["the old red house", "a red house, very old", "quick brown foxes jump"]
    with FakeOllama() as server:
        [response] = sdk(server, "embed", model="m", input=texts)

    house, same, fox = response["embeddings"]

    def alike(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert (len(house), alike(house, same) > 0.5 > alike(house, fox)) == (64, True)


@pytest.mark.parametrize("nothing", ["", []])
def test_nothing_to_embed_gives_nothing_and_counts_nothing(nothing: Any) -> None:
    with FakeOllama() as server:
        assert sdk(server, "embed", model="m", input=nothing) == [{"model": "m", "embeddings": []}]
        assert sdk(server, "embeddings", model="m", prompt="") == [{"embedding": []}]


@both_clients
def test_the_old_embeddings_call_gives_one_vector(*, asynchronous: bool) -> None:
    with FakeOllama() as server:
        [old] = sdk(server, "embeddings", model="m", prompt="wine", asynchronous=asynchronous)
        [new] = sdk(server, "embed", model="m", input="wine")

    assert old == {"embedding": new["embeddings"][0]}


DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "llama",
    "families": ["llama"],
    "parameter_size": "3.2B",
    "quantization_level": "Q4_K_M",
}


def test_the_server_tells_its_models() -> None:
    """The fields are those of Ollama's api/types.go (ListModelResponse)."""
    with FakeOllama(models=["llama3.2", "qwen3:8b", "gone"], missing_models=["gone"]) as server:
        [line] = json_lines(ask(server, "GET", "/api/tags"))

    digests = [about.pop("digest") for about in line["models"]]
    assert line["models"] == [
        {
            "name": name,
            "model": name,
            "modified_at": CREATED["created_at"],
            "size": 2_019_393_189,
            "details": DETAILS,
        }
        for name in ("llama3.2:latest", "qwen3:8b")
    ]
    assert [len(digest) for digest in digests] == [64, 64]
    assert digests[0] != digests[1]


def test_the_server_tells_which_models_are_in_memory() -> None:
    """Calls load models, and keep_alive 0 unloads them; ProcessModelResponse in api/types.go."""
    with FakeOllama(missing_models=["nope"]) as server:
        assert sdk(server, "ps") == [{"models": []}]
        for model in ("a", "b", "c"):
            sdk(server, "generate", model=model, prompt="hi")
        sdk(server, "generate", model="b", keep_alive=0)
        with pytest.raises(ollama.ResponseError, match="not found"):
            sdk(server, "generate", model="nope", prompt="hi")
        [line] = json_lines(ask(server, "GET", "/api/ps"))

    assert [about["name"] for about in line["models"]] == ["a:latest", "c:latest"]
    about = line["models"][0]
    del about["digest"]
    assert about == {
        "name": "a:latest",
        "model": "a:latest",
        "size": 2_019_393_189,
        "details": DETAILS,
        "expires_at": "2026-01-01T00:05:00.123456789Z",
        "size_vram": 2_019_393_189,
        "context_length": 4096,
    }


@both_clients
def test_the_sdk_reads_what_the_server_says_of_its_models(*, asynchronous: bool) -> None:
    with FakeOllama() as server:
        [tags] = sdk(server, "list", asynchronous=asynchronous)
        [show] = sdk(server, "show", model="m", asynchronous=asynchronous)

    assert [about["model"] for about in tags["models"]] == ["llama3.2:latest"]
    del show["modified_at"]
    assert show == {
        "modelfile": "FROM m:latest\n",
        "template": "{{ .Prompt }}",
        "details": DETAILS,
        "modelinfo": {"general.architecture": "llama", "llama.context_length": 131_072},
        "capabilities": ["completion", "tools", "thinking", "vision", "embedding"],
    }


TEXT = "text/plain; charset=utf-8"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "content_type", "text"),
    [
        ("GET", "/", None, 200, TEXT, "Ollama is running"),
        ("HEAD", "/", None, 200, TEXT, ""),
        ("GET", "/?x=1", None, 200, TEXT, "Ollama is running"),
        ("GET", "/nothing", None, 404, "text/plain", "404 page not found"),
        ("GET", "/api/chat", None, 405, "text/plain", "405 method not allowed"),
        ("PUT", "/api/tags", None, 405, "text/plain", "405 method not allowed"),
    ],
)
def test_paths_are_routed_as_by_ollama(  # noqa: PLR0913  (a row of a table)
    *, method: str, path: str, body: Any, status: int, content_type: str, text: str
) -> None:
    """As seen from a real server of version 0.24."""
    with FakeOllama() as server:
        response = ask(server, method, path, body)

    assert seen(response) == (status, content_type, text.encode())


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/api/chat", None, 400, "missing request body"),
        ("/api/chat", "xx", 400, "invalid character 'x' looking for beginning of value"),
        ("/api/chat", [1], 400,
         "json: cannot unmarshal array into Go value of type api.ChatRequest"),
        ("/api/embeddings", '"text"', 400,
         "json: cannot unmarshal string into Go value of type api.EmbeddingRequest"),
        ("/api/show", {}, 400, "model is required"),
        ("/api/show", {"name": "nope"}, 404, "model 'nope' not found"),
        ("/api/embeddings", {"prompt": "x"}, 400, "model is required"),
        ("/api/generate", {"prompt": "x"}, 404, "model '' not found"),
        ("/api/embed", {"input": "x"}, 404, "model '' not found"),
        ("/api/generate", {"model": "nope"}, 404, "model 'nope' not found"),
        ("/api/embeddings", {"model": "nope"}, 404, 'model "nope" not found, try pulling it first'),
        ("/api/generate", {"model": "e", "prompt": "x"}, 400, '"e" does not support generate'),
        ("/api/chat", {"model": "t", "tools": [{}]}, 400, "does not support tools"),
        ("/api/chat", {"model": "t", "messages": SKY, "think": "low"}, 400,
         '"t" does not support thinking'),
        ("/api/chat", {"model": "t", "messages": SKY, "options": {"seed": True}}, 500,
         'option "seed" must be of type integer'),
        ("/api/chat", {"model": "t", "messages": SKY, "options": {"stop": "x"}}, 500,
         'option "stop" must be of type array'),
        ("/api/chat", {"model": "t", "messages": SKY, "options": {"use_mmap": 1}}, 500,
         'option "use_mmap" must be of type boolean'),
    ],
)  # fmt: skip
def test_requests_are_refused_in_ollamas_words(
    path: str, body: Any, status: int, message: str
) -> None:
    """Checked with a real server of version 0.24, or read in its sources."""
    models = {"t": ["completion"], "e": ["embedding"]}
    with FakeOllama(models=models) as server:
        response = ask(server, "POST", path, body)

    assert (response.status_code, response.json()) == (status, {"error": message})


def test_a_model_that_cannot_chat_can_be_unloaded() -> None:
    with FakeOllama(models={"e": ["embedding"]}) as server:
        [response] = sdk(server, "chat", model="e", messages=[], keep_alive=0)

    assert response["done_reason"] == "unload"


@pytest.mark.parametrize(
    ("settings", "exists"),
    [
        ({}, {"a": True, "a:latest": True, "b": True}),
        ({"missing_models": ["a"]}, {"a": False, "a:latest": False, "b": True}),
        ({"models": ["a"]}, {"a": True, "a:latest": True, "a:1b": False, "b": False}),
        ({"models": ["a", "b"], "missing_models": ["b:latest"]}, {"a": True, "b": False}),
        ({"models": []}, {"a": False}),
    ],
)
def test_which_models_exist_is_a_setting(settings: Json, exists: dict[str, bool]) -> None:
    with FakeOllama(**settings) as server:
        statuses = {
            name: ask(server, "POST", "/api/show", {"model": name}).status_code for name in exists
        }

    assert statuses == {name: 200 if there else 404 for name, there in exists.items()}


def test_endpoints_without_a_default_say_that_they_need_a_script() -> None:
    reason = "FakeOllama has no default answer for /api/pull: give it a script with a Raw"
    with FakeOllama() as server, pytest.raises(ollama.ResponseError) as caught:
        sdk(server, "pull", model="m")

    assert (caught.value.status_code, caught.value.error) == (501, reason)


def test_a_request_that_makes_no_sense_is_an_error_and_not_a_crash() -> None:
    with FakeOllama() as server:
        response = ask(server, "POST", "/api/chat", {"model": "m", "messages": "text"})
        [request] = server.requests

    assert (response.status_code, response.json()) == (
        500,
        {"error": f"FakeOllama: POST /api/chat: {request.problem}"},
    )
    assert request.problem == """AttributeError("'str' object has no attribute 'get'") was raised"""


# --- What was received ---------------------------------------------------------------------------


def test_requests_are_recorded_as_they_came() -> None:
    with FakeOllama() as server:
        httpx.post(f"{server.url}/api/generate?x=1", json={"model": "m"}, headers={"X-Trace": "7"})
        ask(server, "POST", "/api/chat", "no json")
        ask(server, "DELETE", "/api/delete")
        ask(server, "POST", "/api/chat", {"stream": False})
        generate, garbled, empty, plain = server.requests

    assert (generate.headers["x-trace"], generate.headers["content-type"]) == (
        "7",
        "application/json",
    )
    assert generate == Request("POST", "/api/generate", {"model": "m"}, generate.headers)
    assert (generate.model, generate.streamed, generate.problem) == ("m", True, None)
    assert garbled == Request("POST", "/api/chat", "no json", garbled.headers)
    assert (garbled.model, garbled.fields) == ("", {})
    assert empty == Request("DELETE", "/api/delete", None, empty.headers)
    assert (plain.model, plain.streamed) == ("", False)


def test_a_record_cannot_be_changed() -> None:
    with FakeOllama() as server:
        ask(server, "GET", "/api/version")
        [request] = server.requests
        server.requests.clear()

        with pytest.raises(dataclasses.FrozenInstanceError):
            request.path = "/other"  # type: ignore[misc]  # what this test is about
        with pytest.raises(TypeError, match="does not support item assignment"):
            request.headers["host"] = "x"  # type: ignore[index]  # what this test is about
        assert server.requests == [request]


def test_a_body_that_comes_in_chunks_is_read() -> None:
    with FakeOllama() as server:
        parts = [b'{"model": "m", ', b" " * 300, b'"keep_alive": 0}']
        response = httpx.post(f"{server.url}/api/generate", content=iter(parts))
        [request] = server.requests

    assert request.body == {"model": "m", "keep_alive": 0}
    assert response.json()["done_reason"] == "unload"


@pytest.mark.parametrize(
    "sent",
    [
        b"POST /api/chat HTTP/1.1\r\nContent-Length: 100\r\n\r\n{",
        b"POST /api/chat HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
        b"POST /api/chat HTTP/1.1\r\nContent-Length: many\r\n\r\n",
        b"",
    ],
    ids=["body", "chunk", "length", "nothing"],
)
def test_a_client_that_gives_up_while_it_asks_does_no_harm(
    sent: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with FakeOllama() as server:
        with socket.create_connection((server.host, server.port)) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            assert connection.recv(100) == b""
        assert server.requests == []
        assert spoken(chat(server)) == ["".join(SKY_WORDS)]

    assert capfd.readouterr() == ("", "")


def test_a_test_can_wait_for_requests() -> None:
    with FakeOllama() as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.wait_for_requests, 2)
        ask(server, "GET", "/api/version")
        ask(server, "GET", "/api/tags")
        received = waiting.result(timeout=5)
        assert [request.path for request in received] == ["/api/version", "/api/tags"]
        with pytest.raises(TimeoutError, match=r"2 of 3 requests arrived in 0\.01 s"):
            server.wait_for_requests(3, timeout=0.01)


# --- Scripts -------------------------------------------------------------------------------------


@both_clients
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_script_is_used_up_one_answer_per_call(*, asynchronous: bool, stream: bool) -> None:
    """Questions about the server use nothing up; the endpoints share the script."""
    options: Json = {"stream": stream, "asynchronous": asynchronous}
    script = [Answer("One."), Answer("Two."), Embeddings([[0.5, 0.25]]), Default()]
    with FakeOllama(script) as server:
        first = chat(server, **options)
        sdk(server, "list", asynchronous=asynchronous)
        sdk(server, "ps", asynchronous=asynchronous)
        sdk(server, "show", model="m", asynchronous=asynchronous)
        ask(server, "GET", "/api/version")
        ask(server, "GET", "/")
        second = sdk(server, "generate", model="m", prompt="x", **options)
        before = server.unused
        [third] = sdk(server, "embed", model="m", input="x", asynchronous=asynchronous)
        last = chat(server, **options)
        after = server.unused

    assert (before, after) == ((Embeddings([[0.5, 0.25]]), Default()), ())
    assert "".join(spoken(first)) == "One."
    assert "".join(part["response"] for part in second) == "Two."
    assert third["embeddings"] == [[0.5, 0.25]]
    assert "".join(spoken(last)) == "".join(SKY_WORDS)


@both_clients
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_a_script_that_is_used_up_says_so(*, asynchronous: bool, stream: bool) -> None:
    problem = "the script is used up: this is call 2, and it has 1 answers; add one"
    with FakeOllama([Answer("One.")]) as server:
        chat(server, asynchronous=asynchronous, stream=stream)
        with pytest.raises(ollama.ResponseError) as caught:
            chat(server, asynchronous=asynchronous, stream=stream)
        problems = [request.problem for request in server.requests]

    assert (caught.value.status_code, caught.value.error) == (
        500,
        f"FakeOllama: POST /api/chat: {problem}",
    )
    assert problems == [None, problem]


def test_an_answer_needs_no_more_than_its_text() -> None:
    with FakeOllama([Answer("Yes, it is."), Error()]) as server:
        assert chat(server) == [
            {
                **CREATED,
                "message": {"role": "assistant", "content": "Yes, it is."},
                "done": True,
                "done_reason": "stop",
                **SKY_NUMBERS,
                "total_duration": 234_000,
                "eval_count": 6,
                "eval_duration": 120_000,
            }
        ]
        with pytest.raises(
            ollama.ResponseError, match=r"^internal server error \(status code: 500"
        ):
            chat(server)


def test_a_script_can_be_a_function_of_the_request() -> None:
    def parrot(request: Request) -> Reply:
        return Answer(f"{request.model}: {request.body['messages'][0]['content']}")

    with FakeOllama(parrot) as server:
        assert spoken(chat(server)) == ["llama3.2: Why is the sky blue?"]
        assert server.unused == ()


def fail(_: Request) -> Reply:
    pytest.fail("not what was expected")


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        (lambda _: 1 / 0, "ZeroDivisionError('division by zero') was raised"),
        (fail, "not what was expected was raised"),
        (lambda _: None, "the script returned None: return an Answer or Default()"),
        ([Reply()], "Reply cannot answer /api/chat"),
        ([Embeddings([[1.0]])], "Embeddings cannot answer this; use Answer, Raw or Default"),
    ],
)
def test_a_script_that_cannot_be_followed_is_a_problem_of_the_request(
    script: Any, problem: str
) -> None:
    with FakeOllama(script) as server:
        with pytest.raises(ollama.ResponseError) as caught:
            chat(server)
        [request] = server.requests

    assert (caught.value.status_code, caught.value.error) == (
        500,
        f"FakeOllama: POST /api/chat: {problem}",
    )
    assert request.problem == problem


@pytest.mark.parametrize(
    ("script", "method", "arguments", "problem"),
    [
        (
            Answer("x"),
            "embed",
            {"input": "x"},
            "Answer cannot answer this; use Embeddings, Raw or Default",
        ),
        (
            Answer(tool_calls=[ToolCall("f")]),
            "generate",
            {"prompt": "x"},
            "only /api/chat knows tool calls; leave tool_calls out",
        ),
    ],
)
def test_an_answer_of_the_wrong_kind_is_a_problem(
    script: Reply, method: str, arguments: Json, problem: str
) -> None:
    with FakeOllama([script]) as server:
        with pytest.raises(ollama.ResponseError, match=problem):
            sdk(server, method, model="m", **arguments)
        assert [request.problem for request in server.requests] == [problem]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (["text"], "script[0] is 'text': give Answer(...), Raw(...), Error(...)"),
        ("text", "script[0] is 't': give Answer(...), Raw(...), Error(...)"),
        (Default(), f"a script is a list of answers or a function: give [{Default()!r}]"),
    ],
)
def test_a_script_is_checked_at_once(script: Any, message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        FakeOllama(script)


@pytest.mark.parametrize("name", ["models", "missing_models"])
def test_a_single_name_is_not_taken_for_a_list_of_letters(name: str) -> None:
    settings: Json = {name: "llama3.2"}
    with pytest.raises(TypeError, match=rf"^{name} is a list: give \['llama3.2'\]$"):
        FakeOllama(**settings)


@pytest.mark.parametrize("value", [None, 0, 7])
def test_counts_may_be_absent_zero_or_given(value: int | None) -> None:
    names = [*SKY_NUMBERS, "done_reason"]
    answer = Answer("Yes.", **dict.fromkeys(SKY_NUMBERS, value), done_reason=None)
    with FakeOllama([answer, answer]) as server:
        [plain] = chat(server)
        *_, last = chat(server, stream=True)

    given = {} if value is None else dict.fromkeys(SKY_NUMBERS, value)
    assert {name: plain[name] for name in names if name in plain} == given
    assert {name: last[name] for name in names if name in last} == given


@pytest.mark.parametrize("value", [None, 0, 7])
def test_counts_of_embeddings_may_be_absent_zero_or_given(value: int | None) -> None:
    answer = Embeddings([[1.0]], prompt_eval_count=value, total_duration=value, load_duration=value)
    with FakeOllama([answer]) as server:
        [response] = sdk(server, "embed", model="m", input="x")

    counts = ("prompt_eval_count", "total_duration", "load_duration")
    assert response == {
        "model": "m",
        "embeddings": [[1.0]],
        **({} if value is None else dict.fromkeys(counts, value)),
    }


def test_the_old_embeddings_call_takes_the_first_vector() -> None:
    with FakeOllama([Embeddings([[1.0, 2.0], [3.0]]), Embeddings()]) as server:
        assert sdk(server, "embeddings", model="m", prompt="x") == [{"embedding": [1.0, 2.0]}]
        assert sdk(server, "embeddings", model="m", prompt="x") == [{"embedding": []}]


@both_clients
def test_an_answer_comes_in_the_chunks_that_are_given(*, asynchronous: bool) -> None:
    answer = Answer(chunks=["A", "", "B C"], thinking_chunks=["hm", "m"], done_reason="length")
    with FakeOllama([answer, answer]) as server:
        [plain] = chat(server, asynchronous=asynchronous)
        streamed = chat(server, asynchronous=asynchronous, stream=True)

    assert plain["message"] == {"role": "assistant", "content": "AB C", "thinking": "hmm"}
    assert [part["message"] for part in streamed] == [
        {"role": "assistant", "content": "", "thinking": "hm"},
        {"role": "assistant", "content": "", "thinking": "m"},
        {"role": "assistant", "content": "A"},
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": "B C"},
        {"role": "assistant", "content": ""},
    ]
    assert plain["done_reason"] == streamed[-1]["done_reason"] == "length"


def test_an_answer_can_think_speak_and_call_tools() -> None:
    calls = [ToolCall("f", {"x": [1, None]}), ToolCall("g", id="mine"), ToolCall("h", id=None)]
    answer = Answer("Wait.", thinking="Hm.", tool_calls=calls)
    with FakeOllama([answer]) as server:
        body = {"model": "m", "messages": SKY, "stream": False}
        [line] = json_lines(ask(server, "POST", "/api/chat", body))

    assert line["message"] == {
        "role": "assistant",
        "content": "Wait.",
        "thinking": "Hm.",
        "tool_calls": [
            {
                "id": "call_00000000",
                "function": {"index": 0, "name": "f", "arguments": {"x": [1, None]}},
            },
            {"id": "mine", "function": {"index": 1, "name": "g", "arguments": {}}},
            {"function": {"index": 2, "name": "h", "arguments": {}}},
        ],
    }


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Answer("a b", chunks=["a", "b"]), "the chunks do not add up to the text 'a b'"),
        (
            lambda: Answer(thinking="a", thinking_chunks=[]),
            "the chunks do not add up to the thinking 'a'",
        ),
        (lambda: Raw("text"), "lines is a list: give Raw(['text'])"),
        (lambda: Answer(delay=-1), "delay must be 0 or more and finite, not -1"),
        (
            lambda: Raw(chunk_delay=float("nan")),
            "chunk_delay must be 0 or more and finite, not nan",
        ),
        (lambda: Error(hang_after=-1), "hang_after must be 0 or more and finite, not -1"),
        (
            lambda: Default(drop_after=1, fail_after=1),
            "an answer ends once: give drop_after or fail_after, not both",
        ),
    ],
)
def test_an_answer_that_makes_no_sense_is_refused(make: Callable[[], Reply], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        make()


@both_clients
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
def test_an_http_error_comes_as_scripted(*, asynchronous: bool, stream: bool) -> None:
    with FakeOllama([Error("no room <here>", status=503)]) as server:
        with pytest.raises(ollama.ResponseError) as caught:
            chat(server, asynchronous=asynchronous, stream=stream)
        [request] = server.requests

    assert (caught.value.status_code, caught.value.error) == (503, "no room <here>")
    assert request.problem is None


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        (Raw([{"a": "é"}, '{"b": 1}']), (200, NDJSON, '{"a":"é"}\n{"b": 1}\n'.encode())),
        (Raw([b'{"c"', b': 2}\n{"d": 3}\n']), (200, NDJSON, b'{"c": 2}\n{"d": 3}\n')),
        (Raw(content_type=NDJSON), (200, NDJSON, b"")),
        (Raw(), (200, "application/json; charset=utf-8", b"")),
        (Raw(["{broken"], 201), (201, "application/json; charset=utf-8", b"{broken")),
        (Raw([b"x", "y"], 418, "a/b"), (418, "a/b", b"x\ny")),
    ],
)
def test_raw_lines_go_out_untouched(raw: Raw, sent: tuple[int, str, bytes]) -> None:
    with FakeOllama([raw]) as server:
        assert seen(ask(server, "POST", "/api/chat")) == sent


def test_a_status_that_has_no_name_is_sent() -> None:
    with FakeOllama([Raw(["{}"], status=499)]) as server:
        assert ask(server, "POST", "/api/chat").status_code == 499


def test_a_line_that_is_no_json_breaks_the_stream_in_the_sdk() -> None:
    line = {**CREATED, "message": {"role": "assistant", "content": "The"}, "done": False}
    with (
        FakeOllama([Raw([line, "{broken"])]) as server,
        ollama.Client(host=server.url, verify=CONTEXT) as client,
    ):
        stream = client.chat("m", SKY, stream=True)
        assert next(stream).model_dump(exclude_none=True) == line
        with pytest.raises(json.JSONDecodeError):
            next(stream)


# --- Faults --------------------------------------------------------------------------------------


FAULTS = (ollama.ResponseError, httpx.TransportError)


def broken(
    server: FakeOllama, *, asynchronous: bool = False, stream: bool = True, **options: Any
) -> tuple[list[str], Exception]:
    """Call; give what came before the exception, and the exception."""
    if asynchronous:
        return asyncio.run(_broken_async(server, stream=stream))
    heard: list[str] = []
    with ollama.Client(host=server.url, verify=CONTEXT, **options) as client:
        try:
            answer: Any = client.chat("m", SKY, stream=stream)
            heard.extend(part.message.content for part in answer if stream)
        except FAULTS as error:
            return heard, error
    raise AssertionError(f"nothing went wrong, and this came: {heard or answer}")


async def _broken_async(server: FakeOllama, *, stream: bool) -> tuple[list[str], Exception]:
    heard: list[str] = []
    async with ollama.AsyncClient(host=server.url, verify=CONTEXT) as client:
        try:
            answer: Any = await client.chat("m", SKY, stream=stream)
            if stream:
                async for part in answer:
                    heard += [part.message.content]
        except FAULTS as error:
            return heard, error
    raise AssertionError(f"nothing went wrong, and this came: {heard or answer}")


def told(error: Exception) -> tuple[str, str]:
    return type(error).__name__, str(error)


RUNNER_DIED = "an error was encountered while running the model: unexpected EOF"


@both_clients
@pytest.mark.parametrize("after", [1, 3, 10])
def test_a_stream_can_fail_in_the_middle(*, asynchronous: bool, after: int) -> None:
    with FakeOllama([Default(fail_after=after)]) as server:
        heard, error = broken(server, asynchronous=asynchronous)

    assert heard == [*SKY_WORDS, ""][:after]
    assert told(error) == ("ResponseError", f"{RUNNER_DIED} (status code: -1)")


@both_clients
@pytest.mark.parametrize(("after", "stream"), [(0, True), (0, False), (3, False)])
def test_an_answer_that_fails_at_once_is_an_http_error(
    *, asynchronous: bool, after: int, stream: bool
) -> None:
    """As the real server's is, which has not sent its status by then."""
    with FakeOllama([Answer("x y z", fail_after=after, fail_message="Oh.")]) as server:
        heard, error = broken(server, asynchronous=asynchronous, stream=stream)

    assert (heard, told(error)) == ([], ("ResponseError", "Oh. (status code: 500)"))


NO_ANSWER = ("RemoteProtocolError", "Server disconnected without sending a response.")
CUT_STREAM = (
    "RemoteProtocolError",
    "peer closed connection without sending complete message body (incomplete chunked read)",
)


@both_clients
@pytest.mark.parametrize("keep", [False, True], ids=["ends", "keeps"])
@pytest.mark.parametrize(
    ("after", "error"), [(0, NO_ANSWER), (1, CUT_STREAM), (4, CUT_STREAM), (10, CUT_STREAM)]
)
def test_a_stream_can_be_dropped(
    *, asynchronous: bool, keep: bool, after: int, error: tuple[str, str]
) -> None:
    with FakeOllama([Default(drop_after=after)], keep_connections=keep) as server:
        heard, raised = broken(server, asynchronous=asynchronous)

    assert (heard, told(raised)) == ([*SKY_WORDS, ""][:after], error)


@both_clients
def test_a_plain_answer_can_be_dropped(*, asynchronous: bool) -> None:
    with FakeOllama([Default(drop_after=0), Default(drop_after=5)]) as server:
        _, at_once = broken(server, asynchronous=asynchronous, stream=False)
        _, late = broken(server, asynchronous=asynchronous, stream=False)

    assert told(at_once) == NO_ANSWER
    assert type(late) is httpx.RemoteProtocolError
    received, expected = map(int, re.findall(r"\d+", str(late)))
    assert received == expected - 1


@both_clients
@pytest.mark.parametrize("after", [0, 1, 10])
def test_a_hanging_stream_goes_on_when_released(*, asynchronous: bool, after: int) -> None:
    with FakeOllama([Default(hang_after=after)]) as server, ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(server.wait_for_hanging)
        answer = pool.submit(chat, server, stream=True, asynchronous=asynchronous)
        waiting.result(timeout=5)
        assert not answer.done()
        server.release()
        assert spoken(answer.result()) == [*SKY_WORDS, ""]


def test_a_stream_hangs_after_the_chunks_that_are_given() -> None:
    with FakeOllama([Default(hang_after=3)]) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(broken, server)
        server.wait_for_hanging()
        server.stop()
        heard, error = answer.result()

    assert (heard, told(error)) == (SKY_WORDS[:3], CUT_STREAM)


def test_a_client_loses_patience_with_an_answer_that_hangs() -> None:
    with FakeOllama([Default(hang_after=0)]) as server:
        heard, error = broken(server, timeout=0.05)

    assert (heard, type(error)) == ([], httpx.ReadTimeout)


def test_a_plain_answer_hangs_and_is_released_once_and_for_all() -> None:
    with FakeOllama([Default(hang_after=1), Default(hang_after=0)]) as server:
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(chat, server)
            server.wait_for_hanging()
            server.release()
            answer.result()
        assert spoken(chat(server)) == ["".join(SKY_WORDS)]


def test_a_test_can_wait_until_answers_hang() -> None:
    with FakeOllama(lambda _: Default(hang_after=0)) as server, ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(chat, server) for _ in range(3)]
        server.wait_for_hanging(3)
        with pytest.raises(TimeoutError, match=r"3 of 4 answers hang after 0\.01 s"):
            server.wait_for_hanging(4, timeout=0.01)
        server.release()
        assert [spoken(answer.result()) for answer in answers] == [["".join(SKY_WORDS)]] * 3
        with pytest.raises(TimeoutError, match=r"0 of 1 answers hang after 0\.01 s"):
            server.wait_for_hanging(timeout=0.01)


def test_a_released_answer_can_still_be_dropped() -> None:
    with FakeOllama([Default(hang_after=2, drop_after=2)]) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(broken, server)
        server.wait_for_hanging()
        server.release()
        heard, error = answer.result()

    assert (heard, told(error)) == (SKY_WORDS[:2], CUT_STREAM)


@pytest.mark.parametrize("name", ["hang_after", "drop_after", "fail_after"])
def test_a_fault_beyond_the_end_of_a_stream_is_a_problem(name: str) -> None:
    """Else a test would take an answer for broken that never broke."""
    problem = f"{name}=11, but the answer has 10 chunks"
    with FakeOllama([Default(**{name: 11})]) as server:  # type: ignore[arg-type]  # mypy cannot follow the names
        _, error = broken(server)
        assert server.requests[0].problem == problem

    assert str(error) == f"FakeOllama: POST /api/chat: {problem} (status code: 500)"


def test_an_answer_can_come_late() -> None:
    """The durations in an answer fit the time that it took."""
    with FakeOllama([Default(delay=0.05, chunk_delay=0.01)]) as server:
        started = time.perf_counter()
        *_, last = chat(server, stream=True)
        took = time.perf_counter() - started

    assert took >= 0.05 + 9 * 0.01
    assert {name: last[name] - number for name, number in SKY_NUMBERS.items()} == {
        **dict.fromkeys(SKY_NUMBERS, 0),
        "prompt_eval_duration": 50_000_000,
        "eval_duration": 90_000_000,
        "total_duration": 140_000_000,
    }


def test_embeddings_can_come_late() -> None:
    late = [Default(delay=0.05), Embeddings([[1.0]], delay=0.05)]
    with FakeOllama(late) as server:
        started = time.perf_counter()
        totals = [sdk(server, "embed", model="m", input="x")[0]["total_duration"] for _ in late]
        took = time.perf_counter() - started

    assert took >= 2 * 0.05
    assert totals == [50_104_000, 50_104_000]


def test_a_plain_answer_knows_no_chunks_to_wait_for() -> None:
    with FakeOllama([Default(chunk_delay=30)]) as server:
        [response] = chat(server)

    assert response["eval_duration"] == SKY_NUMBERS["eval_duration"]


# --- Life and death ------------------------------------------------------------------------------


def fake_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("FakeOllama")]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert fake_threads() == []


@pytest.mark.parametrize(
    ("hang_after", "heard", "error"), [(0, [], NO_ANSWER), (2, SKY_WORDS[:2], CUT_STREAM)]
)
def test_a_stop_ends_answers_that_hang(
    hang_after: int, heard: list[str], error: tuple[str, str]
) -> None:
    """At once; the clients see that the connection ends."""
    server = FakeOllama(lambda _: Default(hang_after=hang_after)).start()
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(broken, server) for _ in range(3)]
        server.wait_for_hanging(3)
        started = time.perf_counter()
        server.stop()
        took = time.perf_counter() - started
        ends = [answer.result() for answer in answers]

    assert [(words, told(raised)) for words, raised in ends] == [(heard, error)] * 3
    assert fake_threads() == []
    assert took < 1


def test_a_stop_ends_answers_that_are_late() -> None:
    server = FakeOllama([Default(chunk_delay=60), Default(delay=60)]).start()
    with ollama.Client(host=server.url, verify=CONTEXT) as client, ThreadPoolExecutor(1) as pool:
        stream = client.chat("m", SKY, stream=True)
        assert next(stream).message.content == "The"
        answer = pool.submit(broken, server)
        server.wait_for_requests(2)
        started = time.perf_counter()
        server.stop()
        took = time.perf_counter() - started
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            next(stream)
        assert told(answer.result()[1]) == NO_ANSWER

    assert fake_threads() == []
    assert took < 1


def test_a_stop_ends_idle_connections() -> None:
    server = FakeOllama(keep_connections=True).start()
    with ollama.Client(host=server.url, verify=CONTEXT) as client:
        client.list()
        server.stop()
        assert fake_threads() == []
        with pytest.raises(ConnectionError):
            client.list()


def open_sockets(client: ollama.Client) -> int:
    return len(client._client._transport._pool.connections)


@pytest.mark.parametrize(("settings", "count"), [({}, 0), ({"keep_connections": True}, 1)])
def test_a_client_is_left_with_no_open_socket_unless_wanted(settings: Json, count: int) -> None:
    """Whatever the answer was; a client that is never closed would leak it."""
    with (
        FakeOllama(missing_models=["nope"], **settings) as server,
        ollama.Client(host=server.url, verify=CONTEXT) as client,
    ):
        counts = []
        client.chat("m", SKY)
        counts.append(open_sockets(client))
        list(client.chat("m", SKY, stream=True))
        counts.append(open_sockets(client))
        with pytest.raises(ollama.ResponseError):
            client.chat("nope", SKY)
        counts.append(open_sockets(client))
        httpx.head(server.url, verify=CONTEXT)

    assert counts == [count] * 3


def test_a_stopped_server_starts_again_on_its_port() -> None:
    server = FakeOllama([Answer("One."), Answer("Two.")])
    with server:
        url = server.url
        assert spoken(chat(server)) == ["One."]
    assert server.url == url
    with pytest.raises(ConnectionError):
        chat(server)
    with server:
        assert (server.url, spoken(chat(server))) == (url, ["Two."])
    assert [request.path for request in server.requests] == ["/api/chat"] * 2


def test_start_and_stop_are_particular() -> None:
    server = FakeOllama()
    server.stop()
    assert repr(server) == "FakeOllama(not running)"
    with pytest.raises(RuntimeError, match=r"has no port yet: use `with`, or call start\(\)"):
        _ = server.url
    with pytest.raises(RuntimeError, match=r"does not run: use `with`, or call start\(\)"):
        server.release()
    assert server.start() is server
    assert repr(server) == f"FakeOllama({server.url})"
    with pytest.raises(RuntimeError, match=r"runs already: stop\(\) it first, or make another"):
        server.start()
    server.stop()
    server.stop()


def test_a_port_can_be_chosen() -> None:
    with FakeOllama() as server:
        with pytest.raises(OSError, match="in use"):
            FakeOllama(port=server.port).start()
        port = server.port
    with FakeOllama(port=port) as server:
        assert (server.host, server.port, server.url) == (
            "127.0.0.1",
            port,
            f"http://127.0.0.1:{port}",
        )


def test_nobody_but_this_machine_can_call() -> None:
    with FakeOllama() as server:
        assert server._running().socket.getsockname() == ("127.0.0.1", server.port)


def test_a_client_that_leaves_a_stream_does_no_harm(capfd: pytest.CaptureFixture[str]) -> None:
    """The server meets a closed connection, says nothing, and serves the next one."""
    long = Answer(chunks=["word " * 1000] * 1000, hang_after=2)
    with FakeOllama([long, Default()]) as server:
        with ollama.Client(host=server.url, verify=CONTEXT) as client:
            stream = client.chat("m", SKY, stream=True)
            next(stream)
            server.wait_for_hanging()
            stream.close()
        server.release()
        assert spoken(chat(server)) == ["".join(SKY_WORDS)]

    assert capfd.readouterr() == ("", "")


async def test_a_task_that_is_cancelled_leaves_nothing_behind(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with FakeOllama([Default(hang_after=0), Default()]) as server:
        async with ollama.AsyncClient(host=server.url, verify=CONTEXT) as client:
            task = asyncio.create_task(client.chat("m", SKY))
            await asyncio.to_thread(server.wait_for_hanging)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await client.chat("m", SKY)).message.content == "".join(SKY_WORDS)

    assert capfd.readouterr() == ("", "")


def test_a_function_that_never_returns_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server does not wait for it for ever, nor pass over it in silence."""
    go_on = threading.Event()

    def stuck(_: Request) -> Reply:
        go_on.wait()
        return Default()

    server = FakeOllama(stuck).start()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(broken, server, stream=False)
        server.wait_for_requests()
        monkeypatch.setattr(testing, "_PATIENCE", 0.01)
        with pytest.warns(RuntimeWarning, match="the function given as script has not returned"):
            server.stop()
        left = [t for t in threading.enumerate() if t.name.startswith("FakeOllama")]
        go_on.set()
        assert type(answer.result()[1]) is httpx.RemoteProtocolError
    for thread in left:
        thread.join()


def echo(request: Request) -> Reply:
    return Answer(request.body["messages"][0]["content"])


def test_many_threads_are_served_at_once() -> None:
    """Each gets its own answer; all of them are under way at the same time."""
    count = 40
    everyone = threading.Barrier(count)

    def together(request: Request) -> Reply:
        everyone.wait(timeout=60)
        return echo(request)

    with FakeOllama(together) as server, ThreadPoolExecutor(count) as pool:
        questions = [[{"role": "user", "content": f"question {i}"}] for i in range(count)]
        answers = [pool.submit(chat, server, q, stream=i % 2 == 0) for i, q in enumerate(questions)]
        texts = ["".join(spoken(answer.result())) for answer in answers]
        received = [request.body["messages"] for request in server.requests]

    assert texts == [f"question {i}" for i in range(count)]
    assert sorted(received, key=questions.index) == questions


async def test_many_tasks_are_served_at_once() -> None:
    count = 100

    async def one(client: ollama.AsyncClient, number: int) -> str:
        messages = [{"role": "user", "content": f"question {number}"}]
        stream = await client.chat("m", messages, stream=True)
        return "".join([part.message.content or "" async for part in stream])

    with FakeOllama(echo) as server:
        async with ollama.AsyncClient(host=server.url, verify=CONTEXT) as client:
            answers = await asyncio.gather(*(one(client, number) for number in range(count)))

    assert answers == [f"question {number}" for number in range(count)]


def test_a_script_is_used_up_once_by_many_clients() -> None:
    count = 60
    with FakeOllama([Answer(str(i)) for i in range(count)]) as server:
        with ThreadPoolExecutor(20) as pool:
            answers = [pool.submit(chat, server) for _ in range(count)]
            texts = [spoken(answer.result())[0] for answer in answers]
        assert server.unused == ()

    assert sorted(texts, key=int) == [str(i) for i in range(count)]


# --- The module ----------------------------------------------------------------------------------


def test_the_examples_in_the_documentation_are_true() -> None:
    result = doctest.testmod(testing)

    assert (result.failed, result.attempted) == (0, 11)


def test_the_standard_library_is_enough() -> None:
    """No SDK, no OpenTelemetry, no MLflow: a stand-in must not bring what it stands in for."""
    code = (
        "import sys; before = set(sys.modules); import ollama_otel.testing; "
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}; "
        "print(*sorted(new - set(sys.stdlib_module_names)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert run.stdout.split() == ["ollama_otel"]


def test_the_public_names_are_these() -> None:
    assert sorted(testing.__all__) == [
        "AUTO",
        "Answer",
        "Auto",
        "Default",
        "Embeddings",
        "Error",
        "FakeOllama",
        "Raw",
        "Reply",
        "Request",
        "Script",
        "ToolCall",
    ]
