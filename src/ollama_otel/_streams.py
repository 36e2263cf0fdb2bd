"""Streams: what the SDK returns, told while it passes.

Each is a plain (async) generator like the SDK's own, and as lazy: nothing is sent and no
telemetry starts before the first read. The span is current during that read only, so that the
HTTP request nests under it and the application's loop body does not.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from typing import TYPE_CHECKING, Any, Final, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable

    from ollama_otel._calls import Call

Start: TypeAlias = "Callable[[], Call | None]"

_END: Final = object()


def tell(chunks: Iterator[Any], start: Start) -> Generator[Any, None, None]:
    """Pass on the chunks of a stream, and tell them.

    Args:
        chunks: what the SDK returned.
        start: starts the telemetry of the call; called in the first read.
    """
    call = start()
    if call is None:
        yield from chunks
        return
    try:
        chunk = next(chunks, _END)
        if chunk is not _END:
            call.add_first(chunk)
            call.hand_over()
            yield chunk
            for chunk in chunks:
                call.add(chunk)
                yield chunk
    except GeneratorExit:
        # The application has seen enough: that is no failure.
        call.end()
        raise
    except BaseException as error:
        call.end(error)
        raise
    else:
        call.end()
    finally:
        _close(chunks)


def _close(chunks: Iterator[Any]) -> None:
    if isinstance(chunks, Generator):
        chunks.close()


async def tell_async(chunks: AsyncIterator[Any], start: Start) -> AsyncGenerator[Any, None]:
    """Pass on the chunks of an async stream, and tell them.

    Args:
        chunks: what the SDK returned.
        start: starts the telemetry of the call; called in the first read.
    """
    call = start()
    if call is None:
        async for chunk in chunks:
            yield chunk
        return
    try:
        chunk = await anext(chunks, _END)
        if chunk is not _END:
            call.add_first(chunk)
            call.hand_over()
            yield chunk
            async for chunk in chunks:
                call.add(chunk)
                yield chunk
    except GeneratorExit:
        call.end()
        raise
    except BaseException as error:
        call.end(error)
        raise
    else:
        call.end()
    finally:
        await _aclose(chunks)


async def _aclose(chunks: AsyncIterator[Any]) -> None:
    if isinstance(chunks, AsyncGenerator):
        await chunks.aclose()
