"""What applications do with an answer of the SDK, each in a sync and an async way."""

import asyncio
import contextlib
import contextvars
import gc
import itertools
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import pydantic
from opentelemetry import trace

from recorded import Exchange
from wire_stream import Connection

SOME = 3
"""How many chunks are taken of a stream that is not read to its end."""

APPLICATION = trace.NonRecordingSpan(
    trace.SpanContext(0xA, 0xB, is_remote=False, trace_flags=trace.TraceFlags(1))
)
"""The application's own span, which is current while it calls."""


def text_of(part: Any) -> str:
    """Return the text of an answer or a chunk, as an object or as plain data."""
    message = part.get("message")
    return (message.get("content") if message else part.get("response")) or ""


Ask: TypeAlias = Callable[[Exchange], dict[str, Any]]
Server: TypeAlias = Callable[[Exchange], Connection]
Run: TypeAlias = Callable[["Application"], None]
RunAsync: TypeAlias = Callable[["Application"], Awaitable[None]]


class Application:
    """Makes calls, and notes all that it sees.

    Attributes:
        seen: what it saw, in order and as plain data.
        chunks: every object that it was given, without keeping it.
        text: what they said.
        endings: how many answers were complete, and how many spans had ended, at each object.
        error: what its exception said.
        connections: to the server.

    Args:
        plain: what is asked where no stream is wanted.
        asked: what is asked.
        arguments: how it is asked.
        server: makes the connection that answers.
        ended: tells how many spans have ended.
    """

    def __init__(
        self,
        plain: Exchange,
        asked: Exchange,
        arguments: Ask,
        server: Server,
        ended: Callable[[], int],
    ) -> None:
        self.seen: list[object] = []
        self.chunks: list[weakref.ref[Any]] = []
        self.text = ""
        self.endings: list[tuple[int, int]] = []
        self.error: str | None = None
        self.connections: list[Connection] = []
        self._plain = plain
        self._asked = asked
        self._arguments = arguments
        self._server = server
        self._ended = ended
        self._complete = 0

    def ask(self) -> Any:
        return self._call(self._asked, self._connect(self._asked).client())

    async def ask_async(self) -> Any:
        return await self._call(self._asked, self._connect(self._asked).async_client())

    def ask_aside(self) -> Any:
        """Make a call that is not streamed, beside the stream."""
        return self._call(self._plain, self._connect(self._plain).client())

    async def ask_aside_async(self) -> Any:
        return await self._call(self._plain, self._connect(self._plain).async_client())

    def _call(self, exchange: Exchange, client: Any) -> Any:
        return getattr(client, exchange.method)(**self._arguments(exchange))

    def _connect(self, exchange: Exchange) -> Connection:
        self.connections.append(self._server(exchange))
        return self.connections[-1]

    def took(self, *given: Any) -> int:
        """Note what the application was given; return how many objects that makes."""
        for each in given:
            self.seen.append(each.model_dump())
            self.chunks.append(weakref.ref(each))
            self.text += text_of(each)
            self._complete += getattr(each, "done", True)
        self.endings.append((self._complete, self._ended()))
        self.look()
        return len(self.chunks)

    def look(self) -> None:
        """Note whose span is current."""
        names: dict[trace.Span, str] = {
            APPLICATION: "the application's",
            trace.INVALID_SPAN: "none",
        }
        self.seen.append(names.get(trace.get_current_span(), "somebody else's"))

    def take_some(self, stream: Any) -> None:
        for _ in range(SOME):
            self.took(next(stream))

    async def take_some_async(self, stream: Any) -> None:
        for _ in range(SOME):
            self.took(await anext(stream))

    def take_all(self, stream: Any) -> None:
        for chunk in stream:
            self.took(chunk)
        self.look()

    async def take_all_async(self, stream: Any) -> None:
        async for chunk in stream:
            self.took(chunk)
        self.look()

    def run(self, read: Run) -> None:
        """Read in this way, and note how it ended."""
        try:
            read(self)
        except BaseException as error:  # noqa: BLE001  (every kind is to be compared)
            self._note_error(error)
        self.leave()

    async def run_async(self, read: RunAsync) -> None:
        try:
            await read(self)
        except BaseException as error:  # noqa: BLE001  (every kind is to be compared)
            self._note_error(error)
        self.leave()

    def leave(self) -> None:
        """Note whose span is current, and what became of the connections."""
        self.look()
        self.seen.extend((each.requests, each.closed) for each in self.connections)

    @property
    def left_open(self) -> set[int]:
        """Which of the connections were never closed."""
        return {number for number, each in enumerate(self.connections) if not each.closed}

    def _note_error(self, error: BaseException) -> None:
        self.error = str(error)
        cause = (repr(error.__cause__), error.__suppress_context__)
        self.seen.append((type(error), error.args, *cause))


@dataclass(frozen=True)
class Reader:
    """A way to read, sync and async; a text says why one of them cannot be."""

    sync: Run | str
    asynchronous: RunAsync | str

    def run(self, *, asynchronous: bool) -> Run | str:
        """Return what makes an application read in this way, or why it cannot."""
        read, read_async = self.sync, self.asynchronous
        if asynchronous:
            return (
                read_async
                if isinstance(read_async, str)
                else lambda app: asyncio.run(app.run_async(read_async))
            )
        return read if isinstance(read, str) else lambda app: app.run(read)


def is_whole(answer: Any) -> bool:
    return isinstance(answer, pydantic.BaseModel)


def _read_all(app: Application) -> None:
    answer = app.ask()
    app.take_all([answer] if is_whole(answer) else answer)


async def _read_all_async(app: Application) -> None:
    answer = await app.ask_async()
    if is_whole(answer):
        app.took(answer)
    else:
        await app.take_all_async(answer)


def _break_off(app: Application) -> None:
    stream = app.ask()
    for chunk in stream:
        if app.took(chunk) == SOME:
            break
    del stream


async def _break_off_async(app: Application) -> None:
    stream = await app.ask_async()
    async for chunk in stream:
        if app.took(chunk) == SOME:
            break
    del stream
    # The event loop closes it in its own time, and there is nothing to be told by.
    while not app.connections[0].closed:  # noqa: ASYNC110  (see above)
        await asyncio.sleep(0)


def _stop_at_done(app: Application) -> None:
    for chunk in app.ask():
        app.took(chunk)
        if chunk.done:
            break


async def _stop_at_done_async(app: Application) -> None:
    async for chunk in await app.ask_async():
        app.took(chunk)
        if chunk.done:
            break


def _close_unread(app: Application) -> None:
    app.ask().close()


async def _close_unread_async(app: Application) -> None:
    await (await app.ask_async()).aclose()


def _close(app: Application) -> None:
    stream = app.ask()
    app.take_some(stream)
    stream.close()


async def _close_async(app: Application) -> None:
    stream = await app.ask_async()
    await app.take_some_async(stream)
    await stream.aclose()


def _abandon(app: Application) -> None:
    cycle = [app.ask()]
    app.take_some(cycle[0])
    cycle.append(cycle)
    del cycle
    gc.collect()


async def _abandon_async(app: Application) -> None:
    cycle = [await app.ask_async()]
    await app.take_some_async(cycle[0])
    cycle.append(cycle)
    del cycle
    gc.collect()


def _ignore(app: Application) -> None:
    app.ask()


async def _ignore_async(app: Application) -> None:
    await app.ask_async()


def _raise_in_loop(app: Application) -> None:
    for chunk in app.ask():
        if app.took(chunk) == SOME:
            raise LookupError("of the application")


async def _raise_in_loop_async(app: Application) -> None:
    async for chunk in await app.ask_async():
        if app.took(chunk) == SOME:
            raise LookupError("of the application")


async def wait_to_be_cancelled() -> None:
    """Wait for what never comes, until the event loop cancels the task."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().call_soon(task.cancel)
    await asyncio.Event().wait()


async def _be_cancelled_in_loop(app: Application) -> None:
    async for chunk in await app.ask_async():
        if app.took(chunk) == SOME:
            await wait_to_be_cancelled()


def _read_in_thread(app: Application) -> None:
    thread = threading.Thread(target=app.take_all, args=[app.ask()])
    thread.start()
    thread.join()


async def _read_in_thread_async(app: Application) -> None:
    await asyncio.to_thread(asyncio.run, app.take_all_async(await app.ask_async()))


def _read_in_contexts(app: Application) -> None:
    stream = app.ask()

    def read() -> bool:
        chunk = next(stream)
        app.took(chunk)
        return bool(chunk.done)

    while not contextvars.Context().run(read):
        pass


async def _read_in_contexts_async(app: Application) -> None:
    stream = await app.ask_async()

    async def read() -> bool:
        chunk = await anext(stream)
        app.took(chunk)
        return bool(chunk.done)

    while not await contextvars.Context().run(asyncio.create_task, read()):
        pass


def _interleave(app: Application) -> None:
    for pair in zip(app.ask(), app.ask(), strict=True):
        app.took(*pair)


async def _interleave_async(app: Application) -> None:
    second = await app.ask_async()
    async for chunk in await app.ask_async():
        app.took(chunk, await anext(second))
    await app.take_all_async(second)


def _nest(app: Application) -> None:
    for chunk in app.ask():
        if app.took(chunk) == 1:
            app.took(app.ask_aside())


async def _nest_async(app: Application) -> None:
    async for chunk in await app.ask_async():
        if app.took(chunk) == 1:
            app.took(await app.ask_aside_async())


def _relay(stream: Any) -> Iterator[Any]:
    yield from stream


async def _relay_async(stream: Any) -> AsyncIterator[Any]:
    async for chunk in stream:
        yield chunk


def _hand_on(app: Application) -> None:
    app.take_all(_relay(app.ask()))


async def _hand_on_async(app: Application) -> None:
    await app.take_all_async(_relay_async(await app.ask_async()))


def _hand_on_and_close(app: Application) -> None:
    relay: Any = _relay(app.ask())
    app.take_some(relay)
    relay.close()


async def _hand_on_and_close_async(app: Application) -> None:
    relay: Any = _relay_async(await app.ask_async())
    await app.take_some_async(relay)
    await relay.aclose()


def _chain(app: Application) -> None:
    app.take_all(itertools.chain(app.ask(), ()))


def _slice(app: Application) -> None:
    app.take_all(itertools.islice(app.ask(), SOME))


def _list(app: Application) -> None:
    app.took(*list(app.ask()))


async def _list_async(app: Application) -> None:
    app.took(*[chunk async for chunk in await app.ask_async()])


def _throw(app: Application) -> None:
    stream = app.ask()
    app.take_some(stream)
    stream.throw(LookupError("thrown in"))


async def _throw_async(app: Application) -> None:
    stream = await app.ask_async()
    await app.take_some_async(stream)
    await stream.athrow(LookupError("thrown in"))


def _send(app: Application) -> None:
    stream = app.ask()
    app.took(next(stream))
    with contextlib.suppress(StopIteration):
        while True:
            app.took(stream.send("more"))


async def _send_async(app: Application) -> None:
    stream = await app.ask_async()
    app.took(await anext(stream))
    with contextlib.suppress(StopAsyncIteration):
        while True:
            app.took(await stream.asend("more"))


NO_TASK = "no task to cancel"
NO_ITERTOOLS = "itertools takes no async iterators"

READ_ALL = Reader(_read_all, _read_all_async)
BE_CANCELLED = Reader(NO_TASK, _read_all_async)
BE_CANCELLED_IN_LOOP = Reader(NO_TASK, _be_cancelled_in_loop)
BREAK_OFF = Reader(_break_off, _break_off_async)
STOP_AT_DONE = Reader(_stop_at_done, _stop_at_done_async)
CLOSE_UNREAD = Reader(_close_unread, _close_unread_async)
CLOSE = Reader(_close, _close_async)
ABANDON = Reader(_abandon, _abandon_async)
IGNORE = Reader(_ignore, _ignore_async)
RAISE_IN_LOOP = Reader(_raise_in_loop, _raise_in_loop_async)
READ_IN_THREAD = Reader(_read_in_thread, _read_in_thread_async)
READ_IN_CONTEXTS = Reader(_read_in_contexts, _read_in_contexts_async)
INTERLEAVE = Reader(_interleave, _interleave_async)
NEST = Reader(_nest, _nest_async)
HAND_ON = Reader(_hand_on, _hand_on_async)
HAND_ON_AND_CLOSE = Reader(_hand_on_and_close, _hand_on_and_close_async)
CHAIN = Reader(_chain, NO_ITERTOOLS)
SLICE = Reader(_slice, NO_ITERTOOLS)
LIST = Reader(_list, _list_async)
THROW = Reader(_throw, _throw_async)
SEND = Reader(_send, _send_async)
