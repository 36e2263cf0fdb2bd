"""Whatever an application does with a stream of a real server, it is one span and no difference."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import ollama
import pytest

from telemetry import told

from . import servers
from .availability import unavailable_skips
from .sdk_calls import ANSWERED, ASKED, LIMIT, QUESTIONS, STREAMED, begun, span_of, unload, use
from .stream_uses import USES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Instrument

    from .servers import OllamaServer
    from .stream_uses import Use

# A loop that ends closes all async generators at the same time, and finds that one of them is
# closing another already: with us and without us, as the last bytes of the answer happen to come.
END_OF_LOOP = "an error occurred during closing of asynchronous generator"
WORDS = ("The", " sky", " is")  # as the server streams them

both_methods = pytest.mark.parametrize("method", ["chat", "generate"])
both_clients = pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OllamaServer]:
    """A server of its own: streams that are dropped can make it hang."""
    with (
        unavailable_skips(),
        servers.ollama_server(tmp_path_factory.mktemp("streams")) as running,
    ):
        yield running


@pytest.fixture
def url(server: OllamaServer) -> str:
    """Where it answers."""
    return server.url


@pytest.fixture(scope="module", params=USES, ids=[way.name for way in USES])
def way(request: pytest.FixtureRequest, server: OllamaServer) -> Iterator[Use]:
    """A way to use a stream; what it leaves behind on the server is freed by unloading."""
    yield request.param
    if request.param.drops:
        unload(server.url)


def expected_span(port: int | None, method: str, way: Use) -> dict[str, Any]:
    if way.chunks is None:
        return span_of(port, method, ASKED | STREAMED | ANSWERED)
    came = ASKED | STREAMED | begun("".join(WORDS[: way.chunks]))
    return span_of(port, method, came, error=way.error)


@both_methods
@both_clients
def test_a_stream_is_told_as_it_was_used(  # noqa: PLR0913 - two of them only say which case
    url: str,
    instrument: Instrument,
    caplog: pytest.LogCaptureFixture,
    method: str,
    way: Use,
    *,
    asynchronous: bool,
) -> None:
    """One whole span, or none where nothing was sent; the application gets what it always gets.

    Nobody complains, as OpenTelemetry would of a context that was left elsewhere.
    """
    without_us = use(url, method, way, asynchronous=asynchronous)
    recording = instrument()
    assert use(url, method, way, asynchronous=asynchronous) == without_us
    expected = [expected_span(urlsplit(url).port, method, way)] if way.sends else []
    assert [told(span) for span in recording.spans] == expected
    messages = [record.getMessage() for record in caplog.records]
    assert [each for each in messages if not each.startswith(END_OF_LOOP)] == []


@both_methods
def test_the_span_ends_with_the_last_chunk(url: str, instrument: Instrument, method: str) -> None:
    """An application that stops there, and keeps the stream, has its span at once."""
    recording = instrument()
    with ollama.Client(url, timeout=LIMIT) as client:
        stream = getattr(client, method)("scripted", **QUESTIONS[method], stream=True)
        assert next(chunk for chunk in stream if chunk.done)
        assert recording.span == span_of(urlsplit(url).port, method, ASKED | STREAMED | ANSWERED)
        assert inspect.getgeneratorstate(stream) == inspect.GEN_SUSPENDED


@both_methods
async def test_the_span_ends_with_the_last_chunk_asynchronously(
    url: str, instrument: Instrument, method: str
) -> None:
    """The same with an async stream."""
    recording = instrument()
    async with ollama.AsyncClient(url, timeout=LIMIT) as client:
        stream = await getattr(client, method)("scripted", **QUESTIONS[method], stream=True)
        assert await anext(chunk async for chunk in stream if chunk.done)
        assert recording.span == span_of(urlsplit(url).port, method, ASKED | STREAMED | ANSWERED)
        await stream.aclose()
