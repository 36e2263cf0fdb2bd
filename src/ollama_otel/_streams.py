"""Streams: what the SDK returns, recorded while it passes.

Each is a plain (async) generator like the SDK's own, and as lazy: nothing is sent and no
telemetry starts before the first read. The span is current during that read only, so that the
HTTP request nests under it and the application's loop body does not.
"""

from asyncio import CancelledError, shield
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from ollama_otel._open_streams import leave

if TYPE_CHECKING:
    from collections.abc import Callable

    from ollama_otel._calls import Call, UnreadCall

Start: TypeAlias = "Callable[[], Call | UnreadCall]"


def wrap_stream(chunks: Iterable[Any], start: Start) -> Generator[Any, None, None]:
    """Pass on the chunks of a stream, and record them.

    Args:
        chunks: what the SDK returned.
        start: starts the telemetry of the call; called in the first read.
    """
    call = start()
    first = True
    lent: list[Any] = []
    try:
        for chunk in chunks:
            call.add(chunk, first=first)
            first = False
            # Once handed out it is the application's alone.
            lent.append(chunk)
            del chunk
            yield lent.pop()
    except GeneratorExit:
        # The application has seen enough: that is no failure.
        leave(call)
        raise
    except BaseException as error:
        call.end(error)
        raise
    else:
        call.end()
    finally:
        if close := getattr(chunks, "close", None):
            close()


async def wrap_async_stream(chunks: AsyncIterable[Any], start: Start) -> AsyncGenerator[Any, None]:
    """Pass on the chunks of an async stream, and record them.

    Args:
        chunks: what the SDK returned.
        start: starts the telemetry of the call; called in the first read.
    """
    call = start()
    first = True
    lent: list[Any] = []
    close = getattr(chunks, "aclose", None)
    try:
        async for chunk in chunks:
            call.add(chunk, first=first)
            first = False
            # Once handed out it is the application's alone.
            lent.append(chunk)
            del chunk
            try:
                yield lent.pop()
            except CancelledError:
                # A loop that shuts down cancels the closing of streams that were left behind. The
                # SDK's is closed in a task of its own, because in this one Python 3.12 and older
                # would break into it, and before the loop closes the generators that it reads from.
                call.end()
                if close is not None:
                    closing, close = close(), None
                    await shield(closing)
                raise
    except GeneratorExit:
        # The application has seen enough: that is no failure.
        leave(call)
        raise
    except BaseException as error:
        call.end(error)
        raise
    else:
        call.end()
    finally:
        if close is not None:
            await close()
