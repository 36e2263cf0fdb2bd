"""Whatever is asked and answered, the application gets what the SDK alone would give it.

And whatever that is, its span is ended, what was recorded can be sent, and nobody is bothered.
"""

import asyncio
import json
import logging
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from unittest import mock

import httpx
import ollama
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import INVALID_SPAN, get_current_span

from conftest import CAPTURE
from ollama_otel import OllamaInstrumentor, _internal_errors
from recorded import URL, both
from telemetry import Recording

EXAMPLES = settings(
    max_examples=50, deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True
)

# What the server answers ----------------------------------------------------------------------

OPERATIONS = ("chat", "generate", "embed", "embeddings")

LONE_SURROGATE = "\ud800"


def _nested(depth: int) -> Any:
    value: Any = 0
    for level in range(depth):
        value = [value] if level % 2 else {"deeper": value}
    return value


def _often(usual: st.SearchStrategy[Any], *odd: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The usual, and in one case of many something odd: else hardly a call would succeed."""
    return st.sampled_from([usual] * (24 * len(odd)) + list(odd)).flatmap(lambda chosen: chosen)


# Not st.text() alone: its characters leave out the lone surrogates that JSON can escape.
texts = _often(
    st.text(max_size=12) | st.sampled_from(["", "ollama", "\x00"]),
    st.sampled_from([LONE_SURROGATE, "é" * 3000]),
)
numbers = (
    st.integers()
    | st.floats()
    | st.sampled_from([-1, 2**63 - 1, 2**63, -(2**63) - 1, 10**400, 1e308, -0.0])
)
loose = st.recursive(
    st.none() | st.booleans() | numbers | texts | st.just(LONE_SURROGATE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
) | st.integers(50, 400).map(_nested)


def _object(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects that lack some of the fields; few have a wrong one, or one more."""
    objects = st.fixed_dictionaries({}, optional=fields)
    wrong = st.dictionaries(st.sampled_from(sorted(fields)) | texts, loose, max_size=2)
    return _often(objects, st.builds(lambda known, odd: known | odd, objects, wrong))


counts = st.none() | st.integers(0, 500) | st.sampled_from([2**63, 10**30, -1, 7.0, "8"])
words = st.none() | texts
calls = st.builds(
    lambda name, values: {"id": name, "function": {"name": name, "arguments": values}},
    texts,
    st.dictionaries(texts, loose, max_size=3),
)
images = texts | st.binary(max_size=60).map(lambda data: data.hex()) | st.just("iVBORw0KGgo=")
spoken = st.builds(
    lambda role, rest: {"role": role} | rest,
    st.sampled_from(["assistant", "tool", "user", LONE_SURROGATE]),
    _object(
        content=words,
        thinking=words,
        tool_calls=st.lists(calls, max_size=3),
        images=st.lists(images, max_size=2),
        tool_name=words,
    ),
)
vectors = st.lists(st.floats(), max_size=4)
lines = st.builds(
    lambda told, rest: told | rest,
    st.fixed_dictionaries(
        {
            "message": _often(spoken, loose),
            "embeddings": st.lists(vectors, max_size=3),
            "embedding": vectors,
        }
    ),
    _object(
        model=words,
        created_at=words,
        done=st.booleans(),
        done_reason=st.sampled_from([None, "stop", "length", "load", LONE_SURROGATE]),
        response=words,
        thinking=words,
        image=st.none() | images,
        context=st.lists(st.integers(), max_size=3),
        prompt_eval_count=counts,
        eval_count=counts,
        total_duration=counts,
        load_duration=counts,
    ),
)
errors = st.builds(lambda error: {"error": error}, loose)


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


cut_lines = st.builds(lambda line, end: _json(line)[:end], lines, st.integers(0, 80))
wire_lines = _often(
    lines.map(_json),
    st.sampled_from([b"", b"  ", b"404 page not found", b"\xff\xfe", b"null", b"[]", b"{}"]),
    cut_lines,
    loose.map(_json),
    errors.map(_json),
)


@dataclass(frozen=True)
class Answer:
    """An answer of the server, in the pieces in which the network brings it.

    Args:
        status: the HTTP status.
        headers: the HTTP headers.
        pieces: the body.
        refused: raised in place of an answer.
        cut: raised after the last piece.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    refused: Exception | None = None
    cut: Exception | None = None

    def respond(self, *, asynchronous: bool) -> httpx.Response:
        """Answer, or refuse to."""
        if self.refused:
            raise self.refused.with_traceback(None)
        pieces = self._async_pieces() if asynchronous else self._pieces()
        return httpx.Response(self.status, headers=self.headers, content=pieces)

    def _pieces(self) -> Iterator[bytes]:
        yield from self.pieces
        if self.cut:
            raise self.cut.with_traceback(None)

    async def _async_pieces(self) -> AsyncIterator[bytes]:
        for piece in self._pieces():
            yield piece


_odd_headers = st.sampled_from(
    [
        {},
        {"content-type": "text/plain; charset=utf-16"},
        {"content-type": "\u00ff; charset=none such"},
        {"content-encoding": "gzip"},
    ]
)
_failures = st.sampled_from(
    [
        httpx.ReadError("cut"),
        httpx.ReadTimeout(LONE_SURROGATE),
        httpx.ConnectError("refused"),
        OSError(1, "broken"),
    ]
)


@st.composite
def answers(draw: st.DrawFn, *, most_lines: int) -> Answer:
    body = b"\n".join(draw(st.lists(wire_lines, min_size=1, max_size=most_lines)))
    cuts = sorted(draw(st.lists(st.integers(0, len(body)), max_size=3)))
    return Answer(
        status=draw(st.sampled_from([200] * 30 + [204, 302, 400, 404, 500, 503])),
        headers=draw(_often(st.just({"content-type": "application/x-ndjson"}), _odd_headers)),
        pieces=[body[start:end] for start, end in pairwise([0, *cuts, len(body)])],
        refused=draw(_often(st.none(), _failures)),
        cut=draw(_often(st.none(), _failures)),
    )


# What the application asks --------------------------------------------------------------------


class _Strange:
    """No JSON, no attributes, and no way to write it down."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<strange>"


def add(a: int, b: int = 1) -> int:
    """Add two numbers.

    Args:
        a: The first number
        b: The second number
    """
    return a + b


odd = loose | st.sampled_from([b"\xff", (1, 2), frozenset({1}), _Strange(), add])
amounts = st.floats(0, 2) | st.integers() | st.sampled_from([10**400, 1e308, 2**63, 7.0])
options = st.fixed_dictionaries(
    {},
    optional={
        "temperature": _often(amounts, odd),
        "top_p": _often(amounts, odd),
        "top_k": _often(st.integers(1, 99), odd),
        "num_predict": _often(st.integers(-2, 99), odd),
        "seed": _often(amounts, odd),
        "presence_penalty": _often(amounts, odd),
        "frequency_penalty": _often(amounts, odd),
        "stop": _often(st.lists(texts, max_size=3) | texts, odd),
        "other": _often(texts, odd),
    },
)
asked_calls = st.builds(
    lambda name, values: {"function": {"name": name, "arguments": values}},
    texts,
    st.dictionaries(texts, _often(loose, odd), max_size=2),
)
asked_images = st.lists(_often(st.binary(max_size=99) | st.just("iVBORw0KGgo="), odd), max_size=2)
said = _object(
    role=st.sampled_from(["user", "assistant", "tool", "system"]),
    content=words,
    thinking=words,
    images=asked_images,
    tool_calls=st.lists(_often(asked_calls, odd), max_size=2),
    tool_name=words,
    tool_call_id=words,
).map(lambda message: {"role": "user"} | message)
messages = st.lists(
    _often(said, odd) | st.builds(ollama.Message, role=texts, content=texts, thinking=texts),
    max_size=3,
)
functions = _object(
    name=words,
    description=words,
    parameters=_object(
        properties=st.dictionaries(texts, _object(type=texts, enum=st.lists(odd, max_size=2))),
        required=st.lists(texts),
    ),
)
tools = st.lists(
    _often(_object(type=words, function=functions) | st.just(add), odd)
    | st.builds(ollama.Tool, function=st.builds(ollama.Tool.Function, name=texts)),
    max_size=2,
)
common = {
    "model": _often(st.just("scripted") | texts, odd),
    "options": _often(options | st.builds(ollama.Options, stop=st.lists(texts)), odd),
    "keep_alive": _often(st.none() | st.floats(0, 9) | st.just("5m"), odd),
}
streamed = {
    "format": _often(st.sampled_from([None, "", "json", {"type": "object"}]), odd),
    "think": _often(st.sampled_from([None, True, False, "high", LONE_SURROGATE]), odd),
}
arguments = {
    "chat": common | streamed | {"messages": _often(messages, odd), "tools": _often(tools, odd)},
    "generate": common
    | streamed
    | {
        "prompt": words,
        "system": words,
        "suffix": words,
        "raw": st.booleans(),
        "context": st.lists(st.integers(), max_size=2),
        "images": asked_images,
    },
    "embed": common | {"input": _often(texts | st.lists(texts, max_size=2), odd)},
    "embeddings": common | {"prompt": words},
}


@dataclass(frozen=True)
class Call:
    """A call of the SDK.

    Args:
        operation: the client's method.
        arguments: its keyword arguments.
        stream: whether the answer is streamed.
        take: how many chunks of it the application reads at most.
        from_generator: whether the messages come from a generator.
    """

    operation: str
    arguments: dict[str, Any]
    stream: bool = False
    take: int = 99
    from_generator: bool = False

    def keywords(self) -> dict[str, Any]:
        keywords = dict(self.arguments)
        if self.from_generator and isinstance(keywords.get("messages"), list):
            keywords["messages"] = (message for message in keywords["messages"])
        return keywords | ({"stream": True} if self.stream else {})


@st.composite
def cases(draw: st.DrawFn) -> tuple[Call, Answer]:
    """A call and what it meets."""
    operation = draw(st.sampled_from(OPERATIONS))
    can_stream = operation in ("chat", "generate")
    call = Call(
        operation,
        {"model": "scripted"} | draw(st.fixed_dictionaries({}, optional=arguments[operation])),
        stream=can_stream and draw(st.booleans()),
        take=draw(st.sampled_from([99, 99, 1, 2])),
        from_generator=draw(st.booleans()),
    )
    # What is not streamed cannot be read if it is several lines.
    most_lines = 5 if call.stream else draw(_often(st.just(1), st.just(2)))
    return call, draw(answers(most_lines=most_lines))


# What comes of it -----------------------------------------------------------------------------


@dataclass
class Outcome:
    """All that the server and the application see of a call."""

    sent: list[bytes] = field(default_factory=list)
    got: list[str] = field(default_factory=list)
    error: list[str] = field(default_factory=list)
    leaves_nothing_current: bool = True

    def failed(self, error: BaseException) -> None:
        cause = repr(error.__cause__)
        self.error = [type(error).__name__, repr(error.args), str(error), cause]


def perform(call: Call, answer: Answer, *, asynchronous: bool) -> Outcome:
    """Make the call with a client that gets the answer."""
    outcome = Outcome()

    def respond(request: httpx.Request) -> httpx.Response:
        outcome.sent.append(request.content)
        return answer.respond(asynchronous=asynchronous)

    transport = httpx.MockTransport(respond)
    try:
        if asynchronous:
            asyncio.run(_perform_async(call, ollama.AsyncClient(URL, transport=transport), outcome))
        else:
            _perform(call, ollama.Client(URL, transport=transport), outcome)
    except Exception as error:  # noqa: BLE001  (whatever it is, it is compared)
        outcome.failed(error)
    outcome.leaves_nothing_current = get_current_span() is INVALID_SPAN
    return outcome


def _perform(call: Call, client: ollama.Client, outcome: Outcome) -> None:
    result = getattr(client, call.operation)(**call.keywords())
    if not call.stream:
        outcome.got.append(repr(result))
        return
    for chunk in result:
        outcome.got.append(repr(chunk))
        if len(outcome.got) == call.take:
            break
    result.close()


async def _perform_async(call: Call, client: ollama.AsyncClient, outcome: Outcome) -> None:
    result = await getattr(client, call.operation)(**call.keywords())
    if not call.stream:
        outcome.got.append(repr(result))
        return
    async for chunk in result:
        outcome.got.append(repr(chunk))
        if len(outcome.got) == call.take:
            break
    await result.aclose()


# What is recorded of it -----------------------------------------------------------------------


class Ends(SpanProcessor):
    """Counts how often each span was started and ended."""

    def __init__(self) -> None:
        self.started: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        self.started[span.get_span_context().span_id] += 1

    def on_end(self, span: ReadableSpan) -> None:
        assert span.context is not None
        self.ended[span.context.span_id] += 1


class Said(logging.Handler):
    """Keeps what is logged at WARNING or above, by whomever."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(logging.Formatter().format(record))


@contextmanager
def listening() -> Iterator[list[str]]:
    """Let our own errors be logged as in production, and keep every warning."""
    _internal_errors.warn.forget()
    said = Said()
    logging.getLogger().addHandler(said)
    try:
        with mock.patch.dict(os.environ, {_internal_errors.RAISE_ERRORS: ""}):
            yield said.texts
    finally:
        logging.getLogger().removeHandler(said)


@contextmanager
def instrumented(road: str) -> Iterator[tuple[Recording, Ends]]:
    """Record on one of the two roads.

    Args:
        road: what is received, "everything" or "spans".
    """
    recording, ends = Recording(), Ends()
    recording.tracer_provider.add_span_processor(ends)
    capture = {"everything": "SPAN_AND_EVENT", "spans": "SPAN_ONLY"}[road]
    providers = recording.providers
    if road == "spans":
        providers = {"tracer_provider": recording.tracer_provider}
    with mock.patch.dict(os.environ, {CAPTURE: capture}):
        OllamaInstrumentor().instrument(**providers, skip_dep_check=True)
        try:
            yield recording, ends
        finally:
            OllamaInstrumentor().uninstrument()
            recording.close()


def check_wire(recording: Recording) -> None:
    """Have OpenTelemetry's exporter write down all that was recorded."""
    encode_spans(recording.spans).SerializeToString()
    encode_logs(recording.logs.get_finished_logs()).SerializeToString()
    if metrics := recording.reader.get_metrics_data():
        encode_metrics(metrics).SerializeToString()


roads = pytest.mark.parametrize("road", ["everything", "spans"])


def check(call: Call, answer: Answer, road: str, *, asynchronous: bool) -> None:
    """Make the call twice, without and with us, and compare."""
    alone = perform(call, answer, asynchronous=asynchronous)
    asked = repr(call.arguments)
    with listening() as warnings, instrumented(road) as (recording, ends):
        recorded = perform(call, answer, asynchronous=asynchronous)
        check_wire(recording)

    assert recorded == alone
    assert warnings == []
    assert ends.started == ends.ended
    assert len(recorded.sent) <= ends.ended.total() <= 1
    assert repr(call.arguments) == asked


@roads
@both
@EXAMPLES
@given(case=cases())
def test_the_application_gets_what_the_sdk_alone_would_give_it(
    *, asynchronous: bool, road: str, case: tuple[Call, Answer]
) -> None:
    check(*case, road, asynchronous=asynchronous)


def _answer(**fields: Any) -> Answer:
    told = {"model": "scripted", "message": {"role": "assistant"}, "embeddings": [], "done": True}
    return Answer(pieces=[_json(told | fields)])


def _chat(**arguments: Any) -> Call:
    return Call("chat", {"model": "scripted"} | arguments)


def _calling(arguments: object) -> dict[str, Any]:
    """A message in which the model calls a tool."""
    function = {"name": "add", "arguments": arguments}
    return {"role": "assistant", "tool_calls": [{"function": function}]}


GOOD = _answer()
TROUBLE: dict[str, tuple[Call, Answer]] = {
    "surrogate in an error": (_chat(), Answer(status=500, refused=OSError(LONE_SURROGATE))),
    "surrogate in a message": (_chat(), _answer(message=_calling({"x": LONE_SURROGATE}))),
    "surrogate in an answering model": (_chat(), _answer(model=LONE_SURROGATE)),
    "surrogate in a done reason": (_chat(), _answer(done_reason=LONE_SURROGATE)),
    "surrogate in a model": (_chat(model=LONE_SURROGATE), GOOD),
    "surrogate in a role": (_chat(messages=[{"role": LONE_SURROGATE}]), GOOD),
    "surrogate in think": (_chat(think=LONE_SURROGATE), GOOD),
    "surrogate in stop": (_chat(options={"stop": [LONE_SURROGATE]}), GOOD),
    "surrogate in a tool": (_chat(tools=[{"function": {"name": LONE_SURROGATE}}]), GOOD),
    "surrogate in a prompt": (Call("generate", {"model": "m", "prompt": LONE_SURROGATE}), GOOD),
    "temperature beyond a float": (_chat(options={"temperature": 10**400}), GOOD),
    "seed beyond 64 bits": (_chat(options={"seed": 2**63}), GOOD),
    "count below zero": (_chat(), _answer(prompt_eval_count=-1, eval_count=-1)),
    "count beyond 64 bits": (_chat(), _answer(prompt_eval_count=2**63, eval_count=10**400)),
    "embedding's count below zero": (
        Call("embed", {"model": "embedder", "input": "hi"}),
        _answer(prompt_eval_count=-1),
    ),
    "argument without a name": (_chat(), _answer(message=_calling({"": [1]}))),
    "argument beyond 64 bits": (_chat(), _answer(message=_calling({"x": 2**63}))),
    "argument that is not finite": (_chat(), _answer(message=_calling({"x": float("nan")}))),
    "argument nested deep": (_chat(), _answer(message=_calling({"x": _nested(300)}))),
    "asked argument nested deep": (_chat(messages=[_calling({"x": _nested(300)})]), GOOD),
    "asked argument that is no JSON": (_chat(messages=[_calling({"x": _Strange()})]), GOOD),
    "asked argument that is a set": (_chat(messages=[_calling({"x": {1}})]), GOOD),
    "asked argument that is bytes": (_chat(messages=[_calling({"x": b"\xff"})]), GOOD),
    "asked argument that is a function": (_chat(messages=[_calling({"x": add})]), GOOD),
}
"""What once made ours fail or complain, or would if it were not minded."""


@roads
@both
@pytest.mark.parametrize("case", TROUBLE.values(), ids=[name.replace(" ", "_") for name in TROUBLE])
def test_the_same_of_what_is_known_for_trouble(
    *, asynchronous: bool, road: str, case: tuple[Call, Answer]
) -> None:
    check(*case, road, asynchronous=asynchronous)
