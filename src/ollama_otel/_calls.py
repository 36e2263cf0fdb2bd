"""One call to Ollama as telemetry: started, filled with what comes, ended once.

What fails while a call is recorded is reported, and left out of the telemetry.
"""

import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry.trace import get_current_span
from opentelemetry.util.genai.types import Error

from ollama_otel import _doors
from ollama_otel._exceptions import record_exception
from ollama_otel._extract import error_type, exception_message, request_model
from ollama_otel._internal_errors import Guard, report
from ollama_otel._ollama_attributes import request_attributes, response_attributes
from ollama_otel._open_streams import keep
from ollama_otel._spans import SpanInvocation

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from ollama_otel._extract import Body
    from ollama_otel._operations import Invocation, Operation
    from ollama_otel._telemetry import Telemetry

READING_ANSWER: Final = "reading an answer"

_FINDING_SERVER: Final = Guard("finding the address of a server")
_STARTING: Final = Guard("starting the telemetry of a call")
_READING_REQUEST: Final = Guard("reading a request")
_READING_REQUEST_CONTENT: Final = Guard("reading the content of a request")
_READING_ANSWER: Final = Guard(READING_ANSWER)
_READING_ANSWER_CONTENT: Final = Guard("reading the content of an answer")
_TAKING_NOTES: Final = Guard("noting what MLflow wants to know of a call")
_READING_MORE: Final = Guard("reading what Ollama tells beyond the conventions")
_RECORDING_EXCEPTION: Final = Guard("recording the exception of a call")
_ENDING: Final = Guard("ending the telemetry of a call")

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def start_call(
    telemetry: "Telemetry",
    operation: "Operation",
    client: Any,
    body: "Body",
    asked: "Asked | None" = None,
) -> "Call | UnreadCall":
    """Start the telemetry of a call that is about to be made, and make its span current.

    Args:
        telemetry: where it is recorded.
        operation: how the endpoint is recorded.
        client: the SDK's client, which knows the server's address.
        body: the JSON body that the SDK is about to send.
        asked: where a stream was asked for; ``None`` for a call that is made here and now.

    Returns:
        The call; one that reads nothing when nobody keeps its span, when the instrumentation was
        taken off meanwhile, or when its telemetry could not be started.
    """
    if telemetry.closed:
        return UnreadCall()
    with _STARTING:
        place = asked or Asked.here(telemetry)
        address, port = _server_if_known(client)
        invocation = operation.start(
            telemetry,
            operation_name=operation.name,
            request_model=request_model(body),
            server_address=address,
            server_port=port,
            context=place.context,
        )
        try:
            if isinstance(invocation, SpanInvocation) and not invocation.span.is_recording():
                return UnreadCall(invocation, telemetry, place)
            call = Call(telemetry, operation, invocation, body, place)
            if asked is not None:
                telemetry.first_stream()
                keep(call)
        except BaseException:
            # Left current, the span would make every later call of the thread a part of it.
            invocation.stop()
            raise
        return call
    return UnreadCall()


class Asked(NamedTuple):
    """Where a call was made, or a stream was asked for.

    Attributes:
        context: the parent.
        handled: the exception that was being handled there, which is none of the call's.
    """

    context: "Context"
    handled: BaseException | None

    @classmethod
    def here(cls, telemetry: "Telemetry") -> "Asked":
        """Return this place.

        Args:
            telemetry: which knows what is current here.
        """
        return cls(telemetry.current_context(), sys.exc_info()[1])


def _record_exception(
    telemetry: "Telemetry", place: Asked, error: BaseException, span: "Span"
) -> None:
    with _RECORDING_EXCEPTION:
        record_exception(
            error,
            span,
            telemetry.logger,
            place.context,
            handled=place.handled,
            quote=telemetry.captures_content,
        )


def _server_if_known(client: Any) -> tuple[str | None, int | None]:
    with _FINDING_SERVER:
        return server_of(client)
    return None, None


def server_of(client: Any) -> tuple[str | None, int | None]:
    """Return host name and port of the server that a client of the SDK talks to.

    Args:
        client: an ``ollama.Client`` or ``ollama.AsyncClient``; only its private httpx client
            knows the address.
    """
    url = client._client.base_url  # noqa: SLF001  (no public way)
    return url.host or None, url.port or _DEFAULT_PORTS.get(url.scheme)


class Call:
    """A call under way, whose span is current until the first chunk or :meth:`end`.

    Args:
        telemetry: where it is recorded.
        operation: how the endpoint is recorded.
        invocation: the started invocation.
        body: the request's JSON body.
        place: where it was made.
    """

    __slots__ = (
        *("__weakref__", "_answer", "_ended", "_invocation", "_keeps_content", "_operation"),
        *("_place", "_telemetry", "_tells_more", "_times_chunks"),
    )

    def __init__(
        self,
        telemetry: "Telemetry",
        operation: "Operation",
        invocation: "Invocation",
        body: "Body",
        place: Asked,
    ) -> None:
        self._telemetry = telemetry
        self._operation = operation
        self._invocation = invocation
        self._place = place
        self._ended = False
        self._tells_more = telemetry.tells_ollama_attributes()
        self._keeps_content = telemetry.wants_content(invocation)
        self._times_chunks = telemetry.measures()
        self._answer = operation.answer(body, keep_content=self._keeps_content)
        if _doors.mlflow:
            with _TAKING_NOTES:
                invocation.attributes.update(_doors.notes(place.context))
        with _READING_REQUEST:
            self._set(operation.request(body))
        if self._keeps_content:
            with _READING_REQUEST_CONTENT:
                self._set(operation.request_content(body))
        if self._tells_more:
            with _READING_MORE:
                invocation.attributes.update(request_attributes(body))
                if telemetry.keeps_content_on_spans:
                    invocation.attributes.update(operation.own_content(body))

    def _set(self, fields: dict[str, Any]) -> None:
        for name, value in fields.items():
            setattr(self._invocation, name, value)

    def add(self, chunk: Any, *, first: bool) -> None:
        """Take a chunk of a stream; the one that says it is the last ends the call.

        Args:
            chunk: what came.
            first: whether it is the first. It tells the time to first chunk, and after it the
                application's context is current again.
        """
        # Not a Guard, and no calls that can be spared: this runs for every chunk.
        try:
            last = self._answer.add(chunk)
            if first:
                # Before the chunk is timed: the metrics of chunks name the answering model.
                self._set({"response_model_name": self._answer.model})
            if first or self._times_chunks:
                self._invocation.record_stream_chunk()
            if last:
                self._read_more(chunk)
                self.end()
        except Exception as error:  # noqa: BLE001  (whatever fails in here is ours)
            report(READING_ANSWER, error)
        finally:
            if first:
                self._invocation.suspend()

    def finish(self, response: Any) -> None:
        """Take a whole response, and end."""
        try:
            with _READING_ANSWER:
                self._answer.finish(response)
            self._read_more(response)
        finally:
            self.end()

    def _read_more(self, last: Any) -> None:
        if self._tells_more:
            with _READING_MORE:
                self._invocation.attributes.update(response_attributes(last))

    def end(self, error: BaseException | None = None) -> None:
        """End with what came so far; a second time does nothing.

        Args:
            error: what the application is about to see, when the call failed.
        """
        if self._ended:
            return
        self._ended = True
        try:
            self._read_answer(failed=error is not None)
        finally:
            # Whatever happens, a Ctrl-C in here too: a span left current would swallow later calls.
            with _ENDING:
                self._end_invocation(error)

    def _read_answer(self, *, failed: bool) -> None:
        with _READING_ANSWER:
            self._set(self._answer.fields(failed=failed))
        if self._keeps_content:
            with _READING_ANSWER_CONTENT:
                self._set(self._answer.content())

    def _end_invocation(self, error: BaseException | None) -> None:
        forget_foreign_token(self._invocation)
        if error is None:
            self._invocation.stop()
            return
        quote = self._telemetry.captures_content
        failure = Error(exception_message(error, quote=quote), error_type(error), error)
        try:
            if not self._is_inner():
                _record_exception(self._telemetry, self._place, error, self._invocation.span)
        finally:
            self._invocation.fail(failure)

    def _is_inner(self) -> bool:
        if isinstance(self._invocation, SpanInvocation):
            return False
        # Here, for the sake of those who receive spans alone: it imports much of util-genai.
        from ollama_otel._nesting import is_inner  # noqa: PLC0415

        return is_inner(self._operation.name, self._invocation, self._place.context)


def forget_foreign_token(invocation: "Invocation") -> None:
    """Leave the context alone where the invocation is not current: in another thread or task.

    At exit, or when a task is destroyed, a call ends where it did not begin. Detaching there
    changes nothing, and logs an error. util-genai has no public way to forget its token.

    Args:
        invocation: an invocation that is about to end.
    """
    if isinstance(invocation, SpanInvocation):
        invocation.forget_foreign_token()
    elif get_current_span() is not invocation.span:
        invocation._context_token = None  # noqa: SLF001  (see above)


class UnreadCall:
    """A call of which nothing is read: its span, if it has one, only carries the trace on.

    Args:
        invocation: the started invocation, whose span nobody keeps.
        telemetry: where the exception goes if the call fails.
        place: where it was made.
    """

    __slots__ = ("_invocation", "_place", "_telemetry")

    def __init__(
        self,
        invocation: "Invocation | None" = None,
        telemetry: "Telemetry | None" = None,
        place: Asked | None = None,
    ) -> None:
        self._invocation = invocation
        self._telemetry = telemetry
        self._place = place

    def add(self, chunk: Any, *, first: bool) -> None:  # noqa: ARG002  (nothing of it is wanted)
        """Make the application's context current again after the first chunk."""
        if first and self._invocation is not None:
            self._invocation.suspend()

    def finish(self, response: Any) -> None:  # noqa: ARG002  (nothing of it is wanted)
        """End."""
        self.end()

    def end(self, error: BaseException | None = None) -> None:
        """End; a second time does nothing.

        Args:
            error: what the application is about to see, when the call failed.
        """
        invocation, self._invocation = self._invocation, None
        if invocation is None:
            return
        forget_foreign_token(invocation)
        try:
            if error is not None and self._telemetry is not None and self._place is not None:
                _record_exception(self._telemetry, self._place, error, invocation.span)
        finally:
            invocation.stop()
