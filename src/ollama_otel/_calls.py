"""One call to Ollama as telemetry: started, filled with what comes, ended once.

What fails while a call is recorded is reported, and left out of the telemetry.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.util.genai.types import Error
from opentelemetry.util.genai.utils import fq_exception_type

from ollama_otel._internal_errors import Guard, report

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
) -> "Call | None":
    """Start the telemetry of a call that is about to be made, and make its span current.

    Args:
        telemetry: where it is recorded.
        operation: how the endpoint is recorded.
        client: the SDK's client, which knows the server's address.
        body: the JSON body that the SDK is about to send.
        context: the parent; the current context when ``None``.

    Returns:
        The call, or ``None`` when its telemetry could not be started.
    """
    if telemetry.closed:
        return None
    with _STARTING:
        address, port = _server_if_known(client)
        model = body.get("model")
        invocation = operation.start(
            telemetry.handler,
            operation_name=operation.name,
            request_model=model if isinstance(model, str) and model else None,
            server_address=address,
            server_port=port,
            context=context,
        )
        try:
            return Call(telemetry, operation, invocation, body)
        except BaseException:
            # Left current, the span would make every later call of the thread a part of it.
            invocation.stop()
            raise
    return None


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
    return _host_and_port(client._client.base_url)  # noqa: SLF001  (no public way)


@lru_cache(maxsize=64)
def _host_and_port(url: Any) -> tuple[str | None, int | None]:
    return url.host or None, url.port or _DEFAULT_PORTS.get(url.scheme)


class Call:
    """A call under way, whose span is current until :meth:`add_first` or :meth:`end`.

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

    def add_first(self, chunk: Any) -> None:
        """Take the first chunk of a stream, and make the application's context current again."""
        self._add(chunk, first=True)
        self._invocation.suspend()

    def add(self, chunk: Any) -> None:
        """Take a further chunk of a stream; the one that says it is the last ends the call."""
        self._add(chunk)

    def _add(self, chunk: Any, *, first: bool = False) -> None:
        # Not a Guard: this runs for every chunk, and a try block costs nothing.
        try:
            last = self._answer.add(chunk)
            if first:
                # Before the chunk is timed: the metrics of chunks name the answering model.
                self._set({"response_model_name": self._answer.model})
            if first or self._times_chunks:
                self._invocation.record_stream_chunk()
        except Exception as error:  # noqa: BLE001  (whatever fails in here is ours)
            report(READING_ANSWER, error)
        else:
            if last:
                self.end()

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
            self._invocation.fail(error)
        except Exception:
            # util-genai 1.3b0 leaves the span open when str() of the exception raises.
            self._invocation.fail(Error(message=None, type=fq_exception_type(error)))
            raise


class _Unrecorded:
    """Stands in for a call whose telemetry could not be started."""

    def add_first(self, chunk: Any) -> None:
        """Do nothing."""

    def add(self, chunk: Any) -> None:
        """Do nothing."""

    def end(self, error: BaseException | None = None) -> None:
        """Do nothing."""


UNRECORDED: Final = _Unrecorded()
