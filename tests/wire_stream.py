"""Connections of the SDK's clients that play an answer and then do what a test wants."""

import asyncio
import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Any

import httpx
import ollama

from recorded import EXCHANGES, URL


def nothing() -> None:
    """Let the answer end as it should."""


class Connection(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A server's answer in pieces, then what the test wants to happen.

    Attributes:
        requests: how many requests came.
        closed: whether the answer was closed.

    Args:
        pieces: the bytes of the answer, as they come.
        then: called after the last piece; what it returns is awaited, where it can be.
        status: the HTTP status.
        content_type: the answer's media type.
    """

    def __init__(
        self,
        pieces: Iterable[bytes],
        then: Callable[[], Any] = nothing,
        status: int = 200,
        content_type: str = "application/x-ndjson",
    ) -> None:
        self.requests = 0
        self.closed = False
        self._pieces = list(pieces)
        self._then = then
        self._status = status
        self._headers = {"content-type": content_type}

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        self._then()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await asyncio.sleep(0)
            yield piece
        ended = self._then()
        if inspect.isawaitable(ended):
            await ended

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        # As a network does: closing lets other tasks run, the event loop's own too.
        await asyncio.sleep(0)
        self.closed = True

    def client(self) -> ollama.Client:
        return ollama.Client(URL, transport=httpx.MockTransport(self.respond))

    def async_client(self) -> ollama.AsyncClient:
        return ollama.AsyncClient(URL, transport=httpx.MockTransport(self.respond))

    def respond(self, _request: httpx.Request) -> httpx.Response:
        self.requests += 1
        return httpx.Response(self._status, headers=self._headers, stream=self)


def written(lines: Iterable[Any]) -> list[bytes]:
    """Return an answer's lines as a server writes them."""
    return [json.dumps(line).encode() + b"\n" for line in lines]


class Wire(Connection):
    """The first lines of the recorded chat stream, then what the test wants to happen."""

    def __init__(self, lines: int, then: Callable[[], Any] = nothing) -> None:
        super().__init__(written(EXCHANGES["chat_stream"].lines[:lines]), then)
