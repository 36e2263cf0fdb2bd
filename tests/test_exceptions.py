"""A failed call says why: an event on its span, and one among the logs."""

from typing import Any

import httpx
import ollama
import pytest
from opentelemetry import baggage, context
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.semconv.schemas import Schemas
from opentelemetry.util.genai.handler import TelemetryHandler

from conftest import Instrument
from ollama_otel import __version__
from recorded import EXCHANGES, URL, both, call
from telemetry import Recording

MISSING = EXCHANGES["error_no_such_model"]
STREAM = EXCHANGES["error_mid_stream"]
SAID = "model 'nope' not found (status code: 404)"
TRACEBACK = "Traceback (most recent call last):"


def told_logs(recording: Recording) -> list[dict[str, Any]]:
    return [
        {
            "event": each.log_record.event_name,
            "severity": (each.log_record.severity_number, each.log_record.severity_text),
            "type": (each.log_record.attributes or {}).get("exception.type"),
            "message": (each.log_record.attributes or {}).get("exception.message"),
            "stack": str((each.log_record.attributes or {})["exception.stacktrace"]).splitlines()[
                0
            ],
            "trace": each.log_record.trace_id,
            "span": each.log_record.span_id,
        }
        for each in recording.logs.get_finished_logs()
    ]


def event(trace: int, span: int, kind: str, message: str) -> dict[str, Any]:
    return {
        "event": "gen_ai.client.operation.exception",
        "severity": (SeverityNumber.WARN, "WARN"),
        "type": kind,
        "message": message,
        "stack": TRACEBACK,
        "trace": trace,
        "span": span,
    }


@both
@pytest.mark.parametrize("metrics", [True, False], ids=["metrics", "spans and logs"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("error_no_such_model", SAID),
        ("error_no_such_model_stream", SAID),
        (
            "error_embed_no_such_model",
            'model "nope" not found, try pulling it first (status code: 404)',
        ),
        (
            "error_mid_stream",
            "an error was encountered while running the model: unexpected EOF (status code: -1)",
        ),
    ],
)
def test_the_exception_is_a_log_event_of_the_span(
    name: str, message: str, *, metrics: bool, asynchronous: bool, instrument: Instrument
) -> None:
    """With type, message and stack, whatever else is received, and with the span's ids."""
    recording = instrument(**({} if metrics else {"meter_provider": None}))

    with pytest.raises(ollama.ResponseError):
        call(EXCHANGES[name], asynchronous=asynchronous)

    (span,) = recording.spans
    assert span.context is not None
    ids = span.context.trace_id, span.context.span_id
    assert told_logs(recording) == [event(*ids, "ollama.ResponseError", message)]
    (record,) = recording.logs.get_finished_logs()
    scope = record.instrumentation_scope
    assert scope is not None
    assert (scope.name, scope.version, scope.schema_url) == (
        "ollama_otel",
        __version__,
        Schemas.V1_37_0.value,
    )


def test_the_stack_shows_what_the_sdk_did(instrument: Instrument) -> None:
    """Down to the line that raised, on the span and in the log alike."""
    recording = instrument()

    def refuse(_request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("late")

    with pytest.raises(httpx.ReadTimeout):
        ollama.Client(URL, transport=httpx.MockTransport(refuse)).chat("m", [])

    (on_span,) = recording.spans[0].events
    (in_log,) = recording.logs.get_finished_logs()
    stack = str((on_span.attributes or {})["exception.stacktrace"])
    assert dict(on_span.attributes or {}) == dict(in_log.log_record.attributes or {})
    assert "in _request" in stack
    assert "ollama_otel" not in stack
    assert "in refuse\n" in stack
    assert stack.endswith("httpx.ReadTimeout: late\n")


@pytest.mark.parametrize("metrics", [True, False], ids=["metrics", "spans and logs"])
def test_a_failed_call_that_is_not_sampled_is_a_log_event_too(
    *, metrics: bool, instrument: Instrument
) -> None:
    """Who receives logs hears of every failure."""
    recording = instrument(
        recording=Recording(ALWAYS_OFF), **({} if metrics else {"meter_provider": None})
    )

    with pytest.raises(ollama.ResponseError):
        call(MISSING, asynchronous=False)

    assert recording.spans == ()
    (logged,) = told_logs(recording)
    assert logged == event(logged["trace"], logged["span"], "ollama.ResponseError", SAID)
    assert logged["trace"] != 0


def test_whoever_wants_no_events_gets_none(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable of util-genai counts; the span keeps its own event."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT", "false")
    recording = instrument()

    with pytest.raises(ollama.ResponseError):
        call(MISSING, asynchronous=False)

    assert told_logs(recording) == []
    assert len(recording.spans[0].events) == 1


@pytest.mark.parametrize("name", ["error_no_such_model", "error_embed_no_such_model"])
def test_inside_an_outer_call_the_outer_one_says_it(name: str, instrument: Instrument) -> None:
    """What is merged into a framework's span adds no event, neither there nor to the logs."""
    recording = instrument()
    handler = TelemetryHandler(tracer_provider=recording.tracer_provider)
    outer = handler.embedding("theirs") if "embed" in name else handler.inference("theirs")

    with outer, pytest.raises(ollama.ResponseError):
        call(EXCHANGES[name], asynchronous=False)

    (span,) = recording.spans
    assert span.events == ()
    assert told_logs(recording) == []


def test_an_embedding_inside_a_chat_says_it_itself(instrument: Instrument) -> None:
    """It is another operation with a span of its own."""
    recording = instrument()
    handler = TelemetryHandler(tracer_provider=recording.tracer_provider)

    with handler.inference("theirs"), pytest.raises(ollama.ResponseError):
        call(EXCHANGES["error_embed_no_such_model"], asynchronous=False)

    assert [(span.name, len(span.events)) for span in recording.spans] == [
        ("embeddings nope", 1),
        ("chat", 0),
    ]
    assert len(told_logs(recording)) == 1


def test_what_is_thrown_into_a_stream_has_a_stack_too(instrument: Instrument) -> None:
    """Though no frame but ours is in it."""
    recording = instrument()
    stream = EXCHANGES["chat_stream"].client().chat(**EXCHANGES["chat_stream"].arguments)
    next(stream)

    with pytest.raises(LookupError):
        stream.throw(LookupError("enough"))

    (thrown,) = recording.spans[0].events
    stack = str((thrown.attributes or {})["exception.stacktrace"])
    assert stack.startswith(TRACEBACK)
    assert stack.endswith("LookupError: enough\n")


def test_a_stream_that_is_left_is_no_exception(instrument: Instrument) -> None:
    """The application has seen enough."""
    recording = instrument()
    stream = EXCHANGES["chat_stream"].client().chat(**EXCHANGES["chat_stream"].arguments)

    next(stream)
    stream.close()

    assert recording.spans[0].events == ()
    assert told_logs(recording) == []


def test_a_text_that_is_no_unicode_does_not_cost_the_batch(instrument: Instrument) -> None:
    """Exporters cannot encode lone surrogates: they are replaced, wherever the SDK lets them in."""
    recording = instrument(capture="NO_CONTENT", ollama_attributes=True)

    def refuse(_request: httpx.Request) -> httpx.Response:
        raise ValueError("\ud800")

    client = ollama.Client(URL, transport=httpx.MockTransport(refuse))
    with pytest.raises(UnicodeEncodeError):
        client.chat("m", [], options={"stop": ["\ud800"]}, keep_alive="\ud800")
    with pytest.raises(ValueError, match="\ud800"):
        client.chat("m", [])

    for span in recording.spans:
        (happened,) = span.events
        texts = [span.status.description, *(happened.attributes or {}).values()]
        texts += [str(value) for value in (span.attributes or {}).values()]
        assert [text for text in texts if not str(text).isascii()] == []
    assert len(recording.spans) == 2


SECRET = "the SECRET answer"


@pytest.mark.parametrize("capture", ["NO_CONTENT", "SPAN_ONLY"])
def test_an_answer_that_is_refused_is_quoted_only_where_content_is_wanted(
    capture: str, instrument: Instrument
) -> None:
    """The SDK's own exception quotes it; without content the place of the fault is enough."""
    recording = instrument(capture)

    def answer(_request: httpx.Request) -> httpx.Response:
        message = {"role": "assistant", "content": [SECRET]}
        return httpx.Response(200, json={"model": "m", "done": True, "message": message})

    client = ollama.Client(URL, transport=httpx.MockTransport(answer))
    with pytest.raises(ValueError, match=SECRET):
        client.chat("m", [])

    (span,) = recording.spans
    told = [span.status.description, str(span.attributes), span.events[0].attributes]
    told += [record.log_record.attributes for record in recording.logs.get_finished_logs()]
    assert [SECRET in str(each) for each in told] == [
        each is not told[1] and capture == "SPAN_ONLY" for each in told
    ]
    if capture == "NO_CONTENT":
        assert span.status.description == "ChatResponse: message.content: string_type"


def test_an_exception_that_was_being_handled_before_is_none_of_the_calls(
    instrument: Instrument,
) -> None:
    """A call that is tried again tells its own failure, of a stream too, with its own causes."""
    recording = instrument()

    def refuse(_request: httpx.Request) -> httpx.Response:
        try:
            [].pop()
        except IndexError:
            raise httpx.ReadTimeout("late")  # noqa: B904  (as it happens)
        raise AssertionError

    client = ollama.Client(URL, transport=httpx.MockTransport(refuse))

    def try_again(*, stream: bool) -> None:
        try:
            dict[str, str]()[SECRET]
        except KeyError:
            list(client.chat("m", [], stream=stream))  # type: ignore[call-overload]  # both kinds

    for stream in (False, True):
        with pytest.raises(httpx.ReadTimeout):
            try_again(stream=stream)

    stacks = [
        str((span.events[0].attributes or {})["exception.stacktrace"]) for span in recording.spans
    ]
    assert [(SECRET in stack, "IndexError" in stack) for stack in stacks] == [(False, True)] * 2


def test_the_log_event_has_the_calls_context(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its baggage too, though the stream is read elsewhere."""
    recording = instrument()
    emitted: list[Any] = []
    monkeypatch.setattr(
        "opentelemetry.sdk._logs._internal.Logger.emit",
        lambda _self, record: emitted.append(record),
    )
    token = context.attach(baggage.set_baggage("user", "ada"))
    stream = STREAM.client().chat(**STREAM.arguments)
    context.detach(token)

    with pytest.raises(ollama.ResponseError):
        list(stream)

    (record,) = emitted
    assert baggage.get_all(record.context) == {"user": "ada"}
    assert len(recording.spans) == 1
