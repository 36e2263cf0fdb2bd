"""Calls inside a GenAI invocation of somebody else's: nothing twice, and nothing lost."""

import threading

import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.util.genai.handler import TelemetryHandler

from conftest import Instrument
from recorded import EXCHANGES, both, call
from telemetry import Recording

PLAIN, STREAM = (EXCHANGES[name] for name in ("chat_plain", "chat_stream"))


def framework(recording: Recording) -> TelemetryHandler:
    return TelemetryHandler(
        tracer_provider=recording.tracer_provider, meter_provider=recording.meter_provider
    )


def counted(recording: Recording) -> list[tuple[str, str]]:
    points = recording.points().get("gen_ai.client.token.usage", [])
    return [(attributes["gen_ai.token.type"], sum_) for attributes, sum_ in points]


def counts(name: str) -> list[tuple[str, str]]:
    last = EXCHANGES[name].lines[-1]
    kinds = {"input": "prompt_eval_count", "output": "eval_count"}
    return [(kind, f"{last[count]} {{token}}") for kind, count in kinds.items()]


@both
@pytest.mark.parametrize("name", ["chat_plain", "chat_stream", "generate_plain"])
def test_a_call_inside_a_frameworks_call_is_the_frameworks(
    name: str, *, asynchronous: bool, instrument: Instrument
) -> None:
    """One span, and every token counted once."""
    recording = instrument()

    with framework(recording).inference("theirs", request_model="m"):
        call(EXCHANGES[name], asynchronous=asynchronous)

    assert [span.name for span in recording.spans] == ["chat m"]
    assert counted(recording) == counts(name)


def test_a_stream_read_after_the_frameworks_call_is_told_by_itself(instrument: Instrument) -> None:
    """Merged into what has ended already, it would be lost."""
    recording = instrument()
    with framework(recording).inference("theirs", request_model="m") as outer:
        stream = STREAM.client().chat(**STREAM.arguments)

    text = "".join(chunk.message.content or "" for chunk in stream)

    assert text == "The sky is blue because air scatters light."
    ended, told = recording.spans
    assert (ended.name, told.name) == ("chat m", "chat scripted")
    assert told.parent == outer.span.get_span_context()
    assert counted(recording) == counts("chat_stream")


def test_a_stream_read_elsewhere_while_the_framework_is_at_it_is_the_frameworks(
    instrument: Instrument,
) -> None:
    """A thread that reads for it knows nothing of its context."""
    recording = instrument()

    with framework(recording).inference("theirs", request_model="m"):
        stream = STREAM.client().chat(**STREAM.arguments)
        reader = threading.Thread(target=lambda: list(stream))
        reader.start()
        reader.join()

    assert [span.name for span in recording.spans] == ["chat m"]


def test_of_a_framework_that_is_not_sampled_nothing_is_counted_twice(
    instrument: Instrument,
) -> None:
    """Whether its call is over cannot be known: while it is open, its stream is its own."""
    recording = instrument(recording=Recording(ALWAYS_OFF))

    with framework(recording).inference("theirs", request_model="m"):
        stream = STREAM.client().chat(**STREAM.arguments)
        reader = threading.Thread(target=lambda: list(stream))
        reader.start()
        reader.join()

    assert counted(recording) == counts("chat_stream")


def test_a_stream_asked_for_in_a_helpers_span_that_ended_is_the_frameworks(
    instrument: Instrument,
) -> None:
    """The reader is still inside the framework's call."""
    recording = instrument()
    tracer = recording.tracer_provider.get_tracer("app")

    with framework(recording).inference("theirs", request_model="m"):
        with tracer.start_as_current_span("helper"):
            stream = STREAM.client().chat(**STREAM.arguments)
        list(stream)

    assert [span.name for span in recording.spans] == ["helper", "chat m"]


def test_a_framework_that_ended_does_not_swallow_the_failure_of_its_stream(
    instrument: Instrument,
) -> None:
    """The call that is told by itself tells its exception by itself."""
    recording = instrument()
    exchange = EXCHANGES["error_mid_stream"]
    with framework(recording).inference("theirs", request_model="m"):
        stream = exchange.client().chat(**exchange.arguments)

    with pytest.raises(Exception, match="unexpected EOF"):
        list(stream)

    assert [(span.name, len(span.events)) for span in recording.spans] == [
        ("chat m", 0),
        ("chat scripted", 1),
    ]
    assert len(recording.logs.get_finished_logs()) == 1


def test_a_conversation_id_of_a_framework_is_on_the_calls_inside(instrument: Instrument) -> None:
    """util-genai hands it down through the context."""
    recording = instrument()

    with framework(recording).invoke_local_agent(conversation_id="c-1"):
        call(PLAIN, asynchronous=False)

    chat, _agent = recording.spans
    assert (chat.attributes or {})["gen_ai.conversation.id"] == "c-1"
