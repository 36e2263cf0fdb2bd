"""Beside other instrumentations and frameworks: the tree is right and nothing is counted twice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

from .availability import unavailable_skips
from .expected_spans import BECAUSE, SKY
from .sdk_calls import LIMIT, VARYING
from .span_tree import tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from langchain_core.messages import BaseMessage
    from langchain_ollama import ChatOllama

    from conftest import Instrument
    from telemetry import Recording

    from .servers import OllamaServer

Values = dict[str, Any]


def calculate_tip(bill_amount: float, tip_percentage: int) -> str:
    """Calculate the tip."""
    return f"{bill_amount * tip_percentage / 100:.2f}"


def invoke(model: ChatOllama) -> list[BaseMessage]:
    return [model.invoke(SKY)]


def stream(model: ChatOllama) -> list[BaseMessage]:
    return list(model.stream(SKY))


def ask_with_tools(model: ChatOllama) -> list[BaseMessage]:
    return [model.bind_tools([calculate_tip]).invoke("What is the tip?")]


def batch(model: ChatOllama) -> list[BaseMessage]:
    return list(model.batch([SKY, SKY]))


def ainvoke(model: ChatOllama) -> list[BaseMessage]:
    return [asyncio.run(model.ainvoke(SKY))]


def astream(model: ChatOllama) -> list[BaseMessage]:
    async def read() -> list[BaseMessage]:
        return [chunk async for chunk in model.astream(SKY)]

    return asyncio.run(read())


@dataclass(frozen=True)
class Use:
    """A way to use LangChain's model.

    Attributes:
        call: uses it, and gives what the application gets.
        calls: how many calls of Ollama it takes.
        tokens: how many went in and came out of each.
    """

    call: Callable[[ChatOllama], list[BaseMessage]]
    calls: int = 1
    tokens: tuple[int, int] = (21, 10)


USES = {
    "invoke": Use(invoke),
    "stream": Use(stream),
    "with tools": Use(ask_with_tools, tokens=(21, 6)),
    "batch": Use(batch, calls=2),
    "ainvoke": Use(ainvoke),
    "astream": Use(astream),
}

every_use = pytest.mark.parametrize("use", USES.values(), ids=USES)


def make_model(url: str) -> ChatOllama:
    """Return LangChain's model with clients of its own, as every call of a test wants."""
    with unavailable_skips():
        from langchain_ollama import ChatOllama  # noqa: PLC0415 - only in group live

    return ChatOllama(
        model="scripted",
        base_url=url,
        reasoning=False,
        # It cannot be closed, so that no connection may be left over.
        client_kwargs={"timeout": LIMIT, "limits": httpx.Limits(max_keepalive_connections=0)},
    )


@pytest.fixture
def watched(instrument: Instrument) -> Iterator[Callable[[], Recording]]:
    """Give a function that instruments the SDK and httpx."""
    httpx_instrumentor = HTTPXClientInstrumentor()

    def start() -> Recording:
        recording = instrument()
        httpx_instrumentor.instrument(tracer_provider=recording.tracer_provider)
        return recording

    yield start
    httpx_instrumentor.uninstrument()


@pytest.fixture
def langchain_too(watched: Callable[[], Recording]) -> Iterator[Callable[[], Recording]]:
    """Give a function that instruments LangChain besides, with OpenTelemetry's own package."""
    with unavailable_skips():
        from opentelemetry.instrumentation.genai.langchain import (  # noqa: PLC0415 - only in group live
            LangChainInstrumentor,
        )

    instrumentor = LangChainInstrumentor()  # type: ignore[no-untyped-call]  # not annotated

    def start() -> Recording:
        recording = watched()
        # It asks for the package langchain, and instruments langchain_core.
        instrumentor.instrument(skip_dep_check=True, **recording.providers)
        return recording

    yield start
    instrumentor.uninstrument()


def seen(messages: list[BaseMessage]) -> list[Values]:
    """Return what the application got, without ids, times and durations."""
    return [_seen(message) for message in messages]


def _seen(message: BaseMessage) -> Values:
    got = message.model_dump(exclude={"id"})
    got["response_metadata"] = _without(got["response_metadata"], VARYING)
    for calls in ("tool_calls", "tool_call_chunks"):
        got[calls] = [_without(call, {"id"}) for call in got.get(calls, ())]
    return got


def _without(values: Values, names: set[str]) -> Values:
    return {name: value for name, value in values.items() if name not in names}


def in_application(recording: Recording, use: Use, model: ChatOllama) -> list[Values]:
    tracer = recording.tracer_provider.get_tracer("application")
    with tracer.start_as_current_span("application"):
        return seen(use.call(model))


def sums(recording: Recording) -> dict[str, list[str]]:
    """Return how much was measured by each of the metrics that count calls and tokens."""
    points = recording.points()
    return {
        name: [amount for _, amount in points[f"gen_ai.client.{name}"]]
        for name in ("operation.duration", "token.usage")
    }


def expected_sums(use: Use) -> dict[str, list[str]]:
    return {
        "operation.duration": [f"{use.calls} s"],
        "token.usage": [f"{use.calls * count} {{token}}" for count in use.tokens],
    }


@every_use
def test_langchain_with_httpx_instrumented(
    ollama_server: OllamaServer, watched: Callable[[], Recording], use: Use
) -> None:
    """Each call of the model is one span below the application's, with the request below it."""
    without_us = seen(use.call(make_model(ollama_server.url)))
    recording = watched()
    assert in_application(recording, use, make_model(ollama_server.url)) == without_us
    assert tree(recording.spans) == ["application", *[" chat scripted", "  POST"] * use.calls]
    assert sums(recording) == expected_sums(use)


@every_use
def test_langchain_that_is_instrumented_too(
    ollama_server: OllamaServer, langchain_too: Callable[[], Recording], use: Use
) -> None:
    """LangChain's span is the only one of the call, and tokens are counted once.

    What only we know, the server's address, is told on its span.
    """
    without_us = seen(use.call(make_model(ollama_server.url)))
    recording = langchain_too()
    assert in_application(recording, use, make_model(ollama_server.url)) == without_us
    assert tree(recording.spans) == ["application", *[" chat scripted", "  POST"] * use.calls]
    assert sums(recording) == expected_sums(use)
    (scope,) = {
        span.instrumentation_scope.name
        for span in recording.spans
        if span.name == "chat scripted" and span.instrumentation_scope
    }
    assert scope == "opentelemetry.instrumentation.genai.langchain"
    addresses = {
        (span.attributes or {}).get("server.address")
        for span in recording.spans
        if span.name == "chat scripted"
    }
    assert addresses == {"127.0.0.1"}


def test_what_the_application_gets_is_an_answer(ollama_server: OllamaServer) -> None:
    """The comparison above is not one of two failures."""
    assert [message.content for message in invoke(make_model(ollama_server.url))] == [BECAUSE]
