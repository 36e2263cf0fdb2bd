"""What the span of a chat says, for every recorded answer, sync and async alike."""

from typing import Any

import ollama
import pytest

from conftest import Instrument
from expected import answered, client_span, part, said, text
from recorded import EXCHANGES, both, call

REQUEST = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "ollama",
    "gen_ai.request.model": "scripted",
    "server.address": "ollama.test",
    "server.port": 11434,
}
STREAM = {
    "gen_ai.request.stream": True,
    "gen_ai.response.time_to_first_chunk": "float",
}
NO_THINK = {"gen_ai.request.reasoning.level": "false"}
SKY = part("text", content="The sky is blue because air scatters light.")
ASK_SKY = [text("system", "Be brief."), text("user", "Why is the sky blue?")]
ASK_TIP = text("user", "What is the tip for a $187.32 bill with a 22% tip?")
HI = [text("user", "hi")]
OPTIONS = {
    "gen_ai.request.temperature": 0.0,
    "gen_ai.request.seed": 7,
    "gen_ai.request.top_p": 0.9,
    "gen_ai.request.top_k": 40,
    "gen_ai.request.max_tokens": 64,
    "gen_ai.request.stop_sequences": ("STOP",),
}
CALCULATE_TIP = {
    "type": "function",
    "name": "calculate_tip",
    "description": "Calculate the tip amount based on the bill amount and tip percentage",
    "parameters": {
        "type": "object",
        "properties": {
            "bill_amount": {"type": "number", "description": "The total bill amount"},
            "tip_percentage": {
                "type": "number",
                "description": "The percentage to give, as a whole number",
            },
        },
        "required": ["bill_amount", "tip_percentage"],
    },
}
GET_WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "Weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
TIP_CALL = part(
    "tool_call",
    name="calculate_tip",
    id="call_0",
    arguments={"bill_amount": 187.32, "tip_percentage": 22},
)

ANSWERS: dict[str, dict[str, Any]] = {
    "chat_plain": {
        **OPTIONS,
        **NO_THINK,
        **answered("stop", input=40, output=10),
        "gen_ai.input.messages": ASK_SKY,
        "gen_ai.output.messages": said("stop", SKY),
    },
    "chat_stream": {
        **OPTIONS,
        **NO_THINK,
        **STREAM,
        **answered("stop", input=40, output=10),
        "gen_ai.input.messages": ASK_SKY,
        "gen_ai.output.messages": said("stop", SKY),
    },
    "chat_thinking_plain": {
        "gen_ai.request.reasoning.level": "true",
        **answered("stop", input=21, output=12),
        "gen_ai.input.messages": ASK_SKY[1:],
        "gen_ai.output.messages": said(
            "stop",
            part("reasoning", content="Let me reason about it"),
            part("text", content="Blue wave wins!"),
        ),
    },
    "chat_tool_call_plain": {
        **NO_THINK,
        **answered("stop", input=63, output=6),
        "gen_ai.tool.definitions": [CALCULATE_TIP],
        "gen_ai.input.messages": [ASK_TIP],
        "gen_ai.output.messages": said("stop", TIP_CALL),
    },
    "chat_two_tool_calls_plain": {
        **NO_THINK,
        **answered("stop", input=12, output=7),
        "gen_ai.tool.definitions": [CALCULATE_TIP, GET_WEATHER],
        "gen_ai.input.messages": [text("user", "both")],
        "gen_ai.output.messages": said(
            "stop",
            part("tool_call", name="get_weather", id="call_0", arguments={"city": "Paris"}),
            part("tool_call", name="get_weather", id="call_1", arguments={"city": "Tokyo"}),
        ),
    },
    "chat_tool_result_plain": {
        **NO_THINK,
        **answered("stop", input=142, output=8),
        "gen_ai.input.messages": [
            ASK_TIP,
            {"role": "assistant", "name": None, "parts": [TIP_CALL]},
            {
                "role": "tool",
                "name": None,
                "parts": [part("tool_call_response", id="call_0", response="41.21")],
            },
        ],
        "gen_ai.output.messages": said("stop", part("text", content="Your tip comes to $41.21.\n")),
    },
    "chat_json_schema_plain": {
        **NO_THINK,
        "gen_ai.request.max_tokens": 60,
        "gen_ai.output.type": "json",
        **answered("stop", input=10, output=20),
        "gen_ai.input.messages": HI,
        "gen_ai.output.messages": said("stop", part("text", content='{"answer":"","n":1}')),
    },
    "chat_length_plain": {
        **NO_THINK,
        "gen_ai.request.max_tokens": 5,
        **answered("length", input=12, output=5),
        "gen_ai.input.messages": [text("user", "loop")],
        "gen_ai.output.messages": said("length", part("text", content="la lala lalalala lala")),
    },
    "chat_logprobs_plain": {
        **NO_THINK,
        "gen_ai.request.max_tokens": 3,
        **answered("length", input=10, output=3),
        "gen_ai.input.messages": HI,
        "gen_ai.output.messages": said("length", part("text", content="The sky is")),
    },
    "chat_empty_content_message": {
        **NO_THINK,
        **answered("stop", input=8, output=10),
        "gen_ai.input.messages": [{"role": "user", "name": None, "parts": []}],
        "gen_ai.output.messages": said("stop", SKY),
    },
    "chat_load": {**answered("load"), "gen_ai.output.messages": said("load")},
    "chat_unload": {**answered("unload"), "gen_ai.output.messages": said("unload")},
}
for _plain in [name for name in ANSWERS if name.endswith("_plain")]:
    _stream = _plain.removesuffix("_plain") + "_stream"
    # A stream says what the whole answer says, and when its first chunk came.
    ANSWERS.setdefault(_stream, {**ANSWERS[_plain], **STREAM})

ERRORS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "error_no_such_model": (
        "404",
        "model 'nope' not found (status code: 404)",
        {"gen_ai.request.model": "nope", "gen_ai.input.messages": HI},
    ),
    "error_no_such_model_stream": (
        "404",
        "model 'nope' not found (status code: 404)",
        {
            "gen_ai.request.model": "nope",
            "gen_ai.request.stream": True,
            "gen_ai.input.messages": HI,
        },
    ),
    "error_think_unsupported": (
        "400",
        '"embedder" does not support thinking (status code: 400)',
        {
            "gen_ai.request.model": "embedder",
            "gen_ai.request.reasoning.level": "true",
            "gen_ai.input.messages": HI,
        },
    ),
    "error_tools_unsupported": (
        "400",
        '"embedder" does not support chat (status code: 400)',
        {
            "gen_ai.request.model": "embedder",
            "gen_ai.input.messages": HI,
            "gen_ai.tool.definitions": [CALCULATE_TIP],
        },
    ),
    "error_mid_stream": (
        "ollama.ResponseError",
        "an error was encountered while running the model: unexpected EOF (status code: -1)",
        {
            **NO_THINK,
            **STREAM,
            **answered("error"),
            "gen_ai.input.messages": [text("user", "loop")],
            "gen_ai.output.messages": [
                {
                    "role": "assistant",
                    "name": None,
                    "finish_reason": "error",
                    "parts": [part("text", content="la lala lalala")],
                }
            ],
        },
    ),
}


@both
@pytest.mark.parametrize("name", ANSWERS)
def test_an_answered_chat_is_told_whole(
    name: str, *, asynchronous: bool, instrument: Instrument
) -> None:
    """The span says what was asked and what the server said, and the application gets it all."""
    expected = call(EXCHANGES[name], asynchronous=asynchronous)
    recording = instrument()

    assert call(EXCHANGES[name], asynchronous=asynchronous) == expected
    assert recording.span == client_span("chat scripted", REQUEST | ANSWERS[name])


@both
@pytest.mark.parametrize("name", ERRORS)
def test_a_refused_chat_is_told_with_its_error(
    name: str, *, asynchronous: bool, instrument: Instrument
) -> None:
    """The SDK's own exception passes, and the span says what it was."""
    error_type, message, attributes = ERRORS[name]
    recording = instrument()

    with pytest.raises(ollama.ResponseError) as raised:
        call(EXCHANGES[name], asynchronous=asynchronous)

    assert str(raised.value) == message
    expected = REQUEST | attributes | {"error.type": error_type}
    assert recording.span == client_span(
        f"chat {expected['gen_ai.request.model']}", expected, message
    )


def test_every_recorded_chat_that_the_sdk_can_send_is_tested() -> None:
    """A newly recorded exchange cannot be forgotten."""
    # The SDK itself refuses to send these, or they are no chat of its making.
    unsendable = {"error_bad_format", "error_bad_json", "error_bad_option", "error_model_missing"}
    image = {"error_bad_image"}  # answered as if there were no image: see the images' own tests
    recorded = {name for name, each in EXCHANGES.items() if each.path == "/api/chat"}

    assert set(ANSWERS) | set(ERRORS) == recorded - unsendable - image
