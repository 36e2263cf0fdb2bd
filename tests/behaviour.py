"""What is told of a call, whatever becomes of it: the rows that tests prove and docs show."""

from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any

import httpx
from opentelemetry import trace

import behaviour_readers as readers
from behaviour_readers import APPLICATION, Application, Ask, Reader, Run, Server
from recorded import EXCHANGES, Exchange
from wire_stream import Connection, nothing, written

WHOLE, CAME, EMPTY, NONE = "whole", "what came", "empty", ""
"""How much of the answer's content is kept; an empty answer is a message without parts."""

NOT_STREAMED = "not streamed by the SDK"


@dataclass(frozen=True)
class Telling:
    """What is told of a call.

    Attributes:
        spans: how many there are; each is like the others.
        error: the ``error.type`` of a failed call, whose status is ERROR.
        finish: the finish reason.
        content: how much of the answer's content is kept.
        tokens: whether the counts that the server sends are.
    """

    spans: int = 1
    error: str | None = None
    finish: str | None = None
    content: str = NONE
    tokens: bool = False

    def of(self, exchange: Exchange) -> "Telling":
        """Return what of it a call of this kind can have."""
        tokens = self.tokens and "prompt_eval_count" in exchange.lines[-1]
        if exchange.method.startswith("embed"):
            return replace(self, finish=None, content=NONE, tokens=tokens)
        return replace(self, tokens=tokens)

    def __str__(self) -> str:
        """Tell it in the few words of a table's cell."""
        if not self.spans:
            return "no span"
        words = [
            f"`ERROR {self.error}`" if self.error else "`unset`",
            f"`{self.finish}`" if self.finish else "",
            self.content,
            "tokens" if self.tokens else "",
        ]
        told = ", ".join(filter(None, words))
        return told if self.spans == 1 else f"{self.spans} spans, each {told}"


ANSWERED = Telling(finish="stop", content=WHOLE, tokens=True)
UNCOUNTED = replace(ANSWERED, tokens=False)
LOADED = Telling(finish="load", content=EMPTY)
UNLOADED = Telling(finish="unload", content=EMPTY)
BROKEN_OFF = Telling(finish="error", content=CAME)
TWICE = replace(ANSWERED, spans=2)
NO_SPAN = Telling(spans=0)


def failed(error: str) -> Telling:
    """Tell of a call that failed before anything came."""
    return Telling(error=error)


def failed_midway(error: str) -> Telling:
    """Tell of a stream that failed after some chunks."""
    return replace(BROKEN_OFF, error=error)


# What the server does ---------------------------------------------------------------------------


def answers(exchange: Exchange) -> Connection:
    """Give the recorded answer."""
    return Connection(written(exchange.lines))


def answers_without_counts(exchange: Exchange) -> Connection:
    counts = ("prompt_eval_count", "eval_count")
    return Connection(
        written(
            {key: value for key, value in line.items() if key not in counts}
            for line in exchange.lines
        )
    )


_LOADED: dict[str, Any] = {
    "chat": EXCHANGES["chat_load"].lines[0],
    "generate": EXCHANGES["generate_load"].lines[0],
    "embed": EXCHANGES["embed_empty"].lines[0],
    "embeddings": {"embedding": []},
}
"""What a server answers when there is nothing to answer."""


def only(reason: str) -> Server:
    """Load or unload the model, and say so."""

    def server(exchange: Exchange) -> Connection:
        line = _LOADED[exchange.method]
        return Connection(written([line | {"done_reason": reason} if "done" in line else line]))

    return server


def fails(_: Exchange) -> Connection:
    error = EXCHANGES["error_no_such_model"]
    return Connection(written(error.lines), nothing, error.status, error.content_type)


def fails_in_text(_: Exchange) -> Connection:
    return Connection([b"404 page not found"], nothing, 404, "text/plain")


class Closed(Connection):
    """A port at which nobody listens."""

    def respond(self, request: httpx.Request) -> httpx.Response:
        super().respond(request)
        raise httpx.ConnectError("connection refused")


def nobody_listens(_: Exchange) -> Connection:
    return Closed([])


def midway(then: Callable[[], Any], more: bytes = b"") -> Server:
    """Give some chunks, or a part of an answer that is none, and then do this."""

    def server(exchange: Exchange) -> Connection:
        lines = written(exchange.lines)
        begun = lines[: readers.SOME] if len(lines) > 1 else [lines[0][: len(lines[0]) // 2]]
        return Connection([*begun, more], then)

    return server


def raising(error: type[BaseException], *args: object) -> Callable[[], None]:
    def then() -> None:
        raise error(*args)

    return then


# What the application asks ----------------------------------------------------------------------


def as_recorded(exchange: Exchange) -> dict[str, Any]:
    """Ask what was recorded."""
    return exchange.arguments


def for_nothing(exchange: Exchange) -> dict[str, Any]:
    """Ask with an empty prompt, or without messages or input."""
    questions = ("messages", "prompt", "input")
    return {
        name: type(value)() if name in questions else value
        for name, value in exchange.arguments.items()
    }


def for_nothing_and_unload(exchange: Exchange) -> dict[str, Any]:
    return for_nothing(exchange) | {"keep_alive": 0}


# What becomes of a call -------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """One thing that can become of a call.

    Attributes:
        name: in a few words.
        sentence: what happens.
        plain: what is told of a call that is not streamed; ``None`` where it cannot happen there.
        stream: what is told of a stream; ``None`` where it cannot happen there.
        server: what the server does.
        reader: what the application does.
        ask: the arguments that it gives the SDK's method.
    """

    name: str
    sentence: str
    _: KW_ONLY
    plain: Telling | None = None
    stream: Telling | None = None
    server: Server = answers
    reader: Reader = readers.READ_ALL
    ask: Ask = as_recorded


OUTCOMES = (
    Outcome(
        "answered",
        "The server answers, and the application reads it all.",
        plain=ANSWERED,
        stream=ANSWERED,
    ),
    Outcome(
        "counts missing",
        "The answer comes without token counts.",
        plain=UNCOUNTED,
        stream=UNCOUNTED,
        server=answers_without_counts,
    ),
    Outcome(
        "load",
        "Nothing to answer: the server only loads the model.",
        plain=LOADED,
        stream=LOADED,
        server=only("load"),
        ask=for_nothing,
    ),
    Outcome(
        "unload",
        "Nothing to answer and `keep_alive=0`: the server unloads the model.",
        plain=UNLOADED,
        stream=UNLOADED,
        server=only("unload"),
        ask=for_nothing_and_unload,
    ),
    Outcome(
        "HTTP error",
        "The server answers 404 with a reason in JSON.",
        plain=failed("404"),
        stream=failed("404"),
        server=fails,
    ),
    Outcome(
        "HTTP error in text",
        "Something answers 404 in plain text.",
        plain=failed("404"),
        stream=failed("404"),
        server=fails_in_text,
    ),
    Outcome(
        "nobody listens",
        "The connection is refused. (A stream of the SDK raises an exception of its own kind.)",
        plain=failed("ConnectionError"),
        stream=failed("httpx.ConnectError"),
        server=nobody_listens,
    ),
    Outcome(
        "no JSON",
        "The answer, or a line of the stream, is no JSON.",
        plain=failed("json.decoder.JSONDecodeError"),
        stream=failed_midway("json.decoder.JSONDecodeError"),
        server=midway(nothing, b"<html>\n"),
    ),
    Outcome(
        "connection cut",
        "The connection breaks before the answer is complete.",
        plain=failed("httpx.RemoteProtocolError"),
        stream=failed_midway("httpx.RemoteProtocolError"),
        server=midway(raising(httpx.RemoteProtocolError, "peer closed the connection")),
    ),
    Outcome(
        "timeout",
        "The client's timeout runs out before the answer is complete.",
        plain=failed("httpx.ReadTimeout"),
        stream=failed_midway("httpx.ReadTimeout"),
        server=midway(raising(httpx.ReadTimeout, "timed out")),
    ),
    Outcome(
        "Ctrl-C",
        "KeyboardInterrupt while the application waits for the server.",
        plain=failed("KeyboardInterrupt"),
        stream=failed_midway("KeyboardInterrupt"),
        server=midway(raising(KeyboardInterrupt)),
    ),
    Outcome(
        "cancelled",
        "The task is cancelled while it waits for the server.",
        plain=failed("asyncio.exceptions.CancelledError"),
        stream=failed_midway("asyncio.exceptions.CancelledError"),
        server=midway(readers.wait_to_be_cancelled),
        reader=readers.BE_CANCELLED,
    ),
    Outcome(
        "error line",
        "The server reports an error in mid-stream.",
        stream=failed_midway("ollama.ResponseError"),
        server=midway(nothing, written(EXCHANGES["error_mid_stream"].lines[-1:])[0]),
    ),
    Outcome(
        "ends early",
        "The stream just ends, without the chunk that says done.",
        stream=BROKEN_OFF,
        server=midway(nothing),
    ),
    Outcome(
        "broken off",
        "The application leaves the loop after some chunks, and drops the stream.",
        stream=BROKEN_OFF,
        reader=readers.BREAK_OFF,
    ),
    Outcome(
        "broken off at done",
        "The application leaves the loop at the chunk that says done.",
        stream=ANSWERED,
        reader=readers.STOP_AT_DONE,
    ),
    Outcome(
        "closed unread",
        "The stream is closed before its first chunk is asked for: nothing was sent.",
        stream=NO_SPAN,
        reader=readers.CLOSE_UNREAD,
    ),
    Outcome(
        "closed midway",
        "The application closes the stream after some chunks.",
        stream=BROKEN_OFF,
        reader=readers.CLOSE,
    ),
    Outcome(
        "abandoned",
        "A half-read stream is left to the garbage collector.",
        stream=BROKEN_OFF,
        reader=readers.ABANDON,
    ),
    Outcome(
        "never iterated",
        "The stream is dropped before its first chunk is asked for: nothing was sent.",
        stream=NO_SPAN,
        reader=readers.IGNORE,
    ),
    Outcome(
        "exception in the loop",
        "The loop body raises: that is no failure of the call.",
        stream=BROKEN_OFF,
        reader=readers.RAISE_IN_LOOP,
    ),
    Outcome(
        "cancelled in the loop",
        "The task is cancelled while the loop body waits for something else.",
        stream=BROKEN_OFF,
        reader=readers.BE_CANCELLED_IN_LOOP,
    ),
    Outcome(
        "another thread",
        "The stream is read in another thread (async: by that thread's event loop).",
        stream=ANSWERED,
        reader=readers.READ_IN_THREAD,
    ),
    Outcome(
        "other contexts",
        "Each chunk is read in a context (async: and a task) of its own.",
        stream=ANSWERED,
        reader=readers.READ_IN_CONTEXTS,
    ),
    Outcome(
        "interleaved",
        "Two streams are read in turns.",
        stream=TWICE,
        reader=readers.INTERLEAVE,
    ),
    Outcome(
        "nested call",
        "The loop body makes a call of its own: neither span is inside the other.",
        stream=TWICE,
        reader=readers.NEST,
    ),
    Outcome(
        "yield from",
        "The stream is handed on by a generator of the application.",
        stream=ANSWERED,
        reader=readers.HAND_ON,
    ),
    Outcome(
        "yield from, closed",
        "The application closes the generator that hands the stream on (async: which leaves the "
        "stream to the event loop).",
        stream=BROKEN_OFF,
        reader=readers.HAND_ON_AND_CLOSE,
    ),
    Outcome(
        "itertools.chain()",
        "The stream is read through it.",
        stream=ANSWERED,
        reader=readers.CHAIN,
    ),
    Outcome(
        "itertools.islice()",
        "Some chunks are read through it.",
        stream=BROKEN_OFF,
        reader=readers.SLICE,
    ),
    Outcome(
        "list()",
        "The stream is read into a list (async: by a comprehension).",
        stream=ANSWERED,
        reader=readers.LIST,
    ),
    Outcome(
        "throw()",
        "The application throws an exception into the stream (async: `athrow()`).",
        stream=failed_midway("LookupError"),
        reader=readers.THROW,
    ),
    Outcome(
        "send()",
        "The stream is read by `send()` (async: `asend()`).",
        stream=ANSWERED,
        reader=readers.SEND,
    ),
)


# Every operation with every outcome -------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    """A method of the SDK.

    Attributes:
        plain: a recorded call.
        stream: a recorded stream; ``None`` where the SDK has none.
    """

    plain: Exchange
    stream: Exchange | None = None

    @property
    def name(self) -> str:
        return self.plain.method


OPERATIONS = (
    Operation(EXCHANGES["chat_plain"], EXCHANGES["chat_stream"]),
    Operation(EXCHANGES["generate_plain"], EXCHANGES["generate_stream"]),
    Operation(EXCHANGES["embed_one"]),
    Operation(EXCHANGES["embeddings_legacy"]),
)

COLUMNS = tuple(
    (operation, asynchronous) for operation in OPERATIONS for asynchronous in (False, True)
)


@dataclass(frozen=True)
class Cell:
    """One outcome of one operation, in the sync or the async client, streamed or not.

    Attributes:
        name: which, in one word.
        telling: what is told of the call.
        asked: the recorded call or stream that is asked for.
        outcome: what becomes of it.
        plain: the recorded call that is made beside a stream.
        run: makes the application go through it.
    """

    name: str
    telling: Telling
    asked: Exchange
    outcome: Outcome
    plain: Exchange
    run: Run

    def watch(self, ended: Callable[[], int] = lambda: 0) -> Application:
        """Let an application go through it, inside a span of its own.

        Args:
            ended: tells how many spans have ended.

        Returns:
            The application, which noted what it saw.
        """
        app = Application(self.plain, self.asked, self.outcome.ask, self.outcome.server, ended)
        with trace.use_span(APPLICATION):
            self.run(app)
            app.look()
        return app


def _cell(
    outcome: Outcome, telling: Telling, operation: Operation, *, asynchronous: bool, streamed: bool
) -> Cell | str:
    asked = operation.stream if streamed else operation.plain
    run = outcome.reader.run(asynchronous=asynchronous)
    if asked is None:
        return NOT_STREAMED
    if isinstance(run, str):
        return run
    ways = ("async" if asynchronous else "sync", "stream" if streamed else "plain")
    name = "-".join((operation.name, *ways, outcome.name.replace(" ", "_")))
    return Cell(name, telling.of(asked), asked, outcome, operation.plain, run)


def rows(*, streamed: bool) -> Iterator[tuple[Outcome, list[Cell | str]]]:
    """Yield the outcomes, each with its cells for all columns; a text says why there is none.

    Args:
        streamed: whether of streams, or of calls that are not streamed.
    """
    for outcome in OUTCOMES:
        telling = outcome.stream if streamed else outcome.plain
        if telling is not None:
            yield (
                outcome,
                [
                    _cell(outcome, telling, operation, asynchronous=asynchronous, streamed=streamed)
                    for operation, asynchronous in COLUMNS
                ],
            )
