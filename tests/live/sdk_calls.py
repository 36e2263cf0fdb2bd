"""Make calls of the SDK in this process, and write down what the application gets of them."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import ollama
from pydantic import BaseModel

from expected import answered, client_span, part, said, text

from .expected_spans import BECAUSE, SKY

if TYPE_CHECKING:
    from .stream_uses import Seen, Use

Values = dict[str, Any]

LIMIT = 20.0  # seconds until a server that hangs makes a test fail
VARYING = {
    *("created_at", "total_duration", "load_duration", "prompt_eval_duration", "eval_duration"),
}

QUESTIONS: dict[str, Values] = {
    "chat": {"messages": [{"role": "user", "content": SKY}], "think": False},
    "generate": {"prompt": SKY, "think": False},
}
OPERATIONS = {
    "chat": "chat",
    "generate": "text_completion",
    "embed": "embeddings",
    "embeddings": "embeddings",
}
"""The SDK's method → the conventions' operation."""


def plain(value: Any) -> Any:
    """Return what the application got as plain data, without what differs from run to run."""
    if isinstance(value, BaseModel):
        return type(value).__name__, value.model_dump(exclude=VARYING)
    if isinstance(value, BaseException):
        return type(value), str(value)
    return value


def unload(url: str) -> None:
    """Unload the chat model, which frees what a dropped call still holds on the server.

    Not with the SDK: that would be one more call to be recorded.
    """
    asked = {"model": "scripted", "keep_alive": 0}
    httpx.post(f"{url}/api/generate", json=asked, timeout=LIMIT, trust_env=False).raise_for_status()


def use(url: str, method: str, way: Use, *, asynchronous: bool) -> list[Any]:
    """Ask for a stream, use it in a way, and return all that the application gets.

    Args:
        url: where the server answers.
        method: "chat" or "generate".
        way: what the application does with the stream.
        asynchronous: with which client.
    """
    seen: Seen = []
    try:
        if asynchronous:
            asyncio.run(_use_async(url, method, way, seen))
        else:
            with ollama.Client(url, timeout=LIMIT) as client:
                way.sync(
                    getattr(client, method)("scripted", **QUESTIONS[method], stream=True), seen
                )
    except Exception as error:  # noqa: BLE001 - compared with what comes without us
        seen.append(plain(error))
    return [plain(each) for each in seen]


async def _use_async(url: str, method: str, way: Use, seen: Seen) -> None:
    async with ollama.AsyncClient(url, timeout=LIMIT) as client:
        call = getattr(client, method)
        await way.asynchronous(await call("scripted", **QUESTIONS[method], stream=True), seen)


def ask(url: str, method: str, model: str, arguments: Values, *, asynchronous: bool) -> list[Any]:
    """Make a call, read its answer to the end, and return all that the application gets.

    Args:
        url: where the server answers.
        method: of the SDK's clients.
        model: the model asked.
        arguments: the call's other arguments.
        asynchronous: with which client.
    """
    try:
        if asynchronous:
            return asyncio.run(_ask_async(url, method, model, arguments))
        with ollama.Client(url, timeout=LIMIT) as client:
            answer = getattr(client, method)(model, **arguments)
            return [plain(each) for each in ([answer] if _is_whole(answer) else answer)]
    except Exception as error:  # noqa: BLE001 - compared with what comes without us
        return [plain(error)]


async def _ask_async(url: str, method: str, model: str, arguments: Values) -> list[Any]:
    async with ollama.AsyncClient(url, timeout=LIMIT) as client:
        answer = await getattr(client, method)(model, **arguments)
        if _is_whole(answer):
            return [plain(answer)]
        return [plain(chunk) async for chunk in answer]


def _is_whole(answer: Any) -> bool:
    return isinstance(answer, BaseModel)


def span_of(
    port: int | None,
    method: str,
    attributes: Values,
    *,
    model: str = "scripted",
    error: tuple[str, str] | None = None,
) -> Values:
    """Return the whole span of a call, as telemetry.told() tells it.

    Args:
        port: where the server listens.
        method: of the SDK's clients.
        attributes: those that this call has beside those that every call has.
        model: the model asked.
        error: type and message of what was raised, where the call failed.
    """
    operation = OPERATIONS[method]
    common = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "ollama",
        "gen_ai.request.model": model,
        "server.address": "127.0.0.1",
        "server.port": port,
    }
    span = partial(client_span, f"{operation} {model}")
    if error is None:
        return span(common | attributes)
    kind, told = error
    return span({"error.type": kind} | common | attributes, told, kind)


ASKED = {
    "gen_ai.input.messages": [text("user", SKY)],
    "gen_ai.request.reasoning.level": "false",
}
STREAMED = {"gen_ai.request.stream": True, "gen_ai.response.time_to_first_chunk": "float"}
ANSWERED = answered("stop", input=21, output=10) | {
    "gen_ai.output.messages": said("stop", part("text", content=BECAUSE)),
}


def begun(content: str) -> Values:
    """Return the attributes of an answer that began and never came to its end."""
    return answered("error") | {
        "gen_ai.output.messages": said("error", part("text", content=content)),
    }
