"""A stream is what the SDK returns, lazy and finished once, whatever is done with it."""

import asyncio
import contextvars
import importlib
import inspect
import json
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor

from conftest import Instrument
from ollama_otel import OllamaInstrumentor
from ollama_otel.testing import Answer, FakeOllama
from recorded import EXCHANGES, URL
from telemetry import Recording
from wire_stream import Wire

STREAM = EXCHANGES["chat_stream"]
WORDS = ["The", " sky", " is", " blue", " because", " air", " scatters", " light", "."]


def partly(recording: Recording) -> tuple[str | None, tuple[str, str | None], str | None]:
    """Return what the one span holds of the answer: text, status, error type."""
    attributes = recording.span["attributes"]
    messages = attributes.get("gen_ai.output.messages")
    text = messages[0]["parts"][0]["content"] if messages else None
    return text, recording.span["status"], attributes.get("error.type")


def test_a_stream_is_a_plain_generator(instrument: Instrument) -> None:
    """Callers that check the type of a stream find what the SDK gives."""
    plain = STREAM.client().chat(**STREAM.arguments)
    instrument()

    told = STREAM.client().chat(**STREAM.arguments)

    assert type(told) is type(plain)
    assert inspect.isgenerator(told)


async def test_an_async_stream_is_a_plain_async_generator(instrument: Instrument) -> None:
    """Callers that check the type of an async stream find what the SDK gives."""
    instrument()

    assert inspect.isasyncgen(await STREAM.async_client().chat(**STREAM.arguments))


def test_the_chunks_are_the_objects_that_the_sdk_made(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No chunk is copied."""
    made: list[ollama.ChatResponse] = []

    class Noted(ollama.ChatResponse):
        def __init__(self, **fields: Any) -> None:
            super().__init__(**fields)
            made.append(self)

    monkeypatch.setattr(importlib.import_module("ollama._client"), "ChatResponse", Noted)
    instrument()

    received = list(STREAM.client().chat(**STREAM.arguments))

    assert all(got is chunk for got, chunk in zip(received, made, strict=True))


def test_a_stream_that_is_never_read_tells_nothing(instrument: Instrument) -> None:
    """Nothing was sent, so there is no span; closing it changes nothing."""
    recording = instrument()
    asked: list[httpx.Request] = []
    client = STREAM.client(event_hooks={"request": [asked.append]})

    stream = client.chat(**STREAM.arguments)
    client.chat(**STREAM.arguments).close()
    del stream

    assert (asked, recording.spans) == ([], ())


def test_the_span_ends_on_the_chunk_that_says_done(instrument: Instrument) -> None:
    """A caller that stops at the last chunk has its span, though the generator still lives."""
    recording = instrument()
    stream = STREAM.client().chat(**STREAM.arguments)

    for chunk in stream:
        ended = len(recording.spans)
        assert ended == (1 if chunk.done else 0)

    assert partly(recording) == ("".join(WORDS), ("UNSET", None), None)


def test_a_chunk_that_was_handed_out_is_the_applications_alone(instrument: Instrument) -> None:
    """Though the stream still lives: nobody else keeps it in memory."""
    instrument()
    stream = STREAM.client().chat(**STREAM.arguments)

    kept = [weakref.ref(next(stream)) for _ in WORDS]

    assert [each() for each in kept] == [None] * len(WORDS)


async def test_a_chunk_that_was_handed_out_is_the_applications_alone_async(
    instrument: Instrument,
) -> None:
    """The same of an async stream."""
    instrument()
    stream = await STREAM.async_client().chat(**STREAM.arguments)

    kept = [weakref.ref(await anext(stream)) for _ in WORDS]

    assert [each() for each in kept] == [None] * len(WORDS)


@pytest.mark.parametrize("stop", ["close", "break", "throw"])
def test_a_stream_broken_off_keeps_what_came(stop: str, instrument: Instrument) -> None:
    """Closing, leaving and throwing end the span once; only an exception makes it an error."""
    recording = instrument()
    wire = Wire(9)
    stream = wire.client().chat(**STREAM.arguments)
    for _ in range(3):
        next(stream)

    if stop == "close":
        stream.close()
    elif stop == "break":
        del stream
    else:
        with pytest.raises(ValueError, match="enough"):
            stream.throw(ValueError("enough"))

    status = ("ERROR", "enough") if stop == "throw" else ("UNSET", None)
    assert partly(recording) == ("The sky is", status, "ValueError" if stop == "throw" else None)
    assert wire.closed


async def test_an_async_stream_broken_off_keeps_what_came(instrument: Instrument) -> None:
    """Closing an async stream ends the span and the request."""
    recording = instrument()
    wire = Wire(9)
    stream = await wire.async_client().chat(**STREAM.arguments)
    async for _ in stream:
        break

    await stream.aclose()

    assert partly(recording) == ("The", ("UNSET", None), None)
    assert wire.closed


async def test_a_cancelled_stream_ends_with_the_cancellation(instrument: Instrument) -> None:
    """Cancelling the task that reads ends the span with what came so far."""
    recording = instrument()
    waiting = asyncio.Event()

    async def hang() -> None:
        waiting.set()
        await asyncio.Event().wait()

    async def read() -> None:
        async for _ in await Wire(2, hang).async_client().chat(**STREAM.arguments):
            pass

    task = asyncio.create_task(read())
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert partly(recording) == ("The sky", ("ERROR", ""), "asyncio.exceptions.CancelledError")


def cut() -> None:
    raise httpx.ReadError("connection reset")


def test_a_connection_cut_is_the_users_exception_and_an_error(instrument: Instrument) -> None:
    """The very exception passes, and the span says what it was."""
    recording = instrument()

    with pytest.raises(httpx.ReadError, match="connection reset"):
        list(Wire(2, cut).client().chat(**STREAM.arguments))

    assert partly(recording) == ("The sky", ("ERROR", "connection reset"), "httpx.ReadError")


def test_the_loop_body_never_runs_inside_the_span(instrument: Instrument) -> None:
    """Spans of the loop body are siblings of the call's span, and calls in it are told."""
    recording = instrument()
    tracer = recording.tracer_provider.get_tracer("app")

    with tracer.start_as_current_span("application") as application:
        for chunk in STREAM.client().chat(**STREAM.arguments):
            assert trace.get_current_span() is application
            if chunk.done:
                EXCHANGES["chat_plain"].client().chat(**EXCHANGES["chat_plain"].arguments)

    parent = application.get_span_context().span_id
    assert [(span.name, span.parent and span.parent.span_id) for span in recording.spans] == [
        ("chat scripted", parent),
        ("chat scripted", parent),
        ("application", None),
    ]


@pytest.fixture
def httpx_spans(instrument: Instrument) -> Iterator[Recording]:
    recording = instrument()
    HTTPXClientInstrumentor().instrument(tracer_provider=recording.tracer_provider)
    yield recording
    HTTPXClientInstrumentor().uninstrument()


def test_the_http_span_of_a_stream_nests_under_the_call(httpx_spans: Recording) -> None:
    """What the request does on the wire belongs to the call."""
    with FakeOllama() as server:
        client = ollama.Client(server.url)
        list(client.chat("m", [{"role": "user", "content": "hi"}], stream=True))
        client._client.close()

    http, call = sorted(httpx_spans.spans, key=lambda span: span.name)
    assert (http.name, call.name) == ("POST", "chat m")
    assert http.parent == call.get_span_context()


def test_a_stream_belongs_to_the_context_of_its_call(instrument: Instrument) -> None:
    """Reading elsewhere, in another thread or context, does not move the span."""
    recording = instrument()
    tracer = recording.tracer_provider.get_tracer("app")
    with tracer.start_as_current_span("caller") as caller:
        stream = STREAM.client().chat(**STREAM.arguments)

    with tracer.start_as_current_span("reader"):
        reader = threading.Thread(target=lambda: list(stream))
        reader.start()
        reader.join()

    call = next(span for span in recording.spans if span.name == "chat scripted")
    assert call.parent == caller.get_span_context()


async def test_every_read_may_come_from_another_task(
    instrument: Instrument, caplog: pytest.LogCaptureFixture
) -> None:
    """Some frameworks read each chunk in a task of its own: no context token crosses a yield."""
    recording = instrument()
    stream = await STREAM.async_client().chat(**STREAM.arguments)

    async def read() -> bool:
        return bool((await anext(stream)).done)

    while not await contextvars.Context().run(asyncio.create_task, read()):
        pass
    await stream.aclose()

    assert partly(recording)[0] == "".join(WORDS)
    assert caplog.messages == []


def test_two_streams_read_in_turns_keep_apart(instrument: Instrument) -> None:
    """Each span holds its own chunks."""
    recording = instrument()
    first, second = (
        EXCHANGES[name].client().chat(**EXCHANGES[name].arguments)
        for name in ("chat_stream", "chat_length_stream")
    )

    for _ in zip(first, second, strict=False):
        pass
    list(first)

    texts = [json.loads(str(span.attributes["gen_ai.output.messages"])) for span in recording.spans]  # type: ignore[index]
    assert [message["parts"][0]["content"] for (message,) in texts] == [
        "la lala lalalala lala",
        "".join(WORDS),
    ]


def test_time_to_first_chunk_starts_with_the_request(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time that the application lets pass before it reads is not the model's."""
    now = [100.0]
    monkeypatch.setattr("timeit.default_timer", lambda: now[0])
    recording = instrument()

    def answer(request: httpx.Request) -> httpx.Response:
        now[0] += 2.5
        return STREAM.respond(request)

    stream = ollama.Client(URL, transport=httpx.MockTransport(answer)).chat(**STREAM.arguments)
    now[0] += 60

    list(stream)

    (span,) = recording.spans
    assert span.attributes is not None
    assert span.attributes["gen_ai.response.time_to_first_chunk"] == 2.5


def test_a_stream_first_read_after_uninstrument_is_not_recorded(instrument: Instrument) -> None:
    """Nothing was sent before, and nobody is to be told any more."""
    recording = instrument()
    stream = STREAM.client().chat(**STREAM.arguments)
    OllamaInstrumentor().uninstrument()

    assert len(list(stream)) == len(STREAM.lines)
    assert recording.spans == ()


def test_a_stream_under_way_at_uninstrument_is_recorded_to_its_end(instrument: Instrument) -> None:
    """What was begun is finished."""
    recording = instrument()
    stream = STREAM.client().chat(**STREAM.arguments)
    next(stream)
    OllamaInstrumentor().uninstrument()

    list(stream)

    assert partly(recording) == ("".join(WORDS), ("UNSET", None), None)


def test_a_tool_call_is_recorded_as_the_model_made_it(instrument: Instrument) -> None:
    """The application may change what it was given."""
    recording = instrument()
    exchange = EXCHANGES["chat_tool_call_stream"]

    for chunk in exchange.client().chat(**exchange.arguments):
        for call in chunk.message.tool_calls or ():
            call.function.arguments.clear()

    (message,) = recording.span["attributes"]["gen_ai.output.messages"]
    assert message["parts"][0]["arguments"] == {"bill_amount": 187.32, "tip_percentage": 22}


class Listing:
    """An iterable that is no iterator, as somebody's wrapper below ours may return."""

    def __init__(self, chunks: list[ollama.ChatResponse]) -> None:
        self.closed = False
        self._chunks = chunks

    def __iter__(self) -> Iterator[ollama.ChatResponse]:
        return iter(self._chunks)

    def close(self) -> None:
        self.closed = True


def test_what_others_return_below_us_only_has_to_be_iterable(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read, recorded and closed."""
    listing = Listing(list(STREAM.client().chat(**STREAM.arguments)))
    monkeypatch.setattr(ollama.Client, "_request", lambda *_args, **_kwargs: listing)
    recording = instrument()

    assert len(list(STREAM.client().chat(**STREAM.arguments))) == len(STREAM.lines)
    assert listing.closed
    assert partly(recording) == ("".join(WORDS), ("UNSET", None), None)


def test_an_async_stream_left_behind_at_the_end_of_the_loop_is_no_error(
    instrument: Instrument,
) -> None:
    """asyncio.run() closes what was abandoned: the span has what came, and no task complains."""
    recording = instrument()
    complaints: list[Any] = []

    async def main(url: str) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
        client = ollama.AsyncClient(url)
        async for _ in await client.chat("m", [{"role": "user", "content": "hi"}], stream=True):
            return

    with FakeOllama([Answer(chunks=["a", "b", "c"])]) as server:
        asyncio.run(main(server.url))

    assert partly(recording) == ("a", ("UNSET", None), None)
    assert complaints == []
