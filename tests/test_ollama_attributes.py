"""What Ollama tells beyond the conventions is on spans where somebody asked for it."""

import json
from pathlib import Path
from typing import Any

import ollama
import pytest
import yaml
from opentelemetry.sdk.trace import TracerProvider

from conftest import Instrument
from ollama_otel import _doors, _extract, _internal_errors, _ollama_attributes
from ollama_otel.mlflow import MlflowSpanExporter
from recorded import EXCHANGES, both, call
from telemetry import told

REGISTRY = Path(__file__).parent.parent / "docs" / "registry" / "ollama.yaml"
PLAIN = EXCHANGES["chat_plain"]
TIMES = {
    "chat_plain": ("total", "load", "prompt_eval", "eval"),
    "chat_stream": ("total", "load", "prompt_eval", "eval"),
    "generate_plain": ("total", "load", "prompt_eval", "eval"),
    "embed_one": ("total", "load"),
    "embeddings_legacy": (),
}


class Sink:
    """Takes nothing: its exporter only has to be there."""

    def deliver(self, request: Any) -> None: ...

    def link(self, trace_ids: Any, run_id: str) -> None: ...

    def shutdown(self) -> None: ...


def own(span: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in span["attributes"].items() if name.startswith("ollama.")}


def expected(name: str) -> dict[str, Any]:
    exchange = EXCHANGES[name]
    sent = exchange.request.get("keep_alive")
    texts = exchange.request.get("input", exchange.request.get("prompt"))
    asked: dict[str, Any] = {} if sent is None else {"ollama.request.keep_alive": sent}
    if "embed" in name:
        asked["ollama.request.input"] = (texts,)
    return asked | {
        f"ollama.response.{kind}_duration": exchange.lines[-1][f"{kind}_duration"] / 1e9
        for kind in TIMES[name]
    }


@both
@pytest.mark.parametrize("metrics", [True, False], ids=["metrics", "spans alone"])
@pytest.mark.parametrize("name", TIMES)
def test_asked_for_the_servers_durations_are_seconds_on_the_span(
    name: str, *, metrics: bool, asynchronous: bool, instrument: Instrument
) -> None:
    """Of every operation, whole or streamed, in seconds; what the server left out is left out."""
    others: dict[str, Any] = {} if metrics else {"meter_provider": None, "logger_provider": None}
    recording = instrument(ollama_attributes=True, **others)

    call(EXCHANGES[name], asynchronous=asynchronous)

    assert own(recording.span) == expected(name)


@pytest.mark.parametrize(
    ("keep_alive", "shown"), [("5m", "5m"), (-1, "-1"), (0, "0"), (1.5, "1.5"), ("\ud800", "?")]
)
def test_keep_alive_is_told_as_the_application_gave_it(
    keep_alive: Any, shown: str, instrument: Instrument
) -> None:
    """A duration, or a number of seconds."""
    recording = instrument(ollama_attributes=True)

    try:
        PLAIN.client().chat(**PLAIN.arguments | {"keep_alive": keep_alive})
    except UnicodeEncodeError:
        assert not keep_alive.isascii()  # a text that no request can carry

    assert own(recording.span)["ollama.request.keep_alive"] == shown


def test_options_that_only_ollama_has_are_told_together(instrument: Instrument) -> None:
    """Those that the conventions know have attributes of their own."""
    recording = instrument(ollama_attributes=True)
    options = {"num_ctx": 8192, "temperature": 0.5, "seed": 1, "repeat_penalty": 1.1}

    PLAIN.client().chat("m", [], options=options)
    PLAIN.client().chat("m", [], options={"temperature": 0.5})

    first, second = (own(told(span)) for span in recording.spans)
    assert first["ollama.request.options"] == '{"num_ctx": 8192, "repeat_penalty": 1.1}'
    assert "ollama.request.options" not in second


def test_the_options_of_the_conventions_are_those_that_are_read() -> None:
    """A new one is told once."""
    assert set(_extract._OPTIONS) == _ollama_attributes.CONVENTIONAL_OPTIONS


def test_the_schema_of_an_answer_is_told(instrument: Instrument) -> None:
    """The word json alone is the output type of the conventions."""
    recording = instrument(ollama_attributes=True)
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}

    PLAIN.client().chat("m", [], format=schema)
    PLAIN.client().chat("m", [], format="json")

    first, second = (own(told(span)) for span in recording.spans)
    assert json.loads(first["ollama.request.format"]) == schema
    assert "ollama.request.format" not in second


def test_nobody_who_did_not_ask_gets_them(instrument: Instrument) -> None:
    """A check against OpenTelemetry's registry counts every name that it does not know."""
    recording = instrument()

    PLAIN.client().chat(**PLAIN.arguments)

    assert own(recording.span) == {}


def test_while_traces_go_to_mlflow_they_are_told(instrument: Instrument) -> None:
    """From the first exporter to the shutdown of the last, whichever was made first."""
    recording = instrument()
    found = []

    for _ in range(2):
        PLAIN.client().chat(**PLAIN.arguments)
        found.append(own(recording.span))
        recording.exporter.clear()
        exporter = MlflowSpanExporter(sink=Sink())
        PLAIN.client().chat(**PLAIN.arguments)
        found.append(own(recording.span))
        recording.exporter.clear()
        exporter.shutdown()

    assert found == [{}, expected("chat_plain")] * 2


def test_an_exporter_that_is_forgotten_counts_no_more() -> None:
    """It need not be shut down."""
    exporter = MlflowSpanExporter(sink=Sink())
    assert exporter in _doors.mlflow

    del exporter

    assert not _doors.mlflow


@pytest.mark.parametrize(
    ("keyword", "variable", "told"),
    [
        (None, "true", True),
        (None, " FALSE ", False),
        (True, "false", True),
        (False, "true", False),
        (False, "", False),
    ],
)
def test_one_setting_turns_them_on_or_off(
    *,
    keyword: bool | None,
    variable: str,
    told: bool,
    instrument: Instrument,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The keyword counts before the variable, and both before what MLflow's users expect."""
    monkeypatch.setenv("OLLAMA_OTEL_ATTRIBUTES", variable)
    exporter = MlflowSpanExporter(sink=Sink())
    recording = instrument(ollama_attributes=keyword)

    PLAIN.client().chat(**PLAIN.arguments)
    exporter.shutdown()

    assert bool(own(recording.span)) is told


def test_a_setting_that_says_nothing_is_said(
    instrument: Instrument, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is neither taken for true nor for false."""
    _internal_errors.warn.forget()
    monkeypatch.setenv("OLLAMA_OTEL_ATTRIBUTES", "yes")
    recording = instrument()

    PLAIN.client().chat(**PLAIN.arguments)

    assert own(recording.span) == {}
    assert caplog.messages == [
        "OLLAMA_OTEL_ATTRIBUTES is 'yes', which is neither true nor false: it counts as unset"
    ]


@both
def test_a_failed_call_has_what_was_asked(*, asynchronous: bool, instrument: Instrument) -> None:
    """The server tells no durations with an error."""
    recording = instrument(ollama_attributes=True)

    with pytest.raises(ollama.ResponseError):
        call(EXCHANGES["error_no_such_model"], asynchronous=asynchronous)

    assert own(recording.span) == {}


def test_a_span_of_another_provider_is_not_touched(instrument: Instrument) -> None:
    """They are on the spans of the calls only."""
    recording = instrument(ollama_attributes=True)
    tracer = TracerProvider.get_tracer(recording.tracer_provider, "app")

    with tracer.start_as_current_span("application"):
        PLAIN.client().chat(**PLAIN.arguments)

    assert dict(recording.spans[1].attributes or {}) == {}


@pytest.mark.parametrize(
    ("capture", "told"),
    [
        ("SPAN_ONLY", ("one", "two")),
        ("SPAN_AND_EVENT", ("one", "two")),
        ("EVENT_ONLY", None),
        ("NO_CONTENT", None),
    ],
)
def test_the_texts_of_an_embedding_are_content(
    capture: str, told: tuple[str, ...] | None, instrument: Instrument
) -> None:
    """On the span where content is wanted on spans, and nowhere else."""
    recording = instrument(capture, ollama_attributes=True)

    EXCHANGES["embed_many"].client().embed("embedder", ["one", "two"])

    assert own(recording.span).get("ollama.request.input") == told
    assert "one" not in "".join(str(each) for each in recording.logs.get_finished_logs())


def test_strange_durations_are_left_out() -> None:
    """What is no number is no duration."""
    strange = ollama.ChatResponse.model_construct(total_duration="long", eval_duration=True)

    assert _ollama_attributes.response_attributes(strange) == {}


def test_the_registry_describes_every_attribute() -> None:
    """Names and types, no more and no less."""
    (group,) = yaml.safe_load(REGISTRY.read_text(encoding="utf-8"))["groups"]
    described = {each["id"]: each["type"] for each in group["attributes"]}

    known = {name: "string" for name, _ in _ollama_attributes.REQUEST.values()}
    known |= {name: "double" for name, _ in _ollama_attributes.RESPONSE.values()}
    known |= {_ollama_attributes.INPUT: "string[]"}
    assert described == known
    assert all({"brief", "examples", "stability"} <= set(each) for each in group["attributes"])
