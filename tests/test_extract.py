"""What is read from requests, images and errors, case by case."""

import base64
from http import HTTPStatus
from typing import Any

import httpx
import ollama
import pytest
from opentelemetry.util.genai.types import (
    BlobPart,
    GenericToolDefinition,
    InputMessage,
    TextPart,
    ToolCallRequestPart,
    ToolCallResponsePart,
    UriPart,
)

from ollama_otel import _extract

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("temperature", 1, {"temperature": 1.0}),
        ("temperature", 0, {"temperature": 0.0}),
        ("temperature", "hot", {}),
        ("temperature", True, {}),
        ("temperature", None, {}),
        ("top_p", 0.5, {"top_p": 0.5}),
        ("top_k", 40, {"top_k": 40}),
        ("top_k", 40.0, {"top_k": 40}),
        ("top_k", 40.5, {}),
        ("top_k", float("inf"), {}),
        ("top_k", float("nan"), {}),
        ("seed", -1, {"seed": -1}),
        ("seed", 2**63 - 1, {"seed": 2**63 - 1}),
        ("seed", 2**64 - 1, {}),
        ("num_predict", 0, {"max_tokens": 0}),
        ("num_predict", -1, {}),
        ("presence_penalty", 0.1, {"presence_penalty": 0.1}),
        ("frequency_penalty", 0.2, {"frequency_penalty": 0.2}),
        ("repeat_penalty", 1.1, {}),
        ("stop", ["a", "b"], {"stop_sequences": ["a", "b"]}),
        ("stop", "a", {"stop_sequences": ["a"]}),
        ("stop", [], {}),
        ("stop", [1], {}),
        ("num_ctx", 4096, {}),
    ],
)
def test_an_option_becomes_its_attribute_in_the_registered_type(
    option: str, value: object, expected: dict[str, Any]
) -> None:
    """What has the wrong type, or no name in the conventions, is left out."""
    assert _extract.inference_request({"options": {option: value}}) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, {}),
        ({"options": None, "think": None, "format": None, "stream": False}, {}),
        ({"options": "cold"}, {}),
        ({"format": ""}, {}),
        ({"format": "json"}, {"output_type": "json"}),
        ({"format": {"type": "object"}}, {"output_type": "json"}),
        ({"think": True}, {"reasoning_level": "true"}),
        ({"think": False}, {"reasoning_level": "false"}),
        ({"think": "high"}, {"reasoning_level": "high"}),
        ({"stream": True}, {"request_stream": True}),
    ],
)
def test_what_else_a_request_asks_for(body: dict[str, Any], expected: dict[str, Any]) -> None:
    """Absent, empty and given are kept apart."""
    assert _extract.inference_request(body) == expected


def recorded(**arguments: Any) -> dict[str, Any]:
    """Make a chat through the SDK and return what is read of the body that passes the seam."""
    bodies: list[Any] = []

    class Client(ollama.Client):
        def _request(self, *_args: Any, **kwargs: Any) -> Any:
            bodies.append(kwargs["json"])

    Client().chat("m", **arguments)
    return _extract.chat_request_content(bodies[0])


def call(name: str) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": {}}}


def asked(*names: str) -> dict[str, Any]:
    return {"role": "assistant", "tool_calls": [call(name) for name in names]}


def result(**fields: str) -> dict[str, Any]:
    return {"role": "tool", "content": "done", **fields}


def ids(messages: list[dict[str, Any]]) -> list[str | None]:
    """Return the ids of the tool calls and tool results of a conversation, in order."""
    read = recorded(messages=messages)["input_messages"]
    parts = [part for message in read for part in message.parts]
    kinds = (ToolCallRequestPart, ToolCallResponsePart)
    return [part.id for part in parts if isinstance(part, kinds)]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param(
            [asked("a", "b"), result(), result()],
            ["call_0", "call_1", "call_0", "call_1"],
            id="by order without a name",
        ),
        pytest.param(
            [asked("a"), result(), asked("a"), result()],
            ["call_0", "call_0", "call_1", "call_1"],
            id="over several turns",
        ),
        pytest.param([result()], [None], id="an answer to nothing"),
    ],
)
def test_tool_results_find_the_call_that_they_answer(
    messages: list[dict[str, Any]], expected: list[str | None]
) -> None:
    """The SDK drops the server's ids: the order has to do."""
    assert ids(messages) == expected


@pytest.mark.skipif(
    "tool_name" not in ollama.Message.model_fields, reason="this SDK drops the names of tools"
)
@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param(
            [asked("a", "b"), result(tool_name="b"), result(tool_name="a")],
            ["call_0", "call_1", "call_1", "call_0"],
            id="by name",
        ),
        pytest.param(
            [asked("a", "a"), result(tool_name="a"), result(tool_name="a")],
            ["call_0", "call_1", "call_0", "call_1"],
            id="by order within a name",
        ),
        pytest.param([asked("a"), result(tool_name="b")], ["call_0", None], id="no such call"),
    ],
)
def test_named_tool_results_find_the_call_that_they_answer(
    messages: list[dict[str, Any]], expected: list[str | None]
) -> None:
    """Names go before order."""
    assert ids(messages) == expected


@pytest.mark.skipif(
    ollama.Tool.model_fields["type"].annotation != str | None,
    reason="this SDK sends no tools but functions",
)
def test_a_tool_that_is_no_function_keeps_its_type() -> None:
    """The SDK passes on no more of it."""
    read = recorded(messages=[], tools=[{"type": "web_search", "name": "search"}])

    assert read["tool_definitions"] == [GenericToolDefinition(name="web_search", type="web_search")]


def test_a_small_image_is_kept_whole() -> None:
    """The message holds its text and the image's own bytes."""
    image = base64.b64encode(PNG + b"pixels").decode()

    told = _extract.chat_request_content(
        {"messages": [{"role": "user", "content": "What is it?", "images": [image]}]}
    )

    assert told["input_messages"] == [
        InputMessage(
            role="user",
            parts=[
                TextPart("What is it?"),
                BlobPart(mime_type="image/png", modality="image", content=PNG + b"pixels"),
            ],
        )
    ]


def test_a_large_image_is_named_by_digest_type_and_size() -> None:
    """Megabytes never become attributes."""
    data = PNG.ljust(_extract.MAX_INLINE_IMAGE + 1, b"\0")

    part = _extract.image_part(base64.b64encode(data).decode())

    assert part == UriPart(
        mime_type="image/png",
        modality="image",
        uri="ni:///sha-256;YEYOkkh2zVHCaCauWjFcDADixGl03dSNad9pQvCoc7I?ct=image/png&size=49153",
    )


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\0\0\0\0WEBP", "image/webp"),
        (b"BM", "image/bmp"),
        (b"RIFF\0\0\0\0WAVE", None),
        (b"plain", None),
    ],
)
def test_an_image_tells_its_type_by_its_first_bytes(head: bytes, expected: str | None) -> None:
    """What is not known is left open."""
    part = _extract.image_part(base64.b64encode(head).decode())

    assert isinstance(part, BlobPart)
    assert part.mime_type == expected


def test_an_image_that_is_no_base64_is_said_to_be_none() -> None:
    """The server will refuse it; the span says why."""
    assert _extract.image_part("no, words") == TextPart(
        "[image of 9 characters that are not base64]"
    )


def test_an_answer_that_says_nothing_of_itself_is_kept() -> None:
    """No model, no counts, no reason: the text is what came all the same."""
    answer = _extract.ChatAnswer({}, keep_content=True)
    answer.add(
        ollama.ChatResponse(done=True, message=ollama.Message(role="assistant", content="a"))
    )

    (message,) = answer.content()["output_messages"]
    assert [part.content for part in message.parts] == ["a"]


def test_many_images_are_no_megabytes_together() -> None:
    """Those after the first few are named, like those that are too large by themselves."""
    image = base64.b64encode(bytes(40 * 1024)).decode()
    messages = [{"role": "user", "images": [image] * 10}] * 6

    asked = _extract.chat_request_content({"messages": messages})["input_messages"]

    kinds = [part.type for message in asked for part in message.parts]
    assert kinds == ["blob"] * 4 + ["uri"] * 56


def test_a_result_answers_what_the_model_asked_last() -> None:
    """A call that was never answered is history."""
    call = {"function": {"name": "a", "arguments": {}}}
    messages = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "user", "content": "Never mind. Again!"},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_name": "a", "content": "1"},
    ]

    asked = _extract.chat_request_content({"messages": messages})["input_messages"]

    assert asked[-1].parts[0].id == "call_1"


class StrangeError(Exception):
    status_code = "teapot"


class StatusError(Exception):
    def __init__(self, status: int) -> None:
        self.status_code = status


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ollama.ResponseError("gone", 404), "404"),
        (ollama.ResponseError("in mid-stream"), "ollama.ResponseError"),
        (ollama.RequestError("no model"), "ollama.RequestError"),
        (ConnectionError("nobody there"), "ConnectionError"),
        (httpx.ReadTimeout("late"), "httpx.ReadTimeout"),
        (StrangeError(), f"{__name__}.StrangeError"),
        (StatusError(HTTPStatus.NOT_FOUND), "404"),
        (StatusError(status=True), f"{__name__}.StatusError"),
    ],
)
def test_the_type_of_an_error(error: Exception, expected: str) -> None:
    """A status where there is one, the SDK's public name, else the qualified name."""
    assert _extract.error_type(error) == expected
