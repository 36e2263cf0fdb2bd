"""A call recorded by its span alone has the span that util-genai would have made."""

import contextlib
import dataclasses
import json
from typing import Any

import httpx
import ollama
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.util.genai.handler import TelemetryHandler

from conftest import Instrument
from ollama_otel import OllamaInstrumentor, _extract, _operations
from ollama_otel._spans import SpanInvocation
from recorded import EXCHANGES, URL, both, call
from telemetry import Recording, told
from test_chat import ANSWERS as CHATS
from test_embed import ANSWERS as EMBEDDED
from test_generate import ANSWERS as GENERATED

NAMES = [
    *(*CHATS, *GENERATED, *EMBEDDED),
    *("error_no_such_model", "error_mid_stream", "error_embed_no_such_model"),
]
SPANS_ONLY: dict[str, Any] = {"meter_provider": None, "logger_provider": None}


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> list[type]:
    """The kinds of invocation that were started, in order."""
    started: list[type] = []
    for path, row in _operations.OPERATIONS.items():

        def start(*args: Any, row: _operations.Operation = row, **facts: Any) -> Any:
            invocation = row.start(*args, **facts)
            started.append(type(invocation))
            return invocation

        replaced = dataclasses.replace(row, start=start)
        monkeypatch.setitem(_operations.OPERATIONS, path, replaced)
    return started


@both
@pytest.mark.parametrize("mode", ["SPAN_ONLY", "NO_CONTENT"])
@pytest.mark.parametrize("name", NAMES)
def test_both_ways_make_the_same_span(
    name: str, mode: str, *, asynchronous: bool, instrument: Instrument, kinds: list[type]
) -> None:
    """Every recorded call, first with metrics received and then without."""
    found = []
    for options in ({}, SPANS_ONLY):
        recording = instrument(mode, **options)
        with contextlib.suppress(ollama.ResponseError):
            call(EXCHANGES[name], asynchronous=asynchronous)
        OllamaInstrumentor().uninstrument()
        (span,) = recording.spans
        found.append((told(span), span.instrumentation_scope))

    assert [kind is SpanInvocation for kind in kinds] == [False, True]
    assert found[0] == found[1]


def wire(*lines: dict[str, Any]) -> ollama.Client:
    """A client that gets these lines."""
    body = "\n".join(json.dumps(line) for line in lines)
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, content=body))
    return ollama.Client(URL, transport=transport)


HI = {"model": "m", "message": {"role": "assistant", "content": "Hi"}}
COUNTED = HI | {"prompt_eval_count": 3, "eval_count": 5}
STRANGE: dict[str, tuple[list[dict[str, Any]], bool, Any, Any]] = {
    # lines, stream, finish reasons on the span, that of the message
    "no reason": ([COUNTED | {"done": True}], False, None, ""),
    "no reason, streamed": ([HI, COUNTED | {"done": True}], True, None, ""),
    "not done": ([COUNTED | {"done_reason": "stop"}], False, ("stop",), "stop"),
    "not done, streamed": ([HI], True, ("error",), "error"),
    "nothing, streamed": ([], True, ("error",), None),
}


@pytest.mark.parametrize("mode", ["SPAN_ONLY", "NO_CONTENT"])
@pytest.mark.parametrize("options", [{}, SPANS_ONLY], ids=["metrics", "spans alone"])
@pytest.mark.parametrize("name", STRANGE)
def test_why_an_answer_ended_is_told_the_same_by_both_ways(
    name: str, options: dict[str, Any], mode: str, instrument: Instrument
) -> None:
    """`error` where the end never came; nothing where the server gave no reason."""
    lines, stream, reasons, reason = STRANGE[name]
    recording = instrument(mode, **options)

    answer = wire(*lines).chat("m", [], stream=stream)  # type: ignore[call-overload]  # both kinds
    list(answer)

    attributes = recording.span["attributes"]
    assert attributes.get("gen_ai.response.finish_reasons") == reasons
    counted = "prompt_eval_count" in (lines or [{}])[-1]
    assert attributes.get("gen_ai.usage.input_tokens") == (3 if counted else None)
    messages = attributes.get("gen_ai.output.messages", [{}])
    assert messages[0].get("finish_reason") == (reason if mode == "SPAN_ONLY" else None)


def test_inside_another_inference_the_call_stays_util_genais(
    instrument: Instrument, kinds: list[type]
) -> None:
    """A framework's span takes ours in, so that tokens are not counted twice."""
    recording = instrument(**SPANS_ONLY)

    with TelemetryHandler(tracer_provider=recording.tracer_provider).inference("framework"):
        call(EXCHANGES["chat_plain"], asynchronous=False)

    assert SpanInvocation not in kinds
    assert recording.span["attributes"]["gen_ai.usage.input_tokens"] == 40


@both
@pytest.mark.parametrize("name", ["chat_plain", "chat_stream"])
def test_a_call_that_is_sampled_out_is_not_read(
    name: str, *, asynchronous: bool, instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing would come of it."""
    recording = instrument("SPAN_ONLY", Recording(ALWAYS_OFF), **SPANS_ONLY)
    monkeypatch.setattr(_extract.ChatAnswer, "add", None)
    monkeypatch.setattr(_extract.ChatAnswer, "__init__", None)

    assert call(EXCHANGES[name], asynchronous=asynchronous)
    assert recording.spans == ()


BREAKS = {
    "_fields": "ending the telemetry of a call",
    "_content": "ending the telemetry of a call",
    "record_stream_chunk": "reading an answer",
}


@pytest.mark.usefixtures("quiet_errors")
@both
@pytest.mark.parametrize("broken", BREAKS)
def test_whatever_breaks_the_application_gets_its_stream_and_the_span_ends(
    broken: str,
    *,
    asynchronous: bool,
    instrument: Instrument,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One warning says what failed, and nothing stays current."""
    expected = call(EXCHANGES["chat_stream"], asynchronous=asynchronous)
    recording = instrument(**SPANS_ONLY)

    def fail(*_args: Any) -> None:
        raise RuntimeError("ours is broken")

    with monkeypatch.context() as patch:
        patch.setattr(SpanInvocation, broken, fail)
        assert call(EXCHANGES["chat_stream"], asynchronous=asynchronous) == expected

    assert len(recording.spans) == 1
    assert trace.get_current_span() is trace.INVALID_SPAN
    assert caplog.messages == [
        f"ollama-otel failed while {BREAKS[broken]}; the application is not affected"
    ]


def test_content_that_cannot_be_written_takes_nothing_else_with_it(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tokens, model and times are there."""
    monkeypatch.setenv("OLLAMA_OTEL_RAISE_ERRORS", "false")
    monkeypatch.setattr(
        _extract.ChatAnswer, "content", lambda _self: {"output_messages": [{1j: "no JSON"}]}
    )
    recording = instrument(**SPANS_ONLY)

    call(EXCHANGES["chat_plain"], asynchronous=False)

    attributes = recording.span["attributes"]
    assert attributes["gen_ai.usage.input_tokens"] == 40
    assert "gen_ai.output.messages" not in attributes
