"""A stand-in for an Ollama server, for tests that need answers and no model.

``FakeOllama`` is a real HTTP server on a free port of the loopback interface. It answers in the
wire format of Ollama 0.24, so the ``ollama`` SDK, and all that is built on it, works against it
unchanged. This module needs the standard library only.

Without a script it gives sensible answers, always the same ones for the same request:

    >>> import ollama
    >>> messages = [{"role": "user", "content": "Why is the sky blue?"}]
    >>> with FakeOllama() as server, ollama.Client(host=server.url) as client:
    ...     client.chat(model="llama3.2", messages=messages).message.content
    'The sky is blue because air scatters light.'

A script says what comes instead, one answer per call, and what goes wrong:

    >>> script = [
    ...     Answer(tool_calls=[ToolCall("calculate_tip", {"bill_amount": 187.32})]),
    ...     Answer("Your tip comes to $41.21.", eval_count=8, delay=0.01),
    ...     Error("model requires more system memory", status=500),
    ...     Answer("This will never be heard to its end.", drop_after=3),
    ... ]
    >>> with FakeOllama(script) as server, ollama.Client(host=server.url) as client:
    ...     call = client.chat(model="llama3.2", messages=messages)
    ...     answer = client.chat(model="llama3.2", messages=messages)
    >>> call.message.tool_calls[0].function.arguments, answer.message.content, answer.eval_count
    ({'bill_amount': 187.32}, 'Your tip comes to $41.21.', 8)

No test has to sleep: ``wait_for_requests`` and ``wait_for_hanging`` wait for what the server sees,
and ``release`` lets a hanging answer go on:

    >>> from concurrent.futures import ThreadPoolExecutor
    >>> with FakeOllama([Default(hang_after=0)]) as server, ThreadPoolExecutor() as pool:
    ...     answer = pool.submit(ollama.Client(server.url).generate, "llama3.2", "Hello?")
    ...     server.wait_for_hanging()
    ...     answer.done()
    ...     server.release()
    ...     answer.result().response
    False
    'Hello! How can I help?'

As a pytest fixture, for an application that calls the SDK's module functions:

    @pytest.fixture
    def ollama_server(monkeypatch):
        with FakeOllama() as server, ollama.Client(host=server.url) as client:
            monkeypatch.setattr(ollama, "chat", client.chat)
            yield server

    def test_the_application_asks_politely(ollama_server):
        my_application.run()
        [request] = ollama_server.requests
        assert request.body["messages"][-1]["content"].endswith("please")

An application that makes its own clients, or runs in a process of its own, finds the server by
``monkeypatch.setenv("OLLAMA_HOST", server.url)``.
"""

from __future__ import annotations

import enum
import json
import math
import socket
import socketserver
import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from functools import singledispatch
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from ollama_otel import _fake_answers as answers

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from typing_extensions import Self

__all__ = [
    "AUTO",
    "Answer",
    "Auto",
    "Default",
    "Embeddings",
    "Error",
    "FakeOllama",
    "Raw",
    "Reply",
    "Request",
    "Script",
    "ToolCall",
]


# What Ollama says when the process that runs the model dies.
_RUNNER_DIED: Final = "an error was encountered while running the model: unexpected EOF"


class Auto(enum.Enum):
    """The type of ``AUTO``."""

    AUTO = "auto"


AUTO: Final = Auto.AUTO
"""Let the server work the value out from the request and the answer."""

Number = int | Literal[Auto.AUTO] | None


@dataclass(frozen=True)
class Request:
    """What the server received.

    Args:
        method: The HTTP method, in capitals.
        path: The path, without a query.
        body: The parsed JSON; the text as it came where it is no JSON, or a bare JSON string; None
            where there is no body.
        headers: The HTTP headers, their names in small letters.
        problem: Why the server could not answer as the script wanted (the script is used up, a
            fault is set after more chunks than there are, the callable raised); None when all
            was well.
    """

    method: str
    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None

    @property
    def model(self) -> str:
        """The model that the request names; empty if none."""
        return str(self.fields.get("model") or "")

    @property
    def streamed(self) -> bool:
        """Whether a model's answer comes as a stream: unless ``stream`` is false."""
        return self.fields.get("stream") is not False

    @property
    def fields(self) -> dict[str, Any]:
        """The body if it is a JSON object, else an empty one."""
        return self.body if isinstance(self.body, dict) else {}


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What each kind of answer can do besides: come late, hang, break off.

    A chunk is one line of a stream. A plain answer is a single chunk, and a fault after one or
    more chunks strikes just before its last byte.

    Args:
        delay: Seconds to wait before the first byte.
        chunk_delay: Seconds to wait between two chunks of a stream.
        hang_after: Hang after so many chunks (0: before the first byte) until
            ``FakeOllama.release`` is called; when the server stops, the connection is dropped.
        drop_after: Drop the connection after so many chunks (0: before the first byte).
        fail_after: Send an error line in mid-stream after so many chunks, and end the stream.
            A plain answer, and a stream that fails after 0 chunks, become an HTTP 500.
        fail_message: The text of that error.

    Raises:
        ValueError: If a number is negative or not finite, or an answer is to be dropped and to
            fail at once.
    """

    delay: float = 0.0
    chunk_delay: float = 0.0
    hang_after: int | None = None
    drop_after: int | None = None
    fail_after: int | None = None
    fail_message: str = _RUNNER_DIED

    def __post_init__(self) -> None:
        for name in ("delay", "chunk_delay", "hang_after", "drop_after", "fail_after"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"{name} must be 0 or more and finite, not {value!r}")
        if self.drop_after is not None and self.fail_after is not None:
            raise ValueError("an answer ends once: give drop_after or fail_after, not both")


@dataclass(frozen=True)
class ToolCall:
    """A call of a tool, as a model asks for it.

    Args:
        name: The function's name.
        arguments: Its arguments.
        id: The call's id; AUTO gives ``call_00000000`` and so on, counted through the
            conversation; None leaves it out, as older servers do.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id: str | Literal[Auto.AUTO] | None = AUTO


@dataclass(frozen=True)
class Default(Reply):
    """The answer that the server gives without a script, with faults if wanted.

    Example:
        Two usual answers, the second one late: ``FakeOllama([Default(), Default(delay=0.2)])``.
    """


@dataclass(frozen=True)
class Answer(Reply):
    """An answer of a model, for ``/api/chat`` and ``/api/generate``, plain or streamed.

    Args:
        text: What the model says.
        thinking: What it thinks before; None for nothing.
        tool_calls: The tools it wants called; chat only.
        done_reason: Why it ends (``stop``, ``length``, ``load``, ``unload``); None leaves it out.
        prompt_eval_count: Tokens of the prompt; None leaves the field out, as Ollama does when
            the prompt was cached; AUTO counts words.
        eval_count: Tokens of the answer; None and AUTO as above.
        total_duration: Nanoseconds; None leaves the field out, AUTO fits the counts and delays.
        load_duration: Nanoseconds, as above.
        prompt_eval_duration: Nanoseconds, as above.
        eval_duration: Nanoseconds, as above.
        chunks: The pieces in which a stream brings the text; without them it comes in words.
            Give either chunks or text.
        thinking_chunks: The same for the thinking.

    Raises:
        ValueError: If chunks do not add up to a text given beside them.

    Example:
        ``Answer("Blue wave wins!", thinking="Let me reason about it", eval_count=12)``
    """

    text: str = ""
    thinking: str | None = None
    tool_calls: Sequence[ToolCall] = ()
    done_reason: str | None = "stop"
    prompt_eval_count: Number = AUTO
    eval_count: Number = AUTO
    total_duration: Number = AUTO
    load_duration: Number = AUTO
    prompt_eval_duration: Number = AUTO
    eval_duration: Number = AUTO
    chunks: Sequence[str] | None = None
    thinking_chunks: Sequence[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, text, chunks in (
            ("text", self.text, self.chunks),
            ("thinking", self.thinking, self.thinking_chunks),
        ):
            if text and chunks is not None and "".join(chunks) != text:
                raise ValueError(f"the chunks do not add up to the {name} {text!r}: {chunks!r}")


@dataclass(frozen=True)
class Embeddings(Reply):
    """An answer for ``/api/embed`` and ``/api/embeddings`` (which takes the first vector).

    Args:
        vectors: One vector per text.
        prompt_eval_count: Tokens of the texts; None leaves the field out.
        total_duration: Nanoseconds; None leaves the field out.
        load_duration: Nanoseconds; None leaves the field out.
    """

    vectors: Sequence[Sequence[float]] = ()
    prompt_eval_count: Number = AUTO
    total_duration: Number = AUTO
    load_duration: Number = AUTO


@dataclass(frozen=True)
class Raw(Reply):
    """Lines sent as they are: recorded answers, or what no server ought to send.

    Args:
        lines: JSON objects, or text that need not be JSON; in NDJSON a newline ends each. Bytes
            go out untouched, one chunk each, without a newline.
        status: The HTTP status.
        content_type: ``application/x-ndjson`` makes a stream of it. None chooses: a stream for
            several lines, else plain JSON.

    Raises:
        TypeError: If lines is a single line.

    Example:
        ``Raw([{"message": {"role": "assistant", "content": "The"}, "done": False}, "{broken"])``
    """

    lines: Sequence[Mapping[str, Any] | str | bytes] = ()
    status: int = 200
    content_type: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.lines, str | bytes | Mapping):
            raise TypeError(f"lines is a list: give Raw([{self.lines!r}])")


@dataclass(frozen=True)
class Error(Reply):
    """An HTTP error with Ollama's body, ``{"error": message}``.

    Args:
        message: The text.
        status: The HTTP status.
    """

    message: str = "internal server error"
    status: int = 500


Script = Sequence[Reply] | Callable[[Request], Reply]


class FakeOllama:
    """A server on the loopback interface that answers as Ollama does.

    It is a context manager; ``start`` and ``stop`` do the same by hand. Any number of clients
    may call at once, from any thread or event loop.

    Args:
        script: A list of answers, used up one per call in the order of arrival; a call too many
            gets an HTTP 500 that says so. Questions about the server (``/``, ``/api/version``,
            ``/api/tags``, ``/api/ps``, ``/api/show``) use nothing up. Or a function that gets
            each ``Request``, also those, and returns its answer; it is called from several
            threads at once. Or None: every call gets its default answer.
        models: The models that exist, all others being unknown; as a mapping, each with its
            capabilities (``completion``, ``tools``, ``thinking``, ``vision``, ``embedding``).
            Without it every model exists and can do everything.
        missing_models: Models that do not exist.
        port: The port; 0 for a free one.
        keep_connections: Keep connections open between calls, as Ollama does. Without it each
            ends with its answer, so that a client which is never closed (older SDKs have no way
            to) leaves no open socket behind, of which Python would warn.

    Raises:
        TypeError: If the script holds something that is no answer, or a name stands for a list.

    Example:
        >>> import ollama
        >>> with FakeOllama([Answer("Hello.")]) as server, ollama.Client(server.url) as client:
        ...     client.generate("llama3.2", "Hi").response
        'Hello.'
        >>> [(request.path, request.body["prompt"]) for request in server.requests]
        [('/api/generate', 'Hi')]
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        models: Iterable[str] | Mapping[str, Iterable[str]] | None = None,
        missing_models: Iterable[str] = (),
        port: int = 0,
        keep_connections: bool = False,
    ) -> None:
        self._script = _script(script)
        missing = frozenset(map(answers.full_name, _list("missing_models", missing_models)))
        self._models = answers.Models(_capabilities(models), missing)
        self._port = port
        self._keep_connections = keep_connections
        self._arrived = threading.Condition()
        self._requests: list[Request] = []
        self._used = 0
        self._server: _Server | None = None

    def __repr__(self) -> str:
        return f"FakeOllama({self.url if self._server else 'not running'})"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Listen for calls.

        Started again after a stop, it listens on the port that it had.

        Raises:
            RuntimeError: If it runs already.
            OSError: If the port is taken.
        """
        if self._server is not None:
            raise RuntimeError("this FakeOllama runs already: stop() it first, or make another")
        self._server = _Server(self._port, self._respond, keep=self._keep_connections)
        self._port = self._server.server_port
        return self

    def stop(self) -> None:
        """Drop all connections and end all threads, at once; does nothing if not running."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    @property
    def host(self) -> str:
        """The address: always 127.0.0.1."""
        return _LOOPBACK

    @property
    def port(self) -> int:
        """The port.

        Raises:
            RuntimeError: If the server was never started, and so has none yet.
        """
        if not self._port:
            raise RuntimeError("this FakeOllama has no port yet: use `with`, or call start()")
        return self._port

    @property
    def url(self) -> str:
        """What to give as ``ollama.Client(host=...)`` or as OLLAMA_HOST."""
        return f"http://{self.host}:{self.port}"

    @property
    def requests(self) -> list[Request]:
        """All that the server received, in the order of arrival; a copy."""
        with self._arrived:
            return list(self._requests)

    @property
    def unused(self) -> Sequence[Reply]:
        """The answers of the script that no call has asked for yet; none if it is a function."""
        if self._script is None or callable(self._script):
            return ()
        with self._arrived:
            return self._script[self._used :]

    def release(self) -> None:
        """Let hanging answers go on, and let no answer hang from now on."""
        self._running().gate.release()

    def wait_for_hanging(self, count: int = 1, timeout: float = 10.0) -> None:
        """Wait until so many answers hang.

        Args:
            count: How many.
            timeout: Seconds.

        Raises:
            TimeoutError: If there are fewer by then.
        """
        self._running().gate.wait_for_hanging(count, timeout)

    def wait_for_requests(self, count: int = 1, timeout: float = 10.0) -> list[Request]:
        """Wait until the server has received so many requests, and give them all.

        Args:
            count: How many, counted from the beginning.
            timeout: Seconds.

        Raises:
            TimeoutError: If there are fewer by then.
        """
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self._requests) >= count, timeout):
                raise TimeoutError(
                    f"{len(self._requests)} of {count} requests arrived in {timeout} s"
                )
            return list(self._requests)

    def _running(self) -> _Server:
        if self._server is None:
            raise RuntimeError("this FakeOllama does not run: use `with`, or call start()")
        return self._server

    def _respond(self, request: Request) -> tuple[Reply, _Wire]:
        """Record a request and find its answer; what the script gets wrong becomes an HTTP 500."""
        index, turn = self._record(request)
        try:
            reply = self._chosen(request, turn)
            return reply, _faulty(self._wire(request, reply), reply)
        except BaseException as error:  # noqa: BLE001  (pytest.fail() in a user's function, too)
            problem = str(error) if isinstance(error, _ScriptError) else f"{error!r} was raised"
            with self._arrived:
                self._requests[index] = replace(request, problem=problem)
            failure = Error(f"FakeOllama: {request.method} {request.path}: {problem}")
            return failure, _wire(failure, request)

    def _record(self, request: Request) -> tuple[int, int]:
        """Keep a request; give its place among all, and among those that use up a script."""
        with self._arrived:
            self._requests.append(request)
            turn = self._used
            self._used += request.path not in _ABOUT_THE_SERVER
            self._arrived.notify_all()
            return len(self._requests) - 1, turn

    def _chosen(self, request: Request, turn: int) -> Reply:
        if callable(self._script):
            reply: object = self._script(request)
            if not isinstance(reply, Reply):
                raise _ScriptError(f"the script returned {reply!r}: return an Answer or Default()")
            return reply
        if self._script is None or request.path in _ABOUT_THE_SERVER:
            return Default()
        if turn >= len(self._script):
            raise _ScriptError(
                f"the script is used up: this is call {turn + 1}, and it has "
                f"{len(self._script)} answers; add one"
            )
        return self._script[turn]

    def _wire(self, request: Request, reply: Reply) -> _Wire:
        if not isinstance(reply, Default):
            return _wire(reply, request)
        asked = answers.Asked(
            request.method, request.path, request.body, self._models, self._loaded()
        )
        return _encoded(answers.respond(asked, _pace(reply)))

    def _loaded(self) -> Sequence[str]:
        """List the models that calls have loaded, and none has unloaded since."""
        loaded: dict[str, None] = {}
        for request in self.requests:
            if request.path in answers.LOADING_PATHS and self._models.capabilities(request.model):
                name = answers.full_name(request.model)
                loaded.pop(name, None)
                loaded.update({} if answers.unloads(request.fields) else {name: None})
        return list(loaded)


def _script(script: Script | None) -> Callable[[Request], Reply] | tuple[Reply, ...] | None:
    if script is None or callable(script):
        return script
    if isinstance(script, Reply):
        raise TypeError(f"a script is a list of answers or a function: give [{script!r}]")
    for index, reply in enumerate(script):
        if not isinstance(reply, Reply):
            raise TypeError(f"script[{index}] is {reply!r}: give Answer(...), Raw(...), Error(...)")
    return tuple(script)


def _capabilities(
    models: Iterable[str] | Mapping[str, Iterable[str]] | None,
) -> Mapping[str, Sequence[str]] | None:
    if models is None:
        return None
    if isinstance(models, Mapping):
        return {answers.full_name(name): tuple(able) for name, able in models.items()}
    names = map(answers.full_name, _list("models", models))
    return dict.fromkeys(names, answers.ALL_CAPABILITIES)


def _list(argument: str, names: Iterable[str]) -> Iterable[str]:
    """Refuse a single name, which would be taken for a list of letters."""
    if isinstance(names, str):
        raise TypeError(f"{argument} is a list: give [{names!r}]")
    return names


class _ScriptError(Exception):
    """A script that cannot be followed."""


# --- From answers to bytes -----------------------------------------------------------------------

_JSON_TYPE: Final = "application/json; charset=utf-8"
_NDJSON_TYPE: Final = "application/x-ndjson"
_TEXT_TYPES: Final = {200: "text/plain; charset=utf-8"}  # errors of Ollama's router have none

# Go's encoding/json writes these characters so, and leaves all others as they are.
_GO_ESCAPES: Final = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


@dataclass(frozen=True)
class _Wire:
    """An answer as bytes; the blocks are what a client can see one after another."""

    status: int
    content_type: str
    blocks: Sequence[bytes]
    chunked: bool = False


def _encoded(content: answers.Content) -> _Wire:
    if content.streamed:
        blocks = [_line(line) + b"\n" for line in content.lines]
        return _Wire(content.status, _NDJSON_TYPE, blocks, chunked=True)
    [line] = content.lines
    text_type = _TEXT_TYPES.get(content.status, "text/plain")
    return _Wire(content.status, text_type if isinstance(line, str) else _JSON_TYPE, [_line(line)])


def _line(line: Mapping[str, Any] | str | bytes) -> bytes:
    if isinstance(line, bytes):
        return line
    if isinstance(line, str):
        return line.encode()
    text = json.dumps(line, separators=(",", ":"), ensure_ascii=False)
    return text.translate(_GO_ESCAPES).encode()


@singledispatch
def _wire(reply: Reply, request: Request) -> _Wire:
    """Turn an answer of a script into what is sent."""
    raise _ScriptError(f"{type(reply).__name__} cannot answer {request.path}")


@_wire.register
def _(reply: Raw, _: Request) -> _Wire:
    guessed = _NDJSON_TYPE if len(reply.lines) > 1 else _JSON_TYPE
    content_type = guessed if reply.content_type is None else reply.content_type
    if content_type.startswith(_NDJSON_TYPE):
        ended = [line if isinstance(line, bytes) else _line(line) + b"\n" for line in reply.lines]
        return _Wire(reply.status, content_type, ended, chunked=True)
    return _Wire(reply.status, content_type, [b"\n".join(map(_line, reply.lines))])


@_wire.register
def _(reply: Error, _: Request) -> _Wire:
    return _encoded(answers.Content([{"error": reply.message}], status=reply.status))


@_wire.register
def _(reply: Embeddings, request: Request) -> _Wire:
    vectors = [list(vector) for vector in reply.vectors]
    if request.path == "/api/embeddings":
        return _encoded(answers.Content([{"embedding": vectors[0] if vectors else []}]))
    if request.path != "/api/embed":
        raise _ScriptError("Embeddings cannot answer this; use Answer, Raw or Default")
    end = _set(reply, ("total_duration", "load_duration", "prompt_eval_count"))
    return _encoded(answers.embeddings_answer(request.fields, vectors, end, _pace(reply)))


@_wire.register
def _(reply: Answer, request: Request) -> _Wire:
    if request.path not in ("/api/chat", "/api/generate"):
        raise _ScriptError("Answer cannot answer this; use Embeddings, Raw or Default")
    if reply.tool_calls and request.path != "/api/chat":
        raise _ScriptError("only /api/chat knows tool calls; leave tool_calls out")
    said = answers.Said(
        answers.tokens(reply.text) if reply.chunks is None else reply.chunks,
        _thinking_chunks(reply),
        [_call(request, index, call) for index, call in enumerate(reply.tool_calls)],
        _set(reply, _END_FIELDS),
    )
    return _encoded(answers.model_answer(request.path, request.fields, said, _pace(reply)))


_END_FIELDS: Final = (
    "done_reason",
    "prompt_eval_count",
    "eval_count",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
)


def _set(reply: Reply, names: Iterable[str]) -> dict[str, Any]:
    """Give the fields that the script sets itself."""
    values = {name: getattr(reply, name) for name in names}
    return {name: value for name, value in values.items() if value is not AUTO}


def _thinking_chunks(reply: Answer) -> Sequence[str]:
    if reply.thinking_chunks is None:
        return answers.tokens(reply.thinking or "")
    return reply.thinking_chunks


def _call(request: Request, index: int, call: ToolCall) -> dict[str, Any]:
    written = answers.tool_call(request.fields, index, call.name, call.arguments)
    chosen = written | ({} if call.id is AUTO else {"id": call.id})
    return {name: value for name, value in chosen.items() if value is not None}


def _pace(reply: Reply) -> answers.Pace:
    return answers.Pace(round(reply.delay * 1e9), round(reply.chunk_delay * 1e9))


def _faulty(wire: _Wire, reply: Reply) -> _Wire:
    """Put the error in where it is wanted, and see that all faults lie within the answer."""
    for name in ("hang_after", "drop_after", "fail_after"):
        count = getattr(reply, name) or 0
        if wire.chunked and count > len(wire.blocks):
            raise _ScriptError(f"{name}={count}, but the answer has {len(wire.blocks)} chunks")
    if reply.fail_after is None:
        return wire
    error = {"error": reply.fail_message}
    if not wire.chunked or not reply.fail_after:
        return _encoded(answers.Content([error], status=500))
    return replace(wire, blocks=[*wire.blocks[: reply.fail_after], _line(error) + b"\n"])


def _sent(wire: _Wire, *, body: bool, keep: bool) -> list[bytes]:
    """Frame an answer for HTTP/1.1: an item per block, and last what completes the body.

    The head goes out together with the first block, as Ollama's does.
    """
    head = _head(wire, keep=keep)
    if not body:
        return [head]
    if wire.chunked:
        blocks = [b"%x\r\n%b\r\n" % (len(block), block) for block in wire.blocks]
        items = [*blocks, b"0\r\n\r\n"]
    else:
        items = [wire.blocks[0][:-1], wire.blocks[0][-1:]]
    return [head + items[0], *items[1:]]


def _head(wire: _Wire, *, keep: bool) -> bytes:
    length = sum(map(len, wire.blocks))
    lines = [
        f"HTTP/1.1 {wire.status} {_PHRASES.get(wire.status, '')}",
        f"Content-Type: {wire.content_type}",
        f"Date: {formatdate(usegmt=True)}",
        "Transfer-Encoding: chunked" if wire.chunked else f"Content-Length: {length}",
        *([] if keep else ["Connection: close"]),
    ]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


_PHRASES: Final = {status.value: status.phrase for status in HTTPStatus}

# --- Sockets and threads -------------------------------------------------------------------------

_LOOPBACK: Final = "127.0.0.1"
_ABOUT_THE_SERVER: Final = frozenset({"/", "/api/version", "/api/tags", "/api/ps", "/api/show"})
_PATIENCE: Final = 5.0  # seconds for a function of the user's that still runs at the end


class _DisconnectError(Exception):
    """The connection is to end here."""


class _Gate:
    """Where answers wait, for time to pass or for a release; closing it ends all waiting."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._hanging = 0
        self._released = False
        self.closed = False

    def pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.closed, seconds)
            self._end_if_closed()

    def hang(self) -> None:
        with self._changed:
            self._hanging += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._released or self.closed)
            self._hanging -= 1
            self._end_if_closed()

    def _end_if_closed(self) -> None:
        if self.closed:
            raise _DisconnectError

    def release(self) -> None:
        with self._changed:
            self._released = True
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def wait_for_hanging(self, count: int, timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self._hanging >= count, timeout):
                raise TimeoutError(f"{self._hanging} of {count} answers hang after {timeout} s")


class _Server(ThreadingHTTPServer):
    """A listener and a thread per connection, all of which can be ended at any time."""

    request_queue_size = 1024  # with the usual 5, a burst of clients waits for seconds

    def __init__(
        self, port: int, respond: Callable[[Request], tuple[Reply, _Wire]], *, keep: bool
    ) -> None:
        super().__init__((_LOOPBACK, port), _Handler)
        self.respond = respond
        self.keep = keep
        self.gate = _Gate()
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._listener = threading.Thread(
            target=self._listen, name=f"FakeOllama-{self.server_port}", daemon=True
        )
        self._listener.start()

    def server_bind(self) -> None:
        """Bind without HTTPServer's question to the resolver for the host's name."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = _LOOPBACK, self.server_address[1]

    def _listen(self) -> None:
        while not self.gate.closed:
            self.handle_request()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, which stop() will know of."""
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name=f"FakeOllama-{self.server_port}-{client_address[1]}",
            daemon=True,
        )
        thread.start()
        alive = {t: connection for t, connection in self._connections.items() if t.is_alive()}
        self._connections = alive | {thread: request}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away is part of many tests."""

    def stop(self) -> None:
        self.gate.close()
        self._wake_listener()
        self._listener.join()
        self.server_close()
        for connection in self._connections.values():
            with suppress(OSError):  # the client was faster
                connection.shutdown(socket.SHUT_RDWR)
        self._join(time.monotonic() + _PATIENCE)

    def _wake_listener(self) -> None:
        with suppress(OSError):  # too many clients are calling: they wake it, too
            socket.create_connection((_LOOPBACK, self.server_port), timeout=1).close()

    def _join(self, deadline: float) -> None:
        for thread in self._connections:
            thread.join(max(0.0, deadline - time.monotonic()))
        if any(thread.is_alive() for thread in self._connections):
            warnings.warn(
                "FakeOllama stopped, but the function given as script has not returned yet",
                RuntimeWarning,
                stacklevel=4,
            )


class _Handler(BaseHTTPRequestHandler):
    """One connection: reads requests and plays the answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def answer(self) -> None:
        try:
            body = _parsed(self._read_body())
            headers = MappingProxyType({k.lower(): v for k, v in self.headers.items()})
            request = Request(self.command, urlsplit(self.path).path, body, headers)
            self._play(*self.server.respond(request))
        except (_DisconnectError, ConnectionError):
            self.close_connection = True
        self.close_connection |= not self.server.keep

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815  (stdlib's)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (stdlib's name)
        """Say nothing: ``FakeOllama.requests`` has it all."""

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(iter(self._read_chunk, b""))
        return self._read(int(self.headers.get("Content-Length") or 0))

    def _read_chunk(self) -> bytes:
        data = self._read(int(self.rfile.readline() or b"0", 16))
        self.rfile.readline()
        return data

    def _read(self, length: int) -> bytes:
        data = self.rfile.read(length)
        if len(data) < length:
            raise _DisconnectError
        return data

    def _play(self, reply: Reply, wire: _Wire) -> None:
        last = len(wire.blocks)
        self.server.gate.pause(reply.delay)
        items = _sent(wire, body=self.command != "HEAD", keep=self.server.keep)
        for index, item in enumerate(items):
            if 0 < index < last:
                self.server.gate.pause(reply.chunk_delay)
            if _due(reply.hang_after, index, last):
                self.server.gate.hang()
            if _due(reply.drop_after, index, last):
                raise _DisconnectError
            self.wfile.write(item)


def _due(after: int | None, index: int, last: int) -> bool:
    return after is not None and min(after, last) == index


def _parsed(raw: bytes) -> Any:
    if not raw:
        return None
    text = raw.decode(errors="replace")
    try:
        parsed = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(parsed, str) else parsed
