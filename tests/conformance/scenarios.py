"""Programs that use the SDK as applications do, against answers recorded from a real server.

A program is a generator that yields what it asks and gets what comes of it, so that one text
runs with the sync and the async client.
"""

import asyncio
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import httpx
import ollama

from conformance.checker import Call
from recorded import EXCHANGES, URL, Exchange


@dataclass(frozen=True)
class Ask:
    """One call of the SDK.

    Args:
        exchange: the name of the recorded exchange whose answer the server gives.
        take: how many chunks of a stream are read at most.
        arguments: what replaces the recorded arguments.
    """

    exchange: str
    take: int | None = None
    arguments: dict[str, Any] = field(default_factory=dict)


Got: TypeAlias = Sequence[Mapping[str, Any]]
Program: TypeAlias = Generator[Ask, Got, None]

PNG = b"\x89PNG\r\n\x1a\n" + bytes(24)


def plain_chat() -> Program:
    yield Ask("chat_plain")
    yield Ask("chat_length_plain")
    yield Ask("chat_logprobs_plain")
    yield Ask("chat_empty_content_message")


def streamed_chat() -> Program:
    yield Ask("chat_stream")
    yield Ask("chat_length_stream")


def stream_broken_off() -> Program:
    yield Ask("chat_stream", take=3)
    yield Ask("generate_stream", take=1)


def thinking() -> Program:
    yield Ask("chat_thinking_plain")
    yield Ask("chat_thinking_stream")
    yield Ask("generate_thinking_plain")


def tool_calling() -> Program:
    """The loop of an agent: call the tools that the model asks for until it asks no more."""
    for kind in ("plain", "stream"):
        first = EXCHANGES[f"chat_two_tool_calls_{kind}"].arguments
        messages = list(first["messages"])
        got = yield Ask(f"chat_two_tool_calls_{kind}")
        for chunk in got:
            messages.append(chunk["message"])
            messages.extend(
                {
                    "role": "tool",
                    "tool_name": call["function"]["name"],
                    "content": json.dumps({"answer": 41.21}),
                }
                for call in chunk["message"]["tool_calls"] or ()
            )
        yield Ask(
            f"chat_tool_result_{kind}", arguments={"messages": messages, "tools": first["tools"]}
        )


def tools_as_functions() -> Program:
    def calculate_tip(bill: float, percentage: float = 22) -> float:
        """Calculate a tip.

        Args:
            bill: The bill
            percentage: How much to give
        """
        return bill * percentage / 100

    yield Ask("chat_tool_call_plain", arguments={"tools": [calculate_tip]})


def structured_output() -> Program:
    yield Ask("chat_json_schema_plain")
    yield Ask("chat_json_schema_stream")
    yield Ask("generate_plain", arguments={"format": "json"})


def images() -> Program:
    looked_at = {"role": "user", "content": "What is this?", "images": [PNG]}
    yield Ask("chat_plain", arguments={"messages": [looked_at]})
    looked_at = {"role": "user", "content": "And this?", "images": [PNG + bytes(100_000)]}
    yield Ask("chat_stream", arguments={"messages": [looked_at]})
    yield Ask("generate_plain", arguments={"images": [PNG]})


def all_options() -> Program:
    options = {
        "temperature": 1,
        "top_p": 0.9,
        "top_k": 40,
        "num_predict": 64,
        "seed": 7,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.25,
        "repeat_penalty": 1.1,
        "stop": ["STOP"],
        "num_ctx": 4096,
    }
    yield Ask("chat_plain", arguments={"options": options, "keep_alive": "5m"})
    yield Ask("chat_plain", arguments={"options": {"num_predict": -1}})


def generate() -> Program:
    yield Ask("generate_plain")
    yield Ask("generate_stream", arguments={"suffix": "."})
    yield Ask("generate_raw_stream")


def embeddings() -> Program:
    yield Ask("embed_one")
    yield Ask("embed_many")
    yield Ask("embed_empty")
    yield Ask("embeddings_legacy")


def failed_calls() -> Program:
    yield Ask("error_no_such_model")
    yield Ask("error_no_such_model_stream")
    yield Ask("error_tools_unsupported")
    yield Ask("error_bad_option", arguments={"options": {"temperature": 0.5}})
    yield Ask("error_embed_no_such_model")
    yield Ask("error_mid_stream")


def load_and_unload() -> Program:
    yield Ask("chat_load")
    yield Ask("chat_unload")
    yield Ask("generate_load")


SCENARIOS: dict[str, Callable[[], Program]] = {
    program.__name__: program
    for program in (
        plain_chat,
        streamed_chat,
        stream_broken_off,
        thinking,
        tool_calling,
        tools_as_functions,
        structured_output,
        images,
        all_options,
        generate,
        embeddings,
        failed_calls,
        load_and_unload,
    )
}


# Running them ---------------------------------------------------------------------------------


def run(program: Program, *, asynchronous: bool) -> list[Call]:
    """Run a program to its end, and return its calls as they were."""
    return asyncio.run(_run(program, asynchronous=asynchronous))


async def _run(program: Program, *, asynchronous: bool) -> list[Call]:
    calls: list[Call] = []
    ask = next(program)
    while True:
        calls.append(await _call(ask, asynchronous=asynchronous))
        try:
            ask = program.send(calls[-1].got)
        except StopIteration:
            return calls


async def _call(ask: Ask, *, asynchronous: bool) -> Call:
    exchange = EXCHANGES[ask.exchange]
    sent: list[httpx.Request] = []

    def respond(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return exchange.respond(request)

    got: list[dict[str, Any]] = []
    transport = httpx.MockTransport(respond)
    try:
        if asynchronous:
            await _ask_async(ollama.AsyncClient(URL, transport=transport), exchange, ask, got)
        else:
            _ask(ollama.Client(URL, transport=transport), exchange, ask, got)
    except ollama.ResponseError:
        return _told(sent, got, failed=True)
    return _told(sent, got, failed=False)


def _told(sent: Sequence[httpx.Request], got: Got, *, failed: bool) -> Call:
    (request,) = sent
    return Call(request.url.path, json.loads(request.content), got, failed)


def _ask(client: ollama.Client, exchange: Exchange, ask: Ask, got: list[dict[str, Any]]) -> None:
    result = getattr(client, exchange.method)(**exchange.arguments | ask.arguments)
    if hasattr(result, "model_dump"):
        got.append(result.model_dump())
        return
    for chunk in result:
        got.append(chunk.model_dump())
        if len(got) == ask.take:
            break
    result.close()


async def _ask_async(
    client: ollama.AsyncClient, exchange: Exchange, ask: Ask, got: list[dict[str, Any]]
) -> None:
    result = await getattr(client, exchange.method)(**exchange.arguments | ask.arguments)
    if hasattr(result, "model_dump"):
        got.append(result.model_dump())
        return
    async for chunk in result:
        got.append(chunk.model_dump())
        if len(got) == ask.take:
            break
    await result.aclose()
