"""What the span of an embed says, for every recorded answer, sync and async alike."""

from typing import Any

import ollama
import pytest

from conftest import Instrument
from expected import client_span
from recorded import EXCHANGES, both, call

REQUEST = {
    "gen_ai.operation.name": "embeddings",
    "gen_ai.provider.name": "ollama",
    "gen_ai.request.model": "embedder",
    "server.address": "ollama.test",
    "server.port": 11434,
}
MODEL = {"gen_ai.response.model": "embedder"}
EIGHT = {"gen_ai.embeddings.dimension.count": 8}

ANSWERS: dict[str, dict[str, Any]] = {
    "embed_one": {**EIGHT, **MODEL, "gen_ai.usage.input_tokens": 3},
    "embed_many": {**EIGHT, **MODEL, "gen_ai.usage.input_tokens": 9},
    "embed_empty": MODEL,
    "embeddings_legacy": EIGHT,
}


@both
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answered_embed_is_recorded_whole(
    name: str, *, asynchronous: bool, instrument: Instrument
) -> None:
    """Model, tokens and dimensions; never the text or the vectors."""
    exchange = EXCHANGES[name]
    expected = call(exchange, asynchronous=asynchronous)
    recording = instrument("SPAN_AND_EVENT")

    assert call(exchange, asynchronous=asynchronous) == expected
    assert recording.span == client_span("embeddings embedder", REQUEST | ANSWERS[name])


@both
def test_a_refused_embed_is_recorded_with_its_error(
    *, asynchronous: bool, instrument: Instrument
) -> None:
    """With the status as its type, as for every call."""
    message = 'model "nope" not found, try pulling it first (status code: 404)'
    recording = instrument()

    with pytest.raises(ollama.ResponseError) as raised:
        call(EXCHANGES["error_embed_no_such_model"], asynchronous=asynchronous)

    assert str(raised.value) == message
    assert recording.span == client_span(
        "embeddings nope", REQUEST | {"gen_ai.request.model": "nope", "error.type": "404"}, message
    )


def test_every_recorded_embed_is_tested() -> None:
    """A newly recorded exchange cannot be forgotten."""
    recorded = {name for name, each in EXCHANGES.items() if each.method.startswith("embed")}

    assert set(ANSWERS) | {"error_embed_no_such_model"} == recorded


def test_an_embed_is_measured(instrument: Instrument) -> None:
    """Duration and tokens."""
    recording = instrument()

    call(EXCHANGES["embed_one"], asynchronous=False)

    assert recording.points() == {
        "gen_ai.client.operation.duration": [(REQUEST | MODEL, "1 s")],
        "gen_ai.client.token.usage": [
            (REQUEST | MODEL | {"gen_ai.token.type": "input"}, "3 {token}")
        ],
    }
