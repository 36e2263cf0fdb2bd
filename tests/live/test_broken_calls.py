"""Calls that a real server, or the application, breaks off: the same error, and one whole span."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import ollama
import pytest

from expected import text

from . import servers
from .availability import unavailable_skips
from .sdk_calls import ASKED, LIMIT, QUESTIONS, STREAMED, ask, begun, plain, span_of, unload
from .servers import free_address
from .test_ollama_answers import children

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from conftest import Instrument

    from .servers import OllamaServer

Values = dict[str, Any]

ENDLESS: dict[str, Values] = {
    "chat": {"messages": [{"role": "user", "content": "loop"}], "think": False},
    "generate": {"prompt": "loop", "think": False},
}
ASKED_ENDLESSLY = ASKED | {"gen_ai.input.messages": [text("user", "loop")]}
NOT_FOUND = "model 'nope' not found"
NOBODY = (
    "Failed to connect to Ollama. Please check that Ollama is downloaded, running and accessible. "
    "https://ollama.com/download"
)
# Loading a model takes some hundred milliseconds: more than a client wants to wait that reads
# with this limit, and never less than it takes to connect.
IMPATIENT = httpx.Timeout(LIMIT, read=0.05)  # seconds

both_methods = pytest.mark.parametrize("method", ["chat", "generate"])
both_clients = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
both_ways = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OllamaServer]:
    """A server of its own: calls that are broken off can make it hang."""
    with unavailable_skips(), servers.ollama_server(tmp_path_factory.mktemp("broken")) as running:
        yield running


@pytest.fixture
def url(server: OllamaServer) -> Iterator[str]:
    """Where it answers; what a call still holds there is freed by unloading."""
    yield server.url
    unload(server.url)


def streamed(*, stream: bool) -> Values:
    return {"gen_ai.request.stream": True} if stream else {}


@both_ways
@both_methods
@both_clients
def test_a_model_that_is_missing(
    server: OllamaServer, instrument: Instrument, method: str, *, asynchronous: bool, stream: bool
) -> None:
    """The status of the answer is the type of the error; a stream has it at its first read."""
    call = (server.url, method, "nope", QUESTIONS[method] | {"stream": stream})
    without_us = ask(*call, asynchronous=asynchronous)
    recording = instrument()
    assert ask(*call, asynchronous=asynchronous) == without_us
    assert without_us == [(ollama.ResponseError, f"{NOT_FOUND} (status code: 404)")]
    expected = span_of(
        urlsplit(server.url).port,
        method,
        ASKED | streamed(stream=stream) | {"error.type": "404"},
        model="nope",
        error=("ollama.ResponseError", f"{NOT_FOUND} (status code: 404)"),
    )
    assert recording.span == expected


@both_methods
@both_clients
def test_a_server_that_is_down(instrument: Instrument, method: str, *, asynchronous: bool) -> None:
    """The SDK's own advice is what the span says."""
    address = free_address()
    call = (f"http://{address}", method, "scripted", QUESTIONS[method])
    without_us = ask(*call, asynchronous=asynchronous)
    recording = instrument()
    assert ask(*call, asynchronous=asynchronous) == without_us
    assert without_us == [(ConnectionError, NOBODY)]
    port = int(address.partition(":")[2])
    assert recording.span == span_of(port, method, ASKED, error=("ConnectionError", NOBODY))


@both_ways
@both_methods
def test_an_impatient_client(
    url: str, instrument: Instrument, method: str, *, stream: bool
) -> None:
    """A time limit that passes before the answer begins."""

    def call() -> Any:
        unload(url)
        with (
            ollama.Client(url, timeout=IMPATIENT) as client,
            pytest.raises(httpx.ReadTimeout) as raised,
        ):
            list(getattr(client, method)("scripted", **QUESTIONS[method], stream=stream))
        return plain(raised.value)

    without_us = call()
    recording = instrument()
    assert call() == without_us
    asked = ASKED | streamed(stream=stream)
    expected = span_of(urlsplit(url).port, method, asked, error=("httpx.ReadTimeout", "timed out"))
    assert recording.span == expected


@both_ways
@both_methods
def test_a_task_that_is_cancelled(
    url: str, instrument: Instrument, method: str, *, stream: bool
) -> None:
    """Whole answers are cancelled while the server thinks, streams between two chunks."""

    async def call() -> tuple[Any, str]:
        under_way = asyncio.Event()
        seen: list[str] = []

        async def note(_request: httpx.Request) -> None:
            if not stream:
                under_way.set()

        async def ask_endlessly() -> None:
            async with ollama.AsyncClient(
                url, timeout=LIMIT, event_hooks={"request": [note]}
            ) as client:
                answer = await getattr(client, method)("scripted", **ENDLESS[method], stream=stream)
                async for chunk in answer:
                    seen.append(said(chunk))
                    if len(seen) == 3:
                        under_way.set()

        task = asyncio.create_task(ask_endlessly())
        await asyncio.wait_for(under_way.wait(), LIMIT)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as raised:
            await task
        return plain(raised.value), "".join(seen)

    without_us, _ = asyncio.run(call())
    recording = instrument()
    with_us, seen = asyncio.run(call())
    assert with_us == without_us
    begun_or_not = STREAMED | begun(seen) if stream else {}
    expected = span_of(
        urlsplit(url).port,
        method,
        ASKED_ENDLESSLY | begun_or_not,
        error=("asyncio.exceptions.CancelledError", ""),
    )
    assert recording.span == expected


def said(chunk: Any) -> str:
    """Return the text of a chunk of either method."""
    content = chunk.response if hasattr(chunk, "response") else chunk.message.content
    return content or ""


@both_methods
def test_a_time_limit_around_an_async_stream(url: str, instrument: Instrument, method: str) -> None:
    """asyncio.wait_for cancels the call; the application gets the TimeoutError."""

    async def call() -> tuple[Any, str]:
        seen: list[str] = []

        async def read_on(stream: AsyncIterator[Any]) -> None:
            while True:
                seen.append(said(await anext(stream)))

        async with ollama.AsyncClient(url, timeout=LIMIT) as client:
            ask_ = getattr(client, method)
            stream = await ask_("scripted", **ENDLESS[method], stream=True)
            seen.append(said(await anext(stream)))
            with pytest.raises(asyncio.TimeoutError) as raised:
                await asyncio.wait_for(read_on(stream), 0.1)
        return plain(raised.value), "".join(seen)

    without_us, _ = asyncio.run(call())
    recording = instrument()
    with_us, seen = asyncio.run(call())
    assert with_us == without_us
    expected = span_of(
        urlsplit(url).port,
        method,
        ASKED_ENDLESSLY | STREAMED | begun(seen),
        error=("asyncio.exceptions.CancelledError", ""),
    )
    assert recording.span == expected


def kill_model(server: OllamaServer) -> None:
    for child in children(server.pid):
        os.kill(child, signal.SIGKILL)


def kill_server(server: OllamaServer) -> None:
    model = list(children(server.pid))
    os.kill(server.pid, signal.SIGKILL)
    for child in model:
        os.kill(child, signal.SIGKILL)


@dataclass(frozen=True)
class End:
    """A way in which an answer ends in the middle.

    Attributes:
        kill: brings it about.
        error: what the application gets.
        kind: the type of the error, as spans name it.
        message: what the error says.
    """

    kill: Callable[[OllamaServer], None]
    error: type[Exception]
    kind: str
    message: str


ENDS = {
    "model dies": End(
        kill_model,
        ollama.ResponseError,
        "ollama.ResponseError",
        "an error was encountered while running the model: unexpected EOF (status code: -1)",
    ),
    "server dies": End(
        kill_server,
        httpx.RemoteProtocolError,
        "httpx.RemoteProtocolError",
        "peer closed connection without sending complete message body (incomplete chunked read)",
    ),
}


def read_and_kill(
    server: OllamaServer, seen: list[str], kill: Callable[[OllamaServer], None]
) -> None:
    with ollama.Client(server.url, timeout=LIMIT) as client:
        for chunk in client.chat("scripted", **ENDLESS["chat"], stream=True):
            seen.append(said(chunk))
            if len(seen) == 3:
                kill(server)


def read_and_kill_async(
    server: OllamaServer, seen: list[str], kill: Callable[[OllamaServer], None]
) -> None:
    async def read() -> None:
        async with ollama.AsyncClient(server.url, timeout=LIMIT) as client:
            async for chunk in await client.chat("scripted", **ENDLESS["chat"], stream=True):
                seen.append(said(chunk))
                if len(seen) == 3:
                    kill(server)

    asyncio.run(read())


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@both_clients
def test_an_answer_that_is_cut_in_the_middle(
    tmp_path_factory: pytest.TempPathFactory,
    instrument: Instrument,
    end: End,
    *,
    asynchronous: bool,
) -> None:
    """What came is kept; the error is the SDK's or the HTTP client's own."""

    def call() -> tuple[Any, str, int | None]:
        seen: list[str] = []
        read = read_and_kill_async if asynchronous else read_and_kill
        with (
            unavailable_skips(),
            servers.ollama_server(tmp_path_factory.mktemp("cut")) as server,
            pytest.raises(end.error) as raised,
        ):
            read(server, seen, end.kill)
        return plain(raised.value), "".join(seen), urlsplit(server.url).port

    without_us, *_ = call()
    recording = instrument()
    with_us, seen, port = call()
    assert with_us == without_us == (end.error, end.message)
    asked = ASKED_ENDLESSLY | STREAMED
    expected = span_of(port, "chat", asked | begun(seen), error=(end.kind, end.message))
    assert recording.span == expected
