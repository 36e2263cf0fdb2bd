"""The seam: what runs around ``Client._request`` and ``AsyncClient._request``.

Every call of the SDK passes there, with its body already in the wire's shape. The user's call
is made here and nowhere else, and its exception leaves as it came.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from ollama_otel._calls import Asked, start_call
from ollama_otel._open_streams import leave
from ollama_otel._operations import OPERATIONS, Operation
from ollama_otel._streams import wrap_async_stream, wrap_stream

if TYPE_CHECKING:
    from ollama_otel._telemetry import Telemetry

Wrapper: TypeAlias = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]

_PATH = 2
"""Where ``_request(cls, method, path, *, json, stream)`` has the endpoint."""


def _operation(args: tuple[Any, ...]) -> Operation | None:
    return OPERATIONS.get(args[_PATH]) if len(args) > _PATH else None


def sync_wrapper(telemetry: "Telemetry") -> Wrapper:
    """Return the wrapper of ``Client._request``.

    Args:
        telemetry: where calls are recorded.
    """

    def request(
        wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        operation = _operation(args)
        if operation is None or not telemetry.listens():
            return wrapped(*args, **kwargs)
        body = kwargs.get("json") or {}
        if kwargs.get("stream"):
            start = partial(start_call, telemetry, operation, client, body, Asked.here(telemetry))
            chunks = wrapped(*args, **kwargs)
            return wrap_stream(chunks, start)
        call = start_call(telemetry, operation, client, body)
        try:
            response = wrapped(*args, **kwargs)
        except BaseException as error:
            call.end(error)
            raise
        call.finish(response)
        return response

    return request


def async_wrapper(telemetry: "Telemetry") -> Wrapper:
    """Return the wrapper of ``AsyncClient._request``.

    Args:
        telemetry: where calls are recorded.
    """

    async def request(
        wrapped: Callable[..., Any], client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        operation = _operation(args)
        if operation is None or not telemetry.listens():
            return await wrapped(*args, **kwargs)
        body = kwargs.get("json") or {}
        if kwargs.get("stream"):
            start = partial(start_call, telemetry, operation, client, body, Asked.here(telemetry))
            chunks = await wrapped(*args, **kwargs)
            return wrap_async_stream(chunks, start)
        call = start_call(telemetry, operation, client, body)
        try:
            response = await wrapped(*args, **kwargs)
        except GeneratorExit:
            # Its task was destroyed: nobody waits for the answer any more.
            leave(call)
            raise
        except BaseException as error:
            call.end(error)
            raise
        call.finish(response)
        return response

    return request
