"""Answers recorded from a real Ollama server, and clients of the SDK that get them."""

import asyncio
import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import ollama
import pytest

_FILE = Path(__file__).parent / "wire" / "ollama_answers.json"

URL = "http://ollama.test:11434"


@dataclass(frozen=True)
class Exchange:
    """One recorded request and what the server answered."""

    name: str
    path: str
    request: dict[str, Any]
    status: int
    content_type: str
    lines: list[Any]

    @property
    def method(self) -> str:
        """The SDK's method that makes the request."""
        return self.path.removeprefix("/api/")

    @property
    def arguments(self) -> dict[str, Any]:
        """The request as keyword arguments of the SDK's method.

        Older releases of the SDK do not know how to ask for some things, which change nothing of
        what is recorded.
        """
        known = inspect.signature(getattr(ollama.Client, self.method)).parameters
        return {
            name: value
            for name, value in self.request.items()
            if name in known or name not in ("dimensions", "logprobs", "top_logprobs")
        }

    def respond(self, _request: httpx.Request) -> httpx.Response:
        """Answer as the server did."""
        body = "\n".join(json.dumps(line) for line in self.lines)
        return httpx.Response(
            self.status, headers={"content-type": self.content_type}, content=body
        )

    def client(self, **options: Any) -> ollama.Client:
        """Return a client that gets this answer whatever it asks."""
        return ollama.Client(URL, transport=httpx.MockTransport(self.respond), **options)

    def async_client(self, **options: Any) -> ollama.AsyncClient:
        """Return an async client that gets this answer whatever it asks."""
        return ollama.AsyncClient(URL, transport=httpx.MockTransport(self.respond), **options)


def _load() -> dict[str, Exchange]:
    keys = ("name", "path", "request", "status", "content_type", "lines")
    exchanges = json.loads(_FILE.read_text())["exchanges"]
    return {each["name"]: Exchange(*(each[key] for key in keys)) for each in exchanges}


EXCHANGES = _load()

both = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


def call(exchange: Exchange, *, asynchronous: bool) -> list[dict[str, Any]]:
    """Make the recorded call and return all that the application gets, as plain data."""
    if asynchronous:
        return asyncio.run(_call_async(exchange))
    answer = getattr(exchange.client(), exchange.method)(**exchange.arguments)
    return [each.model_dump() for each in ([answer] if _is_whole(answer) else answer)]


async def _call_async(exchange: Exchange) -> list[dict[str, Any]]:
    answer = await getattr(exchange.async_client(), exchange.method)(**exchange.arguments)
    if _is_whole(answer):
        return [answer.model_dump()]
    return [each.model_dump() async for each in answer]


def _is_whole(answer: Any) -> bool:
    return hasattr(answer, "model_dump")
