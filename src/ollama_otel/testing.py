"""A stand-in for an Ollama server, for tests that need answers and no model.

[`FakeOllama`][] is a real HTTP server on a free port of the loopback interface. It answers in the
wire format of Ollama 0.24, so the ``ollama`` SDK, and all that is built on it, works against it
unchanged. This module needs the standard library only.

Without a script it gives sensible answers, always the same ones for the same request:

    import ollama
    from ollama_otel.testing import FakeOllama

    with FakeOllama() as server:
        client = ollama.Client(host=server.url)
        messages = [{"role": "user", "content": "Why is the sky blue?"}]
        response = client.chat(model="llama3.2", messages=messages)
        assert response.message.content == "The sky is blue because air scatters light."

A script says what comes instead, one answer per call:

    script = [
        Answer(tool_calls=[ToolCall("calculate_tip", {"bill_amount": 187.32})]),
        Answer("Your tip comes to $41.21.", eval_count=8),
        Error("llama runner process has terminated", status=500),
        Answer("never finished", drop_after=1),
    ]
    with FakeOllama(script) as server: ...

As a pytest fixture, with the SDK's module functions (``ollama.chat``) pointed at it:

    @pytest.fixture
    def ollama_server(monkeypatch):
        with FakeOllama() as server:
            monkeypatch.setattr(ollama, "chat", ollama.Client(host=server.url).chat)
            yield server

    def test_asks_politely(ollama_server):
        my_application.run()
        [request] = ollama_server.requests
        assert request.body["messages"][-1]["content"].endswith("please")
"""

from __future__ import annotations

import enum
import json
import math
import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

from ollama_otel import _fake_answers as defaults

if TYPE_CHECKING:
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

JSON_TYPE: Final = "application/json; charset=utf-8"
NDJSON_TYPE: Final = "application/x-ndjson"
PLAIN_TYPE: Final = "text/plain"
CREATED_AT: Final = "2026-01-01T00:00:00.123456789Z"
EXPIRES_AT: Final = "2026-01-01T00:05:00.123456789Z"
RUNNER_DIED: Final = "an error was encountered while running the model: unexpected EOF"

LOAD_NS: Final = 100_000
PROMPT_TOKEN_NS: Final = 2_000
TOKEN_NS: Final = 20_000


class Auto(enum.Enum):
    """The type of [`AUTO`][]."""

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
        body: The parsed JSON; the text itself where it is no JSON; None where there is no body.
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
        return str(self.json.get("model") or "")

    @property
    def streamed(self) -> bool:
        """Whether the answer will be a stream: so it is unless ``stream`` is false."""
        return self.json.get("stream") is not False

    @property
    def json(self) -> dict[str, Any]:
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
            [`FakeOllama.release`][] is called; when the server stops, the connection is dropped.
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
    fail_message: str = RUNNER_DIED

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

    Example:
        ``Raw([{"message": {"role": "assistant", "content": "The"}, "done": False}, "{broken"])``
    """

    lines: Sequence[Mapping[str, Any] | str | bytes] = ()
    status: int = 200
    content_type: str | None = None


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

    It is a context manager; [`start`][] and [`stop`][] do the same by hand. Any number of clients
    may call at once, from any thread or event loop.

    Args:
        script: A list of answers, used up one per call in the order of arrival; a call too many
            gets an HTTP 500 that says so. Questions about the server (``/``, ``/api/version``,
            ``/api/tags``, ``/api/ps``, ``/api/show``) use nothing up. Or a function that gets
            each [`Request`][] and returns its answer. Or nothing: each call gets its default.
        models: The models that exist, all others being unknown; as a mapping, each with its
            capabilities (``completion``, ``tools``, ``thinking``, ``vision``, ``embedding``).
            Without it every model exists and can do everything.
        missing_models: Models that do not exist.
        port: The port; 0 for a free one.

    Example:
        >>> with FakeOllama([Answer("Hello.")]) as server:
        ...     reply = ollama.Client(host=server.url).generate("llama3.2", "Hi")
        >>> reply.response
        'Hello.'
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        models: Iterable[str] | Mapping[str, Iterable[str]] | None = None,
        missing_models: Iterable[str] = (),
        port: int = 0,
    ) -> None:
        self._script = script
        self._models = _capabilities(models)
        self._missing = frozenset(map(_full_name, missing_models))
        self._port = port
        self._changed = threading.Condition()
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
            raise RuntimeError("this FakeOllama runs already: stop() it first, or make another one")
        self._server = _Server(self._port, self._respond)
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
        with self._changed:
            return list(self._requests)

    @property
    def unused(self) -> Sequence[Reply]:
        """The answers of the script that no call has asked for yet; none if it is a function."""
        with self._changed:
            return () if self._script is None or callable(self._script) else self._rest()

    def _rest(self) -> Sequence[Reply]:
        return self._script[self._used :]  # type: ignore[index]

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
        """Wait until the server has received so many requests, and give them.

        Args:
            count: How many, counted from the beginning.
            timeout: Seconds.

        Raises:
            TimeoutError: If there are fewer by then.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._requests) >= count, timeout):
                raise TimeoutError(
                    f"{len(self._requests)} of {count} requests arrived within {timeout} s"
                )
            return list(self._requests)

    def _running(self) -> _Server:
        if self._server is None:
            raise RuntimeError("this FakeOllama does not run: use `with`, or call start()")
        return self._server

    def _respond(self, request: Request) -> tuple[Reply, _Wire]:
        """Record a request and find its answer; what the script gets wrong becomes an HTTP 500."""
        with self._changed:
            index = len(self._requests)
            self._requests.append(request)
            turn = None if request.path in _ABOUT_THE_SERVER else self._used
            self._used += turn is not None
            self._changed.notify_all()
        try:
            reply = self._chosen(request, turn)
            return reply, _wire(reply, request)
        except Exception as error:  # noqa: BLE001  (a user's function may raise anything)
            problem = (
                str(error) if isinstance(error, _ScriptError) else f"the script raised {error!r}"
            )
            with self._changed:
                self._requests[index] = replace(request, problem=problem)
            reply = Error(f"FakeOllama: {problem}")
            return reply, _wire(reply, request)

    def _chosen(self, request: Request, turn: int | None) -> Reply:
        reply = self._scripted(request, turn)
        if not isinstance(reply, Reply):
            raise _ScriptError(f"the script gave {reply!r} for {request.path}, which is no Reply")
        if not isinstance(reply, Default):
            return reply
        faults = {f.name: getattr(reply, f.name) for f in fields(Reply)}
        return replace(self._default(request), **faults)

    def _scripted(self, request: Request, turn: int | None) -> Reply:
        if callable(self._script):
            return self._script(request)
        if self._script is None or turn is None:
            return Default()
        if turn >= len(self._script):
            raise _ScriptError(
                f"the script is used up: it has {len(self._script)} answers, and this is call "
                f"{turn + 1} ({request.method} {request.path}); add an answer to the script"
            )
        return self._script[turn]

    def _default(self, request: Request) -> Reply:
        methods, answer = _ROUTES.get(request.path, ((), None))
        if answer is None:
            return Raw(["404 page not found"], 404, PLAIN_TYPE)
        if request.method not in methods:
            return Raw(["405 method not allowed"], 405, PLAIN_TYPE)
        return answer(self, request)

    def _asked(self, request: Request) -> Reply:
        """Answer a question about a model, or say why not."""
        raw = request.body if isinstance(request.body, str) else json.dumps(request.body)
        garbled = defaults.unparsable("" if request.body is None else raw)
        if garbled:
            return Error(garbled, status=400)
        capable = self._capabilities_of(request.model)
        refused = defaults.refusal(request.path, request.json, capable)
        if refused:
            return Error(refused.message, status=refused.status)
        return _MODEL_ANSWERS[request.path](request, capable or ())

    def _capabilities_of(self, model: str) -> Sequence[str] | None:
        name = _full_name(model)
        if not model or name in self._missing:
            return None
        if self._models is None:
            return defaults.ALL_CAPABILITIES
        return self._models.get(name)

    def _version(self, _: Request) -> Reply:
        return Raw([{"version": "0.24.0"}])

    def _root(self, _: Request) -> Reply:
        return Raw(["Ollama is running"], content_type="text/plain; charset=utf-8")

    def _tags(self, _: Request) -> Reply:
        names = defaults.DEFAULT_MODELS if self._models is None else self._models
        here = [name for name in names if name not in self._missing]
        return Raw([{"models": [defaults.listed(name, CREATED_AT) for name in here]}])

    def _ps(self, _: Request) -> Reply:
        loaded: dict[str, None] = {}
        for request in self.requests:
            if request.path in _MODEL_CALLS and self._capabilities_of(request.model) is not None:
                loaded.pop(_full_name(request.model), None)
                if not defaults.unloads(request.json):
                    loaded[_full_name(request.model)] = None
        return Raw([{"models": [defaults.running(name, EXPIRES_AT) for name in loaded]}])


def _full_name(model: str) -> str:
    return model if ":" in model else f"{model}:latest"


def _capabilities(
    models: Iterable[str] | Mapping[str, Iterable[str]] | None,
) -> Mapping[str, Sequence[str]] | None:
    if models is None:
        return None
    if isinstance(models, Mapping):
        return {_full_name(name): tuple(able) for name, able in models.items()}
    return dict.fromkeys(map(_full_name, models), defaults.ALL_CAPABILITIES)


class _ScriptError(Exception):
    """A script that cannot be followed."""


# --- Default answers -----------------------------------------------------------------------------


def _said(request: Request, _: Sequence[str]) -> Reply:
    body = request.json
    if defaults.is_load(body):
        reason = "unload" if defaults.unloads(body) else "load"
        return Raw([_frame(request, {"content": ""}, done=True) | {"done_reason": reason}])
    said = defaults.say(body)
    return Answer(
        chunks=said.chunks,
        thinking_chunks=said.thinking_chunks or None,
        tool_calls=[ToolCall(name, arguments) for name, arguments in said.calls],
        done_reason=said.done_reason,
        eval_count=AUTO if said.eval_count is None else said.eval_count,
    )


def _embedded(request: Request, _: Sequence[str]) -> Reply:
    dimensions = request.json.get("dimensions") or defaults.DEFAULT_DIMENSIONS
    texts = defaults.embedding_texts(request.json)
    return Embeddings([defaults.vector(text, dimensions) for text in texts])


def _embedded_one(request: Request, _: Sequence[str]) -> Reply:
    prompt = request.json.get("prompt")
    return Embeddings([defaults.vector(prompt, defaults.DEFAULT_DIMENSIONS)] if prompt else [])


def _shown(request: Request, capabilities: Sequence[str]) -> Reply:
    return Raw([defaults.shown(request.model, CREATED_AT, capabilities)])


_MODEL_ANSWERS: Mapping[str, Callable[[Request, Sequence[str]], Reply]] = {
    "/api/chat": _said,
    "/api/generate": _said,
    "/api/embed": _embedded,
    "/api/embeddings": _embedded_one,
    "/api/show": _shown,
}
_MODEL_CALLS = frozenset(_MODEL_ANSWERS) - {"/api/show"}
_ABOUT_THE_SERVER = frozenset({"/", "/api/version", "/api/tags", "/api/ps", "/api/show"})
_READ = ("GET", "HEAD")
_ROUTES: Mapping[str, tuple[Sequence[str], Callable[[FakeOllama, Request], Reply]]] = {
    "/": (_READ, FakeOllama._root),
    "/api/version": (_READ, FakeOllama._version),
    "/api/tags": (_READ, FakeOllama._tags),
    "/api/ps": (("GET",), FakeOllama._ps),
    **dict.fromkeys(_MODEL_ANSWERS, (("POST",), FakeOllama._asked)),
}


# --- The wire format -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Wire:
    """An answer as bytes: the blocks are what a client can see one after another."""

    status: int
    content_type: str
    blocks: Sequence[bytes]
    chunked: bool = False


# Go's encoding/json writes these characters so, and leaves all others as they are.
_GO_ESCAPES = str.maketrans({c: f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"})


def _encoded(line: Mapping[str, Any] | str) -> bytes:
    if isinstance(line, str):
        return line.encode()
    text = json.dumps(line, separators=(",", ":"), ensure_ascii=False)
    return text.translate(_GO_ESCAPES).encode()


def _wire(reply: Reply, request: Request) -> _Wire:
    writer = _WRITERS.get(type(reply))
    if writer is None:
        raise _ScriptError(f"{type(reply).__name__} is no kind of answer that FakeOllama knows")
    return _checked(_failing(writer(reply, request), reply), reply)


def _failing(wire: _Wire, reply: Reply) -> _Wire:
    if reply.fail_after is None:
        return wire
    if not wire.chunked or not reply.fail_after:
        return _json({"error": reply.fail_message}, 500)
    line = _encoded({"error": reply.fail_message}) + b"\n"
    return replace(wire, blocks=[*_first(wire, "fail_after", reply.fail_after), line])


def _checked(wire: _Wire, reply: Reply) -> _Wire:
    for name in ("hang_after", "drop_after"):
        if wire.chunked:
            _first(wire, name, getattr(reply, name) or 0)
    return wire


def _first(wire: _Wire, name: str, count: int) -> Sequence[bytes]:
    if count > len(wire.blocks):
        raise _ScriptError(f"{name}={count}, but the answer has only {len(wire.blocks)} chunks")
    return wire.blocks[:count]


def _json(payload: Mapping[str, Any], status: int = 200) -> _Wire:
    return _Wire(status, JSON_TYPE, [_encoded(payload)])


def _ndjson(payloads: Iterable[Mapping[str, Any]]) -> _Wire:
    return _Wire(200, NDJSON_TYPE, [_encoded(p) + b"\n" for p in payloads], chunked=True)


def _write_raw(reply: Raw, _: Request) -> _Wire:
    several = NDJSON_TYPE if len(reply.lines) > 1 else JSON_TYPE
    content_type = several if reply.content_type is None else reply.content_type
    if content_type.startswith(NDJSON_TYPE):
        lines = [x if isinstance(x, bytes) else _encoded(x) + b"\n" for x in reply.lines]
        return _Wire(reply.status, content_type, lines, chunked=True)
    whole = b"\n".join(x if isinstance(x, bytes) else _encoded(x) for x in reply.lines)
    return _Wire(reply.status, content_type, [whole])


def _write_error(reply: Error, _: Request) -> _Wire:
    return _json({"error": reply.message}, reply.status)


def _write_embeddings(reply: Embeddings, request: Request) -> _Wire:
    vectors = [list(vector) for vector in reply.vectors]
    if request.path == "/api/embeddings":
        return _json({"embedding": vectors[0] if vectors else []})
    if request.path != "/api/embed":
        raise _ScriptError(f"Embeddings cannot answer {request.path}; use Answer or Raw")
    counted = _given(
        total_duration=(reply.total_duration, LOAD_NS + _prompt_ns(request) + _ns(reply.delay)),
        load_duration=(reply.load_duration, LOAD_NS),
        prompt_eval_count=(reply.prompt_eval_count, defaults.prompt_tokens(request.json)),
    )
    return _json({"model": request.model, "embeddings": vectors} | (counted if vectors else {}))


def _write_answer(reply: Answer, request: Request) -> _Wire:
    if request.path not in ("/api/chat", "/api/generate"):
        raise _ScriptError(f"Answer cannot answer {request.path}; use Embeddings or Raw")
    if reply.tool_calls and request.path != "/api/chat":
        raise _ScriptError(f"{request.path} knows no tool calls; leave tool_calls out")
    pieces = _pieces(reply, request)
    if request.streamed:
        lines = [_frame(request, p, done=False) | _logprobs(request, [p]) for p in pieces]
        end = _frame(request, {"content": ""}, done=True) | _end(reply, request, pieces)
        return _ndjson([*lines, end])
    whole = _frame(request, _joined(pieces), done=True)
    end = _end(reply, request, pieces)
    reason = {"done_reason": end.pop("done_reason")} if "done_reason" in end else {}
    return _json(whole | reason | _logprobs(request, pieces) | end)


def _pieces(reply: Answer, request: Request) -> list[dict[str, Any]]:
    """Cut an answer into what the lines of a stream bring, in Ollama's order."""
    thought = _cut(reply.thinking, reply.thinking_chunks)
    calls = _tool_calls(reply, request)
    return [
        *({"content": "", "thinking": piece} for piece in thought),
        *({"content": piece} for piece in _cut(reply.text, reply.chunks)),
        *({"content": "", "tool_calls": [call]} for call in calls),
    ]


def _cut(text: str | None, chunks: Sequence[str] | None) -> Sequence[str]:
    return defaults.tokens(text or "") if chunks is None else chunks


def _tool_calls(reply: Answer, request: Request) -> list[dict[str, Any]]:
    earlier = request.json.get("messages") or []
    start = sum(len(m.get("tool_calls") or []) for m in earlier)
    return [_tool_call(call, index, start) for index, call in enumerate(reply.tool_calls)]


def _tool_call(call: ToolCall, index: int, start: int) -> dict[str, Any]:
    number = f"call_{start + index:08d}"
    function = {"index": index, "name": call.name, "arguments": dict(call.arguments)}
    return _given(id=(call.id, number)) | {"function": function}


def _joined(pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    whole: dict[str, Any] = {"content": "".join(p["content"] for p in pieces)}
    thinking = "".join(p.get("thinking", "") for p in pieces)
    calls = [call for p in pieces for call in p.get("tool_calls", [])]
    return (
        whole
        | ({"thinking": thinking} if thinking else {})
        | ({"tool_calls": calls} if calls else {})
    )


def _frame(request: Request, piece: Mapping[str, Any], *, done: bool) -> dict[str, Any]:
    """Put a piece of an answer where the endpoint has it."""
    if request.path == "/api/chat":
        said: dict[str, Any] = {"message": {"role": "assistant", **piece}}
    else:
        said = {"response": piece["content"], **piece}
        del said["content"]
    return {"model": request.model, "created_at": CREATED_AT, **said, "done": done}


def _logprobs(request: Request, pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not request.json.get("logprobs"):
        return {}
    texts = [p["content"] or p.get("thinking") or "" for p in pieces]
    return {"logprobs": defaults.logprobs(texts, request.json.get("top_logprobs") or 0)}


def _end(reply: Answer, request: Request, pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The last line of an answer: why it ended, what it counted, how long it took."""
    thought = any("thinking" in p for p in pieces)
    prompt_ns = _prompt_ns(request) + _ns(reply.delay)
    waited = reply.chunk_delay * len(pieces) if request.streamed else 0
    answer_ns = TOKEN_NS * (len(pieces) + 1) + _ns(waited)
    reason = _given(done_reason=(reply.done_reason, "stop"))
    return (
        reason
        | _context(request, pieces)
        | _given(
            total_duration=(reply.total_duration, LOAD_NS + prompt_ns + answer_ns),
            load_duration=(reply.load_duration, LOAD_NS),
            prompt_eval_count=(reply.prompt_eval_count, defaults.prompt_tokens(request.json)),
            prompt_eval_duration=(reply.prompt_eval_duration, prompt_ns),
            eval_count=(reply.eval_count, len(pieces) + (3 if thought else 1)),
            eval_duration=(reply.eval_duration, answer_ns),
        )
    )


def _context(request: Request, pieces: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if request.path != "/api/generate" or request.json.get("raw"):
        return {}
    said = [p["content"] for p in pieces]
    return {"context": defaults.token_ids([*defaults.prompt_texts(request.json), *said])}


def _prompt_ns(request: Request) -> int:
    return PROMPT_TOKEN_NS * defaults.prompt_tokens(request.json)


def _ns(seconds: float) -> int:
    return round(seconds * 1_000_000_000)


def _given(**values: tuple[Any, Any]) -> dict[str, Any]:
    """Keep each value, with its default for AUTO and without those that are None."""
    chosen = {k: auto if value is AUTO else value for k, (value, auto) in values.items()}
    return {k: v for k, v in chosen.items() if v is not None}


_WRITERS: Mapping[type[Reply], Callable[[Any, Request], _Wire]] = {
    Answer: _write_answer,
    Embeddings: _write_embeddings,
    Raw: _write_raw,
    Error: _write_error,
}


def _as_sent(wire: _Wire, *, body: bool) -> list[bytes]:
    """Frame an answer for HTTP/1.1: one item per block, and last what ends the body.

    The head goes out together with the first block, as Ollama's does. The last item holds back
    what a client needs to call the answer complete.
    """
    head = _head(wire)
    if not body:
        return [head]
    if wire.chunked:
        blocks = [b"%x\r\n%b\r\n" % (len(block), block) for block in wire.blocks]
        sent = [*blocks, b"0\r\n\r\n"]
    else:
        whole = b"".join(wire.blocks)
        sent = [whole[:-1], whole[-1:]]
    return [head + sent[0], *sent[1:]]


def _head(wire: _Wire) -> bytes:
    known = {status.value: status.phrase for status in HTTPStatus}
    length = sum(map(len, wire.blocks))
    lines = [
        f"HTTP/1.1 {wire.status} {known.get(wire.status, '')}",
        *([f"Content-Type: {wire.content_type}"] if wire.content_type else []),
        f"Date: {formatdate(usegmt=True)}",
        "Transfer-Encoding: chunked" if wire.chunked else f"Content-Length: {length}",
    ]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


# --- The server ----------------------------------------------------------------------------------

_LOOPBACK: Final = "127.0.0.1"


class _DisconnectError(Exception):
    """The connection is to end here."""


class _Gate:
    """Where answers wait: for time to pass, or for a release; the end of the server frees all."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._hanging = 0
        self._released = False
        self.closed = False

    def pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.closed, seconds)
            self._go_on()

    def hang(self) -> None:
        with self._changed:
            self._hanging += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._released or self.closed)
            self._hanging -= 1
            self._go_on()

    def _go_on(self) -> None:
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
    """The sockets and threads; it can end all of them at any time."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, port: int, respond: Callable[[Request], tuple[Reply, _Wire]]) -> None:
        super().__init__((_LOOPBACK, port), _Handler)
        self.respond = respond
        self.gate = _Gate()
        self._connections: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        self._listener = threading.Thread(
            target=self._listen, name=f"FakeOllama-{self.server_port}", daemon=True
        )
        self._listener.start()

    def server_bind(self) -> None:
        # HTTPServer's own would ask the resolver for the host's name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = _LOOPBACK, self.server_address[1]

    def _listen(self) -> None:
        while not self.gate.closed:
            self.handle_request()

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread,
            args=(request, client_address),
            name=f"FakeOllama-{self.server_port}-{client_address[1]}",
            daemon=True,
        )
        with self._lock:
            self._connections[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                del self._connections[threading.current_thread()]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away in mid-stream is part of many tests."""

    def stop(self) -> None:
        self.gate.close()
        self._wake_listener()
        self._listener.join()
        self.server_close()
        with self._lock:
            connections = dict(self._connections)
        for connection in connections.values():
            _hang_up(connection)
        for thread in connections:
            thread.join()

    def _wake_listener(self) -> None:
        socket.create_connection((_LOOPBACK, self.server_port)).close()


def _hang_up(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # the client was faster


class _Handler(BaseHTTPRequestHandler):
    """One connection: reads requests and plays the answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def answer(self) -> None:
        body = _parsed(self._read_body())
        headers = MappingProxyType({k.lower(): v for k, v in self.headers.items()})
        request = Request(self.command, urlsplit(self.path).path, body, headers)
        reply, wire = self.server.respond(request)
        try:
            self._play(reply, wire)
        except (_DisconnectError, ConnectionError):
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the name it overrides)
        """Say nothing: [`FakeOllama.requests`][] has it all."""

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(iter(self._read_chunk, b""))
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _read_chunk(self) -> bytes:
        data = self.rfile.read(int(self.rfile.readline(), 16))
        self.rfile.readline()
        return data

    def _play(self, reply: Reply, wire: _Wire) -> None:
        gate = self.server.gate
        last = len(wire.blocks)
        gate.pause(reply.delay)
        for index, data in enumerate(_as_sent(wire, body=self.command != "HEAD")):
            if _due(reply.hang_after, index, last):
                gate.hang()
            if _due(reply.drop_after, index, last):
                raise _DisconnectError
            if 0 < index < last:
                gate.pause(reply.chunk_delay)
            self.wfile.write(data)


def _due(after: int | None, index: int, last: int) -> bool:
    return after is not None and min(after, last) == index


def _parsed(raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode(errors="replace")
