"""What the span of a generate says, for every recorded answer, sync and async alike."""

import base64
from typing import Any

import httpx
import ollama
import pytest

from conftest import Instrument
from expected import answered, client_span, part, said, text
from recorded import EXCHANGES, URL, both, call

REQUEST = {
    "gen_ai.operation.name": "text_completion",
    "gen_ai.provider.name": "ollama",
    "gen_ai.request.model": "scripted",
    "server.address": "ollama.test",
    "server.port": 11434,
}
STREAM = {"gen_ai.request.stream": True, "gen_ai.response.time_to_first_chunk": "float"}
SKY = part("text", content="The sky is blue because air scatters light.")

ANSWERS: dict[str, dict[str, Any]] = {
    "generate_plain": {
        "gen_ai.request.reasoning.level": "false",
        **answered("stop", input=29, output=10),
        "gen_ai.system_instructions": [part("text", content="Be brief.")],
        "gen_ai.input.messages": [text("user", "hi")],
        "gen_ai.output.messages": said("stop", SKY),
    },
    "generate_thinking_plain": {
        "gen_ai.request.reasoning.level": "true",
        **answered("stop", input=10, output=12),
        "gen_ai.input.messages": [text("user", "hi")],
        "gen_ai.output.messages": said(
            "stop",
            part("reasoning", content="Let me reason about it"),
            part("text", content="Blue wave wins!"),
        ),
    },
    "generate_raw_plain": {
        **answered("stop", input=2, output=10),
        "gen_ai.input.messages": [text("user", "<|plain|>")],
        "gen_ai.output.messages": said("stop", SKY),
    },
    "generate_load": {**answered("load"), "gen_ai.output.messages": said("load")},
}
for _plain in [name for name in ANSWERS if name.endswith("_plain")]:
    ANSWERS[_plain.removesuffix("_plain") + "_stream"] = {**ANSWERS[_plain], **STREAM}


@both
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answered_generate_is_recorded_whole(
    name: str, *, asynchronous: bool, instrument: Instrument
) -> None:
    """The span says what was asked and what the server said, and the application gets it all."""
    expected = call(EXCHANGES[name], asynchronous=asynchronous)
    recording = instrument()

    assert call(EXCHANGES[name], asynchronous=asynchronous) == expected
    assert recording.span == client_span("text_completion scripted", REQUEST | ANSWERS[name])


def test_every_recorded_generate_is_tested() -> None:
    """A newly recorded exchange cannot be forgotten."""
    assert set(ANSWERS) == {name for name, each in EXCHANGES.items() if each.method == "generate"}


def test_a_suffix_and_an_image_belong_to_the_prompt(instrument: Instrument) -> None:
    """In the order in which the model reads them."""
    recording = instrument()
    image = b"\x89PNG\r\n\x1a\npixels"

    EXCHANGES["generate_plain"].client().generate("scripted", "def f(", "return x", images=[image])

    assert recording.span["attributes"]["gen_ai.input.messages"] == [
        {
            "role": "user",
            "name": None,
            "parts": [
                part("text", content="def f("),
                part("text", content="return x"),
                part(
                    "blob",
                    mime_type="image/png",
                    modality="image",
                    content=base64.b64encode(image).decode(),
                ),
            ],
        }
    ]


@pytest.mark.skipif(
    "image" not in ollama.GenerateResponse.model_fields, reason="this SDK knows no such answer"
)
def test_an_image_that_the_model_made_is_recorded(instrument: Instrument) -> None:
    """As a part of what it said."""
    recording = instrument()
    made = base64.b64encode(b"GIF89a...").decode()
    lines = {"model": "scripted", "image": made, "done": True, "done_reason": "stop"}
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, json=lines))

    ollama.Client(URL, transport=transport).generate("scripted", "a cat")

    (message,) = recording.span["attributes"]["gen_ai.output.messages"]
    assert message["parts"] == [part("blob", mime_type="image/gif", modality="image", content=made)]
