"""Wherever a call of a real server is made, its span has the parent that the application means."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import ollama
import pytest
from opentelemetry import baggage, context
from opentelemetry.trace import get_current_span

from .sdk_calls import LIMIT, QUESTIONS
from .span_tree import parents, tree

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from opentelemetry.trace import Tracer

    from conftest import Instrument
    from telemetry import Recording

    from .servers import OllamaServer

ANSWERS = 3  # calls at the same time: the server has four slots


@pytest.fixture
def recording(instrument: Instrument) -> Recording:
    return instrument()


@pytest.fixture
def tracer(recording: Recording) -> Tracer:
    return recording.tracer_provider.get_tracer("application")


@pytest.fixture
def client(ollama_server: OllamaServer) -> Iterator[ollama.Client]:
    with ollama.Client(ollama_server.url, timeout=LIMIT) as client:
        yield client


@pytest.fixture
async def async_client(ollama_server: OllamaServer) -> AsyncIterator[ollama.AsyncClient]:
    async with ollama.AsyncClient(ollama_server.url, timeout=LIMIT) as client:
        yield client


def chat(client: ollama.Client) -> Any:
    return client.chat("scripted", **QUESTIONS["chat"])


def chat_stream(client: ollama.Client) -> Iterator[Any]:
    return iter(client.chat("scripted", **QUESTIONS["chat"], stream=True))


def in_span(tracer: Tracer, name: str, call: Callable[[], Any]) -> Any:
    with tracer.start_as_current_span(name):
        return call()


def test_thread_pools_with_copied_contexts(
    client: ollama.Client, recording: Recording, tracer: Tracer
) -> None:
    """What runs in a copy of the context belongs to the span there, what does not to none."""
    with ThreadPoolExecutor(ANSWERS) as pool, tracer.start_as_current_span("application"):
        calls = [
            pool.submit(contextvars.copy_context().run, in_span, tracer, f"job {number}", call)
            for number, call in enumerate([partial(chat, client)] * ANSWERS)
        ]
        pool.submit(in_span, tracer, "elsewhere", partial(chat, client)).result()
        assert all(call.result() for call in calls)
    numbered = [f"job {number}" for number in range(ANSWERS)]
    assert parents(recording.spans) == [
        ("application", ""),
        ("chat scripted", "elsewhere"),
        *(("chat scripted", job) for job in numbered),
        ("elsewhere", ""),
        *((job, "application") for job in numbered),
    ]


def test_a_stream_that_another_thread_reads(
    client: ollama.Client, recording: Recording, tracer: Tracer
) -> None:
    """It belongs to the span in which it was asked for, and leaves nothing in the thread."""
    with tracer.start_as_current_span("asks"):
        stream = chat_stream(client)
    found = []

    def read() -> None:
        with tracer.start_as_current_span("reads") as span:
            found.extend([get_current_span() is span for _ in stream])
            chat(client)

    thread = threading.Thread(target=read)
    thread.start()
    thread.join(LIMIT)
    assert found == [True] * 10
    assert tree(recording.spans) == ["asks", " chat scripted", "reads", " chat scripted"]


def test_two_streams_that_are_read_in_turn(
    client: ollama.Client, recording: Recording, tracer: Tracer
) -> None:
    """Neither is part of the other, nor of what the loop does."""
    with tracer.start_as_current_span("application"):
        with tracer.start_as_current_span("first"):
            first = chat_stream(client)
        with tracer.start_as_current_span("second"):
            second = chat_stream(client)
        for pair in zip(first, second, strict=True):
            with tracer.start_as_current_span("work"):
                assert pair[0].message.content == pair[1].message.content
    assert tree(recording.spans) == [
        *("application", " first", "  chat scripted", " second", "  chat scripted"),
        *[" work"] * 10,
    ]


def test_a_call_in_the_loop_body(
    client: ollama.Client, recording: Recording, tracer: Tracer
) -> None:
    """It stands beside the stream, and not below it; all calls are recorded."""
    with tracer.start_as_current_span("application") as span:
        for chunk in chat_stream(client):
            assert get_current_span() is span
            if chunk.message.content == "The":
                chat(client)
                client.embed("embedder", "text")
    assert tree(recording.spans) == [
        *("application", " chat scripted", " chat scripted", " embeddings embedder"),
    ]


def test_the_context_of_the_application_is_untouched(
    client: ollama.Client, recording: Recording
) -> None:
    """Baggage is there during and after a stream, drained or broken off."""
    token = context.attach(baggage.set_baggage("team", "blue"))
    before = context.get_current()
    try:
        assert [baggage.get_baggage("team") for _ in chat_stream(client)] == ["blue"] * 10
        next(chat_stream(client))
        assert context.get_current() is before
    finally:
        context.detach(token)
    assert tree(recording.spans) == ["chat scripted", "chat scripted"]


async def test_gathered_calls(
    async_client: ollama.AsyncClient, recording: Recording, tracer: Tracer
) -> None:
    """Each belongs to the span of its own task."""

    async def job(number: int) -> None:
        with tracer.start_as_current_span(f"job {number}"):
            await async_client.chat("scripted", **QUESTIONS["chat"])
            stream = await async_client.chat("scripted", **QUESTIONS["chat"], stream=True)
            assert len([chunk async for chunk in stream]) == 10

    with tracer.start_as_current_span("application"):
        await asyncio.gather(*map(job, range(ANSWERS)))
    assert tree(recording.spans) == ["application", *jobs("chat scripted", "chat scripted")]


async def test_a_task_group(
    async_client: ollama.AsyncClient, recording: Recording, tracer: Tracer
) -> None:
    """Each belongs to the span of its own task."""

    async def job(number: int) -> None:
        with tracer.start_as_current_span(f"job {number}"):
            await async_client.chat("scripted", **QUESTIONS["chat"])

    with tracer.start_as_current_span("application"):
        async with anyio.create_task_group() as group:
            for number in range(ANSWERS):
                group.start_soon(job, number)
    assert tree(recording.spans) == ["application", *jobs("chat scripted")]


def jobs(*calls: str) -> Iterator[str]:
    for number in range(ANSWERS):
        yield f" job {number}"
        yield from (f"  {call}" for call in calls)


async def test_an_async_stream_that_another_task_reads(
    async_client: ollama.AsyncClient, recording: Recording, tracer: Tracer
) -> None:
    """It belongs to the span in which it was asked for."""
    with tracer.start_as_current_span("asks"):
        stream = await async_client.chat("scripted", **QUESTIONS["chat"], stream=True)

    async def read() -> None:
        with tracer.start_as_current_span("reads") as span:
            async for _ in stream:
                assert get_current_span() is span
            await async_client.chat("scripted", **QUESTIONS["chat"])

    await asyncio.create_task(read())
    assert tree(recording.spans) == ["asks", " chat scripted", "reads", " chat scripted"]


async def test_a_call_in_the_body_of_an_async_loop(
    async_client: ollama.AsyncClient, recording: Recording, tracer: Tracer
) -> None:
    """It stands beside the stream, and not below it."""
    with tracer.start_as_current_span("application") as span:
        stream = await async_client.chat("scripted", **QUESTIONS["chat"], stream=True)
        async for chunk in stream:
            assert get_current_span() is span
            if chunk.message.content == "The":
                await async_client.generate("scripted", **QUESTIONS["generate"])
    assert tree(recording.spans) == [
        *("application", " chat scripted", " text_completion scripted"),
    ]
