"""One call to Ollama as telemetry: started, filled with what comes, ended once.

What fails while a call is recorded is reported, and left out of the telemetry.
"""

from typing import TYPE_CHECKING, Any, Final

from opentelemetry.util.genai.types import Error
from opentelemetry.util.genai.utils import fq_exception_type

from ollama_otel._extract import error_type
from ollama_otel._internal_errors import Guard, report
from ollama_otel._spans import SpanInvocation

if TYPE_CHECKING:
    from opentelemetry.context import Context

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
_ENDING: Final = Guard("ending the telemetry of a call")

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def start_call(
    telemetry: "Telemetry",
    operation: "Operation",
    client: Any,
    body: "Body",
    context: "Context | None" = None,
) -> "Call | UnreadCall":
    """Start the telemetry of a call that is about to be made, and make its span current.

    Args:
        telemetry: where it is recorded.
        operation: how the endpoint is recorded.
        client: the SDK's client, which knows the server's address.
        body: the JSON body that the SDK is about to send.
        context: the parent; the current context when ``None``.

    Returns:
        The call; one that reads nothing when nobody keeps its span, when the instrumentation was
        taken off meanwhile, or when its telemetry could not be started.
    """
    if telemetry.closed:
        return UnreadCall()
    with _STARTING:
        address, port = _server_if_known(client)
        model = body.get("model")
        invocation = operation.start(
            telemetry,
            operation_name=operation.name,
            request_model=model if isinstance(model, str) and model else None,
            server_address=address,
            server_port=port,
            context=context,
        )
        if isinstance(invocation, SpanInvocation) and not invocation.span.is_recording():
            return UnreadCall(invocation)
        try:
            return Call(telemetry, operation, invocation, body)
        except BaseException:
            # Left current, the span would make every later call of the thread a part of it.
            invocation.stop()
            raise
    return UnreadCall()


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
    """

    __slots__ = ("_answer", "_ended", "_invocation", "_keeps_content", "_times_chunks")

    def __init__(
        self,
        telemetry: "Telemetry",
        operation: "Operation",
        invocation: "Invocation",
        body: "Body",
    ) -> None:
        self._invocation = invocation
        self._ended = False
        self._keeps_content = telemetry.wants_content(invocation)
        self._times_chunks = telemetry.measures()
        self._answer = operation.answer(body, keep_content=self._keeps_content)
        with _READING_REQUEST:
            self._set(operation.request(body))
        if self._keeps_content:
            with _READING_REQUEST_CONTENT:
                self._set(operation.request_content(body))

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
                self._answer.add(response)
        finally:
            self.end()

    def end(self, error: BaseException | None = None) -> None:
        """End with what came so far; a second time does nothing.

        Args:
            error: what the application is about to see, when the call failed.
        """
        if self._ended:
            return
        self._ended = True
        try:
            self._read_answer()
        finally:
            # Whatever happens, a Ctrl-C in here too: a span left current would swallow later calls.
            with _ENDING:
                self._end_invocation(error)

    def _read_answer(self) -> None:
        with _READING_ANSWER:
            self._set(self._answer.fields())
        if self._keeps_content:
            with _READING_ANSWER_CONTENT:
                self._set(self._answer.content())

    def _end_invocation(self, error: BaseException | None) -> None:
        if error is None:
            self._invocation.stop()
            return
        try:
            failure = Error.from_exception(error, error_type)
        except Exception:
            # Its str() raises: the span ends all the same, with the type alone.
            self._invocation.fail(Error(message=None, type=fq_exception_type(error)))
            raise
        self._invocation.fail(failure)


class UnreadCall:
    """A call of which nothing is read: its span, if it has one, only carries the trace on.

    Args:
        invocation: the started invocation, whose span nobody keeps.
    """

    __slots__ = ("_invocation",)

    def __init__(self, invocation: "Invocation | None" = None) -> None:
        self._invocation = invocation

    def add(self, chunk: Any, *, first: bool) -> None:  # noqa: ARG002  (nothing of it is wanted)
        """Make the application's context current again after the first chunk."""
        if first and self._invocation is not None:
            self._invocation.suspend()

    def finish(self, response: Any) -> None:  # noqa: ARG002  (nothing of it is wanted)
        """End."""
        self.end()

    def end(self, error: BaseException | None = None) -> None:  # noqa: ARG002
        """End; a second time does nothing."""
        if self._invocation is not None:
            self._invocation.stop()
