"""An error of our own never reaches the application, and never passes in silence."""

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any

import ollama
import pytest
from opentelemetry import trace
from opentelemetry.util.genai.handler import TelemetryHandler
from opentelemetry.util.genai.invocation import InferenceInvocation

from conftest import Instrument
from expected import exception
from ollama_otel import _calls, _extract, _operations
from ollama_otel._telemetry import Telemetry
from recorded import EXCHANGES, both, call
from wire_stream import Wire

PLAIN, STREAM, MISSING = (
    EXCHANGES[name] for name in ("chat_plain", "chat_stream", "error_no_such_model")
)


def broken(*_args: Any, **_kwargs: Any) -> Any:
    raise RuntimeError("ours is broken")


Break = Callable[[pytest.MonkeyPatch], None]


def operation(**changes: Any) -> Break:
    """Replace parts of the chat's row."""

    def change(monkeypatch: pytest.MonkeyPatch) -> None:
        row = _operations.OPERATIONS["/api/chat"]
        replaced = dataclasses.replace(row, **changes)
        monkeypatch.setitem(_operations.OPERATIONS, "/api/chat", replaced)

    return change


def attribute(owner: Any, name: str) -> Break:
    return lambda monkeypatch: monkeypatch.setattr(owner, name, broken)


STEPS: dict[str, tuple[Break, tuple[str, ...], int]] = {
    # what breaks, what the warning says, how many spans are left
    "the server's address": (
        attribute(_calls, "server_of"),
        ("finding the address of a server",),
        1,
    ),
    "who wants content": (
        attribute(Telemetry, "wants_content"),
        ("starting the telemetry of a call",),
        1,
    ),
    "who measures": (
        attribute(Telemetry, "measures"),
        ("starting the telemetry of a call",),
        0,
    ),
    "the fold": (operation(answer=broken), ("starting the telemetry of a call",), 1),
    "the handler": (
        attribute(TelemetryHandler, "inference"),
        ("starting the telemetry of a call",),
        0,
    ),
    "the request": (operation(request=broken), ("reading a request",), 1),
    "the request's content": (
        operation(request_content=broken),
        ("reading the content of a request",),
        1,
    ),
    "a chunk": (attribute(_extract.ChatAnswer, "add"), ("reading an answer",), 1),
    "the answer": (
        attribute(_extract.ChatAnswer, "fields"),
        ("reading an answer", "reading the content of an answer"),
        1,
    ),
    "the answer's content": (
        attribute(_extract.ChatAnswer, "content"),
        ("reading the content of an answer",),
        1,
    ),
    "the timing of a chunk": (
        attribute(InferenceInvocation, "record_stream_chunk"),
        ("reading an answer",),
        1,
    ),
    "the end": (
        attribute(InferenceInvocation, "_apply_finish"),
        ("ending the telemetry of a call",),
        1,
    ),
}


@pytest.mark.usefixtures("quiet_errors")
@both
@pytest.mark.parametrize("step", STEPS)
def test_whatever_breaks_the_application_gets_its_stream(
    step: str,
    *,
    asynchronous: bool,
    instrument: Instrument,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The same chunks, a warning that says what failed, and no span left open or current."""
    break_it, warnings, spans = STEPS[step]
    expected = call(STREAM, asynchronous=asynchronous)
    recording = instrument()

    with monkeypatch.context() as patch:
        break_it(patch)
        assert call(STREAM, asynchronous=asynchronous) == expected

    assert trace.get_current_span() is trace.INVALID_SPAN
    assert [record.getMessage() for record in caplog.records] == [
        f"ollama-otel failed while {warning}; the application is not affected"
        for warning in warnings
    ]
    assert len(recording.spans) == spans


@pytest.mark.usefixtures("quiet_errors")
@both
@pytest.mark.parametrize("step", [step for step in STEPS if "chunk" not in step])
def test_whatever_breaks_the_application_gets_its_answer_and_its_errors(
    step: str,
    *,
    asynchronous: bool,
    instrument: Instrument,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whole answers and the SDK's exceptions pass unchanged."""
    expected = call(PLAIN, asynchronous=asynchronous)
    recording = instrument()
    STEPS[step][0](monkeypatch)

    assert call(PLAIN, asynchronous=asynchronous) == expected
    with pytest.raises(ollama.ResponseError, match=r"^model 'nope' not found"):
        call(MISSING, asynchronous=asynchronous)
    assert len(recording.spans) == 2 * STEPS[step][2]


@pytest.mark.usefixtures("quiet_errors")
@pytest.mark.parametrize("step", STEPS)
async def test_whatever_breaks_closing_a_stream_closes_the_request(
    step: str, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where there is no telemetry of the call."""
    wire = Wire(9)
    instrument()
    STEPS[step][0](monkeypatch)

    stream = await wire.async_client().chat(**STREAM.arguments)
    await anext(stream)
    await stream.aclose()

    assert wire.closed


@pytest.mark.parametrize("step", ["the answer", "the answer's content", "a chunk"])
def test_a_ctrl_c_in_our_code_passes_and_leaves_no_span_current(
    step: str, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next call is recorded as ever."""
    owner = {"the answer": "fields", "the answer's content": "content", "a chunk": "add"}[step]
    recording = instrument()
    with monkeypatch.context() as patch:
        patch.setattr(
            _extract.ChatAnswer, owner, lambda *_args, **_options: _raise(KeyboardInterrupt())
        )
        with pytest.raises(KeyboardInterrupt):
            call(PLAIN, asynchronous=False)

    call(PLAIN, asynchronous=False)

    assert len(recording.spans) == 2


class Rude(BaseException):
    """An exception that is no help at all."""

    @property
    def status_code(self) -> int:
        raise RuntimeError("no number")

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("metrics", [True, False], ids=["metrics", "spans alone"])
@pytest.mark.parametrize("interrupted", [False, True], ids=["rude", "interrupted"])
def test_a_failure_that_cannot_be_told_still_ends_the_span(
    *, metrics: bool, interrupted: bool, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the exception itself is in the way, or a Ctrl-C while it is recorded."""
    others: dict[str, Any] = {} if metrics else {"meter_provider": None, "logger_provider": None}
    recording = instrument(**others)
    client = PLAIN.client(event_hooks={"request": [lambda _request: _raise(Rude())]})
    if interrupted:
        monkeypatch.setattr(
            _calls, "record_exception", lambda *_args, **_options: _raise(KeyboardInterrupt())
        )

    with pytest.raises(KeyboardInterrupt if interrupted else Rude):
        client.chat(**PLAIN.arguments)

    assert [span.status.status_code.name for span in recording.spans] == ["ERROR"]
    assert trace.get_current_span() is trace.INVALID_SPAN


class UnprintableError(Exception):
    """An exception that cannot even be told."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.usefixtures("quiet_errors")
def test_an_exception_that_cannot_be_printed_still_ends_the_span(
    instrument: Instrument, caplog: pytest.LogCaptureFixture
) -> None:
    """The very exception passes, and the span says what can be said."""
    recording = instrument()
    client = PLAIN.client(event_hooks={"request": [lambda _request: _raise(UnprintableError())]})

    with pytest.raises(UnprintableError):
        client.chat(**PLAIN.arguments)

    kind = f"{__name__}.UnprintableError"
    assert recording.span["status"] == ("ERROR", f"[{kind} that cannot be printed]")
    assert recording.span["attributes"]["error.type"] == kind
    assert recording.span["events"] == [exception(kind, f"[{kind} that cannot be printed]")]
    assert caplog.records == []


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), MemoryError("full")])
def test_every_kind_of_exception_passes_as_it_is(
    error: BaseException, instrument: Instrument
) -> None:
    """The same object reaches the application, and the span is closed."""
    recording = instrument()
    client = PLAIN.client(event_hooks={"request": [lambda _request: _raise(error)]})

    with pytest.raises(type(error)) as raised:
        client.chat(**PLAIN.arguments)

    assert raised.value is error
    assert recording.span["attributes"]["error.type"] == type(error).__name__


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("http://localhost:11434", ("localhost", 11434)),
        ("https://models.example.com", ("models.example.com", 443)),
        ("http://user:secret@10.0.0.7", ("10.0.0.7", 80)),
        ("[::1]:1234", ("::1", 1234)),
        (None, ("127.0.0.1", 11434)),
    ],
)
def test_the_server_is_the_clients(host: str | None, expected: tuple[str, int]) -> None:
    """Host and port, with the scheme's default port, and never the credentials."""
    assert _calls.server_of(ollama.Client(host)) == expected
    client = ollama.AsyncClient(host)
    assert _calls.server_of(client) == expected
    asyncio.run(client._client.aclose())


def test_in_tests_our_errors_are_loud(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With OLLAMA_OTEL_RAISE_ERRORS=true the first error of ours stops the test."""
    instrument()
    monkeypatch.setattr(_extract.ChatAnswer, "fields", broken)

    with pytest.raises(RuntimeError, match="ours is broken"):
        call(PLAIN, asynchronous=False)
