"""What applications do with a stream of the SDK, each thing once synchronously and once not."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

Stream: TypeAlias = Generator[Any, Any, None]
AsyncStream: TypeAlias = AsyncGenerator[Any, Any]
Seen: TypeAlias = list[Any]


class MishapError(Exception):
    """What goes wrong in the application's own code."""


@dataclass(frozen=True)
class Use:
    """A thing that applications do with a stream.

    Attributes:
        name: what it is called.
        sync: does it, and keeps the chunks that it got.
        asynchronous: does the same with an async stream.
        chunks: how many chunks it gets before it stops; None when it gets all.
        error: type and message of what the call is told to have failed with.
        sends: whether it reads at all: a stream that is never read sends no request.
    """

    name: str
    sync: Callable[[Stream, Seen], None]
    asynchronous: Callable[[AsyncStream, Seen], Awaitable[None]]
    chunks: int | None = None
    error: tuple[str, str] | None = None
    sends: bool = True

    @property
    def drops(self) -> bool:
        """Whether the server is still about to answer when the application has enough."""
        return self.sends and self.chunks is not None


def drain(stream: Stream, seen: Seen) -> None:
    for chunk in stream:
        seen.append(chunk)


async def drain_async(stream: AsyncStream, seen: Seen) -> None:
    async for chunk in stream:
        seen.append(chunk)


def make_list(stream: Stream, seen: Seen) -> None:
    seen.extend(list(stream))


async def make_list_async(stream: AsyncStream, seen: Seen) -> None:
    seen.extend([chunk async for chunk in stream])


def hand_on(stream: Stream, seen: Seen) -> None:
    def passed_on() -> Iterator[Any]:
        yield from stream

    seen.extend(passed_on())


async def hand_on_async(stream: AsyncStream, seen: Seen) -> None:
    async def passed_on() -> AsyncGenerator[Any, None]:
        async for chunk in stream:
            yield chunk

    seen.extend([chunk async for chunk in passed_on()])


def send(stream: Stream, seen: Seen) -> None:
    seen.append(next(stream))
    seen.append(stream.send("ignored by the SDK"))
    seen.extend(stream)


async def send_async(stream: AsyncStream, seen: Seen) -> None:
    seen.append(await anext(stream))
    seen.append(await stream.asend("ignored by the SDK"))
    seen.extend([chunk async for chunk in stream])


def read_in_other_threads(stream: Stream, seen: Seen) -> None:
    """Read every chunk in a thread of its own."""
    done = False
    while not done:
        with ThreadPoolExecutor(1) as thread:
            chunk = thread.submit(next, stream, None).result()
        done = chunk is None
        seen.extend([] if done else [chunk])


async def read_in_other_tasks(stream: AsyncStream, seen: Seen) -> None:
    """Read every chunk in a task, and so in a context, of its own."""

    async def step() -> Any:
        return await anext(stream, None)

    while (chunk := await asyncio.create_task(step())) is not None:
        seen.append(chunk)


def read_in_other_contexts(stream: Stream, seen: Seen) -> None:
    """Read every chunk in a copy of the context."""
    while (chunk := contextvars.copy_context().run(next, stream, None)) is not None:
        seen.append(chunk)


async def read_in_other_loop_turns(stream: AsyncStream, seen: Seen) -> None:
    """Let others have their turn between the chunks."""
    async for chunk in stream:
        seen.append(chunk)
        await asyncio.sleep(0)


def break_off(stream: Stream, seen: Seen) -> None:
    for chunk in stream:
        seen.append(chunk)
        if len(seen) == 2:
            break


async def break_off_async(stream: AsyncStream, seen: Seen) -> None:
    async for chunk in stream:
        seen.append(chunk)
        if len(seen) == 2:
            break


def take_the_first(stream: Stream, seen: Seen) -> None:
    seen.extend(islice(stream, 1))


async def take_the_first_async(stream: AsyncStream, seen: Seen) -> None:
    seen.append(await anext(stream))


def break_off_at_the_end(stream: Stream, seen: Seen) -> None:
    for chunk in stream:
        seen.append(chunk)
        if chunk.done:
            break


async def break_off_at_the_end_async(stream: AsyncStream, seen: Seen) -> None:
    async for chunk in stream:
        seen.append(chunk)
        if chunk.done:
            break


def close_midway(stream: Stream, seen: Seen) -> None:
    seen.extend([next(stream), next(stream), next(stream)])
    stream.close()
    seen.extend(stream)  # nothing more comes


async def close_midway_async(stream: AsyncStream, seen: Seen) -> None:
    seen.extend([await anext(stream), await anext(stream), await anext(stream)])
    await stream.aclose()
    seen.extend([chunk async for chunk in stream])  # nothing more comes


def close_at_once(stream: Stream, seen: Seen) -> None:
    stream.close()
    seen.extend(stream)


async def close_at_once_async(stream: AsyncStream, seen: Seen) -> None:
    await stream.aclose()
    seen.extend([chunk async for chunk in stream])


def never_read(stream: Stream, seen: Seen) -> None:
    """Let the stream go as it came."""


async def never_read_async(stream: AsyncStream, seen: Seen) -> None:
    """Let the stream go as it came."""


def fail_in_the_loop(stream: Stream, seen: Seen) -> None:
    for chunk in stream:
        seen.append(chunk)
        if len(seen) == 2:
            raise MishapError("in the loop")


async def fail_in_the_loop_async(stream: AsyncStream, seen: Seen) -> None:
    async for chunk in stream:
        seen.append(chunk)
        if len(seen) == 2:
            raise MishapError("in the loop")


def throw(stream: Stream, seen: Seen) -> None:
    seen.extend([next(stream), next(stream)])
    stream.throw(MishapError("thrown in"))


async def throw_async(stream: AsyncStream, seen: Seen) -> None:
    seen.extend([await anext(stream), await anext(stream)])
    await stream.athrow(MishapError("thrown in"))


THROWN = (f"{MishapError.__module__}.{MishapError.__qualname__}", "thrown in")

USES = (
    Use("drained", drain, drain_async),
    Use("made a list", make_list, make_list_async),
    Use("handed on", hand_on, hand_on_async),
    Use("sent into", send, send_async),
    Use("read in other threads or tasks", read_in_other_threads, read_in_other_tasks),
    Use("read in other contexts or turns", read_in_other_contexts, read_in_other_loop_turns),
    Use("broken off", break_off, break_off_async, chunks=2),
    Use("first chunk only", take_the_first, take_the_first_async, chunks=1),
    Use("broken off at the end", break_off_at_the_end, break_off_at_the_end_async),
    Use("closed midway", close_midway, close_midway_async, chunks=3),
    Use("closed at once", close_at_once, close_at_once_async, chunks=0, sends=False),
    Use("never read", never_read, never_read_async, chunks=0, sends=False),
    Use("failed in the loop", fail_in_the_loop, fail_in_the_loop_async, chunks=2),
    Use("thrown into", throw, throw_async, chunks=2, error=THROWN),
)
